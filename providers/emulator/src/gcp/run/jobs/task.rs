//! One task of an execution, and how its last attempt ended.
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    execution::Execution,
    names::{self, JobKey},
    stage::{Phase, Stage, Why},
};
use crate::{
    gcp::{
        run::etag,
        status::{Code, Status},
        time::stamp,
    },
    runtime::Exit,
};

/// `CANCELLED`: <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>
const CANCELLED: i32 = 1;
pub(super) const CANCELLED_TEXT: &str = "Cancelled by user.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl State {
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Of the label that gcloud lists and filters by: `run.googleapis.com/runningState`.
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    exit_code: Option<i32>,
    signal: Option<i32>,
    /// Of a failed one: a code and its text. The texts are from public reports.
    failure: Option<(i32, String)>,
}

impl Attempt {
    pub(super) fn exited(exit: Exit) -> Self {
        let failure =
            (exit.code != Some(0)).then(|| (Code::Aborted.number(), "The container exited with an error.".to_owned()));
        Self { exit_code: exit.code, signal: exit.signal, failure }
    }

    pub(super) fn timed_out() -> Self {
        Self::broken(Code::DeadlineExceeded, "The configured timeout was reached.")
    }

    pub(super) fn broken(code: Code, text: impl Into<String>) -> Self {
        Self { exit_code: None, signal: None, failure: Some((code.number(), text.into())) }
    }

    fn cancelled() -> Self {
        Self { exit_code: None, signal: None, failure: Some((CANCELLED, CANCELLED_TEXT.to_owned())) }
    }

    pub(super) fn succeeded(&self) -> bool {
        self.failure.is_none()
    }

    /// What is said of the execution, when this was the last attempt at `task`.
    pub(super) fn status(&self, task: &str) -> Option<Status> {
        let (code, text) = self.failure.as_ref()?;
        let code = match *code {
            number if number == Code::DeadlineExceeded.number() => Code::DeadlineExceeded,
            number if number == Code::Internal.number() => Code::Internal,
            _ => Code::Aborted,
        };
        let exit_code = self.exit_code.unwrap_or(0);
        Some(Status::new(code, format!("Task {task} failed with exit code: {exit_code} and message: {text}")))
    }

    fn render(&self) -> Value {
        let mut result = Map::new();
        let status = match &self.failure {
            Some((code, text)) => json!({ "code": code, "message": text }),
            None => json!({}),
        };
        result.insert("status".to_owned(), status);
        for (name, number) in [("exitCode", self.exit_code), ("termSignal", self.signal)] {
            if let Some(number) = number.filter(|number| *number != 0) {
                result.insert(name.to_owned(), json!(number));
            }
        }
        Value::Object(result)
    }
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) state: State,
    pub(super) retried: u32,
    pub(super) last: Option<Attempt>,
    pub(super) scheduled: Option<Timestamp>,
    pub(super) started: Option<Timestamp>,
    pub(super) completed: Option<Timestamp>,
    updated: Timestamp,
    uid: Uuid,
}

