//! Who may do what with a secret: getIamPolicy, setIamPolicy.
use serde_json::Value;

use super::{access::secret, store::Secrets};
use crate::gcp::{
    call::Call,
    policy::replace,
    status::{Code, Status},
};

pub(super) fn get(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let mut store = secrets.lock();
    Ok(store.find(&name)?.policy.clone())
}

pub(super) fn set(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let mut store = secrets.lock();
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
