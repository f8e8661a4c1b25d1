//! A new revision gets the traffic step by step, watched all the time, and loses it again by itself when it fails.
//!
//! Each step is a small plan of its own. What stands between two of them is a split that is good to stay: who is
//! interrupted leaves it, and the same deploy goes on from there.
mod watch;

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    observed::ObservedService,
    plan::{Intent, ResourceRef, Share, TrafficChange, Who},
    provider::Provider,
    rollout::{Progress, Rollout, TAG, split},
    run::RunReport,
    spec::{RevisionId, ServiceName},
    traffic::tag_of,
};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::watch::Watch;
use super::{
    Outcome, Report,
    converge::converge,
    deploy::{Prepared, Reached, before, is_public, opens, verified, write},
    deploy_secrets,
    dossier::explained_later,
    observe::settled,
    verify::Probe,
};
use crate::image::Ways;

/// Long futures live on the heap, and are not made in the frame that then polls them: threads have small stacks.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// What was prepared, and then the traffic to what came of it.
pub(super) fn rollout<'a>(
    cx: &'a Ctx,
    provider: &'a dyn Provider,
    ways: &'a dyn Ways,
    prepared: Prepared,
    rollout: Rollout,
) -> Boxed<'a, Report> {
    Box::pin(roll_out(cx, provider, ways, prepared, rollout))
}

async fn roll_out(
    cx: &Ctx,
    provider: &dyn Provider,
    ways: &dyn Ways,
    mut prepared: Prepared,
    rollout: Rollout,
) -> Result<Report> {
    let started = Instant::now();
    let name = prepared.plan.target.name.clone();
    give_up_another(cx, provider, &mut prepared).await?;
    let mut report = before(&prepared);
    let mut run = RunReport::default();
    if prepared.plan.is_noop() {
        deploy_secrets::grant(cx, provider.secrets(), &prepared.grants).await?;
    } else {
        run = written(cx, provider, ways, &prepared).await?;
        report.result = Outcome::Deployed;
    }
    let live = live(cx, provider, &name).await.map_err(|error| error.with_report(run.clone()))?;
    let new = live.latest_ready.clone().ok_or_else(|| gone(&name))?;
    report.url = live.url.clone();
    let (public, opened) = (is_public(&prepared.plan, &prepared.observed), opens(&prepared.plan, &prepared.observed));
    let percent = live.traffic.0.get(&new).copied().unwrap_or(0);
    report.revision = Some(new.clone());
    if percent < 100 || tag_of(&live.targets, TAG) == Some(Some(&new)) {
        report.result = Outcome::Deployed;
        let watch = Watch {
            cx,
            provider,
            name: &name,
            new: &new,
            rollout: &rollout,
            public,
            opened,
            tag: None,
            service: live.url,
            since: Timestamp::now(),
            counted: None,
            told: false,
            silent: false,
        };
        let steps = Steps { watch, before: split(&live.traffic.0, &new, 0), flags: &prepared.flags, run };
        (report.probe, run) = steps.walked(percent).await?;
    } else {
        // No revision was made, and the newest has all traffic.
        let probe = verified(cx, provider, &report, Reached::Service, public, opened).await;
        report.probe = probe.map_err(|error| error.with_report(run.clone()))?;
    }
    report.run = (report.result == Outcome::Deployed).then_some(run);
    report.elapsed = started.elapsed();
    Ok(report)
}

/// A rollout that stopped half way is of another revision than the one that comes now: what it has goes back first, so
/// that nobody takes it for one that served.
async fn give_up_another(cx: &Ctx, provider: &dyn Provider, prepared: &mut Prepared) -> Result<()> {
    let Some(live) = prepared.observed.service.as_ref().filter(|_| !prepared.plan.is_noop()) else { return Ok(()) };
    let Some(Some(old)) = tag_of(&live.targets, TAG) else { return Ok(()) };
    let share = live.traffic.0.get(old).copied().unwrap_or(0);
    if !(1..100).contains(&share) {
        return Ok(());
    }
    let message = format!("an earlier rollout stopped with {share} % at {}: they go back first", old.0);
    cx.events.emit(Event::Note { message });
    let name = prepared.plan.target.name.clone();
    let change = TrafficChange { shares: shares(&split(&live.traffic.0, old, 0)), ..TrafficChange::default() };
    route(cx, provider, &name, change).await?;
    prepared.observed = settled(cx, provider, &name).await?;
    prepared.plan = provider.plan(&name, &prepared.plan.intent, &prepared.observed)?;
    Ok(())
}

