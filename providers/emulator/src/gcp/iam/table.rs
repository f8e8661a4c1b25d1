//! The permission that each method asks for, and the resource that it asks it on.
//!
//! From Google's own tables, each linked at its part; what depends on a request's body the handlers ask beside it.
use std::collections::BTreeSet;

/// What a call must be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// A permission.
    For(&'static str),
    /// Nothing: which of the permissions that the caller names it has.
    Which,
    /// Nothing at all.
    Nothing,
}

/// The method's id (of Cloud Run the part behind `run.projects.locations.` or `run.namespaces.`), what it asks, and
/// the resource. There `{p}` is the project, `{1}` a parameter of the path, `{?x}` one of the query and `{/x}` a
/// field of the body.
type Row = (&'static str, Asks, &'static str);

const fn row(id: &'static str, permission: &'static str, resource: &'static str) -> Row {
    (id, Asks::For(permission), resource)
}

const LOCATION: &str = "projects/{p}/locations/{1}";
const SERVICE: &str = "projects/{p}/locations/{1}/services/{2}";
const JOB: &str = "projects/{p}/locations/{1}/jobs/{2}";
const RUN_OPERATION: &str = "projects/{p}/locations/{1}/operations/{2}";
const V2_REVISION: &str = "projects/{p}/locations/{1}/services/{2}/revisions/{3}";
const V2_EXECUTION: &str = "projects/{p}/locations/{1}/jobs/{2}/executions/{3}";
const V1_REVISION: &str = "projects/{p}/locations/{1}/revisions/{2}";
const V1_EXECUTION: &str = "projects/{p}/locations/{1}/jobs/{job}/executions/{2}";

/// What both versions of Cloud Run have. <https://cloud.google.com/run/docs/reference/iam/permissions>
const RUN: &[Row] = &[
    row("services.delete", "run.services.delete", SERVICE),
    row("services.get", "run.services.get", SERVICE),
    row("services.getIamPolicy", "run.services.getIamPolicy", SERVICE),
    row("services.list", "run.services.list", LOCATION),
    row("services.setIamPolicy", "run.services.setIamPolicy", SERVICE),
    ("services.testIamPermissions", Asks::Which, SERVICE),
    row("jobs.delete", "run.jobs.delete", JOB),
    row("jobs.get", "run.jobs.get", JOB),
    row("jobs.getIamPolicy", "run.jobs.getIamPolicy", JOB),
    row("jobs.list", "run.jobs.list", LOCATION),
    row("jobs.run", "run.jobs.run", JOB),
    row("jobs.setIamPolicy", "run.jobs.setIamPolicy", JOB),
    ("jobs.testIamPermissions", Asks::Which, JOB),
    row("operations.delete", "run.operations.delete", RUN_OPERATION),
    row("operations.get", "run.operations.get", RUN_OPERATION),
    row("operations.list", "run.operations.list", LOCATION),
    row("operations.wait", "run.operations.get", RUN_OPERATION),
];

const RUN_V2: &[Row] = &[
    row("services.create", "run.services.create", "projects/{p}/locations/{1}/services/{?serviceId}"),
    row("services.patch", "run.services.update", SERVICE),
    row("services.revisions.delete", "run.revisions.delete", V2_REVISION),
    row("services.revisions.get", "run.revisions.get", V2_REVISION),
    row("services.revisions.list", "run.revisions.list", SERVICE),
    row("jobs.create", "run.jobs.create", "projects/{p}/locations/{1}/jobs/{?jobId}"),
    row("jobs.patch", "run.jobs.update", JOB),
    row("jobs.executions.cancel", "run.executions.cancel", V2_EXECUTION),
    row("jobs.executions.delete", "run.executions.delete", V2_EXECUTION),
    row("jobs.executions.get", "run.executions.get", V2_EXECUTION),
    row("jobs.executions.list", "run.executions.list", JOB),
    row("jobs.executions.tasks.get", "run.tasks.get", "projects/{p}/locations/{1}/jobs/{2}/executions/{3}/tasks/{4}"),
    row("jobs.executions.tasks.list", "run.tasks.list", V2_EXECUTION),
];

