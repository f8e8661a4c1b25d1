//! An archive that another tool wrote, taken into a layout: OCI's kind, and Docker's own.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>,
//! <https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format>
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Component, Path, PathBuf},
};

use carrack_core::{Error, ErrorKind, Result};
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};
use tokio_util::sync::CancellationToken;

use super::{
    build::Built,
    configuration::Configuration,
    layer::{FORMAT, Layer, compress},
    layout::{Layout, digest_of, digest_text, failed},
    manifest::{CONFIG, Content, LAYER, LAYER_GZIP, MANIFEST, Manifest, Part, layer_type},
    spec::{DOCKERFILE, Platform, invalid},
};

/// Manifests and configurations have a few kB.
const LONGEST_JSON: u64 = 4 * 1024 * 1024;
/// An index in an index; nobody nests deeper.
const INDEX_DEPTH: usize = 3;

/// Where an image goes, and for what it is.
pub(crate) struct Import<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) name: &'a str,
    pub(crate) platform: Platform,
    pub(crate) threads: usize,
    pub(crate) cancel: &'a CancellationToken,
}

/// One file of a tar: where it begins, and how long it is.
#[derive(Clone, Debug)]
enum Member {
    File { at: u64, size: u64 },
    Link(PathBuf),
}

struct Tar {
    file: File,
    members: HashMap<PathBuf, Member>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Part>,
}

/// One image of Docker's own archive.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: PathBuf,
    layers: Vec<PathBuf>,
}

