//! The file as a tree of values with their places, after interpolation.
use std::{collections::BTreeMap, sync::Arc};

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{
    diagnostics::{Problem, Span},
    interpolate::{Fault, FaultKind, interpolate},
};

/// A value and where it stands. A section's place is its header.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
    /// Whether a `${…}` was replaced in it.
    pub(crate) interpolated: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    /// In decimal digits; its range is checked by who reads it.
    Integer(String),
    /// As it was written.
    Float(String),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    /// In the file's order.
    Table(Vec<Entry>),
    /// A text whose variable is not set: reported already, or kept back for its target.
    Unset,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// For messages: `a string`.
    pub(crate) fn described(&self) -> &'static str {
        match &self.value {
            Value::Text(_) | Value::Unset => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(true) => "`true`",
            Value::Boolean(false) => "`false`",
            Value::Datetime => "a date",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// A parsed file.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) root: Node,
    pub(crate) problems: Vec<Problem>,
    /// Variables that are not set, by the target that needs them: no hindrance to the other targets.
    pub(crate) unset: BTreeMap<String, Vec<Problem>>,
}

/// Parses and interpolates. A syntax error ends it, every other problem is collected.
pub(crate) fn parse(text: &Arc<str>, environment: &dyn Fn(&str) -> Option<String>) -> Result<Document, Problem> {
    let table = DeTable::parse(text).map_err(|error| syntax_problem(&error, text))?;
    let mut converter = Converter { text, environment, target: None, problems: Vec::new(), unset: BTreeMap::new() };
    let value = converter.table(table.get_ref(), Depth::Root);
    Ok(Document {
        root: Node { span: 0..0, value, interpolated: false },
        problems: converter.problems,
        unset: converter.unset,
    })
}

fn syntax_problem(error: &toml::de::Error, text: &str) -> Problem {
    let span = error.span().unwrap_or(text.len()..text.len());
    if error.message() == "duplicate key" {
        let key = text.get(span.clone()).unwrap_or_default();
        return Problem::new(&span, format!("duplicate key `{key}`")).label("this key stands here a second time");
    }
    Problem::new(&span, "this is not valid TOML").label(error.message())
}

/// Where a table stands: only the entries of `targets` are told apart.
#[derive(Clone, Copy, PartialEq)]
enum Depth {
    Root,
    Targets,
    Below,
}

struct Converter<'a> {
    text: &'a str,
    environment: &'a dyn Fn(&str) -> Option<String>,
    target: Option<String>,
    problems: Vec<Problem>,
    unset: BTreeMap<String, Vec<Problem>>,
}

impl Converter<'_> {
    fn table(&mut self, table: &DeTable<'_>, depth: Depth) -> Value {
        let mut pairs: Vec<_> = table.iter().collect();
        pairs.sort_by_key(|(key, _)| key.span().start);
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let name = key.get_ref().to_string();
            if depth == Depth::Targets {
                self.target = Some(name.clone());
            }
            let below = match depth {
                Depth::Root if name == "targets" => Depth::Targets,
                _ => Depth::Below,
            };
            entries.push(Entry { key: name, key_span: key.span(), node: self.node(value, below) });
        }
        if depth == Depth::Targets {
            self.target = None;
        }
        Value::Table(entries)
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, depth: Depth) -> Node {
        let span = value.span();
        let mut interpolated = false;
        let value = match value.get_ref() {
            DeValue::String(text) => match interpolate(text, self.environment) {
                Ok(result) => {
                    interpolated = result != **text;
                    Value::Text(result)
                }
                Err(faults) => {
                    for fault in faults {
                        self.report(&span, text, &fault);
                    }
                    Value::Unset
                }
            },
            DeValue::Integer(integer) => Value::Integer(decimal(integer)),
            DeValue::Float(float) => Value::Float(float.as_str().to_owned()),
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(array) => {
                let nodes = array.iter().map(|node| self.node(node, Depth::Below));
                Value::Array(nodes.collect())
            }
            DeValue::Table(table) => self.table(table, depth),
        };
        Node { span, value, interpolated }
    }

    fn report(&mut self, span: &Span, value: &str, fault: &Fault) {
        let expression = value.get(fault.range.clone()).unwrap_or_default();
        let span = find_expression(self.text, span, expression, fault.index);
        match &fault.kind {
            FaultKind::Malformed { reason } => self.problems.push(
                Problem::new(&span, format!("invalid `{expression}`"))
                    .label(*reason)
                    .hint("write `${NAME}` or `${NAME:-default}`, and `$${` for a literal `${`"),
            ),
            FaultKind::Unset { name } => {
                let problem = Problem::new(&span, format!("the variable `{name}` is not set"))
                    .label("needed here")
                    .hint(format!("set it in the environment, or give a default: `${{{name}:-…}}`"));
                match &self.target {
                    Some(target) => self.unset.entry(target.clone()).or_default().push(problem),
                    None => self.problems.push(problem),
                }
            }
        }
    }
}

/// The place of the expression in the source; the whole value where it was written with escapes.
fn find_expression(text: &str, span: &Span, expression: &str, index: usize) -> Span {
    let raw = text.get(span.clone()).unwrap_or_default();
    let found = raw.match_indices("${").nth(index).map(|(at, _)| at);
    found
        .filter(|at| raw.get(*at..).is_some_and(|rest| rest.starts_with(expression)))
        .map(|at| span.start + at)
        .map_or(span.clone(), |start| start..start + expression.len())
}

fn decimal(integer: &DeInteger<'_>) -> String {
    let digits = integer.as_str();
    if integer.radix() == 10 {
        return digits.strip_prefix('+').unwrap_or(digits).to_owned();
    }
    // What does not fit is out of range for every reader, and is told so with the text as it stands.
    i128::from_str_radix(digits, integer.radix()).map_or_else(|_| integer.to_string(), |number| number.to_string())
}
