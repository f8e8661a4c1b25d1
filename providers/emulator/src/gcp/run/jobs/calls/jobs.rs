//! Jobs: create, get, list, patch, delete, run.
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::super::{
    change::{self, Change},
    execution,
    job::{Job, typed},
    names::{JobKey, is_job},
    store::{Jobs, exists},
};
use crate::gcp::{
    call::Call,
    operations::Operations,
    run::{
        etag,
        services::{act_as, is_location},
    },
    status::Status,
};

/// How a call wants its change done.
pub(in crate::gcp::run) struct Wanted<'a> {
    /// Only checked, and nothing kept.
    pub(in crate::gcp::run) dry: bool,
    /// The version that it is about.
    pub(in crate::gcp::run) etag: Option<&'a str>,
}

pub(super) fn create_by_id(store: &Arc<Jobs>, call: &Call<'_>) -> Result<Value, Status> {
    let mut key = call.job();
    key.job = match call.query.get("jobId") {
        Some(name) => name.clone(),
        // https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs/create
        None => format!("job-{:08x}", fastrand::u32(..)),
    };
    create(store, call, key, call.fields(), call.flag("validateOnly"))
}

/// Answers the operation; its metadata is the job.
pub(in crate::gcp::run) fn create(
    store: &Arc<Jobs>,
    call: &Call<'_>,
    key: JobKey,
    fields: Map<String, Value>,
    dry: bool,
) -> Result<Value, Status> {
    if !is_location(&key.location) {
        return Err(Status::invalid(format!("Invalid location '{}'.", key.location)));
    }
    if !is_job(&key.job) {
        return Err(Status::invalid(
            "Violation in CreateJobRequest.job_id: Resource name must use only lowercase letters, numbers and '-'. Must begin with a letter and cannot end with a '-'. Must contain fewer than 50 characters.",
        ));
    }
    let spec = change::prepare("CreateJobRequest", &key, fields)?;
    act_as(call, &task(&spec))?;
    if store.exists(&key) {
        return Err(exists(&key));
    }
    let job = Job::new(key, store.parts.clone(), store.slots.clone(), &call.principal.email);
    let change = Change { spec, by: call.principal.email.clone(), fail: call.fail.clone() };
    // Whoever finds it from now on waits until it is whole.
    let mut state = job.state();
    if dry {
        let value = change::preview(&job, &state, &change);
        return Ok(Operations::unstored(&job.key.parent(), value.clone(), value));
    }
    store.insert(&job)?;
    change::apply(&job, &mut state, change).inspect_err(|_| store.remove(&job))
}

/// What has the account that the tasks run as, where a service has it too.
fn task(spec: &Map<String, Value>) -> Map<String, Value> {
    spec.get("template").and_then(Value::as_object).cloned().unwrap_or_default()
}

pub(in crate::gcp::run) fn get(store: &Jobs, key: &JobKey) -> Result<Value, Status> {
    let job = store.find(key)?;
    let state = job.state();
    Ok(state.render(key))
}

/// The newest first.
pub(in crate::gcp::run) fn all(store: &Jobs, call: &Call<'_>) -> Result<Vec<(JobKey, Value)>, Status> {
    let found = store.all(&call.project, &call.parameter(1)).into_iter();
    let mut found: Vec<_> = found
        .map(|job| {
            let state = job.state();
            (state.created, (job.key.clone(), state.render(&job.key)))
        })
        .collect();
    found.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    Ok(found.into_iter().map(|(_, job)| job).collect())
}

/// There is no mask: what is not given is reset.
pub(super) fn patch(store: &Arc<Jobs>, call: &Call<'_>) -> Result<Value, Status> {
    let key = call.job();
    let dry = call.flag("validateOnly");
    let job = match store.find(&key) {
        Err(missing) if missing == key.not_found() && call.flag("allowMissing") => {
            call.authorize_new("run.jobs.create", &key.to_string())?;
            return create(store, call, key, call.fields(), dry);
        }
        found => found?,
    };
    let body = call.fields();
    let etag = body.get("etag").and_then(Value::as_str);
    replace(call, &job, &Wanted { dry, etag }, |_| Ok(body.clone()))
}

/// `fields` makes the new job of the stored one. Answers the operation; its metadata is the job.
pub(in crate::gcp::run) fn replace(
    call: &Call<'_>,
    job: &Arc<Job>,
    wanted: &Wanted<'_>,
    fields: impl FnOnce(&Value) -> Result<Map<String, Value>, Status>,
) -> Result<Value, Status> {
    let key = &job.key;
    // Held from the look to the change: of two changes at once, the later one sees the earlier one.
    let mut state = job.state();
    if state.deleted.is_some() {
        return Err(key.not_found());
    }
    etag::check(wanted.etag, state.version(), &key.job)?;
    let spec = change::prepare("UpdateJobRequest", key, fields(&state.spec)?)?;
    if spec.get("template") != state.spec.get("template") {
        act_as(call, &task(&spec))?;
    }
    let change = Change { spec, by: call.principal.email.clone(), fail: call.fail.clone() };
    if wanted.dry {
        let value = change::preview(job, &state, &change);
        return Ok(Operations::unstored(&key.parent(), value.clone(), value));
    }
    change::apply(job, &mut state, change)
}

/// Answers the operation; its metadata is the job.
pub(in crate::gcp::run) fn remove(
    store: &Arc<Jobs>,
    call: &Call<'_>,
    key: &JobKey,
    wanted: &Wanted<'_>,
) -> Result<Value, Status> {
    let job = store.find(key)?;
    let operations = &store.parts.operations;
    let metadata = {
        let mut state = job.state();
        if state.deleted.is_some() {
            return Err(key.not_found());
        }
        etag::check(wanted.etag, state.version(), &key.job)?;
        if wanted.dry {
            let value = typed(state.render(key));
            return Ok(Operations::unstored(&key.parent(), value.clone(), value));
        }
        if let Some(status) = &call.fail {
            return Ok(operations.failed(&key.parent(), typed(state.render(key)), status));
        }
        state.touch(&call.principal.email);
        state.deleted = Some(Timestamp::now());
        state.reconciling = true;
        typed(state.render(key))
    };
    let operation = operations.begin(&key.parent(), metadata.clone());
    let name = operation["name"].as_str().unwrap_or_default().to_owned();
    let store = store.clone();
    tokio::spawn(async move {
        store.tear_down(&job).await;
        let mut done = metadata;
        if let Some(fields) = done.as_object_mut() {
            fields.remove("reconciling");
        }
        store.parts.operations.finish(&name, done.clone(), Ok(done));
    });
    Ok(operation)
}

/// Answers the operation; its metadata is the execution.
pub(in crate::gcp::run) fn run(
    store: &Jobs,
    call: &Call<'_>,
    key: &JobKey,
    wanted: &Wanted<'_>,
    overrides: &Value,
) -> Result<Value, Status> {
    let job = store.find(key)?;
    if !overrides.is_null() {
        // https://cloud.google.com/run/docs/execute/jobs#override-job-configuration
        call.authorize("run.jobs.runWithOverrides", &key.to_string())?;
    }
    let mut state = job.state();
    etag::check(wanted.etag, state.version(), &key.job)?;
    let execution = change::plan(&job, &state, overrides, &call.principal.email)?;
    let rendered = execution::typed(execution.render(key));
    if wanted.dry {
        return Ok(Operations::unstored(&key.parent(), rendered.clone(), rendered));
    }
    if let Some(status) = &call.fail {
        return Ok(store.parts.operations.failed(&key.parent(), rendered, status));
    }
    Ok(change::start_with_operation(&job, &mut state, execution))
}
