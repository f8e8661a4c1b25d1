//! What answers the requests of one revision: nothing yet, an instance that starts, or one that runs.
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use crate::runtime::Instance;

/// Between SIGTERM and SIGKILL: <https://cloud.google.com/run/docs/container-contract#instance-shutdown>
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// An instance that passed its startup probe.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) instance: Arc<dyn Instance>,
    /// Inside the container.
    pub(crate) port: u16,
}

/// How a backend gets its instance.
#[async_trait]
pub(crate) trait Start: fmt::Debug + Send + Sync {
    /// Starts one and waits until it listens. When `cancelled` it leaves nothing behind.
    async fn start(&self, cancelled: CancellationToken) -> Result<Started, String>;
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The container speaks HTTP/2 without TLS.
    pub(crate) http2: bool,
    /// For one request, its body included.
    pub(crate) timeout: Duration,
}

#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) name: Arc<str>,
    pub(crate) settings: Settings,
    start: Arc<dyn Start>,
    inner: Mutex<Inner>,
    /// Counts the changes of the state.
    changed: watch::Sender<u64>,
    /// Instances that have not ended, and starts that have not.
    living: watch::Sender<usize>,
    instances: Mutex<Vec<Weak<Serving>>>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    attempts: u64,
    in_flight: usize,
    /// Some share of the traffic, or a tag, leads here.
    routed: bool,
    closed: bool,
}

#[derive(Debug)]
enum State {
    Stopped,
    Starting { attempt: u64, cancelled: CancellationToken },
    Running(Arc<Serving>),
    Failed(String),
}

/// A running instance and the connections to it.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) client: Client,
    instance: Arc<dyn Instance>,
    ended: AtomicBool,
}

/// One request; the instance stays until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Backend>);

