//! How much of one run may be under way at once, and which hosts asked to be left alone; once, for all clouds.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    Error, ErrorKind, Result,
    event::Ctx,
    poll::{bounded, pause},
};

/// Requests under way at once, over all services of a run: enough that none waits for long, and far from any quota.
pub const AT_ONCE: usize = 16;

/// A host that wants to be left alone for longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all requests of one run go by; clones are the same.
#[derive(Clone, Debug)]
pub struct Pace {
    room: Arc<Semaphore>,
    quiet: Arc<Mutex<HashMap<String, Instant>>>,
}

/// A request that is under way, until this is dropped.
#[derive(Debug)]
pub struct Flight(#[expect(dead_code, reason = "it is held, not used")] Option<OwnedSemaphorePermit>);

impl Default for Pace {
    fn default() -> Self {
        Self::of(AT_ONCE)
    }
}

impl Pace {
    /// With at most so many requests under way.
    pub fn of(at_once: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(at_once)), quiet: Arc::default() }
    }

    /// `host` answered that nothing shall be sent to it for `wait`: this is so for whoever asks it.
    pub fn leave_alone(&self, host: &str, wait: Duration) {
        let end = Instant::now() + wait;
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        let known = quiet.entry(host.to_owned()).or_insert(end);
        *known = end.max(*known);
    }

    /// Waits until a request to `host` may be sent. Whoever waits for a host holds nobody else up.
    pub async fn start(&self, cx: &Ctx, host: &str) -> Result<Flight> {
        loop {
            self.silence(cx, host).await?;
            let room = bounded(cx, "waiting for other requests", Arc::clone(&self.room).acquire_owned()).await?;
            // While it waited for room, somebody else may have been told to wait.
            if self.wait_of(host).is_none() {
                return Ok(Flight(room.ok()));
            }
        }
    }

    async fn silence(&self, cx: &Ctx, host: &str) -> Result<()> {
        while let Some(end) = self.wait_of(host) {
            let wait = end.saturating_duration_since(Instant::now());
            if wait > PATIENCE || cx.deadline.is_some_and(|deadline| end > deadline) {
                let text = format!("{host} asked to be left alone for another {:.0} s", wait.as_secs_f64().ceil());
                return Err(Error::new(ErrorKind::RateLimited, text).with_retry_after(Some(wait)));
            }
            pause(cx, end).await?;
        }
        Ok(())
    }

    fn wait_of(&self, host: &str) -> Option<Instant> {
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        let end = quiet.get(host).copied()?;
        if end > Instant::now() {
            return Some(end);
        }
        quiet.remove(host);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn no_more_than_so_many_are_under_way() {
        let (pace, cx) = (Pace::of(3), Ctx::silent());
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let one = async || {
            let _flight = pace.start(&cx, "a.example").await.expect("it may");
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            pause(&cx, Instant::now() + Duration::from_millis(50)).await.expect("nobody interrupts");
            now.fetch_sub(1, Ordering::Relaxed);
        };
        let begun = Instant::now();
        join_all((0..9).map(|_| one())).await;
        assert_eq!(most.into_inner(), 3);
        assert!(begun.elapsed() >= Duration::from_millis(150));
    }

    #[tokio::test]
    async fn a_host_is_left_alone_by_all_and_no_other_is() {
        let (pace, cx) = (Pace::of(2), Ctx::silent());
        let begun = Instant::now();
        pace.leave_alone("a.example", Duration::from_millis(300));
        // An earlier word does not make it shorter.
        pace.leave_alone("a.example", Duration::from_millis(1));
        let after = async |host: &str| {
            drop(pace.start(&cx, host).await.expect("it may"));
            begun.elapsed() >= Duration::from_millis(300)
        };
        let waited = tokio::join!(after("a.example"), after("a.example"), after("b.example"));
        assert_eq!(waited, (true, true, false));
    }

    #[tokio::test]
    async fn what_is_told_while_it_waits_for_room_counts_too() {
        let (pace, cx) = (Pace::of(1), Ctx::silent());
        let first = pace.start(&cx, "a.example").await.expect("it may");
        let begun = Instant::now();
        let second = async { pace.start(&cx, "a.example").await.map(|_| begun.elapsed()) };
        let told = async {
            pace.leave_alone("a.example", Duration::from_millis(300));
            drop(first);
        };
        assert!(tokio::join!(second, told).0.expect("it may") >= Duration::from_millis(300));
    }

    #[tokio::test]
    async fn nobody_waits_past_the_deadline_or_for_hours() {
        let pace = Pace::default();
        let soon = Ctx { deadline: Some(Instant::now() + Duration::from_secs(3)), ..Ctx::silent() };
        pace.leave_alone("a.example", Duration::from_secs(4));
        pace.leave_alone("b.example", Duration::from_secs(3600));
        for (cx, host) in [(&soon, "a.example"), (&Ctx::silent(), "b.example")] {
            assert_eq!(pace.start(cx, host).await.unwrap_err().kind(), ErrorKind::RateLimited);
        }
        let cancelled = Ctx::silent();
        cancelled.cancel.cancel();
        assert_eq!(pace.start(&cancelled, "a.example").await.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
