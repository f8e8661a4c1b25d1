//! The entries, for each service and each job the latest ones.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::entry::{Owner, Record, Severity, Source, What};
use crate::{gcp::run::names::Key, router::Served};

/// For each service and each job, of what it wrote and of what it answered.
const KEPT: usize = 10_000;
/// Of the same: a line may have 64 KiB.
const KEPT_BYTES: usize = 16 << 20;
/// A page ends early for it, as a page may: a line in JSON takes many times its size.
const PAGE_BYTES: usize = 2 << 20;

#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<Store>);

#[derive(Debug, Default)]
struct Store {
    count: u64,
    owners: BTreeMap<Owner, Kept>,
}

/// Apart, so that many requests push no line of a container out.
#[derive(Debug, Default)]
struct Kept {
    lines: Ring,
    requests: Ring,
}

/// The latest records, the oldest first.
#[derive(Debug, Default)]
struct Ring {
    records: VecDeque<(u64, Arc<Record>)>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, number: u64, record: Record) {
        self.bytes += record.bytes();
        self.records.push_back((number, Arc::new(record)));
        while (self.records.len() > KEPT || self.bytes > KEPT_BYTES)
            && let Some((_, oldest)) = self.records.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
    }
}

/// An entry's place among all: its time, and for entries of one moment the order in which they came.
pub(super) type Place = (String, u64);

/// Which part of what is found.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) newest_first: bool,
    pub(super) after: Option<Place>,
    pub(super) size: usize,
}

#[derive(Debug)]
pub(super) struct Page {
    pub(super) entries: Vec<Value>,
    /// The place of the last one, when there are more.
    pub(super) last: Option<Place>,
}

impl Logs {
    /// What a container wrote.
    pub(crate) fn line(&self, source: &Source, stderr: bool, text: &str) {
        let record = Record::now(source.clone(), What::Line { stderr, text: text.to_owned() });
        self.add(record, |kept| &mut kept.lines);
    }

    /// What happened to a container.
    pub(crate) fn system(&self, source: &Source, severity: Severity, text: &str) {
        let record = Record::now(source.clone(), What::System { severity, text: text.to_owned() });
        self.add(record, |kept| &mut kept.lines);
    }

    pub(crate) fn request(&self, key: &Key, served: Served) {
        let source = Source::new(key, served.backend.as_deref());
        self.add(Record::now(source, What::Request(Box::new(served))), |kept| &mut kept.requests);
    }

    /// One page of the entries of a project that `takes` takes. Entries are much larger than what they are made of, so
    /// those of the page alone are kept, and of all others only the place.
    pub(super) fn page(&self, project: &str, takes: impl Fn(&Value) -> bool, wanted: &Wanted) -> Page {
        let store = self.lock();
        let owners = store.owners.iter().filter(|(owner, _)| owner.project() == project);
        let records = owners.flat_map(|(_, kept)| kept.lines.records.iter().chain(&kept.requests.records));
        let records: Vec<_> = records.cloned().collect();
        drop(store);
        let mut found: Vec<(Place, Arc<Record>)> = records
            .into_iter()
            .filter_map(|(number, record)| {
                let entry = record.entry();
                let place = (entry["timestamp"].as_str().unwrap_or_default().to_owned(), number);
                let comes = wanted.after.as_ref().is_none_or(|after| (place > *after) != wanted.newest_first);
                (comes && wanted.after.as_ref() != Some(&place) && takes(&entry)).then_some((place, record))
            })
            .collect();
        found.sort_by(|(left, _), (right, _)| left.cmp(right));
        if wanted.newest_first {
            found.reverse();
        }
        let mut page = Page { entries: Vec::new(), last: None };
        let mut bytes = 0;
        for (index, (_, record)) in found.iter().enumerate().take(wanted.size) {
            bytes += record.bytes();
            if index > 0 && bytes > PAGE_BYTES {
                break;
            }
            page.entries.push(record.entry());
        }
        let count = page.entries.len();
        if count < found.len() && count > 0 {
            page.last = found.into_iter().nth(count - 1).map(|(place, _)| place);
        }
        page
    }

