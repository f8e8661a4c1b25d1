//! The files: one a blob, named by its digest, and one an upload.
use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::{fs, io::AsyncReadExt, sync::RwLock};

use super::digest::Digest;

/// Files are only ever added by a rename and removed all at once by [`Store::clear`]: who holds a path may read it
/// even after the image was deleted, as a cloud keeps its own copy of what a revision runs.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    /// Held for reading from a rename until the index knows the blob, for writing by `clear`:
    /// else the index could list a blob whose file is gone.
    pub(super) gate: RwLock<()>,
}

impl Store {
    /// Drops what an earlier process left: the index is in memory, so nothing there is known any more.
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        let store = Self { root, gate: RwLock::new(()) };
        for dir in store.own_dirs() {
            match std::fs::remove_dir_all(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::create_dir_all(store.blobs())?;
        std::fs::create_dir_all(store.uploads())?;
        Ok(store)
    }

    /// The caller holds the gate for writing.
    pub(super) async fn clear(&self) -> io::Result<()> {
        for dir in self.own_dirs() {
            match fs::remove_dir_all(dir).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::create_dir_all(self.blobs()).await?;
        fs::create_dir_all(self.uploads()).await
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// Moves a finished upload to its place; replacing an equal file is harmless.
    pub(super) async fn adopt(&self, upload: &Path, digest: &Digest) -> io::Result<()> {
        fs::rename(upload, self.blob(digest)).await
    }

    /// Writes a small blob (a manifest) whole.
    pub(super) async fn write(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.uploads().join(uuid::Uuid::new_v4().simple().to_string());
        let written = match fs::write(&temporary, bytes).await {
            Ok(()) => self.adopt(&temporary, digest).await,
            Err(error) => Err(error),
        };
        if written.is_err() {
            let _ = fs::remove_file(&temporary).await;
        }
        written
    }

    /// Reads a blob whole, when it is not longer than `limit` bytes.
    pub(super) async fn read(&self, digest: &Digest, limit: u64) -> io::Result<Vec<u8>> {
        let file = fs::File::open(self.blob(digest)).await?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).await?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{digest}` is longer than {limit} bytes")));
        }
        Ok(bytes)
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    fn own_dirs(&self) -> [PathBuf; 2] {
        [self.root.join("blobs"), self.uploads()]
    }
}