impl Import<'_> {
    /// Takes the one image of the archive, under its name. What is not compressed is, as our own layers are.
    pub(crate) fn archive(&self, path: &Path) -> Result<Built> {
        let mut tar = Tar::open(path)?;
        let (bytes, manifest) = match tar.json::<Index>(Path::new("index.json"))? {
            Some(index) => self.oci(&mut tar, index)?,
            None => match tar.json::<Vec<Saved>>(Path::new("manifest.json"))? {
                Some(saved) => (None, self.docker(&mut tar, saved)?),
                None => return Err(broken("it has neither an `index.json` nor a `manifest.json`")),
            },
        };
        self.check_platform(&manifest)?;
        let size: u64 = manifest.layers.iter().chain([&manifest.config]).map(|part| part.size).sum();
        let layers = manifest.layers.len();
        let manifest = match bytes {
            // Nothing of it changed, and so its digest does not.
            Some(bytes) => {
                let digest = digest_of(&bytes);
                self.layout.write(&bytes, &digest)?;
                Part::new(MANIFEST, digest, bytes.len() as u64)
            }
            None => self.layout.write_json(MANIFEST, &manifest)?,
        };
        self.layout.name(self.name, &manifest)?;
        let layout = self.layout.root().to_owned();
        Ok(Built { digest: manifest.digest.clone(), layout, size: size + manifest.size, layers })
    }

    /// With the manifest's bytes when the image can stay as it is.
    fn oci(&self, tar: &mut Tar, index: Index) -> Result<(Option<Vec<u8>>, Manifest)> {
        let mut only = match index.manifests.as_slice() {
            [only] => only.digest.clone(),
            all => return Err(broken(format!("it has {} images, not one", all.len()))),
        };
        for _ in 0..INDEX_DEPTH {
            let bytes = tar.blob_bytes(&only)?;
            match Content::read(&bytes, None).map_err(|error| broken(error.message()))? {
                Content::Manifest(manifest) => return self.oci_image(tar, bytes, manifest),
                Content::Index(index) => {
                    let chosen = index.choose(self.platform).ok_or_else(|| self.other_platform(&index.platforms()))?;
                    only.clone_from(&chosen.digest);
                }
            }
        }
        Err(broken(format!("its indexes are nested more than {INDEX_DEPTH} deep")))
    }

    fn oci_image(&self, tar: &mut Tar, bytes: Vec<u8>, manifest: Manifest) -> Result<(Option<Vec<u8>>, Manifest)> {
        let config = tar.blob_bytes(&manifest.config.digest)?;
        self.layout.write(&config, &manifest.config.digest)?;
        let mut layers = Vec::new();
        for part in &manifest.layers {
            let kind = layer_type(&part.media_type);
            let kind = kind.ok_or_else(|| broken(format!("it has a layer of type `{}`", part.media_type)))?;
            layers.push(if kind == LAYER {
                let member = tar.find(&blob_path(&part.digest)?)?;
                self.pack(tar, member, Some(&part.digest))?
            } else {
                self.take(tar, part)?;
                Part { media_type: kind.to_owned(), ..part.clone() }
            });
        }
        let is_ours = manifest.media_type.as_deref().is_none_or(|kind| kind == MANIFEST);
        if is_ours && layers == manifest.layers {
            return Ok((Some(bytes), manifest));
        }
        let mut packed = Manifest::new(Part { media_type: CONFIG.to_owned(), ..manifest.config }, layers);
        packed.annotations = manifest.annotations;
        Ok((None, packed))
    }

    fn docker(&self, tar: &mut Tar, saved: Vec<Saved>) -> Result<Manifest> {
        let [image] = saved.as_slice() else {
            return Err(broken(format!("it has {} images, not one", saved.len())));
        };
        let config = tar.bytes(&image.config)?;
        let configuration: Configuration =
            serde_json::from_slice(&config).map_err(|error| broken(format!("its configuration: {error}")))?;
        let diff_ids = &configuration.rootfs.diff_ids;
        if diff_ids.len() != image.layers.len() {
            return Err(broken(format!("it has {} layers and names {}", image.layers.len(), diff_ids.len())));
        }
        let mut layers = Vec::new();
        for (path, diff_id) in image.layers.iter().zip(diff_ids) {
            let member = tar.find(path)?;
            layers.push(self.pack(tar, member, Some(diff_id))?);
        }
        let digest = digest_of(&config);
        self.layout.write(&config, &digest)?;
        Ok(Manifest::new(Part::new(CONFIG, digest, config.len() as u64), layers))
    }

    /// Compresses a layer that is not; the same one only once.
    fn pack(&self, tar: &mut Tar, (at, size): (u64, u64), diff_id: Option<&str>) -> Result<Part> {
        let key = diff_id.map(|diff_id| format!("packed-{FORMAT}-{}", diff_id.replace(':', "-")));
        let known = key.as_ref().and_then(|key| self.layout.recall::<Layer>(key));
        let layer = match known.filter(|layer| self.layout.has(&layer.digest, layer.size)) {
            Some(layer) => layer,
            None => {
                // The compressor reads a file to its end.
                let mut alone = self.layout.temporary()?;
                tar.copy(at, size, alone.as_file_mut(), self.cancel)?;
                alone.as_file_mut().rewind().map_err(|error| failed("reading", alone.path(), error))?;
                let file = alone.reopen().map_err(|error| failed("reading", alone.path(), error))?;
                let layer = compress(self.layout, self.threads, self.cancel, file)?;
                if let Some(wanted) = diff_id.filter(|wanted| **wanted != layer.diff_id) {
                    return Err(broken(format!("it has `{}` where it names `{wanted}`", layer.diff_id)));
                }
                if let Some(key) = &key {
                    self.layout.remember(key, &layer)?;
                }
                layer
            }
        };
        Ok(Part::new(LAYER_GZIP, layer.digest, layer.size))
    }

    /// Takes a blob as it is.
    fn take(&self, tar: &mut Tar, part: &Part) -> Result<()> {
        if self.layout.has(&part.digest, part.size) {
            return Ok(());
        }
        let (at, size) = tar.find(&blob_path(&part.digest)?)?;
        let mut file = self.layout.temporary()?;
        let digest = tar.copy(at, size, file.as_file_mut(), self.cancel)?;
        if digest != part.digest || size != part.size {
            return Err(broken(format!("it has `{digest}` where it names `{}`", part.digest)));
        }
        self.layout.adopt(file, &part.digest)
    }

    fn check_platform(&self, manifest: &Manifest) -> Result<()> {
        let bytes = self.layout.read(&manifest.config.digest)?.unwrap_or_default();
        let configuration: Configuration =
            serde_json::from_slice(&bytes).map_err(|error| broken(format!("its configuration: {error}")))?;
        let built = format!("{}/{}", configuration.os, configuration.architecture);
        if built == self.platform.to_string() { Ok(()) } else { Err(self.other_platform(&[built])) }
    }

    fn other_platform(&self, built: &[String]) -> Error {
        invalid(DOCKERFILE, format!("the Dockerfile made an image for {}, not for {}", built.join(", "), self.platform))
            .with_kind(ErrorKind::BuildFailed)
            .hint("name no other platform after FROM")
    }
}

