//! A backend in memory: the reference that the contract suite is checked against.
//!
//! A revision whose environment has `EXIT` never becomes ready, as a container that exits at once.
mod jobs;
mod secrets;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind, Result,
    capability::{Capabilities, Feature, Size, VolumeKind},
    diff::diff,
    event::Ctx,
    evidence::{Evidence, Sign},
    fields::{FieldPath, sidecar},
    job::{JobLimits, Jobs},
    observed::{
        Fingerprint, Observed, ObservedService, Readiness, Revision, ServiceSummary, TrafficSplit, TrafficTarget,
    },
    ownership::ownership,
    permission::{Answer, Form, Grant, Held, Members, Need, PermissionTable, Subject, Task},
    plan::{Deploy, FORMAT, Intent, NewTraffic, Outcome, Plan, ResourceRef, Risk, Step, Verb},
    provider::{BoxStream, Invocation, LogLine, LogQuery, Provider, Registry, RegistryAuth, Severity},
    receipt::{self, Receipt},
    rollout::Answers,
    secret::SecretStore,
    spec::{
        ContainerSpec, EnvValue, ImageRef, Mebibytes, MilliCpu, ProviderId, RevisionId, ServiceName, ServiceRef,
        ServiceSpec,
    },
    traffic,
};

/// Services that live as long as this value.
#[derive(Debug)]
pub struct Memory {
    capabilities: Capabilities,
    services: Mutex<BTreeMap<ServiceName, Stored>>,
    secrets: secrets::Secrets,
    requests: Mutex<Vec<(ServiceName, RevisionId, u16, Timestamp)>>,
    jobs: jobs::Jobs,
}

#[derive(Clone, Debug)]
struct Stored {
    generation: u64,
    spec: ServiceSpec,
    receipt: Receipt,
    revisions: Vec<Revision>,
    targets: Vec<TrafficTarget>,
    /// The newest that became ready.
    ready: Option<RevisionId>,
    logs: Vec<LogLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Write {
        spec: Box<ServiceSpec>,
        receipt: Receipt,
        targets: Vec<TrafficTarget>,
    },
    /// `tag` is for the revision that a step before made.
    Route {
        targets: Vec<TrafficTarget>,
        tag: Option<String>,
    },
    Delete,
}

impl Default for Memory {
    fn default() -> Self {
        let capabilities = Capabilities {
            revisions: true,
            traffic_split: true,
            longest_name_and_tag: None,
            logs_follow: false,
            public_access: true,
            grpc_probe: true,
            readiness_probe: true,
            sidecars: true,
            volumes: VolumeKind::ALL.to_vec(),
            sizes: vec![Size {
                cpu_from: MilliCpu(1),
                cpu_to: MilliCpu(64_000),
                memory_from: Mebibytes(1),
                memory_to: Mebibytes(262_144),
            }],
            single_request_below: None,
            max_concurrency: Some(1000),
            max_instances: 1000,
            features: vec![Feature::Description, Feature::Annotations, Feature::WorkingDir],
            longest_timeout: None,
            ingress: Vec::new(),
            execution_environments: Vec::new(),
            longest_description: 512,
            jobs: Some(JobLimits { tasks: 10_000, retries: 10, timeout_seconds: 604_800, cpu_from: 1000 }),
        };
        Self {
            capabilities,
            services: Mutex::default(),
            secrets: secrets::Secrets::default(),
            requests: Mutex::default(),
            jobs: jobs::Jobs::default(),
        }
    }
}

impl Stored {
    fn split(&self) -> TrafficSplit {
        traffic::split(&self.targets, self.ready.as_ref())
    }

    fn url(&self, name: impl fmt::Display) -> Option<String> {
        self.ready.as_ref().map(|_| format!("memory://{name}"))
    }
}

