//! Executions: get, list, delete, cancel.
use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::{
        execution::{Waiting, typed},
        names::JobKey,
        store::Jobs,
    },
    jobs::Wanted,
};
use crate::gcp::{
    call::Call,
    operations::Operations,
    run::etag,
    status::{Code, Status},
};

pub(in crate::gcp::run) fn get(store: &Jobs, key: &JobKey, name: &str) -> Result<Value, Status> {
    let job = store.find(key).map_err(|_| key.execution_not_found(name))?;
    let state = job.state();
    Ok(state.execution(key, name)?.render(key))
}

/// The newest first; `-` is every job:
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.executions/list>
pub(in crate::gcp::run) fn all(store: &Jobs, call: &Call<'_>, job: &str) -> Result<Vec<(JobKey, Value)>, Status> {
    let mut found = Vec::new();
    for other in store.all(&call.project, &call.parameter(1)) {
        if job == "-" || other.key.job == job {
            let state = other.state();
            let kept = state.executions.iter().filter(|execution| execution.deleted.is_none());
            found.extend(kept.map(|execution| (execution.created, (other.key.clone(), execution.render(&other.key)))));
        }
    }
    found.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    Ok(found.into_iter().map(|(_, execution)| execution).collect())
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::gcp::run) enum How {
    Cancel,
    Delete,
}

/// Answers the operation; its metadata is the execution.
pub(in crate::gcp::run) fn end(
    store: &Jobs,
    (key, name): (&JobKey, &str),
    wanted: &Wanted<'_>,
    how: How,
) -> Result<Value, Status> {
    let job = store.find(key).map_err(|_| key.execution_not_found(name))?;
    let mut state = job.state();
    etag::check(wanted.etag, state.execution(key, name)?.version(), name)?;
    let Some(execution) = state.execution_mut(name) else {
        return Err(key.execution_not_found(name));
    };
    let ended = execution.end.is_some();
    if ended && how == How::Cancel {
        let text = format!("Execution '{name}' cannot be cancelled because it is not running.");
        return Err(Status::new(Code::FailedPrecondition, text));
    }
    if wanted.dry {
        let value = typed(execution.render(key));
        return Ok(Operations::unstored(&key.parent(), value.clone(), value));
    }
    if how == How::Delete {
        execution.deleted = Some(Timestamp::now());
    }
    if !ended {
        execution.cancel();
    }
    let value = typed(execution.render(key));
    let operations = &store.parts.operations;
    let operation = operations.begin(&key.parent(), value.clone());
    let id = operation["name"].as_str().unwrap_or_default().to_owned();
    if ended {
        state.executions.retain(|execution| execution.name != name);
        operations.finish(&id, value.clone(), Ok(value));
    } else {
        execution.waiting.push(Waiting::Stop(id));
    }
    Ok(operation)
}
