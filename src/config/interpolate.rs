//! `${NAME}` in a string: from the environment that the caller passes in.
use std::ops::Range;

/// What is wrong with one `${…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The bytes of the text that it stands in.
    pub(crate) range: Range<usize>,
    /// How many `${` stand before it, to find it again in the source.
    pub(crate) index: usize,
    pub(crate) kind: FaultKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The variable is not set and there is no default.
    Unset { name: String },
    /// Not of the form `${NAME}` or `${NAME:-default}`.
    Malformed { reason: &'static str },
}

/// Replaces `${NAME}` and `${NAME:-default}`; `$${` is a literal `${`. A default counts when the variable is
/// not set or empty, as in a shell.
pub(crate) fn interpolate(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<Fault>> {
    let (mut result, mut faults) = (String::new(), Vec::new());
    let (mut rest, mut index) = (text, 0);
    while let Some((literal, after)) = rest.split_once("${") {
        if let Some(before) = literal.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = after;
            index += 1;
            continue;
        }
        result.push_str(literal);
        let (inside, following) = match after.split_once('}') {
            Some((inside, following)) => (Some(inside), following),
            None => (None, ""),
        };
        let start = text.len() - after.len() - "${".len();
        let range = start..text.len() - following.len();
        let found = text.get(range.clone()).unwrap_or_default();
        match expand(inside, environment) {
            Ok(value) => result.push_str(&value),
            Err(kind) => faults.push(Fault { range, index, kind }),
        }
        index += found.matches("${").count();
        rest = following;
    }
    result.push_str(rest);
    if faults.is_empty() { Ok(result) } else { Err(faults) }
}

fn expand(inside: Option<&str>, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, FaultKind> {
    let malformed = |reason| Err(FaultKind::Malformed { reason });
    let Some(inside) = inside else {
        return malformed("there is no `}`");
    };
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_variable_name(name) {
        return malformed("this is not the name of a variable");
    }
    if default.is_some_and(|default| default.contains("${")) {
        return malformed("a default cannot hold another `${`");
    }
    match (environment(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(FaultKind::Unset { name: name.to_owned() }),
    }
}

/// The names that every shell can set.
pub(crate) fn is_variable_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|first: char| word(first) && !first.is_ascii_digit()) && name.chars().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, Vec<Fault>> {
        interpolate(text, &|name| match name {
            "A" => Some("one".to_owned()),
            "B_2" => Some("${A}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn replaces() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "one"),
            ("x${A}y${A}", "xoneyone"),
            ("${B_2}", "${A}"),
            ("${EMPTY}", ""),
            ("${NO:-two}", "two"),
            ("${NO:-}", ""),
            ("${EMPTY:-two}", "two"),
            ("${A:-two}", "one"),
            ("${NO:-a:-b}", "a:-b"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$A $$ $", "$A $$ $"),
            ("5$ and {A}", "5$ and {A}"),
            ("ä${A}ö", "äoneö"),
        ] {
            assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses() {
        let malformed = |range, index, reason| {
            let kind = FaultKind::Malformed { reason };
            Err(vec![Fault { range, index, kind }])
        };
        let name = "this is not the name of a variable";
        assert_eq!(run("${A"), malformed(0..3, 0, "there is no `}`"));
        assert_eq!(run("${}"), malformed(0..3, 0, name));
        assert_eq!(run("$${A} ${1A}"), malformed(6..11, 1, name));
        assert_eq!(run("${A-b}"), malformed(0..6, 0, name));
        let nested = "a default cannot hold another `${`";
        assert_eq!(run("${NO:-${A}}"), malformed(0..10, 0, nested));
    }

    #[test]
    fn names_every_unset_variable() {
        let unset = |range, index, name: &str| Fault { range, index, kind: FaultKind::Unset { name: name.to_owned() } };
        assert_eq!(run("${NO} ${A} ${NEITHER}"), Err(vec![unset(0..5, 0, "NO"), unset(11..21, 2, "NEITHER")]));
    }
}
