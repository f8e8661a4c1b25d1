//! Access policies, which every resource that has one keeps in the same way.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::status::{Code, Status};

/// <https://cloud.google.com/iam/docs/reference/rest/v1/Policy#Binding>
const MEMBERS: [&str; 10] = [
    "user:",
    "serviceAccount:",
    "group:",
    "domain:",
    "principal://",
    "principalSet://",
    "deleted:",
    "projectOwner:",
    "projectEditor:",
    "projectViewer:",
];

/// Of a resource whose policy was never set.
pub(crate) fn empty() -> Value {
    json!({ "etag": "ACAB" })
}

/// One more member of a role, as somebody's own change of the policy.
pub(crate) fn bind(policy: &mut Value, role: &str, member: &str) {
    let mut bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
    let plain = |binding: &&mut Value| binding["role"] == role && binding.get("condition").is_none();
    match bindings.iter_mut().find(plain).and_then(|binding| binding["members"].as_array_mut()) {
        Some(members) if members.iter().any(|known| known == member) => return,
        Some(members) => members.push(json!(member)),
        None => bindings.push(json!({ "role": role, "members": [member] })),
    }
    policy["bindings"] = json!(bindings);
    policy["etag"] = new_etag();
    if policy.get("version").is_none() {
        policy["version"] = json!(1);
    }
}

fn new_etag() -> Value {
    json!(STANDARD.encode(fastrand::u64(..).to_be_bytes()))
}

/// The new policy, unless its etag is not the current one's.
pub(crate) fn replace(current: &Value, given: &Value) -> Result<Value, Status> {
    if let Some(etag) = given["etag"].as_str()
        && current["etag"] != etag
    {
        return Err(Status::new(
            Code::Aborted,
            "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.",
        ));
    }
    let bindings = given["bindings"].as_array().cloned().unwrap_or_default();
    for binding in &bindings {
        let role = binding["role"].as_str().unwrap_or_default();
        if !role.starts_with("roles/") && !role.contains("/roles/") {
            return Err(Status::invalid(format!("Role {role} is not supported for this resource.")));
        }
        for member in binding["members"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let known = matches!(member, "allUsers" | "allAuthenticatedUsers")
                || MEMBERS.iter().any(|kind| member.starts_with(kind));
            if !known {
                return Err(Status::invalid(format!("Invalid member '{member}'.")));
            }
        }
    }
    // https://cloud.google.com/iam/help/conditions/policies
    let conditional = bindings.iter().any(|binding| binding.get("condition").is_some());
    if conditional && given["version"] != 3 {
        return Err(Status::invalid("A policy with conditional role bindings must specify version 3."));
    }
    let version = if conditional { 3 } else { 1 };
    let mut policy = json!({ "version": version, "etag": new_etag() });
    if !bindings.is_empty() {
        policy["bindings"] = json!(bindings);
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_replaced_when_nobody_else_did() {
        let current = json!({ "etag": "ACAB" });
        let public = json!([{ "role": "roles/run.invoker", "members": ["allUsers"] }]);
        let policy = replace(&current, &json!({ "etag": "ACAB", "bindings": public })).expect("current");
        assert_eq!(policy["bindings"], public);
        assert_eq!(policy["version"], 1);
        let conditional =
            json!([{ "role": "roles/x", "members": ["allUsers"], "condition": { "expression": "true" } }]);
        assert!(replace(&policy, &json!({ "bindings": conditional, "version": 1 })).is_err());
        let version = |policy: Value| policy["version"].clone();
        assert_eq!(replace(&policy, &json!({ "bindings": conditional, "version": 3 })).map(version), Ok(json!(3)));
        let stale = replace(&policy, &json!({ "etag": "ACAB" })).expect_err("stale");
        assert_eq!(stale.code, Code::Aborted);
        for wrong in [json!([{ "role": "x", "members": [] }]), json!([{ "role": "roles/x", "members": ["me"] }])] {
            assert!(replace(&policy, &json!({ "bindings": wrong })).is_err(), "{wrong}");
        }
    }
}
