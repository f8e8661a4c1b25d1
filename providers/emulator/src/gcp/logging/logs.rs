//! The entries, for each service the latest ones.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::entry::{Record, Severity, Source, What};
use crate::{gcp::run::names::Key, router::Served};

/// For each service, of what it wrote and of what it answered.
const KEPT: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<Store>);

#[derive(Debug, Default)]
struct Store {
    count: u64,
    services: BTreeMap<Key, Kept>,
}

/// Apart, so that many requests push no line of a container out.
#[derive(Debug, Default)]
struct Kept {
    lines: Ring,
    requests: Ring,
}

type Ring = VecDeque<(u64, Arc<Record>)>;

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
        let record = Record::now(source.clone(), What::Line { stderr, text: text.to_owned() });
        self.add(record, source.key(), |kept| &mut kept.lines);
    }

    /// What happened to a container.
    pub(crate) fn system(&self, source: &Source, severity: Severity, text: &str) {
        let record = Record::now(source.clone(), What::System { severity, text: text.to_owned() });
        self.add(record, source.key(), |kept| &mut kept.lines);
    }

    pub(crate) fn request(&self, key: &Key, served: Served) {
        let source = Source::new(key, served.backend.as_deref());
        self.add(Record::now(source, What::Request(Box::new(served))), key, |kept| &mut kept.requests);
    }

    /// The entries of a project that `wanted` takes, the oldest first.
    pub(super) fn select(&self, project: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Stored> {
        let store = self.lock();
        let services = store.services.iter().filter(|(key, _)| key.project == project);
        let records: Vec<_> = services.flat_map(|(_, kept)| kept.lines.iter().chain(&kept.requests)).cloned().collect();
        drop(store);
        let entries = records.into_iter().map(|(number, record)| Stored { number, entry: record.entry() });
        let mut found: Vec<_> = entries.filter(|stored| wanted(&stored.entry)).collect();
        found.sort_by(|left, right| left.order().cmp(&right.order()));
        found
    }

    pub(crate) fn clear(&self) {
        self.lock().services.clear();
    }

    fn add(&self, record: Record, key: &Key, ring: fn(&mut Kept) -> &mut Ring) {
        let mut store = self.lock();
        store.count += 1;
        let number = store.count;
        if !store.services.contains_key(key) {
            store.services.insert(key.clone(), Kept::default());
        }
        if let Some(ring) = store.services.get_mut(key).map(ring) {
            if ring.len() == KEPT {
                ring.pop_front();
            }
            ring.push_back((number, Arc::new(record)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
