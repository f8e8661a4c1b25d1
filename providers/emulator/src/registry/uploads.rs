//! Upload sessions: bytes go to a file and through the hash as they come, so memory does not depend on their number.
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{StatusCode, header},
};
use http_body_util::BodyExt;
use sha2::{Digest as _, Sha256};
use tokio::{
    fs,
    io::{AsyncSeekExt, AsyncWriteExt, BufWriter},
    sync::Mutex as AsyncMutex,
};

use super::{
    digest::Digest,
    error::{Code, Failure},
};

const WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// How many uploads may be open, and how long they may lie still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) sessions: usize,
    pub(super) idle: Duration,
    /// Between two pieces of one body.
    pub(super) stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions: 256, idle: Duration::from_secs(3600), stall: Duration::from_secs(60) }
    }
}

#[derive(Debug)]
pub(super) struct Uploads {
    dir: PathBuf,
    limits: Limits,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    repository: String,
    path: PathBuf,
    stall: Duration,
    /// A copy of what `written` holds, to be read while a body is coming in.
    received: AtomicU64,
    touched: Mutex<Instant>,
    written: AsyncMutex<Written>,
}

/// Agrees with the file's first `received` bytes whenever its lock is free.
#[derive(Debug)]
struct Written {
    hasher: Sha256,
    received: u64,
    closed: bool,
}

/// What the request's headers say about the body that follows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Announced {
    /// From Content-Range: the offset of the first byte.
    pub(super) start: Option<u64>,
    /// From Content-Range, else Content-Length.
    pub(super) length: Option<u64>,
}

/// A body that arrived whole and whose digest was right.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) path: PathBuf,
    pub(super) size_bytes: u64,
}

fn unknown() -> Failure {
    Failure::not_found(Code::BlobUploadUnknown, "this upload is not known here, or it has ended")
}

impl Uploads {
    pub(super) fn new(dir: PathBuf, limits: Limits) -> Self {
        Self { dir, limits, sessions: Mutex::default() }
    }

