//! What policies give: the projects' own, and one that a caller brings.
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::{custom::CustomRoles, roles::Role};
use crate::{
    gcp::{policy, project, status::Status},
    iam::{Member, Principal},
};

/// It locks nothing of others, so it may be asked with any lock held.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    /// By the project's number.
    projects: Mutex<BTreeMap<String, Value>>,
    pub(super) roles: CustomRoles,
}

impl Grants {
    /// By what the principal was made with, by the policy of the resource's project, or by the resource's own.
    /// `project` is an id or a number.
    pub(crate) fn may(&self, principal: &Principal, permission: &str, project: &str, own: Option<&Value>) -> bool {
        let is_member = |member: &str| member == "allUsers" || principal.is_member(member);
        principal.may(permission)
            || own.is_some_and(|own| self.gives(own, permission, is_member))
            || self.gives(&self.project(project), permission, is_member)
    }

    /// The same, of a service account that is not the caller.
    pub(crate) fn account_may(&self, email: &str, permission: &str, project: &str, own: Option<&Value>) -> bool {
        let account = Principal::of(Member::ServiceAccount(email.to_owned()));
        self.may(&account, permission, project, own)
    }

    /// Conditions are not evaluated, so a conditional binding gives nothing.
    pub(crate) fn gives(&self, policy: &Value, permission: &str, is_member: impl Fn(&str) -> bool) -> bool {
        policy["bindings"].as_array().into_iter().flatten().any(|binding| {
            binding.get("condition").is_none()
                && binding["members"].as_array().into_iter().flatten().filter_map(Value::as_str).any(&is_member)
                && binding["role"].as_str().is_some_and(|role| self.holds(role, permission))
        })
    }

    /// A role that nobody here knows gives nothing.
    fn holds(&self, role: &str, permission: &str) -> bool {
        match Role::of(role) {
            Some(role) => role.holds(permission),
            None => self.roles.holds(role, permission),
        }
    }

    /// Whether there is such a role.
    pub(crate) fn knows(&self, role: &str) -> bool {
        Role::of(role).is_some() || self.roles.exists(role)
    }

    /// A project's policy.
    pub(crate) fn project(&self, project: &str) -> Value {
        self.projects().get(&project::number(project)).cloned().unwrap_or_else(policy::empty)
    }

    pub(super) fn set_project(&self, project: &str, given: &Value) -> Result<Value, Status> {
        let mut projects = self.projects();
        let current = projects.entry(project::number(project)).or_insert_with(policy::empty);
        *current = policy::replace(current, given)?;
        Ok(current.clone())
    }

    /// One more binding in a project's policy.
    pub(crate) fn bind(&self, project: &str, role: &str, member: &Member) {
        let mut projects = self.projects();
        let current = projects.entry(project::number(project)).or_insert_with(policy::empty);
        policy::bind(current, role, &member.to_string());
    }

    pub(crate) fn clear(&self) {
        self.projects().clear();
        self.roles.clear();
    }

    fn projects(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ACCOUNT: &str = "run@p.iam.gserviceaccount.com";
    const ACCESS: &str = "secretmanager.versions.access";

    #[test]
    fn a_binding_without_a_condition_gives_what_its_role_holds() {
        let grants = Grants::default();
        let may = |role: &str, member: &str, condition: Option<Value>| {
            let mut binding = json!({ "role": role, "members": ["user:a@b", member] });
            if let Some(condition) = condition {
                binding["condition"] = condition;
            }
            grants.account_may(ACCOUNT, ACCESS, "p", Some(&json!({ "bindings": [binding] })))
        };
        let (accessor, member) = ("roles/secretmanager.secretAccessor", format!("serviceAccount:{ACCOUNT}"));
        assert!(may(accessor, &member, None));
        assert!(may("roles/secretmanager.admin", &member, None));
        assert!(may("roles/owner", "allAuthenticatedUsers", None));
        assert!(may(accessor, "allUsers", None));
        assert!(!may(accessor, &format!("user:{ACCOUNT}"), None));
        assert!(!may(accessor, "serviceAccount:other@p.iam.gserviceaccount.com", None));
        assert!(!may(accessor, &member, Some(json!({ "expression": "true" }))));
        for role in ["roles/editor", "roles/viewer", "roles/secretmanager.viewer", "roles/unknown"] {
            assert!(!may(role, &member, None), "{role}");
        }
        assert!(!grants.account_may(ACCOUNT, ACCESS, "p", Some(&json!({ "etag": "ACAB" }))));
    }

    #[test]
    fn a_projects_policy_is_for_all_that_is_in_it() {
        let grants = Grants::default();
        let principal = Principal::of(Member::ServiceAccount(ACCOUNT.to_owned()));
        grants.bind("p", "roles/secretmanager.secretAccessor", principal.member());
        assert!(grants.may(&principal, ACCESS, "p", None));
        assert!(grants.may(&principal, ACCESS, &project::number("p"), None), "by its number too");
        assert!(!grants.may(&principal, ACCESS, "other", None));
        assert!(!grants.may(&principal, "secretmanager.secrets.get", "p", None));
        grants.clear();
        assert!(!grants.may(&principal, ACCESS, "p", None));
    }
}