/// One rollout of one revision.
struct Steps<'a> {
    watch: Watch<'a>,
    /// Who has the traffic without it.
    before: BTreeMap<RevisionId, u8>,
    flags: &'a str,
    run: RunReport,
}

fn written<'a>(
    cx: &'a Ctx,
    provider: &'a dyn Provider,
    ways: &'a dyn Ways,
    prepared: &'a Prepared,
) -> Boxed<'a, RunReport> {
    Box::pin(write(cx, provider, ways, prepared))
}

impl<'s> Steps<'s> {
    fn walked(self, percent: u8) -> Boxed<'s, (Option<Probe>, RunReport)> {
        Box::pin(self.walk(percent))
    }

    fn all_boxed(&mut self, percent: u8) -> Boxed<'_, Option<Probe>> {
        Box::pin(self.all(percent))
    }

    /// From the share that it has now to all of it.
    async fn walk(mut self, percent: u8) -> Result<(Option<Probe>, RunReport)> {
        self.run.rollout = Some(Progress {
            revision: self.watch.new.clone(),
            before: self.before.clone(),
            percent,
            steps: Vec::new(),
            returned: false,
        });
        let error = match self.all_boxed(percent).await {
            Ok(probe) => return Ok((probe, self.run)),
            Err(error) => error,
        };
        let error = match error.kind() {
            ErrorKind::Unhealthy => self.take_back(error).await,
            _ => self.stopped(error),
        };
        Err(error.with_report(self.run))
    }

    async fn all(&mut self, percent: u8) -> Result<Option<Probe>> {
        let (cx, new, rollout) = (self.watch.cx, self.watch.new, self.watch.rollout);
        self.tag().await?;
        if percent > 0 {
            let message = format!("going on with the rollout of {}, which has {percent} % of the traffic", new.0);
            cx.events.emit(Event::Note { message });
        }
        self.watch.first().await?;
        self.watch.since = Timestamp::now();
        let now = (percent > 0 && percent < 100).then_some(percent);
        let left = rollout.steps.iter().copied().filter(|step| *step > percent);
        for step in now.into_iter().chain(left) {
            if step > percent {
                self.shift(
                    step,
                    TrafficChange { shares: shares(&split(&self.before, new, step)), ..Default::default() },
                )
                .await?;
            }
            cx.events.emit(Event::RolloutStep { revision: new.clone(), percent: step, wait: rollout.wait });
            let watched = self.watch.through(step).await?;
            cx.events.emit(Event::RolloutWatched { revision: new.clone(), watched: watched.clone() });
            if let Some(progress) = &mut self.run.rollout {
                progress.steps.push(watched);
            }
        }
        // By "the newest", so that later deploys move it; the tag has done its work.
        let shares = vec![Share { who: Who::Latest, percent: 100 }];
        self.shift(100, TrafficChange { shares, tags: [(TAG.to_owned(), None)].into() }).await?;
        cx.events.emit(Event::RolloutStep { revision: new.clone(), percent: 100, wait: Duration::ZERO });
        self.watch.last().await
    }

    /// The new revision has our tag, and so a URL of its own.
    async fn tag(&mut self) -> Result<()> {
        let Watch { cx, provider, name, new, .. } = self.watch;
        let mut live = live(cx, provider, name).await?;
        if tag_of(&live.targets, TAG) != Some(Some(new)) {
            route(cx, provider, name, TrafficChange { shares: Vec::new(), tags: tag_at(new) }).await?;
            live = self::live(cx, provider, name).await?;
        }
        let tag = live.targets.into_iter().find(|target| target.tag.as_deref() == Some(TAG));
        (self.watch.tag, self.watch.service) = (tag.and_then(|target| target.url), live.url);
        Ok(())
    }

    /// Only while it is still the newest: somebody else's revision is not ours to roll out, or to pass by.
    async fn shift(&mut self, percent: u8, change: TrafficChange) -> Result<()> {
        let Watch { cx, provider, name, new, .. } = self.watch;
        let live = live(cx, provider, name).await?;
        if live.latest.as_ref() != Some(new) {
            let newest = live.latest.as_ref().map_or("another one", |latest| latest.0.as_str());
            let text = format!("somebody else deployed meanwhile: the newest revision is {newest}, not {}", new.0);
            return Err(Error::new(ErrorKind::Conflict, text).on(service(name)));
        }
        route(cx, provider, name, change).await?;
        if let Some(progress) = &mut self.run.rollout {
            progress.percent = percent;
        }
        Ok(())
    }

    /// All of it back to those that had it; also when an interrupt comes now, and when time is up.
    async fn take_back(&mut self, error: Error) -> Error {
        let Watch { provider, name, new, .. } = self.watch;
        let cx = &Ctx { cancel: CancellationToken::new(), deadline: None, ..self.watch.cx.clone() };
        let percent = self.run.rollout.as_ref().map_or(0, |progress| progress.percent);
        let reason = error.message().to_owned();
        let mut text = format!("its rollout failed with {percent} % of the traffic: {reason}");
        if percent == 0 {
            text += &format!("; {} goes on serving", shown(&self.before));
        } else {
            let change = TrafficChange { shares: shares(&self.before), tags: tag_at(new) };
            let returned = route(cx, provider, name, change).await;
            // What it got is known now.
            if self.watch.count().await.is_ok()
                && let Some(got) = self.watch.got()
            {
                text += &format!("; {got}");
            }
            if let Err(cause) = returned {
                return Error::new(ErrorKind::Unhealthy, format!("{text}; giving the traffic back failed"))
                    .on(revision(new))
                    .with_source(cause)
                    .hint(format!("give it back: `carrack traffic {}{}`", typed(&self.before), self.flags));
            }
            text += &format!("; all traffic is back at {}", shown(&self.before));
            cx.events.emit(Event::RolloutReturned { revision: new.clone(), percent, message: reason });
            if let Some(progress) = &mut self.run.rollout {
                (progress.percent, progress.returned) = (0, true);
            }
        }
        let mut told = Error::new(ErrorKind::Unhealthy, text).on(revision(new));
        if let Some(cause) = std::error::Error::source(&error) {
            told = told.with_source(cause.to_string());
        }
        if let Some(url) = &self.watch.tag {
            told = told.hint(format!("it goes on answering at {url}: mend it, and deploy again"));
        }
        explained_later(cx, provider, name, Some(new), told).await
    }

    /// Nothing is wrong with the revision: the split stays as it is.
    fn stopped(&self, error: Error) -> Error {
        let percent = self.run.rollout.as_ref().map_or(0, |progress| progress.percent);
        let (new, flags) = (&self.watch.new.0, self.flags);
        match percent {
            100 => error,
            0 => error.hint(format!("{new} is there and has no traffic: `carrack deploy{flags}` goes on with it")),
            _ => error
                .hint(format!("{new} has {percent} % of the traffic, and keeps it: `carrack deploy{flags}` goes on"))
                .hint(format!("or give it back: `carrack traffic {}{flags}`", typed(&self.before))),
        }
    }
}

