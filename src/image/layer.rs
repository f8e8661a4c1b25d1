//! One reproducible tar, compressed and hashed in one pass, cached by content.
//!
//! Same files, same bytes: entries are sorted, times fixed, owners root and modes reduced to two (but for
//! folders of a base), and the compressor always cuts blocks of one size, so that neither the machine nor the number
//! of threads shows.
use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use carrack_core::{Error, ErrorKind, Result};
use gzp::{
    Compression, GzpError, ZWriter,
    deflate::Gzip,
    par::compress::{ParCompress, ParCompressBuilder},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};
use tokio_util::sync::CancellationToken;

use super::{
    layout::{Layout, digest_text, failed},
    listing::Folder,
    missing::unreadable,
    pipe::{Counted, Hash, Hasher, Sink},
    spec::{BuildSpec, FILES, invalid},
    tree::{LayerPlan, Node},
};

/// Part of the cache's key: a test holds the digest of a known layer, and whoever has to change it, because
/// another compressor writes other bytes, counts this up.
pub(crate) const FORMAT: u32 = 1;

/// Uncompressed bytes of one block. A fixed size makes the result the same for any number of threads; larger
/// blocks compress better and need more memory (about four blocks a thread).
const BLOCK_BYTES: usize = 512 * 1024;

/// The same default as gzip's own.
const LEVEL: u32 = 6;

/// Programs; other files.
const MODES: (u32, u32) = (0o755, 0o644);

/// A compressed layer that lies in the layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// Of the compressed bytes.
    pub(crate) digest: String,
    /// Compressed.
    pub(crate) size: u64,
    /// Of the uncompressed bytes.
    pub(crate) diff_id: String,
}

/// How layers are written.
pub(crate) struct Writer<'a> {
    pub(crate) spec: &'a BuildSpec,
    pub(crate) layout: &'a Layout,
    pub(crate) threads: usize,
    pub(crate) cancel: &'a CancellationToken,
}

