//! What is wrong in a file, with its place: file, line, column and the source line itself.
use std::{fmt, ops::Range, path::PathBuf, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str as printable};
use carrack_core::{ErrorKind, cause::Code};
use serde::{Serialize, Serializer, ser::SerializeStruct};

/// A range of bytes in the file's text.
pub(crate) type Span = Range<usize>;

/// Everything that is wrong in one file; never empty.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

/// One thing that is wrong, and where.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// `ConfigInvalid` or `Unsupported`.
    pub kind: ErrorKind,
    /// Lower case, with no trailing period.
    pub message: String,
    /// As it was given to [`load`](super::load).
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Stands beside the marked text.
    pub label: Option<String>,
    /// What to write or do instead.
    pub hints: Vec<String>,
    /// The cause that `carrack explain` tells more of.
    pub cause: Option<Code>,
    span: Span,
    text: Arc<str>,
}

/// A finding whose file is not yet known.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) span: Span,
    kind: ErrorKind,
    message: String,
    label: Option<String>,
    hints: Vec<String>,
    cause: Option<Code>,
}

impl Problem {
    pub(crate) fn new(span: &Span, message: impl Into<String>) -> Self {
        Self {
            span: span.clone(),
            kind: ErrorKind::ConfigInvalid,
            message: message.into(),
            label: None,
            hints: Vec::new(),
            cause: None,
        }
    }

    pub(crate) fn kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.hints.extend(hints);
        self
    }

    pub(crate) fn cause(mut self, cause: Option<Code>) -> Self {
        self.cause = cause;
        self
    }

    pub(crate) fn locate(self, path: PathBuf, text: &Arc<str>) -> Diagnostic {
        let span = within(&self.span, text);
        let before = text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.get(line_start..).unwrap_or_default();
        Diagnostic {
            kind: self.kind,
            message: self.message,
            path,
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            label: self.label,
            hints: self.hints,
            cause: self.cause,
            span,
            text: Arc::clone(text),
        }
    }
}

/// The part of `span` that is inside the text and on its first line, cut at character boundaries.
fn within(span: &Span, text: &str) -> Span {
    let boundary = |at: usize| {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(span.start);
    let end = boundary(span.end).max(start);
    let marked = text.get(start..end).unwrap_or_default();
    let line = marked.find(['\n', '\r']).unwrap_or(marked.len());
    start..start + line
}

impl Diagnostic {
    /// The marked range of bytes in the file's text.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The message with its source line, as cargo shows it.
    pub fn render(&self, color: bool) -> String {
        // A file may hold control characters, and messages quote it.
        let mut annotation = AnnotationKind::Primary.span(self.span.clone());
        if let Some(label) = &self.label {
            annotation = annotation.label(printable(label));
        }
        let snippet = Snippet::source(&*self.text).path(printable(&self.path.to_string_lossy())).annotation(annotation);
        let hints = self.hints.iter();
        let title = Level::ERROR.primary_title(printable(&self.message));
        let title = match self.cause {
            Some(code) => title.id(code.name()),
            None => title,
        };
        let report: [Group<'_>; 1] =
            [title.element(snippet).elements(hints.map(|hint| Level::HELP.message(printable(hint))))];
        let renderer = if color {
            // Not every terminal knows links.
            Renderer::styled().hyperlink(false)
        } else {
            Renderer::plain()
        };
        renderer.render(&report)
    }
}

/// For JSON output: `{code, message, file, line, column, hints}`, and `cause` where there is one.
impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Diagnostic", 6 + usize::from(self.cause.is_some()))?;
        object.serialize_field("code", &self.kind)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("file", &self.path.to_string_lossy())?;
        object.serialize_field("line", &self.line)?;
        object.serialize_field("column", &self.column)?;
        object.serialize_field("hints", &self.hints)?;
        if let Some(code) = self.cause {
            object.serialize_field("cause", &serde_json::json!({ "code": code }))?;
        }
        object.end()
    }
}

impl Diagnostics {
    /// Every diagnostic with its source line, an empty line between two.
    pub fn render(&self, color: bool) -> String {
        let parts: Vec<_> = self.0.iter().map(|one| one.render(color)).collect();
        parts.join("\n\n")
    }

    /// The class of the whole: what all have in common, else `ConfigInvalid`.
    pub fn kind(&self) -> ErrorKind {
        match self.0.split_first() {
            Some((first, rest)) if rest.iter().all(|other| other.kind == first.kind) => first.kind,
            _ => ErrorKind::ConfigInvalid,
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate(text: &str, span: Span) -> Diagnostic {
        Problem::new(&span, "wrong").locate("carrack.toml".into(), &text.into())
    }

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let text = "a = 1\nä = \"ö\" x";
        let at = text.find('x').expect("it is there");
        let diagnostic = locate(text, at..at + 1);
        assert_eq!((diagnostic.line, diagnostic.column), (2, 9));
    }

    #[test]
    fn spans_outside_the_text_are_cut() {
        assert_eq!(locate("a = 1", 3..900).span(), 3..5);
        assert_eq!(locate("a = 1", 800..900).span(), 5..5);
        assert_eq!(locate("ä", 1..2).span(), 0..2);
        assert_eq!(locate("a = [\n1]", 4..8).span(), 4..5);
    }

    #[test]
    fn json_has_the_documented_keys() {
        let diagnostics = Diagnostics(vec![locate("a = 1", 0..1)]);
        assert_eq!(
            serde_json::to_value(&diagnostics).expect("it is plain data"),
            serde_json::json!([{
                "code": "config_invalid", "message": "wrong", "file": "carrack.toml",
                "line": 1, "column": 1, "hints": [],
            }])
        );
    }

    #[test]
    fn colour_only_when_asked_for() {
        let diagnostic = locate("a = 1", 0..1);
        assert!(!diagnostic.render(false).contains('\u{1b}'));
        assert!(diagnostic.render(true).contains('\u{1b}'));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let problem = Problem::new(&(0..1), "invalid `\u{1b}[31m`").hint("\u{1b}[2J");
        let diagnostic = problem.locate("\u{7}.toml".into(), &"a\u{1b}[1m".into());
        let rendered = diagnostic.render(false);
        assert!(!rendered.contains(['\u{1b}', '\u{7}']), "{rendered:?}");
    }
}
