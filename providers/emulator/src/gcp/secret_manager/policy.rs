//! Who may do what with a secret: getIamPolicy, setIamPolicy, testIamPermissions.
use serde_json::{Value, json};

use super::{
    access::{authorize, may, secret},
    store::Secrets,
};
use crate::gcp::{
    call::Call,
    policy::replace,
    status::{Code, Status},
};

pub(super) fn get(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let mut store = secrets.lock();
    authorize(&store, call, "secretmanager.secrets.getIamPolicy", &name, &name.given())?;
    Ok(store.find(&name)?.policy.clone())
}

pub(super) fn set(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let mut store = secrets.lock();
    authorize(&store, call, "secretmanager.secrets.setIamPolicy", &name, &name.given())?;
    let given = call.body.get("policy").unwrap_or(&Value::Null);
    let mask = call.body["updateMask"].as_str().unwrap_or_default();
    let other = mask.split(',').any(|path| !matches!(path.trim(), "" | "bindings" | "etag" | "version"));
    if other || given.get("auditConfigs").is_some() {
        let text = "The local cloud keeps the bindings of a policy, and no audit configuration.";
        return Err(Status::new(Code::Unimplemented, text));
    }
    let found = store.find(&name)?;
    let policy = replace(&found.policy, given)?;
    found.policy.clone_from(&policy);
    Ok(policy)
}

/// Nothing is held on a secret that is not there, and that is no error:
/// <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets/testIamPermissions>
pub(super) fn test(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let store = secrets.lock();
    if store.get(&name).is_none() {
        return Ok(json!({}));
    }
    let asked = call.body["permissions"].as_array().into_iter().flatten();
    let held: Vec<_> =
        asked.filter(|asked| asked.as_str().is_some_and(|asked| may(&store, call, asked, &name))).collect();
    Ok(if held.is_empty() { json!({}) } else { json!({ "permissions": held }) })
}
