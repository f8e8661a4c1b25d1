//! One job: what its executions are made of, and those that there were.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    execution::{Execution, Origin},
    names::JobKey,
};
use crate::gcp::{
    policy,
    run::{
        Parts,
        condition::{Condition, Since},
        etag,
    },
    status::Status,
    time::stamp,
};

/// Ended executions beyond this many are forgotten, the oldest first.
/// <https://cloud.google.com/run/quotas>
const KEPT: usize = 1_000;
/// And beyond this many tasks of all together: an execution may have 10000.
const KEPT_TASKS: usize = 50_000;

#[derive(Debug)]
pub(crate) struct Job {
    pub(super) key: JobKey,
    pub(super) parts: Parts,
    /// Of all jobs.
    pub(super) slots: Arc<Semaphore>,
    /// Nothing begins any more.
    pub(super) closed: CancellationToken,
    /// What ends need not end in peace.
    pub(super) hurry: CancellationToken,
    /// Whatever runs for it.
    pub(super) tasks: TaskTracker,
    state: Mutex<State>,
}

/// Never held across an await.
#[derive(Debug)]
pub(in crate::gcp::run) struct State {
    pub(super) uid: Uuid,
    pub(super) updated: Timestamp,
    pub(super) deleted: Option<Timestamp>,
    pub(super) generation: u64,
    pub(super) observed_generation: u64,
    /// What the user may set, the defaults filled in.
    pub(super) spec: Value,
    /// The token that started an execution last, by its field.
    pub(super) started: Value,
    pub(super) reconciling: bool,
    pub(super) ready: Since,
    pub(in crate::gcp::run) policy: Value,
    /// The oldest first.
    pub(super) executions: Vec<Execution>,
    /// How many there have been.
    pub(super) count: u64,
    pub(super) created: Timestamp,
    creator: String,
    last_modifier: String,
}

impl Job {
    pub(super) fn new(key: JobKey, parts: Parts, slots: Arc<Semaphore>, creator: &str) -> Arc<Self> {
        let now = Timestamp::now();
        let state = State {
            uid: Uuid::new_v4(),
            updated: now,
            deleted: None,
            generation: 0,
            observed_generation: 0,
            spec: Value::Null,
            started: Value::Null,
            reconciling: true,
            ready: Since::now(Condition::Reconciling),
            policy: policy::empty(),
            executions: Vec::new(),
            count: 0,
            created: now,
            creator: creator.to_owned(),
            last_modifier: creator.to_owned(),
        };
        Arc::new(Self {
            key,
            parts,
            slots,
            closed: CancellationToken::new(),
            hurry: CancellationToken::new(),
            tasks: TaskTracker::new(),
            state: Mutex::new(state),
        })
    }

    pub(in crate::gcp::run) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every execution ends, and none begins.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
        for execution in &mut self.state().executions {
            if execution.end.is_none() {
                execution.cancel();
            }
        }
    }
}

impl State {
    pub(super) fn version(&self) -> i64 {
        self.updated.as_microsecond()
    }

    /// A change by a user: another version, always a later one.
    pub(in crate::gcp::run) fn touch(&mut self, by: &str) {
        let later = Timestamp::from_microsecond(self.version() + 1).unwrap_or(self.updated);
        self.updated = Timestamp::now().max(later);
        self.last_modifier = by.to_owned();
    }

    /// One that is not deleted.
    pub(super) fn execution(&self, key: &JobKey, name: &str) -> Result<&Execution, Status> {
        let found = self.executions.iter().find(|execution| execution.name == name);
        found.filter(|execution| execution.deleted.is_none()).ok_or_else(|| key.execution_not_found(name))
    }

    /// Also one that was deleted, and is not gone yet.
    pub(super) fn execution_mut(&mut self, name: &str) -> Option<&mut Execution> {
        self.executions.iter_mut().find(|execution| execution.name == name)
    }

    pub(super) fn origin<'a>(&self, key: &'a JobKey) -> Origin<'a> {
        Origin {
            key,
            uid: self.uid,
            generation: self.generation,
            version: self.version(),
            launch_stage: self.spec["launchStage"].clone(),
        }
    }

    /// Whether with `another` there would be more than is kept, and nothing of it to forget.
    pub(super) fn is_full(&self, another: &Execution) -> bool {
        let running: Vec<_> = self.executions.iter().filter(|execution| execution.end.is_none()).collect();
        let tasks: usize = running.iter().map(|execution| execution.tasks.len()).sum();
        running.len() >= KEPT || tasks + another.tasks.len() > KEPT_TASKS
    }

    pub(super) fn add(&mut self, execution: Execution) {
        self.executions.push(execution);
        self.count += 1;
        let mut tasks: usize = self.executions.iter().map(|execution| execution.tasks.len()).sum();
        while self.executions.len() > KEPT || tasks > KEPT_TASKS {
            let Some(oldest) = self.executions.iter().position(|execution| execution.end.is_some()) else {
                return;
            };
            tasks -= self.executions.remove(oldest).tasks.len();
        }
    }

    /// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs#Job>
    pub(super) fn render(&self, key: &JobKey) -> Value {
        let mut fields = self.spec.as_object().cloned().unwrap_or_default();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        set("name", json!(key.to_string()));
        set("uid", json!(self.uid.to_string()));
        set("generation", json!(self.generation.to_string()));
        set("createTime", json!(stamp(self.created)));
        set("updateTime", json!(stamp(self.updated)));
        set("creator", json!(self.creator));
        set("lastModifier", json!(self.last_modifier));
        set("etag", json!(etag::render(self.version())));
        set("terminalCondition", self.ready.render("Ready"));
        let latest = self.executions.last().map_or_else(|| json!({}), Execution::reference);
        set("latestCreatedExecution", latest);
        if self.count > 0 {
            set("executionCount", json!(self.count));
        }
        if let Some(deleted) = self.deleted {
            set("deleteTime", json!(stamp(deleted)));
        }
        if self.reconciling {
            set("reconciling", json!(true));
        }
        if self.observed_generation > 0 {
            set("observedGeneration", json!(self.observed_generation.to_string()));
        }
        Value::Object(fields)
    }
}

/// As an operation carries it.
pub(super) fn typed(mut job: Value) -> Value {
    job["@type"] = json!("type.googleapis.com/google.cloud.run.v2.Job");
    job
}
