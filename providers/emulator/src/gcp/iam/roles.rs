//! What Google's own roles hold of the permissions that the local cloud asks for.
//!
//! From the contents that Google publishes: <https://cloud.google.com/iam/docs/roles-permissions>

/// A role that every project has.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// `run.*` is all that begin so.
    holds: &'static [&'static [&'static str]],
}

/// Nobody has these by owning a project: <https://cloud.google.com/iam/docs/service-account-permissions>
const OF_TOKENS: [&str; 5] = [
    "iam.serviceAccounts.getAccessToken",
    "iam.serviceAccounts.getOpenIdToken",
    "iam.serviceAccounts.implicitDelegation",
    "iam.serviceAccounts.signBlob",
    "iam.serviceAccounts.signJwt",
];

/// What owners do and editors do not, beside setting policies:
/// <https://cloud.google.com/iam/docs/roles-overview#basic>
const OF_OWNERS: [&str; 7] = [
    "iam.googleapis.com/",
    "iam.roles.create",
    "iam.roles.delete",
    "iam.roles.undelete",
    "iam.roles.update",
    "resourcemanager.projects.delete",
    "secretmanager.versions.access",
];

const PROJECTS: &[&str] = &["resourcemanager.projects.get", "resourcemanager.projects.list"];
const POLICIES: &[&str] = &["resourcemanager.projects.get", "resourcemanager.projects.getIamPolicy"];
const ACCOUNTS: &[&str] = &["iam.serviceAccounts.get", "iam.serviceAccounts.list"];
const REGISTRY_READ: &[&str] = &[
    "artifactregistry.dockerimages.*",
    "artifactregistry.files.get",
    "artifactregistry.files.list",
    "artifactregistry.packages.get",
    "artifactregistry.packages.list",
    "artifactregistry.repositories.downloadArtifacts",
    "artifactregistry.repositories.get",
    "artifactregistry.repositories.list",
    "artifactregistry.tags.get",
    "artifactregistry.tags.list",
    "artifactregistry.versions.get",
    "artifactregistry.versions.list",
];
const REGISTRY_WRITE: &[&str] =
    &["artifactregistry.repositories.uploadArtifacts", "artifactregistry.tags.create", "artifactregistry.tags.update"];
const REGISTRY_MANAGE: &[&str] = &[
    "artifactregistry.files.*",
    "artifactregistry.packages.*",
    "artifactregistry.repositories.deleteArtifacts",
    "artifactregistry.tags.*",
    "artifactregistry.versions.*",
];
const CREATE_ON_PUSH: &[&str] = &["artifactregistry.repositories.createOnPush"];
const RUN_READ: &[&str] = &[
    "run.configurations.get",
    "run.configurations.list",
    "run.executions.get",
    "run.executions.list",
    "run.jobs.get",
    "run.jobs.getIamPolicy",
    "run.jobs.list",
    "run.locations.list",
    "run.operations.get",
    "run.operations.list",
    "run.revisions.get",
    "run.revisions.list",
    "run.routes.get",
    "run.routes.list",
    "run.services.get",
    "run.services.getIamPolicy",
    "run.services.list",
    "run.tasks.get",
    "run.tasks.list",
];
const RUN_WRITE: &[&str] = &[
    "run.executions.cancel",
    "run.executions.delete",
    "run.jobs.create",
    "run.jobs.delete",
    "run.jobs.run",
    "run.jobs.runWithOverrides",
    "run.jobs.update",
    "run.operations.delete",
    "run.revisions.delete",
    "run.routes.invoke",
    "run.services.create",
    "run.services.delete",
    "run.services.update",
];
const SECRETS_READ: &[&str] = &[
    "secretmanager.secrets.get",
    "secretmanager.secrets.getIamPolicy",
    "secretmanager.secrets.list",
    "secretmanager.versions.get",
    "secretmanager.versions.list",
];

