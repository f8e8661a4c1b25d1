//! Running a job: it is started once, and watched until it ends.
use std::time::Duration;

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    job::{Execution, ExecutionId, JobLine, JobLogs, Overrides, RunState, TaskRun},
    plan::ResourceRef,
    poll::{Poll, PollPolicy, poll_until},
    provider::Provider,
    spec::ServiceName,
};
use futures_util::{TryStreamExt, future::join};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::jobs::explained_run;

/// No execution takes longer: tasks one after the other, each as long as it may and as often as it may.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Of more tasks than these only failed ones are worth a look.
const FEW: u32 = 100;

/// What came of an execution.
#[derive(Clone, Debug, Serialize)]
pub struct Ended {
    /// The execution.
    pub execution: Execution,
    /// Its tasks, as far as they were looked at.
    pub tasks: Vec<TaskRun>,
}

/// Starts an execution. `flags` are those that commands to type need.
pub async fn start(
    cx: &Ctx,
    provider: &dyn Provider,
    name: &ServiceName,
    overrides: &Overrides,
    flags: &str,
) -> Result<Execution> {
    provider.jobs().run(cx, name, overrides).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => error.hint(format!("deploy it first: `carrack deploy{flags}`")),
        _ if error.is_uncertain() => {
            let hint = format!("whether it was started is not known: `carrack jobs executions{flags}` shows it");
            error.hint(hint)
        }
        _ => error,
    })
}

/// Waits for the end of an execution, and hands on what it writes meanwhile. That looking fails, or is given up, does
/// not end the execution.
pub async fn watch(
    cx: &Ctx,
    provider: &dyn Provider,
    name: &ServiceName,
    id: &ExecutionId,
    flags: &str,
    mut each: impl FnMut(JobLine),
) -> Result<Ended> {
    let jobs = provider.jobs();
    let ended = CancellationToken::new();
    let lines = async {
        let query =
            JobLogs { execution: Some(id.clone()), follow: true, ended: Some(ended.clone()), ..JobLogs::default() };
        let mut lines = jobs.logs(cx, name, query);
        while let Some(line) = lines.try_next().await? {
            each(line);
        }
        Ok::<_, Error>(())
    };
    let end = async {
        let look = || async {
            Ok(match jobs.execution(cx, name, id).await? {
                Some(execution) if execution.state.is_end() => Poll::Ready(execution),
                Some(_) => Poll::Pending,
                None => return Err(Error::new(ErrorKind::NotFound, "it was deleted").on(about(id))),
            })
        };
        let end = poll_until(cx, PollPolicy::within(LONGEST), look).await;
        ended.cancel();
        end
    };
    let (lines, end) = join(lines, end).await;
    let execution = end.map_err(|error| goes_on(error, id, flags))?;
    if let Err(error) = lines
        && error.kind() != ErrorKind::Cancelled
    {
        let message = format!("the log cannot be read: {error}");
        cx.events.emit(Event::Warning { message });
    }
    let tasks =
        if execution.tasks <= FEW || execution.failed > 0 { jobs.tasks(cx, name, id).await } else { Ok(Vec::new()) };
    let tasks = tasks.unwrap_or_else(|error| {
        let message = format!("how its tasks ended cannot be read: {error}");
        cx.events.emit(Event::Warning { message });
        Vec::new()
    });
    Ok(Ended { execution, tasks })
}

/// Whoever stops waiting is told that the work is not stopped.
fn goes_on(error: Error, id: &ExecutionId, flags: &str) -> Error {
    let message = match error.kind() {
        ErrorKind::Cancelled => "interrupted, and the execution goes on",
        ErrorKind::Timeout => "it did not end in the time that it was waited for, and goes on",
        _ => return error.hint(format!("the execution goes on: `carrack jobs tasks {id}{flags}` shows it")),
    };
    Error::new(error.kind(), message)
        .on(about(id))
        .hint(format!("watch it: `carrack logs --execution {id} --follow{flags}`"))
        .hint(format!("end it: `carrack jobs cancel {id}{flags}`"))
}

