//! A project's policy: getIamPolicy, setIamPolicy.
use serde_json::Value;

use super::grants::Grants;
use crate::gcp::{
    call::{Call, unimplemented},
    project,
    status::Status,
};

/// `verb` is of `cloudresourcemanager.projects`.
pub(crate) fn handle(grants: &Grants, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    match verb {
        "get" => Ok(project::get(call)),
        "getIamPolicy" => Ok(grants.project(&call.project)),
        "setIamPolicy" => {
            let given = call.body.get("policy").ok_or_else(|| Status::invalid("Policy must be specified."))?;
            grants.set_project(&call.project, given)
        }
        _ => Err(unimplemented()),
    }
}
