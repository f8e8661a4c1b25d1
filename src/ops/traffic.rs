//! Who gets the traffic: sending it elsewhere, tags, and the choice that a deploy has after a split by hand.
use carrack_core::{
    Error, ErrorKind, Result,
    capability::Capabilities,
    event::{Ctx, Event},
    observed::{Observed, ObservedService, Readiness, Revision, TrafficSplit, TrafficTarget},
    plan::{Intent, Plan, ResourceRef, Share, TrafficChange, Who},
    provider::Provider,
    run::RunReport,
    spec::{RevisionId, ServiceName, ServiceRef},
    traffic::{check_sum, shown},
};
use serde::Serialize;

use super::{
    converge::converge,
    observe::{missing, settled},
    permissions,
};

/// How the newest revision is called where a revision's name is wanted.
pub const LATEST: &str = "latest";

/// What is asked, by names as they are typed: `latest`, a revision or a tag.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Who gets how much; empty = the shares stay.
    pub shares: Vec<(String, u8)>,
    /// Tags that are set.
    pub set: Vec<(String, String)>,
    /// Tags that go.
    pub remove: Vec<String>,
}

/// What is done, and what was seen.
#[derive(Debug)]
pub struct Prepared {
    /// What will be done.
    pub plan: Plan,
    /// What was seen.
    pub observed: Observed,
}

/// Who gets the traffic, and where tags lead.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where.
    pub service: ServiceRef,
    /// Whether anything was changed; `None` where somebody only looked.
    pub result: Option<Outcome>,
    /// Where the service answers.
    pub url: Option<String>,
    /// Who serves now.
    pub traffic: TrafficSplit,
    /// What was asked for, with tags and their URLs.
    pub targets: Vec<TrafficTarget>,
    /// The revision that `latest` is.
    pub latest: Option<RevisionId>,
    /// What was done, step by step.
    pub run: Option<RunReport>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The traffic goes elsewhere now.
    Routed,
    /// It went there before.
    NoChanges,
}

impl Wanted {
    /// Nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty() && self.set.is_empty() && self.remove.is_empty()
    }

    /// What is wrong whatever is live. Sends nothing.
    pub fn check(&self, capabilities: &Capabilities) -> Result<()> {
        if !capabilities.traffic_split {
            return Err(Error::new(ErrorKind::Unsupported, "this cloud sends all traffic to the newest version"));
        }
        let twice = |name: &str, what: &str| {
            let text = format!("`{name}` is named twice {what}");
            Error::new(ErrorKind::Usage, text).hint("name each once")
        };
        let shares: Vec<&String> = self.shares.iter().map(|(who, _)| who).collect();
        if let Some(name) = repeated(&shares) {
            return Err(twice(name, "among those that get traffic"));
        }
        let tags: Vec<&String> = self.set.iter().map(|(tag, _)| tag).chain(&self.remove).collect();
        if let Some(name) = repeated(&tags) {
            return Err(twice(name, "among the tags"));
        }
        if self.shares.is_empty() { Ok(()) } else { check_sum(self.shares.iter().map(|(_, percent)| *percent)) }
    }
}

fn repeated<'a>(names: &[&'a String]) -> Option<&'a String> {
    let again = |(index, name): &(usize, &&'a String)| names[..*index].contains(*name);
    names.iter().enumerate().find(again).map(|(_, name)| *name)
}

/// Looks at the service and its revisions, side by side, and plans. What is not there is refused.
pub async fn prepare(cx: &Ctx, provider: &dyn Provider, name: &ServiceName, wanted: &Wanted) -> Result<Prepared> {
    wanted.check(provider.capabilities())?;
    let (observed, revisions) = tokio::try_join!(settled(cx, provider, name), provider.revisions(cx, name))?;
    let Some(live) = &observed.service else { return Err(missing(provider, name)) };
    let change = named(wanted, live, &revisions)?;
    let plan = provider.plan(name, &Intent::Traffic(change), &observed)?;
    cx.events.emit(Event::Planned { plan: Box::new(plan.clone()) });
    Ok(Prepared { plan, observed })
}

/// Does what was prepared, and looks again.
pub async fn apply(cx: &Ctx, provider: &dyn Provider, prepared: Prepared) -> Result<Report> {
    let Prepared { plan, observed } = prepared;
    if plan.is_noop() {
        return Ok(Report { result: Some(Outcome::NoChanges), ..report(&plan.target, observed.service.as_ref()) });
    }
    permissions::require(cx, provider, &plan, Some(&observed), None).await?;
    let done = match converge(cx, provider, plan.clone()).await {
        Ok(done) => done,
        Err(error) => {
            return Err(permissions::explained_step(cx, provider, &plan, &observed, None, error).await);
        }
    };
    let after = provider.observe(cx, &plan.target.name).await.map_err(|error| error.with_report(done.clone()))?;
    Ok(Report { result: Some(Outcome::Routed), run: Some(done), ..report(&plan.target, after.service.as_ref()) })
}

