//! How far one part of an execution or of a task is: its conditions.
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::gcp::{run::condition::Reason, time::stamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Reconciling,
    Succeeded,
    Failed,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "CONDITION_PENDING",
            Self::Reconciling => "CONDITION_RECONCILING",
            Self::Succeeded => "CONDITION_SUCCEEDED",
            Self::Failed => "CONDITION_FAILED",
        }
    }
}

/// <https://cloud.google.com/run/docs/reference/rest/v2/Condition#ExecutionReason>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Common(&'static str),
    Execution(&'static str),
}

impl From<Reason> for Why {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Common(name) => Self::Common(name),
            // A job has no revision.
            Reason::Revision(_) => Self::Common("UNKNOWN"),
        }
    }
}

/// One condition, and when it became so.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    phase: Phase,
    message: Option<String>,
    why: Option<Why>,
    pub(super) at: Timestamp,
}

impl Stage {
    pub(super) fn new(phase: Phase) -> Self {
        Self { phase, message: None, why: None, at: Timestamp::now() }
    }

    #[must_use]
    pub(super) fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    #[must_use]
    pub(super) fn because(mut self, why: Why) -> Self {
        self.why = Some(why);
        self
    }

    #[must_use]
    pub(super) fn since(mut self, at: Timestamp) -> Self {
        self.at = at;
        self
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        self.phase == phase
    }

    pub(super) fn render(&self, kind: &str) -> Value {
        let mut value = json!({ "type": kind, "state": self.phase.name(), "lastTransitionTime": stamp(self.at) });
        if let Some(message) = &self.message {
            value["message"] = json!(message);
        }
        match self.why {
            Some(Why::Common(name)) => value["reason"] = json!(name),
            Some(Why::Execution(name)) => value["executionReason"] = json!(name),
            None => {}
        }
        value
    }
}

/// `38.22s`, `2m49.01s`: as the messages have it.
pub(super) fn between(from: Timestamp, to: Timestamp) -> String {
    let took = Duration::try_from(to.duration_since(from)).unwrap_or_default();
    let hundredths = took.as_millis().div_ceil(10);
    let (minutes, rest) = (hundredths / 6_000, hundredths % 6_000);
    let seconds = format!("{}.{:02}", rest / 100, rest % 100);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    if minutes == 0 { format!("{seconds}s") } else { format!("{minutes}m{seconds}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_google_writes_them() {
        let from = Timestamp::UNIX_EPOCH;
        for (millis, text) in
            [(38_220, "38.22s"), (169_010, "2m49.01s"), (63_600, "1m3.6s"), (5_000, "5s"), (1, "0.01s")]
        {
            let to = Timestamp::from_millisecond(millis).expect("a time");
            assert_eq!(between(from, to), text);
        }
    }

    #[test]
    fn a_reason_is_of_its_own_kind() {
        let failed = Stage::new(Phase::Failed).saying("no").because(Why::Execution("NON_ZERO_EXIT_CODE"));
        let rendered = failed.render("Completed");
        assert_eq!((&rendered["type"], &rendered["state"]), (&json!("Completed"), &json!("CONDITION_FAILED")));
        assert_eq!(rendered["executionReason"], "NON_ZERO_EXIT_CODE");
        assert_eq!(rendered.get("reason"), None);
    }
}
