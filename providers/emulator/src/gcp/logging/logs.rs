//! The entries, for each service the latest ones.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::entry::{Severity, Source};
use crate::{gcp::run::names::Key, router::Served};

/// For each service.
const KEPT: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<Store>);

#[derive(Debug, Default)]
struct Store {
    count: u64,
    services: BTreeMap<Key, VecDeque<Stored>>,
}

/// An entry and its place among all.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) number: u64,
    pub(super) entry: Value,
}

impl Stored {
    /// Entries of one moment stay in the order they came.
    pub(super) fn order(&self) -> (&str, u64) {
        (self.entry["timestamp"].as_str().unwrap_or_default(), self.number)
    }
}

impl Logs {
    /// What a container wrote.
    pub(crate) fn line(&self, source: &Source, stderr: bool, text: &str) {
        self.add(&source.key, source.line(stderr, text));
    }

    /// What happened to a container.
    pub(crate) fn system(&self, source: &Source, severity: Severity, text: &str) {
        self.add(&source.key, source.system(severity, text));
    }

    pub(crate) fn request(&self, source: &Source, served: &Served) {
        self.add(&source.key, source.request(served));
    }

    /// The entries of a project that `wanted` takes, the oldest first.
    pub(super) fn select(&self, project: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Stored> {
        let store = self.lock();
        let services = store.services.iter().filter(|(key, _)| key.project == project);
        let entries = services.flat_map(|(_, entries)| entries.iter());
        let mut found: Vec<_> = entries.filter(|stored| wanted(&stored.entry)).cloned().collect();
        drop(store);
        found.sort_by(|left, right| left.order().cmp(&right.order()));
        found
    }

    pub(crate) fn clear(&self) {
        self.lock().services.clear();
    }

    fn add(&self, key: &Key, entry: Value) {
        let mut store = self.lock();
        store.count += 1;
        let number = store.count;
        let entries = store.services.entry(key.clone()).or_default();
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(Stored { number, entry });
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
