//! Cloud Run Admin API v1: the same services in their Knative shape, which is what gcloud speaks.
//!
//! <https://cloud.google.com/run/docs/reference/rest/v1>. One store: a v1 call becomes the v2 change that it means,
//! and an answer is v2's, written in v1's words. What v1 has no word for, a change by v1 leaves alone.
//!
//! | file | what it holds |
//! |---|---|
//! | `annotations` | fields of v2 that are annotations in v1 |
//! | `container`, `volume`, `template` | what a revision is made of, both ways |
//! | `service`, `revision` | the resources, with the configuration and the route behind a service |
//! | `operation` | what a client waits for |
//! | `job`, `execution`, `task`; `jobs` | the same of jobs; the calls |
//! | `condition`, `metadata`, `selector` | what all resources share |
mod annotations;
mod condition;
mod container;
mod execution;
mod job;
mod jobs;
mod metadata;
mod operation;
mod revision;
mod selector;
mod service;
mod task;
mod template;
#[cfg(test)]
mod tests;
mod volume;

pub(crate) use self::jobs::handle as handle_jobs;

use std::sync::Arc;

use serde_json::{Value, json};

use self::{
    metadata::{deleting, dry, list, short},
    revision::Placed,
};
use super::{
    names::Key,
    policy,
    service::{Service, State},
    services::{self, Wanted},
    store::Store,
};
use crate::gcp::{
    call::{Call, unimplemented},
    project,
    status::Status,
    validate,
};

/// `id` is a method of v1, by namespace or by project and location: the path's parameters are the same three.
pub(crate) async fn handle(store: &Arc<Store>, call: &Call<'_>, id: &str) -> Result<Value, Status> {
    let method = id.strip_prefix("run.namespaces.").or_else(|| id.strip_prefix("run.projects.locations."));
    match method.and_then(|method| method.split_once('.')) {
        Some(("services", "create")) => create(store, call),
        Some(("services", "replaceService")) => replace(store, call),
        Some(("services", "delete")) => delete(store, call),
        Some(("services", "get")) => {
            let service = store.find(&call.key())?;
            Ok(service::from_v2(&service.key, &source(&service)))
        }
        Some(("services", "list")) => all(store, call, &service::KIND, service::from_v2),
        Some(("services", verb)) => policy::handle(store, call, verb),
        Some(("operations", verb)) => operation::handle(store, call, verb).await,
        Some(("configurations", verb)) => view(store, call, verb, &revision::CONFIGURATION, revision::configuration),
        Some(("routes", verb)) => view(store, call, verb, &revision::ROUTE, revision::route),
        Some(("revisions", verb)) => revisions(store, call, verb),
        _ => Err(unimplemented()),
    }
}

fn create(store: &Arc<Store>, call: &Call<'_>) -> Result<Value, Status> {
    let mut key = call.key();
    key.service = call.body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    check_namespace(call)?;
    let fields = spec(call, &Value::Null)?;
    let operation = services::make(store, call, key.clone(), fields, dry(call)?)?;
    Ok(service::from_v2(&key, &answered(store, &key, operation)))
}

fn replace(store: &Arc<Store>, call: &Call<'_>) -> Result<Value, Status> {
    let key = call.key();
    check_namespace(call)?;
    let name = call.body["metadata"]["name"].as_str().unwrap_or_default();
    if name != key.service {
        return Err(Status::invalid(format!("metadata.name: must be '{}', as in the request's path.", key.service)));
    }
    let found = store.find(&key)?;
    let wanted = Wanted { dry: dry(call)?, etag: call.body["metadata"]["resourceVersion"].as_str(), force: false };
    let operation = services::change(call, &found, &wanted, |stored| spec(call, &Value::Object(stored.clone())))?;
    Ok(service::from_v2(&key, &answered(store, &key, operation)))
}

/// The service as v2 has it, and its last operation.
fn source(service: &Service) -> Value {
    let state = service.state();
    let mut source = state.as_set(&service.key);
    if let Some(operation) = &state.operation {
        source[service::OPERATION] = json!(short(&json!(operation)));
    }
    source
}

/// The service that an operation is about: as it is now, or as it would be.
fn answered(store: &Store, key: &Key, mut operation: Value) -> Value {
    match store.find(key) {
        Ok(service) if operation.get("done").is_none() => source(&service),
        _ => operation["metadata"].take(),
    }
}