impl Memory {
    /// A request that a revision answered now: nothing here answers by itself.
    pub fn answered(&self, service: &ServiceName, revision: &RevisionId, status: u16) {
        let request = (service.clone(), revision.clone(), status, Timestamp::now());
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }
    fn services_by_name(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Stored>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(service: &ServiceName) -> ServiceRef {
    let (scope, region) = ("here".to_owned(), "memory".to_owned());
    ServiceRef { provider: ProviderId("memory".to_owned()), scope, region, name: service.clone() }
}

fn fingerprint(stored: Option<&Stored>) -> Fingerprint {
    Fingerprint(stored.map_or_else(|| "none".to_owned(), |stored| stored.generation.to_string()))
}

fn exit_code(value: &EnvValue) -> Option<i32> {
    match value {
        EnvValue::Plain(text) => text.parse().ok(),
        EnvValue::Secret(_) => None,
    }
}

fn readiness(stored: &Stored) -> Readiness {
    stored.revisions.last().map_or(Readiness::Ready, |revision| revision.readiness.clone())
}

#[async_trait]
impl Provider for Memory {
    fn id(&self) -> ProviderId {
        ProviderId("memory".to_owned())
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn service_ref(&self, service: &ServiceName) -> ServiceRef {
        place(service)
    }
    async fn observe(&self, _cx: &Ctx, service: &ServiceName) -> Result<Observed> {
        let services = self.services_by_name();
        let stored = services.get(service);
        let observed = stored.map(|stored| ObservedService {
            raw: serde_json::Value::Null,
            receipt: Some(stored.receipt.clone()),
            spec: stored.spec.clone(),
            traffic: stored.split(),
            targets: stored.targets.clone(),
            latest: stored.revisions.last().map(|revision| revision.id.clone()),
            latest_ready: stored.ready.clone(),
            url: stored.url(service),
            readiness: readiness(stored),
            conditions: BTreeMap::new(),
        });
        Ok(Observed { service: observed, fingerprint: fingerprint(stored) })
    }
    async fn services(&self, _cx: &Ctx) -> Result<Vec<ServiceSummary>> {
        let services = self.services_by_name();
        let summary = |(name, stored): (&ServiceName, &Stored)| ServiceSummary {
            name: name.to_string(),
            url: stored.url(name),
            readiness: readiness(stored),
            ours: true,
            secrets: stored.spec.workload.live_secrets(),
        };
        Ok(services.iter().map(summary).collect())
    }
    async fn revisions(&self, _cx: &Ctx, service: &ServiceName) -> Result<Vec<Revision>> {
        let services = self.services_by_name();
        let Some(stored) = services.get(service) else { return Ok(Vec::new()) };
        let split = stored.split();
        let share = |revision: &Revision| split.0.get(&revision.id).copied().unwrap_or(0);
        let tags = |revision: &Revision| {
            let own = |target: &&TrafficTarget| match &target.revision {
                Some(to) => *to == revision.id,
                None => stored.ready.as_ref() == Some(&revision.id),
            };
            let tagged = stored.targets.iter().filter(own);
            tagged.filter_map(|target| Some((target.tag.clone()?, target.url.clone()))).collect()
        };
        let shown =
            |revision: &Revision| Revision { percent: share(revision), tags: tags(revision), ..revision.clone() };
        Ok(stored.revisions.iter().rev().map(shown).collect())
    }
    fn logs<'a>(&'a self, _cx: &'a Ctx, service: &'a ServiceName, query: LogQuery) -> BoxStream<'a, Result<LogLine>> {
        let mut lines = self.services_by_name().get(service).map(|stored| stored.logs.clone()).unwrap_or_default();
        lines.retain(|line| query.revision.is_none() || line.revision == query.revision);
        lines.retain(|line| query.severity.is_none() || Severity::parse(&line.severity) >= query.severity);
        let skipped = lines.len().saturating_sub(query.tail.unwrap_or(usize::MAX));
        Box::pin(stream::iter(lines.into_iter().skip(skipped).map(Ok)))
    }
    async fn answers(
        &self,
        _cx: &Ctx,
        service: &ServiceName,
        since: Timestamp,
    ) -> Result<BTreeMap<RevisionId, Answers>> {
        let mut answers = BTreeMap::<_, Answers>::new();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, revision, status, at) in requests.iter().filter(|(name, ..)| name == service) {
            if *at >= since {
                answers.entry(revision.clone()).or_default().count(*status);
            }
        }
        Ok(answers)
    }
    async fn evidence(
        &self,
        _cx: &Ctx,
        service: &ServiceName,
        revision: Option<&RevisionId>,
        _said: &str,
    ) -> Result<Evidence> {
        let services = self.services_by_name();
        let Some(stored) = services.get(service) else { return Ok(Evidence::default()) };
        let main = &stored.spec.workload.main;
        let own = |line: &&LogLine| revision.is_none() || line.revision.as_ref() == revision;
        Ok(Evidence {
            signs: main.env.get("EXIT").and_then(exit_code).map(Sign::Exited).into_iter().collect(),
            image: main.image.clone(),
            port: stored.spec.port,
            lines: stored.logs.iter().filter(own).map(|line| line.text.clone()).collect(),
            ..Evidence::default()
        })
    }
    fn plan(&self, service: &ServiceName, intent: &Intent, observed: &Observed) -> Result<Plan> {
        let resource = ResourceRef::new("service", service.as_str());
        let live = observed.service.as_ref();
        let mut kept = Vec::new();
        let steps = match (intent, live) {
            (Intent::Destroy, None) => Vec::new(),
            (Intent::Destroy, Some(_)) => {
                let mut step = Step::new(1, Verb::Delete, resource, &Action::Delete)?;
                step.risk = Risk::DataLoss;
                vec![step]
            }
            (Intent::Deploy(deploy), _) => plan_deploy(deploy, live, resource, &mut kept)?,
            (Intent::Traffic(_) | Intent::Restore(_), None) => {
                return Err(Error::new(ErrorKind::NotFound, "it does not exist").on(resource));
            }
            (Intent::Restore(revision), Some(live)) => plan_restore(revision, live, resource)?,
            (Intent::Traffic(change), Some(live)) => {
                route(1, &live.targets, traffic::changed(&live.targets, change)?, None, &resource)?
            }
            (Intent::Job(_), _) => return Err(Error::new(ErrorKind::Internal, "a job is no service")),
        };
        Ok(Plan {
            format: FORMAT,
            target: self.service_ref(service),
            intent: intent.clone(),
            base: observed.fingerprint.clone(),
            steps,
            kept,
        })
    }
    async fn apply(&self, cx: &Ctx, plan: &Plan, step: &Step, at: &Fingerprint) -> Result<Outcome> {
        let name = &plan.target.name;
        let mut services = self.services_by_name();
        let stored = services.get(name);
        if fingerprint(stored) != *at {
            return Err(Error::new(ErrorKind::Conflict, "the service was changed meanwhile").on(step.resource.clone()));
        }
        let (spec, receipt, targets) = match step.action()? {
            Action::Route { targets, tag } => {
                let Some(mut next) = stored.cloned() else {
                    return Err(Error::new(ErrorKind::NotFound, "it does not exist").on(step.resource.clone()));
                };
                next.route(targets, tag.as_deref())?;
                next.generation += 1;
                let (url, fingerprint) = (next.url(name), fingerprint(Some(&next)));
                services.insert(name.clone(), next);
                return Ok(Outcome { revision: None, url, fingerprint });
            }
            Action::Delete => {
                services.remove(name);
                return Ok(Outcome { revision: None, url: None, fingerprint: fingerprint(None) });
            }
            Action::Write { spec, receipt, targets } => (*spec, receipt.stamped(&cx.stamp, Some("memory")), targets),
        };
        let mut next = stored.cloned().unwrap_or_else(|| Stored {
            generation: 0,
            spec: ServiceSpec::default(),
            receipt: receipt.clone(),
            revisions: Vec::new(),
            targets: Vec::new(),
            ready: None,
            logs: Vec::new(),
        });
        next.generation += 1;
        let id = RevisionId(format!("{name}-{:05}", next.generation));
        let exits = spec.workload.main.env.contains_key("EXIT");
        let text = "the container exited before it listened";
        next.revisions.push(Revision {
            id: id.clone(),
            image: spec.workload.main.image.clone().unwrap_or(ImageRef(String::new())),
            percent: 0,
            readiness: if exits { Readiness::Failed(text.to_owned()) } else { Readiness::Ready },
            created: receipt.at.clone(),
            creator: Some(receipt.by.clone()),
            tags: BTreeMap::new(),
            receipt: Some(receipt.clone()),
            spec: spec.clone(),
            raw: serde_json::Value::Null,
        });
        (next.spec, next.receipt) = (spec, receipt);
        if exits {
            next.logs.push(LogLine {
                at: next.receipt.at.clone(),
                revision: Some(id.clone()),
                severity: "ERROR".to_owned(),
                text: text.to_owned(),
            });
        } else {
            next.targets = targets;
            next.ready = Some(id.clone());
        }
        let fingerprint = fingerprint(Some(&next));
        services.insert(name.clone(), next);
        if exits {
            return Err(Error::new(ErrorKind::Unhealthy, text).on(ResourceRef::new("revision", id.0)));
        }
        Ok(Outcome { revision: Some(id), url: Some(format!("memory://{name}")), fingerprint })
    }
    async fn invocation(&self, _cx: &Ctx, url: &str) -> Result<Invocation> {
        Err(Error::new(ErrorKind::Unsupported, format!("nothing answers at {url}")))
    }
    fn registry(&self) -> &dyn Registry {
        self
    }
    fn secrets(&self) -> &dyn SecretStore {
        &self.secrets
    }
    fn jobs(&self) -> &dyn Jobs {
        &self.jobs
    }
    fn permissions(&self) -> &dyn PermissionTable {
        self
    }
    async fn held(&self, _cx: &Ctx, needs: &[Need]) -> Result<Vec<Held>> {
        Ok(needs.iter().map(|need| Held { need: need.clone(), answer: Answer::Yes }).collect())
    }
    fn member(&self) -> Option<String> {
        None
    }
}