impl Writer<'_> {
    /// The layer of these entries: from the cache when the same was made before, else made now.
    pub(crate) fn layer(&self, plan: &LayerPlan) -> Result<Layer> {
        let (key, hashes) = self.key(plan)?;
        if let Some(layer) = self.layout.recall::<Layer>(&key)
            && self.layout.has(&layer.digest, layer.size)
        {
            return Ok(layer);
        }
        let layer = self.write(plan, &hashes)?;
        self.layout.remember(&key, &layer)?;
        Ok(layer)
    }

    /// What the layer's bytes depend on, and the hash of each file in the order of the entries.
    fn key(&self, plan: &LayerPlan) -> Result<(String, Vec<Hash>)> {
        let mut key = Sha256::new();
        let mut hashes = Vec::new();
        key.update(format!("{FORMAT} {} {LEVEL} {BLOCK_BYTES}\n", self.epoch()));
        for (path, node) in &plan.nodes {
            let path = path.as_os_str().as_bytes();
            key.update((path.len() as u64).to_le_bytes());
            key.update(path);
            match node {
                Node::Directory(folder) if *folder == Folder::default() => key.update(b"d"),
                Node::Directory(Folder { mode, uid, gid }) => {
                    key.update(b"D");
                    key.update(mode.to_le_bytes());
                    key.update(uid.to_le_bytes());
                    key.update(gid.to_le_bytes());
                }
                Node::Link { target } => {
                    key.update(b"l");
                    key.update(Sha256::digest(target.as_os_str().as_bytes()));
                }
                Node::File { source, executable, .. } => {
                    let hash = self.hash(source)?;
                    key.update(if *executable { b"x" } else { b"f" });
                    key.update(hash);
                    hashes.push(hash);
                }
            }
        }
        Ok((digest_text(&key.finalize()).replace(':', "-"), hashes))
    }

    fn hash(&self, source: &Path) -> Result<Hash> {
        let unreadable = |error| unreadable(self.spec, source, error);
        let mut hasher = Hasher::new(File::open(source).map_err(unreadable)?, self.cancel);
        io::copy(&mut hasher, &mut io::sink()).map_err(|error| self.stopped(error, unreadable))?;
        Ok(hasher.finish())
    }

    fn write(&self, plan: &LayerPlan, hashes: &[Hash]) -> Result<Layer> {
        let mut tar = tar::Builder::new(compressor(self.layout, self.threads)?);
        self.append_all(&mut tar, plan, hashes)?;
        finish(tar.into_inner().map_err(|error| compressing(error.into()))?, self.layout)
    }

    fn append_all(&self, tar: &mut tar::Builder<impl Write>, plan: &LayerPlan, hashes: &[Hash]) -> Result<()> {
        let mut hashes = hashes.iter();
        for (path, node) in &plan.nodes {
            let entry = path.display();
            let refused = |error: io::Error| {
                Error::new(ErrorKind::BuildFailed, format!("packing `/{entry}` failed: {error}")).with_source(error)
            };
            match node {
                Node::Directory(folder) => {
                    // A `/` at the end marks a folder for tools that look at nothing else.
                    let mut path = path.clone();
                    path.push("");
                    let mut header = self.header(EntryType::Directory, folder.mode, 0);
                    header.set_uid(folder.uid);
                    header.set_gid(folder.gid);
                    tar.append_data(&mut header, path, io::empty()).map_err(refused)?;
                }
                Node::Link { target } => {
                    let mut header = self.header(EntryType::Symlink, 0o777, 0);
                    tar.append_link(&mut header, path, target).map_err(refused)?;
                }
                Node::File { source, size, executable } => {
                    let unreadable = |error| unreadable(self.spec, source, error);
                    let file = File::open(source).map_err(unreadable)?;
                    let mut hasher = Hasher::new(file, self.cancel);
                    let mode = if *executable { MODES.0 } else { MODES.1 };
                    let mut header = self.header(EntryType::Regular, mode, *size);
                    tar.append_data(&mut header, path, (&mut hasher).take(*size))
                        .map_err(|error| self.stopped(error, refused))?;
                    // One byte more than before is a change too.
                    let longer = io::copy(&mut hasher, &mut io::sink()).map_err(unreadable)? > 0;
                    if longer || hashes.next() != Some(&hasher.finish()) {
                        let shown = self.spec.shown(source);
                        return Err(invalid(FILES, format!("`{shown}` changed while it was read"))
                            .with_kind(ErrorKind::BuildFailed)
                            .hint("wait for what writes it, and build again"));
                    }
                }
            }
        }
        Ok(())
    }

    fn header(&self, kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.epoch());
        header.set_size(size);
        header
    }

    fn epoch(&self) -> u64 {
        self.spec.source_date_epoch.unwrap_or(0)
    }

    fn stopped(&self, error: io::Error, otherwise: impl FnOnce(io::Error) -> Error) -> Error {
        if self.cancel.is_cancelled() {
            return Error::new(ErrorKind::Cancelled, "interrupted");
        }
        otherwise(error)
    }
}

/// The layer of a tar that another tool wrote, compressed as our own are.
pub(crate) fn compress(layout: &Layout, threads: usize, cancel: &CancellationToken, tar: File) -> Result<Layer> {
    let mut counted = compressor(layout, threads)?;
    io::copy(&mut Hasher::new(tar, cancel), &mut counted).map_err(|error| {
        if cancel.is_cancelled() {
            return Error::new(ErrorKind::Cancelled, "interrupted");
        }
        compressing(error.into())
    })?;
    finish(counted, layout)
}

fn compressor<'a>(layout: &Layout, threads: usize) -> Result<Counted<'a>> {
    let sink = Sink { file: layout.temporary()?, hash: Sha256::new(), size: 0, error: None };
    let inner: ParCompress<'_, Gzip, Sink> = ParCompressBuilder::new()
        .compression_level(Compression::new(LEVEL))
        .buffer_size(BLOCK_BYTES)
        .and_then(|builder| builder.num_threads(threads.max(1)))
        .map_err(compressing)?
        .from_writer(sink);
    Ok(Counted { inner, hash: Sha256::new() })
}

fn finish(mut counted: Counted<'_>, layout: &Layout) -> Result<Layer> {
    let diff_id = digest_text(&counted.hash.finalize());
    let sink = counted.inner.finish().map_err(compressing)?;
    if let Some(error) = sink.error {
        return Err(failed("writing", sink.file.path(), error));
    }
    let layer = Layer { digest: digest_text(&sink.hash.finalize()), size: sink.size, diff_id };
    layout.adopt(sink.file, &layer.digest)?;
    Ok(layer)
}

fn compressing(error: GzpError) -> Error {
    Error::new(ErrorKind::BuildFailed, "compressing a layer failed").with_source(error)
}

#[cfg(test)]
mod tests;
