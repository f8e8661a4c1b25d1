//! Waiting for something to become true; once, for all clouds.
use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{Error, ErrorKind, Result, event::Ctx};

/// What one look showed.
#[derive(Debug)]
pub enum Poll<T> {
    /// Not yet.
    Pending,
    /// It is so.
    Ready(T),
}

/// Looks in a row that may fail; each was tried several times.
pub const MISSES: usize = 5;

/// The shortest pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// How often to look, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct PollPolicy {
    /// Before the first look.
    pub first: Duration,
    /// Between two looks, at the most; the wait doubles up to it.
    pub max: Duration,
    /// In all.
    pub total: Duration,
}

impl PollPolicy {
    /// First look after 250 ms, at most 2 s between two.
    pub const fn within(total: Duration) -> Self {
        Self { first: PAUSE, max: Duration::from_secs(2), total }
    }
}

/// Looks again and again until it is ready, the look fails for good, time is up, or the user interrupts.
///
/// A look that fails in a way that may pass is only a missed look: the poll failed, not the operation.
pub async fn poll_until<T, F, Fut>(cx: &Ctx, policy: PollPolicy, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Poll<T>>>,
{
    let end = Instant::now() + policy.total;
    let end = cx.deadline.map_or(end, |deadline| deadline.min(end));
    let mut wait = policy.first;
    let mut missed = Vec::new();
    loop {
        let now = Instant::now();
        if now >= end {
            let error = Error::new(ErrorKind::Timeout, "the operation did not finish in time");
            return Err(match missed.pop() {
                Some(cause) => error.with_source(cause),
                None => error,
            });
        }
        // The last look is when time is up.
        pause(cx, (now + wait).min(end)).await?;
        match look().await {
            Ok(Poll::Ready(value)) => return Ok(value),
            Ok(Poll::Pending) => missed.clear(),
            Err(error) if error.kind().is_retryable() && missed.len() + 1 < MISSES => missed.push(error),
            Err(error) => return Err(error),
        }
        wait = (wait * 2).clamp(PAUSE, policy.max.max(PAUSE));
    }
}

/// Waits until `instant`, or fails when the user interrupts.
pub(crate) async fn pause(cx: &Ctx, instant: Instant) -> Result<()> {
    tokio::select! {
        biased;
        () = cx.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "interrupted")),
        () = sleep_until(instant) => Ok(()),
    }
}

/// Waits for `wait`, or fails when the user interrupts: the pause of a stream that looks for more.
pub async fn pause_between(cx: &Ctx, wait: Duration) -> Result<()> {
    pause(cx, Instant::now() + wait).await
}

/// Waits for `future`, but no longer than the user allows: neither past the deadline nor after an interrupt.
pub async fn bounded<T>(cx: &Ctx, what: &str, future: impl Future<Output = T>) -> Result<T> {
    let late = async {
        match cx.deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = cx.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "interrupted")),
        value = future => Ok(value),
        () = late => Err(Error::new(ErrorKind::Timeout, format!("{what} did not end in time"))),
    }
}
