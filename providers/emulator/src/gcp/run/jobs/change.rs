//! A change of what a job should be, and a run of it.
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    engine,
    execution::{self, Execution, Waiting},
    job::{Job, State, typed},
    names::{JobKey, new_execution, with_token},
    overrides, rules, template,
};
use crate::gcp::{
    run::{
        condition::{Condition, Failure, Reason},
        rules::Rules,
    },
    status::{Code, Status},
};

/// Not the user's to set: the name is in the path, the version is a condition.
const NOT_STORED: [&str; 2] = ["name", "etag"];
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs#Job>
const TOKENS: [&str; 2] = ["startExecutionToken", "runExecutionToken"];

/// gcloud explains the code: <https://cloud.google.com/run/quotas>
const FULL: &str = "Resource exhausted: too many tasks of the job's executions are not at their end.";

/// A change that passed all checks.
pub(super) struct Change {
    pub(super) spec: Map<String, Value>,
    pub(super) by: String,
    /// How its operation ends, when it is to fail.
    pub(super) fail: Option<Status>,
}

/// Fills in the defaults, then checks. `request` is the request's name in refusals.
pub(super) fn prepare(request: &str, key: &JobKey, mut spec: Map<String, Value>) -> Result<Map<String, Value>, Status> {
    for field in NOT_STORED {
        spec.remove(field);
    }
    template::fill(&mut spec, &key.project_number());
    rules::check(request, key, &spec)?;
    Ok(spec)
}

/// What would come of it.
pub(super) fn preview(job: &Job, state: &State, change: &Change) -> Value {
    let mut value = state.render(&job.key);
    if let Some(value) = value.as_object_mut() {
        value.extend(change.spec.clone());
    }
    typed(value)
}

/// Makes it so and answers the operation; what takes time goes on beside it.
pub(super) fn apply(job: &Arc<Job>, state: &mut State, change: Change) -> Result<Value, Status> {
    if state.deleted.is_some() {
        return Err(job.key.not_found());
    }
    let (parent, operations) = (job.key.parent(), &job.parts.operations);
    if let (Some(status), true) = (&change.fail, state.generation > 0) {
        // Nothing changes.
        return Ok(operations.failed(&parent, typed(state.render(&job.key)), status));
    }
    let Change { spec, by, fail } = change;
    let spec = Value::Object(spec);
    // The same token again starts nothing, once it has started something.
    let start = TOKENS.into_iter().find(|field| spec.get(*field).is_some() && spec[*field] != state.started[*field]);
    let token = start.and_then(|field| Some((field == TOKENS[1], spec[field].as_str()?.to_owned())));
    if spec != state.spec {
        state.spec = spec;
        state.generation += 1;
        state.touch(&by);
    }
    state.reconciling = true;
    state.ready.set(Condition::Reconciling);
    let operation = operations.begin(&parent, typed(state.render(&job.key)));
    let name = operation["name"].as_str().unwrap_or_default().to_owned();
    let task = reconcile(job.clone(), By { generation: state.generation, operation: name, who: by }, token, fail);
    job.tasks.spawn(task);
    Ok(operation)
}

/// Which change it is about, and whose.
struct By {
    generation: u64,
    operation: String,
    who: String,
}

