//! What the layers of a base hold: names, and whose each folder is; read once for each layer and remembered.
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io::{self, BufReader, Read},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use tar::{Archive, EntryType};

use super::{
    base::BaseImage,
    layout::Layout,
    manifest::{LAYER, LAYER_GZIP, Part},
    tree::MAX_LINKS,
};

/// More is no base that anybody starts a service from; a bomb has more.
const MOST_BYTES: u64 = 8 << 30;
const MOST_ENTRIES: usize = 1_000_000;
/// Of the extra headers that hold a long name.
const LONGEST_HEADER: u64 = 1 << 20;

/// <https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts>
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a name is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Directory(Folder),
    File,
    Link(PathBuf),
}

/// How a folder is: whose, and who may do what in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Folder {
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
}

impl Default for Folder {
    fn default() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0 }
    }
}

/// Every name of an image. Paths have no `/` in front.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing(BTreeMap<PathBuf, Kind>);

impl Listing {
    /// Of a base whose layers were read before or lie in the layout; `None` when one does not, or cannot be read here.
    pub(crate) fn of(base: &BaseImage, layout: &Layout) -> Option<Self> {
        let mut listing = Self::default();
        for layer in &base.layers {
            listing.add_layer(names(layer, layout)?);
        }
        Some(listing)
    }

    /// Where a folder's path really leads, whether something is there or not; `None` when its links are a circle.
    pub(crate) fn real(&self, path: &Path) -> Option<PathBuf> {
        let parts = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
        let mut left = parts(path);
        let (mut done, mut links) = (PathBuf::new(), 0);
        while let Some(part) = left.pop() {
            match part.as_bytes() {
                b"/" => done.clear(),
                b"." => {}
                b".." => {
                    done.pop();
                }
                _ => {
                    done.push(part);
                    if let Some(Kind::Link(target)) = self.get(&done) {
                        links += 1;
                        if links > MAX_LINKS {
                            return None;
                        }
                        done.pop();
                        left.extend(parts(target));
                    }
                }
            }
        }
        Some(done)
    }

    pub(crate) fn get(&self, path: &Path) -> Option<&Kind> {
        self.0.get(path)
    }

    /// Whiteouts first: they hide what is below this layer, in whatever order it has them.
    pub(crate) fn add_layer(&mut self, names: Vec<(PathBuf, Kind)>) {
        let (whiteouts, names): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|(path, _)| last(path).starts_with(WHITEOUT));
        for (path, kind) in whiteouts.into_iter().chain(names) {
            self.add(path, kind);
        }
    }

    fn add(&mut self, path: PathBuf, kind: Kind) {
        let name = last(&path);
        if name == OPAQUE {
            let folder = path.parent().map(Path::to_owned).unwrap_or_default();
            self.0.retain(|other, _| !other.starts_with(&folder) || *other == folder);
        } else if let Some(gone) = name.strip_prefix(WHITEOUT) {
            let gone = path.with_file_name(OsStr::from_bytes(gone));
            self.0.retain(|other, _| !other.starts_with(&gone));
        } else {
            for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                self.0.entry(parent.to_owned()).or_insert(Kind::Directory(Folder::default()));
            }
            let is_folder = |kind: &Kind| matches!(kind, Kind::Directory(_));
            if !is_folder(&kind) && self.0.get(&path).is_some_and(is_folder) {
                self.0.retain(|other, _| !other.starts_with(&path));
            }
            self.0.insert(path, kind);
        }
    }
}

fn last(path: &Path) -> &[u8] {
    path.file_name().map(OsStr::as_bytes).unwrap_or_default()
}

/// Whether a layer is of a kind that can be read here.
pub(crate) fn is_readable(layer: &Part) -> bool {
    matches!(layer.media_type.as_str(), LAYER | LAYER_GZIP)
}

/// Whether nothing has to be fetched to know what a layer holds.
pub(crate) fn is_here(layer: &Part, layout: &Layout) -> bool {
    layout.has(&layer.digest, layer.size) || layout.recall::<Vec<(PathBuf, Kind)>>(&key(layer)).is_some()
}