fn tag_at(revision: &RevisionId) -> BTreeMap<String, Option<Who>> {
    [(TAG.to_owned(), Some(Who::Revision(revision.clone())))].into()
}

/// One small plan, carried out.
async fn route(cx: &Ctx, provider: &dyn Provider, name: &ServiceName, change: TrafficChange) -> Result<()> {
    let observed = settled(cx, provider, name).await?;
    let plan = provider.plan(name, &Intent::Traffic(change), &observed)?;
    if !plan.is_noop() {
        converge(cx, provider, plan).await?;
    }
    Ok(())
}

async fn live(cx: &Ctx, provider: &dyn Provider, name: &ServiceName) -> Result<ObservedService> {
    settled(cx, provider, name).await?.service.ok_or_else(|| gone(name))
}

fn gone(name: &ServiceName) -> Error {
    Error::new(ErrorKind::Conflict, "somebody else removed it meanwhile").on(service(name))
}

fn revision(id: &RevisionId) -> ResourceRef {
    ResourceRef::new("revision", id.0.clone())
}

fn service(name: &ServiceName) -> ResourceRef {
    ResourceRef::new("service", name.as_str())
}

fn shares(split: &BTreeMap<RevisionId, u8>) -> Vec<Share> {
    split.iter().map(|(id, percent)| Share { who: Who::Revision(id.clone()), percent: *percent }).collect()
}

/// For people.
fn shown(split: &BTreeMap<RevisionId, u8>) -> String {
    match split.iter().collect::<Vec<_>>().as_slice() {
        [(one, _)] => one.0.clone(),
        several => several.iter().map(|(id, percent)| format!("{} ({percent} %)", id.0)).collect::<Vec<_>>().join(", "),
    }
}

/// As `carrack traffic` takes it.
fn typed(split: &BTreeMap<RevisionId, u8>) -> String {
    split.iter().map(|(id, percent)| format!("{}={percent}", id.0)).collect::<Vec<_>>().join(" ")
}
