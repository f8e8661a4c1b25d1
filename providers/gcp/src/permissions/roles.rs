//! Predefined roles, and the least of them.
//!
//! What each one holds is Google's own list: <https://cloud.google.com/iam/docs/roles-permissions/run> and its
//! sisters for `artifactregistry`, `iam`, `logging` and `secretmanager`. Only what our calls need is told apart here.
use carrack_core::permission::{Grant, Members, Need, Scope, ScopeKind, Who};

use super::{
    Table,
    place::{self, DEFAULT_ACCOUNT, Repository, SOME_ACCOUNT},
};

/// A role, and how much it gives: the number of all its permissions.
struct Role {
    name: &'static str,
    size: u32,
    holds: &'static [&'static str],
    /// What it gives that none of ours asks for.
    also: &'static str,
}

const RUN_VIEWER: &[&str] = &[
    "run.services.get",
    "run.services.list",
    "run.services.getIamPolicy",
    "run.revisions.get",
    "run.revisions.list",
    "run.jobs.get",
    "run.executions.get",
    "run.executions.list",
    "run.tasks.list",
    "run.operations.get",
    "resourcemanager.projects.get",
];
const RUN_DEVELOPER: &[&str] = &[
    "run.services.get",
    "run.services.list",
    "run.services.getIamPolicy",
    "run.revisions.get",
    "run.revisions.list",
    "run.jobs.get",
    "run.executions.get",
    "run.executions.list",
    "run.tasks.list",
    "run.operations.get",
    "resourcemanager.projects.get",
    "run.services.create",
    "run.services.update",
    "run.services.delete",
    "run.jobs.create",
    "run.jobs.update",
    "run.jobs.delete",
    "run.jobs.run",
    "run.jobs.runWithOverrides",
    "run.executions.cancel",
    "run.routes.invoke",
];
const RUN_ADMIN: &[&str] = &[
    "run.services.get",
    "run.services.list",
    "run.services.getIamPolicy",
    "run.revisions.get",
    "run.revisions.list",
    "run.jobs.get",
    "run.executions.get",
    "run.executions.list",
    "run.tasks.list",
    "run.operations.get",
    "resourcemanager.projects.get",
    "run.services.create",
    "run.services.update",
    "run.services.delete",
    "run.jobs.create",
    "run.jobs.update",
    "run.jobs.delete",
    "run.jobs.run",
    "run.jobs.runWithOverrides",
    "run.executions.cancel",
    "run.routes.invoke",
    "run.services.setIamPolicy",
];
const REGISTRY_READER: &[&str] =
    &["artifactregistry.repositories.downloadArtifacts", "artifactregistry.repositories.get"];
const REGISTRY_WRITER: &[&str] = &[
    "artifactregistry.repositories.downloadArtifacts",
    "artifactregistry.repositories.get",
    "artifactregistry.repositories.uploadArtifacts",
];
const REGISTRY_ADMIN: &[&str] = &[
    "artifactregistry.repositories.downloadArtifacts",
    "artifactregistry.repositories.get",
    "artifactregistry.repositories.uploadArtifacts",
    "artifactregistry.repositories.create",
];
const SECRET_VIEWER: &[&str] = &[
    "secretmanager.secrets.get",
    "secretmanager.secrets.getIamPolicy",
    "secretmanager.secrets.list",
    "secretmanager.versions.get",
    "secretmanager.versions.list",
    "resourcemanager.projects.get",
];
const VERSION_MANAGER: &[&str] = &[
    "secretmanager.versions.add",
    "secretmanager.versions.destroy",
    "secretmanager.versions.disable",
    "secretmanager.versions.enable",
    "secretmanager.versions.get",
    "secretmanager.versions.list",
    "resourcemanager.projects.get",
];
const SECRET_ADMIN: &[&str] = &[
    "secretmanager.secrets.create",
    "secretmanager.secrets.delete",
    "secretmanager.secrets.get",
    "secretmanager.secrets.getIamPolicy",
    "secretmanager.secrets.list",
    "secretmanager.secrets.setIamPolicy",
    "secretmanager.secrets.update",
    "secretmanager.versions.access",
    "secretmanager.versions.add",
    "secretmanager.versions.destroy",
    "secretmanager.versions.disable",
    "secretmanager.versions.enable",
    "secretmanager.versions.get",
    "secretmanager.versions.list",
    "resourcemanager.projects.get",
];

