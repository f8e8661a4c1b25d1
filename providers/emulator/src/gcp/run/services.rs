//! `services`: create, get, list, patch, delete.
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    etag, mask,
    names::{Key, is_service},
    service::{Service, typed},
    store::{Store, exists},
    update::{self, Change},
};
use crate::{
    gcp::{
        access,
        call::{Call, newest_first, unimplemented},
        iam::{refuse_to_act_as, refuse_to_deploy},
        operations::Operations,
        project::Projects,
        status::{Code, Status},
    },
    router::backend::GRACE,
};

pub(crate) fn handle(store: &Arc<Store>, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    if call.parameter(1) == "-" {
        return Err(Status::invalid("Invalid location '-'."));
    }
    if !is_region(&call.parameter(1)) {
        let text = format!("Permission denied on 'locations/{}' (or it may not exist).", call.parameter(1));
        return Err(Status::new(Code::PermissionDenied, text));
    }
    match verb {
        "create" => create(store, call),
        "get" => get(store, call),
        "list" => list(store, call),
        "patch" => patch(store, call),
        "delete" => delete(store, call),
        _ => Err(unimplemented()),
    }
}

/// Whether it has the form of a region's name; which there are changes from month to month:
/// <https://cloud.google.com/run/docs/locations>
fn is_region(name: &str) -> bool {
    let parts = name.split_once('-').map(|(area, place)| (area, place.trim_end_matches(|c: char| c.is_ascii_digit())));
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    parts.is_some_and(|(area, place)| word(area) && word(place)) && name.ends_with(|c: char| c.is_ascii_digit())
}

impl Call<'_> {
    pub(super) fn key(&self) -> Key {
        Key { project: self.project.clone(), location: self.parameter(1), service: self.parameter(2) }
    }
}

/// How a call wants its change done.
pub(super) struct Wanted<'a> {
    /// Only checked, and nothing kept.
    pub(super) dry: bool,
    /// The version that it is about.
    pub(super) etag: Option<&'a str>,
    /// A revision also where the template is the same.
    pub(super) force: bool,
}

fn create(store: &Arc<Store>, call: &Call<'_>) -> Result<Value, Status> {
    let mut key = call.key();
    key.service = match call.query.get("serviceId") {
        Some(name) => name.clone(),
        // https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services/create
        None => format!("service-{:08x}", fastrand::u32(..)),
    };
    make(store, call, key, call.fields(), call.flag("validateOnly"))
}

/// Answers the operation; its metadata is the service.
pub(super) fn make(
    store: &Arc<Store>,
    call: &Call<'_>,
    key: Key,
    fields: Map<String, Value>,
    dry: bool,
) -> Result<Value, Status> {
    if !is_location(&key.location) {
        return Err(Status::invalid(format!("Invalid location '{}'.", key.location)));
    }
    if !is_service(&key.service) {
        return Err(Status::invalid(
            "Violation in CreateServiceRequest.service_id: Resource name must use only lowercase letters, numbers and '-'. Must begin with a letter and cannot end with a '-'. Must contain fewer than 50 characters.",
        ));
    }
    let spec = update::prepare("CreateServiceRequest", &key, fields)?;
    act_as(call, &spec)?;
    may_read_images(&store.parts.projects, call, &spec)?;
    if store.exists(&key) {
        return Err(exists(&key));
    }
    let parent = key.parent();
    let service = Service::new(key, store.parts.clone(), &call.principal.email);
    let change = Change { spec, force: false, by: call.principal.email.clone(), fail: call.fail.clone() };
    // Whoever finds it from now on waits until it is whole.
    let mut state = service.state();
    if dry {
        let value = typed(update::preview(&service, &state, change)?);
        return Ok(Operations::unstored(&parent, value.clone(), value));
    }
    store.insert(&service)?;
    update::apply(&service, &mut state, change).inspect_err(|_| store.remove(&service))
}

fn get(store: &Store, call: &Call<'_>) -> Result<Value, Status> {
    let service = store.find(&call.key())?;
    let state = service.state();
    Ok(state.render(&service.key))
}

/// The newest first, of one location:
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services/list>
fn list(store: &Store, call: &Call<'_>) -> Result<Value, Status> {
    let parent = call.parent();
    let services: Vec<_> = store
        .all()
        .into_iter()
        .filter(|service| service.key.parent() == parent)
        .map(|service| {
            let state = service.state();
            (state.created, state.render(&service.key))
        })
        .collect();
    newest_first(call, "services", services)
}

