//! The calls: <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets>.
use std::collections::BTreeMap;

use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    secret::{NewSecret, Secret, SecretValue, SecretVersion, VersionState},
};
use carrack_http::{Request, Response};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    names::SecretName,
    refusal::{changed_on_its_way, is_missing, refused, without_value},
    wire::{self, WireSecret, WireVersion, last},
};
use crate::{CloudRun, error::classify};

const BASE: &str = "https://secretmanager.googleapis.com/v1";

/// Items a request.
const PAGE: &str = "1000";

/// How often a change is made anew after somebody else's.
pub(super) const TRIES: usize = 5;

pub(super) fn request(provider: &CloudRun, method: Method, path: &str) -> Request {
    Request::new(method, format!("{BASE}/{path}")).bearer(&provider.token).classify(classify)
}

/// Sends what is about a secret; a refusal says which.
pub(super) async fn send(provider: &CloudRun, cx: &Ctx, name: &SecretName, request: Request) -> Result<Response> {
    provider.http.send(cx, request).await.map_err(|error| refused(name, error))
}

/// `None` when there is none of that name.
async fn find(provider: &CloudRun, cx: &Ctx, name: &SecretName, path: &str) -> Result<Option<Response>> {
    let response = send(provider, cx, name, request(provider, Method::GET, path).accept(&[404])).await?;
    if response.status != 404 {
        return Ok(Some(response));
    }
    let error = classify(&response);
    if is_missing(&error) { Ok(None) } else { Err(refused(name, error.with_request(response.request))) }
}

pub(super) async fn list(provider: &CloudRun, cx: &Ctx) -> Result<Vec<Secret>> {
    let parent = format!("projects/{}/secrets", provider.project);
    let all = pages(provider, cx, &parent, "secrets").await.map_err(|error| {
        let project = carrack_core::plan::ResourceRef::new("project", &provider.project);
        super::refusal::in_project(&provider.project, error).on(project)
    })?;
    let mut secrets = Vec::with_capacity(all.len());
    for item in all {
        let item: WireSecret = read(item)?;
        provider.learn_number(&item.name);
        let id = last(&item.name).to_owned();
        secrets.push(item.neutral(id));
    }
    secrets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(secrets)
}

