//! All services.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;

use super::{
    Parts,
    names::Key,
    service::{Service, typed},
    settle,
};
use crate::gcp::status::{Code, Status};

/// Between SIGTERM and SIGKILL when the local cloud itself ends: many programs have no handler for the first.
pub(super) const HURRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) parts: Parts,
    services: Mutex<BTreeMap<Key, Arc<Service>>>,
}

impl Store {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, services: Mutex::default() }
    }

    pub(crate) fn find(&self, key: &Key) -> Result<Arc<Service>, Status> {
        self.lock().get(key).cloned().ok_or_else(|| key.not_found())
    }

    /// `None` when there is no such service.
    pub(crate) fn policy(&self, key: &Key) -> Option<Value> {
        self.find(key).ok().map(|service| service.state().policy.clone())
    }

    /// By name.
    pub(crate) fn all(&self) -> Vec<Arc<Service>> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn exists(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    pub(super) fn insert(&self, service: &Arc<Service>) -> Result<(), Status> {
        let mut services = self.lock();
        if services.contains_key(&service.key) {
            return Err(exists(&service.key));
        }
        services.insert(service.key.clone(), service.clone());
        Ok(())
    }

    pub(super) fn remove(&self, service: &Arc<Service>) {
        let mut services = self.lock();
        if services.get(&service.key).is_some_and(|other| Arc::ptr_eq(other, service)) {
            services.remove(&service.key);
        }
    }

    /// Stops all that it runs, frees its ports, then forgets it. The service is marked as deleted already.
    pub(super) async fn tear_down(&self, service: &Arc<Service>, grace: Duration) {
        service.closed.cancel();
        service.tasks.close();
        let backends = settle::unroute(service);
        futures_util::future::join_all(backends.iter().map(|backend| backend.close(grace))).await;
        service.tasks.wait().await;
        futures_util::future::join_all(service.take_fronts().into_iter().map(crate::router::Front::close)).await;
        self.remove(service);
        let (pending, rendered) = {
            let mut state = service.state();
            (std::mem::take(&mut state.pending), typed(state.render(&service.key)))
        };
        for pending in pending {
            let status = Status::new(Code::Aborted, format!("Resource '{}' was deleted.", service.key.service));
            self.parts.operations.finish(&pending.operation, rendered.clone(), Err(status));
        }
    }

    /// Everything, without operations; also what is made meanwhile.
    pub(crate) async fn clear(&self) {
        loop {
            let services = self.all();
            if services.is_empty() {
                break;
            }
            let each = services.iter().map(|service| async {
                service.state().deleted.get_or_insert_with(jiff::Timestamp::now);
                self.tear_down(service, HURRY).await;
            });
            futures_util::future::join_all(each).await;
        }
        self.parts.operations.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Service>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn exists(key: &Key) -> Status {
    Status::new(Code::AlreadyExists, format!("Resource '{}' already exists.", key.service))
}
