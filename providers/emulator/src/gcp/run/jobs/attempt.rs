//! One attempt at one task: its containers from the launch to the end.
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{names::JobKey, task::Attempt};
use crate::{
    gcp::{
        logging::{Severity, Source},
        run::{
            group::{Ends, Plan, Trouble, Wanted},
            starter::differences,
            store::HURRY,
            system_log::SystemLog,
        },
        status::Code,
    },
    router::backend::GRACE,
    runtime::{Instance, LaunchError},
};

/// Attempts are numbered over all jobs: their names are folders of the runtime.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// What all attempts of one execution have in common.
pub(super) struct Attempts {
    pub(super) key: JobKey,
    pub(super) execution: String,
    pub(super) tasks: u32,
    pub(super) timeout: Duration,
    pub(super) plan: Plan,
    pub(super) stop: CancellationToken,
    /// What ends need not end in peace.
    pub(super) hurry: CancellationToken,
}

impl fmt::Debug for Attempts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Attempts").field("execution", &self.execution).finish_non_exhaustive()
    }
}

pub(super) enum Attempted {
    Ended(Attempt),
    /// Another attempt would change nothing.
    Impossible(Attempt),
    Cancelled,
}

impl Attempts {
    /// The timeout is the attempt's, from the launch of its first container:
    /// <https://cloud.google.com/run/docs/configuring/task-timeout>
    pub(super) async fn run(&self, task: u32, attempt: u32) -> Attempted {
        let wanted = self.wanted(task, attempt);
        differences(&self.plan, SystemLog { logs: &self.plan.logs, source: &wanted.source });
        let over = CancellationToken::new();
        let late = async {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(self.timeout) => {}
            }
            over.cancel();
            std::future::pending::<()>().await;
        };
        let attempted = tokio::select! {
            attempted = self.attempt(&wanted, &over) => attempted,
            () = late => None,
        };
        match attempted {
            Some(attempted) => attempted,
            None if self.stop.is_cancelled() => Attempted::Cancelled,
            None => {
                let seconds = self.timeout.as_secs();
                let text = format!("Terminating task because it has reached the maximum timeout of {seconds} seconds.");
                self.plan.logs.system(&wanted.source, Severity::Error, &text);
                Attempted::Ended(Attempt::timed_out())
            }
        }
    }

    /// `None` when it was ended before its end.
    async fn attempt(&self, wanted: &Wanted, over: &CancellationToken) -> Option<Attempted> {
        let instance = match self.plan.bring_up(wanted, over).await {
            Ok(instance) => instance,
            Err(trouble) => return failed(trouble, wanted.main),
        };
        tokio::select! {
            biased;
            exit = instance.exited() => Some(Attempted::Ended(Attempt::exited(exit))),
            () = over.cancelled() => {
                self.stop(&*instance).await;
                None
            }
        }
    }

    /// <https://cloud.google.com/run/docs/container-contract#jobs-lifecycle>
    async fn stop(&self, instance: &dyn Instance) {
        tokio::select! {
            _ = instance.stop(GRACE) => {}
            () = self.hurry.cancelled() => {
                instance.stop(HURRY).await;
            }
        }
    }

    fn wanted(&self, task: u32, attempt: u32) -> Wanted {
        let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        Wanted {
            id: format!("{}-{task}-{number}", self.execution),
            env: self.env(task, attempt),
            source: Source::attempt(&self.key, &self.execution, task, attempt),
            owner: self.key.job.clone(),
            main: main_container(&self.plan.template),
            port: None,
            ends: Ends::WithMain,
        }
    }

    /// <https://cloud.google.com/run/docs/container-contract#jobs-env-vars>
    fn env(&self, task: u32, attempt: u32) -> Vec<(String, String)> {
        let variables = [
            ("CLOUD_RUN_JOB", self.key.job.clone()),
            ("CLOUD_RUN_EXECUTION", self.execution.clone()),
            ("CLOUD_RUN_TASK_INDEX", task.to_string()),
            ("CLOUD_RUN_TASK_COUNT", self.tasks.to_string()),
            ("CLOUD_RUN_TASK_ATTEMPT", attempt.to_string()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// Only the end of the container `main` is the task's.
fn failed(trouble: Trouble, main: usize) -> Option<Attempted> {
    Some(match trouble {
        Trouble::Cancelled => return None,
        Trouble::Ended { container, exit, .. } if container == main => Attempted::Ended(Attempt::exited(exit)),
        Trouble::Ended { .. } | Trouble::Unhealthy { .. } => {
            let text = "The user-provided container failed the configured startup probe checks.";
            Attempted::Ended(Attempt::broken(Code::Aborted, text))
        }
        Trouble::Launch { error: LaunchError::Exec(text), .. } => {
            Attempted::Ended(Attempt::broken(Code::Aborted, format!("Application failed to start: {text}")))
        }
        Trouble::Secret(text) => Attempted::Impossible(Attempt::broken(Code::Internal, text)),
        Trouble::Launch { error: LaunchError::Image(text), .. } => {
            Attempted::Impossible(Attempt::broken(Code::Aborted, format!("The image cannot be used: {text}")))
        }
        Trouble::Launch { error: LaunchError::Host(text), .. } => {
            let text = format!("The local cloud could not start the container: {text}");
            Attempted::Impossible(Attempt::broken(Code::Internal, text))
        }
    })
}

/// The one whose end is the task's: the first that no other waits for.
fn main_container(template: &Value) -> usize {
    let containers = template["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let waited_for = |container: &Value| {
        let mut all = containers.iter().flat_map(|other| other["dependsOn"].as_array().into_iter().flatten());
        all.any(|name| name.is_string() && *name == container["name"])
    };
    containers.iter().position(|container| !waited_for(container)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_ends_with_the_container_that_waits_for_the_others() {
        let of = |containers: Value| main_container(&json!({ "containers": containers }));
        assert_eq!(of(json!([{}])), 0);
        assert_eq!(of(json!([{ "name": "a" }, { "name": "b" }])), 0);
        assert_eq!(of(json!([{ "name": "proxy" }, { "name": "main", "dependsOn": ["proxy"] }])), 1);
    }
}
