//! The parts of jobs, executions and tasks that are read.
//! Names are those of <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.executions>.
use std::{collections::BTreeMap, time::Duration};

use carrack_core::{
    Result,
    job::{Execution as Neutral, ExecutionId, JobSpec, LiveJob, RunState, TaskRun},
};
use serde::Deserialize;
use serde_json::Value;

use super::shape;
use crate::run::wire::{Condition, from_wire as service_from_wire, read, receipt_of, short_name};

/// <https://cloud.google.com/run/docs/configuring/max-retries>
const DEFAULT_RETRIES: u64 = 3;
/// <https://cloud.google.com/run/docs/configuring/task-timeout>
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Job {
    annotations: BTreeMap<String, String>,
    terminal_condition: Condition,
    latest_created_execution: Reference,
    reconciling: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reference {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Execution {
    name: String,
    create_time: String,
    start_time: Option<String>,
    completion_time: Option<String>,
    task_count: u32,
    running_count: u32,
    succeeded_count: u32,
    failed_count: u32,
    cancelled_count: u32,
    conditions: Vec<Stage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Task {
    index: u32,
    retried: u32,
    start_time: Option<String>,
    completion_time: Option<String>,
    conditions: Vec<Stage>,
    last_attempt_result: Option<Attempt>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Attempt {
    status: Status,
    exit_code: i32,
    term_signal: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    code: i32,
    message: String,
}

/// <https://cloud.google.com/run/docs/reference/rest/v2/Condition>
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stage {
    r#type: String,
    state: String,
    message: String,
    execution_reason: String,
}

pub(super) fn observed(raw: Value) -> Result<LiveJob> {
    let job: Job = read(&raw)?;
    let spec = from_wire(&raw)?;
    let latest = short_name(&job.latest_created_execution.name);
    Ok(LiveJob {
        receipt: receipt_of(&job.annotations, spec.workload.main.image.as_ref())?,
        latest: (!latest.is_empty()).then(|| ExecutionId(latest.to_owned())),
        readiness: job.terminal_condition.readiness(job.reconciling),
        spec,
        raw,
    })
}

/// The live resource in neutral words; what it leaves out because it is the default is filled in.
pub(super) fn from_wire(raw: &Value) -> Result<JobSpec> {
    let mut workload = service_from_wire(&shape::service(raw))?.workload;
    // A task has its CPU as long as it runs.
    (workload.main.cpu_always, workload.main.startup_boost) = (None, None);
    let (execution, task) = (&raw["template"], &raw["template"]["template"]);
    let number = |value: &Value, default: u64| value.as_u64().unwrap_or(default).try_into().ok();
    Ok(JobSpec {
        workload,
        tasks: number(&execution["taskCount"], 1),
        parallelism: number(&execution["parallelism"], 0),
        retries: number(&task["maxRetries"], DEFAULT_RETRIES),
        timeout: Some(task["timeout"].as_str().and_then(seconds).unwrap_or(DEFAULT_TIMEOUT)),
    })
}

/// `600s`; a part of a second is left out.
fn seconds(text: &str) -> Option<Duration> {
    let whole = text.strip_suffix('s')?.split('.').next()?;
    whole.parse().ok().map(Duration::from_secs)
}

pub(super) fn execution(raw: &Value) -> Result<Neutral> {
    let execution: Execution = read(raw)?;
    let completed = completed(&execution.conditions);
    let begun = execution.start_time.is_some() || execution.running_count > 0;
    Ok(Neutral {
        id: ExecutionId(short_name(&execution.name).to_owned()),
        state: state(completed, begun, execution.cancelled_count > 0 && execution.failed_count == 0),
        message: said(completed),
        tasks: execution.task_count,
        running: execution.running_count,
        succeeded: execution.succeeded_count,
        failed: execution.failed_count,
        cancelled: execution.cancelled_count,
        created: execution.create_time,
        started: execution.start_time,
        completed: execution.completion_time,
    })
}

pub(super) fn task(raw: &Value) -> Result<TaskRun> {
    /// <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>
    const CANCELLED: i32 = 1;
    let task: Task = read(raw)?;
    let last = task.last_attempt_result.as_ref();
    let cancelled = last.is_some_and(|last| last.status.code == CANCELLED);
    let state = state(completed(&task.conditions), task.start_time.is_some(), cancelled);
    let failed = last.filter(|last| last.status.code != 0 || last.exit_code != 0 || last.term_signal != 0);
    Ok(TaskRun {
        index: task.index,
        state,
        retried: task.retried,
        exit_code: last.filter(|last| last.exit_code != 0 || state == RunState::Succeeded).map(|last| last.exit_code),
        signal: last.map(|last| last.term_signal).filter(|signal| *signal != 0),
        message: failed
            .map(|last| last.status.message.trim_end_matches('.').to_owned())
            .filter(|text| !text.is_empty()),
        started: task.start_time,
        completed: task.completion_time,
    })
}

fn completed(conditions: &[Stage]) -> Option<&Stage> {
    conditions.iter().find(|condition| condition.r#type == "Completed")
}

fn said(completed: Option<&Stage>) -> Option<String> {
    let message = completed?.message.trim_end_matches('.');
    (!message.is_empty()).then(|| message.to_owned())
}

fn state(completed: Option<&Stage>, begun: bool, cancelled: bool) -> RunState {
    match completed.map_or("", |condition| condition.state.as_str()) {
        "CONDITION_SUCCEEDED" => RunState::Succeeded,
        "CONDITION_FAILED" if cancelled || completed.is_some_and(|one| one.execution_reason == "CANCELLED") => {
            RunState::Cancelled
        }
        "CONDITION_FAILED" => RunState::Failed,
        _ if begun => RunState::Running,
        _ => RunState::Pending,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_filled_in() {
        let spec = from_wire(&json!({ "template": { "template": { "containers": [{ "image": "i" }] } } })).unwrap();
        assert_eq!((spec.tasks, spec.parallelism, spec.retries), (Some(1), Some(0), Some(3)));
        assert_eq!(spec.timeout, Some(Duration::from_secs(600)));
        let zero = json!({ "template": { "taskCount": 2, "template": { "maxRetries": 0, "timeout": "1.5s" } } });
        let spec = from_wire(&zero).unwrap();
        assert_eq!((spec.tasks, spec.retries, spec.timeout), (Some(2), Some(0), Some(Duration::from_secs(1))));
    }

    #[test]
    fn how_far_an_execution_is() {
        let of = |completed: Value, more: Value| {
            let mut raw = json!({ "name": "projects/p/locations/l/jobs/j/executions/j-x", "conditions": [completed] });
            raw.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            execution(&raw).unwrap().state
        };
        let condition =
            |state: &str, reason: &str| json!({ "type": "Completed", "state": state, "executionReason": reason });
        assert_eq!(of(condition("CONDITION_PENDING", ""), json!({})), RunState::Pending);
        let started = json!({ "startTime": "2026-01-01T00:00:00Z", "runningCount": 1 });
        assert_eq!(of(condition("CONDITION_RECONCILING", ""), started), RunState::Running);
        assert_eq!(of(condition("CONDITION_SUCCEEDED", ""), json!({})), RunState::Succeeded);
        assert_eq!(of(condition("CONDITION_FAILED", "NON_ZERO_EXIT_CODE"), json!({})), RunState::Failed);
        assert_eq!(of(condition("CONDITION_FAILED", "CANCELLED"), json!({})), RunState::Cancelled);
        assert_eq!(of(condition("CONDITION_FAILED", ""), json!({ "cancelledCount": 1 })), RunState::Cancelled);
    }

    #[test]
    fn how_a_task_ended() {
        let of = |state: &str, last: Value| {
            let raw = json!({ "conditions": [{ "type": "Completed", "state": state }], "lastAttemptResult": last });
            let task = task(&raw).unwrap();
            (task.state, task.exit_code, task.signal, task.message)
        };
        assert_eq!(of("CONDITION_SUCCEEDED", json!({ "status": {} })), (RunState::Succeeded, Some(0), None, None));
        assert_eq!(
            of("CONDITION_FAILED", json!({ "status": { "code": 10, "message": "It failed." }, "exitCode": 3 })),
            (RunState::Failed, Some(3), None, Some("It failed".to_owned()))
        );
        assert_eq!(
            of("CONDITION_FAILED", json!({ "status": { "code": 10 }, "termSignal": 9 })),
            (RunState::Failed, None, Some(9), None)
        );
        assert_eq!(
            of("CONDITION_FAILED", json!({ "status": { "code": 1, "message": "Cancelled by user." } })),
            (RunState::Cancelled, None, None, Some("Cancelled by user".to_owned()))
        );
    }
}
