//! The table: which permissions Google asks for at the calls that a task makes.
//!
//! It follows the client, call by call: `run::client`, `operations`, `artifact_registry`, `logging`,
//! `secret_manager`. Each row has the page of Google that names it.
use carrack_core::{
    permission::{Need, Scope, ScopeKind, Subject, Task, Who, together},
    spec::{ImageRef, SecretRef},
};

use super::{
    Table,
    place::{self, DEFAULT_ACCOUNT, SOME_ACCOUNT, SOME_REPOSITORY, SOME_SECRET},
};

const RUN: &str = "https://cloud.google.com/run/docs/reference/iam/permissions";
const IDENTITY: &str = "https://cloud.google.com/run/docs/configuring/services/service-identity";
const REGISTRY: &str = "https://cloud.google.com/artifact-registry/docs/access-control";
const DEPLOYED_IMAGE: &str = "https://cloud.google.com/artifact-registry/docs/integrate-cloud-run";
const OTHER_PROJECT: &str = "https://cloud.google.com/run/docs/deploying#other-projects";
const INVOKE: &str = "https://cloud.google.com/run/docs/authenticating/overview";
const LOGGING: &str = "https://cloud.google.com/logging/docs/access-control";
const SECRETS: &str = "https://cloud.google.com/secret-manager/docs/access-control";
const SECRETS_OF_RUN: &str = "https://cloud.google.com/run/docs/configuring/services/secrets#access-secret";
const PROJECTS: &str = "https://cloud.google.com/resource-manager/docs/access-control-proj";

pub(super) const ACT_AS: &str = "iam.serviceAccounts.actAs";
pub(super) const READ: &str = "artifactregistry.repositories.downloadArtifacts";
const WRITE: &str = "artifactregistry.repositories.uploadArtifacts";
pub(super) const VALUE: &str = "secretmanager.versions.access";

pub(super) fn needs(table: &Table, task: Task, subject: &Subject<'_>) -> Vec<Need> {
    if let Some(parts) = parts(task) {
        return together(parts.iter().map(|part| needs(table, *part, subject)).chain([pipeline(table, task, subject)]));
    }
    let mut list = List { table, subject, account: SOME_ACCOUNT, needs: Vec::new() };
    match task {
        Task::First => list.first(),
        Task::Change => list.change(true),
        Task::Image => list.change(false),
        Task::Plan => list.plan(),
        Task::Push => list.push(),
        Task::Status => list.status(),
        Task::Traffic => list.traffic(),
        Task::History => list.history(),
        Task::Rollback => list.rollback(),
        Task::Logs => list.project("logging.logEntries.list", "reads log entries", LOGGING),
        Task::Destroy => list.destroy(),
        Task::Check => list.check(),
        Task::JobsRun => list.run(),
        Task::JobsExecutions => {
            list.job("run.executions.list", "lists executions");
            list.job("run.tasks.list", "lists the tasks of one");
            list.only("for `jobs tasks`");
        }
        Task::JobsCancel => {
            list.job("run.executions.cancel", "ends the execution");
            list.wait();
        }
        Task::Deploy | Task::Ci => {}
        secrets => list.secret_task(secrets),
    }
    together([list.needs])
}

/// Tasks that are several.
const fn parts(task: Task) -> Option<&'static [Task]> {
    match task {
        Task::Deploy => Some(&[Task::First, Task::Change]),
        Task::Ci => Some(&[Task::Push, Task::Plan, Task::Change]),
        _ => None,
    }
}

/// What a pipeline needs of its own: its first run may make the service, and its plan is of a pushed image.
fn pipeline(table: &Table, task: Task, subject: &Subject<'_>) -> Vec<Need> {
    let mut list = List { table, subject, account: SOME_ACCOUNT, needs: Vec::new() };
    if task == Task::Ci {
        list.create();
        list.only("when the service is not there yet, and the pipeline is to make it");
    }
    list.needs
}

