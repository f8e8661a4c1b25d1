//! Upload sessions: bytes go to a file and through the hash as they come, so memory does not depend on their number.
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
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

/// How many uploads may be open, how much each may bring, and how long it may take or lie still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) sessions: usize,
    /// Of one blob. As much as one image may unpack to.
    pub(super) bytes: u64,
    pub(super) idle: Duration,
    /// Between two pieces of one body.
    pub(super) stall: Duration,
    /// From the first piece of one body to its last, however steadily it drips.
    pub(super) body: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self { sessions: 256, bytes: 16 << 30, idle: hour, stall: Duration::from_secs(60), body: hour }
    }
}

#[derive(Debug)]
pub(super) struct Uploads {
    dir: PathBuf,
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    sessions: HashMap<String, Arc<Session>>,
    /// Whether a task looks after them.
    swept: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    repository: String,
    path: PathBuf,
    limits: Limits,
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
        Self { dir, limits, open: Mutex::default() }
    }

    /// How long a body may bring nothing.
    pub(super) fn stall(&self) -> Duration {
        self.limits.stall
    }

    pub(super) async fn start(self: &Arc<Self>, repository: &str) -> Result<Arc<Session>, Failure> {
        self.expire().await;
        self.make_room().await;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let session = Arc::new(Session {
            path: self.dir.join(&id),
            id,
            repository: repository.to_owned(),
            limits: self.limits,
            received: AtomicU64::new(0),
            touched: Mutex::new(Instant::now()),
            written: AsyncMutex::new(Written { hasher: Sha256::new(), received: 0, closed: false }),
        });
        // Before anybody can find and end the session: its file would be made after that, and stay.
        fs::File::create(&session.path).await?;
        if let Err(failure) = self.admit(&session) {
            fs::remove_file(&session.path).await?;
            return Err(failure);
        }
        Ok(session)
    }

    fn admit(self: &Arc<Self>, session: &Arc<Session>) -> Result<(), Failure> {
        let mut open = self.lock();
        if open.sessions.len() >= self.limits.sessions {
            return Err(Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                Code::TooManyRequests,
                format!("{} uploads are open already; finish or delete one", open.sessions.len()),
            ));
        }
        open.sessions.insert(session.id.clone(), Arc::clone(session));
        if !std::mem::replace(&mut open.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.limits.idle));
        }
        Ok(())
    }

    /// A session belongs to the repository that it was started in.
    pub(super) async fn find(&self, repository: &str, id: &str) -> Result<Arc<Session>, Failure> {
        self.expire().await;
        let session = self.lock().sessions.get(id).cloned();
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
            // More than any blob may have will come to no end.
            Ok(Err(failure)) if failure.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                self.close(session, &mut written).await;
                Err(failure)
            }
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
        self.lock().sessions.remove(&session.id);
        Ok(Finished { path: session.path.clone(), size_bytes: written.received })
    }

    /// Ends the session and drops its bytes.
    pub(super) async fn cancel(&self, session: &Session) {
        let mut written = session.written.lock().await;
        self.close(session, &mut written).await;
    }

    /// Forgets every session; the files are the caller's to remove.
    pub(super) async fn clear(&self) {
        let all: Vec<_> = self.lock().sessions.drain().map(|(_, session)| session).collect();
        for session in all {
            // A session that is being written ends by itself: its file is gone when it is finished.
            if let Ok(mut written) = session.written.try_lock() {
                written.closed = true;
            }
        }
    }

    async fn expire(&self) {
        let idle: Vec<_> =
            self.lock().sessions.values().filter(|session| session.idle_for() >= self.limits.idle).cloned().collect();
        for session in idle {
            // One that is locked is being written, so it is not idle.
            if let Ok(mut written) = session.written.try_lock() {
                self.close(&session, &mut written).await;
            }
        }
    }

    /// When as many are open as may be, the one that has lain still the longest goes, if it is no longer than slow.
    async fn make_room(&self) {
        let longest = {
            let open = self.lock();
            if open.sessions.len() < self.limits.sessions {
                return;
            }
            open.sessions.values().max_by_key(|session| session.idle_for()).cloned()
        };
        if let Some(session) = longest
            && session.idle_for() >= self.limits.stall
            && let Ok(mut written) = session.written.try_lock()
        {
            self.close(&session, &mut written).await;
        }
    }

    async fn close(&self, session: &Session, written: &mut Written) {
        written.closed = true;
        self.lock().sessions.remove(&session.id);
        if let Err(error) = fs::remove_file(&session.path).await {
            tracing::debug!(%error, path = %session.path.display(), "an upload's file could not be removed");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frees what nobody goes on with, also when no request comes any more. Ends with the last session.
async fn sweep(uploads: Weak<Uploads>, idle: Duration) {
    loop {
        let wait = {
            let Some(uploads) = uploads.upgrade() else { return };
            uploads.expire().await;
            let mut open = uploads.lock();
            match open.sessions.values().map(|session| idle.saturating_sub(session.idle_for())).min() {
                Some(wait) => wait,
                None => {
                    open.swept = false;
                    return;
                }
            }
        };
        tokio::time::sleep(wait.max(idle / 4)).await;
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
        let room = self.limits.bytes.saturating_sub(written.received);
        let started = Instant::now();
        loop {
            if count.max(length.unwrap_or(0)) > room {
                return Ok(Err(self.too_large()));
            }
            let left = self.limits.body.saturating_sub(started.elapsed());
            let frame = match tokio::time::timeout(left.min(self.limits.stall), body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    outcome =
                        Err(Failure::bad_request(Code::BlobUploadInvalid, format!("the body ended early: {error}")));
                    break;
                }
                Err(_elapsed) => {
                    outcome = Err(self.too_slow(left));
                    break;
                }
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            count += data.len() as u64;
            self.touch();
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

    fn too_large(&self) -> Failure {
        let text = format!("a blob has at most {} bytes here", self.limits.bytes);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid, text)
    }

    /// `left` = what was left of the body's time.
    fn too_slow(&self, left: Duration) -> Failure {
        let text = if left < self.limits.stall {
            format!("one body may take {} seconds; go on with another one", self.limits.body.as_secs())
        } else {
            format!("nothing came for {} seconds", self.limits.stall.as_secs())
        };
        Failure::new(StatusCode::REQUEST_TIMEOUT, Code::BlobUploadInvalid, text)
    }
}

/// The header that says how far an upload is; an empty one is `0-0` too, as distribution has it.
pub(super) fn range(received: u64) -> String {
    format!("0-{}", received.saturating_sub(1))
}
