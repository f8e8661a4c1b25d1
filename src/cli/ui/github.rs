//! Inside GitHub Actions: what the other consumers print, and annotations, groups, a summary and outputs.
//!
//! Workflow commands go to stderr, which the runner reads as it reads stdout: so stdout stays data, and
//! `image=$(carrack push)` takes none of them away.
//! <https://github.com/actions/runner/blob/main/src/Runner.Worker/Handlers/ScriptHandler.cs>
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>
use std::{
    fs::OpenOptions,
    hash::{BuildHasher, Hasher, RandomState},
    io::Write,
    path::Path,
};

use carrack_core::event::{Event, Phase};
use serde_json::Value;

use super::{Consumer, human::phase_verbs, markdown};
use crate::{cli::settings::GitHubStep, config::Diagnostics};

/// What a step may take: <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#step-isolation-and-limits>.
const LONGEST_SUMMARY: u64 = 1024 * 1024;
/// What later steps read as `steps.ID.outputs.NAME`.
const OUTPUTS: [&str; 3] = ["url", "revision", "digest"];

/// The events of one run, for a step of a workflow.
pub(super) struct GitHub {
    step: GitHubStep,
    inner: Box<dyn Consumer>,
    /// Output is folded away, and warnings are annotations alone.
    lines: bool,
    quiet: bool,
    titles: Vec<(Phase, String)>,
    open: Option<Phase>,
}

impl GitHub {
    pub(super) fn new(step: GitHubStep, inner: Box<dyn Consumer>, lines: bool, quiet: bool) -> Self {
        Self { step, inner, lines, quiet, titles: Vec::new(), open: None }
    }

    /// Groups cannot be nested, so the output of one phase is one group.
    fn open(&mut self, phase: Phase) {
        if self.lines && !self.quiet && self.open != Some(phase) {
            self.close();
            let title = self.titles.iter().rev().find(|(started, _)| *started == phase);
            command("group", &[], &format!("{} {}", phase_verbs(phase).0, title.map_or("", |(_, title)| title)));
            self.open = Some(phase);
        }
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            command("endgroup", &[], "");
        }
    }
}

impl Consumer for GitHub {
    fn event(&mut self, about: Option<&str>, event: &Event) {
        match event {
            Event::PhaseStarted { phase, message } => self.titles.push((*phase, message.clone())),
            // Of several the outputs are mixed.
            Event::Output { phase, .. } if about.is_none() => self.open(*phase),
            Event::PhaseFinished { phase, .. } if self.open == Some(*phase) => self.close(),
            Event::Planned { plan } => summarize(&self.step, &markdown::plan(plan)),
            Event::Warning { message } if !self.quiet => {
                let of = about.map(|about| format!("{about}: ")).unwrap_or_default();
                command("warning", &[("title", "carrack")], &(of + message));
                // The runner shows an annotation's text in the log.
                if self.lines {
                    return;
                }
            }
            _ => {}
        }
        self.inner.event(about, event);
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        self.close();
    }
}

/// What came of it: into the summary, and as outputs.
pub(super) fn report(step: &GitHubStep, report: &Value) {
    let several = report["services"].as_array().map_or(std::slice::from_ref(report), Vec::as_slice);
    for text in several.iter().filter_map(markdown::report) {
        summarize(step, &text);
    }
    let lines: String = OUTPUTS
        .iter()
        .filter_map(|name| Some((name, report[name].as_str()?)))
        // A line break in a value would begin another output.
        .filter(|(_, value)| !value.contains(char::is_control))
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    append(step.output.as_deref(), &lines);
}

/// An annotation at each place in the file.
pub(super) fn diagnostics(step: &GitHubStep, diagnostics: &Diagnostics) {
    for one in &diagnostics.0 {
        let file = step.relative(&one.path);
        let (line, column) = (one.line.to_string(), one.column.to_string());
        let title = one.cause.map_or("carrack", |cause| cause.name());
        let mut text = one.message.clone();
        for hint in &one.hints {
            text += &format!("\nhelp: {hint}");
        }
        command("error", &[("file", &file), ("line", &line), ("col", &column), ("title", title)], &text);
    }
}

/// An annotation of the whole run.
pub(super) fn failure(title: &str, text: &str) {
    command("error", &[("title", title)], text);
}

/// The failure as the terminal shows it, for the step's page.
pub(super) fn dossier(step: &GitHubStep, command: &str, exit: u8, rendered: &str) {
    summarize(step, &markdown::failure(command, exit, rendered));
}

/// Prints what others wrote: a container's log may have commands in it, and none of them is obeyed.
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#stopping-and-starting-workflow-commands>
pub(super) fn foreign(print: impl FnOnce()) {
    // The word to go on must not be guessed; the standard library's hash keys are random.
    let word = format!("carrack-{:016x}", RandomState::new().build_hasher().finish());
    command("stop-commands", &[], &word);
    print();
    command(&word, &[], "");
}

fn summarize(step: &GitHubStep, text: &str) {
    let Some(path) = step.summary.as_deref() else { return };
    let there = std::fs::metadata(path).map_or(0, |file| file.len());
    // Over its limit GitHub shows nothing of it at all.
    if there + (text.len() as u64) < LONGEST_SUMMARY {
        append(Some(path), &format!("{text}\n"));
    }
}

/// These files are extras: one that cannot be written fails no deploy, but is said.
fn append(path: Option<&Path>, text: &str) {
    let Some(path) = path.filter(|_| !text.is_empty()) else { return };
    let written =
        OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    if let Err(error) = written {
        command("warning", &[("title", "carrack")], &format!("cannot write `{}`: {error}", path.display()));
    }
}

/// `::NAME KEY=VALUE,…::TEXT`, on a line of its own.
fn command(name: &str, properties: &[(&str, &str)], text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", line(name, properties, text));
}

fn line(name: &str, properties: &[(&str, &str)], text: &str) -> String {
    let properties: Vec<_> = properties.iter().map(|(key, value)| format!("{key}={}", property(value))).collect();
    let space = if properties.is_empty() { "" } else { " " };
    format!("::{name}{space}{}::{}", properties.join(","), data(text))
}

/// <https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts>
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_escaped_as_githubs_toolkit_does() {
        let at = [("file", "a:b,c%.toml"), ("line", "3")];
        assert_eq!(
            line("error", &at, "100% wrong\r\n::warning::a, b"),
            "::error file=a%3Ab%2Cc%25.toml,line=3::100%25 wrong%0D%0A::warning::a, b"
        );
        assert_eq!(line("endgroup", &[], ""), "::endgroup::");
    }

    #[test]
    fn an_output_has_no_line_break() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("output");
        let step = GitHubStep { output: Some(path.clone()), ..GitHubStep::default() };
        let value = serde_json::json!({ "url": "https://a.example\ndigest=evil", "revision": "r-1", "digest": null });
        report(&step, &value);
        assert_eq!(std::fs::read_to_string(path).expect("it is there"), "revision=r-1\n");
    }

    #[test]
    fn a_summary_stays_below_the_limit() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("summary");
        let step = GitHubStep { summary: Some(path.clone()), ..GitHubStep::default() };
        let half = "x".repeat(600 * 1024);
        summarize(&step, &half);
        summarize(&step, &half);
        summarize(&step, "short");
        assert_eq!(std::fs::metadata(path).expect("it is there").len(), 600 * 1024 + 1 + 6);
    }
}
