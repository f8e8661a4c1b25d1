//! When the local cloud was last used: it ends by itself after a while without.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    open: usize,
    last: Instant,
}

/// One request; in use until dropped.
#[derive(Debug)]
pub(crate) struct Use(Activity);

impl Activity {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner { open: 0, last: Instant::now() })))
    }

    pub(crate) fn begin(&self) -> Use {
        let mut inner = self.lock();
        inner.open += 1;
        inner.last = Instant::now();
        Use(self.clone())
    }

    /// Resolves after `idle` without a request.
    pub(crate) async fn idle(&self, idle: Duration) {
        loop {
            let until = {
                let inner = self.lock();
                let from = if inner.open == 0 { inner.last } else { Instant::now() };
                from + idle
            };
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.open -= 1;
        inner.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn an_open_request_keeps_it_awake() {
        let activity = Activity::new();
        let open = activity.begin();
        assert!(activity.idle(Duration::from_secs(60)).now_or_never().is_none());
        drop(open);
        assert!(activity.idle(Duration::ZERO).now_or_never().is_some());
        activity.idle(Duration::from_millis(1)).await;
    }
}