/// There an execution or a task is found without its job, which `{job}` is.
const RUN_V1: &[Row] = &[
    row("services.create", "run.services.create", "projects/{p}/locations/{1}/services/{/metadata/name}"),
    row("services.replaceService", "run.services.update", SERVICE),
    row("configurations.get", "run.configurations.get", SERVICE),
    row("configurations.list", "run.configurations.list", LOCATION),
    row("routes.get", "run.routes.get", SERVICE),
    row("routes.list", "run.routes.list", LOCATION),
    row("revisions.delete", "run.revisions.delete", V1_REVISION),
    row("revisions.get", "run.revisions.get", V1_REVISION),
    row("revisions.list", "run.revisions.list", LOCATION),
    row("jobs.create", "run.jobs.create", "projects/{p}/locations/{1}/jobs/{/metadata/name}"),
    row("jobs.replaceJob", "run.jobs.update", JOB),
    row("executions.cancel", "run.executions.cancel", V1_EXECUTION),
    row("executions.delete", "run.executions.delete", V1_EXECUTION),
    row("executions.get", "run.executions.get", V1_EXECUTION),
    row("executions.list", "run.executions.list", LOCATION),
    row("tasks.get", "run.tasks.get", "projects/{p}/locations/{1}/jobs/{job}/tasks/{2}"),
    row("tasks.list", "run.tasks.list", LOCATION),
];

const SECRETS: &str = "projects/{0}";
const SECRET: &str = "projects/{0}/secrets/{1}";
const VERSION: &str = "projects/{0}/secrets/{1}/versions/{2}";

/// <https://cloud.google.com/secret-manager/docs/access-control>
const SECRET_MANAGER: &[Row] = &[
    row("secretmanager.projects.secrets.addVersion", "secretmanager.versions.add", SECRET),
    row("secretmanager.projects.secrets.create", "secretmanager.secrets.create", SECRETS),
    row("secretmanager.projects.secrets.delete", "secretmanager.secrets.delete", SECRET),
    row("secretmanager.projects.secrets.get", "secretmanager.secrets.get", SECRET),
    row("secretmanager.projects.secrets.getIamPolicy", "secretmanager.secrets.getIamPolicy", SECRET),
    row("secretmanager.projects.secrets.list", "secretmanager.secrets.list", SECRETS),
    row("secretmanager.projects.secrets.patch", "secretmanager.secrets.update", SECRET),
    row("secretmanager.projects.secrets.setIamPolicy", "secretmanager.secrets.setIamPolicy", SECRET),
    ("secretmanager.projects.secrets.testIamPermissions", Asks::Which, SECRET),
    row("secretmanager.projects.secrets.versions.access", "secretmanager.versions.access", VERSION),
    row("secretmanager.projects.secrets.versions.destroy", "secretmanager.versions.destroy", VERSION),
    row("secretmanager.projects.secrets.versions.disable", "secretmanager.versions.disable", VERSION),
    row("secretmanager.projects.secrets.versions.enable", "secretmanager.versions.enable", VERSION),
    row("secretmanager.projects.secrets.versions.get", "secretmanager.versions.get", VERSION),
    row("secretmanager.projects.secrets.versions.list", "secretmanager.versions.list", SECRET),
];

const REPOSITORY: &str = "projects/{p}/locations/{1}/repositories/{2}";

