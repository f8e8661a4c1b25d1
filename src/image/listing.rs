//! What the layers of a base hold: names alone, read once for each layer and remembered.
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
    Directory,
    File,
    Link(PathBuf),
}

/// Every name of an image. Paths have no `/` in front.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing(BTreeMap<PathBuf, Kind>);

impl Listing {
    /// Of a base whose layers all lie in the layout; `None` when one does not, or cannot be read here.
    pub(crate) fn of(base: &BaseImage, layout: &Layout) -> Option<Self> {
        let mut listing = Self::default();
        for layer in &base.layers {
            for (path, kind) in names(layer, layout)? {
                listing.add(path, kind);
            }
        }
        Some(listing)
    }

    pub(crate) fn get(&self, path: &Path) -> Option<&Kind> {
        self.0.get(path)
    }

    fn add(&mut self, path: PathBuf, kind: Kind) {
        let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
        if name == OPAQUE {
            let folder = path.parent().map(Path::to_owned).unwrap_or_default();
            self.0.retain(|other, _| !other.starts_with(&folder) || *other == folder);
        } else if let Some(gone) = name.strip_prefix(WHITEOUT) {
            let gone = path.with_file_name(OsStr::from_bytes(gone));
            self.0.retain(|other, _| !other.starts_with(&gone));
        } else {
            for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                self.0.entry(parent.to_owned()).or_insert(Kind::Directory);
            }
            self.0.insert(path, kind);
        }
    }
}

fn names(layer: &Part, layout: &Layout) -> Option<Vec<(PathBuf, Kind)>> {
    if !layout.has(&layer.digest, layer.size) {
        return None;
    }
    let key = format!("files-{}", layer.digest.replace(':', "-"));
    if let Some(known) = layout.recall(&key) {
        return Some(known);
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
                        _ => {}
                    }
                }
            }
            EntryType::XGlobalHeader => {}
            _ => {
                let name = long_name.take().unwrap_or_else(|| entry.header().path_bytes().into_owned());
                let link = long_link.take().or_else(|| entry.header().link_name_bytes().map(|name| name.into_owned()));
                if let Some(path) = plain(&name) {
                    names.push((path, kind_of(kind, link)));
                }
            }
        }
        if names.len() > MOST_ENTRIES {
            return Err(io::Error::other("the layer has too many files"));
        }
    }
    Ok(names)
}

fn kind_of(kind: EntryType, link: Option<Vec<u8>>) -> Kind {
    match kind {
        EntryType::Directory => Kind::Directory,
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
mod tests {
    use super::*;

    fn tar(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, link) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o755);
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

    fn listing(layers: &[&[(&str, Option<&str>)]]) -> Listing {
        let mut listing = Listing::default();
        for layer in layers {
            for (path, kind) in read_all(tar(layer).as_slice()).expect("names") {
                listing.add(path, kind);
            }
        }
        listing
    }

    #[test]
    fn names_and_links_are_listed_and_whiteouts_remove() {
        let long = "a".repeat(200);
        let listing = listing(&[
            &[("./usr/lib/ld.so", None), ("lib", Some("usr/lib")), ("etc/a/b", None), ("var/x", None), (&long, None)],
            &[("etc/.wh.a", None), ("var/.wh..wh..opq", None), ("var/y", None)],
        ]);
        let get = |path: &str| listing.get(Path::new(path));
        assert_eq!(get("usr/lib/ld.so"), Some(&Kind::File));
        assert_eq!(get("usr"), Some(&Kind::Directory));
        assert_eq!(get("lib"), Some(&Kind::Link("usr/lib".into())));
        assert_eq!((get("etc/a"), get("etc/a/b"), get("var/x")), (None, None, None));
        assert_eq!(get("var/y"), Some(&Kind::File));
        assert_eq!(get(&long), Some(&Kind::File));
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
