//! All jobs.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{job::Job, names::JobKey};
use crate::gcp::{
    run::Parts,
    status::{Code, Status},
};

/// As many tasks run at once, of all jobs together: one machine is no data centre. The others wait.
const AT_ONCE: usize = 64;

#[derive(Debug)]
pub(crate) struct Jobs {
    pub(super) parts: Parts,
    pub(super) slots: Arc<Semaphore>,
    jobs: Mutex<BTreeMap<JobKey, Arc<Job>>>,
}

impl Jobs {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, slots: Arc::new(Semaphore::new(AT_ONCE)), jobs: Mutex::default() }
    }

    pub(in crate::gcp::run) fn find(&self, key: &JobKey) -> Result<Arc<Job>, Status> {
        self.lock().get(key).cloned().ok_or_else(|| key.not_found())
    }

    /// `None` when there is no such job.
    pub(crate) fn policy(&self, key: &JobKey) -> Option<Value> {
        self.find(key).ok().map(|job| job.state().policy.clone())
    }

    /// Of one location, by name; `-` is every location.
    pub(super) fn all(&self, project: &str, location: &str) -> Vec<Arc<Job>> {
        let jobs = self.lock();
        let wanted = jobs.values().filter(|job| job.key.project == project);
        wanted.filter(|job| location == "-" || job.key.location == location).cloned().collect()
    }

    /// The job of an execution that is not deleted.
    pub(in crate::gcp) fn job_of(&self, project: &str, location: &str, execution: &str) -> Option<JobKey> {
        let jobs = self.all(project, location).into_iter();
        let mut found = jobs.filter(|job| job.state().execution(&job.key, execution).is_ok());
        found.next().map(|job| job.key.clone())
    }

    pub(super) fn insert(&self, job: &Arc<Job>) -> Result<(), Status> {
        let mut jobs = self.lock();
        if jobs.contains_key(&job.key) {
            return Err(exists(&job.key));
        }
        jobs.insert(job.key.clone(), job.clone());
        Ok(())
    }

    pub(super) fn exists(&self, key: &JobKey) -> bool {
        self.lock().contains_key(key)
    }

    pub(super) fn remove(&self, job: &Arc<Job>) {
        let mut jobs = self.lock();
        if jobs.get(&job.key).is_some_and(|other| Arc::ptr_eq(other, job)) {
            jobs.remove(&job.key);
        }
    }

    /// Stops all that it runs, then forgets it. The job is marked as deleted already.
    pub(super) async fn tear_down(&self, job: &Arc<Job>) {
        job.close();
        job.tasks.wait().await;
        self.remove(job);
    }

    /// Everything, without operations; also what is made meanwhile.
    pub(crate) async fn clear(&self) {
        loop {
            let jobs: Vec<_> = self.lock().values().cloned().collect();
            if jobs.is_empty() {
                return;
            }
            let each = jobs.iter().map(|job| async {
                job.state().deleted.get_or_insert_with(Timestamp::now);
                job.hurry.cancel();
                self.tear_down(job).await;
            });
            futures_util::future::join_all(each).await;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<JobKey, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn exists(key: &JobKey) -> Status {
    Status::new(Code::AlreadyExists, format!("Resource '{}' already exists.", key.job))
}
