//! One run of a job: what it was started with, and how far it is.
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    names::{self, JobKey},
    stage::{Phase, Stage, Why, between},
    task::{CANCELLED_TEXT, State as TaskState, Task},
};
use crate::gcp::{
    run::{condition::Failure, etag},
    status::{Code, Status},
    time::stamp,
};

/// Fields of an execution's template that an execution has itself.
const OWN: [&str; 4] = ["labels", "annotations", "client", "clientVersion"];

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    Succeeded,
    Failed(Status),
    /// Before a task could start.
    NotStarted(Failure),
    Cancelled,
}

/// An operation that waits for the end of an execution.
#[derive(Debug)]
pub(super) enum Waiting {
    /// Of `run`: it fails when the execution does.
    Run(String),
    /// Of a cancel or a delete: it is done with the execution, however that ends.
    Stop(String),
    /// Of a change of the job, by its `runExecutionToken`.
    Job { operation: String, generation: u64 },
}

#[derive(Debug)]
pub(super) struct Execution {
    pub(super) name: String,
    pub(super) created: Timestamp,
    pub(super) deleted: Option<Timestamp>,
    /// Of the task, the image by its digest as soon as that is known.
    pub(super) template: Value,
    pub(super) tasks: Vec<Task>,
    pub(super) parallelism: usize,
    /// Ends every attempt, and starts none any more.
    pub(super) stop: CancellationToken,
    pub(super) waiting: Vec<Waiting>,
    pub(super) end: Option<End>,
    pub(super) resources: Stage,
    pub(super) container: Stage,
    uid: Uuid,
    updated: Timestamp,
    completion: Stage,
    start: Stage,
    generation: u64,
    creator: String,
    /// Labels, annotations and client, as the template has them.
    own: Map<String, Value>,
    launch_stage: Value,
}

/// The job that an execution is made of, as it was then.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    pub(super) key: &'a JobKey,
    pub(super) uid: Uuid,
    pub(super) generation: u64,
    pub(super) version: i64,
    pub(super) launch_stage: Value,
}

