//! Whether a caller may, on any resource: by its own policy and by that of its project.
use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    accounts::{ServiceAccounts, project_of},
    grants::Grants,
    refusal::refuse,
    table::{self, Asks},
};
use crate::{
    gcp::{
        artifact_registry::Repositories,
        call::Call,
        run::{self, jobs::names::JobKey, names::Key},
        secret_manager::{SecretName, Secrets},
        status::Status,
    },
    iam::Principal,
};

/// All that has a policy.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) grants: Arc<Grants>,
    pub(crate) accounts: Arc<ServiceAccounts>,
    pub(crate) run: Arc<run::Store>,
    pub(crate) jobs: Arc<run::Jobs>,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) secrets: Arc<Secrets>,
}

/// What a resource's policy says.
enum Own {
    /// Its parent's: it has none itself.
    None,
    Policy(Value),
    /// It would have one, and is not there.
    Missing,
}

impl Authority {
    /// Refuses a call that its method's row does not allow.
    pub(crate) fn check(&self, call: &Call<'_>, id: &str) -> Result<(), Status> {
        match table::asks(call.version, id) {
            Some((Asks::For(permission), pattern)) => {
                // A resource's own policy says nothing of making it.
                let resource = self.resource(call, pattern);
                // A key's resource is its account, which is there: https://cloud.google.com/iam/docs/keys-create-delete
                let is_made = id.ends_with(".create") && id != "iam.projects.serviceAccounts.keys.create";
                let allowed = if is_made {
                    self.may_in_parent(&call.principal, permission, &resource)
                } else {
                    self.may(&call.principal, permission, &resource)
                };
                if allowed { Ok(()) } else { Err(refuse(call.api, permission, &resource)) }
            }
            // One that no row has is one that nothing answers.
            Some((Asks::Which | Asks::Nothing, _)) | None => Ok(()),
        }
    }

    /// The answer to `testIamPermissions`, if the method is one. On what is not there nothing is held, and that is no
    /// error: <https://github.com/googleapis/googleapis/blob/master/google/iam/v1/iam_policy.proto>
    pub(crate) fn which(&self, call: &Call<'_>, id: &str) -> Option<Result<Value, Status>> {
        let (Asks::Which, pattern) = table::asks(call.version, id)? else { return None };
        let resource = self.resource(call, pattern);
        let asked: Vec<_> = call.body["permissions"].as_array().into_iter().flatten().cloned().collect();
        if let Some(wild) = asked.iter().filter_map(Value::as_str).find(|name| name.contains('*')) {
            return Some(Err(Status::invalid(format!("Permission {wild} is not valid: wildcards are not allowed."))));
        }
        let there = !matches!(self.own(&resource), Own::Missing);
        let may = |name: &Value| name.as_str().is_some_and(|name| self.may(&call.principal, name, &resource));
        let held: Vec<_> = asked.into_iter().filter(|name| there && may(name)).collect();
        Some(Ok(if held.is_empty() { json!({}) } else { json!({ "permissions": held }) }))
    }

    /// `resource` = `projects/P/…`, as the APIs name it.
    pub(crate) fn may(&self, principal: &Principal, permission: &str, resource: &str) -> bool {
        if principal.may(permission) {
            return true;
        }
        let own = match self.own(resource) {
            Own::Policy(policy) => Some(policy),
            Own::None | Own::Missing => None,
        };
        self.grants.may(principal, permission, &project(resource), own.as_ref())
    }

    pub(crate) fn may_in_parent(&self, principal: &Principal, permission: &str, resource: &str) -> bool {
        self.grants.may(principal, permission, &project(resource), None)
    }

    /// Whether the caller may act as the account that something is to run as:
    /// <https://cloud.google.com/run/docs/reference/iam/roles#additional-configuration>
    pub(crate) fn may_act_as(&self, principal: &Principal, account: &str) -> bool {
        !self.accounts.is_gone(account) && self.accounts.may(principal, "iam.serviceAccounts.actAs", account)
    }

    fn own(&self, resource: &str) -> Own {
        let parts: Vec<_> = resource.split('/').collect();
        let policy = match parts.as_slice() {
            // A version is in its secret, a revision in its service, and so on.
            ["projects", project, "locations", location, "services", service, ..] => {
                let key = Key {
                    project: (*project).to_owned(),
                    location: (*location).to_owned(),
                    service: (*service).to_owned(),
                };
                self.run.policy(&key)
            }
            ["projects", project, "locations", location, "jobs", job, ..] => {
                let key =
                    JobKey { project: (*project).to_owned(), location: (*location).to_owned(), job: (*job).to_owned() };
                self.jobs.policy(&key)
            }
            ["projects", project, "locations", location, "repositories", repository, ..] => {
                self.repositories.policy(&format!("projects/{project}/locations/{location}/repositories/{repository}"))
            }
            ["projects", project, "secrets", secret, ..] => {
                self.secrets.policy(&SecretName { project: (*project).to_owned(), secret: (*secret).to_owned() })
            }
            // Any account that is named is one.
            ["projects", _, "serviceAccounts", account, ..] => {
                Some(self.accounts.policy(&self.accounts.email(account)))
            }
            _ => return Own::None,
        };
        policy.map_or(Own::Missing, Own::Policy)
    }

    /// The resource that a call is about.
    fn resource(&self, call: &Call<'_>, pattern: &str) -> String {
        let mut resource = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, next)) = after.split_once('}') else { break };
            resource.push_str(before);
            resource.push_str(&self.part(call, name));
            rest = next;
        }
        resource.push_str(rest);
        resource
    }

    fn part(&self, call: &Call<'_>, name: &str) -> String {
        let field = |pointer: &str| call.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        match name {
            "p" if call.parameter(0) == "-" => project_of(&self.accounts.email(&call.parameter(1))).unwrap_or_default(),
            "p" => call.project.clone(),
            "job" => {
                let name = call.parameter(2);
                // `nightly-x7k2p-task0`
                let execution = name.rsplit_once("-task").map_or(name.as_str(), |(execution, _)| execution);
                let found = self.jobs.job_of(&call.project, &call.parameter(1), execution);
                found.map(|key| key.job).unwrap_or_default()
            }
            _ => match name.strip_prefix('?') {
                Some(name) => call.query.get(name).cloned().unwrap_or_default(),
                None if name.starts_with('/') => field(name),
                None => call.parameter(name.parse().unwrap_or(usize::MAX)),
            },
        }
    }
}

/// The project of a resource. An account is of the one that its name tells, whatever a call says.
fn project(resource: &str) -> String {
    let mut parts = resource.split('/').skip(1);
    let project = parts.next().unwrap_or_default();
    match (parts.next(), parts.next()) {
        (Some("serviceAccounts"), Some(account)) => project_of(account).unwrap_or_else(|| project.to_owned()),
        _ => project.to_owned(),
    }
}
