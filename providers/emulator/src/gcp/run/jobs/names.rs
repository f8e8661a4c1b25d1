//! The names of jobs, their executions and tasks.
use std::fmt;

use super::super::names::{is_label, missing};
use crate::gcp::{project, status::Status};

/// <https://cloud.google.com/run/docs/create-jobs>
const JOB_LENGTH: usize = 49;
/// Job and token together: <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs#Job>
const TOKEN_LENGTH: usize = 62;
/// Kubernetes' alphabet for what is only to be different: no vowels, and nothing that looks like them.
const CHARACTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Which job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobKey {
    pub(crate) project: String,
    pub(crate) location: String,
    pub(crate) job: String,
}

impl JobKey {
    pub(crate) fn parent(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.location)
    }

    pub(crate) fn execution(&self, execution: &str) -> String {
        format!("{self}/executions/{execution}")
    }

    pub(crate) fn project_number(&self) -> String {
        project::number(&self.project)
    }

    pub(crate) fn not_found(&self) -> Status {
        missing("JOB", &self.job, &self.project, &self.location)
    }

    pub(crate) fn execution_not_found(&self, execution: &str) -> Status {
        missing("EXECUTION", execution, &self.project, &self.location)
    }

    pub(crate) fn task_not_found(&self, task: &str) -> Status {
        missing("TASK", task, &self.project, &self.location)
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/jobs/{}", self.parent(), self.job)
    }
}

pub(super) fn is_job(name: &str) -> bool {
    is_label(name, JOB_LENGTH)
}

/// Whether an execution of `job` may be named by `token`.
pub(super) fn is_token(token: &str, job: &str) -> bool {
    !token.is_empty() && job.len() + token.len() <= TOKEN_LENGTH && is_label(&with_token(job, token), TOKEN_LENGTH + 1)
}

pub(super) fn with_token(job: &str, token: &str) -> String {
    format!("{job}-{token}")
}

/// `nightly-x7k2p`.
pub(super) fn new_execution(job: &str) -> String {
    let suffix: String = (0..5).map(|_| char::from(CHARACTERS[fastrand::usize(..CHARACTERS.len())])).collect();
    format!("{job}-{suffix}")
}

pub(super) fn task(execution: &str, index: u32) -> String {
    format!("{execution}-task{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        assert!(is_job("nightly") && is_job(&"a".repeat(49)));
        assert!(!is_job("Nightly") && !is_job("nightly-") && !is_job(&"a".repeat(50)));
        let made = new_execution("nightly");
        assert!(made.starts_with("nightly-") && made.len() == "nightly-x7k2p".len(), "{made}");
        assert!(is_token("v1", "nightly") && is_token(&"a".repeat(55), "nightly"));
        assert!(!is_token("", "nightly") && !is_token("V1", "nightly") && !is_token(&"a".repeat(56), "nightly"));
        assert_eq!(task("nightly-x7k2p", 3), "nightly-x7k2p-task3");
    }
}
