//! What a registry has: manifests by name, blobs into a layout. Nothing is believed before its digest agrees.
//!
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull>
use std::{
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use carrack_core::{Error, ErrorKind, Result};
use carrack_http::Response;
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE},
};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{
    layout::{Layout, digest_of, digest_text, failed},
    persist::persist,
    progress::Part as Share,
    refusal::unexpected,
    registry::{Missing, Repository},
};

/// Every kind of manifest that an image can have: OCI's, and Docker's before them.
/// <https://distribution.github.io/distribution/spec/manifest-v2-2/>
pub(crate) const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Registries take no larger ones: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests>.
const LONGEST_MANIFEST: usize = 4 * 1024 * 1024;

/// A manifest or an index, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) bytes: Bytes,
    pub(crate) digest: String,
    pub(crate) media_type: Option<String>,
}

/// Asks for a manifest by tag or digest; `None` when it is not there.
pub(crate) async fn ask(repository: &Repository<'_>, method: Method, name: &str) -> Result<Option<Response>> {
    let url = repository.url(&format!("manifests/{name}"))?;
    let response = repository
        .send(method, &url, Missing::Answer, |request| {
            request.at_most(LONGEST_MANIFEST).header(ACCEPT, HeaderValue::from_static(MANIFESTS))
        })
        .await?;
    match response.status {
        StatusCode::OK => Ok(Some(response)),
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(unexpected(&response, "to the question for a manifest")),
    }
}

/// The manifest of this tag or digest; `None` when it is not there.
pub(crate) async fn manifest(repository: &Repository<'_>, name: &str) -> Result<Option<Fetched>> {
    let Some(response) = ask(repository, Method::GET, name).await? else {
        return Ok(None);
    };
    let digest = digest_of(&response.body);
    // A tag has no colon.
    let wanted = name.contains(':').then_some(name).or_else(|| {
        let said = response.header("docker-content-digest");
        said.filter(|said| said.starts_with("sha256:"))
    });
    if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
        return Err(other_content(wanted, &digest).with_request(response.request.clone()));
    }
    let media_type = response.header(CONTENT_TYPE.as_str()).map(str::to_owned);
    Ok(Some(Fetched { bytes: response.body, digest, media_type }))
}

/// Fetches a blob into the layout, unless it lies there. A download that breaks goes on where it broke.
pub(crate) async fn blob(
    repository: &Repository<'_>,
    layout: &Layout,
    (digest, size): (&str, u64),
    share: &Share,
) -> Result<()> {
    if layout.has(digest, size) {
        share.add(size);
        return Ok(());
    }
    let partial = Arc::new(Mutex::new(Partial::new(layout, digest, size)?));
    let name = format!("download of {digest}");
    let reached = || lock(&partial).got;
    persist(repository.cx, repository.http.retry_policy(), &name, reached, |_| {
        attempt(repository, digest, &partial, share)
    })
    .await?;
    let partial = Arc::try_unwrap(partial).map_err(|_| Error::new(ErrorKind::Internal, "a download is still read"))?;
    layout.adopt(partial.into_inner().unwrap_or_else(PoisonError::into_inner).file, digest)
}

async fn attempt(
    repository: &Repository<'_>,
    digest: &str,
    partial: &Arc<Mutex<Partial>>,
    share: &Share,
) -> Result<()> {
    let from = {
        let mut held = lock(partial);
        // It broke after its last byte: there is nothing left to ask for.
        if held.got > 0 && held.got == held.size {
            return held.check(true).inspect_err(|_| held.restart(share));
        }
        held.got
    };
    let url = repository.url(&format!("blobs/{digest}"))?;
    let response = match fetch(repository, &url, from, partial, share).await {
        // It has no such part, so what came may be of something else.
        Err(error) if from > 0 && is_range_refused(&error) => {
            lock(partial).restart(share);
            return Err(error.with_kind(ErrorKind::Unavailable));
        }
        other => other?,
    };
    let held = lock(partial);
    match response.status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => held.check(from > 0).map_err(|error| {
            let restart = error.kind().is_retryable() && held.got >= held.size;
            drop(held);
            if restart {
                lock(partial).restart(share);
            }
            error.with_request(response.request.clone())
        }),
        StatusCode::NOT_FOUND => Err(Error::new(ErrorKind::NotFound, format!("the registry does not have `{digest}`"))
            .with_request(response.request.clone())),
        _ => Err(unexpected(&response, "to the question for a blob")),
    }
}

