//! What answers the requests of one revision: as many instances as its requests need, none when nobody asks.
//! <https://cloud.google.com/run/docs/about-instance-autoscaling>
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use crate::runtime::Instance;

/// Between SIGTERM and SIGKILL: <https://cloud.google.com/run/docs/container-contract#instance-shutdown>
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How long a request waits when all instances are busy and there may be no more:
/// <https://cloud.google.com/run/docs/configuring/max-instances#behavior>
pub(crate) const QUEUE: Duration = Duration::from_secs(10);
/// Before another instance is started in the place of one that did not come up, or that ended.
const BETWEEN_STARTS: Duration = Duration::from_secs(1);

/// An instance that passed its startup probe.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) instance: Arc<dyn Instance>,
    /// Inside the container.
    pub(crate) port: u16,
    /// How many of its containers say that they want no requests now.
    pub(crate) unready: watch::Receiver<usize>,
}

/// Why an instance is started, as the system's log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// A revision is new, or gets traffic anew.
    Rollout,
    /// There are more requests than instances for them, or fewer instances than there shall be.
    Scaling,
}

/// How a backend gets its instances.
#[async_trait]
pub(crate) trait Start: fmt::Debug + Send + Sync {
    /// Starts one and waits until it listens. When `cancelled` it leaves nothing behind.
    async fn start(&self, why: Why, cancelled: CancellationToken) -> Result<Started, String>;
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The container speaks HTTP/2 without TLS.
    pub(crate) http2: bool,
    /// For one request, its body included.
    pub(crate) timeout: Duration,
    /// Requests that one instance takes at the same time.
    pub(crate) concurrency: usize,
    /// How long an instance stays that has no request.
    pub(crate) idle: Duration,
    /// How long a request waits for a place; [`QUEUE`], but for tests.
    pub(crate) queue: Duration,
    /// A caller's requests go to the same instance where that can be.
    pub(crate) affinity: bool,
}

/// How many instances there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Also without a request.
    pub(crate) min: usize,
    /// Whatever comes.
    pub(crate) max: usize,
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
    slots: Vec<Slot>,
    /// By the number of the attempt.
    starting: BTreeMap<u64, CancellationToken>,
    attempts: u64,
    /// Starts that failed, and why the last one did.
    failures: u64,
    failure: Option<String>,
    /// There is no other start before it.
    pause: Option<Instant>,
    bounds: Bounds,
    /// Requests that have no instance yet.
    waiting: usize,
    in_flight: usize,
    /// Somebody waits for instances to have been idle long enough.
    reaping: bool,
    /// Some share of the traffic, or a tag, leads here.
    routed: bool,
    closed: bool,
}

/// One instance that runs.
#[derive(Debug)]
struct Slot {
    id: u64,
    serving: Arc<Serving>,
    busy: usize,
    idle_since: Instant,
}

/// A running instance and the connections to it.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) client: Client,
    instance: Arc<dyn Instance>,
    unready: watch::Receiver<usize>,
    /// It has not been ready for requests yet: it is still on its way.
    fresh: AtomicBool,
    ended: AtomicBool,
}

/// One request; the backend stays until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Backend>);

/// One request's place in an instance, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    backend: Arc<Backend>,
    pub(crate) serving: Arc<Serving>,
    /// Which instance of its backend it is.
    pub(crate) id: u64,
}

/// Why a request gets no instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoInstance {
    /// None comes up, or none may.
    Unavailable(String),
    /// All are busy, and there may be no more.
    Full,
}

impl Backend {
    pub(crate) fn new(name: String, settings: Settings, bounds: Bounds, start: Arc<dyn Start>) -> Arc<Self> {
        let inner = Inner {
            slots: Vec::new(),
            starting: BTreeMap::new(),
            attempts: 0,
            failures: 0,
            failure: None,
            pause: None,
            bounds,
            waiting: 0,
            in_flight: 0,
            reaping: false,
            routed: false,
            closed: false,
        };
        Arc::new(Self {
            name: name.into(),
            settings,
            start,
            inner: Mutex::new(inner),
            changed: watch::Sender::new(0),
            living: watch::Sender::new(0),
            instances: Mutex::default(),
        })
    }

    /// Takes an instance that somebody else started.
    pub(crate) fn adopt(self: &Arc<Self>, started: Started) {
        let mut inner = self.lock();
        inner.attempts += 1;
        let id = inner.attempts;
        let serving = self.watch(id, started);
        if inner.closed {
            tokio::spawn(async move { serving.stop(GRACE).await });
        } else {
            self.seat(&mut inner, id, serving);
        }
        drop(inner);
        self.tell();
    }

    /// From now on.
    pub(crate) fn set_bounds(self: &Arc<Self>, bounds: Bounds) {
        let mut inner = self.lock();
        if inner.bounds == bounds {
            return;
        }
        inner.bounds = bounds;
        while inner.slots.len() > bounds.max
            && let Some(idle) = inner.slots.iter().position(|slot| slot.busy == 0)
        {
            stop(inner.slots.swap_remove(idle).serving);
        }
        self.fill(&mut inner, bounds.min, Why::Scaling);
        self.reap_later(&mut inner);
        drop(inner);
        self.tell();
    }

