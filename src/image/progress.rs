//! How many bytes are sent.
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use carrack_core::event::{Ctx, Event, EventSink, Phase};

/// Often enough for the eye.
const BETWEEN_EVENTS: Duration = Duration::from_millis(100);

/// Bytes of all uploads together.
#[derive(Debug)]
pub(crate) struct Progress {
    events: EventSink,
    total: u64,
    done: AtomicU64,
    reported: Mutex<Option<Instant>>,
}

impl Progress {
    pub(crate) fn new(events: EventSink, total: u64) -> Arc<Self> {
        let progress = Self { events, total, done: AtomicU64::new(0), reported: Mutex::new(None) };
        progress.report(0, true);
        Arc::new(progress)
    }

    /// For what is too small to be told of.
    pub(crate) fn silent() -> Arc<Self> {
        Self::new(Ctx::silent().events, 0)
    }

    /// One upload's share.
    pub(crate) fn part(self: &Arc<Self>) -> Part {
        Part { whole: Arc::clone(self), sent: Arc::default() }
    }

    fn report(&self, done: u64, always: bool) {
        let now = Instant::now();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if !always && reported.is_some_and(|last| now - last < BETWEEN_EVENTS) {
            return;
        }
        *reported = Some(now);
        self.events.emit(Event::PhaseProgress { phase: Phase::Push, done, total: self.total });
    }
}

/// One upload's share of the progress.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    whole: Arc<Progress>,
    sent: Arc<AtomicU64>,
}

impl Part {
    /// Bytes of this upload so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// So many bytes of this upload are there already.
    pub(crate) fn set(&self, bytes: u64) {
        self.restart();
        if bytes > 0 {
            self.add(bytes);
        }
    }

    /// More bytes of this upload are on their way.
    pub(crate) fn add(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        let done = self.whole.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.whole.report(done, done == self.whole.total);
    }

    /// The upload begins anew: what it had sent does not count.
    pub(crate) fn restart(&self) {
        let sent = self.sent.swap(0, Ordering::Relaxed);
        self.whole.done.fetch_sub(sent, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_twice_counts_once_and_the_end_is_always_told() {
        let (events, mut received) = EventSink::channel();
        let progress = Progress::new(events, 1000);
        let (one, two) = (progress.part(), progress.part());
        for _ in 0..5 {
            one.add(60);
        }
        two.add(400);
        one.restart();
        for _ in 0..6 {
            one.add(100);
        }
        let mut told = Vec::new();
        while let Some(Event::PhaseProgress { done, total, .. }) = received.try_recv() {
            told.push((done, total));
        }
        assert_eq!(told.first(), Some(&(0, 1000)));
        assert_eq!(told.last(), Some(&(1000, 1000)));
        assert!(told.len() < 13, "not one for each piece: {told:?}");
    }
}
