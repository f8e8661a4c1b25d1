//! Tasks: get, list.
use serde_json::Value;

use super::super::{
    names::{self, JobKey},
    store::Jobs,
};
use crate::gcp::{call::Call, status::Status};

pub(in crate::gcp::run) fn get(store: &Jobs, key: &JobKey, execution: &str, name: &str) -> Result<Value, Status> {
    let job = store.find(key).map_err(|_| key.task_not_found(name))?;
    let state = job.state();
    let execution = state.execution(key, execution).map_err(|_| key.task_not_found(name))?;
    let mut tasks = execution.tasks.iter().zip(0_u32..);
    let found = tasks.find(|(_, index)| names::task(&execution.name, *index) == name);
    let (task, index) = found.ok_or_else(|| key.task_not_found(name))?;
    Ok(task.render(key, execution, index))
}

/// By execution and index; `-` is every job, or every execution:
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.executions.tasks/list>
pub(in crate::gcp::run) fn all(
    store: &Jobs,
    call: &Call<'_>,
    job: &str,
    wanted: &str,
) -> Result<Vec<(JobKey, Value)>, Status> {
    let mut found = Vec::new();
    for other in store.all(&call.project, &call.parameter(1)) {
        if job != "-" && other.key.job != job {
            continue;
        }
        let state = other.state();
        let executions = state.executions.iter().filter(|execution| execution.deleted.is_none());
        for execution in executions.filter(|execution| wanted == "-" || execution.name == wanted) {
            let tasks = execution.tasks.iter().zip(0_u32..);
            found.extend(tasks.map(|(task, index)| (other.key.clone(), task.render(&other.key, execution, index))));
        }
    }
    Ok(found)
}