fn key(layer: &Part) -> String {
    format!("folders-{}", layer.digest.replace(':', "-"))
}

fn names(layer: &Part, layout: &Layout) -> Option<Vec<(PathBuf, Kind)>> {
    let key = key(layer);
    if let Some(known) = layout.recall(&key) {
        return Some(known);
    }
    if !layout.has(&layer.digest, layer.size) {
        return None;
    }
    let file = BufReader::new(File::open(layout.blob(&layer.digest).ok()?).ok()?);
    let read = match layer.media_type.as_str() {
        LAYER_GZIP => read_all(MultiGzDecoder::new(file)),
        LAYER => read_all(file),
        _ => return None,
    };
    let names = read.inspect_err(|error| tracing::debug!(layer = layer.digest, %error, "no list of files")).ok()?;
    // Made again next time when it cannot be kept.
    let _ = layout.remember(&key, &names);
    Some(names)
}

fn read_all(reader: impl Read) -> io::Result<Vec<(PathBuf, Kind)>> {
    let mut archive = Archive::new(reader.take(MOST_BYTES));
    let mut names = Vec::new();
    let (mut long_name, mut long_link) = (None, None);
    let (mut large_user, mut large_group) = (None, None);
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => long_name = Some(text(&mut entry)?),
            EntryType::GNULongLink => long_link = Some(text(&mut entry)?),
            EntryType::XHeader => {
                for (key, value) in extensions(&header_bytes(&mut entry)?) {
                    match key {
                        b"path" => long_name = Some(value.to_owned()),
                        b"linkpath" => long_link = Some(value.to_owned()),
                        b"uid" => large_user = number(value),
                        b"gid" => large_group = number(value),
                        _ => {}
                    }
                }
            }
            EntryType::XGlobalHeader => {}
            _ => {
                let name = long_name.take().unwrap_or_else(|| entry.header().path_bytes().into_owned());
                let link = long_link.take().or_else(|| entry.header().link_name_bytes().map(|name| name.into_owned()));
                // An empty number is 0, as for the programs that unpack it.
                let folder = Folder {
                    mode: entry.header().mode().unwrap_or_default() & 0o7777,
                    uid: large_user.take().unwrap_or_else(|| entry.header().uid().unwrap_or_default()),
                    gid: large_group.take().unwrap_or_else(|| entry.header().gid().unwrap_or_default()),
                };
                if let Some(path) = plain(&name) {
                    names.push((path, kind_of(kind, link, folder)));
                }
            }
        }
        if names.len() > MOST_ENTRIES {
            return Err(io::Error::other("the layer has too many files"));
        }
    }
    Ok(names)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn kind_of(kind: EntryType, link: Option<Vec<u8>>, folder: Folder) -> Kind {
    match kind {
        EntryType::Directory => Kind::Directory(folder),
        EntryType::Symlink => Kind::Link(OsStr::from_bytes(&link.unwrap_or_default()).into()),
        _ => Kind::File,
    }
}

/// Without `./` and `/` in front; `None` for the root, and for what leads out of it.
fn plain(name: &[u8]) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => return None,
            _ => {}
        }
    }
    (!path.as_os_str().is_empty()).then_some(path)
}

