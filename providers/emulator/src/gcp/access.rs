//! Who may pull and push: Artifact Registry's rules, asked by the registry.
use std::sync::Arc;

use super::{
    artifact_registry::Repositories,
    iam::{Grants, ServiceAccounts},
    project::Projects,
};
use crate::{
    iam::{Iam, Principal},
    registry_access::{Access, Action, Denied},
};

/// Hosts of Container Registry, whose images are in repositories of Artifact Registry.
/// <https://cloud.google.com/artifact-registry/docs/transition/transition-from-gcr>
const CONTAINER_REGISTRY: [(&str, &str); 4] =
    [("gcr.io", "us"), ("us.gcr.io", "us"), ("eu.gcr.io", "europe"), ("asia.gcr.io", "asia")];
const HOST_SUFFIX: &str = "-docker.pkg.dev";

/// Where the repository of one of these hosts is; its name is the host's.
pub(crate) fn container_registry(host: &str) -> Option<&'static str> {
    CONTAINER_REGISTRY.iter().find(|(known, _)| *known == host).map(|(_, location)| *location)
}

/// A repository as `docker push` names it. A project of a domain has a `/` there.
/// <https://cloud.google.com/artifact-registry/docs/docker/names>
pub(crate) fn registry_uri(location: &str, project: &str, repository: &str) -> String {
    format!("{location}{HOST_SUFFIX}/{}/{repository}", project.replace(':', "/"))
}

#[derive(Debug)]
pub(crate) struct RegistryAccess {
    pub(crate) iam: Arc<Iam>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) accounts: Arc<ServiceAccounts>,
    pub(crate) projects: Arc<Projects>,
    pub(crate) repositories: Arc<Repositories>,
}

/// Whether requests to this host are the registry's.
pub(crate) fn is_registry(host: &str) -> bool {
    host.strip_suffix(HOST_SUFFIX).is_some_and(|region| !region.is_empty() && !region.contains('.'))
        || container_registry(host).is_some()
}

impl Access for RegistryAccess {
    fn check(&self, host: Option<&str>, authorization: Option<&str>, name: &str, action: Action) -> Result<(), Denied> {
        // Whoever reaches the registry's own loopback port may use it.
        if host.is_none() {
            return Ok(());
        }
        let principal = self.iam.authenticate(authorization).map_err(|_| Denied::Unauthenticated)?;
        if self.accounts.bars(principal.member()) {
            return Err(Denied::Unauthenticated);
        }
        match repository(&self.projects, name) {
            None if name.is_empty() => Ok(()),
            Some(repository) if self.may(&principal, action, &repository) => Ok(()),
            repository => Err(Denied::Forbidden { message: refusal(action, &repository.unwrap_or_default()) }),
        }
    }
}

impl RegistryAccess {
    /// Nobody may anything with a repository that is not there.
    fn may(&self, principal: &Principal, action: Action, repository: &str) -> bool {
        let project = repository.split('/').nth(1).unwrap_or_default();
        self.repositories
            .policy(repository)
            .is_some_and(|policy| self.grants.may(principal, permission(action), project, Some(&policy)))
    }
}

/// `HOST/PROJECT/REPO/IMAGE`, or `gcr.io/PROJECT/IMAGE` -> `projects/PROJECT/locations/L/repositories/REPO`.
pub(crate) fn repository(projects: &Projects, name: &str) -> Option<String> {
    let (host, _) = name.split_once('/')?;
    let named = project(name)?;
    let project = projects.resolve(&named);
    if let Some(location) = container_registry(host) {
        return Some(format!("projects/{project}/locations/{location}/repositories/{host}"));
    }
    let location = host.strip_suffix(HOST_SUFFIX)?;
    let repository = name.get(host.len() + named.len() + 2..)?.split('/').next()?;
    Some(format!("projects/{project}/locations/{location}/repositories/{repository}"))
}