fn delete(store: &Arc<Store>, call: &Call<'_>) -> Result<Value, Status> {
    let key = call.key();
    let wanted = Wanted { dry: dry(call)?, etag: None, force: false };
    let operation = services::remove(store, call, &wanted)?;
    Ok(deleting(&service::KIND, &key.service, &operation["metadata"]["uid"]))
}

/// The v2 fields that the body says, in the form that a v2 call has after its checks.
fn spec(call: &Call<'_>, stored: &Value) -> Result<serde_json::Map<String, Value>, Status> {
    let fields = Value::Object(service::to_v2(call.documents, &call.body, stored)?);
    match validate::body(&call.documents.run, "GoogleCloudRunV2Service", "service", &fields)? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(serde_json::Map::new()),
    }
}

/// A body's namespace is the path's.
fn check_namespace(call: &Call<'_>) -> Result<(), Status> {
    let given = call.body["metadata"]["namespace"].as_str().unwrap_or_default();
    let key = call.key();
    if given.is_empty() || project::number(given) == key.project_number() {
        return Ok(());
    }
    Err(Status::invalid(format!("metadata.namespace: must be '{}', as in the request's path.", key.project)))
}

type FromV2 = fn(&Key, &Value) -> Value;

/// The newest first.
fn all(store: &Store, call: &Call<'_>, kind: &metadata::Kind, from_v2: FromV2) -> Result<Value, Status> {
    let mut found: Vec<_> = here(store, call)
        .map(|service| {
            let source = source(&service);
            (source["createTime"].to_string(), from_v2(&service.key, &source))
        })
        .collect();
    found.sort_by(|(one, _), (other, _)| other.cmp(one));
    list(call, kind, found.into_iter().map(|(_, item)| item).collect())
}

/// All of the project's in one location; `-` is every location.
fn here<'a>(store: &'a Store, call: &'a Call<'_>) -> impl Iterator<Item = Arc<Service>> + 'a {
    let Key { project, location, .. } = call.key();
    let all = store.all().into_iter();
    all.filter(move |service| service.key.project == project && (location == "-" || service.key.location == location))
}

/// A configuration or a route: a side of a service.
fn view(store: &Store, call: &Call<'_>, verb: &str, kind: &metadata::Kind, from_v2: FromV2) -> Result<Value, Status> {
    match verb {
        "list" => all(store, call, kind, from_v2),
        "get" => {
            let service = store.find(&call.key())?;
            Ok(from_v2(&service.key, &source(&service)))
        }
        _ => Err(unimplemented()),
    }
}

/// In v1 a revision is found without its service.
fn revisions(store: &Arc<Store>, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    let (mut key, name) = (call.key(), call.parameter(2));
    if verb == "list" {
        let mut found = Vec::new();
        for service in here(store, call) {
            let state = service.state();
            found.extend(state.revisions.iter().map(|revision| rendered(&service, &state, revision)));
        }
        // The newest first: times are of one form, and sort as text.
        found.sort_by_key(|item| std::cmp::Reverse(item["metadata"]["creationTimestamp"].to_string()));
        return list(call, &revision::KIND, found);
    }
    let service = here(store, call).find(|service| service.state().revision(&name).is_some());
    let service = service.ok_or_else(|| {
        key.service.clear();
        key.revision_not_found(&name)
    })?;
    match verb {
        "get" => {
            let state = service.state();
            let found = state.revision(&name).ok_or_else(|| service.key.revision_not_found(&name))?;
            Ok(rendered(&service, &state, found))
        }
        "delete" => {
            let operation = super::revisions::remove(store, &service, &name, None, dry(call)?)?;
            Ok(deleting(&revision::KIND, &name, &operation["metadata"]["uid"]))
        }
        _ => Err(unimplemented()),
    }
}

fn rendered(service: &Service, state: &State, revision: &super::revision::Revision) -> Value {
    revision::from_v2(&Placed {
        key: &service.key,
        source: &revision.as_set(&service.key),
        service_uid: &state.uid.to_string(),
        made_by: revision.generation,
        routed: state.leads_to(&revision.name),
    })
}
