use std::time::Duration;

use carrack_core::{
    ErrorKind,
    job::{ExecutionId, JobLogs},
    permission::Task,
    provider::{LogQuery, Severity},
    spec::RevisionId,
};
use clap::{Args, builder::PossibleValuesParser};
use futures_util::TryStreamExt;

use crate::cli::{
    commands::jobs,
    error::Failure,
    session::{Session, explained},
    settings,
};

/// Options of `carrack logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  carrack logs --to prod\n  carrack logs --follow --since 10m\n  carrack logs --execution nightly-x7k2p --task 3\n  carrack logs --severity warning"
)]
pub(in crate::cli) struct Options {
    /// Go on with new lines as they come
    #[arg(long)]
    follow: bool,
    /// Only lines this young (`10m`, `2h`)
    #[arg(long, value_name = "DURATION", value_parser = settings::duration)]
    since: Option<Duration>,
    /// Only this revision's lines
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Only lines of this weight or more
    #[arg(long, value_name = "SEVERITY", value_parser = severities())]
    severity: Option<String>,
    /// Of a job: only this execution's lines
    #[arg(long, value_name = "EXECUTION", conflicts_with = "revision")]
    execution: Option<String>,
    /// Of a job: only this task's lines, by its index
    #[arg(long, value_name = "INDEX", conflicts_with = "revision")]
    task: Option<u32>,
    /// The newest so many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    tail: usize,
}

fn severities() -> PossibleValuesParser {
    PossibleValuesParser::new(Severity::ALL.map(Severity::name))
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    let project = session.project()?;
    if project.resolved.job.is_some() {
        let Options { follow, since, execution, task, tail, .. } = options;
        let execution = execution.map(ExecutionId);
        let query = JobLogs { execution, task, follow, since, tail: Some(tail), ended: None };
        return jobs::logs(session, &project, query).await;
    }
    if options.execution.is_some() || options.task.is_some() {
        session.job_project()?;
    }
    let connection = session.connect(&project.place).await?;
    let query = LogQuery {
        follow: options.follow,
        since: options.since,
        revision: options.revision.map(RevisionId),
        severity: options.severity.as_deref().and_then(Severity::parse),
        requests: true,
        tail: Some(options.tail),
    };
    let mut lines = connection.provider.logs(&session.cx, &project.resolved.name, query);
    loop {
        // The reader is gone.
        if session.ui.broken().is_some() {
            return Ok(0);
        }
        match lines.try_next().await {
            Ok(None) => return Ok(0),
            Ok(Some(line)) if session.json() => session.ui.value(&line),
            Ok(Some(line)) => session.ui.print(&format!("{} {}", line.at, line.text)),
            // Ctrl-C is how following ends.
            Err(error) if options.follow && error.kind() == ErrorKind::Cancelled => return Ok(0),
            Err(error) => {
                drop(lines);
                let provider = &*connection.provider;
                return Err(explained(session, &project, provider, Task::Logs, error).await.into());
            }
        }
    }
}
