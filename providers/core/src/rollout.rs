//! How traffic goes over to a new revision: the steps, the shares at each, and what counts as a failure.
use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::spec::RevisionId;

/// The tag that the new revision is asked at before anybody gets it, and as long as its rollout lasts.
pub const TAG: &str = "carrack-new";

/// Of fewer requests no share is judged.
pub const FEWEST: u64 = 50;

/// More failures than these percent are too many.
pub const MOST_FAILURES: u64 = 1;

/// What a file's `[rollout]` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Percent of the traffic, one after the other; 100 comes by itself after the last one.
    pub steps: Vec<u8>,
    /// How long each step is watched.
    pub wait: Duration,
    /// What the new revision is asked; `None` asks `/`, which has to answer below 500.
    pub verify: Option<Verify>,
}

/// A question, and the answer that is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Absolute path.
    pub path: String,
    /// HTTP status; `None` takes 200 to 399.
    pub status: Option<u16>,
}

impl Verify {
    /// Whether this status is right.
    pub fn takes(&self, status: u16) -> bool {
        self.status.map_or((200..400).contains(&status), |wanted| wanted == status)
    }
}

/// What a revision answered in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Requests.
    pub requests: u64,
    /// Those of them with a status of 500 or more.
    pub failed: u64,
}

impl Answers {
    /// One more request.
    pub const fn count(&mut self, status: u16) {
        self.requests += 1;
        if status >= 500 {
            self.failed += 1;
        }
    }

    /// Whether too many failed, of enough.
    pub const fn are_bad(&self) -> bool {
        self.requests >= FEWEST && self.failed * 100 > self.requests * MOST_FAILURES
    }
}

/// How far a rollout went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The new revision.
    pub revision: RevisionId,
    /// Who had the traffic before it; the sum is 100.
    pub before: BTreeMap<RevisionId, u8>,
    /// Its share at the end.
    pub percent: u8,
    /// The steps that were watched to their end.
    pub steps: Vec<Watched>,
    /// It failed, and `before` has all of the traffic again.
    pub returned: bool,
}

/// A step that was watched to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// The new revision's share.
    pub percent: u8,
    /// What it answered since the rollout began; `None` where that cannot be read.
    pub answers: Option<Answers>,
    /// What all revisions answered since then.
    pub requests: Option<u64>,
}

/// The share of all requests that one revision got, in percent; `None` when there were none.
pub fn share_of(answers: &BTreeMap<RevisionId, Answers>, revision: &RevisionId) -> Option<f64> {
    let all: u64 = answers.values().map(|one| one.requests).sum();
    let own = answers.get(revision).map_or(0, |one| one.requests);
    #[expect(clippy::cast_precision_loss, reason = "it is shown with one decimal")]
    (all > 0).then(|| own as f64 * 100.0 / all as f64)
}

/// Percent by revision: the new one's, and the rest for those that served before, as they shared it. The sum is 100,
/// and nobody has 0.
pub fn split(before: &BTreeMap<RevisionId, u8>, new: &RevisionId, percent: u8) -> BTreeMap<RevisionId, u8> {
    let before: BTreeMap<&RevisionId, u32> = before
        .iter()
        .filter(|(id, share)| *id != new && **share > 0)
        .map(|(id, share)| (id, (*share).into()))
        .collect();
    let all: u32 = before.values().sum();
    let percent = if all == 0 { 100 } else { percent.min(100) };
    let rest = u32::from(100 - percent);
    let mut shares: Vec<(&RevisionId, u32, u32)> =
        before.iter().map(|(id, share)| (*id, share * rest / all, share * rest % all)).collect();
    // What rounding left over goes to those that it took the most from.
    shares.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(b.0)));
    let given: u32 = shares.iter().map(|(_, share, _)| share).sum();
    for (_, share, _) in shares.iter_mut().take((rest - given) as usize) {
        *share += 1;
    }
    let old = shares.into_iter().map(|(id, share, _)| (id.clone(), u8::try_from(share).unwrap_or(0)));
    old.chain([(new.clone(), percent)]).filter(|(_, share)| *share > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(list: &[(&str, u8)]) -> BTreeMap<RevisionId, u8> {
        list.iter().map(|(id, share)| (RevisionId((*id).to_owned()), *share)).collect()
    }

    #[test]
    fn the_rest_stays_with_those_that_had_it() {
        let new = RevisionId("new".into());
        for (before, percent, expected) in [
            (&[("a", 100)][..], 10, &[("a", 90), ("new", 10)][..]),
            (&[("a", 100)], 0, &[("a", 100)]),
            (&[("a", 100)], 100, &[("new", 100)]),
            (&[("a", 50), ("b", 50)], 25, &[("a", 38), ("b", 37), ("new", 25)]),
            (&[("a", 99), ("b", 1)], 50, &[("a", 50), ("new", 50)]),
            (&[("a", 34), ("b", 33), ("c", 33)], 98, &[("a", 1), ("b", 1), ("new", 98)]),
            // One that goes on from where it stopped.
            (&[("a", 45), ("b", 45), ("new", 10)], 50, &[("a", 25), ("b", 25), ("new", 50)]),
            // Nobody else is left.
            (&[("new", 100)], 10, &[("new", 100)]),
        ] {
            let split = split(&shares(before), &new, percent);
            assert_eq!(split, shares(expected), "{before:?} {percent}");
            assert_eq!(split.values().map(|share| u32::from(*share)).sum::<u32>(), 100);
        }
    }

    #[test]
    fn enough_failures_of_enough_requests_are_bad() {
        for (requests, failed, bad) in
            [(49, 49, false), (50, 0, false), (50, 1, true), (100, 1, false), (100, 2, true), (10_000, 100, false)]
        {
            assert_eq!(Answers { requests, failed }.are_bad(), bad, "{failed} of {requests}");
        }
    }

    #[test]
    fn a_share_of_requests() {
        let id = |name: &str| RevisionId(name.to_owned());
        let answers = BTreeMap::from([
            (id("a"), Answers { requests: 90, failed: 0 }),
            (id("new"), Answers { requests: 10, failed: 10 }),
        ]);
        assert_eq!(share_of(&answers, &id("new")), Some(10.0));
        assert_eq!(share_of(&answers, &id("other")), Some(0.0));
        assert_eq!(share_of(&BTreeMap::new(), &id("new")), None);
    }

    #[test]
    fn which_status_is_right() {
        let takes = |wanted, status| Verify { path: "/".into(), status: wanted }.takes(status);
        assert!(takes(None, 204) && takes(None, 302) && !takes(None, 404) && takes(Some(404), 404));
        assert!(!takes(Some(200), 204));
    }
}