/// The error of an execution that did not end well, with what is known of it.
pub async fn judged(cx: &Ctx, provider: &dyn Provider, name: &ServiceName, ended: &Ended, flags: &str) -> Result<()> {
    let Ended { execution, tasks } = ended;
    let id = &execution.id;
    if execution.state == RunState::Succeeded {
        return Ok(());
    }
    if execution.state == RunState::Cancelled {
        return Err(Error::new(ErrorKind::Unhealthy, "it was cancelled")
            .on(about(id))
            .hint(format!("see how far it came: `carrack jobs tasks {id}{flags}`")));
    }
    let failed = tasks.iter().find(|task| task.state == RunState::Failed);
    let mut error = Error::new(ErrorKind::Unhealthy, told(execution, failed)).on(about(id));
    if execution.tasks > 1 {
        error = error.hint(format!("see all of its tasks: `carrack jobs tasks {id}{flags}`"));
    }
    Err(explained_run(cx, provider, name, (id, failed), error).await)
}

/// How many failed, and how the first of them ended.
fn told(execution: &Execution, failed: Option<&TaskRun>) -> String {
    let Some(task) = failed else {
        let said = execution.message.as_deref().unwrap_or("it failed");
        return said.to_owned();
    };
    let how = match (task.exit_code, task.signal, &task.message) {
        (Some(code), ..) => format!("ended with exit code {code}"),
        (_, Some(signal), _) => format!("was ended by signal {signal}"),
        (_, _, Some(message)) => format!("failed: {message}"),
        _ => "failed".to_owned(),
    };
    let again = match task.retried {
        0 => String::new(),
        1 => ", after 1 retry".to_owned(),
        retries => format!(", after {retries} retries"),
    };
    match execution.tasks {
        1 => format!("the task {how}{again}"),
        tasks => format!("{} of {tasks} tasks failed: task {} {how}{again}", execution.failed, task.index),
    }
}

/// An execution, for messages.
pub fn about(id: &ExecutionId) -> ResourceRef {
    ResourceRef::new("execution", id.0.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(tasks: u32, failed: u32) -> Execution {
        Execution {
            id: ExecutionId("j-x".to_owned()),
            state: RunState::Failed,
            message: Some("the cloud's words".to_owned()),
            tasks,
            running: 0,
            succeeded: tasks - failed,
            failed,
            cancelled: 0,
            created: String::new(),
            started: None,
            completed: None,
        }
    }

    fn task(exit_code: Option<i32>, signal: Option<i32>, retried: u32) -> TaskRun {
        TaskRun {
            index: 2,
            state: RunState::Failed,
            retried,
            exit_code,
            signal,
            message: Some("the time was up".to_owned()),
            started: None,
            completed: None,
        }
    }

    #[test]
    fn a_failure_says_which_task_and_how() {
        for (execution, task, text) in [
            (execution(1, 1), task(Some(3), None, 0), "the task ended with exit code 3"),
            (execution(1, 1), task(None, Some(9), 1), "the task was ended by signal 9, after 1 retry"),
            (
                execution(5, 2),
                task(Some(1), None, 3),
                "2 of 5 tasks failed: task 2 ended with exit code 1, after 3 retries",
            ),
            (execution(5, 1), task(None, None, 0), "1 of 5 tasks failed: task 2 failed: the time was up"),
        ] {
            assert_eq!(told(&execution, Some(&task)), text);
        }
        assert_eq!(told(&execution(5, 1), None), "the cloud's words");
    }

    #[test]
    fn whoever_stops_waiting_is_told_that_it_goes_on() {
        let id = ExecutionId("j-x".to_owned());
        let told = goes_on(Error::new(ErrorKind::Cancelled, "interrupted"), &id, " --local");
        assert_eq!(
            (told.kind(), told.to_string().as_str()),
            (ErrorKind::Cancelled, "execution `j-x`: interrupted, and the execution goes on")
        );
        assert_eq!(
            told.hints(),
            ["watch it: `carrack logs --execution j-x --follow --local`", "end it: `carrack jobs cancel j-x --local`"]
        );
    }
}
