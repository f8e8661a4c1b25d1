//! One layer's bytes: hashed as they are read, decompressed, and bounded.
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::ExtractError;

/// How a layer is compressed, by its media type.
/// <https://github.com/opencontainers/image-spec/blob/main/layer.md>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
}

fn compression(media_type: &str) -> Result<Compression, ExtractError> {
    if media_type.ends_with("+gzip") || media_type.ends_with(".tar.gzip") {
        Ok(Compression::Gzip)
    } else if media_type.ends_with(".tar") {
        Ok(Compression::None)
    } else if media_type.ends_with("+zstd") {
        Err(ExtractError::image("the local cloud does not unpack zstd layers; push the image with gzip layers"))
    } else {
        Err(ExtractError::image(format!("a layer has the unknown media type `{media_type}`")))
    }
}

/// A layer's tar stream. Reads no more than `remaining` bytes out of it.
pub(super) struct Blob<'budget> {
    source: Source,
    remaining: &'budget mut u64,
    exceeded: bool,
}

enum Source {
    Plain(Hashing),
    Gzip(Box<MultiGzDecoder<Hashing>>),
}

impl<'budget> Blob<'budget> {
    pub(super) fn open(path: &Path, media_type: &str, remaining: &'budget mut u64) -> Result<Self, ExtractError> {
        let compression = compression(media_type)?;
        let file = File::open(path).map_err(|error| ExtractError::host("opening a layer", error))?;
        let hashing = Hashing { file, hasher: Sha256::new() };
        let source = match compression {
            Compression::None => Source::Plain(hashing),
            Compression::Gzip => Source::Gzip(Box::new(MultiGzDecoder::new(hashing))),
        };
        Ok(Self { source, remaining, exceeded: false })
    }

    /// True once the stream wanted to be longer than the budget.
    pub(super) fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// Reads what the decoder left and compares the digest of the whole blob.
    pub(super) fn verify(self, digest: &str) -> Result<(), ExtractError> {
        let mut hashing = match self.source {
            Source::Plain(hashing) => hashing,
            Source::Gzip(decoder) => decoder.into_inner(),
        };
        io::copy(&mut hashing, &mut io::sink()).map_err(|error| ExtractError::host("reading a layer", error))?;
        let found = hashing.hasher.finalize();
        let mut text = String::from("sha256:");
        for byte in found {
            text.push_str(&format!("{byte:02x}"));
        }
        if text == digest {
            Ok(())
        } else {
            Err(ExtractError::image(format!("layer `{digest}` is damaged: its bytes are `{text}`")))
        }
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.source {
            Source::Plain(reader) => reader.read(buffer)?,
            Source::Gzip(reader) => reader.read(buffer)?,
        };
        match self.remaining.checked_sub(count as u64) {
            Some(left) => *self.remaining = left,
            None => {
                self.exceeded = true;
                return Err(io::Error::other("the layer is larger than allowed"));
            }
        }
        Ok(count)
    }
}

struct Hashing {
    file: File,
    hasher: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        for (media_type, expected) in [
            ("application/vnd.oci.image.layer.v1.tar", Some(Compression::None)),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Some(Compression::Gzip)),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Some(Compression::Gzip)),
            ("application/vnd.docker.image.rootfs.diff.tar", Some(Compression::None)),
            ("application/vnd.oci.image.layer.v1.tar+zstd", None),
            ("text/plain", None),
        ] {
            assert_eq!(compression(media_type).ok(), expected, "{media_type}");
        }
    }
}
