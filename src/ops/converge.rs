//! A plan carried out although somebody else is at work, or an answer is lost.
use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    observed::{Observed, Readiness},
    plan::{Intent, Plan, ResourceRef, Step},
    provider::Provider,
    run::{RunReport, run},
};

use super::{jobs, observe::settled};

/// How often it is met by looking and planning again.
const ROUNDS: usize = 3;

/// Runs the plan. On a conflict, or when it is not known whether a step was done, looks and plans again, and goes on
/// only when that gives the steps that are left.
pub(super) async fn converge(cx: &Ctx, provider: &dyn Provider, mut plan: Plan) -> Result<RunReport> {
    let mut before = RunReport::default();
    let mut round = 0;
    loop {
        round += 1;
        let error = match run(provider, cx, &plan).await {
            Ok(report) => return Ok(joined(before, report)),
            Err(error) => error,
        };
        let report = error.report().cloned().unwrap_or_default();
        plan.steps.retain(|step| !report.done.contains(&step.id));
        before = joined(before, report);
        let lost = error.is_uncertain();
        if error.kind() == ErrorKind::Cancelled || !(lost || error.kind() == ErrorKind::Conflict) {
            return Err(error.with_report(before));
        }
        let looked = look(cx, provider, &plan).await;
        let (observed, fresh) = match looked {
            Ok(looked) => looked,
            // The cloud cannot be asked: the first error says why it had to be.
            Err(cause) if cause.kind() == ErrorKind::Cancelled => return Err(cause.with_report(before)),
            Err(cause) if lost => return Err(unknown(error, before).with_source(cause)),
            Err(cause) => return Err(cause.with_report(before)),
        };
        match next(&plan, fresh, lost) {
            Next::Nothing => {
                if lost {
                    before.done.extend(before.failed);
                }
                failed_meanwhile(&observed, &before)?;
                let live = observed.service.as_ref();
                before.revision = live.and_then(|live| live.latest_ready.clone());
                before.url = live.and_then(|live| live.url.clone());
                (before.failed, before.not_run) = (None, Vec::new());
                return Ok(before);
            }
            Next::Rest(rest) => {
                let message = "the answer was lost, and the cloud had done it: going on".to_owned();
                cx.events.emit(Event::Note { message });
                before.done.extend(before.failed);
                plan = rest;
            }
            Next::Same(_) if round == ROUNDS && lost => return Err(error.with_report(before)),
            Next::Same(_) if round == ROUNDS => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "the service is being changed by somebody else all the time",
                )
                .with_report(before)
                .hint("find out who deploys it, then run the same command again"));
            }
            Next::Same(same) => {
                let message = if lost {
                    "the answer was lost, and the cloud had not done it: sending it again"
                } else {
                    "the service changed meanwhile; the plan is still the same, applying it"
                };
                cx.events.emit(Event::Note { message: message.to_owned() });
                plan = same;
            }
            Next::Other(other) => {
                if lost {
                    failed_meanwhile(&observed, &before)?;
                }
                cx.events.emit(Event::Planned { plan: Box::new(other) });
                let hint =
                    "the service changed meanwhile; the new plan is above: run the same command again to apply it";
                return Err(error.with_kind(ErrorKind::Conflict).with_report(before).hint(hint));
            }
        }
    }
}

async fn look(cx: &Ctx, provider: &dyn Provider, plan: &Plan) -> Result<(Observed, Plan)> {
    if let Intent::Job(intent) = &plan.intent {
        return Box::pin(jobs::again(cx, provider, plan, intent)).await;
    }
    let observed = settled(cx, provider, &plan.target.name).await?;
    let fresh = provider.plan(&plan.target.name, &plan.intent, &observed)?;
    Ok((observed, fresh))
}

/// What is to be done after another look.
enum Next {
    Nothing,
    /// The first step was done.
    Rest(Plan),
    Same(Plan),
    Other(Plan),
}

fn next(plan: &Plan, mut fresh: Plan, lost: bool) -> Next {
    let mut rest = plan.clone();
    if !rest.steps.is_empty() {
        rest.steps.remove(0);
    }
    if fresh.is_noop() {
        return Next::Nothing;
    }
    let same = |wanted: &Plan| fresh.same_steps(wanted) || (lost && alike(&fresh, wanted));
    if same(plan) {
        number(&mut fresh, plan);
        return Next::Same(fresh);
    }
    if lost && same(&rest) {
        number(&mut fresh, &rest);
        return Next::Rest(fresh);
    }
    Next::Other(fresh)
}

/// Led to the same end, from wherever: half of what was sent may be there.
fn alike(one: &Plan, other: &Plan) -> bool {
    let ends = |plan: &Plan| -> Vec<_> {
        let end = |step: &Step| -> Vec<_> {
            step.changes.iter().map(|change| (change.path.clone(), change.to.clone())).collect()
        };
        plan.steps.iter().map(|step| (step.verb, step.resource.clone(), end(step))).collect()
    };
    ends(one) == ends(other)
}

/// The report goes on counting as it began.
fn number(fresh: &mut Plan, old: &Plan) {
    for (step, old) in fresh.steps.iter_mut().zip(&old.steps) {
        step.id = old.id;
    }
}

/// Accepted, but what came of it does not serve.
fn failed_meanwhile(observed: &Observed, before: &RunReport) -> Result<()> {
    let Some(live) = observed.service.as_ref() else { return Ok(()) };
    let Readiness::Failed(why) = &live.readiness else { return Ok(()) };
    let error = Error::new(ErrorKind::Unhealthy, why.trim_end_matches('.')).with_report(before.clone());
    Err(match &live.latest {
        Some(revision) => error.on(ResourceRef::new("revision", revision.0.as_str())),
        None => error,
    })
}

fn unknown(error: Error, before: RunReport) -> Error {
    error.with_report(before).hint("whether it was done is not known: run the same command again")
}

/// The report of two runs, one after the other.
fn joined(before: RunReport, mut after: RunReport) -> RunReport {
    after.done.splice(0..0, before.done);
    after.revision = after.revision.or(before.revision);
    after.url = after.url.or(before.url);
    after
}
