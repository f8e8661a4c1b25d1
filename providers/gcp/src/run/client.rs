//! The calls: <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services>.
use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    spec::{RevisionId, ServiceName},
};
use carrack_http::Request;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{CloudRun, error::classify, operations::Operation};

/// The API's URL with its version.
pub(crate) const BASE: &str = "https://run.googleapis.com/v2";

pub(super) fn parent(provider: &CloudRun) -> String {
    format!("projects/{}/locations/{}", provider.project, provider.region)
}

fn service_url(provider: &CloudRun, name: &ServiceName) -> String {
    format!("{BASE}/{}/services/{name}", parent(provider))
}

pub(super) fn request(provider: &CloudRun, method: Method, url: String) -> Request {
    Request::new(method, url).bearer(&provider.token).classify(classify)
}

pub(super) async fn get_service(provider: &CloudRun, cx: &Ctx, name: &ServiceName) -> Result<Option<Value>> {
    let call = request(provider, Method::GET, service_url(provider, name)).accept(&[404]);
    let response = provider.http.send(cx, call).await?;
    if response.status == 404 {
        // A project or region that does not exist answers 404 as well, with another text.
        let error = classify(&response);
        let missing = error.message().contains("of kind 'SERVICE'");
        return if missing { Ok(None) } else { Err(error.with_request(response.request)) };
    }
    response.json().map(Some)
}

/// `None` when the service does not exist, or when the policy may not be read: then it is not ours to change.
pub(super) async fn get_policy(provider: &CloudRun, cx: &Ctx, name: &ServiceName) -> Result<Option<Value>> {
    let call = request(provider, Method::GET, format!("{}:getIamPolicy", service_url(provider, name)))
        .query("options.requestedPolicyVersion", "3")
        .accept(&[403, 404]);
    let response = provider.http.send(cx, call).await?;
    if matches!(response.status.as_u16(), 403 | 404) { Ok(None) } else { response.json().map(Some) }
}

pub(super) async fn set_policy(provider: &CloudRun, cx: &Ctx, name: &ServiceName, policy: &Value) -> Result<Value> {
    let call = request(provider, Method::POST, format!("{}:setIamPolicy", service_url(provider, name)))
        .json(&json!({ "policy": policy }))?
        .idempotent();
    provider.http.send(cx, call).await?.json()
}

pub(super) async fn create_service(
    provider: &CloudRun,
    cx: &Ctx,
    name: &ServiceName,
    body: &Value,
) -> Result<Operation> {
    let url = format!("{BASE}/{}/services", parent(provider));
    let call = request(provider, Method::POST, url).query("serviceId", name.as_str()).json(body)?;
    provider.http.send(cx, call).await?.json()
}

pub(super) async fn patch_service(
    provider: &CloudRun,
    cx: &Ctx,
    name: &ServiceName,
    mask: &[String],
    force: bool,
    body: &Value,
) -> Result<Operation> {
    let mut call = request(provider, Method::PATCH, service_url(provider, name)).query("updateMask", mask.join(","));
    if force {
        call = call.query("forceNewRevision", "true");
    }
    provider.http.send(cx, call.json(body)?).await?.json()
}

pub(super) async fn delete_service(
    provider: &CloudRun,
    cx: &Ctx,
    name: &ServiceName,
    etag: Option<&str>,
) -> Result<Option<Operation>> {
    let mut call = request(provider, Method::DELETE, service_url(provider, name)).accept(&[404]);
    if let Some(etag) = etag {
        call = call.query("etag", etag);
    }
    let response = provider.http.send(cx, call).await?;
    if response.status == 404 { Ok(None) } else { response.json().map(Some) }
}

pub(super) async fn list_services(provider: &CloudRun, cx: &Ctx) -> Result<Vec<Value>> {
    list(provider, cx, &format!("{BASE}/{}/services", parent(provider)), "services").await
}

pub(super) async fn list_revisions(provider: &CloudRun, cx: &Ctx, name: &ServiceName) -> Result<Vec<Value>> {
    list(provider, cx, &format!("{}/revisions", service_url(provider, name)), "revisions").await
}

pub(super) async fn get_revision(
    provider: &CloudRun,
    cx: &Ctx,
    name: &ServiceName,
    revision: &RevisionId,
) -> Result<Option<Value>> {
    let url = format!("{}/revisions/{}", service_url(provider, name), revision.0);
    let response = provider.http.send(cx, request(provider, Method::GET, url).accept(&[404])).await?;
    if response.status == 404 { Ok(None) } else { response.json().map(Some) }
}

/// Every page; empty when the parent does not exist.
pub(super) async fn list(provider: &CloudRun, cx: &Ctx, url: &str, field: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let mut call = request(provider, Method::GET, url.to_owned()).query("pageSize", "1000").accept(&[404]);
        if !token.is_empty() {
            call = call.query("pageToken", &token);
        }
        let response = provider.http.send(cx, call).await?;
        if response.status == 404 {
            return Ok(all);
        }
        let mut page: Value = response.json()?;
        match page[field].take() {
            Value::Array(list) => all.extend(list),
            Value::Null => {}
            _ => {
                let text = format!("Cloud Run listed {field} in an unknown form");
                return Err(Error::new(ErrorKind::Unclassified, text));
            }
        }
        token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            return Ok(all);
        }
    }
}