const fn role(name: &'static str, title: &'static str, holds: &'static [&'static [&'static str]]) -> Role {
    Role { name, title, holds }
}

/// By name.
pub(super) const PREDEFINED: &[Role] = &[
    role("roles/artifactregistry.admin", "Artifact Registry Administrator", &[&["artifactregistry.*"]]),
    role(
        "roles/artifactregistry.createOnPushRepoAdmin",
        "Artifact Registry Create-on-Push Repository Administrator",
        &[REGISTRY_READ, REGISTRY_WRITE, REGISTRY_MANAGE, CREATE_ON_PUSH],
    ),
    role(
        "roles/artifactregistry.createOnPushWriter",
        "Artifact Registry Create-on-Push Writer",
        &[REGISTRY_READ, REGISTRY_WRITE, CREATE_ON_PUSH],
    ),
    role("roles/artifactregistry.reader", "Artifact Registry Reader", &[REGISTRY_READ]),
    role(
        "roles/artifactregistry.repoAdmin",
        "Artifact Registry Repository Administrator",
        &[REGISTRY_READ, REGISTRY_WRITE, REGISTRY_MANAGE],
    ),
    role("roles/artifactregistry.writer", "Artifact Registry Writer", &[REGISTRY_READ, REGISTRY_WRITE]),
    role("roles/browser", "Browser", &[PROJECTS, POLICIES]),
    // What basic roles hold is in `holds`.
    role("roles/editor", "Editor", &[]),
    role("roles/iam.roleAdmin", "Role Administrator", &[&["iam.roles.*"], POLICIES]),
    role("roles/iam.roleViewer", "Role Viewer", &[&["iam.roles.get", "iam.roles.list"], POLICIES]),
    role("roles/iam.securityAdmin", "Security Admin", &[&["iam.roles.*"]]),
    role("roles/iam.securityReviewer", "Security Reviewer", &[]),
    role(
        "roles/iam.serviceAccountAdmin",
        "Service Account Admin",
        &[
            ACCOUNTS,
            PROJECTS,
            &[
                "iam.serviceAccounts.create",
                "iam.serviceAccounts.delete",
                "iam.serviceAccounts.disable",
                "iam.serviceAccounts.enable",
                "iam.serviceAccounts.getIamPolicy",
                "iam.serviceAccounts.setIamPolicy",
                "iam.serviceAccounts.undelete",
                "iam.serviceAccounts.update",
            ],
        ],
    ),
    role(
        "roles/iam.serviceAccountCreator",
        "Create Service Accounts",
        &[ACCOUNTS, PROJECTS, &["iam.serviceAccounts.create"]],
    ),
    role(
        "roles/iam.serviceAccountKeyAdmin",
        "Service Account Key Admin",
        &[ACCOUNTS, PROJECTS, &["iam.serviceAccountKeys.*"]],
    ),
    role(
        "roles/iam.serviceAccountOpenIdTokenCreator",
        "Service Account OpenID Connect Identity Token Creator",
        &[&["iam.serviceAccounts.getOpenIdToken"]],
    ),
    role("roles/iam.serviceAccountTokenCreator", "Service Account Token Creator", &[ACCOUNTS, PROJECTS, &OF_TOKENS]),
    role("roles/iam.serviceAccountUser", "Service Account User", &[ACCOUNTS, PROJECTS, &["iam.serviceAccounts.actAs"]]),
    role(
        "roles/iam.serviceAccountViewer",
        "View Service Accounts",
        &[
            ACCOUNTS,
            PROJECTS,
            &["iam.serviceAccountKeys.get", "iam.serviceAccountKeys.list", "iam.serviceAccounts.getIamPolicy"],
        ],
    ),
    role(
        "roles/iam.workloadIdentityPoolAdmin",
        "IAM Workload Identity Pool Admin",
        &[
            PROJECTS,
            &["iam.googleapis.com/workloadIdentityPoolProviders.*", "iam.googleapis.com/workloadIdentityPools.*"],
        ],
    ),
    role(
        "roles/iam.workloadIdentityPoolViewer",
        "IAM Workload Identity Pool Viewer",
        &[
            PROJECTS,
            &[
                "iam.googleapis.com/workloadIdentityPoolProviders.get",
                "iam.googleapis.com/workloadIdentityPoolProviders.list",
                "iam.googleapis.com/workloadIdentityPools.get",
                "iam.googleapis.com/workloadIdentityPools.list",
            ],
        ],
    ),
    role(
        "roles/iam.workloadIdentityUser",
        "Workload Identity User",
        &[ACCOUNTS, &["iam.serviceAccounts.getAccessToken", "iam.serviceAccounts.getOpenIdToken"]],
    ),
    role("roles/logging.admin", "Logging Admin", &[&["logging.*", "resourcemanager.projects.get"]]),
    role("roles/logging.logWriter", "Logs Writer", &[&["logging.logEntries.create", "logging.logEntries.route"]]),
    role(
        "roles/logging.viewer",
        "Logs Viewer",
        &[&["logging.logEntries.list", "logging.logs.list", "resourcemanager.projects.get"]],
    ),
    role("roles/owner", "Owner", &[]),
    role(
        "roles/resourcemanager.projectIamAdmin",
        "Project IAM Admin",
        &[POLICIES, &["resourcemanager.projects.setIamPolicy"]],
    ),
    role("roles/run.admin", "Cloud Run Admin", &[PROJECTS, &["run.*"]]),
    role("roles/run.developer", "Cloud Run Developer", &[PROJECTS, RUN_READ, RUN_WRITE]),
    role("roles/run.invoker", "Cloud Run Invoker", &[&["run.jobs.run", "run.routes.invoke"]]),
    role("roles/run.jobsExecutor", "Cloud Run Jobs Executor", &[&["run.executions.cancel", "run.jobs.run"]]),
    role(
        "roles/run.jobsExecutorWithOverrides",
        "Cloud Run Jobs Executor With Overrides",
        &[&["run.executions.cancel", "run.jobs.run", "run.jobs.runWithOverrides"]],
    ),
    role("roles/run.servicesInvoker", "Cloud Run Service Invoker", &[&["run.routes.invoke"]]),
    role("roles/run.viewer", "Cloud Run Viewer", &[PROJECTS, RUN_READ]),
    role("roles/secretmanager.admin", "Secret Manager Admin", &[PROJECTS, &["secretmanager.*"]]),
    role(
        "roles/secretmanager.secretAccessor",
        "Secret Manager Secret Accessor",
        &[PROJECTS, &["secretmanager.versions.access"]],
    ),
    role(
        "roles/secretmanager.secretVersionAdder",
        "Secret Manager Secret Version Adder",
        &[PROJECTS, &["secretmanager.versions.add"]],
    ),
    role(
        "roles/secretmanager.secretVersionManager",
        "Secret Manager Secret Version Manager",
        &[
            PROJECTS,
            &[
                "secretmanager.versions.add",
                "secretmanager.versions.destroy",
                "secretmanager.versions.disable",
                "secretmanager.versions.enable",
                "secretmanager.versions.get",
                "secretmanager.versions.list",
            ],
        ],
    ),
    role("roles/secretmanager.viewer", "Secret Manager Viewer", &[PROJECTS, SECRETS_READ]),
    role("roles/serviceusage.serviceUsageAdmin", "Service Usage Admin", &[&["serviceusage.*"]]),
    role(
        "roles/serviceusage.serviceUsageConsumer",
        "Service Usage Consumer",
        &[&["serviceusage.services.get", "serviceusage.services.list", "serviceusage.services.use"]],
    ),
    role(
        "roles/serviceusage.serviceUsageViewer",
        "Service Usage Viewer",
        &[&["serviceusage.services.get", "serviceusage.services.list"]],
    ),
    role("roles/viewer", "Viewer", &[]),
];

impl Role {
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        PREDEFINED.iter().find(|role| role.name == name)
    }

    pub(super) fn holds(&self, permission: &str) -> bool {
        let ends = |endings: &[&str]| endings.iter().any(|ending| permission.ends_with(ending));
        match self.name {
            "roles/owner" => !OF_TOKENS.contains(&permission),
            "roles/editor" => {
                let reads = ends(&[".get", ".list"]);
                !OF_TOKENS.contains(&permission)
                    && !permission.ends_with(".setIamPolicy")
                    && (reads || !OF_OWNERS.iter().any(|kept| permission.starts_with(kept)))
            }
            "roles/viewer" => {
                ends(&[".get", ".list", ".getIamPolicy"])
                    || permission == "artifactregistry.repositories.downloadArtifacts"
            }
            "roles/iam.securityReviewer" => ends(&[".list", ".getIamPolicy"]),
            "roles/iam.securityAdmin" if ends(&[".list", ".getIamPolicy", ".setIamPolicy"]) => true,
            _ => self.holds.iter().copied().flatten().any(|held| match held.strip_suffix('*') {
                Some(start) => permission.starts_with(start),
                None => *held == permission,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_hold_what_google_says() {
        for (role, permission, yes) in [
            ("owner", "run.services.setIamPolicy", true),
            ("owner", "secretmanager.versions.access", true),
            ("owner", "iam.serviceAccounts.actAs", true),
            ("owner", "iam.serviceAccounts.getAccessToken", false),
            ("editor", "iam.serviceAccounts.actAs", true),
            ("editor", "run.services.create", true),
            ("editor", "run.services.setIamPolicy", false),
            ("editor", "secretmanager.versions.access", false),
            ("editor", "secretmanager.versions.add", true),
            ("editor", "iam.roles.create", false),
            ("viewer", "run.services.get", true),
            ("viewer", "resourcemanager.projects.getIamPolicy", true),
            ("viewer", "run.services.update", false),
            ("viewer", "secretmanager.versions.access", false),
            ("run.developer", "run.services.update", true),
            ("run.developer", "run.services.setIamPolicy", false),
            ("run.admin", "run.services.setIamPolicy", true),
            ("run.admin", "iam.serviceAccounts.actAs", false),
            ("run.invoker", "run.routes.invoke", true),
            ("run.viewer", "run.services.getIamPolicy", true),
            ("iam.serviceAccountUser", "iam.serviceAccounts.actAs", true),
            ("iam.serviceAccountUser", "iam.serviceAccounts.getAccessToken", false),
            ("iam.workloadIdentityUser", "iam.serviceAccounts.getAccessToken", true),
            ("iam.workloadIdentityUser", "iam.serviceAccounts.actAs", false),
            ("iam.serviceAccountOpenIdTokenCreator", "iam.serviceAccounts.getOpenIdToken", true),
            ("artifactregistry.reader", "artifactregistry.repositories.downloadArtifacts", true),
            ("artifactregistry.reader", "artifactregistry.repositories.uploadArtifacts", false),
            ("artifactregistry.writer", "artifactregistry.repositories.create", false),
            ("secretmanager.secretAccessor", "secretmanager.versions.access", true),
            ("secretmanager.secretAccessor", "secretmanager.secrets.get", false),
            ("secretmanager.secretVersionManager", "secretmanager.versions.access", false),
            ("logging.viewer", "logging.logEntries.list", true),
        ] {
            let found = Role::of(&format!("roles/{role}")).expect("a role");
            assert_eq!(found.holds(permission), yes, "{role} {permission}");
        }
        assert!(Role::of("roles/nothing").is_none());
        assert!(PREDEFINED.is_sorted_by_key(|role| role.name));
    }
}
