//! Who may invoke a service: <https://cloud.google.com/run/docs/authenticating/public>.
use serde_json::{Value, json};

const INVOKER: &str = "roles/run.invoker";
const ANYONE: &str = "allUsers";

fn bindings(policy: &Value) -> impl Iterator<Item = &Value> {
    policy["bindings"].as_array().into_iter().flatten()
}

fn is_anyone(binding: &Value) -> bool {
    // A binding with a condition does not hold for every request.
    binding["role"] == INVOKER
        && binding.get("condition").is_none()
        && binding["members"].as_array().is_some_and(|members| members.iter().any(|member| member == ANYONE))
}

/// As a policy names whoever has this address: <https://cloud.google.com/iam/docs/principal-identifiers>.
pub(crate) fn member(email: &str) -> Option<String> {
    let (_, domain) = email.split_once('@')?;
    let kind = if domain.ends_with("gserviceaccount.com") { "serviceAccount" } else { "user" };
    Some(format!("{kind}:{email}"))
}

/// Whether anyone may invoke.
pub(crate) fn is_public(policy: &Value) -> bool {
    bindings(policy).any(is_anyone)
}

/// The policy with or without "anyone may invoke"; every other binding stays.
pub(crate) fn with_public(policy: &Value, public: bool) -> Value {
    let mut policy = if policy.is_object() { policy.clone() } else { json!({}) };
    if is_public(&policy) == public {
        return policy;
    }
    let mut kept: Vec<Value> = bindings(&policy).cloned().collect();
    if public {
        kept.push(json!({ "role": INVOKER, "members": [ANYONE] }));
    } else {
        for binding in kept.iter_mut().filter(|binding| is_anyone(binding)) {
            if let Some(members) = binding["members"].as_array_mut() {
                members.retain(|member| member != ANYONE);
            }
        }
        kept.retain(|binding| binding["members"].as_array().is_none_or(|members| !members.is_empty()));
    }
    policy["bindings"] = Value::Array(kept);
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_access_is_one_binding_and_the_others_stay() {
        let policy = json!({ "etag": "a", "bindings": [{ "role": INVOKER, "members": ["user:me@example.com"] }] });
        assert!(!is_public(&policy));
        let open = with_public(&policy, true);
        assert!(is_public(&open));
        assert_eq!(open["bindings"][0], policy["bindings"][0]);
        assert_eq!(with_public(&open, false), policy);
        assert_eq!(with_public(&open, true), open);
    }
}