    #[cfg(test)]
    pub(crate) fn all(&self, project: &str) -> Vec<Value> {
        self.page(project, |_| true, &Wanted { newest_first: false, after: None, size: usize::MAX }).entries
    }

    pub(crate) fn clear(&self) {
        self.lock().owners.clear();
    }

    fn add(&self, record: Record, ring: fn(&mut Kept) -> &mut Ring) {
        let mut store = self.lock();
        store.count += 1;
        let number = store.count;
        if !store.owners.contains_key(record.owner()) {
            store.owners.insert(record.owner().clone(), Kept::default());
        }
        if let Some(ring) = store.owners.get_mut(record.owner()).map(ring) {
            ring.push(number, record);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: usize = 64 << 10;

    fn source() -> Source {
        let key = Key { project: "p".to_owned(), location: "l".to_owned(), service: "s".to_owned() };
        Source::new(&key, None)
    }

    fn wanted(newest_first: bool, after: Option<Place>) -> Wanted {
        Wanted { newest_first, after, size: 100 }
    }

    #[test]
    fn a_ring_is_bounded_by_bytes_and_by_count() {
        let (logs, source) = (Logs::default(), source());
        let kept = || {
            let store = logs.lock();
            let ring = &store.owners[source.owner()].lines;
            let bytes: usize = ring.records.iter().map(|(_, record)| record.bytes()).sum();
            assert_eq!(bytes, ring.bytes);
            (ring.records.len(), bytes)
        };
        for _ in 0..1_000 {
            logs.line(&source, false, &"x".repeat(LINE));
        }
        let (count, bytes) = kept();
        assert!(bytes <= KEPT_BYTES && bytes > KEPT_BYTES - 2 * LINE, "{count} {bytes}");
        for _ in 0..KEPT + 3 {
            logs.line(&source, false, "x");
        }
        assert_eq!(kept().0, KEPT);
    }

    #[test]
    fn pages_of_long_lines_are_short_and_miss_none() {
        let (logs, source) = (Logs::default(), source());
        for number in 0..100 {
            logs.line(&source, false, &format!("{number} {}", "x".repeat(LINE)));
        }
        for newest_first in [false, true] {
            let (mut numbers, mut after, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = logs.page("p", |_| true, &wanted(newest_first, after));
                assert!(page.entries.len() <= PAGE_BYTES / LINE);
                let number = |entry: &Value| entry["textPayload"].as_str()?.split(' ').next()?.parse::<u32>().ok();
                numbers.extend(page.entries.iter().filter_map(number));
                pages += 1;
                after = page.last;
                if after.is_none() {
                    break;
                }
            }
            if newest_first {
                numbers.reverse();
            }
            assert_eq!(numbers, (0..100).collect::<Vec<_>>());
            assert_eq!(pages, 4);
        }
    }

    #[test]
    fn entries_are_in_the_order_of_their_own_times() {
        let (logs, source) = (Logs::default(), source());
        for day in ["02", "01", "02"] {
            logs.line(&source, false, &format!(r#"{{"time":"2026-01-{day}T00:00:00Z","day":"{day}"}}"#));
        }
        let days = |page: Page| -> Vec<String> {
            page.entries.iter().map(|entry| entry["jsonPayload"]["day"].to_string()).collect()
        };
        let page = |newest_first, after: Option<(&str, u64)>| {
            let after = after.map(|(time, number)| (time.to_owned(), number));
            days(logs.page("p", |_| true, &wanted(newest_first, after)))
        };
        let second = "2026-01-02T00:00:00.000000000Z";
        assert_eq!(page(false, None), [r#""01""#, r#""02""#, r#""02""#]);
        assert_eq!(page(false, Some((second, 1))), [r#""02""#]);
        assert_eq!(page(true, Some((second, 1))), [r#""01""#]);
    }
}
