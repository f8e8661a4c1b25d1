//! Faults on purpose: rules that a call may meet, set at run time, and the latency of every call.
//!
//! | module | what it holds |
//! |---|---|
//! | `rule` | what a rule matches, and what it does |
//! | `pattern` | paths by glob or by prefix |
//! | `answer` | a refusal in the form of the face that it comes from |
//! | `carry_out` | a call with its fault, in front of every face |
//!
//! A fault is as real as it can be: the connection is cut, the etag is stale because the service changed, the revision
//! fails. Only a status is an answer made up.
mod answer;
mod carry_out;
mod pattern;
mod rule;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use self::rule::{Fault, FaultRule, InvalidRule, Service};
pub(crate) use self::{carry_out::served, rule::Subject};

/// All rules, in the order in which they were set.
#[derive(Debug)]
pub(crate) struct Faults {
    latency: Duration,
    rules: Mutex<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    count: u64,
    active: Vec<Active>,
}

#[derive(Debug)]
struct Active {
    id: u64,
    rule: FaultRule,
    /// Calls that it matched.
    calls: u64,
    hits: u64,
    cleared: CancellationToken,
}

/// A rule, as it is listed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listed {
    id: u64,
    #[serde(flatten)]
    rule: FaultRule,
    calls: u64,
    hits: u64,
}

/// A call's fault, until its rule is cleared.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) fault: Fault,
    pub(crate) cleared: CancellationToken,
}

impl Faults {
    /// Without a rule; every call takes `latency` longer.
    pub(crate) fn new(latency: Duration) -> Self {
        Self { latency, rules: Mutex::default() }
    }

    /// The number of the new rule.
    pub(crate) fn add(&self, rule: FaultRule) -> u64 {
        let mut rules = self.lock();
        rules.count += 1;
        let id = rules.count;
        rules.active.push(Active { id, rule, calls: 0, hits: 0, cleared: CancellationToken::new() });
        id
    }

    pub(crate) fn list(&self) -> Vec<Listed> {
        let listed = |active: &Active| Listed {
            id: active.id,
            rule: active.rule.clone(),
            calls: active.calls,
            hits: active.hits,
        };
        self.lock().active.iter().map(listed).collect()
    }

    pub(crate) fn has(&self, fault: &Fault) -> bool {
        self.lock().active.iter().any(|active| active.rule.fault == *fault)
    }

    /// Removes one rule, or all of them, and lets go of the calls that they hold; answers what was removed.
    pub(crate) fn clear(&self, id: Option<u64>) -> Vec<FaultRule> {
        let mut rules = self.lock();
        let gone: Vec<_> = rules.active.extract_if(.., |active| id.is_none_or(|id| active.id == id)).collect();
        for active in &gone {
            active.cleared.cancel();
        }
        gone.into_iter().map(|active| active.rule).collect()
    }

    /// Every rule counts the calls that it matches; the first one whose turn it is acts.
    pub(crate) fn decide(&self, subject: &Subject<'_>) -> Option<Hit> {
        let mut hit = None;
        for active in self.lock().active.iter_mut().filter(|active| active.rule.matches(subject)) {
            active.calls += 1;
            if hit.is_none() && active.rule.acts_on(active.calls) {
                active.hits += 1;
                hit = Some(Hit { fault: active.rule.fault.clone(), cleared: active.cleared.clone() });
            }
        }
        hit
    }

    /// The way to a cloud that is far away.
    pub(crate) async fn lag(&self) {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject<'a>(method: &'a str, path: &'a str) -> Subject<'a> {
        Subject { service: Some(Service::Run), method, path, changes: true, has_version: true, has_token: true }
    }

    fn hits(faults: &Faults, calls: usize) -> Vec<bool> {
        (0..calls).map(|_| faults.decide(&subject("GET", "/v2/x")).is_some()).collect()
    }

    #[test]
    fn a_rule_acts_on_its_calls_alone() {
        for (nth, count, expected) in [
            (None, None, [true, true, true, true]),
            (Some(2), None, [false, true, false, false]),
            (None, Some(2), [true, true, false, false]),
            (Some(2), Some(2), [false, true, true, false]),
        ] {
            let faults = Faults::new(Duration::ZERO);
            faults.add(FaultRule { nth, count, ..FaultRule::every(Fault::Reset) });
            assert_eq!(hits(&faults, 4), expected, "{nth:?} {count:?}");
        }
    }

    #[test]
    fn every_rule_counts_and_the_first_acts() {
        let faults = Faults::new(Duration::ZERO);
        let first = faults.add(FaultRule { nth: Some(1), ..FaultRule::every(Fault::Reset) });
        faults.add(FaultRule { nth: Some(2), ..FaultRule::every(Fault::Truncate) });
        let kind = |hit: Option<Hit>| hit.map(|hit| hit.fault);
        assert_eq!(kind(faults.decide(&subject("GET", "/a"))), Some(Fault::Reset));
        assert_eq!(kind(faults.decide(&subject("GET", "/a"))), Some(Fault::Truncate));
        assert_eq!(kind(faults.decide(&subject("GET", "/a"))), None);
        assert_eq!(faults.list().iter().map(|one| (one.calls, one.hits)).collect::<Vec<_>>(), [(3, 1), (3, 1)]);
        assert_eq!(faults.clear(Some(first)).len(), 1);
        assert_eq!(faults.clear(Some(first)).len(), 0);
        assert_eq!(faults.clear(None).len(), 1);
        assert!(faults.list().is_empty());
    }

    #[test]
    fn what_a_cleared_rule_holds_is_let_go() {
        let faults = Faults::new(Duration::ZERO);
        faults.add(FaultRule::every(Fault::Stall));
        let hit = faults.decide(&subject("GET", "/a")).expect("a hit");
        assert!(!hit.cleared.is_cancelled());
        faults.clear(None);
        assert!(hit.cleared.is_cancelled());
    }
}
