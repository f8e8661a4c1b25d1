//! Workload identity pools: whose foreign identities a project takes.
//!
//! <https://cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools>
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Credentials,
    keys::not_found,
    providers::{self, Provider},
};
use crate::gcp::{
    call::{Call, page, unimplemented},
    operations::Operations,
    project::number,
    schema::camel,
    status::{Code, Status},
    time::stamp,
};

/// How long what was deleted can be taken back: <https://cloud.google.com/iam/docs/manage-workload-identity-pools-providers#delete-pool>
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const LONGEST_NAME: usize = 32;
const LONGEST_DESCRIPTION: usize = 256;
const POOL: &str = "type.googleapis.com/google.iam.v1.WorkloadIdentityPool";
const PROVIDER: &str = "type.googleapis.com/google.iam.v1.WorkloadIdentityPoolProvider";

/// A pool or a provider, as it is shown.
#[derive(Debug)]
pub(super) struct Entry {
    fields: Map<String, Value>,
    deleted: Option<Timestamp>,
    /// What a provider does; a pool does nothing by itself.
    provider: Option<Provider>,
}

/// By name: `projects/NUMBER/locations/global/workloadIdentityPools/POOL`, or one `/providers/PROVIDER` below it.
#[derive(Debug, Default)]
pub(super) struct Pools {
    entries: Mutex<BTreeMap<String, Entry>>,
    operations: Operations,
}

impl Entry {
    fn is_usable(&self) -> bool {
        self.deleted.is_none() && self.fields.get("disabled") != Some(&json!(true))
    }

    fn render(&self, name: &str) -> Value {
        let mut fields = self.fields.clone();
        fields.insert("name".to_owned(), json!(name));
        fields.insert("state".to_owned(), json!(if self.deleted.is_some() { "DELETED" } else { "ACTIVE" }));
        if let Some(end) = self.deleted.and_then(|deleted| deleted.checked_add(KEPT).ok()) {
            fields.insert("expireTime".to_owned(), json!(stamp(end)));
        }
        Value::Object(fields)
    }
}

impl Pools {
    pub(super) fn clear(&self) {
        self.entries().clear();
        self.operations.clear();
    }

    /// A provider that takes tokens now: neither it nor its pool is disabled or deleted.
    pub(super) fn usable_provider(&self, name: &str) -> Option<Provider> {
        let entries = self.entries();
        let pool = name.split_once("/providers/")?.0;
        let usable = |name: &str| entries.get(name).filter(|entry| entry.is_usable());
        usable(pool)?;
        usable(name)?.provider.clone()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation that pends when it is answered, and has ended when somebody looks.
    fn operation(&self, name: &str, kind: &str, shown: &Value) -> Value {
        let mut response = shown.clone();
        response["@type"] = json!(kind);
        let operation = self.operations.begin(name, Value::Null);
        self.operations.finish(operation["name"].as_str().unwrap_or_default(), Value::Null, Ok(response));
        without_metadata(operation)
    }
}

/// IAM's have none.
fn without_metadata(mut operation: Value) -> Value {
    if let Some(fields) = operation.as_object_mut() {
        fields.remove("metadata");
    }
    operation
}

impl Credentials {
    /// `method` is its id below `iam.projects.locations.workloadIdentityPools.`.
    pub(crate) fn handle_pool(&self, call: &Call<'_>, method: &str) -> Result<Value, Status> {
        if call.parameter(1) != "global" {
            return Err(Status::invalid("Request contains an invalid argument."));
        }
        let of_provider = method.strip_prefix("providers.");
        let parent = format!("projects/{}/locations/global/workloadIdentityPools", number(&call.project));
        let (parent, id) = match of_provider {
            Some(_) => (format!("{parent}/{}/providers", call.parameter(2)), call.parameter(3)),
            None => (parent, call.parameter(2)),
        };
        let name = format!("{parent}/{id}");
        match of_provider.unwrap_or(method) {
            "create" => self.create_entry(call, &parent, of_provider.is_some()),
            "get" => self.pools.entries().get(&name).map(|entry| entry.render(&name)).ok_or_else(not_found),
            "list" => self.list_entries(call, &parent, of_provider.is_some()),
            "patch" => self.patch_entry(call, &name),
            "delete" => self
                .change_entry(&name, |entry| entry.deleted.is_none().then(|| entry.deleted = Some(Timestamp::now()))),
            "undelete" => self.change_entry(&name, |entry| entry.deleted.take().map(|_| ())),
            "operations.get" => {
                let id = call.parameters.last().cloned().unwrap_or_default();
                self.pools.operations.get(&format!("{name}/operations/{id}")).map(without_metadata)
            }
            _ => Err(unimplemented()),
        }
    }

    fn create_entry(&self, call: &Call<'_>, parent: &str, of_provider: bool) -> Result<Value, Status> {
        let id = if of_provider { "workloadIdentityPoolProviderId" } else { "workloadIdentityPoolId" };
        let id = call.query.get(id).map(String::as_str).unwrap_or_default();
        check_id(id)?;
        let mut fields = call.fields();
        fields.remove("name");
        check_texts(&fields)?;
        let provider = if of_provider {
            Some(providers::read(&fields)?)
        } else {
            check_pool(&fields)?;
            None
        };
        let name = format!("{parent}/{id}");
        let mut entries = self.pools.entries();
        if let Some((pool, _)) = parent.rsplit_once("/providers")
            && entries.get(pool).is_none_or(|pool| pool.deleted.is_some())
        {
            return Err(not_found());
        }
        if entries.contains_key(&name) {
            return Err(Status::new(Code::AlreadyExists, "Requested entity already exists"));
        }
        let entry = Entry { fields, deleted: None, provider };
        let shown = entry.render(&name);
        entries.insert(name.clone(), entry);
        Ok(self.pools.operation(&name, kind(of_provider), &shown))
    }

