//! What Cloud Run writes of an instance into the system's log, in its own words: they are what tells why a revision
//! failed. The texts are from public reports; what was not seen is in docs/doubts.md.
use super::probe::{Miss, Probe};
use crate::{
    gcp::logging::{Logs, Severity, Source},
    router::Why,
    runtime::Exit,
};

const MEBIBYTE: u64 = 1 << 20;

/// One instance's part of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemLog<'a> {
    pub(super) logs: &'a Logs,
    pub(super) source: &'a Source,
}

/// A probe as the log names it.
#[derive(Clone, Debug)]
pub(super) struct Probed {
    /// `Default STARTUP TCP probe`.
    what: String,
    /// `for container "hello-1" on port 8080`.
    place: String,
}

impl Probed {
    pub(super) fn new(probe: &Probe, default: bool, container: &str) -> Self {
        Self::of(if default { "Default STARTUP" } else { "STARTUP" }, probe, container)
    }

    /// `LIVENESS`, `READINESS`.
    pub(super) fn of(purpose: &str, probe: &Probe, container: &str) -> Self {
        let path = probe.path().map_or_else(String::new, |path| format!(" path \"{path}\""));
        Self {
            what: format!("{purpose} {} probe", probe.kind()),
            place: format!("for container \"{container}\" on port {}{path}.", probe.port()),
        }
    }
}

impl SystemLog<'_> {
    fn write(&self, severity: Severity, text: &str) {
        self.logs.system(self.source, severity, text);
    }

    pub(super) fn starting(&self, why: Why) {
        let reason = match why {
            Why::Rollout => {
                "DEPLOYMENT_ROLLOUT - Instance started due to traffic shifting between revisions due to deployment, traffic split adjustment, or deployment health check."
            }
            Why::Scaling => {
                "AUTOSCALING - Instance started due to configured scaling factors (e.g. CPU utilization, request throughput, etc.) or no existing capacity for current traffic."
            }
        };
        self.write(Severity::Info, &format!("Starting new instance. Reason: {reason}"));
    }

    /// What only the local cloud does.
    pub(super) fn warning(&self, text: &str) {
        self.write(Severity::Warning, text);
    }

    pub(super) fn not_started(&self, why: &str) {
        self.write(Severity::Error, &format!("Application failed to start: {why}"));
    }

    pub(super) fn passed(&self, probed: &Probed, attempts: u64) {
        let plural = if attempts == 1 { "attempt" } else { "attempts" };
        self.write(Severity::Info, &format!("{} succeeded after {attempts} {plural} {}", probed.what, probed.place));
    }

    /// After the last attempt the instance is given up.
    pub(super) fn missed(&self, probed: &Probed, attempt: u64, last: bool, miss: Miss) {
        self.failed(probed, attempt, if last { " The instance was not started." } else { "" }, miss);
    }

    /// `then` is what comes of it.
    pub(super) fn failed(&self, probed: &Probed, attempt: u64, then: &str, miss: Miss) {
        let plural = if attempt == 1 { "time" } else { "times" };
        let mut text = format!("{} failed {attempt} {plural} consecutively {}{then}", probed.what, probed.place);
        if let Some(status) = miss.status() {
            text += &format!("\nConnection failed with status {status}.");
        }
        self.write(Severity::Error, &text);
    }

    /// `limit` is the container's memory, in bytes.
    pub(super) fn ended(&self, exit: Exit, limit: Option<u64>) {
        if let Some(limit) = limit.filter(|_| exit.out_of_memory) {
            let limit = limit.div_ceil(MEBIBYTE);
            // What did not fit any more is not in the kernel's count.
            let used = limit + 1;
            let text = format!(
                "Memory limit of {limit} MiB exceeded with {used} MiB used. Consider increasing the memory limit, see https://cloud.google.com/run/docs/configuring/memory-limits"
            );
            self.write(Severity::Error, &text);
        }
        let text = match exit {
            Exit { code: Some(code), .. } => format!("Container called exit({code})."),
            Exit { signal: Some(signal), .. } => format!("Container terminated on signal {signal}."),
            Exit { .. } => "Container terminated.".to_owned(),
        };
        self.write(Severity::Warning, &text);
    }
}
