//! A plan, a report and a failure as Markdown: for a step's summary, or a comment on a change.
//! Whatever comes from a file, a cloud or a container stands in code, where Markdown means nothing.
use anstream::adapter::strip_str;
use carrack_core::{
    diff::FieldChange,
    ownership::summarize_kept,
    plan::{Plan, Verb},
};
use serde_json::Value;

use super::plan::moved;

/// The whole plan, one heading a step.
pub(in crate::cli) fn plan(plan: &Plan) -> String {
    let place = format!("{} in {}/{}", plan.target.provider.0, plan.target.scope, plan.target.region);
    let mut text = String::new();
    if plan.is_noop() {
        text += &format!("### Plan: no changes to service {}\n\n{place}\n", code(plan.target.name.as_str()));
    }
    for step in &plan.steps {
        let verb = match step.verb {
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Route => "route",
            Verb::Delete => "delete",
        };
        text += if text.is_empty() { "" } else { "\n" };
        text += &format!("### Plan: {verb} {} {}\n\n{place}\n", step.resource.kind, code(&step.resource.name));
        if !step.changes.is_empty() {
            let width = step.changes.iter().map(|change| change.path.len()).max().unwrap_or(0);
            let lines: String = step.changes.iter().map(|change| change_line(change, width)).collect();
            text += &format!("\n{}", fenced("diff", &lines));
        }
    }
    if !plan.kept.is_empty() {
        text += &format!("\nKept: {}\n", code(&summarize_kept(&plan.kept)));
    }
    text
}

/// With the signs that a `diff` block has colours for.
fn change_line(change: &FieldChange, width: usize) -> String {
    let (sign, value) = match (&change.from, &change.to) {
        (None, Some(to)) => ('+', to.to_string()),
        (Some(from), None) => ('-', from.to_string()),
        (Some(from), Some(to)) => ('!', moved(change, from, to)),
        (None, None) => (' ', String::new()),
    };
    format!("{}\n", one_line(format!("{sign} {:<width$}  {value}", change.path).trim_end()))
}

/// What came of a deploy, destroy or push; of other commands there is nothing to tell.
pub(super) fn report(report: &Value) -> Option<String> {
    let text = |name: &str| report[name].as_str();
    let service = &report["service"];
    let title = match (text("result"), text("reference")) {
        (Some("deployed"), _) => format!("Deployed {}", code(service["name"].as_str()?)),
        (Some("no_changes"), _) => format!("Nothing to change in {}", code(service["name"].as_str()?)),
        (Some("destroyed"), _) => format!("Destroyed {}", code(service["name"].as_str()?)),
        (None, Some(_)) => "Pushed".to_owned(),
        _ => return None,
    };
    let answer = report["probe"]["status"].as_u64();
    let answer = answer.map(|status| format!("{status} in {} ms", report["probe"]["elapsed_ms"]));
    let rows = [
        ("url", text("url").map(str::to_owned)),
        ("revision", text("revision").map(str::to_owned)),
        ("reference", text("reference").map(str::to_owned)),
        ("digest", text("digest").map(str::to_owned)),
        ("answered", answer),
    ];
    let rows = rows.into_iter().filter_map(|(name, value)| Some(format!("| {name} | {} |\n", cell(&value?))));
    Some(format!("### {title}\n\n| | |\n|---|---|\n{}", rows.collect::<String>()))
}

/// The failure as the terminal shows it, with its log lines and what to type.
pub(super) fn failure(command: &str, exit: u8, rendered: &str) -> String {
    format!(
        "### Failed with exit code {exit}: {}\n\n{}",
        code(command),
        fenced("text", &strip_str(rendered).to_string())
    )
}

/// A block of code with a fence that the text does not have.
fn fenced(language: &str, text: &str) -> String {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

/// <https://spec.commonmark.org/0.31.2/#code-spans>
fn code(text: &str) -> String {
    let text = one_line(text);
    let ticks = "`".repeat(longest_run(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// In a table a `|` ends the cell, in code too: <https://github.github.com/gfm/#example-200>.
fn cell(text: &str) -> String {
    if text.starts_with("https://") && !text.contains(|c: char| c.is_whitespace() || "<>|".contains(c)) {
        return format!("<{text}>");
    }
    code(text).replace('|', "\\|")
}

fn one_line(text: &str) -> String {
    text.replace('\r', "\\r").replace('\n', "\\n")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_does_not_leave_its_block() {
        assert_eq!(fenced("text", "a\n```\n# b\n"), "````text\na\n```\n# b\n````\n");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`a`"), "`` `a` ``");
        assert_eq!(code("a\n# b"), "`a\\n# b`");
        assert_eq!(cell("a|b"), "`a\\|b`");
        assert_eq!(cell("https://a.example"), "<https://a.example>");
        assert_eq!(cell("https://a.example/>\n"), "`https://a.example/>\\n`");
    }

    #[test]
    fn a_value_of_many_lines_is_one_line_of_the_diff() {
        let change = FieldChange {
            path: "env.A".into(),
            from: None,
            to: Some(carrack_core::fields::FieldValue::Shown("1\n- env.B".into())),
        };
        assert_eq!(change_line(&change, 5), "+ env.A  1\\n- env.B\n");
    }

    #[test]
    fn only_what_changed_something_is_told() {
        assert_eq!(report(&json!({ "changes": true, "steps": 1 })), None);
        assert_eq!(report(&json!({ "service": "hello", "targets": [] })), None);
        let pushed = report(&json!({ "reference": "h/p@sha256:1", "digest": "sha256:1", "uploaded": 3 }));
        assert_eq!(
            pushed.as_deref(),
            Some("### Pushed\n\n| | |\n|---|---|\n| reference | `h/p@sha256:1` |\n| digest | `sha256:1` |\n")
        );
    }

    #[test]
    fn a_failure_has_no_colours() {
        let text = failure("carrack deploy", 50, "\u{1b}[31merror\u{1b}[0m: it broke\n");
        assert_eq!(text, "### Failed with exit code 50: `carrack deploy`\n\n```text\nerror: it broke\n```\n");
    }
}