fn header_bytes<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Vec<u8>> {
    if entry.size() > LONGEST_HEADER {
        return Err(io::Error::other("a header is too long"));
    }
    let mut bytes = Vec::new();
    entry.take(LONGEST_HEADER).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Vec<u8>> {
    let mut bytes = header_bytes(entry)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

/// `LENGTH KEY=VALUE\n`, again and again: <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html>.
fn extensions(mut bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut found = Vec::new();
    while let Some(space) = bytes.iter().position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse::<usize>().ok());
        let Some(record) = length.and_then(|length| bytes.get(space + 1..length)) else { break };
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        if let Some(equals) = record.iter().position(|byte| *byte == b'=') {
            found.push((&record[..equals], &record[equals + 1..]));
        }
        bytes = &bytes[length.unwrap_or(bytes.len())..];
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn tar(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, link) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(if *name == "tmp/" { 0o1777 } else { 0o755 });
            let owner = if *name == "home/node/" { 1000 } else { 0 };
            header.set_uid(owner);
            header.set_gid(owner);
            match link {
                Some(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    tar.append_link(&mut header, name, target).expect("link");
                }
                None => {
                    let kind = if name.ends_with('/') { EntryType::Directory } else { EntryType::Regular };
                    header.set_entry_type(kind);
                    tar.append_data(&mut header, name, io::empty()).expect("entry");
                }
            }
        }
        tar.into_inner().expect("tar")
    }

    pub(crate) fn listing(layers: &[&[(&str, Option<&str>)]]) -> Listing {
        let mut listing = Listing::default();
        for layer in layers {
            listing.add_layer(read_all(tar(layer).as_slice()).expect("names"));
        }
        listing
    }

    #[test]
    fn names_and_links_are_listed_and_whiteouts_remove() {
        let long = "a".repeat(200);
        let listing = listing(&[
            &[("./usr/lib/ld.so", None), ("lib", Some("usr/lib")), ("etc/a/b", None), ("var/x", None), (&long, None)],
            &[("var/y", None), ("etc/.wh.a", None), ("var/.wh..wh..opq", None)],
        ]);
        let get = |path: &str| listing.get(Path::new(path));
        assert_eq!(get("usr/lib/ld.so"), Some(&Kind::File));
        assert_eq!(get("usr"), Some(&Kind::Directory(Folder::default())));
        assert_eq!(get("lib"), Some(&Kind::Link("usr/lib".into())));
        assert_eq!((get("etc/a"), get("etc/a/b"), get("var/x")), (None, None, None));
        assert_eq!(get("var/y"), Some(&Kind::File));
        assert_eq!(get(&long), Some(&Kind::File));
    }

    #[test]
    fn a_folder_is_as_the_topmost_layer_says() {
        let listing = listing(&[
            &[("tmp/", None), ("home/node/", None), ("a/b", None), ("opt/", None)],
            &[("home/node/.profile", None), ("a", Some("opt"))],
        ]);
        let get = |path: &str| listing.get(Path::new(path)).cloned();
        assert_eq!(get("tmp"), Some(Kind::Directory(Folder { mode: 0o1777, uid: 0, gid: 0 })));
        assert_eq!(get("home/node"), Some(Kind::Directory(Folder { mode: 0o755, uid: 1000, gid: 1000 })));
        assert_eq!(get("home"), Some(Kind::Directory(Folder::default())));
        assert_eq!((get("a"), get("a/b")), (Some(Kind::Link("opt".into())), None));
    }

    #[test]
    fn folders_are_followed_through_links() {
        let listing = listing(&[&[
            ("bin", Some("usr/bin")),
            ("usr/bin/sh", None),
            ("usr/lib", Some("../data/./lib")),
            ("data", Some("/srv/data")),
            ("x", Some("y")),
            ("y", Some("/x/z")),
        ]]);
        let real = |path: &str| listing.real(Path::new(path));
        assert_eq!(real("bin/new"), Some("usr/bin/new".into()));
        assert_eq!(real("usr/lib/a"), Some("srv/data/lib/a".into()));
        assert_eq!(real("none/at/all"), Some("none/at/all".into()));
        assert_eq!(real("x/a"), None);
    }

    proptest::proptest! {
        #[test]
        fn bytes_that_are_no_tar_are_no_harm(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2048),
            at in 0..1536_usize,
        ) {
            let _ = (read_all(bytes.as_slice()), extensions(&bytes));
            // A good one, with some of its bytes changed.
            let mut good = tar(&[("a/b", None), ("c", Some("a")), (&"long/".repeat(50), None)]);
            for (place, byte) in good.iter_mut().skip(at).zip(bytes.iter().take(16)) {
                *place = *byte;
            }
            let _ = read_all(good.as_slice());
        }
    }

    #[test]
    fn long_names_of_the_other_kind_are_read() {
        let both = [(&b"path"[..], &b"a/b/c"[..]), (b"mtime", b"1")];
        assert_eq!(extensions(b"14 path=a/b/c\n11 mtime=1\n"), both);
        assert_eq!(extensions(b"99 path=a\n"), [].as_slice());
    }
}
