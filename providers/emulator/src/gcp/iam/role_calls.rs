//! `projects.roles`: create, get, list, patch, delete, undelete; and Google's own roles, to be seen.
//!
//! <https://cloud.google.com/iam/docs/reference/rest/v1/projects.roles>
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    custom::{CustomRoles, key},
    roles::{PREDEFINED, Role},
    table,
};
use crate::gcp::{
    call::{Call, page, unimplemented},
    schema::camel,
    status::{Code, Status},
};

const KEPT: [&str; 4] = ["title", "description", "includedPermissions", "stage"];

pub(super) fn handle(roles: &CustomRoles, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    let name = format!("projects/{}/roles/{}", call.project, call.parameter(1));
    match verb {
        "create" => create(roles, call),
        "get" => roles.change(&name, |role| Ok(role.clone())),
        "list" => list(roles, call),
        "patch" => roles.change(&name, |role| patch(role, call)),
        "delete" => roles.change(&name, |role| {
            check_etag(role, call.query.get("etag").map(String::as_str))?;
            role["deleted"] = json!(true);
            role["etag"] = etag();
            Ok(role.clone())
        }),
        "undelete" => roles.change(&name, |role| {
            check_etag(role, call.body["etag"].as_str())?;
            let was_deleted = role.as_object_mut().is_some_and(|fields| fields.remove("deleted").is_some());
            if !was_deleted {
                let text = format!("The role named {name} is not deleted.");
                return Err(Status::new(Code::FailedPrecondition, text));
            }
            role["etag"] = etag();
            Ok(role.clone())
        }),
        _ => Err(unimplemented()),
    }
}

fn create(roles: &CustomRoles, call: &Call<'_>) -> Result<Value, Status> {
    let id = call.body["roleId"].as_str().unwrap_or_default();
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    if !(3..=64).contains(&id.len()) || !id.bytes().all(good) {
        return Err(Status::invalid(
            "The role_id must have 3 to 64 characters: letters, digits, underscores and periods.",
        ));
    }
    let given = &call.body["role"];
    check(given)?;
    let name = format!("projects/{}/roles/{id}", call.project);
    let mut role = json!({ "name": name });
    for field in KEPT {
        if let Some(value) = given.get(field) {
            role[field] = value.clone();
        }
    }
    role["etag"] = etag();
    let mut all = roles.lock();
    let key = key(&name).unwrap_or_default();
    if all.contains_key(&key) {
        let text = format!("A role named {id} in projects/{} already exists.", call.project);
        return Err(Status::new(Code::AlreadyExists, text));
    }
    all.insert(key, role.clone());
    Ok(role)
}

fn list(roles: &CustomRoles, call: &Call<'_>) -> Result<Value, Status> {
    let prefix = key(&format!("projects/{}/roles/", call.project)).unwrap_or_default();
    let (deleted, full) = (call.flag("showDeleted"), call.query.get("view").is_some_and(|view| view == "FULL"));
    let found = roles
        .lock()
        .iter()
        .filter(|(key, role)| key.starts_with(&prefix) && (deleted || role.get("deleted").is_none()))
        .map(|(_, role)| if full { role.clone() } else { basic(role.clone()) })
        .collect();
    page(call, "roles", found)
}

/// A list has no permissions unless they are asked for.
fn basic(mut role: Value) -> Value {
    role.as_object_mut().map(|fields| fields.remove("includedPermissions"));
    role
}

fn patch(role: &mut Value, call: &Call<'_>) -> Result<Value, Status> {
    if role.get("deleted").is_some() {
        let text = format!("You can't update {}: it is deleted.", role["name"].as_str().unwrap_or_default());
        return Err(Status::new(Code::FailedPrecondition, text));
    }
    check_etag(role, call.body["etag"].as_str())?;
    check(&call.body)?;
    let mask: Option<Vec<_>> = call.query.get("updateMask").map(|mask| mask.split(',').map(camel).collect());
    let named = |field: &str| match &mask {
        Some(mask) => mask.iter().any(|path| path == field),
        None => call.body.get(field).is_some(),
    };
    for field in KEPT.into_iter().filter(|field| named(field)) {
        match call.body.get(field) {
            Some(value) => role[field] = value.clone(),
            None => drop(role.as_object_mut().map(|fields| fields.remove(field))),
        }
    }
    role["etag"] = etag();
    Ok(role.clone())
}

/// `SERVICE.RESOURCE.VERB`. Which of them Google has, nobody here knows all.
fn check(role: &Value) -> Result<(), Status> {
    let permissions = role["includedPermissions"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for permission in permissions {
        let parts: Vec<_> = permission.split('.').collect();
        let good = |part: &&str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/'))
        };
        if parts.len() < 3 || !parts.iter().all(good) {
            return Err(Status::invalid(format!("Permission {permission} is not valid.")));
        }
    }
    Ok(())
}

fn check_etag(role: &Value, given: Option<&str>) -> Result<(), Status> {
    match given {
        Some(given) if !given.is_empty() && role["etag"] != given => Err(Status::new(
            Code::Aborted,
            "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.",
        )),
        _ => Ok(()),
    }
}

fn etag() -> Value {
    json!(STANDARD.encode(fastrand::u64(..).to_be_bytes()))
}

pub(super) fn not_found(name: &str) -> Status {
    Status::new(Code::NotFound, format!("The role named {name} was not found."))
}

pub(super) fn get_predefined(call: &Call<'_>) -> Result<Value, Status> {
    let name = format!("roles/{}", call.parameter(0));
    Role::of(&name).map(predefined).ok_or_else(|| not_found(&name))
}

/// A project's own when it is the parent: <https://cloud.google.com/iam/docs/reference/rest/v1/roles/list>
pub(super) fn list_predefined(call: &Call<'_>) -> Result<Value, Status> {
    if call.query.get("parent").is_some_and(|parent| !parent.is_empty()) {
        return Err(unimplemented());
    }
    let full = call.query.get("view").is_some_and(|view| view == "FULL");
    let all = PREDEFINED.iter().map(predefined);
    page(call, "roles", if full { all.collect() } else { all.map(basic).collect() })
}

/// With those of its permissions that something here asks for.
fn predefined(role: &Role) -> Value {
    let held: Vec<_> = table::permissions().into_iter().filter(|permission| role.holds(permission)).collect();
    let mut shown = Map::new();
    shown.insert("name".to_owned(), json!(role.name));
    shown.insert("title".to_owned(), json!(role.title));
    shown.insert("stage".to_owned(), json!("GA"));
    shown.insert("etag".to_owned(), json!("AA=="));
    shown.insert("includedPermissions".to_owned(), json!(held));
    Value::Object(shown)
}

/// What a role of a project's own may hold: gcloud asks before it makes one.
/// <https://cloud.google.com/iam/docs/reference/rest/v1/permissions/queryTestablePermissions>
pub(super) fn testable(call: &Call<'_>) -> Result<Value, Status> {
    let name = call.body["fullResourceName"].as_str().unwrap_or_default();
    if !name.starts_with("//cloudresourcemanager.googleapis.com/projects/") {
        return Err(unimplemented());
    }
    let permissions = table::permissions();
    let shown: Vec<_> = permissions.iter().map(|name| json!({ "name": name, "stage": "GA" })).collect();
    Ok(json!({ "permissions": shown }))
}