    /// Counts one request. The caller holds the routes' lock.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.lock().in_flight += 1;
        InFlight(self.clone())
    }

    /// A place for one request, in the instance `preferred` if it has one; starts an instance when the others are
    /// full, and waits for a place.
    pub(crate) async fn lease(self: &Arc<Self>, preferred: Option<u64>) -> Result<Lease, NoInstance> {
        if let Some(lease) = self.seated(&mut self.lock(), preferred) {
            return Ok(lease);
        }
        let mut changes = self.changed.subscribe();
        let waiting = Waiting::begin(self);
        let mut deadline = Instant::now() + self.settings.queue;
        loop {
            {
                let mut inner = self.lock();
                if let Some(lease) = self.seated(&mut inner, preferred) {
                    return Ok(lease);
                }
                if inner.closed {
                    return Err(NoInstance::Unavailable("the service was deleted".to_owned()));
                }
                if inner.bounds.max == 0 {
                    return Err(NoInstance::Unavailable("the service is scaled to no instances".to_owned()));
                }
                let alone = inner.slots.is_empty() && inner.starting.is_empty();
                if let Some(text) = inner.failure.clone().filter(|_| alone && inner.failures > waiting.failures) {
                    return Err(NoInstance::Unavailable(text));
                }
                // Nobody waits for the end of the pause where nothing runs: this request tells what the start came to.
                let pauses = !alone && inner.pause.is_some_and(|until| Instant::now() < until);
                let fresh = inner.slots.iter().filter(|slot| slot.serving.fresh.load(Ordering::Acquire)).count();
                if inner.waiting > (inner.starting.len() + fresh) * self.settings.concurrency && !pauses {
                    let more = inner.slots.len() + inner.starting.len() + 1;
                    self.fill(&mut inner, more, Why::Scaling);
                }
            }
            match timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(NoInstance::Unavailable("the service was deleted".to_owned())),
                Err(_) if self.lock().starting.is_empty() => return Err(NoInstance::Full),
                // It takes as long as the start.
                Err(_) => deadline = Instant::now() + self.settings.queue,
            }
        }
    }

    /// The preferred instance, else the fullest with a place: the others may become idle, and end.
    fn seated(self: &Arc<Self>, inner: &mut Inner, preferred: Option<u64>) -> Option<Lease> {
        let most = self.settings.concurrency;
        let free = inner.slots.iter_mut().filter(|slot| slot.busy < most && slot.serving.takes());
        let slot = free.max_by_key(|slot| (Some(slot.id) == preferred, slot.busy))?;
        slot.busy += 1;
        Some(Lease { backend: self.clone(), serving: slot.serving.clone(), id: slot.id })
    }

    /// Starts until there are so many, or as many as there may be.
    fn fill(self: &Arc<Self>, inner: &mut Inner, wanted: usize, why: Why) {
        if inner.closed || !(inner.routed || inner.in_flight > 0) {
            return;
        }
        while inner.slots.len() + inner.starting.len() < wanted.min(inner.bounds.max) {
            let cancelled = CancellationToken::new();
            inner.attempts += 1;
            let attempt = inner.attempts;
            inner.starting.insert(attempt, cancelled.clone());
            self.living.send_modify(|count| *count += 1);
            tokio::spawn(self.clone().bring_up(attempt, why, cancelled));
        }
    }

    async fn bring_up(self: Arc<Self>, attempt: u64, why: Why, cancelled: CancellationToken) {
        let result = self.start.start(why, cancelled).await;
        let mut inner = self.lock();
        let current = inner.starting.remove(&attempt).is_some();
        match result {
            Ok(started) if current => {
                let serving = self.watch(attempt, started);
                self.seat(&mut inner, attempt, serving);
                self.stop_if_idle(&mut inner);
            }
            // It was cancelled, and came up all the same.
            Ok(started) => stop(self.watch(attempt, started)),
            Err(text) if current => {
                inner.failures += 1;
                inner.failure = Some(text);
                inner.pause = Some(Instant::now() + BETWEEN_STARTS);
                if !inner.slots.is_empty() || inner.bounds.min > 0 {
                    self.look_again();
                }
            }
            Err(_) => {}
        }
        drop(inner);
        self.living.send_modify(|count| *count -= 1);
        self.tell();
    }

    fn seat(self: &Arc<Self>, inner: &mut Inner, id: u64, serving: Arc<Serving>) {
        inner.slots.push(Slot { id, serving, busy: 0, idle_since: Instant::now() });
        self.reap_later(inner);
    }

    fn watch(self: &Arc<Self>, id: u64, started: Started) -> Arc<Serving> {
        let Started { instance, port, unready } = started;
        let serving = Arc::new(Serving {
            client: Client::new(instance.clone(), port, self.settings.http2),
            instance: instance.clone(),
            unready: unready.clone(),
            fresh: AtomicBool::new(*unready.borrow() > 0),
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
            let mut unready = unready;
            loop {
                tokio::select! {
                    _ = instance.exited() => break,
                    Ok(()) = unready.changed() => {
                        if *unready.borrow_and_update() == 0 {
                            watched.fresh.store(false, Ordering::Release);
                        }
                        backend.tell();
                    }
                }
            }
            watched.ended.store(true, Ordering::Release);
            backend.ended(id);
        });
        serving
    }

    /// One that was wanted gets a successor, and requests that wait may start another one.
    fn ended(self: &Arc<Self>, id: u64) {
        let mut inner = self.lock();
        if let Some(index) = inner.slots.iter().position(|slot| slot.id == id) {
            inner.slots.swap_remove(index);
            if inner.slots.len() < inner.bounds.min {
                self.look_again();
            }
        }
        drop(inner);
        self.living.send_modify(|count| *count -= 1);
        self.tell();
    }

    /// After a pause.
    fn look_again(self: &Arc<Self>) {
        let backend = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(BETWEEN_STARTS).await;
            if let Some(backend) = backend.upgrade() {
                let mut inner = backend.lock();
                let min = inner.bounds.min;
                if inner.routed {
                    backend.fill(&mut inner, min, Why::Scaling);
                }
                drop(inner);
                backend.tell();
            }
        });
    }

    /// Traffic leads here from now on: an instance is started when there is none.
    pub(super) fn routed(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.routed = true;
        // Nobody waits for it: whoever waited would start another one when this one is no longer wanted.
        let wanted = inner.bounds.min.max(1);
        self.fill(&mut inner, wanted, Why::Rollout);
    }

    /// No traffic leads here any more: when the last request has ended, the instances are stopped.
    pub(crate) fn unrouted(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.routed = false;
        self.stop_if_idle(&mut inner);
    }

    fn stop_if_idle(&self, inner: &mut Inner) {
        if inner.routed || inner.in_flight > 0 {
            return;
        }
        inner.slots.drain(..).for_each(|slot| stop(slot.serving));
        // What it started it takes away itself.
        std::mem::take(&mut inner.starting).into_values().for_each(|cancelled| cancelled.cancel());
    }

    /// Instances that have been idle long enough go, down to as many as there shall be.
    fn reap_later(self: &Arc<Self>, inner: &mut Inner) {
        if std::mem::replace(&mut inner.reaping, true) {
            return;
        }
        let backend = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(next) = backend.upgrade().and_then(|backend| backend.reap()) {
                sleep_until(next).await;
            }
        });
    }

    /// When to look again, if at all.
    fn reap(&self) -> Option<Instant> {
        let mut inner = self.lock();
        let now = Instant::now();
        while inner.slots.len() > inner.bounds.min {
            let ends = |slot: &Slot| slot.idle_since + self.settings.idle;
            let idle = inner.slots.iter().enumerate().filter(|(_, slot)| slot.busy == 0);
            let Some((index, next)) = idle.map(|(index, slot)| (index, ends(slot))).min_by_key(|(_, ends)| *ends)
            else {
                break;
            };
            if next > now {
                return Some(next);
            }
            stop(inner.slots.swap_remove(index).serving);
        }
        inner.reaping = false;
        None
    }

    /// Ends for good, requests or not; returns when nothing runs.
    pub(crate) async fn close(&self, grace: Duration) {
        {
            let mut inner = self.lock();
            inner.closed = true;
            inner.routed = false;
            inner.slots.clear();
            std::mem::take(&mut inner.starting).into_values().for_each(|cancelled| cancelled.cancel());
        }
        self.tell();
        // Also those that are ending already: their time may be longer than `grace`.
        let instances: Vec<_> = {
            let instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
            instances.iter().filter_map(Weak::upgrade).collect()
        };
        futures_util::future::join_all(instances.iter().map(|serving| serving.stop(grace))).await;
        let mut living = self.living.subscribe();
        let _ = living.wait_for(|count| *count == 0).await;
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stop(serving: Arc<Serving>) {
    tokio::spawn(async move { serving.stop(GRACE).await });
}

impl Serving {
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn takes(&self) -> bool {
        !self.has_ended() && *self.unready.borrow() == 0
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

impl Drop for Lease {
    fn drop(&mut self) {
        let backend = &self.backend;
        let mut inner = backend.lock();
        let surplus = inner.slots.len() > inner.bounds.max;
        let Some(index) = inner.slots.iter().position(|slot| slot.id == self.id) else { return };
        let slot = &mut inner.slots[index];
        slot.busy -= 1;
        if slot.busy == 0 {
            slot.idle_since = Instant::now();
            if surplus {
                stop(inner.slots.swap_remove(index).serving);
            }
            backend.reap_later(&mut inner);
        }
        if inner.waiting > 0 {
            backend.tell();
        }
    }
}

/// A request that waits for an instance.
struct Waiting<'a> {
    backend: &'a Backend,
    /// Starts that had failed before it came.
    failures: u64,
}

impl<'a> Waiting<'a> {
    fn begin(backend: &'a Backend) -> Self {
        let mut inner = backend.lock();
        inner.waiting += 1;
        Self { backend, failures: inner.failures }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.backend.lock().waiting -= 1;
    }
}

#[cfg(test)]
mod tests;