/// Whether the job can run as it is now: the image is there, and all that it needs. `token` = a suffix of an execution
/// to start then, and whether to wait for its end.
async fn reconcile(job: Arc<Job>, by: By, token: Option<(bool, String)>, fail: Option<Status>) {
    let By { generation, operation, who } = by;
    let task = job.state().spec["template"]["template"].clone();
    let mut checked = match fail {
        Some(Status { code, message, .. }) => Err(Failure { code, message, reason: Reason::Common("INTERNAL") }),
        None => tokio::select! {
            checked = engine::images(&job.parts, &job.key, &task) => checked.map(|_| ()),
            () = job.closed.cancelled() => Err(deleted(&job.key)),
        },
    };
    if let (Ok(()), Some((run, token))) = (&checked, token) {
        let name = with_token(&job.key.job, &token);
        let mut state = job.state();
        if state.deleted.is_some() {
            checked = Err(deleted(&job.key));
        } else if state.executions.iter().any(|execution| execution.name == name) {
            let message = format!("Resource '{name}' already exists.");
            checked = Err(Failure { code: Code::AlreadyExists, message, reason: Reason::Common("UNKNOWN") });
        } else {
            let template = state.spec["template"].clone();
            let mut execution = Execution::new(name, &template, &state.origin(&job.key), &who);
            let field = TOKENS[usize::from(run)];
            if state.is_full(&execution) {
                let (code, message) = (Code::ResourceExhausted, FULL.to_owned());
                checked = Err(Failure { code, message, reason: Reason::Common("UNKNOWN") });
            } else {
                state.started = json!({ field: token });
                if !run {
                    start(&job, &mut state, execution);
                    drop(state);
                    return settle(&job, generation, &operation, checked);
                }
                execution.waiting.push(Waiting::Job { operation, generation });
                return start(&job, &mut state, execution);
            }
        }
    }
    settle(&job, generation, &operation, checked);
}

fn deleted(key: &JobKey) -> Failure {
    let message = format!("Resource '{}' was deleted.", key.job);
    Failure { code: Code::Aborted, message, reason: Reason::Common("UNKNOWN") }
}

/// Where the job stands after a change, unless there was another one meanwhile.
pub(super) fn settle(job: &Job, generation: u64, operation: &str, result: Result<(), Failure>) {
    let rendered = {
        let mut state = job.state();
        if state.generation == generation && state.deleted.is_none() {
            state.reconciling = false;
            state.observed_generation = generation;
            state.ready.set(match &result {
                Ok(()) => Condition::Succeeded,
                Err(failure) => Condition::Failed { message: failure.message.clone(), reason: failure.reason },
            });
        }
        typed(state.render(&job.key))
    };
    let result = result.map(|()| rendered.clone()).map_err(|failure| failure.status());
    job.parts.operations.finish(operation, rendered, result);
}

/// What a run is made of: the job as it is, and what this run has otherwise.
pub(super) fn plan(job: &Job, state: &State, wanted: &Value, by: &str) -> Result<Execution, Status> {
    if state.deleted.is_some() {
        return Err(job.key.not_found());
    }
    let mut template = state.spec["template"].clone();
    if !wanted.is_null() {
        overrides::apply(&mut template, wanted)?;
        let rules = Rules { request: "RunJobRequest", resource: "job", reserved_env: &rules::RESERVED_ENV };
        rules::execution(&rules, &template)?;
    }
    let execution = Execution::new(new_name(state, &job.key.job), &template, &state.origin(&job.key), by);
    if state.is_full(&execution) {
        return Err(Status::new(Code::ResourceExhausted, FULL));
    }
    Ok(execution)
}

fn new_name(state: &State, job: &str) -> String {
    loop {
        let name = new_execution(job);
        if !state.executions.iter().any(|execution| execution.name == name) {
            return name;
        }
    }
}

/// From now on it runs.
pub(super) fn start(job: &Arc<Job>, state: &mut State, execution: Execution) {
    let name = execution.name.clone();
    let stop = execution.stop.clone();
    state.add(execution);
    job.tasks.spawn(engine::execute(job.clone(), name, stop));
}

/// The operation of a run: it is done when the execution is.
pub(super) fn start_with_operation(job: &Arc<Job>, state: &mut State, mut execution: Execution) -> Value {
    let rendered = execution::typed(execution.render(&job.key));
    let operation = job.parts.operations.begin(&job.key.parent(), rendered);
    let name = operation["name"].as_str().unwrap_or_default().to_owned();
    execution.waiting.push(Waiting::Run(name));
    start(job, state, execution);
    operation
}