/// Behind `artifactregistry.projects.locations.`. <https://cloud.google.com/artifact-registry/docs/access-control>
const ARTIFACT_REGISTRY: &[Row] = &[
    // An operation asks for no permission of its own.
    ("operations.get", Asks::Nothing, LOCATION),
    row("repositories.create", "artifactregistry.repositories.create", LOCATION),
    row("repositories.delete", "artifactregistry.repositories.delete", REPOSITORY),
    row("repositories.get", "artifactregistry.repositories.get", REPOSITORY),
    row("repositories.getIamPolicy", "artifactregistry.repositories.getIamPolicy", REPOSITORY),
    row("repositories.list", "artifactregistry.repositories.list", LOCATION),
    row("repositories.setIamPolicy", "artifactregistry.repositories.setIamPolicy", REPOSITORY),
    ("repositories.testIamPermissions", Asks::Which, REPOSITORY),
    row("repositories.dockerImages.get", "artifactregistry.dockerimages.get", REPOSITORY),
    row("repositories.dockerImages.list", "artifactregistry.dockerimages.list", REPOSITORY),
    row("repositories.packages.delete", "artifactregistry.packages.delete", REPOSITORY),
    row("repositories.packages.get", "artifactregistry.packages.get", REPOSITORY),
    row("repositories.packages.list", "artifactregistry.packages.list", REPOSITORY),
    row("repositories.packages.tags.delete", "artifactregistry.tags.delete", REPOSITORY),
    row("repositories.packages.tags.get", "artifactregistry.tags.get", REPOSITORY),
    row("repositories.packages.tags.list", "artifactregistry.tags.list", REPOSITORY),
    row("repositories.packages.versions.delete", "artifactregistry.versions.delete", REPOSITORY),
    row("repositories.packages.versions.get", "artifactregistry.versions.get", REPOSITORY),
    row("repositories.packages.versions.list", "artifactregistry.versions.list", REPOSITORY),
];

const PROJECT: &str = "projects/{p}";

const AROUND: &[Row] = &[
    // https://cloud.google.com/logging/docs/access-control#permissions_and_roles
    row("logging.entries.list", "logging.logEntries.list", "{/resourceNames/0}"),
    // https://cloud.google.com/service-usage/docs/access-control#permissions
    row("serviceusage.services.get", "serviceusage.services.get", "projects/{p}/services/{1}"),
    row("serviceusage.services.batchEnable", "serviceusage.services.enable", PROJECT),
    // https://cloud.google.com/resource-manager/docs/access-control-proj#permissions
    row("cloudresourcemanager.projects.get", "resourcemanager.projects.get", PROJECT),
    row("cloudresourcemanager.projects.getIamPolicy", "resourcemanager.projects.getIamPolicy", PROJECT),
    row("cloudresourcemanager.projects.setIamPolicy", "resourcemanager.projects.setIamPolicy", PROJECT),
    ("cloudresourcemanager.projects.testIamPermissions", Asks::Which, PROJECT),
    // The caller brings the credential that it changes: https://cloud.google.com/iam/docs/reference/sts/rest
    ("sts.token", Asks::Nothing, ""),
];

const ACCOUNT: &str = "projects/{p}/serviceAccounts/{1}";
const ROLE: &str = "projects/{p}/roles/{1}";
const POOLS: &str = "projects/{p}/locations/{1}";
const POOL: &str = "projects/{p}/locations/{1}/workloadIdentityPools/{2}";
const PROVIDER: &str = "projects/{p}/locations/{1}/workloadIdentityPools/{2}/providers/{3}";

