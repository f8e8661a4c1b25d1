//! Who gets how much traffic: what a change makes of the live targets; once, for all clouds.
//!
//! Targets that only have a tag are somebody's one by one: those that a change does not name stay as they are.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind, Result,
    diff::FieldChange,
    fields::FieldValue,
    observed::{ObservedService, TrafficSplit, TrafficTarget},
    spec::RevisionId,
};

/// Tags that begin so are ours: we make and remove them by ourselves. All others are their makers'.
pub const OUR_TAGS: &str = "carrack-";

/// What becomes of the traffic when a deploy makes a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewTraffic {
    /// The newest revision gets all of it.
    #[default]
    All,
    /// Who serves goes on: where "the newest" had traffic, the revision that serves now gets it by its name.
    None,
}

/// What is asked of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficChange {
    /// Who gets how much, 100 in all; empty = the shares stay as they are.
    pub shares: Vec<Share>,
    /// Tags that are set, by their names; `None` removes one.
    pub tags: BTreeMap<String, Option<Who>>,
}

/// Somebody's part of the traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Whose.
    pub who: Who,
    /// Of 100.
    pub percent: u8,
}

/// Whom traffic is sent to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The newest revision, whichever that is.
    Latest,
    /// This one.
    Revision(RevisionId),
    /// The one that has the tag now.
    Tag(String),
}

/// Whom a target leads to; `None` is the newest revision.
type To = Option<RevisionId>;

impl TrafficTarget {
    /// To the newest revision.
    pub fn latest(percent: u8) -> Self {
        Self { latest: true, revision: None, percent, tag: None, url: None }
    }

    /// To this revision.
    pub fn to(revision: RevisionId, percent: u8) -> Self {
        Self { latest: false, revision: Some(revision), percent, tag: None, url: None }
    }

    fn of(to: To, percent: u8) -> Self {
        to.map_or_else(|| Self::latest(percent), |revision| Self::to(revision, percent))
    }

    fn whom(&self) -> To {
        self.revision.clone().filter(|_| !self.latest)
    }
}

impl ObservedService {
    /// Whether a new revision would not get all traffic by itself: some of it goes to a revision by its name.
    pub fn pinned(&self) -> bool {
        self.targets.iter().any(|target| target.percent > 0 && !target.latest)
    }

    /// Whether a tag of ours is at a revision: the split may be what a rollout of ours left.
    pub fn has_our_tag(&self) -> bool {
        self.targets.iter().any(|target| target.tag.as_ref().is_some_and(|tag| tag.starts_with(OUR_TAGS)))
    }
}

/// The targets after a change that was asked for. Refuses shares that are not 100 in all, and tags that are not there.
pub fn changed(live: &[TrafficTarget], change: &TrafficChange) -> Result<Vec<TrafficTarget>> {
    let before = tags(live);
    let tagged = |tag: &str| before.get(tag).cloned().ok_or_else(|| no_tag(tag, &before));
    let mut after: Vec<(String, To)> = order(live).into_iter().map(|tag| (tag.clone(), before[&tag].clone())).collect();
    let mut set: BTreeMap<&str, To> = BTreeMap::new();
    for (tag, who) in &change.tags {
        let to = match who {
            None => {
                // One of ours that is gone already is what was asked for: an answer may have been lost.
                if !tag.starts_with(OUR_TAGS) {
                    tagged(tag)?;
                }
                after.retain(|(name, _)| name != tag);
                continue;
            }
            Some(Who::Latest) => None,
            Some(Who::Revision(revision)) => Some(revision.clone()),
            Some(Who::Tag(other)) => tagged(other)?,
        };
        set.insert(tag, to.clone());
        put(&mut after, tag, to);
    }
    let mut shares: Vec<(To, u8)> = shares(live);
    if !change.shares.is_empty() {
        check_sum(change.shares.iter().map(|share| share.percent))?;
        shares.clear();
        for Share { who, percent } in change.shares.iter().filter(|share| share.percent > 0) {
            let to = match who {
                Who::Latest => None,
                Who::Revision(revision) => Some(revision.clone()),
                Who::Tag(tag) => match set.get(tag.as_str()) {
                    Some(to) => to.clone(),
                    None => tagged(tag)?,
                },
            };
            add(&mut shares, to, *percent);
        }
    }
    Ok(joined(shares, after, live))
}