    fn list_entries(&self, call: &Call<'_>, parent: &str, of_provider: bool) -> Result<Value, Status> {
        let field = if of_provider { "workloadIdentityPoolProviders" } else { "workloadIdentityPools" };
        let entries = self.pools.entries();
        if let Some((pool, _)) = parent.rsplit_once("/providers")
            && !entries.contains_key(pool)
        {
            return Err(not_found());
        }
        let prefix = format!("{parent}/");
        let found = entries
            .iter()
            .filter(|(name, _)| name.strip_prefix(&prefix).is_some_and(|id| !id.contains('/')))
            .filter(|(_, entry)| entry.deleted.is_none() || call.flag("showDeleted"))
            .map(|(name, entry)| entry.render(name))
            .collect();
        page(call, field, found)
    }

    /// <https://google.aip.dev/134>: what the mask names, or all that the body has.
    fn patch_entry(&self, call: &Call<'_>, name: &str) -> Result<Value, Status> {
        let mut entries = self.pools.entries();
        let entry = entries.get_mut(name).filter(|entry| entry.deleted.is_none()).ok_or_else(not_found)?;
        let given = call.fields();
        let mut fields = entry.fields.clone();
        match call.query.get("updateMask").filter(|mask| !mask.is_empty()) {
            Some(mask) => {
                for path in mask.split(',') {
                    let path: Vec<_> = path.split('.').map(camel).collect();
                    let path: Vec<_> = path.iter().map(String::as_str).collect();
                    copy(&given, &mut fields, &path);
                }
            }
            None => fields.extend(given),
        }
        fields.remove("name");
        check_texts(&fields)?;
        let provider = match &entry.provider {
            Some(_) => Some(providers::read(&fields)?),
            None => {
                check_pool(&fields)?;
                None
            }
        };
        (entry.fields, entry.provider) = (fields, provider);
        Ok(self.pools.operation(name, kind(entry.provider.is_some()), &entry.render(name)))
    }

    /// `None` when there is nothing to change.
    fn change_entry(&self, name: &str, change: impl FnOnce(&mut Entry) -> Option<()>) -> Result<Value, Status> {
        let mut entries = self.pools.entries();
        let entry = entries.get_mut(name).ok_or_else(not_found)?;
        change(entry).ok_or_else(not_found)?;
        Ok(self.pools.operation(name, kind(entry.provider.is_some()), &entry.render(name)))
    }
}

fn kind(of_provider: bool) -> &'static str {
    if of_provider { PROVIDER } else { POOL }
}

/// What `path` leads to; where it leads to nothing the field is removed.
fn copy(from: &Map<String, Value>, to: &mut Map<String, Value>, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else { return };
    let value = from.get(*first);
    if rest.is_empty() {
        match value {
            Some(value) => to.insert((*first).to_owned(), value.clone()),
            None => to.remove(*first),
        };
        return;
    }
    let empty = Map::new();
    let from = value.and_then(Value::as_object).unwrap_or(&empty);
    if let Some(to) = to.entry(*first).or_insert_with(|| json!({})).as_object_mut() {
        copy(from, to, rest);
    }
}

/// <https://cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools/create>
fn check_id(id: &str) -> Result<(), Status> {
    let plain = id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if plain && (4..=32).contains(&id.len()) && !id.starts_with("gcp-") {
        return Ok(());
    }
    Err(Status::invalid("Request contains an invalid argument."))
}

fn check_texts(fields: &Map<String, Value>) -> Result<(), Status> {
    let length = |name: &str| fields.get(name).and_then(Value::as_str).map_or(0, |text| text.chars().count());
    if length("displayName") <= LONGEST_NAME && length("description") <= LONGEST_DESCRIPTION {
        return Ok(());
    }
    Err(Status::invalid("Request contains an invalid argument."))
}

fn check_pool(fields: &Map<String, Value>) -> Result<(), Status> {
    let federation = matches!(fields.get("mode").and_then(Value::as_str), None | Some("FEDERATION_ONLY"));
    let others = ["inlineCertificateIssuanceConfig", "inlineTrustConfig"];
    if federation && !others.iter().any(|name| fields.contains_key(*name)) { Ok(()) } else { Err(unimplemented()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_copies_and_removes() {
        let object = |value: Value| value.as_object().expect("an object").clone();
        let given = object(json!({ "oidc": { "issuerUri": "https://b" }, "displayName": "B" }));
        let mut fields = object(json!({ "oidc": { "issuerUri": "https://a", "jwksJson": "{}" }, "description": "A" }));
        for path in [&["oidc", "issuerUri"][..], &["oidc", "jwksJson"], &["description"]] {
            copy(&given, &mut fields, path);
        }
        assert_eq!(Value::Object(fields), json!({ "oidc": { "issuerUri": "https://b" } }));
    }

    #[test]
    fn ids() {
        assert!(check_id("github").is_ok() && check_id("a-1-").is_ok());
        for wrong in ["", "abc", "gcp-pool", "Pool", "a_bc", &"a".repeat(33)] {
            assert!(check_id(wrong).is_err(), "{wrong}");
        }
    }
}
