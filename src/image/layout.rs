//! The OCI layout: blobs by digest, the index by name.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>. Beside what the specification names
//! there is `cache/`, which says what a layer was made of.
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use carrack_core::{Error, ErrorKind, Result};
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndex, ImageManifest, MediaType, SCHEMA_VERSION};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::manifest::Part;

const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// How the names begin of what becomes a blob, and of a folder that a Dockerfile's image passes through.
pub(crate) const NEW: &str = ".new-";
pub(crate) const FROM_DOCKERFILE: &str = ".dockerfile-";
const UNFINISHED: [&str; 2] = [NEW, FROM_DOCKERFILE];
/// Nobody builds that long.
const ABANDONED: Duration = Duration::from_hours(24);

/// A folder that holds images.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Opens the layout in `root`, and makes it when it is missing.
    pub fn create(root: &Path) -> Result<Self> {
        let layout = Self { root: root.to_owned() };
        for folder in ["blobs/sha256", "cache/layers"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|error| failed("making", &path, error))?;
        }
        let marker = root.join("oci-layout");
        if !marker.exists() {
            layout.replace(&marker, VERSION.as_bytes())?;
        }
        layout.sweep();
        Ok(layout)
    }

    /// Opens the layout in `root`, which must be one.
    pub fn open(root: &Path) -> Result<Self> {
        if !root.join("oci-layout").is_file() {
            return Err(Error::new(ErrorKind::NotFound, format!("`{}` holds no image", root.display()))
                .hint("build one: carrack build"));
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the blob of this digest is, or would be.
    pub fn blob(&self, digest: &str) -> Result<PathBuf> {
        let hex = digest
            .strip_prefix("sha256:")
            .filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        let hex =
            hex.ok_or_else(|| Error::new(ErrorKind::ConfigInvalid, format!("`{digest}` is not a sha256 digest")))?;
        Ok(self.root.join("blobs/sha256").join(hex))
    }

    /// The digest of the image of this name.
    pub fn find(&self, name: &str) -> Result<Option<String>> {
        Ok(self
            .index()?
            .manifests()
            .iter()
            .find(|manifest| name_of(manifest) == Some(name))
            .map(|manifest| manifest.digest().to_string()))
    }

    /// The manifest of this digest: the bytes as they lie on disk, and what they say.
    pub fn manifest(&self, digest: &str) -> Result<(Bytes, ImageManifest)> {
        let path = self.blob(digest)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("`{}` holds no image {digest}", self.root.display()),
                )
                .hint("build it: carrack build"));
            }
            Err(error) => return Err(failed("reading", &path, error)),
        };
        if digest_of(&bytes) != digest {
            return Err(damaged(&path, &self.root));
        }
        let manifest = serde_json::from_slice(&bytes).map_err(|error| damaged(&path, &self.root).with_source(error))?;
        Ok((bytes.into(), manifest))
    }

    /// A small blob, whole and with the right digest; `None` when it is not there or was cut.
    pub(crate) fn read(&self, digest: &str) -> Result<Option<Bytes>> {
        let path = self.blob(digest)?;
        match fs::read(&path) {
            Ok(bytes) => Ok((digest_of(&bytes) == digest).then(|| bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("reading", &path, error)),
        }
    }

    /// Writes bytes as the blob of their digest.
    pub(crate) fn write(&self, bytes: &[u8], digest: &str) -> Result<()> {
        self.replace(&self.blob(digest)?, bytes)
    }

    /// Writes `value` as a blob, its fields in the order of the type.
    pub(crate) fn write_json(&self, media_type: &str, value: &impl Serialize) -> Result<Part> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| Error::new(ErrorKind::Internal, "encoding an image failed").with_source(error))?;
        let digest = digest_of(&bytes);
        self.write(&bytes, &digest)?;
        Ok(Part::new(media_type, digest, bytes.len() as u64))
    }

    /// A file beside the blobs, that becomes one with [`Self::adopt`].
    pub(crate) fn temporary(&self) -> Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(NEW)
            // Not the owner alone: another user's tool may read the layout.
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(&self.root)
            .map_err(|error| failed("writing to", &self.root, error))
    }

    /// Removes what a build left that was killed. What another one is at work with was changed a moment ago.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_temporary = UNFINISHED.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()));
            let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
            if is_temporary && age().is_some_and(|age| age > ABANDONED) {
                // One that stays is in nobody's way.
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let _ = if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            }
        }
    }

    /// Makes a whole file the blob of its digest.
    pub(crate) fn adopt(&self, file: NamedTempFile, digest: &str) -> Result<()> {
        let path = self.blob(digest)?;
        file.persist(&path).map(drop).map_err(|error| failed("writing", &path, error.error))
    }

    /// Whether a blob is there, and whole as far as its size tells.
    pub(crate) fn has(&self, digest: &str, size: u64) -> bool {
        self.blob(digest)
            .and_then(|path| fs::metadata(&path).map_err(|error| failed("reading", &path, error)))
            .is_ok_and(|metadata| metadata.len() == size)
    }

    /// Gives an image its name; an earlier image of that name loses it, the others stay.
    pub(crate) fn name(&self, name: &str, manifest: &Part) -> Result<()> {
        let mut manifest = descriptor(MediaType::ImageManifest, manifest.size, &manifest.digest)?;
        let lock = self.root.join("cache/index.lock");
        // Builds of several services end at the same time, here or in another process.
        let _held = File::create(&lock)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| failed("locking", &lock, error))?;
        let mut index = self.index()?;
        let mut manifests: Vec<Descriptor> = index.manifests().clone();
        manifests.retain(|other| name_of(other) != Some(name));
        manifest.set_annotations(Some(HashMap::from([(ANNOTATION_REF_NAME.to_owned(), name.to_owned())])));
        manifests.push(manifest);
        manifests.sort_by(|a, b| name_of(a).cmp(&name_of(b)));
        index.set_manifests(manifests);
        let bytes = serde_json::to_vec(&index)
            .map_err(|error| Error::new(ErrorKind::Internal, "encoding an image index failed").with_source(error))?;
        self.replace(&self.root.join("index.json"), &bytes)
    }

    fn index(&self) -> Result<ImageIndex> {
        let path = self.root.join("index.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| damaged(&path, &self.root).with_source(error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut index = ImageIndex::default();
                index.set_schema_version(SCHEMA_VERSION);
                index.set_media_type(Some(MediaType::ImageIndex));
                Ok(index)
            }
            Err(error) => Err(failed("reading", &path, error)),
        }
    }

    /// What was remembered under `key`; anything that cannot be read counts as nothing.
    pub(crate) fn recall<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.root.join("cache/layers").join(key)).ok()?).ok()
    }

    /// Remembers `value` under `key`.
    pub(crate) fn remember(&self, key: &str, value: &impl Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| Error::new(ErrorKind::Internal, "encoding a cache entry failed").with_source(error))?;
        self.replace(&self.root.join("cache/layers").join(key), &bytes)
    }

    /// The repository of a registry that a blob was pushed to before, if any.
    pub(crate) fn pushed_to(&self, digest: &str, host: &str) -> Option<String> {
        self.recall::<BTreeMap<String, String>>(&pushes(digest))?.remove(host)
    }

    /// Remembers where a blob was pushed. A hint alone: when it cannot be kept, or is wrong, the blob is sent again.
    pub(crate) fn remember_push(&self, digest: &str, host: &str, path: &str) {
        let mut known: BTreeMap<String, String> = self.recall(&pushes(digest)).unwrap_or_default();
        known.insert(host.to_owned(), path.to_owned());
        let _ = self.remember(&pushes(digest), &known);
    }

    /// A reader sees the old file or the new one, never a part.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = self.temporary()?;
        file.write_all(bytes).map_err(|error| failed("writing", path, error))?;
        file.persist(path).map(drop).map_err(|error| failed("writing", path, error.error))
    }
}

