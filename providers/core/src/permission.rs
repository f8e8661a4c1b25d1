//! What a command needs to be allowed, and whether it is.
//!
//! The words are neutral; which permissions there are is each cloud's own [`PermissionTable`], a pure one: it is
//! derived from the calls that its client makes. Asking the cloud is
//! [`Provider::held`](crate::provider::Provider::held).
use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::{
    Error, ErrorKind,
    spec::{ImageRef, SecretRef, ServiceName, ServiceSpec},
};

/// What somebody wants to be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// Whatever `deploy` may have to do with this file: make everything, and change it later.
    Deploy,
    /// The first deploy: neither the service nor the image's repository is there.
    First,
    /// A deploy that changes settings of a service that is there.
    Change,
    /// A deploy that changes nothing but the image.
    Image,
    /// `plan`.
    Plan,
    /// `push`.
    Push,
    /// `status`.
    Status,
    /// `traffic`.
    Traffic,
    /// `history`.
    History,
    /// `rollback`.
    Rollback,
    /// `logs`.
    Logs,
    /// `destroy`.
    Destroy,
    /// A pipeline: `push`, `plan --out` and the deploy of that plan.
    Ci,
    /// `permissions check` itself.
    Check,
    /// `jobs run`.
    JobsRun,
    /// `jobs executions` and `jobs tasks`.
    JobsExecutions,
    /// `jobs cancel`.
    JobsCancel,
    /// `secrets set`.
    SecretsSet,
    /// `secrets get`.
    SecretsGet,
    /// `secrets list`.
    SecretsList,
    /// `secrets versions`.
    SecretsVersions,
    /// `secrets enable`.
    SecretsEnable,
    /// `secrets disable`.
    SecretsDisable,
    /// `secrets destroy`.
    SecretsDestroy,
    /// `secrets delete`.
    SecretsDelete,
    /// `secrets grant`.
    SecretsGrant,
}

impl Task {
    /// Every one, in the order in which they are listed.
    pub const ALL: [Self; 26] = [
        Self::Deploy,
        Self::First,
        Self::Change,
        Self::Image,
        Self::Plan,
        Self::Push,
        Self::Status,
        Self::Traffic,
        Self::History,
        Self::Rollback,
        Self::Logs,
        Self::Destroy,
        Self::Ci,
        Self::Check,
        Self::JobsRun,
        Self::JobsExecutions,
        Self::JobsCancel,
        Self::SecretsSet,
        Self::SecretsGet,
        Self::SecretsList,
        Self::SecretsVersions,
        Self::SecretsEnable,
        Self::SecretsDisable,
        Self::SecretsDestroy,
        Self::SecretsDelete,
        Self::SecretsGrant,
    ];

    /// As it is typed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::First => "first",
            Self::Change => "change",
            Self::Image => "image",
            Self::Plan => "plan",
            Self::Push => "push",
            Self::Status => "status",
            Self::Traffic => "traffic",
            Self::History => "history",
            Self::Rollback => "rollback",
            Self::Logs => "logs",
            Self::Destroy => "destroy",
            Self::Ci => "ci",
            Self::Check => "check",
            Self::JobsRun => "jobs-run",
            Self::JobsExecutions => "jobs-executions",
            Self::JobsCancel => "jobs-cancel",
            Self::SecretsSet => "secrets-set",
            Self::SecretsGet => "secrets-get",
            Self::SecretsList => "secrets-list",
            Self::SecretsVersions => "secrets-versions",
            Self::SecretsEnable => "secrets-enable",
            Self::SecretsDisable => "secrets-disable",
            Self::SecretsDestroy => "secrets-destroy",
            Self::SecretsDelete => "secrets-delete",
            Self::SecretsGrant => "secrets-grant",
        }
    }

    /// For people: "may …".
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Deploy => "deploy what the file says, from nothing and every time after",
            Self::First => "deploy for the first time",
            Self::Change => "deploy a change of a service that is there",
            Self::Image => "deploy a new image, and nothing else",
            Self::Plan => "plan",
            Self::Push => "push the image",
            Self::Status => "see the status",
            Self::Traffic => "send the traffic elsewhere",
            Self::History => "list the revisions",
            Self::Rollback => "go back to an earlier revision",
            Self::Logs => "read the logs",
            Self::Destroy => "remove the service",
            Self::Ci => "push, plan and deploy in a pipeline",
            Self::Check => "check permissions",
            Self::JobsRun => "run the job",
            Self::JobsExecutions => "see the job's executions",
            Self::JobsCancel => "cancel an execution of the job",
            Self::SecretsSet => "set a secret",
            Self::SecretsGet => "read a secret's value",
            Self::SecretsList => "list secrets",
            Self::SecretsVersions => "list a secret's versions",
            Self::SecretsEnable => "enable a version of a secret",
            Self::SecretsDisable => "disable a version of a secret",
            Self::SecretsDestroy => "destroy a version of a secret",
            Self::SecretsDelete => "delete a secret",
            Self::SecretsGrant => "let the service read a secret",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Task {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl FromStr for Task {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|task| task.name() == text);
        known.ok_or_else(|| Error::new(ErrorKind::Usage, format!("there is no task `{text}`")))
    }
}

/// What a task is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// What the file says of it; with the image when it is known.
    pub spec: &'a ServiceSpec,
    /// Where a built image is pushed; `None` when nothing is built.
    pub push: Option<&'a ImageRef>,
    /// The image that the built one starts from.
    pub base: Option<&'a ImageRef>,
    /// The one secret that it is about, instead of those that the file names.
    pub secret: Option<&'a str>,
    /// Whether a plan says that it changes who may call the service; `None` without a plan.
    pub changes_access: Option<bool>,
    /// Whether it is a job, and no service.
    pub job: bool,
}

