//! A plan for people: what changes, and what is kept.
use anstyle::{AnsiColor, Style};
use carrack_core::{
    diff::FieldChange,
    fields::{FieldValue, VERSION, is_secret},
    ownership::summarize_kept,
    plan::{Plan, Verb},
};

use super::human::line;

/// The whole plan; colours are taken out where they do not belong.
pub(in crate::cli) fn render(plan: &Plan) -> String {
    let place = format!("{} in {}/{}", plan.target.provider.0, plan.target.scope, plan.target.region);
    if plan.is_noop() {
        return line("Plan", &format!("no changes to {} `{}` ({place})", plan.intent.kind(), plan.target.name))
            + "\n"
            + &kept(plan);
    }
    let mut text = String::new();
    for step in &plan.steps {
        let verb = match step.verb {
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Route => "route",
            Verb::Delete => "delete",
        };
        text += &line("Plan", &format!("{verb} {} `{}` ({place})", step.resource.kind, step.resource.name));
        text += "\n";
        let width = step.changes.iter().map(|change| change.path.len()).max().unwrap_or(0);
        for change in &step.changes {
            text += &format!("{:>13}{}\n", "", change_line(change, width));
        }
    }
    text + &kept(plan)
}

fn change_line(change: &FieldChange, width: usize) -> String {
    let paint =
        |style: Style, sign: char, text: String| format!("{style}{sign} {:<width$}{style:#}  {text}", change.path);
    match (&change.from, &change.to) {
        (None, Some(to)) => paint(AnsiColor::Green.on_default(), '+', to.to_string()),
        (Some(from), None) => paint(AnsiColor::Red.on_default(), '-', from.to_string()),
        (Some(from), Some(to)) => paint(AnsiColor::Yellow.on_default(), '~', moved(change, from, to)),
        (None, None) => paint(Style::new(), ' ', String::new()),
    }
}

/// Of the same secret only the version is told.
pub(super) fn moved(change: &FieldChange, from: &FieldValue, to: &FieldValue) -> String {
    let (from, to) = (from.to_string(), to.to_string());
    if is_secret(&change.path)
        && let (Some((secret, old)), Some((same, new))) = (from.split_once(VERSION), to.split_once(VERSION))
        && secret == same
    {
        return format!("version {old} -> {new}");
    }
    format!("{from} -> {to}")
}

fn kept(plan: &Plan) -> String {
    if plan.kept.is_empty() {
        return String::new();
    }
    format!("{:>13}kept: {}\n", "", summarize_kept(&plan.kept))
}