/// Everybody may do everything.
impl PermissionTable for Memory {
    fn needs(&self, _task: Task, _subject: &Subject<'_>) -> Vec<Need> {
        Vec::new()
    }
    fn grants(&self, _needs: &[Need], _members: Members<'_>) -> Vec<Grant> {
        Vec::new()
    }
    fn document(&self, _form: Form, _name: &str, _needs: &[Need], _members: Members<'_>) -> String {
        String::new()
    }
    fn denied(&self, _refusal: &Error) -> Option<String> {
        None
    }
}

impl Stored {
    /// A target that leads to no revision is refused, and nothing changes.
    fn route(&mut self, mut targets: Vec<TrafficTarget>, tag: Option<&str>) -> Result<()> {
        if let Some(tag) = tag {
            targets = traffic::tagged(&targets, tag, self.ready.clone());
        }
        for revision in targets.iter().filter_map(|target| target.revision.as_ref()) {
            if !self.revisions.iter().any(|known| known.id == *revision) {
                let text = format!("revision `{}` does not exist", revision.0);
                return Err(Error::new(ErrorKind::NotFound, text));
            }
        }
        self.targets = targets;
        Ok(())
    }
}

/// No step where both are the same.
fn route(
    id: u16,
    before: &[TrafficTarget],
    targets: Vec<TrafficTarget>,
    tag: Option<&str>,
    service: &ResourceRef,
) -> Result<Vec<Step>> {
    let mut changes = traffic::diff(before, &targets);
    changes.extend(tag.map(|tag| traffic::tag_for_new(before, tag)));
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let action = Action::Route { targets, tag: tag.map(str::to_owned) };
    let mut step = Step::new(id, Verb::Route, ResourceRef::new("traffic", &service.name), &action)?;
    step.changes = changes;
    Ok(vec![step])
}