impl<'a> Subject<'a> {
    /// A service, and what the file says of it.
    pub fn new(service: &'a ServiceName, spec: &'a ServiceSpec) -> Self {
        Self { service, spec, push: None, base: None, secret: None, changes_access: None, job: false }
    }

    /// The secrets that the service reads, each once, by name.
    pub fn secrets(&self) -> Vec<&'a SecretRef> {
        let mut all: Vec<&SecretRef> = self.spec.workload.secrets().map(|(_, secret)| secret).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|a, b| a.name == b.name);
        all
    }
}

/// One thing that must be allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The cloud's own name of it.
    pub permission: String,
    /// On what.
    pub on: Scope,
    /// Whose it is.
    pub who: Who,
    /// What it is used for.
    pub why: String,
    /// `None` = always. Else the case in which it is asked for, or what is not shown without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Where the cloud says so.
    pub source: &'static str,
}

/// What a permission is held on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Scope {
    /// What it is.
    pub kind: ScopeKind,
    /// As the file and the cloud's users name it; in capitals where nobody has named it yet.
    pub name: String,
}

impl Scope {
    /// One of a kind.
    pub fn new(kind: ScopeKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind.name(), self.name)
    }
}

/// What can have permissions of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScopeKind {
    /// Project, subscription or account.
    Project,
    /// The service.
    Service,
    /// The job.
    Job,
    /// The account that the service runs as.
    ServiceAccount,
    /// A repository of images.
    Repository,
    /// A secret.
    Secret,
}

impl ScopeKind {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Service => "service",
            Self::Job => "job",
            Self::ServiceAccount => "service account",
            Self::Repository => "repository",
            Self::Secret => "secret",
        }
    }
}

/// Who must be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Whoever types the command, or the pipeline that does.
    Deployer,
    /// The account that the service runs as.
    Runtime,
    /// The cloud itself, which pulls the image.
    Cloud,
}

impl Who {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployer => "the deployer",
            Self::Runtime => "the account that the service runs as",
            Self::Cloud => "the cloud's own account",
        }
    }
}

/// Whether a need is met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Which.
    pub need: Need,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What the cloud says of a need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// It is allowed.
    Yes,
    /// It is not; `asked` says on what, when that is less than all of it.
    No {
        /// Why not everything could be asked: the service does not exist yet.
        #[serde(skip_serializing_if = "Option::is_none")]
        asked: Option<String>,
    },
    /// It could not be asked.
    Unknown {
        /// Why.
        why: String,
    },
}

/// Who the grants are for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Members<'a> {
    /// As the cloud's policies name it; `None` = a placeholder.
    pub deployer: Option<&'a str>,
    /// The account that the service runs as; `None` = a placeholder.
    pub runtime: Option<&'a str>,
}

/// One role on one thing for one of them: the least one that the cloud has ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// Who gets it.
    pub who: Who,
    /// Their name in a policy.
    pub member: String,
    /// On what.
    pub on: Scope,
    /// The role.
    pub role: String,
    /// What it is wanted for.
    pub permissions: Vec<String>,
    /// What it gives besides.
    pub also: &'static str,
    /// The command that grants it.
    pub command: String,
}

/// A form in which others take permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A role of one's own, as the cloud's command reads it from a file.
    Role,
    /// Commands of the cloud's own client.
    Commands,
    /// Terraform.
    Terraform,
}

/// What a cloud's permissions are called. Pure: no I/O, no clock, no environment.
pub trait PermissionTable: fmt::Debug + Send + Sync {
    /// What `task` needs, sorted by who and on what.
    fn needs(&self, task: Task, subject: &Subject<'_>) -> Vec<Need>;

    /// The least roles that the cloud has ready for them, with what those give besides.
    fn grants(&self, needs: &[Need], members: Members<'_>) -> Vec<Grant>;

    /// A document that grants precisely `needs` where the cloud can; `name` is the task's or the tasks'.
    fn document(&self, form: Form, name: &str, needs: &[Need], members: Members<'_>) -> String;

    /// Which permission a refusal is about, when it says so.
    fn denied(&self, refusal: &Error) -> Option<String>;
}

/// Puts needs of several tasks together: each once, and always when any of them says so.
pub fn together(lists: impl IntoIterator<Item = Vec<Need>>) -> Vec<Need> {
    let mut all: Vec<Need> = Vec::new();
    for need in lists.into_iter().flatten() {
        let same =
            |known: &&mut Need| known.permission == need.permission && known.on == need.on && known.who == need.who;
        match all.iter_mut().find(same) {
            Some(known) if known.only.is_some() && need.only.is_none() => *known = need,
            Some(_) => {}
            None => all.push(need),
        }
    }
    all.sort_by(|a, b| (a.who, &a.on, &a.permission).cmp(&(b.who, &b.on, &b.permission)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_a_name_of_its_own() {
        for task in Task::ALL {
            assert_eq!(task.name().parse::<Task>().expect("known"), task);
        }
        assert!("everything".parse::<Task>().is_err());
    }

    #[test]
    fn what_one_task_always_needs_is_always_needed() {
        let need = |permission: &str, only: Option<&str>| Need {
            permission: permission.into(),
            on: Scope::new(ScopeKind::Project, "p"),
            who: Who::Deployer,
            why: "w".into(),
            only: only.map(str::to_owned),
            source: "s",
        };
        let all = together([vec![need("b", Some("now and then")), need("a", None)], vec![need("b", None)]]);
        assert_eq!(all, [need("a", None), need("b", None)]);
        let all = together([vec![need("b", None)], vec![need("b", Some("now and then"))]]);
        assert_eq!(all, [need("b", None)]);
    }
}
