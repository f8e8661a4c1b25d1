//! The entries of one tar stream. Long names are resolved here and not by the `tar` crate, which would hold a
//! name of any length in memory.
use std::io::Read;

use tar::{Archive, EntryType, PaxExtensions};

use super::ExtractError;

/// Longest extension header (a path may have 4096 bytes, `PATH_MAX`).
const EXTENSION_BYTES: u64 = 1 << 20;

/// One entry, without its bytes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) path: Vec<u8>,
    pub(super) mode: u32,
    /// Seconds since 1970.
    pub(super) modified: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    /// A device, a fifo: not made.
    Other,
}

/// What the headers in front of an entry say about it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Calls `apply` for each entry with a reader of its bytes.
pub(super) fn each_entry<R: Read>(
    stream: R,
    mut apply: impl FnMut(Entry, &mut dyn Read) -> Result<(), ExtractError>,
) -> Result<(), ExtractError> {
    let mut archive = Archive::new(stream);
    let mut extensions = Extensions::default();
    for raw in archive.entries().map_err(malformed)?.raw(true) {
        let mut raw = raw.map_err(malformed)?;
        let kind = raw.header().entry_type();
        if kind.is_gnu_longname() {
            extensions.path = Some(without_zeros(bounded(&mut raw)?));
        } else if kind.is_gnu_longlink() {
            extensions.link = Some(without_zeros(bounded(&mut raw)?));
        } else if kind.is_pax_local_extensions() {
            parse_pax(&bounded(&mut raw)?, &mut extensions)?;
        } else if kind.is_pax_global_extensions() {
            // Comments, in practice (`git archive` writes one).
            bounded(&mut raw)?;
        } else {
            let extensions = std::mem::take(&mut extensions);
            let entry = entry(raw.header(), extensions)?;
            apply(entry, &mut raw)?;
        }
    }
    Ok(())
}

fn entry(header: &tar::Header, extensions: Extensions) -> Result<Entry, ExtractError> {
    // Two sizes would be two archives: one for each reader.
    if extensions.size.is_some_and(|size| header.entry_size().ok() != Some(size)) {
        return Err(ExtractError::image("a layer gives two sizes for one entry"));
    }
    let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let link = || {
        extensions
            .link
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .filter(|link| !link.is_empty())
            .ok_or_else(|| ExtractError::image(format!("the link `{}` in a layer has no target", show(&path))))
    };
    let kind = match header.entry_type() {
        EntryType::Directory => Kind::Directory,
        // Before POSIX a directory was a file whose name ends in a slash.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Symlink => Kind::Symlink(link()?),
        EntryType::Link => Kind::HardLink(link()?),
        EntryType::Block | EntryType::Char | EntryType::Fifo => Kind::Other,
        EntryType::GNUSparse => return Err(sparse(&path)),
        other => {
            return Err(ExtractError::image(format!(
                "`{}` in a layer has the unknown type {:?}",
                show(&path),
                char::from(other.as_byte())
            )));
        }
    };
    let mode = header.mode().map_err(malformed)?;
    // A time before 1970 or no number at all is no reason to refuse an image.
    let modified = header.mtime().unwrap_or(0);
    Ok(Entry { kind, path, mode, modified })
}

/// <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_03>
fn parse_pax(bytes: &[u8], extensions: &mut Extensions) -> Result<(), ExtractError> {
    for extension in PaxExtensions::new(bytes) {
        let extension = extension.map_err(malformed)?;
        match extension.key_bytes() {
            b"path" => extensions.path = Some(extension.value_bytes().to_vec()),
            b"linkpath" => extensions.link = Some(extension.value_bytes().to_vec()),
            b"size" => {
                let size = extension.value().ok().and_then(|value| value.parse().ok());
                extensions.size = Some(size.ok_or_else(|| ExtractError::image("a layer has an entry of no size"))?);
            }
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(sparse(extensions.path.as_deref().unwrap_or(b"?")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn bounded(entry: &mut impl Read) -> Result<Vec<u8>, ExtractError> {
    let mut bytes = Vec::new();
    entry.take(EXTENSION_BYTES + 1).read_to_end(&mut bytes).map_err(malformed)?;
    if bytes.len() as u64 > EXTENSION_BYTES {
        return Err(ExtractError::image("a layer has an entry whose name has no end"));
    }
    Ok(bytes)
}

fn without_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

fn malformed(error: std::io::Error) -> ExtractError {
    ExtractError::image(format!("a layer is not a tar archive: {error}"))
}

fn sparse(path: &[u8]) -> ExtractError {
    ExtractError::image(format!("`{}` in a layer is a sparse file, which images do not use", show(path)))
}

/// A path from a layer, for a text.
pub(super) fn show(path: &[u8]) -> String {
    path.escape_ascii().take(256).map(char::from).collect()
}
