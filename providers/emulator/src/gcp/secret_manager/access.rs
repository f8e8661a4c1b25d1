//! Which secret a call is about, and whether the caller may.
use serde_json::{Value, json};

use super::{
    names::{SecretName, is_id},
    roles,
    store::Store,
};
use crate::gcp::{
    call::Call,
    status::{Code, Status},
};

/// The project of a list or a create, as the caller named it.
pub(super) fn parent(call: &Call<'_>) -> String {
    format!("projects/{}", call.parameter(0))
}

/// The secret in the call's path.
pub(super) fn secret(call: &Call<'_>) -> Result<SecretName, Status> {
    let name = SecretName { project: call.parameter(0), secret: call.parameter(1) };
    if is_id(&name.secret) {
        return Ok(name);
    }
    let (given, form) = match call.parameters.get(2) {
        Some(version) => (format!("{}/versions/{version}", name.given()), "projects/*/secrets/*/versions/*"),
        None => (name.given(), "projects/*/secrets/*"),
    };
    Err(Status::invalid(format!("The provided Secret ID [{given}] does not match the expected format [{form}]")))
}

/// `resource` is the secret or version, as the caller named it.
pub(super) fn authorize(
    store: &Store,
    call: &Call<'_>,
    permission: &str,
    name: &SecretName,
    resource: &str,
) -> Result<(), Status> {
    if may(store, call, permission, name) { Ok(()) } else { Err(denied(permission, resource)) }
}

/// For what belongs to the project.
pub(super) fn authorize_parent(call: &Call<'_>, permission: &str) -> Result<(), Status> {
    if call.principal.may(permission) { Ok(()) } else { Err(denied(permission, &parent(call))) }
}

/// By what the caller has everywhere, or by the secret's own policy.
pub(super) fn may(store: &Store, call: &Call<'_>, permission: &str, name: &SecretName) -> bool {
    let is_member = |member: &str| member == "allUsers" || call.principal.is_member(member);
    call.principal.may(permission)
        || store.get(name).is_some_and(|secret| roles::gives(&secret.policy, permission, is_member))
}

fn denied(permission: &str, resource: &str) -> Status {
    let text = format!("Permission '{permission}' denied for resource '{resource}' (or it may not exist).");
    Status::new(Code::PermissionDenied, text).with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED",
        "domain": "iam.googleapis.com",
        "metadata": { "permission": permission, "resource": resource },
    }))
}

/// An etag that was given, even without need, is the current one: <https://cloud.google.com/secret-manager/docs/etags>
pub(super) fn check_etag(given: Option<&str>, current: &str) -> Result<(), Status> {
    match given {
        Some(given) if !given.is_empty() && given != current => Err(Status::new(
            Code::FailedPrecondition,
            "The etag provided in the request does not match the resource's current etag. Please retry the whole read-modify-write with exponential backoff.",
        )),
        _ => Ok(()),
    }
}

pub(super) fn etag_of(body: &Value) -> Option<&str> {
    body["etag"].as_str()
}
