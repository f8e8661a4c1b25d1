use std::{collections::BTreeMap, time::Duration};

use carrack_core::{
    ErrorKind,
    event::{Event, Phase},
    job::{ExecutionId, JobLine, Overrides},
    permission::Task,
};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    cli::{
        error::Failure,
        session::{Session, explained},
        settings,
        ui::Ui,
    },
    ops::job_runs::{Ended, judged, start, watch},
};

/// Options of `carrack jobs run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack jobs run --local
  carrack jobs run --arg --since --arg yesterday --env MODE=full
  carrack jobs run --tasks 10 --task-timeout 1h
  carrack jobs run --timeout 30m        wait no longer; the execution goes on
  carrack jobs run --no-wait")]
pub(super) struct Options {
    /// An argument for the program, in place of all that the job has; repeatable
    #[arg(long = "arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    args: Vec<String>,
    /// A variable for this run; repeatable
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// How many tasks, for this run
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    tasks: Option<u32>,
    /// How long one attempt may take, for this run (`90s`, `1h`)
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    task_timeout: Option<Duration>,
    /// Only start it, and print the execution's name
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  carrack jobs cancel nightly-x7k2p")]
pub(super) struct Cancel {
    /// Which
    #[arg(value_name = "EXECUTION")]
    execution: String,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is no variable: write NAME=VALUE")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let duration = settings::duration(text)?;
    match duration.as_secs() {
        0 => Err("an attempt takes a second or more".to_owned()),
        _ if duration.subsec_nanos() > 0 => Err("write whole seconds".to_owned()),
        _ => Ok(duration),
    }
}

/// The execution's name, or its log, is the data.
pub(super) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    let Options { args, env, tasks, task_timeout, no_wait } = options;
    let overrides = Overrides {
        args: (!args.is_empty()).then_some(args),
        env: env.into_iter().collect::<BTreeMap<_, _>>(),
        tasks,
        timeout: task_timeout,
    };
    let project = session.job_project()?;
    let connection = session.connect(&project.place).await?;
    let (provider, name, flags) = (&*connection.provider, &project.resolved.name, session.flags());
    let started = Instant::now();
    let execution = match start(&session.cx, provider, name, &overrides, &flags).await {
        Ok(execution) => execution,
        Err(error) => return Err(explained(session, &project, provider, Task::JobsRun, error).await.into()),
    };
    let id = &execution.id;
    if no_wait {
        session.ui.say("Started", &format!("it goes on; watch it: `carrack logs --execution {id} --follow{flags}`"));
        session.data(&id.0).await;
        session.report(json!({ "execution": execution }));
        return Ok(0);
    }
    let count = if execution.tasks == 1 { "1 task".to_owned() } else { format!("{} tasks", execution.tasks) };
    let message = format!("{id} ({count})");
    session.cx.events.emit(Event::PhaseStarted { phase: Phase::Run, message });
    session.cx.events.flushed().await;
    let (ui, several, as_json) = (session.ui.clone(), execution.tasks > 1, session.json());
    let ended = match watch(&session.cx, provider, name, id, &flags, |line| show(&ui, &line, several, as_json)).await {
        Ok(ended) => ended,
        Err(error) => return Err(explained(session, &project, provider, Task::JobsRun, error).await.into()),
    };
    if let Err(error) = judged(&session.cx, provider, name, &ended, &flags).await {
        if as_json {
            session.cx.events.flushed().await;
            session.ui.value(&line(&ended));
        }
        return Err(error.into());
    }
    let message = format!("{id} succeeded");
    session.cx.events.emit(Event::PhaseFinished { phase: Phase::Run, message, elapsed: started.elapsed() });
    session.report(ended);
    Ok(0)
}

/// What a report of a failure has no place for.
fn line(ended: &Ended) -> Value {
    json!({ "type": "execution", "execution": ended.execution, "tasks": ended.tasks })
}

/// What the program wrote, as it is; of several tasks with the index before it.
fn show(ui: &Ui, line: &JobLine, several: bool, as_json: bool) {
    match (line.task, as_json) {
        // What ended badly is told at the end.
        (_, false) if line.system => {}
        (_, true) => {
            let mut value = json!(line);
            value["type"] = json!("log");
            ui.value(&value);
        }
        (Some(task), false) if several => ui.print(&format!("[{task}] {}", line.line.text)),
        _ => ui.print(&line.line.text),
    }
}

pub(super) async fn cancel(session: &mut Session, options: Cancel) -> Result<u8, Failure> {
    let project = session.job_project()?;
    let connection = session.connect(&project.place).await?;
    let (provider, name, flags) = (&*connection.provider, &project.resolved.name, session.flags());
    let id = ExecutionId(options.execution);
    match provider.jobs().cancel(&session.cx, name, &id).await {
        Ok(execution) => {
            session.ui.say("Done", &format!("execution `{id}` is {}", execution.state.name()));
            session.report(json!({ "execution": execution }));
            Ok(0)
        }
        Err(error) => {
            let error = match error.kind() {
                ErrorKind::NotFound => error.hint(format!("see which there are: `carrack jobs executions{flags}`")),
                ErrorKind::Conflict => error.hint(format!("see how it ended: `carrack jobs tasks {id}{flags}`")),
                _ => error,
            };
            Err(explained(session, &project, provider, Task::JobsCancel, error).await.into())
        }
    }
}
