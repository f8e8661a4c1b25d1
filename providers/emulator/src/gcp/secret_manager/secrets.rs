//! `secrets`: create, get, list, patch, delete.
use serde_json::{Map, Value, json};

use super::{
    access::{check_etag, etag_of, secret},
    checks, filter,
    names::{SecretName, is_id},
    store::{Secrets, now},
};
use crate::gcp::{
    call::{Call, page},
    project,
    schema::{camel, snake},
    status::Status,
};

/// What a caller sets and a secret keeps as it is.
const KEPT: [&str; 5] = ["replication", "labels", "annotations", "versionAliases", "versionDestroyTtl"];

pub(super) fn create(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let id = call.query.get("secretId").map(String::as_str).unwrap_or_default();
    if id.is_empty() {
        return Err(Status::invalid("Secret ID must be provided."));
    }
    let name = SecretName { project: call.parameter(0), secret: id.to_owned() };
    if !is_id(id) {
        let given = name.given();
        let text =
            format!("The provided Secret ID [{given}] does not match the expected format [projects/*/secrets/*]");
        return Err(Status::invalid(text));
    }
    let body = call.fields();
    if body.is_empty() {
        return Err(Status::invalid("Secret must be provided."));
    }
    checks::replication(body.get("replication").unwrap_or(&Value::Null))?;
    checks::supported(&body, &checks::NOT_KEPT)?;
    let expires = checks::expiry(&body, now())?;
    let fields: Map<_, _> = body.into_iter().filter(|(field, _)| KEPT.contains(&field.as_str())).collect();
    checks::fields(&fields, 0)?;
    secrets.lock().insert(&name, fields, expires).map(super::store::Secret::render)
}

pub(super) fn get(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let mut store = secrets.lock();
    Ok(store.find(&name)?.render())
}

pub(super) fn list(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let filter = filter::of(call, &filter::SECRET)?;
    let all = secrets
        .lock()
        .of_project(&project::number(&call.parameter(0)))
        .into_iter()
        .map(|secret| secret.render())
        .collect();
    listed(call, "secrets", all, filter.as_ref())
}

/// One page, with the number of all when there is no filter: <https://cloud.google.com/secret-manager/docs/filtering>
pub(super) fn listed(
    call: &Call<'_>,
    field: &str,
    all: Vec<Value>,
    filter: Option<&filter::Filter>,
) -> Result<Value, Status> {
    let Some(filter) = filter else {
        let total = all.len();
        let mut answer = page(call, field, all)?;
        if total > 0 {
            answer["totalSize"] = json!(total);
        }
        return Ok(answer);
    };
    page(call, field, all.into_iter().filter(|item| filter::wants(filter, item)).collect())
}

pub(super) fn patch(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let mut store = secrets.lock();
    let mask = call.query.get("updateMask").ok_or_else(|| Status::invalid("Field [update_mask] is required."))?;
    let etag = store.new_etag();
    let secret = store.find(&name)?;
    check_etag(etag_of(&call.body), &secret.etag)?;
    let body = call.fields();
    let (mut fields, mut expires) = (secret.fields.clone(), secret.expires);
    for path in mask.split(',').map(str::trim).filter(|path| !path.is_empty()) {
        let plain = camel(path);
        match plain.as_str() {
            "labels" | "annotations" | "versionAliases" | "versionDestroyTtl" => match body.get(&plain) {
                Some(value) => drop(fields.insert(plain, value.clone())),
                None => drop(fields.remove(&plain)),
            },
            "expireTime" | "ttl" => expires = checks::expiry(&body, now())?,
            "replication" => checks::same_replication(&fields, &body)?,
            "name" | "createTime" | "tags" | "etag" => {}
            "secretType" | "policyMember" => {
                return Err(Status::invalid(format!("Field '{}' is immutable and cannot be updated.", snake(&plain))));
            }
            "rotation.nextRotationTime" | "rotation.rotationPeriod" => checks::supported(&body, &["rotation"])?,
            "topics" | "rotation" | "customerManagedEncryption" => checks::supported(&body, &[&plain])?,
            _ => return Err(Status::invalid("Request contains an invalid argument.")),
        }
    }
    checks::fields(&fields, secret.versions.len())?;
    (secret.fields, secret.expires, secret.etag) = (fields, expires, etag);
    Ok(secret.render())
}

pub(super) fn delete(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let mut store = secrets.lock();
    check_etag(call.query.get("etag").map(String::as_str), &store.find(&name)?.etag)?;
    store.remove(&name);
    Ok(json!({}))
}