/// `HOST/PROJECT/…`, or `HOST/DOMAIN/PROJECT/…` -> `PROJECT`, `DOMAIN:PROJECT`.
pub(crate) fn project(name: &str) -> Option<String> {
    let mut parts = name.split('/').skip(1);
    let first = parts.next()?;
    Some(if first.contains('.') { format!("{first}:{}", parts.next()?) } else { first.to_owned() })
}

fn permission(action: Action) -> &'static str {
    match action {
        Action::Pull => "artifactregistry.repositories.downloadArtifacts",
        Action::Push => "artifactregistry.repositories.uploadArtifacts",
        Action::Delete => "artifactregistry.repositories.deleteArtifacts",
    }
}

/// A missing repository looks as one that is denied.
fn refusal(action: Action, repository: &str) -> String {
    format!("Permission \"{}\" denied on resource \"{repository}\" (or it may not exist)", permission(action))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::iam::Member;

    fn access() -> RegistryAccess {
        RegistryAccess {
            iam: Arc::new(Iam::new("secret".to_owned())),
            grants: Arc::default(),
            accounts: Arc::default(),
            projects: Arc::default(),
            repositories: Arc::default(),
        }
    }

    #[test]
    fn by_a_clouds_name_a_token_and_a_repository_are_needed() {
        let (access, host) = (access(), Some("us-central1-docker.pkg.dev"));
        let name = "us-central1-docker.pkg.dev/p/r/hello";
        assert_eq!(access.check(None, None, name, Action::Push), Ok(()));
        assert_eq!(access.check(host, None, name, Action::Push), Err(Denied::Unauthenticated));
        assert_eq!(access.check(host, Some("Bearer wrong"), name, Action::Push), Err(Denied::Unauthenticated));
        assert_eq!(access.check(host, Some("Bearer secret"), "", Action::Pull), Ok(()));
        let message = "Permission \"artifactregistry.repositories.uploadArtifacts\" denied on resource \"projects/p/locations/us-central1/repositories/r\" (or it may not exist)";
        let refused = Err(Denied::Forbidden { message: message.to_owned() });
        assert_eq!(access.check(host, Some("Bearer secret"), name, Action::Push), refused);
    }

    #[test]
    fn the_token_of_a_disabled_account_is_nobodys() {
        let (access, host) = (access(), Some("us-central1-docker.pkg.dev"));
        let email = "ci-bot@p.iam.gserviceaccount.com";
        let token = access.iam.issue(Member::ServiceAccount(email.to_owned()), Duration::from_secs(60));
        let token = format!("Bearer {token}");
        let check = || access.check(host, Some(&token), "", Action::Pull);
        assert_eq!(check(), Ok(()));
        assert!(access.accounts.insert(email, json!({ "disabled": true })));
        assert_eq!(check(), Err(Denied::Unauthenticated));
    }

    #[test]
    fn hosts() {
        for (host, yes) in [
            ("us-central1-docker.pkg.dev", true),
            ("gcr.io", true),
            ("eu.gcr.io", true),
            ("x.gcr.io", false),
            ("-docker.pkg.dev", false),
            ("a.b-docker.pkg.dev", false),
            ("run.googleapis.com", false),
        ] {
            assert_eq!(is_registry(host), yes, "{host}");
        }
        for (name, expected) in [
            ("gcr.io/p/hello", "projects/p/locations/us/repositories/gcr.io"),
            ("us.gcr.io/p/hello", "projects/p/locations/us/repositories/us.gcr.io"),
            ("eu.gcr.io/p/team/hello", "projects/p/locations/europe/repositories/eu.gcr.io"),
            ("asia.gcr.io/p/hello", "projects/p/locations/asia/repositories/asia.gcr.io"),
            ("gcr.io/example.com/p/hello", "projects/example.com:p/locations/us/repositories/gcr.io"),
            ("us-docker.pkg.dev/p/r/team/hello", "projects/p/locations/us/repositories/r"),
        ] {
            assert_eq!(repository(&Projects::default(), name).as_deref(), Some(expected));
        }
    }
}