fn plan_deploy(
    deploy: &Deploy,
    live: Option<&ObservedService>,
    resource: ResourceRef,
    kept: &mut Vec<FieldPath>,
) -> Result<Vec<Step>> {
    if live.is_none() && deploy.spec.workload.main.image.is_none() {
        return Err(Error::new(ErrorKind::ConfigInvalid, "a first deploy needs an image").at_field("image"));
    }
    if live.is_none() && deploy.traffic == NewTraffic::None {
        return Err(traffic::nobody_serves());
    }
    let own = ownership(&deploy.spec, &deploy.tables, &deploy.exact, live);
    let before = live.map(|live| live.spec.clone()).unwrap_or_default();
    let after = merge(&before, &deploy.spec, &own.write);
    let mut changes = diff(&before, &after);
    let failed = live.is_some_and(|live| matches!(live.readiness, Readiness::Failed(_)));
    *kept = own.kept;
    let new = !changes.is_empty() || failed;
    let (old, targets) = match live {
        Some(live) => (live.targets.clone(), traffic::deployed(live, deploy.traffic, new)?),
        None => (vec![TrafficTarget::latest(100)], vec![TrafficTarget::latest(100)]),
    };
    let tag = deploy.tag.as_deref();
    if !new {
        let newest = tag.filter(|_| !traffic::is_at_newest(live, tag));
        return route(1, &old, targets, newest, &resource);
    }
    changes.extend(traffic::diff(&old, &targets));
    let previous = live.and_then(ObservedService::serving);
    let receipt = resource_receipt(after.workload.main.image.as_ref(), previous, own.receipt);
    let verb = if live.is_some() { Verb::Update } else { Verb::Create };
    let action = Action::Write { spec: Box::new(after), receipt, targets: targets.clone() };
    let mut step = Step::new(1, verb, resource.clone(), &action)?;
    step.changes = changes;
    let mut steps = vec![step];
    if tag.is_some() {
        steps.extend(route(2, &targets, targets.clone(), tag, &resource)?);
    }
    Ok(steps)
}

