//! The methods by name.
use serde_json::Value;

use super::{policy, secrets, store::Secrets, versions};
use crate::gcp::{
    call::{Call, unimplemented},
    status::Status,
};

/// `method` is its id below `secretmanager.projects.secrets.`.
pub(crate) fn handle(store: &Secrets, call: &Call<'_>, method: &str) -> Result<Value, Status> {
    match method {
        "create" => secrets::create(store, call),
        "get" => secrets::get(store, call),
        "list" => secrets::list(store, call),
        "patch" => secrets::patch(store, call),
        "delete" => secrets::delete(store, call),
        "addVersion" => versions::add(store, call),
        "versions.get" => versions::get(store, call),
        "versions.list" => versions::list(store, call),
        "versions.access" => versions::access(store, call),
        "versions.enable" => versions::change(store, call, versions::Change::Enable),
        "versions.disable" => versions::change(store, call, versions::Change::Disable),
        "versions.destroy" => versions::change(store, call, versions::Change::Destroy),
        "getIamPolicy" => policy::get(store, call),
        "setIamPolicy" => policy::set(store, call),
        _ => Err(unimplemented()),
    }
}