/// <https://cloud.google.com/iam/docs/service-account-permissions>,
/// <https://cloud.google.com/iam/docs/manage-workload-identity-pools-providers>
const IAM: &[Row] = &[
    // What Google's own roles hold, anybody may see: https://cloud.google.com/iam/docs/reference/rest/v1/roles/get
    ("iam.roles.get", Asks::Nothing, ""),
    ("iam.roles.list", Asks::Nothing, ""),
    ("iam.permissions.queryTestablePermissions", Asks::Nothing, ""),
    row("iam.projects.roles.create", "iam.roles.create", PROJECT),
    row("iam.projects.roles.delete", "iam.roles.delete", ROLE),
    row("iam.projects.roles.get", "iam.roles.get", ROLE),
    row("iam.projects.roles.list", "iam.roles.list", PROJECT),
    row("iam.projects.roles.patch", "iam.roles.update", ROLE),
    row("iam.projects.roles.undelete", "iam.roles.undelete", ROLE),
    row("iam.projects.serviceAccounts.create", "iam.serviceAccounts.create", PROJECT),
    row("iam.projects.serviceAccounts.delete", "iam.serviceAccounts.delete", ACCOUNT),
    row("iam.projects.serviceAccounts.disable", "iam.serviceAccounts.disable", ACCOUNT),
    row("iam.projects.serviceAccounts.enable", "iam.serviceAccounts.enable", ACCOUNT),
    row("iam.projects.serviceAccounts.get", "iam.serviceAccounts.get", ACCOUNT),
    row("iam.projects.serviceAccounts.getIamPolicy", "iam.serviceAccounts.getIamPolicy", ACCOUNT),
    row("iam.projects.serviceAccounts.list", "iam.serviceAccounts.list", PROJECT),
    row("iam.projects.serviceAccounts.patch", "iam.serviceAccounts.update", ACCOUNT),
    row("iam.projects.serviceAccounts.setIamPolicy", "iam.serviceAccounts.setIamPolicy", ACCOUNT),
    ("iam.projects.serviceAccounts.testIamPermissions", Asks::Which, ACCOUNT),
    row("iam.projects.serviceAccounts.update", "iam.serviceAccounts.update", ACCOUNT),
    row("iam.projects.serviceAccounts.keys.create", "iam.serviceAccountKeys.create", ACCOUNT),
    row("iam.projects.serviceAccounts.keys.delete", "iam.serviceAccountKeys.delete", ACCOUNT),
    row("iam.projects.serviceAccounts.keys.disable", "iam.serviceAccountKeys.disable", ACCOUNT),
    row("iam.projects.serviceAccounts.keys.enable", "iam.serviceAccountKeys.enable", ACCOUNT),
    row("iam.projects.serviceAccounts.keys.get", "iam.serviceAccountKeys.get", ACCOUNT),
    row("iam.projects.serviceAccounts.keys.list", "iam.serviceAccountKeys.list", ACCOUNT),
    row(
        "iam.projects.locations.workloadIdentityPools.create",
        "iam.googleapis.com/workloadIdentityPools.create",
        POOLS,
    ),
    row("iam.projects.locations.workloadIdentityPools.delete", "iam.googleapis.com/workloadIdentityPools.delete", POOL),
    row("iam.projects.locations.workloadIdentityPools.get", "iam.googleapis.com/workloadIdentityPools.get", POOL),
    row("iam.projects.locations.workloadIdentityPools.list", "iam.googleapis.com/workloadIdentityPools.list", POOLS),
    row(
        "iam.projects.locations.workloadIdentityPools.operations.get",
        "iam.googleapis.com/workloadIdentityPools.get",
        POOL,
    ),
    row("iam.projects.locations.workloadIdentityPools.patch", "iam.googleapis.com/workloadIdentityPools.update", POOL),
    row(
        "iam.projects.locations.workloadIdentityPools.undelete",
        "iam.googleapis.com/workloadIdentityPools.undelete",
        POOL,
    ),
    row(
        "iam.projects.locations.workloadIdentityPools.providers.create",
        "iam.googleapis.com/workloadIdentityPoolProviders.create",
        POOL,
    ),
    row(
        "iam.projects.locations.workloadIdentityPools.providers.delete",
        "iam.googleapis.com/workloadIdentityPoolProviders.delete",
        PROVIDER,
    ),
    row(
        "iam.projects.locations.workloadIdentityPools.providers.get",
        "iam.googleapis.com/workloadIdentityPoolProviders.get",
        PROVIDER,
    ),
    row(
        "iam.projects.locations.workloadIdentityPools.providers.list",
        "iam.googleapis.com/workloadIdentityPoolProviders.list",
        POOL,
    ),
    row(
        "iam.projects.locations.workloadIdentityPools.providers.operations.get",
        "iam.googleapis.com/workloadIdentityPoolProviders.get",
        PROVIDER,
    ),
    row(
        "iam.projects.locations.workloadIdentityPools.providers.patch",
        "iam.googleapis.com/workloadIdentityPoolProviders.update",
        PROVIDER,
    ),
    row(
        "iam.projects.locations.workloadIdentityPools.providers.undelete",
        "iam.googleapis.com/workloadIdentityPoolProviders.undelete",
        PROVIDER,
    ),
    // Of whom, and on which account, depends on the delegates, which the handlers know.
    ("iamcredentials.projects.serviceAccounts.generateAccessToken", Asks::Nothing, ACCOUNT),
    ("iamcredentials.projects.serviceAccounts.generateIdToken", Asks::Nothing, ACCOUNT),
    ("iamcredentials.projects.serviceAccounts.signBlob", Asks::Nothing, ACCOUNT),
    ("iamcredentials.projects.serviceAccounts.signJwt", Asks::Nothing, ACCOUNT),
];

