//! Jobs: what runs to its end. A job is deployed as a service is, by a plan; running it is imperative.
use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, ErrorKind, Result,
    capability::{Capabilities, check_size},
    diff::{FieldChange, diff_fields},
    event::Ctx,
    evidence::Evidence,
    fields::{FieldPath, FieldValue, fields},
    observed::{Fingerprint, Readiness},
    ownership::{Live, Ownership, three_way},
    plan::{Outcome, Plan, Step},
    provider::{BoxStream, LogLine},
    receipt::Receipt,
    spec::{ServiceName, ServiceSpec, WorkloadSpec},
};

/// The desired or observed state of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Containers, identity and labels, as a service has them.
    pub workload: WorkloadSpec,
    /// How many times it is done in one execution, each time with another index.
    pub tasks: Option<u32>,
    /// How many tasks run at the same time, at the most; 0 is as many as there can be.
    pub parallelism: Option<u32>,
    /// How often a task that failed is tried again.
    pub retries: Option<u32>,
    /// How long one attempt at a task may take; whole seconds.
    pub timeout: Option<Duration>,
}

/// What a job can be on a cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobLimits {
    /// Tasks at the most.
    pub tasks: u32,
    /// Retries at the most.
    pub retries: u32,
    /// The longest that an attempt may take, in seconds.
    pub timeout_seconds: u64,
    /// The least CPU of a task, in thousandths.
    pub cpu_from: u32,
}

/// What a user can ask to change of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobIntent {
    /// Make it so.
    Deploy(Box<JobDeploy>),
    /// Remove the job.
    Destroy,
}

/// What a deploy of a job asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobDeploy {
    /// The fields that the file sets.
    pub spec: JobSpec,
    /// The keyed tables that stand in the file (`env`, `labels`).
    pub tables: Vec<FieldPath>,
    /// The keyed tables that the file makes authoritative.
    pub exact: Vec<FieldPath>,
}

/// The answer to one look at a job.
#[derive(Clone, Debug)]
pub struct ObservedJob {
    /// `None` when it does not exist.
    pub job: Option<LiveJob>,
    /// The version of what was read.
    pub fingerprint: Fingerprint,
}

/// A live job.
#[derive(Clone, Debug)]
pub struct LiveJob {
    /// The live resource as it was read, so that unknown fields survive an edit.
    pub raw: serde_json::Value,
    /// What the last deploy recorded; `None` when Carrack never deployed it.
    pub receipt: Option<Receipt>,
    /// The live resource in neutral words.
    pub spec: JobSpec,
    /// The execution that was started last.
    pub latest: Option<ExecutionId>,
    /// Whether it can be run as it was last asked to be.
    pub readiness: Readiness,
}

/// One run of a job, by the cloud's own name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(pub String);

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one run has otherwise than its job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// In place of the main container's arguments.
    pub args: Option<Vec<String>>,
    /// Variables of the main container, added and replaced.
    pub env: BTreeMap<String, String>,
    /// How many tasks.
    pub tasks: Option<u32>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
}

impl Overrides {
    /// Nothing is otherwise.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How far an execution or a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Nothing runs yet.
    Pending,
    /// It runs.
    Running,
    /// It ended well.
    Succeeded,
    /// It failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl RunState {
    /// Whether nothing changes any more.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Execution {
    /// The cloud's name of it.
    pub id: ExecutionId,
    /// How far it is.
    pub state: RunState,
    /// The cloud's words for that, when it has any.
    pub message: Option<String>,
    /// How many tasks it has.
    pub tasks: u32,
    /// How many of them run.
    pub running: u32,
    /// How many ended well.
    pub succeeded: u32,
    /// How many failed.
    pub failed: u32,
    /// How many somebody ended.
    pub cancelled: u32,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When its first task started, RFC 3339.
    pub started: Option<String>,
    /// When it ended, RFC 3339.
    pub completed: Option<String>,
}

/// One task of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskRun {
    /// From 0.
    pub index: u32,
    /// How far it is.
    pub state: RunState,
    /// How often it was tried again.
    pub retried: u32,
    /// What its last attempt ended with; `None` when it did not end by itself.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The cloud's words for its last attempt, when that failed.
    pub message: Option<String>,
    /// When it started, RFC 3339.
    pub started: Option<String>,
    /// When it ended, RFC 3339.
    pub completed: Option<String>,
}

/// Which log lines of a job.
#[derive(Clone, Debug, Default)]
pub struct JobLogs {
    /// Only this execution's.
    pub execution: Option<ExecutionId>,
    /// Only this task's, by its index.
    pub task: Option<u32>,
    /// Go on with new lines as they come.
    pub follow: bool,
    /// Only lines this young.
    pub since: Option<Duration>,
    /// The newest so many; `None` = the provider's page.
    pub tail: Option<usize>,
    /// Once this is set there is nothing to come: what is late is waited for a little, and then the stream ends.
    pub ended: Option<CancellationToken>,
}

