//! What a secret's access policy gives: <https://cloud.google.com/secret-manager/docs/access-control>
use serde_json::Value;

pub(super) const ACCESS: &str = "secretmanager.versions.access";

const VERSION_MANAGER: [&str; 6] = [
    "secretmanager.versions.add",
    "secretmanager.versions.destroy",
    "secretmanager.versions.disable",
    "secretmanager.versions.enable",
    "secretmanager.versions.get",
    "secretmanager.versions.list",
];
const VIEWER: [&str; 5] = [
    "secretmanager.secrets.get",
    "secretmanager.secrets.getIamPolicy",
    "secretmanager.secrets.list",
    "secretmanager.versions.get",
    "secretmanager.versions.list",
];

/// Other roles give nothing here; `roles/editor` does not give a value on Google either.
fn holds(role: &str, permission: &str) -> bool {
    match role {
        "roles/owner" | "roles/secretmanager.admin" => permission.starts_with("secretmanager."),
        "roles/secretmanager.secretAccessor" => permission == ACCESS,
        "roles/secretmanager.secretVersionAdder" => permission == "secretmanager.versions.add",
        "roles/secretmanager.secretVersionManager" => VERSION_MANAGER.contains(&permission),
        "roles/secretmanager.viewer" => VIEWER.contains(&permission),
        _ => false,
    }
}

/// Whether the policy gives a permission to somebody. Conditions are not evaluated, so a conditional binding gives nothing.
pub(super) fn gives(policy: &Value, permission: &str, is_member: impl Fn(&str) -> bool) -> bool {
    policy["bindings"].as_array().into_iter().flatten().any(|binding| {
        binding.get("condition").is_none()
            && binding["role"].as_str().is_some_and(|role| holds(role, permission))
            && binding["members"].as_array().into_iter().flatten().filter_map(Value::as_str).any(&is_member)
    })
}

/// Whether a service account may read a value, by the policy of the secret alone.
pub(super) fn account_may_access(policy: &Value, account: &str) -> bool {
    gives(policy, ACCESS, |member| {
        matches!(member, "allUsers" | "allAuthenticatedUsers")
            || member.strip_prefix("serviceAccount:").is_some_and(|email| email == account)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_may_read_a_value() {
        let may = |role: &str, member: &str, condition: Option<Value>| {
            let mut binding = json!({ "role": role, "members": ["user:a@b", member] });
            if let Some(condition) = condition {
                binding["condition"] = condition;
            }
            account_may_access(&json!({ "bindings": [binding] }), "run@p.iam")
        };
        let accessor = "roles/secretmanager.secretAccessor";
        assert!(may(accessor, "serviceAccount:run@p.iam", None));
        assert!(may("roles/secretmanager.admin", "serviceAccount:run@p.iam", None));
        assert!(may("roles/owner", "allAuthenticatedUsers", None));
        assert!(!may(accessor, "user:run@p.iam", None));
        assert!(!may(accessor, "serviceAccount:other@p.iam", None));
        assert!(!may(accessor, "serviceAccount:run@p.iam", Some(json!({ "expression": "true" }))));
        for role in
            ["roles/editor", "roles/viewer", "roles/secretmanager.viewer", "roles/secretmanager.secretVersionManager"]
        {
            assert!(!may(role, "serviceAccount:run@p.iam", None), "{role}");
        }
        assert!(!account_may_access(&json!({ "etag": "ACAB" }), "run@p.iam"));
    }
}