/// Refuses shares that are not 100 in all.
pub fn check_sum(shares: impl IntoIterator<Item = u8>) -> Result<()> {
    let sum: u32 = shares.into_iter().map(u32::from).sum();
    if sum == 100 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, format!("the shares of the traffic are {sum} % in all"))
        .hint("they have to be 100 % in all: `latest=100`, or `latest=90 REVISION=10`"))
}

/// The targets as a deploy wants them. `new` says whether it makes a revision. Refuses to keep who serves where
/// nobody does.
pub fn deployed(live: &ObservedService, traffic: NewTraffic, new: bool) -> Result<Vec<TrafficTarget>> {
    let targets = &live.targets;
    let mut shares = shares(targets);
    let follows = shares.iter().any(|(to, _)| to.is_none());
    match traffic {
        // Whoever has it all by name has it all.
        NewTraffic::All if !new && serves_alone(live) => {}
        NewTraffic::All => shares = vec![(None, 100)],
        NewTraffic::None if new && follows => {
            if live.traffic.0.is_empty() {
                return Err(nobody_serves());
            }
            shares = live.traffic.0.iter().map(|(revision, percent)| (Some(revision.clone()), *percent)).collect();
        }
        NewTraffic::None => {}
    }
    let tags = tags(targets);
    let mut kept: Vec<(String, To)> = order(targets).into_iter().map(|tag| (tag.clone(), tags[&tag].clone())).collect();
    if new {
        // Without traffic there is no rollout that needs it.
        let serves = |to: &To| to.is_some() && shares.iter().any(|(other, _)| other == to);
        kept.retain(|(tag, to)| !tag.starts_with(OUR_TAGS) || serves(to));
    }
    Ok(joined(shares, kept, targets))
}

/// The refusal to keep who serves where nobody does, as on a first deploy.
pub fn nobody_serves() -> Error {
    Error::new(ErrorKind::Usage, "refusing to deploy without traffic: no earlier revision serves")
        .hint("leave `--no-traffic` out: the first revision gets all traffic")
}

fn serves_alone(live: &ObservedService) -> bool {
    let alone = |ready: &RevisionId| live.traffic.0.len() == 1 && live.traffic.0.contains_key(ready);
    live.latest_ready.as_ref().is_some_and(alone)
}

/// `live` with the tag at a revision.
pub fn tagged(live: &[TrafficTarget], tag: &str, revision: Option<RevisionId>) -> Vec<TrafficTarget> {
    let before = tags(live);
    let mut after: Vec<(String, To)> = order(live).into_iter().map(|tag| (tag.clone(), before[&tag].clone())).collect();
    put(&mut after, tag, revision);
    joined(shares(live), after, live)
}

/// Where a tag leads: `Some(None)` is the newest revision, whichever that is.
pub fn tag_of<'a>(targets: &'a [TrafficTarget], tag: &str) -> Option<Option<&'a RevisionId>> {
    let target = targets.iter().find(|target| target.tag.as_deref() == Some(tag))?;
    Some(target.revision.as_ref().filter(|_| !target.latest))
}

/// Whether a tag is at the newest revision that is ready, by its name, so that it stays there.
pub fn is_at_newest(live: Option<&ObservedService>, tag: Option<&str>) -> bool {
    let (Some(live), Some(tag)) = (live, tag) else { return false };
    live.latest_ready.is_some() && tag_of(&live.targets, tag) == Some(live.latest_ready.as_ref())
}

/// The change of a tag that the revision to come gets, whose name nobody knows yet. It reads the same once the
/// revision is there, so that a plan that is made again is the same plan.
pub fn tag_for_new(targets: &[TrafficTarget], tag: &str) -> FieldChange {
    let from = tag_of(targets, tag).map(|to| FieldValue::Shown(name_of(&to.cloned())));
    let to = FieldValue::Shown("the newest revision".to_owned());
    FieldChange { path: format!("tags.{tag}"), from, to: Some(to) }
}