/// A line of a job's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobLine {
    /// Whose.
    pub execution: Option<ExecutionId>,
    /// Which task's, from 0.
    pub task: Option<u32>,
    /// Whether the cloud wrote it, and not the program.
    pub system: bool,
    /// The line itself.
    #[serde(flatten)]
    pub line: LogLine,
}

/// The jobs of one cloud, in the account and region that its provider is bound to.
#[async_trait]
pub trait Jobs: fmt::Debug + Send + Sync {
    /// Reads the live job. Idempotent. A job that does not exist is no error.
    async fn observe(&self, cx: &Ctx, job: &ServiceName) -> Result<ObservedJob>;

    /// Decides what to do, as [`Provider::plan`](crate::provider::Provider::plan) does. Pure.
    fn plan(&self, job: &ServiceName, intent: &JobIntent, observed: &ObservedJob) -> Result<Plan>;

    /// Performs exactly one step, as [`Provider::apply`](crate::provider::Provider::apply) does.
    async fn apply(&self, cx: &Ctx, plan: &Plan, step: &Step, at: &Fingerprint) -> Result<Outcome>;

    /// Starts an execution, and does not wait for it. Not idempotent: after an error that is
    /// [uncertain](Error::is_uncertain) there may be one.
    async fn run(&self, cx: &Ctx, job: &ServiceName, overrides: &Overrides) -> Result<Execution>;

    /// Reads one execution; `None` when there is none of this name. Idempotent.
    async fn execution(&self, cx: &Ctx, job: &ServiceName, execution: &ExecutionId) -> Result<Option<Execution>>;

    /// Lists the job's executions, newest first. Idempotent. Empty when the job does not exist.
    async fn executions(&self, cx: &Ctx, job: &ServiceName) -> Result<Vec<Execution>>;

    /// Lists an execution's tasks, by index. Idempotent. Empty when there is no such execution.
    async fn tasks(&self, cx: &Ctx, job: &ServiceName, execution: &ExecutionId) -> Result<Vec<TaskRun>>;

    /// Ends an execution and waits for its end. One that ended already is an error of kind `Conflict`.
    async fn cancel(&self, cx: &Ctx, job: &ServiceName, execution: &ExecutionId) -> Result<Execution>;

    /// Reads log lines, oldest first. Idempotent.
    fn logs<'a>(&'a self, cx: &'a Ctx, job: &'a ServiceName, query: JobLogs) -> BoxStream<'a, Result<JobLine>>;

    /// Gathers what a failure left behind: of a deploy, or of an execution and its first failed task. `said` is what the
    /// cloud said of it. Idempotent. What cannot be read is left out.
    async fn evidence(
        &self,
        cx: &Ctx,
        job: &ServiceName,
        failed: Option<(&ExecutionId, Option<&TaskRun>)>,
        said: &str,
    ) -> Result<Evidence>;
}

/// What a job and a service share, as a service that has nothing else.
pub fn as_service(spec: &JobSpec) -> ServiceSpec {
    ServiceSpec { workload: spec.workload.clone(), ..ServiceSpec::default() }
}

/// A job's field by the name that a service's has.
pub fn service_path(path: &str) -> FieldPath {
    path.strip_prefix("job.").map_or_else(|| path.to_owned(), |key| format!("service.{key}"))
}

/// The other way round: `[service] args` is `[job] args`.
fn job_path(path: FieldPath) -> FieldPath {
    path.strip_prefix("service.").map(|key| format!("job.{key}")).unwrap_or(path)
}

/// Every field that `spec` sets, in the words of carrack.toml.
pub fn job_fields(spec: &JobSpec) -> BTreeMap<FieldPath, FieldValue> {
    let shared = fields(&as_service(spec)).into_iter().map(|(path, value)| (job_path(path), value));
    let numbers = [("tasks", spec.tasks), ("parallelism", spec.parallelism), ("retries", spec.retries)];
    let numbers = numbers.map(|(key, number)| (key, number.map(|number| number.to_string())));
    let timeout = ("timeout", spec.timeout.map(|timeout| format!("{}s", timeout.as_secs())));
    let own = numbers.into_iter().chain([timeout]);
    let own = own.filter_map(|(key, text)| Some((format!("job.{key}"), FieldValue::Shown(text?))));
    shared.chain(own).collect()
}

/// Every field in which `after` differs from `before`, sorted by name.
pub fn job_diff(before: &JobSpec, after: &JobSpec) -> Vec<FieldChange> {
    diff_fields(job_fields(before), job_fields(after))
}

