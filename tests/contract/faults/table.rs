//! The faults, and how a command has to end that meets one: nothing else is accepted.
use carrack_core::ErrorKind;
use serde_json::{Value, json};

use super::{bench::Flow, class::Class};

/// One fault, once or on every call of a class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    kind: &'static str,
    status: u16,
    once: bool,
    /// The client can get another token.
    pub(crate) renewable: bool,
}

const fn fault(name: &'static str, kind: &'static str, status: u16, once: bool) -> Fault {
    Fault { name, kind, status, once, renewable: false }
}

pub(crate) const FAULTS: [Fault; 17] = [
    fault("503 once", "status", 503, true),
    fault("503", "status", 503, false),
    fault("429 once", "status", 429, true),
    fault("500 once", "status", 500, true),
    fault("500", "status", 500, false),
    fault("403", "status", 403, false),
    fault("reset once", "reset", 0, true),
    fault("reset", "reset", 0, false),
    fault("reset-after once", "reset-after", 0, true),
    fault("stall once", "stall", 0, true),
    fault("stall-after once", "stall-after", 0, true),
    fault("truncate once", "truncate", 0, true),
    fault("conflict once", "conflict", 0, true),
    fault("conflict", "conflict", 0, false),
    fault("failed-operation once", "failed-operation", 0, true),
    fault("expired-token", "expired-token", 0, true),
    Fault { renewable: true, ..fault("expired-token, renewed", "expired-token", 0, true) },
];

impl Fault {
    pub(crate) fn rule(&self, class: &Class) -> Value {
        let mut fault = json!({ "kind": self.kind });
        if self.kind == "status" {
            fault["status"] = json!(self.status);
        }
        if self.status == 429 {
            fault["retryAfter"] = json!(1);
        }
        let mut rule = json!({ "service": class.service, "method": class.method, "path": class.path, "fault": fault });
        if self.once {
            rule["nth"] = json!(1);
        }
        rule
    }

    /// Whether a call of the class can meet it.
    pub(crate) fn applies(&self, class: &Class) -> bool {
        let service = class.service == "run" && class.form.contains("/services");
        match self.kind {
            "conflict" => service && (matches!(class.method.as_str(), "PATCH" | "DELETE") || class.is("setIamPolicy")),
            "failed-operation" => {
                (service || class.service == "artifactregistry")
                    && matches!(class.method.as_str(), "POST" | "PATCH" | "DELETE")
                    && !class.is("IamPolicy")
                    && !class.is(":testIamPermissions")
            }
            _ => true,
        }
    }
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Converged,
    Failed(ErrorKind),
}

impl Fault {
    /// How a command ends that meets it, the first rule that fits.
    pub(crate) fn expected(&self, flow: Flow, class: &Class) -> End {
        use self::End::{Converged, Failed};
        let run = class.service == "run";
        match (self.kind, self.once) {
            ("expired-token", _) if !self.renewable => Failed(ErrorKind::Unauthenticated),
            ("failed-operation", _) => Failed(match (class.service, class.method.as_str()) {
                ("artifactregistry", _) => ErrorKind::BuildFailed,
                (_, "DELETE") => ErrorKind::Unclassified,
                _ => ErrorKind::Unhealthy,
            }),
            // What cannot be asked of the image holds nothing up.
            _ if matches!(flow, Flow::Rollback | Flow::Restore) && class.service == "registry" => Converged,
            // Without the log the revision is asked all the same.
            _ if flow == Flow::Rollout && class.service == "logging" => Converged,
            // Tried again, looked at again, or applied again.
            (_, true) => Converged,
            // What cannot be asked beforehand shows when it is done.
            _ if class.is(":testIamPermissions") => Converged,
            // That looking at an operation failed is no failed operation: the service itself tells.
            _ if run && class.is("/operations/") => Converged,
            // The policy that a create made has no version yet, so none can be stale.
            ("conflict", _) if class.is("setIamPolicy") => Converged,
            ("conflict", _) => Failed(ErrorKind::Conflict),
            ("status", _) if self.status == 403 => match flow {
                // Who may invoke it is not asked of a service that is not there, and does not matter when it goes.
                Flow::First | Flow::Route | Flow::Rollback | Flow::Restore | Flow::Destroy
                    if class.is("getIamPolicy") =>
                {
                    Converged
                }
                _ => Failed(ErrorKind::PermissionDenied),
            },
            _ => Failed(ErrorKind::Unavailable),
        }
    }
}
