//! One blob, streamed from disk, started anew when it breaks.
//!
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#post-then-put>
use std::{fs::File, path::Path, sync::Arc, time::Duration};

use carrack_core::{Error, ErrorKind, Result, retry::retry};
use carrack_http::{Body, Response};
use futures_util::TryStreamExt;
use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use tokio_util::io::ReaderStream;

use super::{
    layout::failed,
    progress::Part,
    refusal::unexpected,
    registry::{Missing, Repository},
};

/// Read from the disk at once.
const PIECE_BYTES: usize = 128 * 1024;
/// A slower line is taken for a dead one, after the first minute.
const SLOWEST_BYTES_PER_SECOND: u64 = 20 * 1024;

/// A blob to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blob<'a> {
    pub(crate) path: &'a Path,
    pub(crate) digest: &'a str,
    pub(crate) size: u64,
}

/// Sends a blob. Whatever breaks, each new attempt begins with a new session.
pub(crate) async fn upload(repository: &Repository<'_>, blob: Blob<'_>, part: &Part) -> Result<()> {
    let name = format!("upload of {}", blob.digest);
    retry(repository.cx, repository.http.retry_policy(), &name, |_| attempt(repository, blob, part)).await
}

async fn attempt(repository: &Repository<'_>, blob: Blob<'_>, part: &Part) -> Result<()> {
    let uploads = repository.url("blobs/uploads/")?;
    let session = repository
        .send(Method::POST, &uploads, Missing::Error, |request| {
            // A session too many does no harm: the registry forgets it.
            request.once().idempotent().header(CONTENT_LENGTH, HeaderValue::from_static("0"))
        })
        .await?;
    if session.status != StatusCode::ACCEPTED {
        return Err(unexpected(&session, "to the start of an upload"));
    }
    let mut target = repository.location(&session, &uploads)?;
    target.query_pairs_mut().append_pair("digest", blob.digest);
    put(repository, blob, part, &target).await
}

async fn put(repository: &Repository<'_>, blob: Blob<'_>, part: &Part, target: &Url) -> Result<()> {
    let (path, part) = (blob.path.to_owned(), part.clone());
    let body = Body::Stream(Arc::new(move || {
        part.restart();
        let file = File::open(&path).map_err(|error| failed("reading", &path, error))?;
        let part = part.clone();
        let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE_BYTES)
            .inspect_ok(move |piece| part.add(piece.len() as u64));
        Ok(reqwest::Body::wrap_stream(stream))
    }));
    let patience = Duration::from_secs(60 + blob.size / SLOWEST_BYTES_PER_SECOND);
    let response = repository
        .send(Method::PUT, target, Missing::Error, |request| {
            request
                .once()
                .timeout(Some(patience))
                .header(CONTENT_LENGTH, HeaderValue::from(blob.size))
                .header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
                .body(body.clone())
        })
        .await?;
    if response.status != StatusCode::CREATED {
        return Err(unexpected(&response, "to the end of an upload"));
    }
    check_digest(&response, blob.digest)
}

/// A registry that says what it stored must say what was sent.
pub(crate) fn check_digest(response: &Response, sent: &str) -> Result<()> {
    match response.header("docker-content-digest") {
        Some(stored) if stored != sent => {
            Err(Error::new(ErrorKind::BuildFailed, format!("the registry stored `{stored}` where `{sent}` was sent"))
                .with_request(response.request.clone()))
        }
        _ => Ok(()),
    }
}
