//! A backend in memory: the reference that the contract suite is checked against.
//!
//! A revision whose environment has `EXIT` never becomes ready, as a container that exits at once.
mod secrets;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::stream;
use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind, Result,
    capability::{Capabilities, Size},
    diff::diff,
    event::Ctx,
    evidence::{Evidence, Sign},
    fields::FieldPath,
    observed::{Fingerprint, Observed, ObservedService, Readiness, Revision, ServiceSummary, TrafficSplit},
    ownership::ownership,
    permission::{Answer, Form, Grant, Held, Members, Need, PermissionTable, Subject, Task},
    plan::{Deploy, FORMAT, Intent, Outcome, Plan, ResourceRef, Risk, Step, Verb},
    provider::{BoxStream, Invocation, LogLine, LogQuery, Provider, Registry, RegistryAuth},
    receipt::{self, Receipt},
    secret::SecretStore,
    spec::{EnvValue, ImageRef, Mebibytes, MilliCpu, ProviderId, RevisionId, ServiceName, ServiceRef, ServiceSpec},
};

/// Services that live as long as this value.
#[derive(Debug)]
pub struct Memory {
    capabilities: Capabilities,
    services: Mutex<BTreeMap<ServiceName, Stored>>,
    secrets: secrets::Secrets,
}

#[derive(Clone, Debug)]
struct Stored {
    generation: u64,
    spec: ServiceSpec,
    receipt: Receipt,
    revisions: Vec<Revision>,
    serving: Option<RevisionId>,
    logs: Vec<LogLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Write { spec: Box<ServiceSpec>, receipt: Receipt },
    Delete,
}

impl Default for Memory {
    fn default() -> Self {
        let capabilities = Capabilities {
            revisions: true,
            logs_follow: false,
            public_access: true,
            grpc_probe: true,
            sizes: vec![Size {
                cpu_from: MilliCpu(1),
                cpu_to: MilliCpu(64_000),
                memory_from: Mebibytes(1),
                memory_to: Mebibytes(262_144),
            }],
            single_request_below: None,
            max_concurrency: Some(1000),
            max_instances: 1000,
        };
        Self { capabilities, services: Mutex::default(), secrets: secrets::Secrets::default() }
    }
}

