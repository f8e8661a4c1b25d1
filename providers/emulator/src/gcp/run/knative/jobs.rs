//! The calls of v1 for jobs, executions and tasks. There an execution or a task is found without its job.
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    execution, job,
    metadata::{deleting, dry, list},
    selector::Selector,
    task,
};
use crate::gcp::{
    call::{Call, unimplemented},
    run::jobs::{
        Jobs,
        calls::{self, How, Wanted},
        names::JobKey,
    },
    status::Status,
    validate,
};

/// `id` is a method of v1, by namespace or by project and location: the path's parameters are the same three.
pub(crate) fn handle(store: &Arc<Jobs>, call: &Call<'_>, id: &str) -> Result<Value, Status> {
    let method = id.strip_prefix("run.namespaces.").or_else(|| id.strip_prefix("run.projects.locations."));
    let key = call.job();
    match method.and_then(|method| method.split_once('.')) {
        Some(("jobs", "create")) => create(store, call),
        Some(("jobs", "replaceJob")) => replace(store, call),
        Some(("jobs", "get")) => Ok(job::from_v2(&key, &calls::job(store, &key)?)),
        Some(("jobs", "list")) => {
            let items = calls::all_jobs(store, call)?;
            list(call, &job::KIND, items.iter().map(|(key, item)| job::from_v2(key, item)).collect())
        }
        Some(("jobs", "delete")) => {
            let operation = calls::delete_job(store, call, &key, &Wanted { dry: dry(call)?, etag: None })?;
            Ok(deleting(&job::KIND, &key.job, &operation["metadata"]["uid"]))
        }
        Some(("jobs", "run")) => run(store, call, &key),
        Some(("jobs", verb)) => calls::policy(store, call, verb),
        Some(("executions", verb)) => executions(store, call, verb),
        Some(("tasks", verb)) => tasks(store, call, verb),
        _ => Err(unimplemented()),
    }
}

fn create(store: &Arc<Jobs>, call: &Call<'_>) -> Result<Value, Status> {
    let mut key = call.job();
    key.job = call.body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    super::check_namespace(call)?;
    let operation = calls::create_job(store, call, key.clone(), spec(call, &Value::Null)?, dry(call)?)?;
    Ok(job::from_v2(&key, &operation["metadata"]))
}

fn replace(store: &Arc<Jobs>, call: &Call<'_>) -> Result<Value, Status> {
    let key = call.job();
    let found = store.find(&key)?;
    super::check_namespace(call)?;
    if call.body["metadata"]["name"] != key.job.as_str() {
        return Err(Status::invalid(format!("metadata.name: must be '{}', as in the request's path.", key.job)));
    }
    let wanted = Wanted { dry: dry(call)?, etag: call.body["metadata"]["resourceVersion"].as_str() };
    let operation = calls::replace_job(call, &found, &wanted, |stored| spec(call, stored))?;
    Ok(job::from_v2(&key, &operation["metadata"]))
}

/// The v2 fields that the body says, in the form that a v2 call has after its checks.
fn spec(call: &Call<'_>, stored: &Value) -> Result<Map<String, Value>, Status> {
    let fields = Value::Object(job::to_v2(call.documents, &call.body, stored)?);
    match validate::body(&call.documents.run, "GoogleCloudRunV2Job", "job", &fields)? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

fn run(store: &Jobs, call: &Call<'_>, key: &JobKey) -> Result<Value, Status> {
    let mut overrides = call.body.get("overrides").cloned().unwrap_or(Value::Null);
    if let Some(fields) = overrides.as_object_mut()
        && let Some(seconds) = fields.remove("timeoutSeconds").as_ref().and_then(job::seconds)
    {
        fields.insert("timeout".to_owned(), json!(format!("{seconds}s")));
    }
    let operation = calls::run_job(store, call, key, &Wanted { dry: false, etag: None }, &overrides)?;
    Ok(execution::from_v2(key, &operation["metadata"]))
}

fn executions(store: &Jobs, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    if verb == "list" {
        let selector = call.query.get("labelSelector").map(String::as_str).unwrap_or_default();
        let selector = Selector::parse(selector)?;
        let items = calls::all_executions(store, call, selector.value("run.googleapis.com/job").unwrap_or("-"))?;
        return list(call, &execution::KIND, items.iter().map(|(key, item)| execution::from_v2(key, item)).collect());
    }
    let name = call.parameter(2);
    let key = store
        .job_of(&call.project, &call.parameter(1), &name)
        .unwrap_or_else(|| JobKey { job: String::new(), ..call.job() });
    match verb {
        "get" => Ok(execution::from_v2(&key, &calls::execution(store, &key, &name)?)),
        "cancel" => {
            let wanted = Wanted { dry: false, etag: None };
            let operation = calls::end_execution(store, (&key, &name), &wanted, How::Cancel)?;
            Ok(execution::from_v2(&key, &operation["metadata"]))
        }
        "delete" => {
            let wanted = Wanted { dry: false, etag: None };
            let operation = calls::end_execution(store, (&key, &name), &wanted, How::Delete)?;
            Ok(deleting(&execution::KIND, &name, &operation["metadata"]["uid"]))
        }
        _ => Err(unimplemented()),
    }
}

fn tasks(store: &Jobs, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    match verb {
        "list" => {
            let selector = call.query.get("labelSelector").map(String::as_str).unwrap_or_default();
            let selector = Selector::parse(selector)?;
            let execution = selector.value("run.googleapis.com/execution").unwrap_or("-");
            let items = calls::all_tasks(store, call, "-", execution)?;
            list(call, &task::KIND, items.iter().map(|(key, item)| task::from_v2(key, item)).collect())
        }
        "get" => {
            let name = call.parameter(2);
            // `nightly-x7k2p-task0`
            let execution = name.rsplit_once("-task").map_or("", |(execution, _)| execution);
            let key = store.job_of(&call.project, &call.parameter(1), execution);
            let key = key.unwrap_or_else(|| JobKey { job: String::new(), ..call.job() });
            Ok(task::from_v2(&key, &calls::task(store, &key, execution, &name)?))
        }
        _ => Err(unimplemented()),
    }
}
