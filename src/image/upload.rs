//! One blob, streamed from disk. What breaks goes on where the registry says, else with a new session.
//!
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs>
use std::{
    fs::File,
    io::{Seek, SeekFrom},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use carrack_core::{Error, ErrorKind, Result, error::RequestInfo, retry::retry};
use carrack_http::{Body, Response, redact};
use futures_util::TryStreamExt;
use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE},
};
use tokio_util::io::ReaderStream;

use super::{
    layout::failed,
    persist::persist,
    progress::Part,
    refusal::unexpected,
    registry::{Missing, Repository},
};

/// Read from the disk at once.
const PIECE_BYTES: usize = 128 * 1024;
/// For what is only tidied up.
const SHORTLY: Duration = Duration::from_secs(5);

/// A blob to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blob<'a> {
    pub(crate) path: &'a Path,
    pub(crate) digest: &'a str,
    pub(crate) size: u64,
}

/// An upload that the registry waits for.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    url: Url,
    /// Whether bytes went into it already, and how many came through is not known.
    broken: bool,
}

#[cfg(test)]
impl Session {
    pub(crate) fn at(url: Url) -> Self {
        Self { url, broken: false }
    }
}

/// Whether the repository has a blob.
pub(crate) async fn has_blob(repository: &Repository<'_>, digest: &str) -> Result<bool> {
    let url = repository.url(&format!("blobs/{digest}"))?;
    let elsewhere = |request: &RequestInfo| {
        request.url != redact::url(&url) || request.status.is_some_and(|status| (300..400).contains(&status))
    };
    match repository.follow(Method::HEAD, &url, Missing::Answer, |request| request).await {
        Ok(response) => Ok(response.status.is_success()),
        // The store's address may be signed for a download alone. Sending what is there does no harm.
        Err(error) if error.request().is_some_and(elsewhere) => {
            tracing::debug!(digest, %error, "whether the blob exists is not known");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// What the question for a mount came to.
pub(crate) enum Mounted {
    /// The repository has the blob now.
    Yes,
    /// It has to be sent: here, where the registry opened a session at once.
    No(Option<Session>),
}

/// Asks the registry to take a blob from another of its repositories.
/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#mounting-a-blob-from-another-repository>
pub(crate) async fn mount(repository: &Repository<'_>, digest: &str, from: &str) -> Result<Mounted> {
    let mut uploads = repository.url("blobs/uploads/")?;
    uploads.query_pairs_mut().append_pair("mount", digest).append_pair("from", from);
    let name = format!("mount of {digest}");
    let asked = retry(repository.cx, repository.http.retry_policy(), &name, async |_| open(repository, &uploads).await);
    let response = match asked.await {
        Ok(response) => response,
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        // A mount is a hint alone. Registries may refuse what they do not know, or what we may not read, and may be
        // busy with it for good; sending it is still allowed.
        Err(error) => {
            tracing::debug!(digest, from, %error, "not mounted");
            return Ok(Mounted::No(None));
        }
    };
    match response.status {
        StatusCode::CREATED => {
            check_digest(&response, digest)?;
            Ok(Mounted::Yes)
        }
        StatusCode::ACCEPTED => {
            let url = repository.location(&response, &uploads)?;
            Ok(Mounted::No(Some(Session { url, broken: false })))
        }
        _ => Ok(Mounted::No(None)),
    }
}

/// Sends a blob, into `session` when there is one already.
pub(crate) async fn upload(
    repository: &Repository<'_>,
    blob: Blob<'_>,
    part: &Part,
    session: Option<Session>,
) -> Result<()> {
    let name = format!("upload of {}", blob.digest);
    let held = Mutex::new(session);
    let reached = AtomicU64::new(0);
    let attempt = async |_| {
        let session = lock(&held).take();
        let (session, from) = match session {
            Some(session) if session.broken => {
                let Some((session, from)) = resume(repository, blob, session).await? else {
                    part.set(blob.size);
                    return Ok(());
                };
                reached.store(from, Ordering::Relaxed);
                (session, from)
            }
            Some(session) => (session, 0),
            None => (begin(repository).await?, 0),
        };
        let Err(error) = send(repository, blob, part, &session, from).await else { return Ok(()) };
        let answered = error.request().and_then(|request| request.status);
        match answered {
            // It broke on the way, or the registry is busy: what it has of the blob is asked next time.
            None | Some(429 | 500..) => *lock(&held) = Some(Session { broken: true, ..session }),
            // Where an upload was resumed, the refusal may be for that alone.
            Some(_) if from > 0 && !matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Timeout) => {
                abandon(repository, &session).await;
                return Err(error.with_kind(ErrorKind::Unavailable));
            }
            Some(_) => {}
        }
        Err(error)
    };
    let policy = repository.http.retry_policy();
    persist(repository.cx, policy, &name, || reached.load(Ordering::Relaxed), attempt).await
}

async fn begin(repository: &Repository<'_>) -> Result<Session> {
    let uploads = repository.url("blobs/uploads/")?;
    let response = open(repository, &uploads).await?;
    if response.status != StatusCode::ACCEPTED {
        return Err(unexpected(&response, "to the start of an upload"));
    }
    Ok(Session { url: repository.location(&response, &uploads)?, broken: false })
}

async fn open(repository: &Repository<'_>, uploads: &Url) -> Result<Response> {
    repository
        .send(Method::POST, uploads, Missing::Error, |request| {
            // A session too many does no harm: the registry forgets it.
            request.once().idempotent().header(CONTENT_LENGTH, HeaderValue::from_static("0"))
        })
        .await
}

/// Asks how much of the blob came through; where the registry does not say, there is a new session. `None` when it
/// has all of it.
/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-a-blob-in-chunks>
async fn resume(repository: &Repository<'_>, blob: Blob<'_>, session: Session) -> Result<Option<(Session, u64)>> {
    let asked = repository.send(Method::GET, &session.url, Missing::Answer, |request| request.once()).await;
    let known = match asked {
        Ok(response) if response.status == StatusCode::NO_CONTENT => {
            let url = repository.location(&response, &session.url).unwrap_or_else(|_| session.url.clone());
            received(&response).filter(|received| *received <= blob.size).map(|received| (url, received))
        }
        // It ended well and the answer was lost, or the registry forgot it with the connection.
        Ok(response) if response.status == StatusCode::NOT_FOUND => {
            if has_blob(repository, blob.digest).await? {
                return Ok(None);
            }
            return Ok(Some((begin(repository).await?, 0)));
        }
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => {
            tracing::debug!(digest = blob.digest, %error, "the upload cannot be resumed");
            None
        }
    };
    if let Some((url, received)) = known {
        return Ok(Some((Session { url, broken: true }, received)));
    }
    abandon(repository, &session).await;
    Ok(Some((begin(repository).await?, 0)))
}

/// `0-N` says that N+1 bytes are there. `0-0` is also what registries say of none, so it says nothing.
fn received(response: &Response) -> Option<u64> {
    let range = response.header(RANGE.as_str())?;
    let last: u64 = range.trim_start_matches("bytes=").strip_prefix("0-")?.trim().parse().ok()?;
    (last > 0).then_some(last + 1)
}

/// Tells the registry that a session is not needed any more; whether it listens does not matter.
async fn abandon(repository: &Repository<'_>, session: &Session) {
    let told = repository
        .send(Method::DELETE, &session.url, Missing::Answer, |request| request.once().timeout(Some(SHORTLY)))
        .await;
    if let Err(error) = told {
        tracing::debug!(%error, "an upload was not cancelled");
    }
}

/// The whole blob in one PUT; the rest of one in a PATCH, and an empty PUT after it.
async fn send(repository: &Repository<'_>, blob: Blob<'_>, part: &Part, session: &Session, from: u64) -> Result<()> {
    let mut url = session.url.clone();
    if from > 0 && from < blob.size {
        let response = stream(repository, Method::PATCH, &url, blob, part, from).await?;
        if response.status != StatusCode::ACCEPTED {
            return Err(unexpected(&response, "to a part of an upload"));
        }
        url = repository.location(&response, &url)?;
    }
    url.query_pairs_mut().append_pair("digest", blob.digest);
    let response = if from > 0 {
        part.set(blob.size);
        repository
            .send(Method::PUT, &url, Missing::Error, |request| {
                request.once().header(CONTENT_LENGTH, HeaderValue::from_static("0"))
            })
            .await?
    } else {
        stream(repository, Method::PUT, &url, blob, part, 0).await?
    };
    if response.status != StatusCode::CREATED {
        return Err(unexpected(&response, "to the end of an upload"));
    }
    check_digest(&response, blob.digest)
}

/// Reads from the disk as fast as the registry takes it: memory does not depend on the blob's size.
async fn stream(
    repository: &Repository<'_>,
    method: Method,
    url: &Url,
    blob: Blob<'_>,
    part: &Part,
    from: u64,
) -> Result<Response> {
    let (path, shared) = (blob.path.to_owned(), part.clone());
    let body = Body::Stream(Arc::new(move || {
        shared.set(from);
        let mut file = File::open(&path).map_err(|error| failed("reading", &path, error))?;
        file.seek(SeekFrom::Start(from)).map_err(|error| failed("reading", &path, error))?;
        let part = shared.clone();
        let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE_BYTES)
            .inspect_ok(move |piece| part.add(piece.len() as u64));
        Ok(reqwest::Body::wrap_stream(stream))
    }));
    let range = HeaderValue::from_str(&format!("{from}-{}", blob.size.saturating_sub(1)))
        .map_err(|error| Error::new(ErrorKind::Internal, "a range is no header").with_source(error))?;
    let what = format!("the upload of {}", blob.digest);
    let sent = repository.send(method, url, Missing::Error, |request| {
        let request = request
            .once()
            .timeout(None)
            .header(CONTENT_LENGTH, HeaderValue::from(blob.size - from))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
            .body(body.clone());
        if from > 0 { request.idempotent().header(CONTENT_RANGE, range.clone()) } else { request }
    });
    repository.patience.while_it_moves(&what, || part.sent(), Some(blob.size), sent).await
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