impl Backend {
    pub(crate) fn new(name: String, settings: Settings, start: Arc<dyn Start>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            settings,
            start,
            inner: Mutex::new(Inner { state: State::Stopped, attempts: 0, in_flight: 0, routed: false, closed: false }),
            changed: watch::Sender::new(0),
            living: watch::Sender::new(0),
            instances: Mutex::default(),
        })
    }

    /// Takes an instance that somebody else started.
    pub(crate) fn adopt(self: &Arc<Self>, started: Started) {
        let serving = self.watch(started);
        let mut inner = self.lock();
        if inner.closed {
            tokio::spawn(async move { serving.stop(GRACE).await });
        } else {
            inner.state = State::Running(serving);
        }
        drop(inner);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Counts one request. The caller holds the routes' lock.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.lock().in_flight += 1;
        InFlight(self.clone())
    }

    /// The running instance; starts one, or waits for the one that starts.
    pub(crate) async fn serving(self: &Arc<Self>) -> Result<Arc<Serving>, String> {
        if let State::Running(serving) = &self.lock().state
            && !serving.has_ended()
        {
            return Ok(serving.clone());
        }
        let mut changes = self.changed.subscribe();
        let mut waited = false;
        loop {
            {
                let mut inner = self.lock();
                match &inner.state {
                    State::Running(serving) if !serving.has_ended() => return Ok(serving.clone()),
                    State::Failed(text) if waited => return Err(text.clone()),
                    State::Starting { .. } => {}
                    _ if inner.closed => return Err("the service was deleted".to_owned()),
                    _ => self.begin_start(&mut inner),
                }
            }
            waited = true;
            if changes.changed().await.is_err() {
                return Err("the service was deleted".to_owned());
            }
        }
    }

    fn begin_start(self: &Arc<Self>, inner: &mut Inner) {
        let cancelled = CancellationToken::new();
        inner.attempts += 1;
        let attempt = inner.attempts;
        inner.state = State::Starting { attempt, cancelled: cancelled.clone() };
        self.living.send_modify(|count| *count += 1);
        tokio::spawn(self.clone().bring_up(attempt, cancelled));
    }

    async fn bring_up(self: Arc<Self>, attempt: u64, cancelled: CancellationToken) {
        let result = self.start.start(cancelled).await;
        let mut inner = self.lock();
        let current = matches!(&inner.state, State::Starting { attempt: now, .. } if *now == attempt);
        match result {
            Ok(started) if current => {
                inner.state = State::Running(self.watch(started));
                self.stop_if_idle(&mut inner);
            }
            // It was cancelled, and came up all the same.
            Ok(started) => {
                let late = self.watch(started);
                tokio::spawn(async move { late.stop(GRACE).await });
            }
            Err(text) if current => inner.state = State::Failed(text),
            Err(_) => {}
        }
        drop(inner);
        self.living.send_modify(|count| *count -= 1);
        self.changed.send_modify(|count| *count += 1);
    }

    fn watch(self: &Arc<Self>, started: Started) -> Arc<Serving> {
        let Started { instance, port } = started;
        let serving = Arc::new(Serving {
            client: Client::new(instance.clone(), port, self.settings.http2),
            instance: instance.clone(),
            ended: AtomicBool::new(false),
        });
        self.living.send_modify(|count| *count += 1);
        {
            let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
            instances.retain(|instance| instance.strong_count() > 0);
            instances.push(Arc::downgrade(&serving));
        }
        let (backend, watched) = (self.clone(), serving.clone());
        tokio::spawn(async move {
            instance.exited().await;
            watched.ended.store(true, Ordering::Release);
            backend.living.send_modify(|count| *count -= 1);
        });
        serving
    }

    /// Traffic leads here from now on: an instance is started when there is none.
    pub(super) fn routed(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.routed = true;
        let up = match &inner.state {
            State::Running(serving) => !serving.has_ended(),
            State::Starting { .. } => true,
            State::Stopped | State::Failed(_) => false,
        };
        // Nobody waits for it: whoever waited would start another one when this one is no longer wanted.
        if !up && !inner.closed {
            self.begin_start(&mut inner);
        }
    }

    /// No traffic leads here any more: when the last request has ended, the instance is stopped.
    pub(crate) fn unrouted(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.routed = false;
        self.stop_if_idle(&mut inner);
    }

    fn stop_if_idle(&self, inner: &mut Inner) {
        if inner.routed || inner.in_flight > 0 {
            return;
        }
        match std::mem::replace(&mut inner.state, State::Stopped) {
            State::Running(serving) => {
                tokio::spawn(async move { serving.stop(GRACE).await });
            }
            // What it started it takes away itself.
            State::Starting { cancelled, .. } => cancelled.cancel(),
            State::Stopped | State::Failed(_) => {}
        }
    }

    /// Ends for good, requests or not; returns when nothing runs.
    pub(crate) async fn close(&self, grace: Duration) {
        let state = {
            let mut inner = self.lock();
            inner.closed = true;
            inner.routed = false;
            std::mem::replace(&mut inner.state, State::Stopped)
        };
        self.changed.send_modify(|count| *count += 1);
        if let State::Starting { cancelled, .. } = state {
            cancelled.cancel();
        }
        // Also those that are ending already: their time may be longer than `grace`.
        let instances: Vec<_> = {
            let instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
            instances.iter().filter_map(Weak::upgrade).collect()
        };
        futures_util::future::join_all(instances.iter().map(|serving| serving.stop(grace))).await;
        let mut living = self.living.subscribe();
        let _ = living.wait_for(|count| *count == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serving {
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whoever asks for an instance afterwards gets another one.
    pub(super) async fn exited(&self) {
        self.instance.exited().await;
        self.ended.store(true, Ordering::Release);
    }

    async fn stop(&self, grace: Duration) {
        self.instance.stop(grace).await;
    }
}

impl InFlight {
    pub(super) fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.in_flight -= 1;
        self.0.stop_if_idle(&mut inner);
    }
}

#[cfg(test)]
mod tests;
