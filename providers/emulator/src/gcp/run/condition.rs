//! How far a service or a revision is, and why not further.
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::gcp::{
    status::{Code, Status},
    time::stamp,
};

/// Why a revision does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Of the operation.
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) reason: Reason,
}

/// <https://cloud.google.com/run/docs/reference/rest/v2/Condition>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Of the whole service.
    Common(&'static str),
    Revision(&'static str),
}

impl Failure {
    pub(crate) fn status(&self) -> Status {
        Status::new(self.code, self.message.clone())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Reconciling,
    Succeeded,
    Failed { message: String, reason: Reason },
}

/// A condition and when it became so.
#[derive(Clone, Debug)]
pub(crate) struct Since {
    condition: Condition,
    at: Timestamp,
}

impl Since {
    pub(crate) fn now(condition: Condition) -> Self {
        Self { condition, at: Timestamp::now() }
    }

    /// The time stays when the condition does.
    pub(crate) fn set(&mut self, condition: Condition) {
        if self.condition != condition {
            *self = Self::now(condition);
        }
    }

    pub(crate) fn render(&self, kind: &str) -> Value {
        let mut value = json!({ "type": kind, "lastTransitionTime": stamp(self.at) });
        match &self.condition {
            Condition::Reconciling => value["state"] = json!("CONDITION_RECONCILING"),
            Condition::Succeeded => value["state"] = json!("CONDITION_SUCCEEDED"),
            Condition::Failed { message, reason } => {
                value["state"] = json!("CONDITION_FAILED");
                value["message"] = json!(message);
                match reason {
                    Reason::Common(name) => value["reason"] = json!(name),
                    Reason::Revision(name) => value["revisionReason"] = json!(name),
                }
            }
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_the_change() {
        let mut since = Since::now(Condition::Reconciling);
        let first = since.render("Ready");
        since.set(Condition::Reconciling);
        assert_eq!(since.render("Ready"), first);
        since.set(Condition::Failed { message: "no".to_owned(), reason: Reason::Revision("PENDING") });
        let failed = since.render("Ready");
        assert_eq!(failed["state"], "CONDITION_FAILED");
        assert_eq!(failed["revisionReason"], "PENDING");
        assert_eq!(failed.get("reason"), None);
    }
}
