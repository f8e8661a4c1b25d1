//! Reading and deleting blobs.
use axum::{
    body::Body,
    http::{Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};
use tokio_util::io::ReaderStream;

use super::{
    Answer, CONTENT_DIGEST, Face, Repository,
    range::{self, Part},
    text_header,
};
use crate::registry::{
    digest::Digest,
    error::{Code, Failure},
};

const READ_BUFFER_BYTES: usize = 64 * 1024;

/// A digest in a path or a query, or the error that says it is none.
pub(super) fn digest(text: &str) -> Result<Digest, Failure> {
    Digest::parse(text).ok_or_else(|| {
        Failure::bad_request(Code::DigestInvalid, "this is not a sha256 digest")
            .detail(serde_json::json!({ "digest": text }))
    })
}

fn unknown(digest: &Digest) -> Failure {
    Failure::not_found(Code::BlobUnknown, "the blob is not in this repository")
        .detail(serde_json::json!({ "digest": digest.as_str() }))
}

impl Face {
    pub(super) async fn get_blob(&self, repository: &Repository, text: &str, parts: &Parts) -> Answer {
        let digest = digest(text)?;
        let size = self.registry.index().blob(&repository.stored, &digest).ok_or_else(|| unknown(&digest))?;
        let common = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        // RFC 9110 defines ranges for GET alone.
        let part = match parts.method {
            Method::GET => range::requested(text_header(&parts.headers, &header::RANGE), size),
            _ => Part::Whole,
        };
        let (status, first, length) = match part {
            Part::Whole => (StatusCode::OK, 0, size),
            Part::Bytes(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
            Part::Unsatisfiable => {
                return Err(Failure::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    Code::SizeInvalid,
                    format!("the blob has {size} bytes"),
                )
                .header(header::CONTENT_RANGE, format!("bytes */{size}")));
            }
        };
        let body = if parts.method == Method::HEAD { Body::empty() } else { self.open(&digest, first, length).await? };
        let mut response: Response =
            (status, common, [(header::CONTENT_LENGTH, length)].map(|(name, value)| (name, value.to_string())), body)
                .into_response();
        if status == StatusCode::PARTIAL_CONTENT {
            let value = format!("bytes {first}-{}/{size}", first + length - 1);
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
        }
        Ok(response)
    }

    async fn open(&self, digest: &Digest, first: u64, length: u64) -> Result<Body, Failure> {
        let mut file = match File::open(self.registry.0.store.blob(digest)).await {
            Ok(file) => file,
            // Cleared between the look into the index and here.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(unknown(digest));
            }
            Err(error) => return Err(error.into()),
        };
        if first > 0 {
            file.seek(std::io::SeekFrom::Start(first)).await?;
        }
        Ok(Body::from_stream(ReaderStream::with_capacity(file.take(length), READ_BUFFER_BYTES)))
    }

    /// The blob leaves this repository; its file stays for what runs from it.
    pub(super) fn delete_blob(&self, repository: &Repository, text: &str) -> Answer {
        let digest = digest(text)?;
        let mut index = self.registry.index();
        let removed = index.repository_mut(&repository.stored).is_some_and(|found| found.remove_blob(&digest));
        if removed { Ok(StatusCode::ACCEPTED.into_response()) } else { Err(unknown(&digest)) }
    }
}