/// What differs, in the form of any other change: `traffic`, and `tags.NAME` for each tag.
pub fn diff(before: &[TrafficTarget], after: &[TrafficTarget]) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let sorted = |targets| -> BTreeMap<To, u8> { shares(targets).into_iter().collect() };
    if sorted(before) != sorted(after) {
        let shown = |targets| Some(FieldValue::Shown(shown(targets))).filter(|_| !shares(targets).is_empty());
        changes.push(FieldChange { path: "traffic".into(), from: shown(before), to: shown(after) });
    }
    let (before, after) = (tags(before), tags(after));
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (from, to) = (before.get(name), after.get(name));
        if from != to {
            let shown = |to: &To| FieldValue::Shown(name_of(to));
            changes.push(FieldChange { path: format!("tags.{name}"), from: from.map(shown), to: to.map(shown) });
        }
    }
    changes
}

/// For people: `hello-00001-abc 90%, latest 10%`.
pub fn shown(targets: &[TrafficTarget]) -> String {
    let parts: Vec<_> = shares(targets).iter().map(|(to, percent)| format!("{} {percent}%", name_of(to))).collect();
    parts.join(", ")
}

/// Who gets how much by these targets, when `ready` is the newest revision.
pub fn split(targets: &[TrafficTarget], ready: Option<&RevisionId>) -> TrafficSplit {
    let mut split = TrafficSplit::default();
    for (to, percent) in shares(targets) {
        if let Some(revision) = to.as_ref().or(ready) {
            *split.0.entry(revision.clone()).or_default() += percent;
        }
    }
    split
}

fn name_of(to: &To) -> String {
    to.as_ref().map_or_else(|| "latest".to_owned(), |revision| revision.0.clone())
}

/// Each once, in their order.
fn shares(targets: &[TrafficTarget]) -> Vec<(To, u8)> {
    let mut shares = Vec::new();
    for target in targets.iter().filter(|target| target.percent > 0) {
        add(&mut shares, target.whom(), target.percent);
    }
    shares
}

fn add(shares: &mut Vec<(To, u8)>, to: To, percent: u8) {
    match shares.iter_mut().find(|(known, _)| *known == to) {
        Some((_, sum)) => *sum = sum.saturating_add(percent),
        None => shares.push((to, percent)),
    }
}

fn order(targets: &[TrafficTarget]) -> Vec<String> {
    targets.iter().filter_map(|target| target.tag.clone()).collect()
}

fn tags(targets: &[TrafficTarget]) -> BTreeMap<String, To> {
    targets.iter().filter_map(|target| Some((target.tag.clone()?, target.whom()))).collect()
}

fn put(tags: &mut Vec<(String, To)>, tag: &str, to: To) {
    match tags.iter_mut().find(|(name, _)| name == tag) {
        Some((_, old)) => *old = to,
        None => tags.push((tag.to_owned(), to)),
    }
}

/// Shares first, then tags, as Google's own client writes them: a target for each.
fn joined(shares: Vec<(To, u8)>, tags: Vec<(String, To)>, live: &[TrafficTarget]) -> Vec<TrafficTarget> {
    let shares = shares.into_iter().map(|(to, percent)| TrafficTarget::of(to, percent));
    let url = |tag: &str| live.iter().find(|target| target.tag.as_deref() == Some(tag))?.url.clone();
    let tags =
        tags.into_iter().map(|(tag, to)| TrafficTarget { url: url(&tag), tag: Some(tag), ..TrafficTarget::of(to, 0) });
    shares.chain(tags).collect()
}

