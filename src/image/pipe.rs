//! What a layer's bytes run through: hashed as they are read, before and after they are compressed.
use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
};

use gzp::{deflate::Gzip, par::compress::ParCompress};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

/// A sha256.
pub(crate) type Hash = [u8; 32];

/// Hashes what is read through it, and stops when the user interrupts.
pub(crate) struct Hasher<'a> {
    file: BufReader<File>,
    hash: Sha256,
    cancel: &'a CancellationToken,
}

impl<'a> Hasher<'a> {
    pub(crate) fn new(file: File, cancel: &'a CancellationToken) -> Self {
        Self { file: BufReader::with_capacity(128 * 1024, file), hash: Sha256::new(), cancel }
    }
    pub(crate) fn finish(self) -> Hash {
        self.hash.finalize().into()
    }
}

impl Read for Hasher<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        let count = self.file.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// Hashes the uncompressed bytes on their way to the compressor.
pub(crate) struct Counted<'a> {
    pub(crate) inner: ParCompress<'a, Gzip, Sink>,
    pub(crate) hash: Sha256,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }
    /// Does nothing: a flush would end a compressed block early.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes and counts the compressed bytes on their way to the disk.
///
/// It never fails, and keeps the first error instead: gzp's compressor panics when it is dropped over a failing
/// writer.
pub(crate) struct Sink {
    pub(crate) file: NamedTempFile,
    pub(crate) hash: Sha256,
    pub(crate) size: u64,
    pub(crate) error: Option<io::Error>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_none() {
            match self.file.write_all(bytes) {
                Ok(()) => {
                    self.hash.update(bytes);
                    self.size += bytes.len() as u64;
                }
                Err(error) => self.error = Some(error),
            }
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
