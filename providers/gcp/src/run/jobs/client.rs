//! The calls.
use carrack_core::{Result, event::Ctx, job::ExecutionId, spec::ServiceName};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    CloudRun,
    error::classify,
    operations::Operation,
    run::client::{BASE, list, parent, request},
};

fn job_url(provider: &CloudRun, job: &ServiceName) -> String {
    format!("{BASE}/{}/jobs/{job}", parent(provider))
}

fn execution_url(provider: &CloudRun, job: &ServiceName, execution: &ExecutionId) -> String {
    format!("{}/executions/{execution}", job_url(provider, job))
}

/// `None` when there is none of this `kind`, in the API's word: a project or region that does not exist answers 404 too.
async fn get_one(provider: &CloudRun, cx: &Ctx, url: String, kind: &str) -> Result<Option<Value>> {
    let response = provider.http.send(cx, request(provider, Method::GET, url).accept(&[404])).await?;
    if response.status == 404 {
        let error = classify(&response);
        let missing = error.message().contains(&format!("of kind '{kind}'"));
        return if missing { Ok(None) } else { Err(error.with_request(response.request)) };
    }
    response.json().map(Some)
}

pub(super) async fn get(provider: &CloudRun, cx: &Ctx, job: &ServiceName) -> Result<Option<Value>> {
    get_one(provider, cx, job_url(provider, job), "JOB").await
}

pub(super) async fn create(provider: &CloudRun, cx: &Ctx, job: &ServiceName, body: &Value) -> Result<Operation> {
    let url = format!("{BASE}/{}/jobs", parent(provider));
    let call = request(provider, Method::POST, url).query("jobId", job.as_str()).json(body)?;
    provider.http.send(cx, call).await?.json()
}

/// There is no mask: the whole job is sent.
pub(super) async fn patch(provider: &CloudRun, cx: &Ctx, job: &ServiceName, body: &Value) -> Result<Operation> {
    let call = request(provider, Method::PATCH, job_url(provider, job)).json(body)?;
    provider.http.send(cx, call).await?.json()
}

pub(super) async fn delete(
    provider: &CloudRun,
    cx: &Ctx,
    job: &ServiceName,
    etag: Option<&str>,
) -> Result<Option<Operation>> {
    let mut call = request(provider, Method::DELETE, job_url(provider, job)).accept(&[404]);
    if let Some(etag) = etag {
        call = call.query("etag", etag);
    }
    let response = provider.http.send(cx, call).await?;
    if response.status == 404 { Ok(None) } else { response.json().map(Some) }
}

pub(super) async fn run(provider: &CloudRun, cx: &Ctx, job: &ServiceName, body: &Value) -> Result<Operation> {
    let call = request(provider, Method::POST, format!("{}:run", job_url(provider, job))).json(body)?;
    provider.http.send(cx, call).await?.json()
}

pub(super) async fn execution(
    provider: &CloudRun,
    cx: &Ctx,
    job: &ServiceName,
    execution: &ExecutionId,
) -> Result<Option<Value>> {
    get_one(provider, cx, execution_url(provider, job, execution), "EXECUTION").await
}

pub(super) async fn executions(provider: &CloudRun, cx: &Ctx, job: &ServiceName) -> Result<Vec<Value>> {
    list(provider, cx, &format!("{}/executions", job_url(provider, job)), "executions").await
}

pub(super) async fn tasks(
    provider: &CloudRun,
    cx: &Ctx,
    job: &ServiceName,
    execution: &ExecutionId,
) -> Result<Vec<Value>> {
    list(provider, cx, &format!("{}/tasks", execution_url(provider, job, execution)), "tasks").await
}

/// Ending what is ending already changes nothing.
pub(super) async fn cancel(
    provider: &CloudRun,
    cx: &Ctx,
    job: &ServiceName,
    execution: &ExecutionId,
) -> Result<Operation> {
    let url = format!("{}:cancel", execution_url(provider, job, execution));
    provider.http.send(cx, request(provider, Method::POST, url).json(&json!({}))?).await?.json()
}
