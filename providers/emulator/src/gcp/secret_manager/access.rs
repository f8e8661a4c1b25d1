//! Which secret a call is about, and whether the caller knows it as it is now.
use serde_json::Value;

use super::names::{SecretName, is_id};
use crate::gcp::{
    call::Call,
    status::{Code, Status},
};

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