fn no_tag(tag: &str, known: &BTreeMap<String, To>) -> Error {
    let known: Vec<_> = known.keys().map(|tag| format!("`{tag}`")).collect();
    let error = Error::new(ErrorKind::NotFound, format!("there is no tag `{tag}`"));
    match known.is_empty() {
        true => error.hint(format!("no revision has a tag; give one: `carrack traffic --tag {tag}=REVISION`")),
        false => error.hint(format!("use one of {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{observed::Readiness, spec::ServiceSpec};

    fn id(name: &str) -> RevisionId {
        RevisionId(name.to_owned())
    }

    fn tag(tag: &str, revision: Option<&str>) -> TrafficTarget {
        TrafficTarget { tag: Some(tag.to_owned()), ..TrafficTarget::of(revision.map(id), 0) }
    }

    fn share(who: Who, percent: u8) -> Share {
        Share { who, percent }
    }

    fn told(targets: &[TrafficTarget]) -> Vec<String> {
        let whom = |target: &TrafficTarget| name_of(&target.whom());
        let tag = |target: &TrafficTarget| target.tag.as_ref().map(|tag| format!("#{tag}")).unwrap_or_default();
        targets.iter().map(|target| format!("{}={}{}", whom(target), target.percent, tag(target))).collect()
    }

    fn live(targets: Vec<TrafficTarget>, ready: &str) -> ObservedService {
        ObservedService {
            raw: serde_json::Value::Null,
            receipt: None,
            spec: ServiceSpec::default(),
            traffic: split(&targets, Some(&id(ready))),
            targets,
            latest: Some(id(ready)),
            latest_ready: Some(id(ready)),
            url: None,
            readiness: Readiness::Ready,
            conditions: Default::default(),
        }
    }

    #[test]
    fn tags_of_others_survive_every_change() {
        let before = vec![
            TrafficTarget { tag: Some("stable".into()), ..TrafficTarget::to(id("a-1"), 100) },
            tag("blue", Some("a-1")),
            tag("next", None),
        ];
        let change = TrafficChange {
            shares: vec![share(Who::Latest, 10), share(Who::Tag("blue".into()), 90)],
            tags: [("green".to_owned(), Some(Who::Revision(id("a-2"))))].into(),
        };
        let after = changed(&before, &change).expect("it is good");
        assert_eq!(told(&after), ["latest=10", "a-1=90", "a-1=0#stable", "a-1=0#blue", "latest=0#next", "a-2=0#green"]);
        let back = TrafficChange {
            shares: Vec::new(),
            tags: [("green".to_owned(), None), ("blue".to_owned(), Some(Who::Tag("next".into())))].into(),
        };
        let after = changed(&after, &back).expect("it is good");
        assert_eq!(told(&after), ["latest=10", "a-1=90", "a-1=0#stable", "latest=0#blue", "latest=0#next"]);
    }

    #[test]
    fn what_is_not_100_or_not_there_is_refused() {
        let before = [TrafficTarget::latest(100)];
        let of = |shares: Vec<Share>, tags: &[(&str, Option<Who>)]| {
            let tags = tags.iter().map(|(tag, who)| ((*tag).to_owned(), who.clone())).collect();
            let error = changed(&before, &TrafficChange { shares, tags }).expect_err("it is bad");
            (error.kind(), error.message().to_owned())
        };
        assert_eq!(
            of(vec![share(Who::Latest, 90)], &[]),
            (ErrorKind::Usage, "the shares of the traffic are 90 % in all".to_owned())
        );
        assert_eq!(of(vec![share(Who::Latest, 100), share(Who::Latest, 100)], &[]).0, ErrorKind::Usage);
        let none = (ErrorKind::NotFound, "there is no tag `blue`".to_owned());
        assert_eq!(of(vec![share(Who::Tag("blue".into()), 100)], &[]), none);
        assert_eq!(of(Vec::new(), &[("blue", None)]), none);
        assert_eq!(of(Vec::new(), &[("green", Some(Who::Tag("blue".into())))]), none);
    }

    #[test]
    fn a_tag_can_get_traffic_in_the_change_that_sets_or_removes_it() {
        let before = [TrafficTarget::latest(100), tag("old", Some("a-1"))];
        let change = TrafficChange {
            shares: vec![share(Who::Tag("old".into()), 40), share(Who::Tag("new".into()), 60)],
            tags: [("old".to_owned(), None), ("new".to_owned(), Some(Who::Revision(id("a-2"))))].into(),
        };
        assert_eq!(told(&changed(&before, &change).expect("it is good")), ["a-1=40", "a-2=60", "a-2=0#new"]);
    }

    #[test]
    fn a_deploy_gives_all_or_keeps_who_serves() {
        let cases = [
            (vec![TrafficTarget::latest(100)], vec!["latest=100"], vec!["a-2=100"]),
            (vec![TrafficTarget::to(id("a-1"), 100)], vec!["latest=100"], vec!["a-1=100"]),
            (
                vec![TrafficTarget::latest(60), TrafficTarget::to(id("a-1"), 30), TrafficTarget::to(id("a-2"), 10)],
                vec!["latest=100"],
                vec!["a-1=30", "a-2=70"],
            ),
        ];
        for (targets, all, none) in cases {
            let live = live(targets, "a-2");
            assert_eq!(told(&deployed(&live, NewTraffic::All, true).expect("it serves")), all);
            assert_eq!(told(&deployed(&live, NewTraffic::None, true).expect("it serves")), none);
            assert_eq!(deployed(&live, NewTraffic::None, false).expect("it serves"), live.targets);
        }
    }

    #[test]
    fn without_a_new_revision_only_a_choice_moves_traffic() {
        let by_name = live(vec![TrafficTarget::to(id("a-2"), 100)], "a-2");
        assert_eq!(deployed(&by_name, NewTraffic::All, false).expect("it serves"), by_name.targets);
        let elsewhere = live(vec![TrafficTarget::to(id("a-1"), 100)], "a-2");
        assert_eq!(told(&deployed(&elsewhere, NewTraffic::All, false).expect("it serves")), ["latest=100"]);
    }

    #[test]
    fn nobody_serves_is_nobody_to_keep() {
        let mut nobody = live(vec![TrafficTarget::latest(100)], "a-1");
        nobody.traffic = TrafficSplit::default();
        assert_eq!(deployed(&nobody, NewTraffic::None, true).expect_err("nobody").kind(), ErrorKind::Usage);
        assert!(deployed(&nobody, NewTraffic::All, true).is_ok());
    }

    #[test]
    fn our_old_tags_go_with_the_next_revision() {
        let targets = vec![
            TrafficTarget::to(id("a-1"), 90),
            TrafficTarget::to(id("a-2"), 10),
            tag("carrack-new", Some("a-2")),
            tag("carrack-old", Some("a-1")),
            tag("carracks", Some("a-3")),
            tag("carrack-gone", Some("a-3")),
        ];
        let live = live(targets, "a-2");
        let all = deployed(&live, NewTraffic::All, true).expect("it serves");
        assert_eq!(told(&all), ["latest=100", "a-3=0#carracks"]);
        let none = deployed(&live, NewTraffic::None, true).expect("it serves");
        assert_eq!(told(&none), ["a-1=90", "a-2=10", "a-2=0#carrack-new", "a-1=0#carrack-old", "a-3=0#carracks"]);
        assert!(live.pinned() && live.has_our_tag());
    }

    #[test]
    fn a_difference_is_told_once_and_only_where_there_is_one() {
        let merged = [TrafficTarget { tag: Some("blue".into()), ..TrafficTarget::to(id("a-1"), 100) }];
        let apart = [TrafficTarget::to(id("a-1"), 100), tag("blue", Some("a-1"))];
        assert_eq!(diff(&merged, &apart), []);
        let after = tagged(&apart, "green", None);
        let lines: Vec<String> = diff(&apart, &after)
            .into_iter()
            .map(|change| format!("{} {:?} {}", change.path, change.from, change.to.expect("it is set")))
            .collect();
        assert_eq!(lines, ["tags.green None latest"]);
        assert_eq!(shown(&[TrafficTarget::to(id("a-1"), 90), TrafficTarget::latest(10)]), "a-1 90%, latest 10%");
    }
}
