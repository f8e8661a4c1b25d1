//! The command line: arguments, one match, and the exit code.
mod commands;
mod error;
mod git;
#[cfg(all(feature = "local", target_os = "linux"))]
mod local;
mod session;
mod settings;
mod several;
mod ui;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, builder::styling};
use tokio_util::sync::CancellationToken;

use self::{
    commands::{
        auth, build, check, ci, completions, deploy, destroy, explain, history, import, init, jobs, logs, permissions,
        plan, push, rollback, schema, secrets, status, traffic,
    },
    error::Failure,
    session::Session,
    settings::{Environment, Format},
};

const STYLES: styling::Styles = styling::Styles::styled()
    .header(styling::AnsiColor::Green.on_default().bold())
    .usage(styling::AnsiColor::Green.on_default().bold())
    .literal(styling::AnsiColor::Cyan.on_default().bold())
    .placeholder(styling::AnsiColor::Cyan.on_default());

/// The file that is read when none is named.
const FILE: &str = "carrack.toml";

/// One TOML file and one binary that put a container on Cloud Run, and keep it there.
#[derive(Debug, Parser)]
#[command(name = "carrack", version, styles = STYLES, arg_required_else_help = true)]
#[command(after_help = "Examples:
  carrack init                     write a carrack.toml
  carrack deploy --local           deploy to the local cloud, with no account
  carrack plan                     show what a deploy would change
  carrack deploy                   build, push, deploy, and see that it answers")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
struct Common {
    /// The configuration file; several for several services at once
    #[arg(short = 'f', long = "file", value_name = "FILE", default_value = FILE, global = true)]
    file: Vec<std::path::PathBuf>,
    /// The target, by its name in the file; not needed when there is one, and several at once are taken
    #[arg(long = "to", value_name = "TARGET", global = true)]
    target: Vec<String>,
    /// Use the local cloud: the same target and code, with no account
    #[arg(long, global = true)]
    local: bool,
    /// Speak for this service account; `A,B` for B by way of A
    #[arg(long, value_name = "EMAIL", global = true)]
    impersonate: Option<String>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Human, global = true)]
    format: Format,
    /// When to use colours
    #[arg(long, value_enum, default_value_t = settings::Color::Auto, global = true)]
    color: settings::Color,
    /// Show more (-v requests, -vv their details)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Show only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Give up after this long (`90s`, `10m`)
    #[arg(long, value_name = "DURATION", value_parser = settings::duration, global = true)]
    timeout: Option<std::time::Duration>,
    /// Answer every question with yes
    #[arg(long, global = true)]
    yes: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a carrack.toml to start from
    Init(init::Options),
    /// Check the file, offline
    Check(check::Options),
    /// Build the image, and print its digest
    Build(build::Options),
    /// Build and push the image, and print its reference
    Push(push::Options),
    /// Show what a deploy would change
    Plan(plan::Options),
    /// Build, push, deploy, and see that it answers
    Deploy(deploy::Options),
    /// Show the live service
    Status(status::Options),
    /// Show who gets the traffic, or send it elsewhere
    Traffic(traffic::Options),
    /// List the revisions: when, who, from which commit, and what serves
    History(history::Options),
    /// Undo the newest deploy: its traffic, or its settings too
    Rollback(rollback::Options),
    /// Print the service's log lines
    Logs(logs::Options),
    /// Show whose credentials are used
    Auth(auth::Options),
    /// Remove the service
    Destroy(destroy::Options),
    /// Run a job, and see or cancel its executions
    Jobs(jobs::Options),
    /// Set, list and read secrets, and let services read them
    Secrets(secrets::Options),
    /// Show and check the permissions that this needs
    Permissions(permissions::Options),
    /// Write a carrack.toml from what is there already
    Import(import::Options),
    /// Write a pipeline that plans and deploys, and what lets it in without a key
    Ci(ci::Options),
    /// Run, stop and look into the local cloud
    #[cfg(all(feature = "local", target_os = "linux"))]
    Emulator(commands::emulator::Options),
    /// Print a completion script for a shell
    Completions(completions::Options),
    /// Print the JSON Schema of carrack.toml
    Schema(schema::Options),
    /// Explain an exit code, or the cause of a failure
    Explain(explain::Options),
}

/// Parses, runs, and says how it ended.
pub fn main() -> ExitCode {
    let Cli { common, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    #[cfg(all(feature = "local", target_os = "linux"))]
    if let Command::Emulator(options) = &command
        && let Err(error) = options.detach()
    {
        return error::report_early(&error.to_string());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error::report_early(&error.to_string()),
    };
    let environment = Environment::read();
    settings::trace(common.verbose, &environment);
    let cancel = CancellationToken::new();
    let code = runtime.block_on(async {
        tokio::spawn(on_interrupt(cancel.clone()));
        let (mut session, ui) = Session::new(common, environment, cancel);
        let result = dispatch(command, &mut session).await;
        session.finish(result, ui).await
    });
    // A blocking read (a terminal, a child) must not hold the end up.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn dispatch(command: Command, session: &mut Session) -> Result<u8, Failure> {
    use several::{each, each_file};
    let several = matches!(
        command,
        Command::Check(_) | Command::Plan(_) | Command::Deploy(_) | Command::Status(_) | Command::Destroy(_)
    );
    if !several {
        several::require_one(session)?;
    }
    match command {
        Command::Init(options) => init::run(session, options),
        Command::Check(options) => each_file(session, options, |s, o| Box::pin(async { check::run(s, o) })).await,
        Command::Build(options) => build::run(session, options).await,
        Command::Push(options) => push::run(session, options).await,
        Command::Plan(options) => {
            options.for_one(session)?;
            each(session, options, |s, o| Box::pin(plan::run(s, o))).await
        }
        Command::Deploy(options) => each(session, options, |s, o| Box::pin(deploy::run(s, o))).await,
        Command::Status(options) => each(session, options, |s, o| Box::pin(status::run(s, o))).await,
        Command::Traffic(options) => traffic::run(session, options).await,
        Command::History(options) => history::run(session, options).await,
        Command::Rollback(options) => rollback::run(session, options).await,
        Command::Logs(options) => logs::run(session, options).await,
        Command::Auth(options) => auth::run(session, options).await,
        Command::Destroy(options) => each(session, options, |s, o| Box::pin(destroy::run(s, o))).await,
        Command::Jobs(options) => jobs::run(session, options).await,
        Command::Secrets(options) => secrets::run(session, options).await,
        Command::Permissions(options) => permissions::run(session, options).await,
        Command::Import(options) => import::run(session, options).await,
        Command::Ci(options) => ci::run(session, options),
        #[cfg(all(feature = "local", target_os = "linux"))]
        Command::Emulator(options) => commands::emulator::run(session, options).await,
        Command::Completions(options) => completions::run(session, options),
        Command::Schema(options) => schema::run(session, options),
        Command::Explain(options) => explain::run(session, options),
    }
}

/// The first Ctrl-C or SIGTERM stops cleanly, the second at once.
async fn on_interrupt(cancel: CancellationToken) {
    for first in [true, false] {
        interrupted().await;
        if first {
            cancel.cancel();
        }
    }
    error::exit_interrupted();
}

#[cfg(unix)]
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn interrupted() {
    let _ = tokio::signal::ctrl_c().await;
}
