//! Errors on the terminal, and the exit code; the only place that ends the process early.
use std::{error::Error as _, process::ExitCode};

use anstyle::{AnsiColor, Style};
use carrack_core::{
    Error, ErrorKind,
    cause::{Cause, Code, FixStep},
};
use serde_json::{Value, json};

use crate::config::Diagnostics;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something happened.
    Error(Box<Error>),
    /// The file is wrong, here and there.
    Diagnostics(Diagnostics),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(Box::new(error))
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Diagnostics(diagnostics)
    }
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Error(error) => error.kind().exit_code(),
            Self::Diagnostics(diagnostics) => {
                diagnostics.0.first().map_or(ErrorKind::ConfigInvalid, |first| first.kind).exit_code()
            }
        }
    }

    /// For people; `anstream` takes the colours out where they do not belong.
    /// `again` is the command that failed, as it is typed.
    pub(super) fn render(&self, color: bool, again: &str) -> String {
        match self {
            Self::Diagnostics(diagnostics) => diagnostics.render(color),
            Self::Error(error) => {
                let all = std::iter::once(&**error).chain(error.others());
                all.map(|error| render_error(error, again)).collect::<Vec<_>>().join("\n")
            }
        }
    }

    /// For machines; what every report begins with is not in it.
    pub(super) fn report(&self, again: &str) -> Value {
        match self {
            Self::Diagnostics(diagnostics) => json!({ "diagnostics": diagnostics.0 }),
            Self::Error(error) => {
                let mut report = json!({
                "run": error.report(),
                "error": {
                    "kind": error.kind(), "message": error.to_string(), "causes": causes(error),
                    "details": error.details(), "hints": error.hints(), "request": error.request(),
                    "cause": error.why().map(|cause| cause_json(cause, again)),
                },
                });
                if !error.others().is_empty() {
                    report["error"]["others"] = error.others().iter().map(Error::to_string).collect();
                }
                report
            }
        }
    }
}

fn cause_json(cause: &Cause, again: &str) -> Value {
    let step = |step: &FixStep| match step {
        FixStep::Again => json!({ "command": again }),
        step => json!(step),
    };
    let Cause { code, message, fix } = cause;
    json!({ "code": code, "message": message, "fix": fix.0.iter().map(step).collect::<Vec<_>>() })
}

/// The cloud's own words; once their cause is known, their first sentence.
fn headline(error: &Error) -> String {
    let text = error.to_string();
    match error.why() {
        Some(_) => text.lines().next().and_then(|line| line.split(". ").next()).unwrap_or_default().to_owned(),
        None => text,
    }
}

fn causes(error: &Error) -> Vec<String> {
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts
}

fn render_error(error: &Error, again: &str) -> String {
    let red = AnsiColor::Red.on_default().bold();
    let cyan = AnsiColor::Cyan.on_default().bold();
    let dim = Style::new().dimmed();
    let same = error.why().filter(|cause| cause.message == error.message());
    let mut text = match same {
        Some(cause) => format!("{red}error{red:#}[{}]: {}\n", cause.code, headline(error)),
        None => format!("{red}error{red:#}: {}\n", headline(error)),
    };
    for cause in causes(error) {
        text += &format!("  caused by: {cause}\n");
    }
    if let Some(Cause { code, message, fix }) = error.why() {
        if same.is_none() {
            text += &format!("  {cyan}cause{cyan:#}[{code}]: {message}\n");
        }
        for (verb, step) in std::iter::once("fix").chain(std::iter::repeat("then")).zip(fix.steps(again)) {
            text += &format!("  {cyan}{verb}{cyan:#}: {step}\n");
        }
    }
    if !error.details().is_empty() {
        text += "  last lines of its log:\n";
        for line in error.details() {
            text += &format!("    {dim}|{dim:#} {line}\n");
        }
    }
    if let Some(request) = error.request() {
        let status = request.status.map_or_else(|| "no answer".to_owned(), |status| format!("answered {status}"));
        let id = request.request_id.as_ref().map(|id| format!(", request id {id}")).unwrap_or_default();
        let attempts = if request.attempts > 1 { format!(", {} attempts", request.attempts) } else { String::new() };
        text += &format!("  {dim}request: {} {} ({status}{id}{attempts}){dim:#}\n", request.method, request.url);
    }
    for hint in error.hints() {
        text += &format!("  {cyan}help{cyan:#}: {hint}\n");
    }
    text
}

/// What an annotation has room for: a title, what happened, and what mends it.
pub(super) fn in_short(error: &Error, again: &str) -> (String, String) {
    let Some(Cause { code, message, fix }) = error.why() else {
        let hints = error.hints().iter().map(|hint| format!("\nhelp: {hint}"));
        return ("carrack".to_owned(), headline(error) + &hints.collect::<String>());
    };
    let steps = std::iter::once("fix").chain(std::iter::repeat("then")).zip(fix.steps(again));
    let steps = steps.map(|(verb, step)| format!("\n{verb}: {step}"));
    (code.name().to_owned(), message.clone() + &steps.collect::<String>())
}

/// The field of the file that is to blame, or whose value mends it.
pub(super) fn field(error: &Error) -> Option<&str> {
    let mends = |code: Code| match code {
        // Not in the file.
        Code::PermissionMissing | Code::ActAsDenied | Code::AccountMissing | Code::RegionUnavailable => None,
        Code::QuotaExceeded => Some("scaling.max"),
        Code::NetworkMissing => Some("network.connector"),
        Code::OutOfMemory => Some("resources.memory"),
        Code::LoopbackOnly | Code::WrongPort => Some("service.port"),
        Code::StartupProbe | Code::NotListening => Some("health.startup"),
        Code::SecretMissing | Code::SecretNotReadable | Code::SecretNotEnabled | Code::SecretNotText => Some("secrets"),
        // The program's own, and those to come.
        _ => Some("image"),
    };
    error.field().or_else(|| error.why().and_then(|cause| mends(cause.code)))
}

/// A failure before anything is set up.
pub(super) fn report_early(message: &str) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(anstream::stderr(), "error: {message}");
    ExitCode::from(ErrorKind::Internal.exit_code())
}

/// The second interrupt.
#[expect(clippy::exit, reason = "the user asked twice")]
pub(super) fn exit_interrupted() -> ! {
    std::process::exit(ErrorKind::Cancelled.exit_code().into())
}