/// All items, whatever the number of pages.
async fn pages(provider: &CloudRun, cx: &Ctx, path: &str, field: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let mut call = request(provider, Method::GET, path).query("pageSize", PAGE);
        if !token.is_empty() {
            call = call.query("pageToken", &token);
        }
        let mut page: Value = provider.http.send(cx, call).await?.json()?;
        if let Value::Array(items) = page[field].take() {
            all.extend(items);
        }
        match page["nextPageToken"].as_str() {
            Some(next) if !next.is_empty() && next != token => next.clone_into(&mut token),
            _ => return Ok(all),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(item: Value) -> Result<T> {
    serde_json::from_value(item).map_err(|e| {
        Error::new(ErrorKind::Unclassified, "Secret Manager answered with something unexpected").with_source(e)
    })
}

fn neutral(provider: &CloudRun, name: &SecretName, response: &Response) -> Result<Secret> {
    let secret: WireSecret = response.json()?;
    if name.own {
        provider.learn_number(&secret.name);
    }
    Ok(secret.neutral(name.shown()))
}

fn neutral_version(provider: &CloudRun, name: &SecretName, response: &Response) -> Result<SecretVersion> {
    let version: WireVersion = response.json()?;
    if name.own {
        provider.learn_number(&version.name);
    }
    Ok(version.neutral())
}

pub(super) async fn secret(provider: &CloudRun, cx: &Ctx, name: &SecretName) -> Result<Option<Secret>> {
    let found = find(provider, cx, name, &name.full()).await?;
    found.map(|response| neutral(provider, name, &response)).transpose()
}

pub(super) async fn create(provider: &CloudRun, cx: &Ctx, name: &SecretName, new: &NewSecret) -> Result<Secret> {
    let call = request(provider, Method::POST, &format!("projects/{}/secrets", name.project));
    let call = call.query("secretId", &name.id).json(&wire::new_secret(new))?;
    neutral(provider, name, &send(provider, cx, name, call).await?)
}

/// Read, change, write, as long as others do the same.
pub(super) async fn label(
    provider: &CloudRun,
    cx: &Ctx,
    name: &SecretName,
    set: &BTreeMap<String, String>,
    remove: &[String],
) -> Result<Secret> {
    let mut tries = 1;
    loop {
        let found = send(provider, cx, name, request(provider, Method::GET, &name.full())).await?;
        let secret = neutral(provider, name, &found)?;
        let mut labels = secret.labels.clone();
        labels.retain(|key, _| !remove.contains(key));
        labels.extend(set.clone());
        if labels == secret.labels {
            return Ok(secret);
        }
        let call = request(provider, Method::PATCH, &name.full()).query("updateMask", "labels");
        let call = call.json(&json!({ "etag": secret.etag, "labels": labels }))?.idempotent();
        match send(provider, cx, name, call).await {
            Err(error) if error.kind() == ErrorKind::Conflict && tries < TRIES => tries += 1,
            answer => return neutral(provider, name, &answer?),
        }
    }
}

pub(super) async fn delete(provider: &CloudRun, cx: &Ctx, name: &SecretName, etag: Option<&str>) -> Result<()> {
    let mut call = request(provider, Method::DELETE, &name.full());
    if let Some(etag) = etag {
        call = call.query("etag", etag);
    }
    match send(provider, cx, name, call).await {
        // An earlier attempt's answer was lost.
        Err(error)
            if error.kind() == ErrorKind::NotFound && error.request().is_some_and(|request| request.attempts > 1) =>
        {
            Ok(())
        }
        answer => answer.map(drop),
    }
}

pub(super) async fn versions(provider: &CloudRun, cx: &Ctx, name: &SecretName) -> Result<Vec<SecretVersion>> {
    let all = pages(provider, cx, &format!("{}/versions", name.full()), "versions").await;
    let mut versions = Vec::new();
    for item in all.map_err(|error| refused(name, error))? {
        versions.push(read::<WireVersion>(item)?.neutral());
    }
    // By number, and the newest first.
    versions.sort_by_key(|version| std::cmp::Reverse(version.id.parse::<u64>().unwrap_or_default()));
    Ok(versions)
}

pub(super) async fn version(
    provider: &CloudRun,
    cx: &Ctx,
    name: &SecretName,
    version: &str,
) -> Result<Option<SecretVersion>> {
    let found = find(provider, cx, name, &format!("{}/versions/{version}", name.full())).await?;
    found.map(|response| neutral_version(provider, name, &response)).transpose()
}

pub(super) async fn add(
    provider: &CloudRun,
    cx: &Ctx,
    name: &SecretName,
    value: &SecretValue,
) -> Result<SecretVersion> {
    let call = request(provider, Method::POST, &format!("{}:addVersion", name.full()));
    let answer = provider.http.send(cx, wire::with_payload(call, value)).await;
    let answer = answer.map_err(|error| refused(name, changed_on_its_way(without_value(error, value))))?;
    neutral_version(provider, name, &answer)
}

pub(super) async fn access(
    provider: &CloudRun,
    cx: &Ctx,
    name: &SecretName,
    version: &str,
) -> Result<(String, SecretValue)> {
    let call = request(provider, Method::GET, &format!("{}/versions/{version}:access", name.full()));
    let answer = send(provider, cx, name, call.clone()).await?;
    match wire::payload(&answer) {
        // What was changed on its way may come whole the next time.
        Err(error) if error.kind() == ErrorKind::Unavailable => wire::payload(&send(provider, cx, name, call).await?),
        read => read,
    }
    .map_err(|error| error.on(name.resource()))
}

pub(super) async fn set_state(
    provider: &CloudRun,
    cx: &Ctx,
    name: &SecretName,
    number: &str,
    state: VersionState,
    etag: Option<&str>,
) -> Result<SecretVersion> {
    let verb = match state {
        VersionState::Enabled => "enable",
        VersionState::Disabled => "disable",
        VersionState::Destroyed => "destroy",
    };
    let path = format!("{}/versions/{number}", name.full());
    let body = etag.map_or_else(|| json!({}), |etag| json!({ "etag": etag }));
    let call = request(provider, Method::POST, &format!("{path}:{verb}")).json(&body)?.idempotent();
    let error = match send(provider, cx, name, call).await {
        Ok(answer) => return neutral_version(provider, name, &answer),
        Err(error) => error,
    };
    // It was so before, or an earlier attempt's answer was lost.
    if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound)
        && let Ok(Some(now)) = version(provider, cx, name, number).await
        && now.state == state
    {
        return Ok(now);
    }
    Err(error)
}
