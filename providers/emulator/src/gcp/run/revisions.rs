//! `services/S/revisions`: get, list, delete.
use serde_json::{Value, json};

use super::{etag, service::Service, store::Store};
use crate::gcp::{
    call::{Call, newest_first, unimplemented},
    operations::Operations,
    status::{Code, Status},
};

pub(crate) fn handle(store: &Store, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    if call.parameter(1) == "-" {
        return Err(Status::invalid("Invalid location '-'."));
    }
    match verb {
        "get" => get(store, call),
        "list" => list(store, call),
        "delete" => delete(store, call),
        _ => Err(unimplemented()),
    }
}

fn get(store: &Store, call: &Call<'_>) -> Result<Value, Status> {
    let (key, name) = (call.key(), call.parameter(3));
    let service = store.find(&key).map_err(|_| key.revision_not_found(&name))?;
    let state = service.state();
    let revision = state.revision(&name).ok_or_else(|| key.revision_not_found(&name))?;
    Ok(revision.render(&key))
}

/// The newest first.
fn list(store: &Store, call: &Call<'_>) -> Result<Value, Status> {
    let key = call.key();
    let mut revisions = Vec::new();
    // `-` is every service: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services.revisions/list
    for service in store.all() {
        if service.key.parent() == key.parent() && (key.service == "-" || service.key.service == key.service) {
            let state = service.state();
            revisions.extend(state.revisions.iter().map(|revision| (revision.created, revision.render(&service.key))));
        }
    }
    newest_first(call, "revisions", revisions)
}

fn delete(store: &Store, call: &Call<'_>) -> Result<Value, Status> {
    let (key, name) = (call.key(), call.parameter(3));
    let service = store.find(&key).map_err(|_| key.revision_not_found(&name))?;
    let etag = call.query.get("etag").map(String::as_str);
    remove(store, &service, &name, etag, call.flag("validateOnly"))
}

/// Answers the operation; its metadata is the revision.
pub(super) fn remove(
    store: &Store,
    service: &Service,
    name: &str,
    etag: Option<&str>,
    dry: bool,
) -> Result<Value, Status> {
    let key = &service.key;
    let mut state = service.state();
    if state.deleted.is_some() {
        return Err(key.revision_not_found(name));
    }
    let index = state.revisions.iter().position(|revision| revision.name == name);
    let index = index.ok_or_else(|| key.revision_not_found(name))?;
    let revision = &state.revisions[index];
    etag::check(etag, revision.version(), name)?;
    if state.needs(revision) {
        return Err(Status::new(
            Code::FailedPrecondition,
            format!("Revision '{name}' cannot be deleted: it is the latest one, or traffic or a tag leads to it."),
        ));
    }
    let value = typed(revision.render(key));
    if dry {
        return Ok(Operations::unstored(&key.parent(), value.clone(), value));
    }
    let removed = state.revisions.remove(index);
    let operation = store.parts.operations.begin(&key.parent(), value.clone());
    let operation_name = operation["name"].as_str().unwrap_or_default().to_owned();
    let (operations, closed) = (store.parts.operations.clone(), service.closed.clone());
    // The service's end waits for this task.
    service.tasks.spawn(async move {
        removed.end(&closed).await;
        operations.finish(&operation_name, value.clone(), Ok(value));
    });
    Ok(operation)
}

fn typed(mut value: Value) -> Value {
    value["@type"] = json!("type.googleapis.com/google.cloud.run.v2.Revision");
    value
}