fn patch(store: &Arc<Store>, call: &Call<'_>) -> Result<Value, Status> {
    let key = call.key();
    let dry = call.flag("validateOnly");
    let service = match store.find(&key) {
        Ok(service) => service,
        Err(_) if call.flag("allowMissing") => {
            call.authorize_new("run.services.create", &key.to_string())?;
            return make(store, call, key, call.fields(), dry);
        }
        Err(missing) => return Err(missing),
    };
    let body = call.fields();
    let etag = body.get("etag").and_then(Value::as_str);
    let mask = call.query.get("updateMask").map(String::as_str);
    let wanted = Wanted { dry, etag, force: call.flag("forceNewRevision") };
    change(call, &service, &wanted, |stored| mask::apply(&call.documents.run, stored, &body, mask))
}

/// `fields` makes the new service of the stored one. Answers the operation; its metadata is the service.
pub(super) fn change(
    call: &Call<'_>,
    service: &Arc<Service>,
    wanted: &Wanted<'_>,
    fields: impl FnOnce(&Map<String, Value>) -> Result<Map<String, Value>, Status>,
) -> Result<Value, Status> {
    let key = &service.key;
    // Held from the look to the change: of two changes at once, the later one sees the earlier one.
    let mut state = service.state();
    if state.deleted.is_some() {
        return Err(key.not_found());
    }
    etag::check(wanted.etag, state.version(), &key.service)?;
    let stored = state.spec.as_object().cloned().unwrap_or_default();
    let spec = update::prepare("UpdateServiceRequest", key, fields(&stored)?)?;
    // A new revision runs as the account too.
    if wanted.force || spec.get("template") != stored.get("template") {
        act_as(call, &spec)?;
        may_read_images(&service.parts.projects, call, &spec)?;
    }
    let change = Change { spec, force: wanted.force, by: call.principal.email.clone(), fail: call.fail.clone() };
    if wanted.dry {
        let value = typed(update::preview(service, &state, change)?);
        return Ok(Operations::unstored(&key.parent(), value.clone(), value));
    }
    update::apply(service, &mut state, change)
}

fn delete(store: &Arc<Store>, call: &Call<'_>) -> Result<Value, Status> {
    let etag = call.query.get("etag").map(String::as_str);
    remove(store, call, &Wanted { dry: call.flag("validateOnly"), etag, force: false })
}

/// Answers the operation; its metadata is the service.
pub(super) fn remove(store: &Arc<Store>, call: &Call<'_>, wanted: &Wanted<'_>) -> Result<Value, Status> {
    let service = store.find(&call.key())?;
    let key = service.key.clone();
    let metadata = {
        let mut state = service.state();
        if state.deleted.is_some() {
            return Err(key.not_found());
        }
        etag::check(wanted.etag, state.version(), &key.service)?;
        if wanted.dry {
            let value = typed(state.render(&key));
            return Ok(Operations::unstored(&key.parent(), value.clone(), value));
        }
        if let Some(status) = &call.fail {
            return Ok(store.parts.operations.failed(&key.parent(), typed(state.render(&key)), status));
        }
        state.touch(&call.principal.email);
        state.deleted = Some(state.updated);
        state.reconciling = true;
        typed(state.render(&key))
    };
    let operation = store.parts.operations.begin(&key.parent(), metadata.clone());
    let name = operation["name"].as_str().unwrap_or_default().to_owned();
    let store = store.clone();
    tokio::spawn(async move {
        store.tear_down(&service, GRACE).await;
        let mut done = metadata;
        if let Some(fields) = done.as_object_mut() {
            fields.remove("reconciling");
        }
        store.parts.operations.finish(&name, done.clone(), Ok(done));
    });
    Ok(operation)
}

/// Whoever deploys must be allowed to act as the account that `spec`'s template runs as:
/// <https://cloud.google.com/run/docs/reference/iam/roles#additional-configuration>
pub(super) fn act_as(call: &Call<'_>, spec: &Map<String, Value>) -> Result<(), Status> {
    let account = spec.get("template").and_then(|template| template["serviceAccount"].as_str()).unwrap_or_default();
    if call.authority.may_act_as(&call.principal, account) { Ok(()) } else { Err(refuse_to_act_as(account)) }
}

/// Since 2025 whoever deploys must be allowed to read the images too:
/// <https://cloud.google.com/artifact-registry/docs/integrate-cloud-run>
fn may_read_images(projects: &Projects, call: &Call<'_>, spec: &Map<String, Value>) -> Result<(), Status> {
    let containers = spec.get("template").and_then(|template| template["containers"].as_array());
    for container in containers.into_iter().flatten() {
        let image = container["image"].as_str().unwrap_or_default();
        let Some(repository) = access::repository(projects, image) else { continue };
        if !call.authority.may(&call.principal, "artifactregistry.repositories.downloadArtifacts", &repository) {
            return Err(refuse_to_deploy(image, &repository));
        }
    }
    Ok(())
}

/// `us-central1`, `europe-west12`.
pub(super) fn is_location(location: &str) -> bool {
    let place = location.trim_end_matches(|letter: char| letter.is_ascii_digit());
    place.len() < location.len()
        && place.contains('-')
        && place.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}