impl Memory {
    fn services_by_name(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Stored>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let (scope, region) = ("here".to_owned(), "memory".to_owned());
        ServiceRef { provider: self.id(), scope, region, name: service.clone() }
    }
    async fn observe(&self, _cx: &Ctx, service: &ServiceName) -> Result<Observed> {
        let services = self.services_by_name();
        let stored = services.get(service);
        let observed = stored.map(|stored| ObservedService {
            raw: serde_json::Value::Null,
            receipt: Some(stored.receipt.clone()),
            spec: stored.spec.clone(),
            traffic: TrafficSplit(stored.serving.iter().map(|revision| (revision.clone(), 100)).collect()),
            latest: stored.revisions.last().map(|revision| revision.id.clone()),
            latest_ready: stored.serving.clone(),
            url: stored.serving.as_ref().map(|_| format!("memory://{service}")),
            readiness: readiness(stored),
        });
        Ok(Observed { service: observed, fingerprint: fingerprint(stored) })
    }
    async fn services(&self, _cx: &Ctx) -> Result<Vec<ServiceSummary>> {
        let services = self.services_by_name();
        let summary = |(name, stored): (&ServiceName, &Stored)| ServiceSummary {
            name: name.to_string(),
            url: stored.serving.as_ref().map(|_| format!("memory://{name}")),
            readiness: readiness(stored),
            ours: true,
            secrets: stored.spec.workload.main.live_secrets(),
        };
        Ok(services.iter().map(summary).collect())
    }
    async fn revisions(&self, _cx: &Ctx, service: &ServiceName) -> Result<Vec<Revision>> {
        let services = self.services_by_name();
        let Some(stored) = services.get(service) else { return Ok(Vec::new()) };
        let share = |revision: &Revision| if stored.serving.as_ref() == Some(&revision.id) { 100 } else { 0 };
        Ok(stored
            .revisions
            .iter()
            .rev()
            .map(|revision| Revision { percent: share(revision), ..revision.clone() })
            .collect())
    }
    fn logs<'a>(&'a self, _cx: &'a Ctx, service: &'a ServiceName, query: LogQuery) -> BoxStream<'a, Result<LogLine>> {
        let mut lines = self.services_by_name().get(service).map(|stored| stored.logs.clone()).unwrap_or_default();
        lines.retain(|line| query.revision.is_none() || line.revision == query.revision);
        let skipped = lines.len().saturating_sub(query.tail.unwrap_or(usize::MAX));
        Box::pin(stream::iter(lines.into_iter().skip(skipped).map(Ok)))
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
        let step = match (intent, live) {
            (Intent::Destroy, None) => None,
            (Intent::Destroy, Some(_)) => {
                let mut step = Step::new(1, Verb::Delete, resource, &Action::Delete)?;
                step.risk = Risk::DataLoss;
                Some(step)
            }
            (Intent::Deploy(deploy), _) => plan_deploy(deploy, live, resource, &mut kept)?,
        };
        Ok(Plan {
            format: FORMAT,
            target: self.service_ref(service),
            intent: intent.clone(),
            base: observed.fingerprint.clone(),
            steps: step.into_iter().collect(),
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
        let (spec, receipt) = match step.action()? {
            Action::Delete => {
                services.remove(name);
                return Ok(Outcome { revision: None, url: None, fingerprint: fingerprint(None) });
            }
            Action::Write { spec, receipt } => (*spec, receipt.stamped(&cx.stamp, Some("memory"))),
        };
        let mut next = stored.cloned().unwrap_or_else(|| Stored {
            generation: 0,
            spec: ServiceSpec::default(),
            receipt: receipt.clone(),
            revisions: Vec::new(),
            serving: None,
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
            next.serving = Some(id.clone());
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

fn plan_deploy(
    deploy: &Deploy,
    live: Option<&ObservedService>,
    resource: ResourceRef,
    kept: &mut Vec<FieldPath>,
) -> Result<Option<Step>> {
    if live.is_none() && deploy.spec.workload.main.image.is_none() {
        return Err(Error::new(ErrorKind::ConfigInvalid, "a first deploy needs an image").at_field("image"));
    }
    let own = ownership(&deploy.spec, &deploy.tables, &deploy.exact, live);
    let before = live.map(|live| live.spec.clone()).unwrap_or_default();
    let after = merge(&before, &deploy.spec, &own.write);
    let changes = diff(&before, &after);
    let failed = live.is_some_and(|live| matches!(live.readiness, Readiness::Failed(_)));
    *kept = own.kept;
    if changes.is_empty() && !failed {
        return Ok(None);
    }
    let digest = after.workload.main.image.as_ref().and_then(|image| image.digest()).unwrap_or_default().to_owned();
    let receipt = Receipt {
        format: receipt::FORMAT,
        config: String::new(),
        commit: None,
        digest,
        previous: live.and_then(|live| live.latest_ready.clone()),
        at: String::new(),
        by: String::new(),
        owned: own.receipt,
    };
    let verb = if live.is_some() { Verb::Update } else { Verb::Create };
    let mut step = Step::new(1, verb, resource, &Action::Write { spec: Box::new(after), receipt })?;
    step.changes = changes;
    Ok(Some(step))
}

/// `live` with the fields of `write` as `desired` has them.
fn merge(live: &ServiceSpec, desired: &ServiceSpec, write: &BTreeSet<FieldPath>) -> ServiceSpec {
    let mut merged = live.clone();
    let (to, from) = (&mut merged.workload.main, &desired.workload.main);
    for path in write {
        match path.as_str() {
            "image" => to.image.clone_from(&from.image),
            "service.port" => merged.port = desired.port,
            "service.public" => merged.public = desired.public,
            "service.command" => to.command.clone_from(&from.command),
            "service.args" => to.args.clone_from(&from.args),
            "service_account" => merged.workload.service_account.clone_from(&desired.workload.service_account),
            "resources.cpu" => to.cpu = from.cpu,
            "resources.memory" => to.memory = from.memory,
            "scaling.min" => merged.scaling.min = desired.scaling.min,
            "scaling.max" => merged.scaling.max = desired.scaling.max,
            "scaling.concurrency" => merged.scaling.concurrency = desired.scaling.concurrency,
            "health.startup" => to.probes.startup.clone_from(&from.probes.startup),
            "health.liveness" => to.probes.liveness.clone_from(&from.probes.liveness),
            _ => match path.split_once('.') {
                Some(("secrets", file)) if file.starts_with('/') => {
                    replace(&mut to.mounts, file, from.mounts.get(file));
                }
                // A variable is a text or a secret.
                Some(("env" | "secrets", name)) => replace(&mut to.env, name, from.env.get(name)),
                Some(("labels", name)) => replace(&mut merged.workload.labels, name, desired.workload.labels.get(name)),
                _ => {}
            },
        }
    }
    merged
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
