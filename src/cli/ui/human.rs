//! Events for people: a verb, then what it is about; bars on a terminal, plain lines elsewhere.
use std::io::Write;

use anstyle::AnsiColor;
use carrack_core::{
    event::{Event, Phase},
    plan::Verb,
    rollout::Watched,
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Consumer, Ui, plan};

pub(super) struct Human {
    ui: Ui,
    /// Whom the event under way is about, of several.
    about: Option<String>,
    bar: Option<ProgressBar>,
}

/// A line in the form of all others: the verb ends at column 12.
pub(super) fn line(verb: &str, text: &str) -> String {
    let green = AnsiColor::Green.on_default().bold();
    format!("{green}{verb:>12}{green:#} {text}")
}

fn warning(text: &str) -> String {
    warning_line("Warning", text)
}

fn warning_line(verb: &str, text: &str) -> String {
    let yellow = AnsiColor::Yellow.on_default().bold();
    format!("{yellow}{verb:>12}{yellow:#} {text}")
}

/// `10 %: 12 of 130 requests, 0 of them failed`.
fn watched_line(watched: &Watched) -> String {
    let Watched { percent, answers, requests } = watched;
    match (answers, requests) {
        (Some(own), Some(all)) => {
            format!("{percent} %: it got {} of {all} requests, {} of them failed", own.requests, own.failed)
        }
        _ => format!("{percent} %: it answers as it should"),
    }
}

impl Human {
    pub(super) fn new(ui: &Ui) -> Self {
        Self { ui: ui.clone(), about: None, bar: None }
    }

    fn print(&mut self, text: &str) {
        self.clear();
        if !self.ui.quiet {
            let _ = writeln!(anstream::stderr(), "{}", self.ui.lines(self.about.as_deref(), text));
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Of one thing it can be shown how it goes on, on a terminal.
    fn moves(&self) -> bool {
        self.ui.terminal && self.about.is_none()
    }

    /// Something that goes on; elsewhere than on a terminal it is a line.
    fn spin(&mut self, verb: &str, text: &str) {
        if self.ui.quiet {
            return;
        }
        if !self.moves() {
            self.print(&line(verb, text));
            return;
        }
        self.clear();
        let bar = ProgressBar::new_spinner().with_message(format!("{verb:>12} {text}"));
        bar.set_style(
            ProgressStyle::with_template("{msg} {spinner}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        self.bar = Some(bar);
    }

    fn progress(&mut self, done: u64, total: u64) {
        if self.ui.quiet || !self.moves() {
            return;
        }
        let fresh = self.bar.as_ref().is_none_or(|bar| bar.length() != Some(total));
        if fresh {
            self.clear();
            let style = ProgressStyle::with_template("     Pushing [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}");
            let bar = ProgressBar::new(total);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

pub(super) const fn phase_verbs(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Build => ("Building", "Built"),
        Phase::Push => ("Pushing", "Pushed"),
        Phase::Apply => ("Applying", "Applied"),
        Phase::Verify => ("Verifying", "Verified"),
        Phase::Run => ("Running", "Finished"),
    }
}

const fn step_verbs(verb: Verb) -> (&'static str, &'static str) {
    match verb {
        Verb::Create => ("Creating", "Created"),
        Verb::Update => ("Updating", "Updated"),
        Verb::Route => ("Routing", "Routed"),
        Verb::Delete => ("Deleting", "Deleted"),
    }
}

impl Consumer for Human {
    fn event(&mut self, about: Option<&str>, event: &Event) {
        self.about = about.map(str::to_owned);
        match event {
            Event::PhaseStarted { phase, message } => self.spin(phase_verbs(*phase).0, message),
            Event::PhaseProgress { done, total, .. } => self.progress(*done, *total),
            Event::PhaseFinished { phase, message, elapsed } => {
                let time =
                    if *phase == Phase::Verify { String::new() } else { format!(" in {:.1}s", elapsed.as_secs_f64()) };
                self.print(&line(phase_verbs(*phase).1, &format!("{message}{time}")));
            }
            Event::Output { line, .. } => self.print(line),
            Event::Planned { plan } => self.print(plan::render(plan).trim_end()),
            Event::StepStarted { verb, resource, .. } => {
                self.spin(step_verbs(*verb).0, &format!("{} `{}`", resource.kind, resource.name));
            }
            Event::StepProgress { message, .. } if self.ui.verbose => self.print(&line("", message)),
            Event::StepFinished { outcome, elapsed, .. } => {
                let what = outcome
                    .revision
                    .as_ref()
                    .map_or_else(|| "done".to_owned(), |revision| format!("revision {} is ready", revision.0));
                self.print(&line("Done", &format!("{what} in {:.1}s", elapsed.as_secs_f64())));
            }
            Event::StepFailed { .. } => self.clear(),
            Event::RolloutStep { revision, percent, wait } => {
                let watched = if wait.is_zero() { String::new() } else { format!(", watched for {}s", wait.as_secs()) };
                self.spin("Rollout", &format!("{percent} % of the traffic to {}{watched}", revision.0));
            }
            Event::RolloutWatched { watched, .. } => self.print(&line("Watched", &watched_line(watched))),
            Event::RolloutReturned { revision, percent, message } => {
                let text = format!("{percent} % of the traffic from {}: {message}", revision.0);
                self.print(&warning_line("Returned", &text));
            }
            Event::Retrying { request, attempt, after, reason } => {
                let text = format!("{request} again in {:.1}s (attempt {attempt}): {reason}", after.as_secs_f64());
                self.print(&line("Retrying", &text));
            }
            Event::Warning { message } => self.print(&warning(message)),
            Event::Note { message } => self.print(&line("Note", message)),
            _ => {}
        }
    }
}

impl Drop for Human {
    fn drop(&mut self) {
        self.clear();
    }
}