impl Execution {
    /// `template` is the job's, all overrides done.
    pub(super) fn new(name: String, template: &Value, origin: &Origin<'_>, creator: &str) -> Self {
        let now = Timestamp::now();
        let count = template["taskCount"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(1);
        let parallelism = template["parallelism"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(0);
        let mut own: Map<String, Value> =
            OWN.iter().filter_map(|field| Some(((*field).to_owned(), template.get(*field)?.clone()))).collect();
        let labels = own.entry("labels").or_insert_with(|| json!({}));
        for (label, value) in [
            ("cloud.googleapis.com/location", origin.key.location.clone()),
            ("run.googleapis.com/job", origin.key.job.clone()),
            ("run.googleapis.com/jobUid", origin.uid.to_string()),
            ("run.googleapis.com/jobGeneration", origin.generation.to_string()),
            ("run.googleapis.com/jobResourceVersion", origin.version.to_string()),
        ] {
            labels[label] = json!(value);
        }
        Self {
            name,
            created: now,
            deleted: None,
            template: template["template"].clone(),
            tasks: (0..count).map(|_| Task::new(now)).collect(),
            // As many as possible, and never more than there are.
            parallelism: if parallelism == 0 { count } else { parallelism.min(count) },
            stop: CancellationToken::new(),
            waiting: Vec::new(),
            end: None,
            resources: Stage::new(Phase::Pending),
            container: Stage::new(Phase::Reconciling),
            uid: Uuid::new_v4(),
            updated: now,
            completion: Stage::new(Phase::Pending),
            start: Stage::new(Phase::Pending),
            generation: 1,
            creator: creator.to_owned(),
            own,
            launch_stage: origin.launch_stage.clone(),
        }
    }

    pub(super) fn version(&self) -> i64 {
        self.updated.as_microsecond()
    }

    /// Another version, always a later one.
    pub(super) fn touch(&mut self) {
        let later = Timestamp::from_microsecond(self.version() + 1).unwrap_or(self.updated);
        self.updated = Timestamp::now().max(later);
    }

    /// The image is there.
    pub(super) fn imported(&mut self, digests: &[String]) {
        if let Some(containers) = self.template["containers"].as_array_mut() {
            for (container, digest) in containers.iter_mut().zip(digests) {
                container["image"] = json!(digest);
            }
        }
        let now = Timestamp::now();
        let took = between(self.created, now);
        self.container = Stage::new(Phase::Succeeded).saying(format!("Imported container image in {took}."));
        self.resources = Stage::new(Phase::Succeeded).saying("Provisioned imported containers.");
        self.start = Stage::new(Phase::Reconciling);
        for task in &mut self.tasks {
            task.scheduled = Some(now);
        }
        self.touch();
    }

    /// The first task runs.
    pub(super) fn started(&mut self) {
        if self.start.is(Phase::Succeeded) {
            return;
        }
        let took = between(self.resources.at, Timestamp::now());
        self.start = Stage::new(Phase::Succeeded).saying(format!("Started deployed execution in {took}."));
        self.completion = Stage::new(Phase::Reconciling).saying("Waiting for execution to complete.");
        self.touch();
    }

    /// A user wants its end.
    pub(super) fn cancel(&mut self) {
        self.generation += 1;
        if self.end.is_none() {
            self.completion = Stage::new(Phase::Reconciling).because(Why::Execution("CANCELLING"));
        }
        self.touch();
        self.stop.cancel();
    }

    fn start_time(&self) -> Option<Timestamp> {
        self.tasks.iter().filter_map(|task| task.started).min()
    }

    fn count(&self, state: TaskState) -> usize {
        self.tasks.iter().filter(|task| task.state == state).count()
    }

    /// What its tasks came to.
    pub(super) fn outcome(&self) -> End {
        let failed = self.tasks.iter().zip(0..).find_map(|(task, index)| {
            let last = task.last.as_ref().filter(|_| task.state == TaskState::Failed)?;
            last.status(&names::task(&self.name, index))
        });
        if self.tasks.iter().any(|task| task.state == TaskState::Cancelled) {
            return End::Cancelled;
        }
        failed.map_or(End::Succeeded, End::Failed)
    }

    pub(super) fn close(&mut self, end: End) {
        let completion = Stage::new(Phase::Failed);
        self.completion = match &end {
            End::Succeeded => {
                let took = between(self.start_time().unwrap_or(self.created), completion.at);
                Stage::new(Phase::Succeeded).saying(format!("Execution completed successfully in {took}."))
            }
            End::Failed(status) if status.code == Code::Aborted => {
                completion.saying(&status.message).because(Why::Execution("NON_ZERO_EXIT_CODE"))
            }
            End::Failed(status) => completion.saying(&status.message),
            End::NotStarted(failure) => {
                let failed = |stage: Stage| stage.saying(&failure.message).because(failure.reason.into());
                self.container = failed(Stage::new(Phase::Failed));
                self.resources = Stage::new(Phase::Failed);
                failed(completion)
            }
            End::Cancelled => completion.saying(CANCELLED_TEXT).because(Why::Execution("CANCELLED")),
        };
        self.end = Some(end);
        self.touch();
    }

    /// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs#CompletionStatus>
    pub(super) fn reference(&self) -> Value {
        let status = match &self.end {
            Some(End::Succeeded) => "EXECUTION_SUCCEEDED",
            Some(End::Failed(_) | End::NotStarted(_)) => "EXECUTION_FAILED",
            Some(End::Cancelled) => "EXECUTION_CANCELLED",
            None if self.start_time().is_some() => "EXECUTION_RUNNING",
            None => "EXECUTION_PENDING",
        };
        let mut reference = json!({ "name": self.name, "createTime": stamp(self.created), "completionStatus": status });
        if self.end.is_some() {
            reference["completionTime"] = json!(stamp(self.completion.at));
        }
        if let Some(deleted) = self.deleted {
            reference["deleteTime"] = json!(stamp(deleted));
        }
        reference
    }

    /// As the console's link to the logs is written.
    pub(super) fn log_uri(&self, key: &JobKey) -> String {
        let JobKey { project, location, job } = key;
        format!(
            "https://console.cloud.google.com/logs/viewer?project={project}&advancedFilter=resource.type%3D%22cloud_run_job%22%0Aresource.labels.job_name%3D%22{job}%22%0Aresource.labels.location%3D%22{location}%22%0Alabels.%22run.googleapis.com/execution_name%22%3D%22{}%22",
            self.name
        )
    }

    /// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.executions#Execution>
    pub(super) fn render(&self, key: &JobKey) -> Value {
        let mut execution = self.own.clone();
        let mut set = |field: &str, value: Value| execution.insert(field.to_owned(), value);
        set("name", json!(key.execution(&self.name)));
        set("uid", json!(self.uid.to_string()));
        set("creator", json!(self.creator));
        set("generation", json!(self.generation.to_string()));
        set("observedGeneration", json!(self.generation.to_string()));
        set("createTime", json!(stamp(self.created)));
        set("updateTime", json!(stamp(self.updated)));
        set("launchStage", self.launch_stage.clone());
        set("job", json!(key.job));
        set("parallelism", json!(self.parallelism));
        set("taskCount", json!(self.tasks.len()));
        set("template", self.template.clone());
        set("logUri", json!(self.log_uri(key)));
        set("etag", json!(etag::render(self.version())));
        set(
            "conditions",
            json!([
                self.completion.render("Completed"),
                self.resources.render("ResourcesAvailable"),
                self.start.render("Started"),
                self.container.render("ContainerReady"),
            ]),
        );
        let retried = self.tasks.iter().filter(|task| task.retried > 0).count();
        for (field, count) in [
            ("runningCount", self.count(TaskState::Running)),
            ("succeededCount", self.count(TaskState::Succeeded)),
            ("failedCount", self.count(TaskState::Failed)),
            ("cancelledCount", self.count(TaskState::Cancelled)),
            ("retriedCount", retried),
        ] {
            if count > 0 {
                set(field, json!(count));
            }
        }
        if let Some(started) = self.start_time() {
            set("startTime", json!(stamp(started)));
        }
        if let Some(deleted) = self.deleted {
            set("deleteTime", json!(stamp(deleted)));
        }
        if self.end.is_some() {
            set("completionTime", json!(stamp(self.completion.at)));
        } else {
            set("reconciling", json!(true));
        }
        Value::Object(execution)
    }
}

/// As an operation carries it.
pub(super) fn typed(mut execution: Value) -> Value {
    execution["@type"] = json!("type.googleapis.com/google.cloud.run.v2.Execution");
    execution
}
