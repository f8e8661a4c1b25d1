//! Where in Google's own names a scope is.
use carrack_core::{
    permission::{Scope, ScopeKind},
    spec::ImageRef,
};

use super::Table;
use crate::artifact_registry::place;

/// What nobody has named yet, in the words of Google's own pages.
pub(super) const DEFAULT_ACCOUNT: &str = "PROJECT_NUMBER-compute@developer.gserviceaccount.com";
pub(super) const SOME_ACCOUNT: &str = "SERVICE_ACCOUNT";
pub(super) const SOME_SECRET: &str = "SECRET";
pub(super) const SOME_REPOSITORY: &str = "LOCATION-docker.pkg.dev/PROJECT/REPOSITORY";

/// The repository of an image in Artifact Registry, as the file names it: `HOST/PROJECT/REPOSITORY`, `gcr.io/PROJECT`.
pub(super) fn repository(image: &ImageRef) -> Option<Scope> {
    let found = place(image)?;
    let project = found.project.replace(':', "/");
    let host = image.0.split('/').next()?;
    let name = if host == found.repository {
        format!("{host}/{project}")
    } else {
        format!("{host}/{project}/{}", found.repository)
    };
    Some(Scope::new(ScopeKind::Repository, name))
}

/// A repository in the words of the API.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repository {
    pub(super) project: String,
    pub(super) location: String,
    pub(super) name: String,
}

impl Repository {
    pub(super) fn of(scope: &Scope) -> Self {
        // It is an image's name but for the image.
        match place(&ImageRef(format!("{}/image", scope.name))) {
            Some(found) => Self {
                project: found.project.clone(),
                location: found.location.to_owned(),
                name: found.repository.to_owned(),
            },
            None => Self { project: "PROJECT".into(), location: "LOCATION".into(), name: "REPOSITORY".into() },
        }
    }
    pub(super) fn resource(&self) -> String {
        format!("projects/{}/locations/{}/repositories/{}", self.project, self.location, self.name)
    }
}

/// Project and short name of a secret: `db-url`, `projects/other/secrets/db-url`.
pub(super) fn secret<'a>(table: &'a Table, name: &'a str) -> (&'a str, &'a str) {
    name.strip_prefix("projects/").and_then(|rest| rest.split_once("/secrets/")).unwrap_or((&table.project, name))
}

/// The project that a service account is in, which is not always the service's own.
pub(super) fn account_project<'a>(table: &'a Table, email: &'a str) -> &'a str {
    let domain = email.split_once('@').and_then(|(_, domain)| domain.strip_suffix(".iam.gserviceaccount.com"));
    domain.unwrap_or(&table.project)
}

/// Whether somebody has to put a name in its place first.
pub(super) fn is_open(scope: &Scope) -> bool {
    [DEFAULT_ACCOUNT, SOME_ACCOUNT, SOME_SECRET, SOME_REPOSITORY].contains(&scope.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_as_in_the_file_and_found_again() {
        for (image, name, resource) in [
            (
                "us-central1-docker.pkg.dev/p/apps/hello@sha256:00",
                "us-central1-docker.pkg.dev/p/apps",
                "projects/p/locations/us-central1/repositories/apps",
            ),
            ("eu.gcr.io/p/hello:v1", "eu.gcr.io/p", "projects/p/locations/europe/repositories/eu.gcr.io"),
            (
                "us-docker.pkg.dev/example.com/p/apps/team/hello",
                "us-docker.pkg.dev/example.com/p/apps",
                "projects/example.com:p/locations/us/repositories/apps",
            ),
        ] {
            let scope = repository(&ImageRef(image.into())).expect("Google's");
            assert_eq!((scope.name.as_str(), Repository::of(&scope).resource().as_str()), (name, resource));
        }
        assert_eq!(repository(&ImageRef("docker.io/library/alpine".into())), None);
    }

    #[test]
    fn secrets_and_accounts_may_be_elsewhere() {
        let table = Table::new("p");
        assert_eq!(secret(&table, "db-url"), ("p", "db-url"));
        assert_eq!(secret(&table, "projects/other/secrets/db-url"), ("other", "db-url"));
        assert_eq!(account_project(&table, "run@other.iam.gserviceaccount.com"), "other");
        assert_eq!(account_project(&table, "1-compute@developer.gserviceaccount.com"), "p");
    }
}