/// Who serves; sends nothing but the look.
pub async fn look(cx: &Ctx, provider: &dyn Provider, name: &ServiceName) -> Result<Report> {
    let observed = provider.observe(cx, name).await?;
    let Some(live) = &observed.service else { return Err(missing(provider, name)) };
    Ok(report(&provider.service_ref(name), Some(live)))
}

fn report(service: &ServiceRef, live: Option<&ObservedService>) -> Report {
    Report {
        service: service.clone(),
        result: None,
        url: live.and_then(|live| live.url.clone()),
        traffic: live.map(|live| live.traffic.clone()).unwrap_or_default(),
        targets: live.map(|live| live.targets.clone()).unwrap_or_default(),
        latest: live.and_then(|live| live.latest_ready.clone()),
        run: None,
    }
}

/// Names as they are typed, told apart: `latest` first, then revisions, then tags.
fn named(wanted: &Wanted, live: &ObservedService, revisions: &[Revision]) -> Result<TrafficChange> {
    let is_set = |name: &str| wanted.set.iter().any(|(tag, _)| tag == name);
    let has_tag = |name: &str| live.targets.iter().any(|target| target.tag.as_deref() == Some(name));
    let who = |name: &str| {
        if name == LATEST {
            return Ok(Who::Latest);
        }
        match revisions.iter().find(|revision| revision.id.0 == name) {
            Some(revision) => ready(revision).map(Who::Revision),
            None if has_tag(name) || is_set(name) => Ok(Who::Tag(name.to_owned())),
            None => Err(unknown(name, live, revisions)),
        }
    };
    let mut change = TrafficChange::default();
    for (name, percent) in &wanted.shares {
        change.shares.push(Share { who: who(name)?, percent: *percent });
    }
    for (tag, name) in &wanted.set {
        change.tags.insert(tag.clone(), Some(who(name)?));
    }
    change.tags.extend(wanted.remove.iter().map(|tag| (tag.clone(), None)));
    Ok(change)
}

fn ready(revision: &Revision) -> Result<RevisionId> {
    let Readiness::Failed(why) = &revision.readiness else { return Ok(revision.id.clone()) };
    let why = why.lines().next().unwrap_or_default();
    Err(Error::new(ErrorKind::Unhealthy, format!("it is not ready and cannot serve: {why}"))
        .on(ResourceRef::new("revision", revision.id.0.as_str()))
        .hint("`carrack status` shows which revisions are ready"))
}

/// How many revisions are told where one is not there.
const TOLD: usize = 5;

fn unknown(name: &str, live: &ObservedService, revisions: &[Revision]) -> Error {
    let error = Error::new(ErrorKind::NotFound, format!("there is no revision and no tag `{name}`"));
    let tags = live.targets.iter().filter_map(|target| target.tag.as_deref());
    let newest = revisions.iter().filter(|revision| !matches!(revision.readiness, Readiness::Failed(_)));
    let known: Vec<String> = std::iter::once(LATEST)
        .chain(tags)
        .chain(newest.take(TOLD).map(|revision| revision.id.0.as_str()))
        .map(|name| format!("`{name}`"))
        .collect();
    error.hint(format!("use one of {}", known.join(", "))).hint("`carrack status` lists all revisions")
}

/// The refusal of a deploy that would send traffic elsewhere that was split by hand, when nobody said what it wants:
/// it names who serves, and the ways on. `None` where there is nothing to choose.
///
/// A split beside a tag of ours is what a rollout of ours left, and none by hand.
pub fn open_choice(plan: &Plan, observed: &Observed) -> Option<Error> {
    let live = observed.service.as_ref().filter(|live| live.pinned() && !live.has_our_tag())?;
    let moves = plan.steps.iter().flat_map(|step| &step.changes).any(|change| change.path == "traffic");
    moves.then(|| {
        let text = format!("traffic was sent by hand ({}), and it was not said what becomes of it", who_serves(live));
        Error::new(ErrorKind::Usage, text)
            .on(ResourceRef::new("service", plan.target.name.as_str()))
            .hint("`--all-traffic` gives the newest revision all of it")
            .hint("`--no-traffic` leaves it as it is; with `--tag NAME` the new revision gets a URL of its own")
    })
}

/// For people: `shop-00001-abc 90%, latest 10%`.
pub fn who_serves(live: &ObservedService) -> String {
    shown(&live.targets)
}
