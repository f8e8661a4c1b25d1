//! Google Cloud Run, with Artifact Registry and Cloud Logging.
//!
//! | module | what it holds |
//! |---|---|
//! | [`auth`] | where access tokens come from |
//! | `run::wire` | the parts of a service that are read |
//! | `run::edit` | a neutral spec written into a live service, and read back |
//! | `run::scalars` | the service's own settings, read and written; `run::network` and `run::cloud_sql` those with parts |
//! | `run::mounts` | secrets as files: volumes and their mounts; `run::secret_names` knows one secret by each of its names |
//! | `run::unnamed` | what is live and has no key in carrack.toml |
//! | `run::traffic` | who gets how much of it, target by target |
//! | `run::pass_through` | fields in Cloud Run's own words, checked offline; `run::passed` writes and removes them, `run::schema` knows their types, `run::verdict` which keys say them |
//! | `run::adopt` | a live service as a carrack.toml would have it |
//! | `run::plan` | from observed to steps; pure |
//! | `run::apply` | one step, sent and waited for |
//! | `run::revisions` | its revisions, with what deploys recorded on them |
//! | `run::restore` | the settings of an earlier revision, made anew |
//! | `run::evidence` | what a failed deploy left behind; `run::signs` reads Cloud Run's texts |
//! | `run::jobs` | jobs and their executions, in the words of services |
//! | `run::client` | the calls of the Cloud Run Admin API v2 |
//! | `iam` | who may invoke a service |
//! | `operations` | long-running operations |
//! | `artifact_registry` | credentials and repositories for images |
//! | `logging` | log lines by `entries:list`; `requests` counts what was answered |
//! | `secret_manager` | secrets, their versions, and who may read them |
//! | [`permissions`] | which permissions our calls need, and whether they are held |
//! | `error` | Google's error bodies |

mod artifact_registry;
pub mod auth;
mod error;
mod iam;
mod logging;
mod operations;
pub mod permissions;
mod requests;
mod run;
mod secret_manager;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use artifact_registry::default_repository;
use async_trait::async_trait;
use carrack_core::{
    Error, Result,
    adopted::Adopted,
    capability::{Capabilities, ExecutionEnvironment, Feature, Size, VolumeKind},
    event::Ctx,
    evidence::Evidence,
    job::{JobLimits, Jobs},
    observed::{Fingerprint, Observed, ObservedService, Revision, ServiceSummary},
    permission::{Held, Need, PermissionTable},
    plan::{Deploy, Intent, Outcome, Plan, Step},
    provider::{BoxStream, Invocation, LogLine, LogQuery, Provider, Registry},
    rollout::Answers,
    secret::SecretStore,
    spec::{Ingress, Mebibytes, MilliCpu, ProviderId, RevisionId, ServiceName, ServiceRef},
};
use carrack_http::{Client, TokenCache};
use jiff::Timestamp;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

/// The id of this backend in carrack.toml.
pub const ID: &str = "cloud-run";

/// Cloud Run in one project and region.
#[derive(Clone, Debug)]
pub struct CloudRun {
    project: String,
    region: String,
    /// The project's, once an answer told it.
    number: Arc<OnceCell<String>>,
    http: Client,
    token: TokenCache,
    capabilities: Capabilities,
    permissions: permissions::Table,
}

impl CloudRun {
    /// Binds project, region and credentials.
    pub fn new(project: impl Into<String>, region: impl Into<String>, http: Client, token: TokenCache) -> Self {
        let (project, region, number) = (project.into(), region.into(), Arc::default());
        let permissions = permissions::Table::new(&project);
        Self { project, region, number, http, token, capabilities: capabilities(), permissions }
    }
}

/// What is wrong in a deploy's section of Cloud Run's own fields, found without any connection.
pub fn check_pass_through(deploy: &Deploy) -> Vec<Error> {
    run::pass_through::check(deploy)
}

/// A live service as a file would have it; pure.
pub fn adopt(live: &ObservedService) -> Adopted {
    run::adopt::adopt(live)
}

