//! Consumers of the one event stream: for people and for machines. stdout is data, stderr everything else.
mod human;
mod json;
pub(super) mod plan;

use std::{
    io::{self, BufRead, IsTerminal, Write},
    sync::{Arc, OnceLock},
};

use carrack_core::event::{Event, EventSink, Events};
use serde::Serialize;
use tokio::task::JoinHandle;

use super::{
    Common,
    error::Failure,
    settings::{Color, Format, this_command},
};

/// How this run prints.
#[derive(Clone, Debug)]
pub(super) struct Ui {
    format: Format,
    quiet: bool,
    verbose: bool,
    color: bool,
    terminal: bool,
    /// The first failure to write to stdout.
    broken: Arc<OnceLock<io::ErrorKind>>,
}

impl Ui {
    pub(super) fn new(common: &Common) -> Self {
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
            broken: Arc::default(),
        }
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

    /// The last line of JSON output.
    pub(super) fn report(&self, report: serde_json::Value, code: u8) {
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
            let _ = writeln!(anstream::stderr(), "{}", human::line(verb, text));
        }
    }

    pub(super) fn failure(&self, failure: &Failure) {
        let again = this_command();
        if self.format == Format::Json {
            self.value(&failure.json(&again));
        }
        let text = failure.render(self.color, &again);
        let _ = write!(anstream::stderr(), "{text}{}", if text.ends_with('\n') { "" } else { "\n" });
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
        Format::Json => tokio::spawn(each(events, json::Json(ui.clone()))),
        Format::Human => tokio::spawn(each(events, human::Human::new(ui))),
    };
    (sink, consumer)
}

/// What does something with each event.
trait Consumer: Send + 'static {
    fn event(&mut self, event: &Event);
}

async fn each(mut events: Events, mut consumer: impl Consumer) {
    while let Some(event) = events.recv().await {
        consumer.event(&event);
    }
}
