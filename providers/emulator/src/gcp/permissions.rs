//! `testIamPermissions` of projects and service accounts: what a caller asks before it acts.
use serde_json::{Value, json};

use super::{face::Api, status::Status};
use crate::iam::Principal;

/// `/v3/projects/P:testIamPermissions` of Resource Manager and
/// `/v1/projects/-/serviceAccounts/EMAIL:testIamPermissions` of IAM.
pub(crate) fn is_asked(api: Api, method: &str, path: &str) -> bool {
    let Some(resource) = path.strip_suffix(":testIamPermissions").filter(|_| method == "POST") else {
        return false;
    };
    let parts: Vec<_> = resource.split('/').filter(|part| !part.is_empty()).collect();
    matches!(
        (parts.as_slice(), api),
        (["v3", "projects", _], Api::ResourceManager | Api::Any)
            | (["v1", "projects", _, "serviceAccounts", _], Api::Iam | Api::Any)
    )
}

pub(crate) fn test(principal: &Principal, body: &Value) -> Result<Value, Status> {
    if let Some(name) = body.as_object().into_iter().flatten().map(|(name, _)| name).find(|name| *name != "permissions")
    {
        return Err(Status::invalid(format!(
            "Invalid JSON payload received. Unknown name \"{name}\": Cannot find field."
        )));
    }
    let asked = body["permissions"].as_array().into_iter().flatten();
    let held: Vec<_> = asked.filter(|name| name.as_str().is_some_and(|name| principal.may(name))).cloned().collect();
    Ok(if held.is_empty() { json!({}) } else { json!({ "permissions": held }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (api, path, yes) in [
            (Api::ResourceManager, "/v3/projects/p:testIamPermissions", true),
            (Api::Iam, "/v1/projects/-/serviceAccounts/a@b:testIamPermissions", true),
            (Api::Any, "/v3/projects/p:testIamPermissions", true),
            (Api::Run, "/v3/projects/p:testIamPermissions", false),
            (Api::ResourceManager, "/v3/projects/p", false),
        ] {
            assert_eq!(is_asked(api, "POST", path), yes, "{path}");
        }
    }
}