/// The rule of owned fields, for a job.
pub fn job_ownership(deploy: &JobDeploy, live: Option<&LiveJob>) -> Ownership {
    let live = live.map(|live| Live {
        present: job_fields(&live.spec).into_keys().collect(),
        recorded: live.receipt.as_ref().map(|receipt| receipt.owned.as_slice()).unwrap_or_default(),
    });
    let sidecars = deploy.spec.workload.sidecars.keys().map(String::as_str).collect();
    three_way(job_fields(&deploy.spec).into_keys().collect(), &sidecars, &deploy.tables, &deploy.exact, live)
}

/// Everything in `spec` that this cloud refuses of a job; empty when it can be deployed.
pub fn check_job(capabilities: &Capabilities, spec: &JobSpec) -> Vec<Error> {
    let Some(limits) = &capabilities.jobs else {
        return vec![Error::new(ErrorKind::Unsupported, "this cloud has no jobs").at_field("job")];
    };
    let invalid = |path: &str, message: String, hint: String| {
        Error::new(ErrorKind::ConfigInvalid, message).at_field(path).hint(hint)
    };
    let mut errors: Vec<Error> = check_size(capabilities, "", &spec.workload.main).into_iter().collect();
    if let Some(tasks) = spec.tasks.filter(|tasks| !(1..=limits.tasks).contains(tasks)) {
        let message = format!("{tasks} tasks are outside what this cloud has");
        errors.push(invalid("job.tasks", message, format!("use 1 to {}", limits.tasks)));
    }
    if let Some(retries) = spec.retries.filter(|retries| *retries > limits.retries) {
        let message = format!("{retries} retries are more than this cloud has");
        errors.push(invalid("job.retries", message, format!("use at most {}", limits.retries)));
    }
    let timeout = spec.timeout.map(|timeout| timeout.as_secs());
    if let Some(seconds) = timeout.filter(|seconds| !(1..=limits.timeout_seconds).contains(seconds)) {
        let message = format!("a timeout of {seconds}s is outside what this cloud has");
        errors.push(invalid("job.timeout", message, format!("use \"1s\" to \"{}h\"", limits.timeout_seconds / 3600)));
    }
    if let Some(cpu) = spec.workload.main.cpu.filter(|cpu| cpu.0 < limits.cpu_from && errors.is_empty()) {
        let least = crate::spec::MilliCpu(limits.cpu_from);
        let message = format!("cpu {cpu} is less than a job's task has on this cloud");
        errors.push(invalid("resources.cpu", message, format!("use {least} or more")));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory::Memory,
        provider::Provider as _,
        spec::{EnvValue, MilliCpu},
    };

    fn spec() -> JobSpec {
        let mut spec = JobSpec { tasks: Some(3), timeout: Some(Duration::from_secs(90)), ..JobSpec::default() };
        spec.workload.main.args = Some(vec!["a".to_owned()]);
        spec.workload.main.env = [("A".to_owned(), EnvValue::Plain("1".to_owned()))].into();
        spec
    }

    #[test]
    fn fields_are_called_as_in_the_file() {
        let paths: Vec<FieldPath> = job_fields(&spec()).into_keys().collect();
        assert_eq!(paths, ["env.A", "job.args", "job.tasks", "job.timeout"]);
        assert_eq!(service_path("job.args"), "service.args");
        assert_eq!(service_path("env.A"), "env.A");
    }

    #[test]
    fn a_difference_is_told_in_the_files_words() {
        let mut after = spec();
        (after.retries, after.workload.main.args) = (Some(0), None);
        let told: Vec<String> = job_diff(&spec(), &after).into_iter().map(|change| change.path).collect();
        assert_eq!(told, ["job.args", "job.retries"]);
    }

    #[test]
    fn what_a_cloud_refuses_is_refused_before() {
        let refused = |change: &dyn Fn(&mut JobSpec)| {
            let mut spec = spec();
            change(&mut spec);
            let errors = check_job(Memory::default().capabilities(), &spec);
            errors.into_iter().filter_map(|error| error.field().map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(refused(&|_| {}), Vec::<String>::new());
        assert_eq!(refused(&|spec| spec.tasks = Some(0)), ["job.tasks"]);
        assert_eq!(refused(&|spec| spec.tasks = Some(10_001)), ["job.tasks"]);
        assert_eq!(refused(&|spec| spec.retries = Some(11)), ["job.retries"]);
        assert_eq!(refused(&|spec| spec.timeout = Some(Duration::from_secs(604_801))), ["job.timeout"]);
        assert_eq!(refused(&|spec| spec.timeout = Some(Duration::ZERO)), ["job.timeout"]);
        assert_eq!(refused(&|spec| spec.workload.main.cpu = Some(MilliCpu(500))), ["resources.cpu"]);
        let mut none = Memory::default().capabilities().clone();
        none.jobs = None;
        assert_eq!(check_job(&none, &spec())[0].kind(), ErrorKind::Unsupported);
    }
}
