//! `carrack emulator faults …`: calls that go wrong on purpose.
use std::time::Duration;

use carrack_core::{Error, ErrorKind};
use carrack_emulator::faults::{Fault, FaultRule, Service};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::call;
use crate::cli::{error::Failure, session::Session};

/// Options of `carrack emulator faults`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack emulator faults add 503 --service run --nth 2
  carrack emulator faults add reset-after --service run --method POST
  carrack emulator faults list
  carrack emulator faults clear")]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set a rule, and print its number
    Add(Box<Add>),
    /// Print the rules, and how many calls they met
    List,
    /// Remove rules, and let go of the calls that they hold
    Clear(Clear),
}

#[derive(Debug, Args)]
#[command(after_help = "Faults:
  STATUS            refuse with a status from 400 to 599; nothing is done
  reset             break the connection; nothing is done
  reset-after       do it, then break the connection before the answer
  stall             do nothing and answer nothing, until the client gives up
  stall-after       do it, then answer nothing
  truncate          do it, and break off in the middle of the answer
  corrupt           do it, and answer with a byte that is another
  corrupt-request   change a byte of the request, then do it
  conflict          let somebody else change the service first
  failed-operation  accept it, and let its operation fail
  expired-token     end the token that the call carries

Examples:
  carrack emulator faults add 429 --retry-after 2s --count 3
  carrack emulator faults add stall --service registry --method PUT
  carrack emulator faults add 503 --path '/v2/*/operations/*' --nth 2
  carrack emulator faults add conflict --service run
  carrack emulator faults add failed-operation --message overloaded")]
struct Add {
    /// What a call meets
    #[arg(value_name = "FAULT")]
    fault: Fault,
    /// Only calls of this API (`run`, `secretmanager`, `registry`, `oauth2`, `sts`, …)
    #[arg(long, value_name = "NAME")]
    service: Option<Service>,
    /// Only calls with this HTTP method
    #[arg(long)]
    method: Option<String>,
    /// Only calls to this path: with a `*`, which is any text, the whole of it, else its beginning
    #[arg(long, value_name = "GLOB")]
    path: Option<String>,
    /// Only the nth such call, from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    nth: Option<u64>,
    /// Only so many such calls, from the nth or the first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// What a refusal asks the client to wait
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::settings::duration)]
    retry_after: Option<Duration>,
    /// The text of a refusal, or of a failed operation
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
}

#[derive(Debug, Args)]
struct Clear {
    /// The rules' numbers; without one, all
    #[arg(value_name = "NUMBER")]
    ids: Vec<u64>,
}

pub(super) async fn run(session: &mut Session, options: Options) -> Result<(), Failure> {
    match options.command {
        Command::Add(add) => set(session, *add).await,
        Command::List => list(session).await,
        Command::Clear(Clear { ids }) => clear(session, &ids).await,
    }
}

async fn set(session: &mut Session, add: Add) -> Result<(), Failure> {
    let rule = rule(add)?;
    let answer = call(session, "POST", "/faults", Some(&json!(rule))).await?;
    let answer: Value = serde_json::from_slice(&answer).map_err(unreadable)?;
    session.ui.data(&answer["id"].to_string());
    session.report(answer);
    Ok(())
}

fn rule(add: Add) -> Result<FaultRule, Error> {
    let Add { mut fault, service, method, path, nth, count, retry_after, message } = add;
    let refuse = |flag: &str| {
        Err(Error::new(ErrorKind::Usage, format!("`{flag}` does not go with the fault `{}`", fault.name()))
            .hint("see `carrack emulator faults add --help`"))
    };
    if retry_after.is_some() && !matches!(fault, Fault::Status { .. }) {
        return refuse("--retry-after");
    }
    if message.is_some() && !matches!(fault, Fault::Status { .. } | Fault::FailedOperation { .. }) {
        return refuse("--message");
    }
    match &mut fault {
        Fault::Status { retry_after: wait, message: text, .. } => {
            // The header has whole seconds.
            *wait = retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
            *text = message;
        }
        Fault::FailedOperation { message: text } => *text = message,
        _ => {}
    }
    Ok(FaultRule { service, method, path, nth, count, fault })
}

async fn list(session: &mut Session) -> Result<(), Failure> {
    let rules: Vec<Value> =
        serde_json::from_slice(&call(session, "GET", "/faults", None).await?).map_err(unreadable)?;
    for listed in rules {
        if session.json() {
            session.ui.value(&listed);
            continue;
        }
        let rule: FaultRule = serde_json::from_value(without_counts(&listed)).map_err(unreadable)?;
        let times = if listed["hits"] == 1 { "time" } else { "times" };
        session.ui.print(&format!("{:<3} {}  ({} {times})", listed["id"], described(&rule), listed["hits"]));
    }
    Ok(())
}

fn without_counts(listed: &Value) -> Value {
    let mut rule = listed.clone();
    if let Some(fields) = rule.as_object_mut() {
        fields.retain(|name, _| !matches!(name.as_str(), "id" | "calls" | "hits"));
    }
    rule
}

/// As it was written on the command line.
fn described(rule: &FaultRule) -> String {
    let FaultRule { service, method, path, nth, count, fault } = rule;
    let mut text = fault.name();
    let mut add = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!(" --{flag} {value}");
        }
    };
    add("service", service.map(|service| service.to_string()));
    add("method", method.clone());
    add("path", path.as_ref().map(|path| format!("'{path}'")));
    add("nth", nth.map(|nth| nth.to_string()));
    add("count", count.map(|count| count.to_string()));
    if let Fault::Status { retry_after: Some(seconds), .. } = fault {
        add("retry-after", Some(format!("{seconds}s")));
    }
    if let Fault::Status { message, .. } | Fault::FailedOperation { message } = fault {
        add("message", message.as_ref().map(|message| format!("'{message}'")));
    }
    text
}

async fn clear(session: &mut Session, ids: &[u64]) -> Result<(), Failure> {
    let paths: Vec<String> = match ids {
        [] => vec!["/faults".to_owned()],
        ids => ids.iter().map(|id| format!("/faults/{id}")).collect(),
    };
    let mut cleared = 0;
    for path in paths {
        let answer: Value = serde_json::from_slice(&call(session, "DELETE", &path, None).await?).map_err(unreadable)?;
        cleared += answer["cleared"].as_u64().unwrap_or(0);
    }
    session.ui.say("Cleared", &format!("{cleared} {}", if cleared == 1 { "rule" } else { "rules" }));
    session.report(json!({ "cleared": cleared }));
    Ok(())
}

pub(super) fn unreadable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "the local cloud's answer cannot be read").with_source(error)
}
