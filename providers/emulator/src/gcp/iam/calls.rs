//! The methods of IAM by name.
use serde_json::Value;

use super::{account_calls, authority::Authority, grants::Grants, role_calls};
use crate::gcp::{
    call::{Call, unimplemented},
    project,
    status::Status,
};

/// `id` begins with `iam.`.
pub(crate) fn handle(authority: &Authority, call: &Call<'_>, id: &str) -> Result<Value, Status> {
    if let Some(verb) = id.strip_prefix("iam.projects.serviceAccounts.") {
        return account_calls::handle(&authority.accounts, call, verb);
    }
    if let Some(verb) = id.strip_prefix("iam.projects.roles.") {
        return role_calls::handle(&authority.grants.roles, call, verb);
    }
    match id {
        "iam.roles.get" => role_calls::get_predefined(call),
        "iam.roles.list" => role_calls::list_predefined(call),
        "iam.permissions.queryTestablePermissions" => role_calls::testable(call),
        _ => Err(unimplemented()),
    }
}

/// A policy names only those of a project's own roles that there are, and of its own project:
/// <https://cloud.google.com/iam/docs/troubleshoot-policies>
pub(crate) fn check_policy(grants: &Grants, call: &Call<'_>) -> Result<(), Status> {
    let roles = call.body["policy"]["bindings"].as_array().into_iter().flatten();
    for role in roles.filter_map(|binding| binding["role"].as_str()) {
        let Some((owner, _)) = role.strip_prefix("projects/").and_then(|role| role.split_once("/roles/")) else {
            continue;
        };
        if project::number(owner) != project::number(&call.project) || !grants.roles.exists(role) {
            let text = format!("Role ({role}) does not exist in the resource's hierarchy.");
            return Err(Status::invalid(text));
        }
    }
    Ok(())
}
