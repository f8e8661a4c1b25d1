//! `carrack jobs …`: runs of a job that was deployed; and what other commands show of a job.
mod run;
mod show;

use clap::{Args, Subcommand};

pub(super) use self::show::{logs, status};
use crate::cli::{error::Failure, session::Session};

/// Options of `carrack jobs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack jobs run                      run it, show its log, and wait for its end
  carrack jobs run --no-wait            only start it, and print the execution's name
  carrack jobs executions
  carrack jobs cancel nightly-x7k2p")]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the job, and wait for its end; its failure is exit code 50
    Run(run::Options),
    /// List its executions, newest first
    Executions(show::Executions),
    /// List the tasks of an execution
    Tasks(show::Tasks),
    /// End an execution
    Cancel(run::Cancel),
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    match options.command {
        Command::Run(options) => run::run(session, options).await,
        Command::Executions(options) => show::executions(session, options).await,
        Command::Tasks(options) => show::tasks(session, options).await,
        Command::Cancel(options) => run::cancel(session, options).await,
    }
}