impl Task {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            state: State::Pending,
            retried: 0,
            last: None,
            scheduled: None,
            started: None,
            completed: None,
            updated: now,
            uid: Uuid::new_v4(),
        }
    }

    /// The first attempt, or another one.
    pub(super) fn begin(&mut self, attempt: u32) {
        let now = Timestamp::now();
        self.state = State::Running;
        self.retried = attempt;
        self.started.get_or_insert(now);
        self.updated = now;
    }

    pub(super) fn end(&mut self, attempt: Attempt) {
        let state = if attempt.succeeded() { State::Succeeded } else { State::Failed };
        self.close(state, attempt);
    }

    pub(super) fn cancel(&mut self) {
        self.close(State::Cancelled, Attempt::cancelled());
    }

    fn close(&mut self, state: State, last: Attempt) {
        let now = Timestamp::now();
        self.state = state;
        self.last = Some(last);
        self.completed = Some(now);
        self.updated = now;
    }

    /// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.executions.tasks#Task>
    pub(super) fn render(&self, key: &JobKey, execution: &Execution, index: u32) -> Value {
        let mut task = execution.template.as_object().cloned().unwrap_or_default();
        let name = names::task(&execution.name, index);
        let labels = json!({
            "cloud.googleapis.com/location": key.location,
            "run.googleapis.com/job": key.job,
            "run.googleapis.com/execution": execution.name,
            "run.googleapis.com/runningState": self.state.name(),
        });
        let mut set = |field: &str, value: Value| task.insert(field.to_owned(), value);
        set("name", json!(format!("{}/tasks/{name}", key.execution(&execution.name))));
        set("uid", json!(self.uid.to_string()));
        set("generation", json!("1"));
        set("observedGeneration", json!("1"));
        set("labels", labels);
        set("createTime", json!(stamp(execution.created)));
        set("updateTime", json!(stamp(self.updated)));
        set("job", json!(key.job));
        set("execution", json!(execution.name));
        set("logUri", json!(execution.log_uri(key)));
        set("etag", json!(etag::render(self.updated.as_microsecond())));
        set("conditions", self.conditions());
        for (field, at) in
            [("scheduledTime", self.scheduled), ("startTime", self.started), ("completionTime", self.completed)]
        {
            if let Some(at) = at {
                set(field, json!(stamp(at)));
            }
        }
        for (field, number) in [("index", index), ("retried", self.retried)] {
            if number > 0 {
                set(field, json!(number));
            }
        }
        if !self.state.is_terminal() {
            set("reconciling", json!(true));
        }
        if let Some(last) = &self.last {
            set("lastAttemptResult", last.render());
        }
        Value::Object(task)
    }

    fn conditions(&self) -> Value {
        let at = |phase: Phase, time: Option<Timestamp>| Stage::new(phase).since(time.unwrap_or(self.updated));
        let started = if self.started.is_some() { Phase::Succeeded } else { Phase::Pending };
        let completed = match self.state {
            State::Pending => Phase::Pending,
            State::Running => Phase::Reconciling,
            State::Succeeded => Phase::Succeeded,
            State::Failed | State::Cancelled => Phase::Failed,
        };
        let mut completed = at(completed, self.completed);
        // While another attempt runs, the last one's end is not the task's.
        let last = self.last.as_ref().filter(|_| self.state.is_terminal());
        if let Some((_, text)) = last.and_then(|last| last.failure.as_ref()) {
            completed = completed.saying(text.clone());
        }
        if self.state == State::Cancelled {
            completed = completed.because(Why::Execution("CANCELLED"));
        } else if last.is_some_and(|last| last.exit_code.is_some_and(|code| code != 0)) {
            completed = completed.because(Why::Execution("NON_ZERO_EXIT_CODE"));
        }
        json!([at(started, self.started).render("Started"), completed.render("Completed")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_tells_why_it_failed() {
        let status = |attempt: Attempt| attempt.status("j-x7k2p-task0").map(|status| (status.code, status.message));
        assert_eq!(status(Attempt::exited(Exit::code(0))), None);
        assert_eq!(
            status(Attempt::exited(Exit::code(3))),
            Some((
                Code::Aborted,
                "Task j-x7k2p-task0 failed with exit code: 3 and message: The container exited with an error."
                    .to_owned()
            ))
        );
        assert_eq!(
            status(Attempt::timed_out()),
            Some((
                Code::DeadlineExceeded,
                "Task j-x7k2p-task0 failed with exit code: 0 and message: The configured timeout was reached."
                    .to_owned()
            ))
        );
        assert_eq!(Attempt::exited(Exit::code(0)).render(), json!({ "status": {} }));
        let killed = Attempt::exited(Exit::signal(9)).render();
        assert_eq!((&killed["termSignal"], killed.get("exitCode")), (&json!(9), None));
    }
}
