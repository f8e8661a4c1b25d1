//! The loop that applies a plan; once, for all clouds.
use serde::Serialize;

use crate::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    observed::Fingerprint,
    plan::{Intent, Plan, StepId},
    provider::Provider,
    rollout::Progress,
    spec::RevisionId,
};

/// What was done, also when something failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// Steps that ended well.
    pub done: Vec<StepId>,
    /// The step that failed.
    pub failed: Option<StepId>,
    /// Steps that were not begun.
    pub not_run: Vec<StepId>,
    /// The new revision.
    pub revision: Option<RevisionId>,
    /// Where the service answers.
    pub url: Option<String>,
    /// How far a rollout went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Progress>,
    /// The version after the last step.
    #[serde(skip)]
    pub fingerprint: Fingerprint,
}

/// Applies every step in its order and stops at the first that fails.
///
/// A saved plan is checked against a fresh observation by the caller; a fresh plan relies on the precondition
/// that `apply` sends.
pub async fn run(provider: &dyn Provider, cx: &Ctx, plan: &Plan) -> Result<RunReport> {
    let mut report = RunReport {
        not_run: plan.steps.iter().map(|step| step.id).collect(),
        fingerprint: plan.base.clone(),
        ..RunReport::default()
    };
    for step in &plan.steps {
        if cx.cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "interrupted").with_report(report));
        }
        report.not_run.retain(|id| *id != step.id);
        cx.events.emit(Event::StepStarted { step: step.id, verb: step.verb, resource: step.resource.clone() });
        let started = tokio::time::Instant::now();
        let applied = match &plan.intent {
            Intent::Job(_) => provider.jobs().apply(cx, plan, step, &report.fingerprint).await,
            _ => provider.apply(cx, plan, step, &report.fingerprint).await,
        };
        match applied {
            Ok(outcome) => {
                report.done.push(step.id);
                report.fingerprint = outcome.fingerprint.clone();
                report.revision = outcome.revision.clone().or(report.revision);
                report.url = outcome.url.clone().or(report.url);
                cx.events.emit(Event::StepFinished { step: step.id, outcome, elapsed: started.elapsed() });
            }
            Err(error) => {
                report.failed = Some(step.id);
                cx.events.emit(Event::StepFailed { step: step.id, message: error.to_string() });
                return Err(error.with_report(report));
            }
        }
    }
    Ok(report)
}
