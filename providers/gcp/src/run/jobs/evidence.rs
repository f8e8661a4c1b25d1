//! What a failure of a job left behind: its texts, and the last lines of the task that failed.
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use carrack_core::{
    Result,
    event::{Ctx, Event},
    evidence::{Evidence, Sign},
    job::{ExecutionId, TaskRun},
    poll::{Poll, PollPolicy, poll_until},
    spec::ServiceName,
};

use super::{client, wire};
use crate::{
    CloudRun,
    logging::{LastWords, last_words_of_task},
    run::signs::{Surroundings, of_system, of_text},
};

/// How many log entries are read.
const ENTRIES: usize = 200;

/// A log line may be seconds late: <https://cloud.google.com/logging/docs/view/logs-explorer-interface>.
const LOGS_PATIENCE: Duration = Duration::from_secs(4);

pub(super) async fn evidence(
    provider: &CloudRun,
    cx: &Ctx,
    job: &ServiceName,
    failed: Option<(&ExecutionId, Option<&TaskRun>)>,
    said: &str,
) -> Result<Evidence> {
    let around = Surroundings { project: &provider.project, principal: provider.token.principal() };
    let mut signs = of_text(said, around);
    let mut evidence = Evidence { of_task: true, ..Evidence::default() };
    let (execution, task) = match failed {
        Some((execution, task)) => (Some(execution), task),
        None => (None, None),
    };
    // An execution keeps what its tasks were made of.
    let raw = match execution {
        Some(execution) => client::execution(provider, cx, job, execution).await,
        None => client::get(provider, cx, job).await.map(|job| job.map(|mut job| job["template"].take())),
    };
    match raw.map(|raw| raw.map(|raw| wire::from_wire(&serde_json::json!({ "template": raw })))) {
        Ok(Some(spec)) => {
            let main = spec?.workload.main;
            (evidence.image, evidence.memory) = (main.image, main.memory);
        }
        Ok(None) => {}
        Err(error) => cx.events.emit(Event::Warning { message: format!("the settings cannot be read: {error}") }),
    }
    let Some((execution, task)) = execution.zip(task) else { return Ok(Evidence { signs, ..evidence }) };
    if let Some(message) = &task.message {
        signs.extend(of_text(message, around));
    }
    match words(provider, cx, job, execution, task).await {
        Ok(words) => {
            signs.splice(0..0, of_system(words.system.iter().map(|line| line.text.as_str())));
            evidence.lines = words.program;
            let grave = words.system.into_iter().filter(|line| line.severity != "INFO" && line.severity != "DEFAULT");
            evidence.system = grave.flat_map(|line| line.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        }
        Err(error) => {
            let message = format!("the log of task {} cannot be read: {error}", task.index);
            cx.events.emit(Event::Warning { message });
        }
    }
    // The task says how it ended, whatever the log has.
    let ends = task.exit_code.map(Sign::Exited).into_iter().chain(task.signal.map(Sign::Killed));
    signs.extend(ends.filter(|sign| !signs.contains(sign)).collect::<Vec<_>>());
    Ok(Evidence { signs, ..evidence })
}

/// The task's last lines; they are waited for a little when there are none.
async fn words(
    provider: &CloudRun,
    cx: &Ctx,
    job: &ServiceName,
    execution: &ExecutionId,
    task: &TaskRun,
) -> Result<LastWords> {
    let latest = Mutex::new(None);
    let policy = PollPolicy { first: Duration::ZERO, ..PollPolicy::within(LOGS_PATIENCE) };
    let waited = poll_until(cx, policy, || async {
        let words = last_words_of_task(provider, cx, job, execution, task.index, ENTRIES).await?;
        let told = !words.program.is_empty() || !words.system.is_empty();
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        Ok(if told { Poll::Ready(()) } else { Poll::Pending })
    })
    .await;
    match (latest.into_inner().unwrap_or_else(PoisonError::into_inner), waited) {
        (Some(words), _) => Ok(words),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Ok(LastWords::default()),
    }
}
