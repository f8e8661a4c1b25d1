//! Who gets a service's requests. Changed at one stroke; a request picks its backend under the same lock.
use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderValue, Method, Version};

use super::backend::{Backend, InFlight};

/// By which port a request came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Main,
    Tag(String),
}

/// A part of the traffic of [`Entry::Main`].
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) backend: Arc<Backend>,
    /// Of 100.
    pub(crate) percent: u32,
}

/// Whether a request comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted {
        /// The token is one of ours, which the container must not see.
        hide_token: bool,
    },
    Unauthenticated,
    Forbidden,
    NotFound,
}

/// One request that ended.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// `None` when no revision took it.
    pub(crate) backend: Option<Arc<str>>,
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) status: u16,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) referer: Option<HeaderValue>,
    pub(crate) remote: IpAddr,
    pub(crate) protocol: Version,
    pub(crate) trace: String,
    pub(crate) took: std::time::Duration,
    /// Why the container's answer is not what the caller got.
    pub(crate) trouble: Option<String>,
}

/// The cloud's side of a service's front.
pub(crate) trait Owner: fmt::Debug + Send + Sync {
    /// `inside` says that the caller is in one of the project's networks.
    fn admit(&self, entry: &Entry, authorization: Option<&str>, inside: bool) -> Admission;
    fn served(&self, served: Served);
}

#[derive(Debug, Default)]
pub(crate) struct Routes(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    main: Vec<Share>,
    tags: BTreeMap<String, Arc<Backend>>,
}

impl Table {
    fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.main.iter().filter(|share| share.percent > 0).map(|share| &share.backend).chain(self.tags.values())
    }

    fn leads_to(&self, backend: &Arc<Backend>) -> bool {
        self.backends().any(|other| Arc::ptr_eq(other, backend))
    }
}

impl Routes {
    /// From now on. What lost its last share is stopped when its requests have ended, what got one is started.
    pub(crate) fn set(&self, main: Vec<Share>, tags: BTreeMap<String, Arc<Backend>>) {
        let mut table = self.lock();
        let new = Table { main, tags };
        let old = std::mem::replace(&mut *table, new);
        for backend in table.backends() {
            if !old.leads_to(backend) {
                backend.routed();
            }
        }
        for backend in old.backends() {
            if !table.leads_to(backend) {
                backend.unrouted();
            }
        }
    }

    /// `Err(true)` when there is such an entry, and nothing behind it.
    pub(super) fn pick(&self, entry: &Entry) -> Result<InFlight, NoRoute> {
        let table = self.lock();
        match entry {
            Entry::Tag(tag) => table.tags.get(tag).map(Backend::begin).ok_or(NoRoute::NoSuchTag),
            Entry::Main => {
                let total = table.main.iter().map(|share| share.percent).sum();
                if total == 0 {
                    return Err(NoRoute::NoRevision);
                }
                let mut left = fastrand::u32(0..total);
                for share in &table.main {
                    if left < share.percent {
                        return Ok(share.backend.begin());
                    }
                    left -= share.percent;
                }
                Err(NoRoute::NoRevision)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    NoRevision,
    NoSuchTag,
}
