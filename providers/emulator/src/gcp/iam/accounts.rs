//! Service accounts: those that were made, and the policies on any.
//!
//! An account needs not be made to run a service or to be in a policy: whatever is named is taken.
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::grants::Grants;
use crate::{
    gcp::{
        policy,
        status::{Code, Status},
    },
    iam::{Member, Principal},
};

#[derive(Debug, Default)]
pub(crate) struct ServiceAccounts {
    grants: Arc<Grants>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By e-mail, as an answer shows it.
    made: BTreeMap<String, Value>,
    /// By e-mail; only those that were set.
    policies: BTreeMap<String, Value>,
    /// By e-mail; those that were made and deleted.
    gone: BTreeSet<String>,
}

impl ServiceAccounts {
    pub(crate) fn new(grants: Arc<Grants>) -> Self {
        Self { grants, kept: Mutex::default() }
    }

    /// The address of an account that is named by it, or by its number.
    pub(crate) fn email(&self, named: &str) -> String {
        let of_number = || {
            let kept = self.kept();
            kept.made.iter().find(|(_, account)| account["uniqueId"] == named).map(|(email, _)| email.clone())
        };
        let is_number = !named.is_empty() && named.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(of_number).flatten().unwrap_or_else(|| named.to_owned())
    }

    /// What a token calls it, if it was made.
    pub(crate) fn unique_id(&self, email: &str) -> Option<String> {
        Some(self.kept().made.get(email)?["uniqueId"].as_str()?.to_owned())
    }

    /// Whether somebody disabled it.
    pub(crate) fn is_disabled(&self, email: &str) -> bool {
        self.kept().made.get(email).is_some_and(|account| account["disabled"] == true)
    }

    /// Whether somebody deleted it: an account that never was may be named all the same.
    pub(super) fn is_gone(&self, email: &str) -> bool {
        self.kept().gone.contains(email)
    }

    /// Its tokens are not taken, until it is enabled again:
    /// <https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/disable>
    pub(crate) fn bars(&self, member: &Member) -> bool {
        matches!(member, Member::ServiceAccount(email) if self.is_disabled(email))
    }

    pub(super) fn all(&self) -> Vec<Value> {
        self.kept().made.values().cloned().collect()
    }

    /// Whether there was none of that name.
    pub(crate) fn insert(&self, email: &str, account: Value) -> bool {
        let mut kept = self.kept();
        kept.gone.remove(email);
        match kept.made.entry(email.to_owned()) {
            Entry::Vacant(place) => {
                place.insert(account);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// Of an account that was made.
    pub(super) fn change(&self, email: &str, change: impl FnOnce(&mut Value) -> Value) -> Result<Value, Status> {
        self.kept().made.get_mut(email).map(change).ok_or_else(unknown)
    }

    /// With its policy.
    pub(super) fn remove(&self, email: &str) -> Result<(), Status> {
        let mut kept = self.kept();
        kept.made.remove(email).ok_or_else(unknown)?;
        kept.policies.remove(email);
        kept.gone.insert(email.to_owned());
        Ok(())
    }

    pub(crate) fn policy(&self, email: &str) -> Value {
        self.kept().policies.get(email).cloned().unwrap_or_else(policy::empty)
    }

    pub(super) fn set_policy(&self, email: &str, given: &Value) -> Result<Value, Status> {
        let mut kept = self.kept();
        let current = kept.policies.entry(email.to_owned()).or_insert_with(policy::empty);
        *current = policy::replace(current, given)?;
        Ok(current.clone())
    }

    /// By what the principal was made with, by the account's policy, or by that of its project.
    pub(crate) fn may(&self, principal: &Principal, permission: &str, email: &str) -> bool {
        let policy = self.policy(email);
        self.grants.may(principal, permission, &project_of(email).unwrap_or_default(), Some(&policy))
    }

    pub(crate) fn clear(&self) {
        *self.kept() = Kept::default();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown() -> Status {
    Status::new(Code::NotFound, "Unknown service account")
}

/// <https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/create>
pub(super) fn is_id(id: &str) -> bool {
    id.starts_with(|first: char| first.is_ascii_lowercase())
        && !id.ends_with('-')
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The id or the number of the project that an account is of, which its name tells:
/// <https://cloud.google.com/iam/docs/service-account-types>
pub(crate) fn project_of(email: &str) -> Option<String> {
    let (name, host) = email.split_once('@')?;
    if host == "developer.gserviceaccount.com" {
        return name.strip_suffix("-compute").map(ToOwned::to_owned);
    }
    if host == "appspot.gserviceaccount.com" {
        return Some(name.to_owned());
    }
    let project = host.strip_suffix(".iam.gserviceaccount.com")?;
    // A project of a domain: `PROJECT.DOMAIN`.
    Some(match project.split_once('.') {
        Some((project, domain)) => format!("{domain}:{project}"),
        None => project.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_accounts_project_is_in_its_name() {
        for (email, project) in [
            ("ci@p.iam.gserviceaccount.com", Some("p")),
            ("ci@p.example.com.iam.gserviceaccount.com", Some("example.com:p")),
            ("123-compute@developer.gserviceaccount.com", Some("123")),
            ("p@appspot.gserviceaccount.com", Some("p")),
            ("me@example.com", None),
        ] {
            assert_eq!(project_of(email).as_deref(), project, "{email}");
        }
    }

    #[test]
    fn to_act_as_an_account_is_given_on_it_or_on_its_project() {
        let grants = Arc::new(Grants::default());
        let accounts = ServiceAccounts::new(grants.clone());
        let (runtime, other) = ("run@p.iam.gserviceaccount.com", "other@p.iam.gserviceaccount.com");
        let ci = Principal::of(Member::ServiceAccount("ci@p.iam.gserviceaccount.com".to_owned()));
        let may = |email| accounts.may(&ci, "iam.serviceAccounts.actAs", email);
        assert!(!may(runtime));
        let bindings = json!([{ "role": "roles/iam.serviceAccountUser", "members": [ci.member().to_string()] }]);
        accounts.set_policy(runtime, &json!({ "bindings": bindings })).expect("a policy");
        assert!(may(runtime) && !may(other));
        grants.bind("p", "roles/iam.serviceAccountUser", ci.member());
        assert!(may(other) && !may("run@q.iam.gserviceaccount.com"));
    }
}
