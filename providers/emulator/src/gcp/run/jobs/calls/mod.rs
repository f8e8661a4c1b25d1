//! The calls for jobs, executions and tasks: what v2 answers, and v1 in its own words.
//!
//! Lists are answered with the job that each item is of.
mod executions;
mod jobs;
mod policy;
mod tasks;

pub(in crate::gcp::run) use self::{
    executions::{How, all as all_executions, end as end_execution, get as execution},
    jobs::{
        Wanted, all as all_jobs, create as create_job, get as job, remove as delete_job, replace as replace_job,
        run as run_job,
    },
    policy::handle as policy,
    tasks::{all as all_tasks, get as task},
};

use std::sync::Arc;

use serde_json::Value;

use super::{names::JobKey, store::Jobs};
use crate::gcp::{
    call::{Call, page, unimplemented},
    status::Status,
};

impl Call<'_> {
    pub(in crate::gcp::run) fn job(&self) -> JobKey {
        JobKey { project: self.project.clone(), location: self.parameter(1), job: self.parameter(2) }
    }
}

/// `method` of v2 = `jobs.create`, `jobs.executions.get`, ….
pub(crate) fn handle(store: &Arc<Jobs>, call: &Call<'_>, method: &str) -> Result<Value, Status> {
    if call.parameter(1) == "-" {
        return Err(Status::invalid("Invalid location '-'."));
    }
    let (key, third, fourth) = (call.job(), call.parameter(3), call.parameter(4));
    let in_query = || Wanted { dry: call.flag("validateOnly"), etag: call.query.get("etag").map(String::as_str) };
    let in_body = || Wanted { dry: call.body["validateOnly"] == true, etag: call.body["etag"].as_str() };
    let items = |found: Vec<(JobKey, Value)>| found.into_iter().map(|(_, item)| item).collect();
    match method.rsplit_once('.') {
        Some(("jobs", "create")) => jobs::create_by_id(store, call),
        Some(("jobs", "get")) => job(store, &key),
        Some(("jobs", "list")) => page(call, "jobs", items(all_jobs(store, call)?)),
        Some(("jobs", "patch")) => jobs::patch(store, call),
        Some(("jobs", "delete")) => delete_job(store, call, &key, &in_query()),
        Some(("jobs", "run")) => {
            let overrides = call.body.get("overrides").unwrap_or(&Value::Null);
            run_job(store, call, &key, &in_body(), overrides)
        }
        Some(("jobs", verb)) => policy(store, call, verb),
        Some(("jobs.executions", "get")) => execution(store, &key, &third),
        Some(("jobs.executions", "list")) => page(call, "executions", items(all_executions(store, call, &key.job)?)),
        Some(("jobs.executions", "delete")) => end_execution(store, (&key, &third), &in_query(), How::Delete),
        Some(("jobs.executions", "cancel")) => end_execution(store, (&key, &third), &in_body(), How::Cancel),
        Some(("jobs.executions.tasks", "get")) => task(store, &key, &third, &fourth),
        Some(("jobs.executions.tasks", "list")) => {
            page(call, "tasks", items(all_tasks(store, call, &key.job, &third)?))
        }
        _ => Err(unimplemented()),
    }
}