impl Tar {
    fn open(path: &Path) -> Result<Self> {
        let unreadable = |error| failed("reading", path, error);
        let file = File::open(path).map_err(unreadable)?;
        let mut archive = Archive::new(file);
        let mut members = HashMap::new();
        for entry in archive.entries_with_seek().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = plain(&entry.path().map_err(unreadable)?);
            let link = || entry.link_name().ok().flatten().map(|target| target.into_owned());
            let member = match entry.header().entry_type() {
                EntryType::Regular => Member::File { at: entry.raw_file_position(), size: entry.size() },
                EntryType::Symlink => match (link(), name.parent()) {
                    (Some(target), Some(folder)) => Member::Link(plain(&folder.join(target))),
                    _ => continue,
                },
                EntryType::Link => match link() {
                    Some(target) => Member::Link(plain(&target)),
                    None => continue,
                },
                _ => continue,
            };
            members.insert(name, member);
        }
        Ok(Self { file: archive.into_inner(), members })
    }

    fn find(&self, name: &Path) -> Result<(u64, u64)> {
        let mut name = plain(name);
        // Docker's archives name a layer that is there twice by a link.
        for _ in 0..2 {
            match self.members.get(&name) {
                Some(Member::File { at, size }) => return Ok((*at, *size)),
                Some(Member::Link(target)) => name.clone_from(target),
                None => break,
            }
        }
        Err(broken(format!("it has no `{}`", name.display())))
    }

    fn bytes(&mut self, name: &Path) -> Result<Vec<u8>> {
        let (at, size) = self.find(name)?;
        if size > LONGEST_JSON {
            return Err(broken(format!("its `{}` has {size} bytes", name.display())));
        }
        let mut bytes = Vec::new();
        self.file
            .seek(SeekFrom::Start(at))
            .and_then(|_| (&self.file).take(size).read_to_end(&mut bytes))
            .map_err(|error| broken(error.to_string()))?;
        Ok(bytes)
    }

    fn json<T: DeserializeOwned>(&mut self, name: &Path) -> Result<Option<T>> {
        if !self.members.contains_key(name) {
            return Ok(None);
        }
        let bytes = self.bytes(name)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| broken(format!("`{}`: {error}", name.display())))
    }

    fn blob_bytes(&mut self, digest: &str) -> Result<Vec<u8>> {
        let bytes = self.bytes(&blob_path(digest)?)?;
        let got = digest_of(&bytes);
        if got == digest { Ok(bytes) } else { Err(broken(format!("it has `{got}` where it names `{digest}`"))) }
    }

    /// Copies a part of the archive; answers its digest.
    fn copy(&mut self, at: u64, size: u64, to: &mut File, cancel: &CancellationToken) -> Result<String> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 128 * 1024];
        let copied = self.file.seek(SeekFrom::Start(at)).and_then(|_| {
            let mut left = (&self.file).take(size);
            loop {
                let count = left.read(&mut buffer)?;
                if count == 0 || cancel.is_cancelled() {
                    return Ok(());
                }
                hash.update(&buffer[..count]);
                to.write_all(&buffer[..count])?;
            }
        });
        copied.map_err(|error: io::Error| broken(error.to_string()))?;
        if cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "interrupted"));
        }
        Ok(digest_text(&hash.finalize()))
    }
}

/// Without `./` in front and `..` inside: names are only looked up in the archive, never on the disk.
fn plain(name: &Path) -> PathBuf {
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
    path
}

fn blob_path(digest: &str) -> Result<PathBuf> {
    match digest.split_once(':') {
        Some((algorithm, hex)) => Ok(Path::new("blobs").join(algorithm).join(hex)),
        None => Err(broken(format!("`{digest}` is not a digest"))),
    }
}

fn broken(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::BuildFailed, format!("the built image cannot be taken: {}", why.into()))
}

#[cfg(test)]
mod tests;
