//! Consumers of the one event stream: for people, for machines, and for GitHub. stdout is data, stderr everything else.
mod github;
mod hidden;
mod human;
mod json;
pub(super) mod markdown;
pub(super) mod plan;
pub(super) mod short;
mod table;

use std::{
    io::{self, BufRead, IsTerminal, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use carrack_core::{
    Result,
    event::{Ctx, Event, EventSink, Events},
    secret::SecretValue,
};
use serde::Serialize;
use tokio::task::JoinHandle;

pub(super) use self::table::table;
use super::{
    Common,
    error::{self, Failure},
    settings::{Color, Environment, Format, GitHubStep, this_command},
};
use crate::config::Diagnostics;

/// How this run prints.
#[derive(Clone, Debug)]
pub(super) struct Ui {
    format: Format,
    quiet: bool,
    verbose: bool,
    color: bool,
    terminal: bool,
    github: Option<GitHubStep>,
    /// The first failure to write to stdout.
    broken: Arc<OnceLock<io::ErrorKind>>,
    /// The service of several that lines are about.
    about: Option<Arc<str>>,
    /// How wide the longest name of one is.
    width: Arc<AtomicUsize>,
}

impl Ui {
    pub(super) fn new(common: &Common, environment: &Environment) -> Self {
        let choice = match common.color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::AlwaysAnsi,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        let terminal = std::io::stderr().is_terminal();
        let detected = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
        Self {
            format: common.format,
            quiet: common.quiet,
            verbose: common.verbose > 0,
            color: detected,
            terminal,
            github: environment.github(),
            broken: Arc::default(),
            about: None,
            width: Arc::default(),
        }
    }

    /// Several services will be told of, by these names.
    pub(super) fn name_of<'a>(&self, labels: impl Iterator<Item = &'a str>) {
        self.width.store(labels.map(|label| label.chars().count()).max().unwrap_or(0), Ordering::Relaxed);
    }

    /// The same, for one service of several.
    pub(super) fn about(&self, label: &str) -> Self {
        Self { about: Some(label.into()), ..self.clone() }
    }

    /// The same, for what is not about one of them.
    pub(super) fn about_all(&self) -> Self {
        Self { about: None, ..self.clone() }
    }

    /// Each line with the service before it, where there are several.
    fn lines(&self, about: Option<&str>, text: &str) -> String {
        let Some(about) = about else { return text.to_owned() };
        let width = self.width.load(Ordering::Relaxed);
        text.lines()
            .map(|line| format!("{about:<width$} | {line}").trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Data for people, on stdout, unless the format is JSON.
    pub(super) fn data(&self, text: &str) {
        if self.format == Format::Human {
            self.print(text);
        }
    }

    /// A line on stdout, whatever the format.
    pub(super) fn print(&self, text: &str) {
        let mut stdout = anstream::stdout();
        if let Err(error) = writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            let _ = self.broken.set(error.kind());
        }
    }

    /// Bytes on stdout as they are, without a line break of ours.
    pub(super) fn bytes(&self, bytes: &[u8]) {
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            let _ = self.broken.set(error.kind());
        }
    }

    /// Whether stdout is shown to somebody.
    pub(super) fn shows_out(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether stdin is typed at.
    pub(super) fn types_in(&self) -> bool {
        io::stdin().is_terminal()
    }

    /// Asks for what nobody shall see, on the terminal.
    pub(super) async fn hidden(&self, cx: &Ctx, question: &str) -> Result<SecretValue> {
        hidden::ask(cx, question).await
    }

    /// Why results could not be written, if so. `BrokenPipe`: the reader has what it wanted (`| head`).
    pub(super) fn broken(&self) -> Option<io::ErrorKind> {
        self.broken.get().copied()
    }

    /// A value on stdout as one line of JSON.
    pub(super) fn value(&self, value: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(value) {
            self.print(&line);
        }
    }

    /// The last line of JSON output, and what GitHub is told.
    pub(super) fn report(&self, report: serde_json::Value, code: u8) {
        if let Some(step) = &self.github {
            github::report(step, &report);
        }
        if self.format == Format::Json
            && let serde_json::Value::Object(fields) = report
        {
            let mut line = serde_json::json!({ "type": "report", "ok": true, "code": code });
            if let Some(map) = line.as_object_mut() {
                map.extend(fields);
            }
            self.value(&line);
        }
    }

    /// A line of its own on stderr, in the form of the event lines.
    pub(super) fn say(&self, verb: &str, text: &str) {
        if self.format == Format::Human && !self.quiet {
            let line = self.lines(self.about.as_deref(), &human::line(verb, text));
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }

    /// Whether the place of a failure in the file is of use.
    pub(super) fn wants_places(&self) -> bool {
        self.github.is_some()
    }

    /// `place` is where in the file the failure can be mended, when that is known.
    pub(super) fn failure(&self, failure: &Failure, place: Option<Diagnostics>) {
        if self.format == Format::Json {
            let mut line = serde_json::json!({ "type": "report", "ok": false, "code": failure.exit_code() });
            if let (Some(map), serde_json::Value::Object(report)) =
                (line.as_object_mut(), failure.report(&this_command()))
            {
                map.extend(report);
            }
            self.value(&line);
        }
        self.failed(failure, place, None);
    }

    /// The failure for people, and for GitHub; `label` is the service of several that failed.
    pub(super) fn failed(&self, failure: &Failure, place: Option<Diagnostics>, label: Option<&str>) {
        let again = this_command();
        let of = label.map(|label| format!("{label}:\n")).unwrap_or_default();
        let text = of + &failure.render(self.color, &again);
        let print = || {
            let _ = write!(anstream::stderr(), "{text}{}", if text.ends_with('\n') { "" } else { "\n" });
        };
        let Some(step) = &self.github else { return print() };
        github::foreign(print);
        match (failure, place) {
            (Failure::Diagnostics(diagnostics), _) => github::diagnostics(step, diagnostics),
            (Failure::Error(_), Some(place)) => github::diagnostics(step, &place),
            (Failure::Error(error), None) => {
                let (title, text) = error::in_short(error, &again);
                github::failure(&title, &label.map_or(text.clone(), |label| format!("{label}: {text}")));
            }
        }
        github::dossier(step, &again, failure.exit_code(), &text);
    }

    pub(super) fn can_ask(&self) -> bool {
        self.terminal && std::io::stdin().is_terminal()
    }

    /// Yes only for `y` or `yes`.
    pub(super) fn ask(&self, question: &str) -> bool {
        let _ = write!(anstream::stderr(), "{question} [y/N] ");
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

/// Starts the consumer; it ends when every sink is gone.
pub(super) fn consume(ui: &Ui) -> (EventSink, JoinHandle<()>) {
    let (sink, events) = EventSink::channel();
    let consumer = match ui.format {
        Format::Json => boxed(ui, json::Json(ui.clone())),
        Format::Human => boxed(ui, human::Human::new(ui)),
    };
    (sink, tokio::spawn(each(events, consumer)))
}

/// What does something with each event.
trait Consumer: Send + 'static {
    /// `about` is the service of several that it happened to.
    fn event(&mut self, about: Option<&str>, event: &Event);
}

/// GitHub's part stands around the other.
fn boxed(ui: &Ui, consumer: impl Consumer) -> Box<dyn Consumer> {
    match &ui.github {
        Some(step) => {
            let lines = ui.format == Format::Human;
            Box::new(github::GitHub::new(step.clone(), Box::new(consumer), lines, ui.quiet))
        }
        None => Box::new(consumer),
    }
}

async fn each(mut events: Events, mut consumer: Box<dyn Consumer>) {
    while let Some((about, event)) = events.next().await {
        consumer.event(about.as_deref(), &event);
    }
}