async fn fetch(
    repository: &Repository<'_>,
    url: &reqwest::Url,
    from: u64,
    partial: &Arc<Mutex<Partial>>,
    share: &Share,
) -> Result<Response> {
    let (held, share) = (Arc::clone(partial), share.clone());
    let begun = Mutex::new(false);
    let take = Arc::new(move |status: StatusCode, headers: &HeaderMap, piece: &[u8]| {
        let mut held = lock(&held);
        // A registry that takes no ranges begins again.
        let first = !std::mem::replace(&mut *begun.lock().unwrap_or_else(PoisonError::into_inner), true);
        if first && status != StatusCode::PARTIAL_CONTENT && held.got > 0 {
            held.restart(&share);
        }
        if first && status == StatusCode::PARTIAL_CONTENT && range_start(headers).is_some_and(|at| at != held.got) {
            let message = format!("the registry sent another part of `{}` than was asked for", held.digest);
            held.restart(&share);
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        held.take(piece)?;
        share.add(piece.len() as u64);
        Ok(())
    });
    let range = (from > 0).then(|| HeaderValue::from_str(&format!("bytes={from}-")).ok()).flatten();
    let what = format!("the download of {}", lock(partial).digest);
    let sent = repository.follow(Method::GET, url, Missing::Answer, |request| {
        let request = request.once().timeout(None).pieces(take.clone());
        match &range {
            Some(range) => request.header(RANGE, range.clone()),
            None => request,
        }
    });
    repository.patience.while_it_moves(&what, || lock(partial).got, None, sent).await
}

fn is_range_refused(error: &Error) -> bool {
    error.request().and_then(|request| request.status) == Some(StatusCode::RANGE_NOT_SATISFIABLE.as_u16())
}

/// Where a part begins: `bytes 40-99/100`. <https://www.rfc-editor.org/rfc/rfc9110#field.content-range>
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

/// What came so far of a blob.
struct Partial {
    file: NamedTempFile,
    hash: Sha256,
    got: u64,
    size: u64,
    digest: String,
}

impl Partial {
    fn new(layout: &Layout, digest: &str, size: u64) -> Result<Self> {
        layout.blob(digest)?;
        Ok(Self { file: layout.temporary()?, hash: Sha256::new(), got: 0, size, digest: digest.to_owned() })
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        if self.got + piece.len() as u64 > self.size {
            return Err(Error::new(
                ErrorKind::BuildFailed,
                format!("the registry sends more than the {} bytes that `{}` has", self.size, self.digest),
            ));
        }
        self.file.write_all(piece).map_err(|error| failed("writing", self.file.path(), error))?;
        self.hash.update(piece);
        self.got += piece.len() as u64;
        Ok(())
    }

    fn restart(&mut self, share: &Share) {
        use std::io::Seek;
        let _ = self.file.as_file_mut().set_len(0);
        let _ = self.file.as_file_mut().rewind();
        (self.hash, self.got) = (Sha256::new(), 0);
        share.restart();
    }

    /// Whether it is whole and what it should be. Two halves that do not fit may, when they come as one.
    fn check(&self, in_parts: bool) -> Result<()> {
        if self.got < self.size {
            let message = format!("the registry sent {} of the {} bytes of `{}`", self.got, self.size, self.digest);
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let digest = digest_text(&self.hash.clone().finalize());
        if digest == self.digest {
            return Ok(());
        }
        let error = other_content(&self.digest, &digest);
        Err(if in_parts { error.with_kind(ErrorKind::Unavailable) } else { error })
    }
}

fn other_content(wanted: &str, got: &str) -> Error {
    Error::new(ErrorKind::BuildFailed, format!("the registry sent `{got}` where `{wanted}` was asked for"))
        .hint("do not use this registry before somebody has looked at it")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