struct List<'a> {
    table: &'a Table,
    subject: &'a Subject<'a>,
    /// The account that the service runs as, where the file does not say.
    account: &'static str,
    needs: Vec<Need>,
}

impl<'a> List<'a> {
    fn put(&mut self, who: Who, on: Scope, permission: &str, why: &str, source: &'static str) {
        self.needs.push(Need { permission: permission.into(), on, who, why: why.into(), only: None, source });
    }

    /// The last one is needed only in this case.
    fn only(&mut self, case: &str) {
        if let Some(last) = self.needs.last_mut() {
            last.only = Some(case.to_owned());
        }
    }

    fn project(&mut self, permission: &str, why: &str, source: &'static str) {
        let on = Scope::new(ScopeKind::Project, self.table.project.clone());
        self.put(Who::Deployer, on, permission, why, source);
    }

    fn service(&mut self, permission: &str, why: &str, source: &'static str) {
        let name = self.subject.service.as_str();
        if !self.subject.job {
            return self.put(Who::Deployer, Scope::new(ScopeKind::Service, name), permission, why, source);
        }
        // The same calls, of a job.
        let (permission, why) = (permission.replace("run.services.", "run.jobs."), why.replace("service", "job"));
        self.put(Who::Deployer, Scope::new(ScopeKind::Job, name), &permission, &why, source);
    }

    /// What is not there yet has no policy of its own.
    fn create(&mut self) {
        match self.subject.job {
            true => self.project("run.jobs.create", "makes the job", RUN),
            false => self.project("run.services.create", "makes the service", RUN),
        }
    }

    /// On the job, whatever the file is of.
    fn job(&mut self, permission: &str, why: &str) {
        let on = Scope::new(ScopeKind::Job, self.subject.service.as_str());
        self.put(Who::Deployer, on, permission, why, RUN);
    }

    fn secret(&mut self, secret: &str, permission: &str, why: &str) {
        self.put(Who::Deployer, Scope::new(ScopeKind::Secret, secret), permission, why, SECRETS);
    }

    fn file_says_public(&self) -> bool {
        self.subject.spec.public.is_some()
    }

    /// GET services/NAME, and GET services/NAME:getIamPolicy, whose refusal is no failure unless the file says `public`.
    fn observe(&mut self) {
        self.service("run.services.get", "reads the live service", RUN);
        if self.subject.job {
            return;
        }
        self.service("run.services.getIamPolicy", "reads who may call the service", RUN);
        if !self.file_says_public() {
            self.only("without it whether the service is public is unknown, and stays as it is");
        }
    }

    /// POST operations/NAME:wait
    fn wait(&mut self) {
        self.project("run.operations.get", "sees how the change ends", RUN);
    }

    fn act_as(&mut self) {
        let email = self.subject.spec.workload.service_account.as_deref().unwrap_or(self.account);
        let on = Scope::new(ScopeKind::ServiceAccount, email);
        self.put(Who::Deployer, on, ACT_AS, "lets the service run as this account", IDENTITY);
    }

    /// What is built, else what the file or the flag names.
    fn image(&self) -> Option<&ImageRef> {
        self.subject.push.or(self.subject.spec.workload.main.image.as_ref())
    }

    /// Since 2025 Cloud Run asks that whoever deploys may read the image.
    fn deployed_image(&mut self) {
        let on = match self.image() {
            Some(image) => place::repository(image),
            None => Some(Scope::new(ScopeKind::Repository, SOME_REPOSITORY)),
        };
        self.read_image(on);
        for image in self.sidecar_images() {
            self.read_image(place::repository(image));
        }
    }

