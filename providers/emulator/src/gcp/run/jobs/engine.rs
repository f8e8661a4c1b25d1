//! All tasks of one execution, from its image to its end.
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    attempt::{Attempted, Attempts},
    change,
    execution::{End, Execution, Waiting, typed},
    job::Job,
    names::JobKey,
    task::{Attempt, Task},
    template,
};
use crate::{
    gcp::{
        run::{
            Parts,
            bring_up::unreadable,
            condition::{Failure, Reason},
            group::{self, Plan},
            pull,
        },
        status::{Code, Status},
    },
    image::Image,
};

/// Runs beside everything else; no lock is held while it waits.
pub(super) async fn execute(job: Arc<Job>, name: String, stop: CancellationToken) {
    // Nobody calls, and yet the local cloud is in use.
    let using = job.parts.activity.begin();
    let prepared = tokio::select! {
        prepared = prepare(&job, &name, &stop) => Some(prepared),
        () = stop.cancelled() => None,
    };
    let failure = match prepared {
        Some(Ok(plan)) => {
            let tasks = stream::iter(0..plan.tasks).map(|index| task(&job, &plan, index));
            tasks.buffer_unordered(plan.at_once).for_each(|()| std::future::ready(())).await;
            None
        }
        Some(Err(failure)) => Some(failure),
        None => None,
    };
    finish(&job, &name, failure);
    drop(using);
}

/// What all tasks have in common.
struct Planned {
    name: String,
    attempts: Attempts,
    tasks: u32,
    at_once: usize,
    retries: u32,
}

async fn prepare(job: &Arc<Job>, name: &str, stop: &CancellationToken) -> Result<Planned, Failure> {
    let gone = || Failure {
        code: Code::Aborted,
        message: "The execution was no longer wanted.".to_owned(),
        reason: Reason::Common("UNKNOWN"),
    };
    let template = job.state().execution_mut(name).map(|execution| execution.template.clone()).ok_or_else(gone)?;
    let found = images(&job.parts, &job.key, &template).await?;
    let runtime = job.parts.runtime.clone().map_err(|why| Failure {
        code: Code::FailedPrecondition,
        message: format!("The local cloud cannot run containers on this machine: {why}"),
        reason: Reason::Common("INTERNAL"),
    })?;
    let mut state = job.state();
    let execution = state.execution_mut(name).ok_or_else(gone)?;
    let (digests, images): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    execution.imported(&digests);
    let tasks = u32::try_from(execution.tasks.len()).unwrap_or(u32::MAX);
    Ok(Planned {
        name: name.to_owned(),
        tasks,
        at_once: execution.parallelism.max(1),
        retries: template::max_retries(&template),
        attempts: Attempts {
            key: job.key.clone(),
            execution: name.to_owned(),
            tasks,
            timeout: template::timeout(&template),
            plan: Plan {
                project: job.key.project.clone(),
                template,
                images,
                runtime,
                logs: job.parts.logs.clone(),
                secrets: job.parts.secrets.clone(),
                shares: job.parts.shares.clone(),
            },
            stop: stop.clone(),
            hurry: job.hurry.clone(),
        },
    })
}

/// What Cloud Run finds out before it starts anything, and what the local cloud does not do, which is refused and not
/// left out in silence. The images of the containers, with their names by digest.
pub(super) async fn images(parts: &Parts, key: &JobKey, task: &Value) -> Result<Vec<(String, Image)>, Failure> {
    if let Some(message) = group::unsupported(task) {
        return Err(Failure { code: Code::Unimplemented, message, reason: Reason::Common("UNKNOWN") });
    }
    group::check_secrets(&parts.secrets, &key.project, task).map_err(unreadable)?;
    let mut found = Vec::new();
    pull::images(parts, &key.project, task, &mut found).await?;
    Ok(found)
}

/// One task: an attempt, and others until one succeeds or there have been enough.
async fn task(job: &Arc<Job>, plan: &Planned, index: u32) {
    let change = |change: &dyn Fn(&mut Task)| {
        on(job, &plan.name, |execution| {
            if let Some(task) = execution.tasks.get_mut(index as usize) {
                change(task);
            }
            execution.touch();
        })
    };
    let stop = &plan.attempts.stop;
    for attempt in 0..=plan.retries {
        let slot = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            slot = job.slots.acquire() => slot.ok(),
        };
        let Some(slot) = slot else {
            return change(&Task::cancel);
        };
        change(&|task| task.begin(attempt));
        on(job, &plan.name, Execution::started);
        let attempted = plan.attempts.run(index, attempt).await;
        drop(slot);
        match attempted {
            Attempted::Cancelled => return change(&Task::cancel),
            Attempted::Ended(end) if end.succeeded() || attempt == plan.retries => {
                return change(&|task| task.end(end.clone()));
            }
            Attempted::Ended(end) => change(&|task| task.last = Some(end.clone())),
            // Another attempt would be the same.
            Attempted::Impossible(end) => return change(&|task| task.end(end.clone())),
        }
    }
}

fn on(job: &Job, name: &str, change: impl FnOnce(&mut Execution)) {
    if let Some(execution) = job.state().execution_mut(name) {
        change(execution);
    }
}

/// `failure` = why no task could start.
fn finish(job: &Arc<Job>, name: &str, failure: Option<Failure>) {
    let finished = {
        let mut state = job.state();
        let Some(execution) = state.execution_mut(name) else { return };
        let failure = failure.filter(|_| !execution.stop.is_cancelled());
        for task in execution.tasks.iter_mut().filter(|task| !task.state.is_terminal()) {
            match &failure {
                Some(Failure { code, message, .. }) => task.end(Attempt::broken(*code, message)),
                None => task.cancel(),
            }
        }
        let end = failure.map_or_else(|| execution.outcome(), End::NotStarted);
        execution.close(end.clone());
        let rendered = typed(execution.render(&job.key));
        let waiting = std::mem::take(&mut execution.waiting);
        if execution.deleted.is_some() {
            state.executions.retain(|execution| execution.name != name);
        }
        (end, rendered, waiting)
    };
    let (end, rendered, waiting) = finished;
    for waiting in waiting {
        let operations = &job.parts.operations;
        match waiting {
            Waiting::Run(operation) => {
                let result = error(&end).map_or_else(|| Ok(rendered.clone()), |failure| Err(failure.status()));
                operations.finish(&operation, rendered.clone(), result);
            }
            Waiting::Stop(operation) => operations.finish(&operation, rendered.clone(), Ok(rendered.clone())),
            Waiting::Job { operation, generation } => {
                let result = match &end {
                    End::Cancelled => Err(Failure {
                        code: Code::Aborted,
                        message: super::task::CANCELLED_TEXT.to_owned(),
                        reason: Reason::Common("UNKNOWN"),
                    }),
                    end => error(end).map_or(Ok(()), Err),
                };
                change::settle(job, generation, &operation, result);
            }
        }
    }
}

/// A cancelled execution is no error of the operation that ran it.
fn error(end: &End) -> Option<Failure> {
    match end {
        End::Succeeded | End::Cancelled => None,
        End::Failed(Status { code, message, .. }) => {
            Some(Failure { code: *code, message: message.clone(), reason: Reason::Common("UNKNOWN") })
        }
        End::NotStarted(failure) => Some(failure.clone()),
    }
}