const ROLES: [Role; 17] = [
    Role {
        name: "roles/run.invoker",
        size: 2,
        holds: &["run.jobs.run", "run.routes.invoke"],
        also: "may call every service, and run every job as it is",
    },
    Role {
        name: "roles/run.jobsExecutor",
        size: 2,
        holds: &["run.executions.cancel", "run.jobs.run"],
        also: "may run every job as it is, and cancel its executions",
    },
    Role {
        name: "roles/run.jobsExecutorWithOverrides",
        size: 3,
        holds: &["run.executions.cancel", "run.jobs.run", "run.jobs.runWithOverrides"],
        also: "may run every job, also with other arguments and variables, and cancel its executions",
    },
    Role { name: "roles/run.viewer", size: 45, holds: RUN_VIEWER, also: "may see worker pools too" },
    Role {
        name: "roles/run.developer",
        size: 85,
        holds: RUN_DEVELOPER,
        also: "may make, change, delete and call every service, job and worker pool, and open a shell in them",
    },
    Role {
        name: "roles/run.admin",
        size: 110,
        holds: RUN_ADMIN,
        also: "may do everything in Cloud Run, and decide who else may",
    },
    Role {
        name: "roles/iam.serviceAccountUser",
        size: 5,
        holds: &["iam.serviceAccounts.actAs", "resourcemanager.projects.get"],
        also: "may see the account",
    },
    Role {
        name: "roles/artifactregistry.reader",
        size: 25,
        holds: REGISTRY_READER,
        also: "may list what is in it, of every format",
    },
    Role {
        name: "roles/artifactregistry.writer",
        size: 34,
        holds: REGISTRY_WRITER,
        also: "may list what is in it, and move tags, of every format",
    },
    Role {
        name: "roles/artifactregistry.admin",
        size: 70,
        holds: REGISTRY_ADMIN,
        also: "may do everything with every repository: make a repository beforehand instead",
    },
    Role {
        name: "roles/logging.viewer",
        size: 26,
        holds: &["logging.logEntries.list", "resourcemanager.projects.get"],
        also: "may read every other log of the project, and its metrics and sinks",
    },
    Role {
        name: "roles/secretmanager.secretAccessor",
        size: 3,
        holds: &["secretmanager.versions.access", "resourcemanager.projects.get"],
        also: "nothing but the project's name",
    },
    Role {
        name: "roles/secretmanager.secretVersionAdder",
        size: 3,
        holds: &["secretmanager.versions.add", "resourcemanager.projects.get"],
        also: "nothing but the project's name",
    },
    Role {
        name: "roles/secretmanager.secretVersionManager",
        size: 8,
        holds: VERSION_MANAGER,
        also: "may add, enable, disable and destroy versions",
    },
    Role {
        name: "roles/secretmanager.viewer",
        size: 9,
        holds: SECRET_VIEWER,
        also: "may see the secret's description and versions, and no value",
    },
    Role {
        name: "roles/secretmanager.admin",
        size: 40,
        holds: SECRET_ADMIN,
        also: "may read and change the values, and decide who else may",
    },
    Role {
        name: "roles/browser",
        size: 8,
        holds: &["resourcemanager.projects.get"],
        also: "may see folders, organization and the project's policy",
    },
];

/// The roles that hold all of it and the least in all; what no role holds is left out.
fn least(permissions: &[String]) -> Vec<(&'static Role, Vec<String>)> {
    let useful: Vec<&'static Role> =
        ROLES.iter().filter(|role| permissions.iter().any(|name| role.holds.contains(&name.as_str()))).collect();
    let holds = |roles: &[&Role], name: &String| roles.iter().any(|role| role.holds.contains(&name.as_str()));
    let held = permissions.iter().filter(|name| holds(&useful, name)).count();
    // Never more than a few are useful, so that every choice of them is looked at.
    let chosen = (0_u32..1 << useful.len())
        .map(|choice| (0..useful.len()).filter(|index| choice & 1 << index != 0).map(|index| useful[index]).collect())
        .filter(|roles: &Vec<&'static Role>| permissions.iter().filter(|name| holds(roles, name)).count() == held)
        .min_by_key(|roles| (roles.iter().map(|role| role.size).sum::<u32>(), roles.len()))
        .unwrap_or_default();
    let mut left: Vec<String> = permissions.to_vec();
    let mut taken = Vec::new();
    for role in chosen {
        let (held, rest) = left.into_iter().partition(|name| role.holds.contains(&name.as_str()));
        taken.push((role, held));
        left = rest;
    }
    taken
}

/// What is granted where. A service's own policy would do for most of Cloud Run's, but not for making it and for
/// seeing how a change ends, so that it is the project that has the role.
pub(super) fn level(table: &Table, on: &Scope) -> Scope {
    match on.kind {
        ScopeKind::Service | ScopeKind::Job => Scope::new(ScopeKind::Project, table.project.clone()),
        _ => on.clone(),
    }
}

/// Needs by who and where they are granted, in their order.
pub(super) fn groups<'a>(table: &Table, needs: &'a [Need]) -> Vec<(Who, Scope, Vec<&'a Need>)> {
    let mut groups: Vec<(Who, Scope, Vec<&Need>)> = Vec::new();
    for need in needs {
        let on = level(table, &need.on);
        match groups.iter_mut().find(|(who, scope, _)| *who == need.who && *scope == on) {
            Some((_, _, group)) => group.push(need),
            None => groups.push((need.who, on, vec![need])),
        }
    }
    groups
}

