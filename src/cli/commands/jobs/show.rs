use carrack_core::{
    Error, ErrorKind,
    job::{Execution, ExecutionId, JobLogs, LiveJob, TaskRun},
    permission::Task,
    provider::Provider,
};
use clap::Args;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde_json::json;

use crate::{
    cli::{
        commands::status::words,
        error::Failure,
        session::{Project, Session, explained},
        ui::table,
    },
    ops::{
        job_runs::about,
        jobs::{missing, settled},
    },
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  carrack jobs executions\n  carrack jobs executions --format json")]
pub(super) struct Executions {
    /// The newest so many
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  carrack jobs tasks nightly-x7k2p")]
pub(super) struct Tasks {
    /// Of which
    #[arg(value_name = "EXECUTION")]
    execution: String,
}

/// How many executions `status` shows.
const RECENT: usize = 5;

pub(super) async fn executions(session: &mut Session, options: Executions) -> Result<u8, Failure> {
    let project = session.job_project()?;
    let connection = session.connect(&project.place).await?;
    let provider = &*connection.provider;
    let mut list = match provider.jobs().executions(&session.cx, &project.resolved.name).await {
        Ok(list) => list,
        Err(error) => return Err(explained(session, &project, provider, Task::JobsExecutions, error).await.into()),
    };
    list.truncate(options.limit);
    session.data(&of_executions(&list).join("\n")).await;
    session.report(json!({ "executions": list }));
    Ok(0)
}

fn of_executions(list: &[Execution]) -> Vec<String> {
    let head = ["execution", "state", "tasks", "created", "took"].map(str::to_owned);
    let rows = list.iter().map(|execution| {
        let tasks = match execution.failed {
            0 => format!("{} of {} done", execution.succeeded, execution.tasks),
            failed => format!("{} of {} done, {failed} failed", execution.succeeded, execution.tasks),
        };
        [
            execution.id.0.clone(),
            execution.state.name().to_owned(),
            tasks,
            second(&execution.created),
            took(execution.started.as_deref(), execution.completed.as_deref()),
        ]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), "")
}

pub(super) async fn tasks(session: &mut Session, options: Tasks) -> Result<u8, Failure> {
    let project = session.job_project()?;
    let connection = session.connect(&project.place).await?;
    let (provider, name, cx) = (&*connection.provider, &project.resolved.name, &session.cx);
    let id = ExecutionId(options.execution);
    let read = tokio::try_join!(provider.jobs().execution(cx, name, &id), provider.jobs().tasks(cx, name, &id));
    let (execution, tasks) = match read {
        Ok((Some(execution), tasks)) => (execution, tasks),
        Ok((None, _)) => {
            let hint = format!("see which there are: `carrack jobs executions{}`", session.flags());
            return Err(Error::new(ErrorKind::NotFound, "it does not exist").on(about(&id)).hint(hint).into());
        }
        Err(error) => return Err(explained(session, &project, provider, Task::JobsExecutions, error).await.into()),
    };
    session.data(&of_tasks(&tasks).join("\n")).await;
    session.report(json!({ "execution": execution, "tasks": tasks }));
    Ok(0)
}

fn of_tasks(tasks: &[TaskRun]) -> Vec<String> {
    let head = ["task", "state", "retries", "exit", "took", "what was said"].map(str::to_owned);
    let rows = tasks.iter().map(|task| {
        let exit = match (task.exit_code, task.signal) {
            (Some(code), _) => code.to_string(),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "-".to_owned(),
        };
        [
            task.index.to_string(),
            task.state.name().to_owned(),
            task.retried.to_string(),
            exit,
            took(task.started.as_deref(), task.completed.as_deref()),
            task.message.clone().unwrap_or_default(),
        ]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), "")
}

/// `carrack logs` of a job.
pub(in crate::cli::commands) async fn logs(
    session: &Session,
    project: &Project,
    query: JobLogs,
) -> Result<u8, Failure> {
    let connection = session.connect(&project.place).await?;
    let follow = query.follow;
    let mut lines = connection.provider.jobs().logs(&session.cx, &project.resolved.name, query);
    loop {
        // The reader is gone.
        if session.ui.broken().is_some() {
            return Ok(0);
        }
        match lines.try_next().await {
            Ok(None) => return Ok(0),
            Ok(Some(line)) if session.json() => session.ui.value(&line),
            Ok(Some(line)) => {
                let task = line.task.map(|task| format!("[{task}] ")).unwrap_or_default();
                session.ui.print(&format!("{} {task}{}", line.line.at, line.line.text));
            }
            // Ctrl-C is how following ends.
            Err(error) if follow && error.kind() == ErrorKind::Cancelled => return Ok(0),
            Err(error) => {
                drop(lines);
                return Err(explained(session, project, &*connection.provider, Task::Logs, error).await.into());
            }
        }
    }
}

/// `carrack status` of a job.
pub(in crate::cli::commands) async fn status(
    session: &mut Session,
    project: &Project,
    provider: &dyn Provider,
) -> Result<u8, Failure> {
    let (name, cx) = (&project.resolved.name, &session.cx);
    let read = tokio::try_join!(settled(cx, provider, name), provider.jobs().executions(cx, name));
    let (observed, mut executions) = match read {
        Ok(read) => read,
        Err(error) => return Err(explained(session, project, provider, Task::Status, error).await.into()),
    };
    let Some(live) = observed.job else { return Err(missing(provider, name).into()) };
    executions.truncate(RECENT);
    session.data(&of_job(name.as_str(), &live, &executions)).await;
    session.report(json!({
        "job": provider.service_ref(name), "readiness": live.readiness, "spec": live.spec, "receipt": live.receipt,
        "executions": executions,
    }));
    Ok(0)
}

fn of_job(name: &str, live: &LiveJob, executions: &[Execution]) -> String {
    let spec = &live.spec;
    let shown = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let at_once = match spec.parallelism {
        None | Some(0) => "all at once".to_owned(),
        Some(most) => format!("{most} at once"),
    };
    let timeout = spec.timeout.map_or(0, |timeout| timeout.as_secs());
    let mut lines = vec![
        format!("job       {name}"),
        format!("state     {}", words(&live.readiness)),
        format!("tasks     {}, {at_once}; {} retries, {timeout}s each", shown(spec.tasks), shown(spec.retries)),
    ];
    if let Some(image) = &spec.workload.main.image {
        lines.push(format!("image     {}", image.0));
    }
    if let Some(receipt) = &live.receipt {
        let by = if receipt.by.is_empty() { "unknown" } else { &receipt.by };
        lines.push(format!("deployed  {} by {by}", receipt.at));
        lines.extend(receipt.commit.iter().map(|commit| format!("commit    {commit}")));
    }
    lines.push(String::new());
    lines.extend(of_executions(executions));
    lines.join("\n")
}

/// A time without its parts of a second.
fn second(time: &str) -> String {
    time.get(..19).map_or_else(String::new, |time| format!("{time}Z"))
}

/// From the start to the end, or until now.
fn took(started: Option<&str>, completed: Option<&str>) -> String {
    let Some(started) = started.and_then(|time| time.parse::<Timestamp>().ok()) else { return "-".to_owned() };
    let end = completed.and_then(|time| time.parse::<Timestamp>().ok()).unwrap_or_else(Timestamp::now);
    let seconds = end.duration_since(started).as_secs_f64().max(0.0);
    match (seconds as u64 / 60, seconds % 60.0) {
        (0, seconds) => format!("{seconds:.1}s"),
        (minutes, seconds) => format!("{minutes}m{:02}s", seconds as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_it_took() {
        let took = |completed| super::took(Some("2026-01-01T00:00:00Z"), Some(completed));
        assert_eq!(took("2026-01-01T00:00:01.250Z"), "1.2s");
        assert_eq!(took("2026-01-01T00:02:05Z"), "2m05s");
        assert_eq!(super::took(None, None), "-");
        assert_eq!(second("2026-01-01T00:00:01.250Z"), "2026-01-01T00:00:01Z");
    }
}