/// What a method asks, and the resource's pattern. `version` is the API's.
pub(crate) fn asks(version: &str, id: &str) -> Option<(Asks, &'static str)> {
    let of_run = id.strip_prefix("run.projects.locations.").or_else(|| id.strip_prefix("run.namespaces."));
    let of_registry = id.strip_prefix("artifactregistry.projects.locations.");
    let found = |rows: &[Row], id: &str| {
        rows.iter().find(|(known, _, _)| *known == id).map(|(_, asks, resource)| (*asks, *resource))
    };
    match (of_run, of_registry) {
        (Some(id), _) if version == "v1" => found(RUN_V1, id).or_else(|| found(RUN, id)),
        (Some(id), _) => found(RUN_V2, id).or_else(|| found(RUN, id)),
        (_, Some(id)) => found(ARTIFACT_REGISTRY, id),
        _ => found(SECRET_MANAGER, id).or_else(|| found(IAM, id)).or_else(|| found(AROUND, id)),
    }
}

/// Asked beside a method's own: by the registry, a service's URL, a deploy, a job's overrides, an impersonation.
const BESIDE: [&str; 9] = [
    "artifactregistry.repositories.deleteArtifacts",
    "artifactregistry.repositories.downloadArtifacts",
    "artifactregistry.repositories.uploadArtifacts",
    "iam.serviceAccounts.actAs",
    "iam.serviceAccounts.getAccessToken",
    "iam.serviceAccounts.getOpenIdToken",
    "iam.serviceAccounts.implicitDelegation",
    "run.jobs.runWithOverrides",
    "run.routes.invoke",
];

/// All that anything here asks for.
pub(super) fn permissions() -> BTreeSet<&'static str> {
    let tables = [RUN, RUN_V2, RUN_V1, SECRET_MANAGER, ARTIFACT_REGISTRY, AROUND, IAM];
    let rows = tables.into_iter().flatten().filter_map(|(_, asks, _)| match asks {
        Asks::For(permission) => Some(*permission),
        Asks::Which | Asks::Nothing => None,
    });
    rows.chain(BESIDE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcp::schema::Documents;

    #[test]
    fn every_method_asks() {
        let documents = Documents::load().expect("the committed schemas");
        let mut asked = 0;
        for document in documents.all() {
            for id in document.served.keys() {
                let (asks, _) = asks(&document.version, id).unwrap_or_else(|| panic!("{id} {}", document.version));
                assert_eq!(asks == Asks::Which, id.ends_with(".testIamPermissions"), "{id}");
                asked += usize::from(matches!(asks, Asks::For(_)));
            }
        }
        assert!(asked > 120, "{asked}");
    }
}