/// What Cloud Run documents of itself: <https://cloud.google.com/run/docs/configuring/services/cpu>,
/// <https://cloud.google.com/run/docs/configuring/services/memory-limits>, <https://cloud.google.com/run/quotas>.
pub fn capabilities() -> Capabilities {
    let size = |cpu_from, cpu_to, memory_from, memory_to| Size {
        cpu_from: MilliCpu(cpu_from),
        cpu_to: MilliCpu(cpu_to),
        memory_from: Mebibytes(memory_from),
        memory_to: Mebibytes(memory_to),
    };
    let environment = |name: &str, cpu_from, memory_from| ExecutionEnvironment {
        name: name.to_owned(),
        cpu_from: MilliCpu(cpu_from),
        memory_from: Mebibytes(memory_from),
    };
    Capabilities {
        revisions: true,
        traffic_split: true,
        // Cloud Run's own refusal: "Combined traffic tag and service name cannot exceed 46 characters".
        longest_name_and_tag: Some(46),
        logs_follow: true,
        public_access: true,
        grpc_probe: true,
        readiness_probe: true,
        sidecars: true,
        volumes: VolumeKind::ALL.to_vec(),
        sizes: vec![
            size(80, 499, 128, 512),
            size(500, 999, 128, 1024),
            size(1000, 1000, 128, 4096),
            size(2000, 2000, 128, 8192),
            size(4000, 4000, 2048, 16384),
            size(6000, 6000, 4096, 24576),
            size(8000, 8000, 4096, 32768),
        ],
        single_request_below: Some(MilliCpu(1000)),
        max_concurrency: Some(1000),
        max_instances: 1000,
        features: vec![
            Feature::H2c,
            Feature::SessionAffinity,
            Feature::Description,
            Feature::DefaultUrl,
            Feature::Audiences,
            Feature::InvokerCheck,
            Feature::WorkingDir,
            Feature::CpuAlways,
            Feature::StartupBoost,
            Feature::Instances,
            Feature::Annotations,
            Feature::Connector,
            Feature::Network,
            Feature::CloudSql,
        ],
        // https://cloud.google.com/run/docs/configuring/request-timeout
        longest_timeout: Some(Duration::from_secs(3600)),
        ingress: vec![Ingress::All, Ingress::Internal, Ingress::InternalAndLoadBalancer, Ingress::None],
        // https://cloud.google.com/run/docs/configuring/services/cpu,
        // https://cloud.google.com/run/docs/configuring/services/memory-limits
        execution_environments: vec![environment("gen1", 80, 128), environment("gen2", 1000, 512)],
        // https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#Service
        longest_description: 512,
        // https://cloud.google.com/run/quotas, https://cloud.google.com/run/docs/configuring/max-retries,
        // https://cloud.google.com/run/docs/configuring/task-timeout, https://cloud.google.com/run/docs/configuring/jobs/cpu
        jobs: Some(JobLimits { tasks: 10_000, retries: 10, timeout_seconds: 604_800, cpu_from: 1000 }),
    }
}

#[async_trait]
impl Provider for CloudRun {
    fn id(&self) -> ProviderId {
        ProviderId(ID.to_owned())
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn service_ref(&self, service: &ServiceName) -> ServiceRef {
        ServiceRef {
            provider: self.id(),
            scope: self.project.clone(),
            region: self.region.clone(),
            name: service.clone(),
        }
    }
    async fn observe(&self, cx: &Ctx, service: &ServiceName) -> Result<Observed> {
        run::observe(self, cx, service).await
    }
    async fn services(&self, cx: &Ctx) -> Result<Vec<ServiceSummary>> {
        run::services(self, cx).await
    }
    async fn revisions(&self, cx: &Ctx, service: &ServiceName) -> Result<Vec<Revision>> {
        run::revisions::revisions(self, cx, service).await
    }
    fn logs<'a>(&'a self, cx: &'a Ctx, service: &'a ServiceName, query: LogQuery) -> BoxStream<'a, Result<LogLine>> {
        logging::lines(self, cx, service, query)
    }
    async fn answers(
        &self,
        cx: &Ctx,
        service: &ServiceName,
        since: Timestamp,
    ) -> Result<BTreeMap<RevisionId, Answers>> {
        requests::answers(self, cx, service, since).await
    }
    async fn evidence(
        &self,
        cx: &Ctx,
        service: &ServiceName,
        revision: Option<&RevisionId>,
        said: &str,
    ) -> Result<Evidence> {
        run::evidence::evidence(self, cx, service, revision, said).await
    }
    fn plan(&self, service: &ServiceName, intent: &Intent, observed: &Observed) -> Result<Plan> {
        run::plan::plan(self.service_ref(service), intent, observed)
    }
    async fn apply(&self, cx: &Ctx, plan: &Plan, step: &Step, at: &Fingerprint) -> Result<Outcome> {
        run::apply::apply(self, cx, plan, step, at).await
    }
    /// The application may want its own `Authorization`, so Google's goes beside it:
    /// <https://cloud.google.com/run/docs/authenticating/service-to-service#acquire-token>
    async fn invocation(&self, cx: &Ctx, url: &str) -> Result<Invocation> {
        let token = self.token.id_token(cx, url).await?;
        Ok(Invocation {
            header: "x-serverless-authorization",
            value: Zeroizing::new(format!("Bearer {}", token.value())),
            principal: self.token.principal().map(str::to_owned),
        })
    }
    fn registry(&self) -> &dyn Registry {
        self
    }
    fn secrets(&self) -> &dyn SecretStore {
        self
    }
    fn jobs(&self) -> &dyn Jobs {
        self
    }
    fn permissions(&self) -> &dyn PermissionTable {
        &self.permissions
    }
    async fn held(&self, cx: &Ctx, needs: &[Need]) -> Result<Vec<Held>> {
        permissions::held(self, cx, needs).await
    }
    fn member(&self) -> Option<String> {
        iam::member(self.token.principal()?)
    }
}