/// What is the service's own stays as it is: who may call it, and its labels.
fn plan_restore(revision: &Revision, live: &ObservedService, resource: ResourceRef) -> Result<Vec<Step>> {
    let mut spec = revision.spec.clone();
    spec.public = live.spec.public;
    spec.workload.labels.clone_from(&live.spec.workload.labels);
    let mut changes = diff(&live.spec, &spec);
    let new = !changes.is_empty() || matches!(live.readiness, Readiness::Failed(_));
    let targets = traffic::deployed(live, NewTraffic::All, new)?;
    if !new {
        return route(1, &live.targets, targets, None, &resource);
    }
    changes.extend(traffic::diff(&live.targets, &targets));
    // Every revision here was deployed by us.
    let Some(mut receipt) = revision.receipt.clone().or_else(|| live.receipt.clone()) else { return Ok(Vec::new()) };
    receipt.digest = revision.image.digest().unwrap_or_default().to_owned();
    receipt.previous = live.serving();
    receipt.restored = Some(revision.id.clone());
    let mut step = Step::new(1, Verb::Update, resource, &Action::Write { spec: Box::new(spec), receipt, targets })?;
    step.changes = changes;
    Ok(vec![step])
}

/// Not stamped yet.
fn resource_receipt(image: Option<&ImageRef>, previous: Option<RevisionId>, owned: Vec<FieldPath>) -> Receipt {
    Receipt {
        format: receipt::FORMAT,
        config: String::new(),
        commit: None,
        digest: image.and_then(ImageRef::digest).unwrap_or_default().to_owned(),
        previous,
        restored: None,
        at: String::new(),
        by: String::new(),
        owned,
    }
}

