//! A project's own roles: <https://cloud.google.com/iam/docs/creating-custom-roles>
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use crate::gcp::{project, status::Status};

/// By `projects/NUMBER/roles/ID`, each as an answer shows it.
#[derive(Debug, Default)]
pub(super) struct CustomRoles(Mutex<BTreeMap<String, Value>>);

impl CustomRoles {
    /// A role that was deleted or is disabled gives nothing.
    pub(super) fn holds(&self, role: &str, permission: &str) -> bool {
        let Some(key) = key(role) else { return false };
        self.lock().get(&key).is_some_and(|role| {
            role.get("deleted").is_none()
                && role["stage"] != "DISABLED"
                && role["includedPermissions"].as_array().is_some_and(|held| held.iter().any(|one| one == permission))
        })
    }

    pub(super) fn exists(&self, role: &str) -> bool {
        key(role).is_some_and(|key| self.lock().get(&key).is_some_and(|role| role.get("deleted").is_none()))
    }

    /// Of a role that is there, deleted ones among them.
    pub(super) fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut Value) -> Result<Value, Status>,
    ) -> Result<Value, Status> {
        let mut roles = self.lock();
        let role = key(name).and_then(|key| roles.get_mut(&key));
        change(role.ok_or_else(|| super::role_calls::not_found(name))?)
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `projects/P/roles/ID` by the project's number.
pub(super) fn key(role: &str) -> Option<String> {
    let (project, id) = role.strip_prefix("projects/")?.split_once("/roles/")?;
    Some(format!("projects/{}/roles/{id}", project::number(project)))
}
