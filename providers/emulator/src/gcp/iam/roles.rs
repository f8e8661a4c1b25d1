//! What Google's own roles hold of the permissions that the local cloud asks for.
//!
//! From the contents that Google publishes: <https://cloud.google.com/iam/docs/roles-permissions>

/// A role that every project has.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// `run.*` is all that begin so.
    holds: &'static [&'static str],
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

macro_rules! role {
    ($name:literal, $title:literal, [$($permission:literal),* $(,)?]) => {
        Role { name: concat!("roles/", $name), title: $title, holds: &[$($permission),*] }
    };
}

/// By name.
pub(super) const PREDEFINED: &[Role] = &[
    role!("artifactregistry.admin", "Artifact Registry Administrator", ["artifactregistry.*"]),
    role!(
        "artifactregistry.createOnPushRepoAdmin",
        "Artifact Registry Create-on-Push Repository Administrator",
        [
            "artifactregistry.dockerimages.*",
            "artifactregistry.files.*",
            "artifactregistry.packages.*",
            "artifactregistry.repositories.createOnPush",
            "artifactregistry.repositories.deleteArtifacts",
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.tags.*",
            "artifactregistry.versions.*",
        ]
    ),
    role!(
        "artifactregistry.createOnPushWriter",
        "Artifact Registry Create-on-Push Writer",
        [
            "artifactregistry.dockerimages.*",
            "artifactregistry.files.get",
            "artifactregistry.files.list",
            "artifactregistry.packages.get",
            "artifactregistry.packages.list",
            "artifactregistry.repositories.createOnPush",
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.tags.create",
            "artifactregistry.tags.get",
            "artifactregistry.tags.list",
            "artifactregistry.tags.update",
            "artifactregistry.versions.get",
            "artifactregistry.versions.list",
        ]
    ),
    role!(
        "artifactregistry.reader",
        "Artifact Registry Reader",
        [
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
        ]
    ),
    role!(
        "artifactregistry.repoAdmin",
        "Artifact Registry Repository Administrator",
        [
            "artifactregistry.dockerimages.*",
            "artifactregistry.files.*",
            "artifactregistry.packages.*",
            "artifactregistry.repositories.deleteArtifacts",
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.tags.*",
            "artifactregistry.versions.*",
        ]
    ),
    role!(
        "artifactregistry.writer",
        "Artifact Registry Writer",
        [
            "artifactregistry.dockerimages.*",
            "artifactregistry.files.get",
            "artifactregistry.files.list",
            "artifactregistry.packages.get",
            "artifactregistry.packages.list",
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.tags.create",
            "artifactregistry.tags.get",
            "artifactregistry.tags.list",
            "artifactregistry.tags.update",
            "artifactregistry.versions.get",
            "artifactregistry.versions.list",
        ]
    ),
    role!(
        "browser",
        "Browser",
        ["resourcemanager.projects.get", "resourcemanager.projects.getIamPolicy", "resourcemanager.projects.list"]
    ),
    // What basic roles hold is in `holds`.
    role!("editor", "Editor", []),
    role!(
        "iam.roleAdmin",
        "Role Administrator",
        ["iam.roles.*", "resourcemanager.projects.get", "resourcemanager.projects.getIamPolicy"]
    ),
    role!(
        "iam.roleViewer",
        "Role Viewer",
        ["iam.roles.get", "iam.roles.list", "resourcemanager.projects.get", "resourcemanager.projects.getIamPolicy",]
    ),
    role!("iam.securityAdmin", "Security Admin", ["iam.roles.*"]),
    role!("iam.securityReviewer", "Security Reviewer", []),
    role!(
        "iam.serviceAccountAdmin",
        "Service Account Admin",
        [
            "iam.serviceAccounts.create",
            "iam.serviceAccounts.delete",
            "iam.serviceAccounts.disable",
            "iam.serviceAccounts.enable",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getIamPolicy",
            "iam.serviceAccounts.list",
            "iam.serviceAccounts.setIamPolicy",
            "iam.serviceAccounts.undelete",
            "iam.serviceAccounts.update",
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
        ]
    ),
    role!(
        "iam.serviceAccountCreator",
        "Create Service Accounts",
        [
            "iam.serviceAccounts.create",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
        ]
    ),
    role!(
        "iam.serviceAccountKeyAdmin",
        "Service Account Key Admin",
        [
            "iam.serviceAccountKeys.*",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
        ]
    ),
    role!(
        "iam.serviceAccountOpenIdTokenCreator",
        "Service Account OpenID Connect Identity Token Creator",
        ["iam.serviceAccounts.getOpenIdToken"]
    ),
    role!(
        "iam.serviceAccountTokenCreator",
        "Service Account Token Creator",
        [
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getAccessToken",
            "iam.serviceAccounts.getOpenIdToken",
            "iam.serviceAccounts.implicitDelegation",
            "iam.serviceAccounts.list",
            "iam.serviceAccounts.signBlob",
            "iam.serviceAccounts.signJwt",
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
        ]
    ),
    role!(
        "iam.serviceAccountUser",
        "Service Account User",
        [
            "iam.serviceAccounts.actAs",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
        ]
    ),
    role!(
        "iam.serviceAccountViewer",
        "View Service Accounts",
        [
            "iam.serviceAccountKeys.get",
            "iam.serviceAccountKeys.list",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getIamPolicy",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
        ]
    ),
    role!(
        "iam.workloadIdentityPoolAdmin",
        "IAM Workload Identity Pool Admin",
        [
            "iam.googleapis.com/workloadIdentityPoolProviders.*",
            "iam.googleapis.com/workloadIdentityPools.*",
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
        ]
    ),
    role!(
        "iam.workloadIdentityPoolViewer",
        "IAM Workload Identity Pool Viewer",
        [
            "iam.googleapis.com/workloadIdentityPoolProviders.get",
            "iam.googleapis.com/workloadIdentityPoolProviders.list",
            "iam.googleapis.com/workloadIdentityPools.get",
            "iam.googleapis.com/workloadIdentityPools.list",
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
        ]
    ),
    role!(
        "iam.workloadIdentityUser",
        "Workload Identity User",
        [
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getAccessToken",
            "iam.serviceAccounts.getOpenIdToken",
            "iam.serviceAccounts.list",
        ]
    ),
    role!("logging.admin", "Logging Admin", ["logging.*", "resourcemanager.projects.get"]),
    role!("logging.logWriter", "Logs Writer", ["logging.logEntries.create", "logging.logEntries.route"]),
    role!(
        "logging.viewer",
        "Logs Viewer",
        ["logging.logEntries.list", "logging.logs.list", "resourcemanager.projects.get"]
    ),
    role!("owner", "Owner", []),
    role!(
        "resourcemanager.projectIamAdmin",
        "Project IAM Admin",
        [
            "resourcemanager.projects.get",
            "resourcemanager.projects.getIamPolicy",
            "resourcemanager.projects.setIamPolicy",
        ]
    ),
    role!("run.admin", "Cloud Run Admin", ["run.*", "resourcemanager.projects.get", "resourcemanager.projects.list"]),
    role!(
        "run.developer",
        "Cloud Run Developer",
        [
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
            "run.configurations.*",
            "run.executions.*",
            "run.jobs.create",
            "run.jobs.delete",
            "run.jobs.get",
            "run.jobs.getIamPolicy",
            "run.jobs.list",
            "run.jobs.run",
            "run.jobs.runWithOverrides",
            "run.jobs.update",
            "run.locations.*",
            "run.operations.*",
            "run.revisions.*",
            "run.routes.*",
            "run.services.create",
            "run.services.delete",
            "run.services.get",
            "run.services.getIamPolicy",
            "run.services.list",
            "run.services.update",
            "run.tasks.*",
        ]
    ),
    role!("run.invoker", "Cloud Run Invoker", ["run.jobs.run", "run.routes.invoke"]),
    role!("run.jobsExecutor", "Cloud Run Jobs Executor", ["run.executions.cancel", "run.jobs.run"]),
    role!(
        "run.jobsExecutorWithOverrides",
        "Cloud Run Jobs Executor With Overrides",
        ["run.executions.cancel", "run.jobs.run", "run.jobs.runWithOverrides"]
    ),
    role!("run.servicesInvoker", "Cloud Run Service Invoker", ["run.routes.invoke"]),
    role!(
        "run.viewer",
        "Cloud Run Viewer",
        [
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
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
        ]
    ),
    role!(
        "secretmanager.admin",
        "Secret Manager Admin",
        ["secretmanager.*", "resourcemanager.projects.get", "resourcemanager.projects.list"]
    ),
    role!(
        "secretmanager.secretAccessor",
        "Secret Manager Secret Accessor",
        ["resourcemanager.projects.get", "resourcemanager.projects.list", "secretmanager.versions.access"]
    ),
    role!(
        "secretmanager.secretVersionAdder",
        "Secret Manager Secret Version Adder",
        ["resourcemanager.projects.get", "resourcemanager.projects.list", "secretmanager.versions.add"]
    ),
    role!(
        "secretmanager.secretVersionManager",
        "Secret Manager Secret Version Manager",
        [
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
            "secretmanager.versions.add",
            "secretmanager.versions.destroy",
            "secretmanager.versions.disable",
            "secretmanager.versions.enable",
            "secretmanager.versions.get",
            "secretmanager.versions.list",
        ]
    ),
    role!(
        "secretmanager.viewer",
        "Secret Manager Viewer",
        [
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
            "secretmanager.secrets.get",
            "secretmanager.secrets.getIamPolicy",
            "secretmanager.secrets.list",
            "secretmanager.versions.get",
            "secretmanager.versions.list",
        ]
    ),
    role!("serviceusage.serviceUsageAdmin", "Service Usage Admin", ["serviceusage.*"]),
    role!(
        "serviceusage.serviceUsageConsumer",
        "Service Usage Consumer",
        ["serviceusage.services.get", "serviceusage.services.list", "serviceusage.services.use"]
    ),
    role!(
        "serviceusage.serviceUsageViewer",
        "Service Usage Viewer",
        ["serviceusage.services.get", "serviceusage.services.list"]
    ),
    role!("viewer", "Viewer", []),
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
            _ => self.holds.iter().any(|held| match held.strip_suffix('*') {
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
