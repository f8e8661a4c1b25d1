//! `projects.locations.repositories`.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::images;
use crate::{
    gcp::{
        access::{container_registry, registry_uri},
        call::{Call, page},
        operations::Operations,
        policy, repository_policy,
        status::{Code, Status},
        time::stamp,
    },
    state::Images,
};

/// <https://cloud.google.com/artifact-registry/docs/repositories/create-repos>
const LONGEST_NAME: usize = 63;

#[derive(Debug, Default)]
pub(crate) struct Repositories {
    by_name: Mutex<BTreeMap<String, Value>>,
    /// The policies that were set.
    policies: Mutex<BTreeMap<String, Value>>,
    pub(crate) operations: Operations,
}

impl Repositories {
    pub(crate) fn exists(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// `None` when there is no such repository.
    pub(crate) fn policy(&self, name: &str) -> Option<Value> {
        let policies = self.lock_policies();
        self.exists(name).then(|| policies.get(name).cloned().unwrap_or_else(policy::empty))
    }

    pub(in crate::gcp) fn set_policy(&self, name: &str, given: &Value) -> Result<Value, Status> {
        let mut policies = self.lock_policies();
        if !self.exists(name) {
            return Err(missing(name));
        }
        let current = policies.get(name).cloned().unwrap_or_else(policy::empty);
        let policy = policy::replace(&current, given)?;
        policies.insert(name.to_owned(), policy.clone());
        Ok(policy)
    }

    fn lock_policies(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
        self.lock_policies().clear();
        self.operations.clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn handle(
    repositories: &Arc<Repositories>,
    images: &dyn Images,
    call: &Call<'_>,
    verb: &str,
) -> Result<Value, Status> {
    match verb {
        "create" => create(repositories, call),
        "get" => {
            let name = name(call);
            repositories.lock().get(&name).cloned().ok_or_else(|| missing(&name))
        }
        "list" => list(repositories, call),
        "delete" => delete(repositories, images, call),
        verb => repository_policy::handle(repositories, call, verb),
    }
}

pub(in crate::gcp) fn name(call: &Call<'_>) -> String {
    format!("{}/repositories/{}", call.parent(), call.parameter(2))
}

pub(in crate::gcp) fn missing(name: &str) -> Status {
    Status::new(Code::NotFound, "Requested entity was not found.").with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.ResourceInfo",
        "resourceName": name,
    }))
}

fn create(repositories: &Arc<Repositories>, call: &Call<'_>) -> Result<Value, Status> {
    let parent = call.parent();
    let id = call.query.get("repositoryId").map(String::as_str).unwrap_or_default();
    if !is_name(id) && container_registry(id) != Some(&*call.parameter(1)) {
        return Err(Status::invalid(
            "The repository id must start with a lowercase letter, may use lowercase letters, numbers and hyphens, must not end with a hyphen, and has 63 characters at most.",
        ));
    }
    let format = call.body["format"].as_str().unwrap_or("FORMAT_UNSPECIFIED");
    match format {
        "DOCKER" => {}
        "FORMAT_UNSPECIFIED" => return Err(Status::invalid("format must be specified.")),
        other => {
            let text = format!("The local cloud has only repositories of format DOCKER, not {other}.");
            return Err(Status::new(Code::Unimplemented, text));
        }
    }
    // gcloud says that it says nothing.
    if call.body["mode"].as_str().is_some_and(|mode| !matches!(mode, "MODE_UNSPECIFIED" | "STANDARD_REPOSITORY")) {
        return Err(Status::new(Code::Unimplemented, "The local cloud has only standard repositories."));
    }
    let name = format!("{parent}/repositories/{id}");
    let now = stamp(Timestamp::now());
    let mut repository = call.body.clone();
    for (field, value) in [
        ("name", json!(name)),
        ("mode", json!("STANDARD_REPOSITORY")),
        ("createTime", json!(now)),
        ("updateTime", json!(now)),
        ("registryUri", json!(registry_uri(&call.parameter(1), &call.project, id))),
    ] {
        repository[field] = value;
    }
    {
        let mut by_name = repositories.lock();
        if by_name.contains_key(&name) {
            return Err(Status::new(Code::AlreadyExists, "the repository already exists"));
        }
        if let Some(status) = &call.fail {
            return Ok(repositories.operations.failed(&parent, metadata(), status));
        }
        by_name.insert(name, repository.clone());
    }
    repository["@type"] = json!("type.googleapis.com/google.devtools.artifactregistry.v1.Repository");
    Ok(begin(repositories, &parent, repository))
}

fn list(repositories: &Repositories, call: &Call<'_>) -> Result<Value, Status> {
    let parent = call.parent();
    refuse_unsupported(call, &["filter", "orderBy"])?;
    let prefix = format!("{parent}/repositories/");
    let found = repositories.lock();
    let found = found.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, value)| value.clone()).collect();
    page(call, "repositories", found)
}

/// Instead of an answer that heeds no such wish.
pub(super) fn refuse_unsupported(call: &Call<'_>, names: &[&str]) -> Result<(), Status> {
    match names.iter().find(|name| call.query.get(**name).is_some_and(|value| !value.is_empty())) {
        Some(name) => Err(Status::new(Code::Unimplemented, format!("The local cloud does not support {name}."))),
        None => Ok(()),
    }
}

/// With everything in it.
fn delete(repositories: &Arc<Repositories>, images: &dyn Images, call: &Call<'_>) -> Result<Value, Status> {
    let name = name(call);
    if let Some(status) = call.fail.as_ref().filter(|_| repositories.exists(&name)) {
        return Ok(repositories.operations.failed(&call.parent(), metadata(), status));
    }
    repositories.lock().remove(&name).ok_or_else(|| missing(&name))?;
    repositories.lock_policies().remove(&name);
    for image in images::of(images, call) {
        images.remove(&image.name, &image.digest);
    }
    Ok(begin(repositories, &call.parent(), empty()))
}

/// What a deletion's operation answers with.
pub(super) fn empty() -> Value {
    json!({ "@type": "type.googleapis.com/google.protobuf.Empty" })
}

/// The operation pends for the caller, and is done when it looks again.
pub(super) fn begin(repositories: &Arc<Repositories>, parent: &str, response: Value) -> Value {
    let operation = repositories.operations.begin(parent, metadata());
    let name = operation["name"].as_str().unwrap_or_default().to_owned();
    let repositories = repositories.clone();
    tokio::spawn(async move { repositories.operations.finish(&name, metadata(), Ok(response)) });
    operation
}

fn metadata() -> Value {
    json!({ "@type": "type.googleapis.com/google.devtools.artifactregistry.v1.OperationMetadata" })
}

fn is_name(id: &str) -> bool {
    (1..=LONGEST_NAME).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && !id.ends_with('-')
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