    fn sidecar_images(&self) -> Vec<&'a ImageRef> {
        self.subject.spec.workload.sidecars.values().filter_map(|sidecar| sidecar.image.as_ref()).collect()
    }

    fn read_image(&mut self, on: Option<Scope>) {
        // An image of another registry is everybody's.
        let Some(on) = on else { return };
        let why = "deploys an image that is in it";
        // Several containers may have their images in one repository.
        if self.needs.iter().any(|need| need.on == on && need.why == why) {
            return;
        }
        self.put(Who::Deployer, on.clone(), READ, why, DEPLOYED_IMAGE);
        if !place::is_open(&on) && place::Repository::of(&on).project != self.table.project {
            self.put(Who::Cloud, on, READ, "pulls the image, which is in another project", OTHER_PROJECT);
        }
    }

    /// The digest of a tag, by HEAD manifests/TAG.
    fn tag(&mut self) {
        let floating = self.sidecar_images().into_iter().filter(|image| image.digest().is_none());
        let mut repositories: Vec<Scope> = floating.filter_map(place::repository).collect();
        repositories.dedup();
        for on in repositories {
            self.put(Who::Deployer, on, READ, "looks the image's digest up", REGISTRY);
        }
        let Some(image) = self.image() else { return };
        let built = self.subject.push.is_some();
        if (image.digest().is_some() && !built) || place::repository(image).is_none() {
            return;
        }
        if let Some(on) = place::repository(image) {
            self.put(Who::Deployer, on, READ, "looks the image's digest up", REGISTRY);
            if built {
                self.only("for `plan --out`, which is of an image that the registry has");
            }
        }
    }

    fn base(&mut self) {
        if let Some(on) = self.subject.base.and_then(place::repository) {
            self.put(Who::Deployer, on, READ, "reads the image that ours starts from", REGISTRY);
            self.only("when that repository is not public");
        }
    }

    /// HEAD and PUT of blobs and manifests; the repository is looked for and made when those are refused.
    fn push(&mut self) {
        self.base();
        let Some(on) = self.subject.push.and_then(place::repository) else { return };
        self.put(Who::Deployer, on.clone(), READ, "asks which parts of the image are there", REGISTRY);
        self.put(Who::Deployer, on, WRITE, "pushes the image", REGISTRY);
        self.repository();
        for need in self.needs.iter_mut().rev().take(2) {
            need.only = Some("when the repository is not there yet".to_owned());
        }
    }

    fn repository(&mut self) {
        let Some(on) = self.subject.push.and_then(place::repository) else { return };
        let project = place::Repository::of(&on).project;
        self.put(
            Who::Deployer,
            on,
            "artifactregistry.repositories.get",
            "sees whether there is a repository",
            REGISTRY,
        );
        let on = Scope::new(ScopeKind::Project, project);
        self.put(Who::Deployer, on, "artifactregistry.repositories.create", "makes the repository", REGISTRY);
    }

    /// GET secrets/NAME/versions/VERSION of each, and whether the service's account may read it. A version that stays as
    /// it is written need not be looked up.
    fn secrets(&mut self) {
        let account = self.subject.spec.workload.service_account.is_some();
        let names = self.subject.secrets();
        for SecretRef { name, .. } in &names {
            self.secret(name, "secretmanager.versions.get", "sees which version there is, and that it is enabled");
            let mut all = self.subject.spec.workload.secrets();
            if all.all(|(_, secret)| secret.name != *name || secret.stays()) {
                self.only("without it a version that is not enabled is found by the change only");
            }
            self.secret(name, "secretmanager.secrets.getIamPolicy", "sees whether the service may read the secret");
            self.only("without it a service that may not read a secret is found by the change only");
        }
        if !names.is_empty() && !account {
            self.project("resourcemanager.projects.get", "finds the default account's name", PROJECTS);
            self.only("without it a service that may not read a secret is found by the change only");
        }
    }

    /// GET of a private service's URL.
    fn verify(&mut self) {
        if self.subject.spec.public != Some(true) && !self.subject.job {
            self.service("run.routes.invoke", "asks the service itself, when it is private", INVOKE);
            self.only("without it that it answers is not seen");
        }
    }

    fn runtime(&mut self) {
        let names: Vec<String> = self.subject.secrets().iter().map(|secret| secret.name.clone()).collect();
        for name in names {
            let on = Scope::new(ScopeKind::Secret, name);
            self.put(Who::Runtime, on, VALUE, "reads the secret's value when an instance starts", SECRETS_OF_RUN);
        }
    }

    /// When a revision does not start: its settings, conditions and last lines.
    fn evidence(&mut self) {
        if self.subject.job {
            return;
        }
        let case = "when a revision does not start, to say why";
        self.service("run.revisions.get", "reads a failed revision", RUN);
        self.only(case);
        self.project("logging.logEntries.list", "reads a failed revision's last lines", LOGGING);
        self.only(case);
    }

    fn plan(&mut self) {
        self.observe();
        self.tag();
        self.base();
        self.secrets();
    }

    fn first(&mut self) {
        self.account = DEFAULT_ACCOUNT;
        self.service("run.services.get", "looks for the live service", RUN);
        self.tag();
        self.secrets();
        self.push();
        self.repository();
        self.deployed_image();
        self.create();
        self.wait();
        self.act_as();
        if self.subject.spec.public == Some(true) {
            self.service("run.services.setIamPolicy", "lets anyone call it", RUN);
        }
        self.evidence();
        self.verify();
        self.runtime();
    }

    fn change(&mut self, settings: bool) {
        self.plan();
        self.push();
        self.deployed_image();
        self.service("run.services.update", "changes the service", RUN);
        self.wait();
        self.act_as();
        if settings && self.file_says_public() && self.subject.changes_access != Some(false) {
            self.service("run.services.setIamPolicy", "sets who may call it", RUN);
            if self.subject.changes_access.is_none() {
                self.only("when `public` in the file is not what is live");
            }
        }
        self.evidence();
        self.verify();
        self.runtime();
    }

    fn status(&mut self) {
        self.service("run.services.get", "reads the live service", RUN);
        if self.subject.job {
            return self.job("run.executions.list", "lists its executions");
        }
        self.service("run.revisions.list", "lists its revisions", RUN);
        self.service("run.services.getIamPolicy", "reads who may call the service", RUN);
        self.only("without it whether the service is public is unknown");
        self.project("run.services.list", "lists services", RUN);
        self.only("for `status --all`");
        self.evidence();
    }

    /// A change of traffic alone sends no template, so that nobody acts as the service's account.
    fn traffic(&mut self) {
        self.service("run.services.get", "reads the live service", RUN);
        self.service("run.services.getIamPolicy", "reads who may call the service", RUN);
        self.only("without it whether the service is public is unknown");
        self.service("run.revisions.list", "sees which revisions there are", RUN);
        self.service("run.services.update", "sends the traffic elsewhere", RUN);
        self.wait();
    }

    fn history(&mut self) {
        self.service("run.services.get", "reads who serves", RUN);
        self.service("run.revisions.list", "lists its revisions", RUN);
    }

    /// GET secrets/NAME/versions/VERSION and HEAD manifests/DIGEST of what the revision needs, then one PATCH.
    fn rollback(&mut self) {
        self.traffic();
        for SecretRef { name, .. } in &self.subject.secrets() {
            self.secret(name, "secretmanager.versions.get", "sees that the secret's version can still be read");
            self.only("without it a version that is gone is found by the instances only");
        }
        self.deployed_image();
        if let Some(last) = self.needs.iter_mut().rev().find(|need| need.permission == READ) {
            last.only = Some("for `rollback --config`, and to see that the image is still there".to_owned());
        }
        self.act_as();
        self.only("for `rollback --config`");
        self.evidence();
        self.verify();
    }

    fn destroy(&mut self) {
        self.service("run.services.get", "reads the live service", RUN);
        self.service("run.services.delete", "removes it", RUN);
        self.wait();
    }

    /// POST jobs/NAME:run, GET executions/NAME until it ends, and what it wrote.
    fn run(&mut self) {
        self.job("run.jobs.run", "starts an execution");
        self.job("run.jobs.runWithOverrides", "starts one that is otherwise than its job");
        self.only("for `--arg`, `--env`, `--tasks` and `--task-timeout`");
        self.job("run.jobs.get", "finds the container that they are for");
        self.only("for `--arg`, `--env`, `--tasks` and `--task-timeout`");
        self.job("run.executions.get", "sees how it ends");
        self.only("not with `--no-wait`");
        self.job("run.tasks.list", "sees how its tasks ended");
        self.only("not with `--no-wait`");
        self.project("logging.logEntries.list", "reads what it writes", LOGGING);
        self.only("without it, and with `--no-wait`, its log is not shown");
    }

    /// `testIamPermissions` itself asks for none.
    fn check(&mut self) {
        self.service("run.services.get", "finds the account and the image of the live service", RUN);
        self.only("without it only what the file names is asked");
        if self.subject.spec.workload.service_account.is_none() {
            self.project("resourcemanager.projects.get", "finds the default account's name", PROJECTS);
            self.only("without it the default account is not asked");
        }
        let names: Vec<String> = self.subject.secrets().iter().map(|secret| secret.name.clone()).collect();
        for name in names {
            self.secret(&name, "secretmanager.secrets.getIamPolicy", "sees whether the service may read the secret");
            self.only("without it the service's side is unknown");
        }
    }

    fn secret_task(&mut self, task: Task) {
        if task == Task::SecretsList {
            return self.project("secretmanager.secrets.list", "lists secrets", SECRETS);
        }
        let named = self.subject.secret.map(str::to_owned);
        let of_file = || self.subject.secrets().iter().map(|secret| secret.name.clone()).collect::<Vec<_>>();
        let mut names = named.map_or_else(of_file, |name| vec![name]);
        if names.is_empty() {
            names.push(SOME_SECRET.to_owned());
        }
        for name in &names {
            self.one_secret(task, name);
        }
    }

    fn one_secret(&mut self, task: Task, name: &str) {
        let look = "looks for the secret";
        match task {
            Task::SecretsSet => {
                self.secret(name, "secretmanager.versions.add", "adds a version");
                self.secret(name, "secretmanager.secrets.get", look);
                self.only("when the secret is not there yet, or `--label` or `--replica` is given");
                self.project("secretmanager.secrets.create", "makes the secret", SECRETS);
                self.only("when the secret is not there yet");
                self.secret(name, "secretmanager.secrets.update", "sets labels");
                self.only("for `--label` on a secret that is there");
                self.secret(name, VALUE, "sees whether the value is another one");
                self.only("without it a value that is the same makes a new version");
            }
            Task::SecretsGet => self.secret(name, VALUE, "reads the value"),
            Task::SecretsVersions => self.secret(name, "secretmanager.versions.list", "lists versions"),
            Task::SecretsEnable => self.version(name, "secretmanager.versions.enable", "enables the version"),
            Task::SecretsDisable => self.version(name, "secretmanager.versions.disable", "disables the version"),
            Task::SecretsDestroy => self.version(name, "secretmanager.versions.destroy", "destroys the version"),
            Task::SecretsDelete => {
                self.secret(name, "secretmanager.secrets.get", look);
                self.secret(name, "secretmanager.secrets.delete", "deletes the secret");
            }
            Task::SecretsGrant => {
                self.secret(name, "secretmanager.secrets.getIamPolicy", "reads who may read the value");
                self.secret(name, "secretmanager.secrets.setIamPolicy", "lets the service's account read the value");
                if self.subject.spec.workload.service_account.is_none() {
                    let case = "when neither the file nor `--to-account` names the account";
                    self.service("run.services.get", "finds the account of the live service", RUN);
                    self.only(case);
                    self.project("resourcemanager.projects.get", "finds the default account's name", PROJECTS);
                    self.only(case);
                }
            }
            _ => {}
        }
    }

    fn version(&mut self, name: &str, permission: &str, why: &str) {
        self.secret(name, "secretmanager.versions.get", "reads the version's state");
        self.secret(name, permission, why);
    }
}