/// The digest of some bytes, `sha256:…`.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    digest_text(&Sha256::digest(bytes))
}

/// `sha256:` and the hash in hexadecimal.
pub(crate) fn digest_text(hash: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in hash {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

fn pushes(digest: &str) -> String {
    format!("pushed-{}", digest.replace(':', "-"))
}

fn descriptor(media_type: MediaType, size: u64, digest: &str) -> Result<Descriptor> {
    let digest: oci_spec::image::Digest = digest
        .parse()
        .map_err(|error| Error::new(ErrorKind::Internal, format!("`{digest}` is not a digest")).with_source(error))?;
    Ok(Descriptor::new(media_type, size, digest))
}

fn name_of(manifest: &Descriptor) -> Option<&str> {
    let annotations = manifest.annotations().as_ref()?;
    annotations.get(ANNOTATION_REF_NAME).map(String::as_str)
}

pub(crate) fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::BuildFailed, format!("{doing} `{}` failed: {error}", path.display())).with_source(error)
}

fn damaged(path: &Path, root: &Path) -> Error {
    Error::new(ErrorKind::BuildFailed, format!("`{}` is damaged", path.display()))
        .hint(format!("remove `{}` and build again", root.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::manifest::MANIFEST;

    #[test]
    fn images_add_up_and_a_name_moves() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::create(folder.path()).expect("layout");
        let blob = |text: &str| layout.write_json(MANIFEST, &text).expect("blob");
        let (one, two) = (blob("one"), blob("two"));
        layout.name("b", &one).expect("name");
        layout.name("a", &one).expect("name");
        layout.name("b", &two).expect("name");
        let layout = Layout::open(folder.path()).expect("layout");
        assert_eq!(layout.find("a").expect("index"), Some(one.digest.clone()));
        assert_eq!(layout.find("b").expect("index"), Some(two.digest.clone()));
        assert_eq!(layout.find("c").expect("index"), None);
        assert!(layout.has(&one.digest, one.size));
        assert!(!layout.has(&one.digest, one.size + 1));
        let left = fs::read_dir(folder.path())
            .expect("folder")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(".new-"))
            .count();
        assert_eq!(left, 0);
    }

    #[test]
    fn what_a_killed_build_left_is_removed_after_a_day() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::create(folder.path()).expect("layout");
        let made = |name: &str, is_folder: bool, hours: u64| {
            let path = folder.path().join(name);
            if is_folder {
                fs::create_dir(&path).expect("folder");
                fs::write(path.join("image.tar"), "tar").expect("write");
            } else {
                fs::write(&path, "part").expect("write");
            }
            let then = std::time::SystemTime::now() - Duration::from_hours(hours);
            File::open(&path).and_then(|file| file.set_modified(then)).expect("time");
            path
        };
        let old = [made(".new-a", false, 25), made(".dockerfile-a", true, 25)];
        let kept = [made(".new-b", false, 23), made(".dockerfile-b", true, 23), made("mine", false, 99)];
        Layout::open(layout.root()).expect("opened");
        assert!(old.iter().all(|path| path.exists()), "who only reads removes nothing");
        Layout::create(layout.root()).expect("layout");
        assert!(!old.iter().any(|path| path.exists()));
        assert!(kept.iter().all(|path| path.exists()));
    }

    #[test]
    fn names_given_at_the_same_time_all_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::create(folder.path()).expect("layout");
        let blob = layout.write_json(MANIFEST, &"x").expect("blob");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (layout, blob) = (&layout, &blob);
                scope.spawn(move || layout.name(&number.to_string(), blob).expect("name"));
            }
        });
        assert_eq!(layout.index().expect("index").manifests().len(), 8);
    }

    #[test]
    fn a_digest_is_no_path() {
        let layout = Layout { root: "/layout".into() };
        for bad in ["sha256:../../etc/passwd", "sha256:", "md5:00", &"0".repeat(64)] {
            assert!(layout.blob(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_damaged_manifest_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::create(folder.path()).expect("layout");
        let blob = layout.write_json(MANIFEST, &"x").expect("blob");
        let digest = blob.digest.clone();
        fs::write(layout.blob(&digest).expect("path"), "other").expect("write");
        let error = layout.manifest(&digest).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::BuildFailed);
        let missing = layout.manifest(&digest_of(b"none")).expect_err("missing");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