pub(super) fn grants(table: &Table, needs: &[Need], members: Members<'_>) -> Vec<Grant> {
    let mut grants = Vec::new();
    for (who, on, group) in groups(table, needs) {
        let mut names: Vec<String> = group.iter().map(|need| need.permission.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let member = member(table, who, members);
        for (role, permissions) in least(&names) {
            let command = command(table, &on, &member, role.name);
            let (role, also) = (role.name.to_owned(), role.also);
            grants.push(Grant { who, member: member.clone(), on: on.clone(), role, permissions, also, command });
        }
    }
    grants
}

/// As a policy names them: <https://cloud.google.com/iam/docs/principal-identifiers>.
pub(super) fn member(table: &Table, who: Who, members: Members<'_>) -> String {
    match who {
        Who::Deployer => members.deployer.map_or_else(
            || format!("serviceAccount:DEPLOYER@{}.iam.gserviceaccount.com", table.project),
            str::to_owned,
        ),
        Who::Runtime => {
            let email = members.runtime.filter(|email| *email != SOME_ACCOUNT).unwrap_or(DEFAULT_ACCOUNT);
            format!("serviceAccount:{email}")
        }
        // https://cloud.google.com/run/docs/reference/service-agent
        Who::Cloud => "serviceAccount:service-PROJECT_NUMBER@serverless-robot-prod.iam.gserviceaccount.com".to_owned(),
    }
}

/// One binding. Without `--condition` gcloud asks, or fails, when the policy has a binding with one.
pub(super) fn command(table: &Table, on: &Scope, member: &str, role: &str) -> String {
    let place = match on.kind {
        ScopeKind::Project | ScopeKind::Service | ScopeKind::Job => {
            format!("projects add-iam-policy-binding {}", on.name)
        }
        ScopeKind::ServiceAccount => format!(
            "iam service-accounts add-iam-policy-binding {} --project {}",
            on.name,
            place::account_project(table, &on.name)
        ),
        ScopeKind::Repository => {
            let Repository { project, location, name } = Repository::of(on);
            format!("artifacts repositories add-iam-policy-binding {name} --location {location} --project {project}")
        }
        ScopeKind::Secret => {
            let (project, name) = place::secret(table, &on.name);
            format!("secrets add-iam-policy-binding {name} --project {project}")
        }
    };
    format!("gcloud {place} --member {member} --role {role} --condition None")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Vec<&'static str> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        least(&names).into_iter().map(|(role, _)| role.name).collect()
    }

    #[test]
    fn the_least_role_that_does() {
        assert_eq!(of(&["run.services.get", "run.operations.get"]), ["roles/run.viewer"]);
        assert_eq!(of(&["run.services.get", "run.services.update"]), ["roles/run.developer"]);
        assert_eq!(of(&["run.services.update", "run.services.setIamPolicy"]), ["roles/run.admin"]);
        assert_eq!(of(&["iam.serviceAccounts.actAs"]), ["roles/iam.serviceAccountUser"]);
        assert_eq!(of(&["artifactregistry.repositories.downloadArtifacts"]), ["roles/artifactregistry.reader"]);
        assert_eq!(of(&["secretmanager.versions.access"]), ["roles/secretmanager.secretAccessor"]);
        assert_eq!(
            of(&["run.services.get", "logging.logEntries.list", "run.services.update"]),
            ["roles/run.developer", "roles/logging.viewer"]
        );
        assert_eq!(
            of(&["secretmanager.secrets.get", "secretmanager.versions.add"]),
            ["roles/secretmanager.secretVersionAdder", "roles/secretmanager.viewer"]
        );
        assert!(of(&["something.else.entirely"]).is_empty());
    }
}