    pub(super) async fn start(&self, repository: &str) -> Result<Arc<Session>, Failure> {
        self.expire().await;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let session = Arc::new(Session {
            path: self.dir.join(&id),
            id,
            repository: repository.to_owned(),
            stall: self.limits.stall,
            received: AtomicU64::new(0),
            touched: Mutex::new(Instant::now()),
            written: AsyncMutex::new(Written { hasher: Sha256::new(), received: 0, closed: false }),
        });
        {
            let mut sessions = self.lock();
            if sessions.len() >= self.limits.sessions {
                return Err(Failure::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    Code::TooManyRequests,
                    format!("{} uploads are open already; finish or delete one", sessions.len()),
                ));
            }
            sessions.insert(session.id.clone(), Arc::clone(&session));
        }
        if let Err(error) = fs::File::create(&session.path).await {
            self.lock().remove(&session.id);
            return Err(error.into());
        }
        Ok(session)
    }

    /// A session belongs to the repository that it was started in.
    pub(super) async fn find(&self, repository: &str, id: &str) -> Result<Arc<Session>, Failure> {
        self.expire().await;
        let session = self.lock().get(id).cloned();
        session.filter(|session| session.repository == repository).ok_or_else(unknown)
    }

    /// Adds a body to what came before. On a broken connection what arrived is kept, so that the client can go on.
    pub(super) async fn append(&self, session: &Session, body: Body, announced: Announced) -> Result<u64, Failure> {
        let mut written = session.written.lock().await;
        if written.closed {
            return Err(unknown());
        }
        if announced.start.is_some_and(|start| start != written.received) {
            return Err(Failure::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                Code::BlobUploadInvalid,
                format!("the next chunk starts at byte {}", written.received),
            )
            .header(header::RANGE, range(written.received)));
        }
        let outcome = session.write(&mut written, body, announced.length).await;
        session.touch();
        match outcome {
            Ok(outcome) => outcome.map(|()| written.received),
            Err(error) => {
                // File and hash may differ now: the session is over.
                self.close(session, &mut written).await;
                Err(error.into())
            }
        }
    }

    /// Ends the session. The file is the caller's on success and gone otherwise.
    pub(super) async fn finish(&self, session: &Session, expected: &Digest) -> Result<Finished, Failure> {
        let mut written = session.written.lock().await;
        if written.closed {
            return Err(unknown());
        }
        let digest = Digest::finish(written.hasher.clone());
        if digest != *expected {
            self.close(session, &mut written).await;
            return Err(Failure::bad_request(
                Code::DigestInvalid,
                format!("the content is `{digest}`, not `{expected}`"),
            )
            .detail(serde_json::json!({ "digest": expected.as_str() })));
        }
        written.closed = true;
        self.lock().remove(&session.id);
        Ok(Finished { path: session.path.clone(), size_bytes: written.received })
    }

    /// Ends the session and drops its bytes.
    pub(super) async fn cancel(&self, session: &Session) {
        let mut written = session.written.lock().await;
        self.close(session, &mut written).await;
    }

    /// Forgets every session; the files are the caller's to remove.
    pub(super) async fn clear(&self) {
        let all: Vec<_> = self.lock().drain().map(|(_, session)| session).collect();
        for session in all {
            // A session that is being written ends by itself: its file is gone when it is finished.
            if let Ok(mut written) = session.written.try_lock() {
                written.closed = true;
            }
        }
    }

    async fn expire(&self) {
        let idle: Vec<_> =
            self.lock().values().filter(|session| session.idle_for() >= self.limits.idle).cloned().collect();
        for session in idle {
            // One that is locked is being written, so it is not idle.
            if let Ok(mut written) = session.written.try_lock() {
                self.close(&session, &mut written).await;
            }
        }
    }

    async fn close(&self, session: &Session, written: &mut Written) {
        written.closed = true;
        self.lock().remove(&session.id);
        if let Err(error) = fs::remove_file(&session.path).await {
            tracing::debug!(%error, path = %session.path.display(), "an upload's file could not be removed");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// In bytes.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle_for(&self) -> Duration {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Outer error: the disk failed. Inner error: the body was not what it should be, the session stands.
    async fn write(
        &self,
        written: &mut Written,
        mut body: Body,
        length: Option<u64>,
    ) -> std::io::Result<Result<(), Failure>> {
        let mut file = fs::OpenOptions::new().write(true).open(&self.path).await?;
        file.seek(std::io::SeekFrom::Start(written.received)).await?;
        let mut file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
        let mut hasher = written.hasher.clone();
        let mut count: u64 = 0;
        let mut outcome = Ok(());
        loop {
            let frame = match tokio::time::timeout(self.stall, body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    outcome =
                        Err(Failure::bad_request(Code::BlobUploadInvalid, format!("the body ended early: {error}")));
                    break;
                }
                Err(_elapsed) => {
                    outcome = Err(Failure::new(
                        StatusCode::REQUEST_TIMEOUT,
                        Code::BlobUploadInvalid,
                        format!("nothing came for {} seconds", self.stall.as_secs()),
                    ));
                    break;
                }
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            count += data.len() as u64;
            if length.is_some_and(|length| count > length) {
                break;
            }
            hasher.update(&data);
            file.write_all(&data).await?;
            self.received.store(written.received + count, Ordering::Relaxed);
        }
        file.flush().await?;
        if outcome.is_ok() && length.is_some_and(|length| count != length) {
            // None of it is kept: the client does not know itself what it sent.
            file.get_ref().set_len(written.received).await?;
            self.received.store(written.received, Ordering::Relaxed);
            return Ok(Err(Failure::bad_request(
                Code::SizeInvalid,
                format!("{} bytes were announced and {count} or more came", length.unwrap_or_default()),
            )));
        }
        written.hasher = hasher;
        written.received += count;
        Ok(outcome)
    }
}

/// The header that says how far an upload is; an empty one is `0-0` too, as distribution has it.
pub(super) fn range(received: u64) -> String {
    format!("0-{}", received.saturating_sub(1))
}