/// `live` with the fields of `write` as `desired` has them.
fn merge(live: &ServiceSpec, desired: &ServiceSpec, write: &BTreeSet<FieldPath>) -> ServiceSpec {
    let mut merged = live.clone();
    // A sidecar that the file lacks has fields to write only where it goes.
    let lost = |name: &String| write.iter().any(|path| sidecar(path).is_some_and(|(other, _)| other == name));
    merged.workload.sidecars.retain(|name, _| desired.workload.sidecars.contains_key(name) || !lost(name));
    for path in write {
        if let Some((name, field)) = sidecar(path) {
            if let Some(from) = desired.workload.sidecars.get(name) {
                merge_container(merged.workload.sidecars.entry(name.to_owned()).or_default(), from, field);
            }
            continue;
        }
        match path.as_str() {
            "service.port" => merged.port = desired.port,
            "service.public" => merged.public = desired.public,
            "service_account" => merged.workload.service_account.clone_from(&desired.workload.service_account),
            "scaling.min" => merged.scaling.min = desired.scaling.min,
            "scaling.max" => merged.scaling.max = desired.scaling.max,
            "scaling.concurrency" => merged.scaling.concurrency = desired.scaling.concurrency,
            _ => match path.split_once('.') {
                Some(("labels", name)) => replace(&mut merged.workload.labels, name, desired.workload.labels.get(name)),
                Some(("volumes", name)) => {
                    replace(&mut merged.workload.volumes, name, desired.workload.volumes.get(name));
                    let (to, from) = (&mut merged.workload.main.volumes, &desired.workload.main.volumes);
                    replace(to, name, from.get(name));
                }
                Some(("service", field)) => merge_container(&mut merged.workload.main, &desired.workload.main, field),
                _ => merge_container(&mut merged.workload.main, &desired.workload.main, path),
            },
        }
    }
    merged
}

fn merge_container(to: &mut ContainerSpec, from: &ContainerSpec, field: &str) {
    match field {
        "image" => to.image.clone_from(&from.image),
        "command" => to.command.clone_from(&from.command),
        "args" => to.args.clone_from(&from.args),
        "working_dir" => to.working_dir.clone_from(&from.working_dir),
        "depends_on" => to.depends_on.clone_from(&from.depends_on),
        "resources.cpu" => to.cpu = from.cpu,
        "resources.memory" => to.memory = from.memory,
        "health.startup" => to.probes.startup.clone_from(&from.probes.startup),
        "health.liveness" => to.probes.liveness.clone_from(&from.probes.liveness),
        "health.readiness" => to.probes.readiness.clone_from(&from.probes.readiness),
        _ => match field.split_once('.') {
            Some(("secrets", file)) if file.starts_with('/') => replace(&mut to.mounts, file, from.mounts.get(file)),
            // A variable is a text or a secret.
            Some(("env" | "secrets", name)) => replace(&mut to.env, name, from.env.get(name)),
            Some(("volumes", name)) => replace(&mut to.volumes, name, from.volumes.get(name)),
            _ => {}
        },
    }
}

fn replace<V: Clone>(table: &mut BTreeMap<String, V>, name: &str, value: Option<&V>) {
    match value {
        Some(value) => table.insert(name.to_owned(), value.clone()),
        None => table.remove(name),
    };
}

#[async_trait]
impl Registry for Memory {
    fn default_repository(&self, image: &str) -> String {
        format!("memory/{image}")
    }
    async fn login(&self, _cx: &Ctx, _image: &ImageRef) -> Result<Option<RegistryAuth>> {
        Ok(None)
    }
    async fn renew(&self, _cx: &Ctx, _refused: &RegistryAuth) -> Result<bool> {
        Ok(false)
    }
    async fn ensure_repository(&self, _cx: &Ctx, _image: &ImageRef) -> Result<bool> {
        Ok(false)
    }
}
