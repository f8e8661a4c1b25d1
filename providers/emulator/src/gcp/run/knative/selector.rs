//! Label selectors: `=`, `==`, `!=`, `KEY`, `!KEY`, `in`, `notin`.
//!
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>
use serde_json::Value;

use crate::gcp::status::Status;

#[derive(Debug)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Debug)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    pub(super) fn parse(text: &str) -> Result<Self, Status> {
        let refuse = || Status::invalid(format!("labelSelector: Invalid value '{text}'."));
        let parts = split(text).ok_or_else(refuse)?;
        parts.into_iter().map(|part| requirement(part).ok_or_else(refuse)).collect::<Result<_, _>>().map(Self)
    }

    /// The only value that a label may have.
    pub(super) fn value(&self, label: &str) -> Option<&str> {
        self.0.iter().find_map(|Requirement { key, test }| match test {
            Test::In(values) if key == label && values.len() == 1 => values.first().map(String::as_str),
            _ => None,
        })
    }

    pub(super) fn takes(&self, labels: &Value) -> bool {
        self.0.iter().all(|Requirement { key, test }| {
            let value = labels[key.as_str()].as_str();
            let among = |values: &[String]| value.is_some_and(|value| values.iter().any(|known| known == value));
            match test {
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::In(values) => among(values),
                Test::NotIn(values) => !among(values),
            }
        })
    }
}

/// At the commas outside of parentheses; `None` when those do not fit.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (index, letter) in text.char_indices() {
        match letter {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return None,
            ',' if !inside => {
                parts.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() || !parts.is_empty() {
        parts.push(last);
    }
    (!inside).then_some(parts)
}

fn requirement(part: &str) -> Option<Requirement> {
    let made = |key: &str, test| is_word(key.trim()).then(|| Requirement { key: key.trim().to_owned(), test });
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some(list) = part.strip_suffix(')') {
        let (head, values) = list.split_once('(')?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let (key, word) = head.trim().rsplit_once(char::is_whitespace)?;
        return match word {
            "in" => made(key, Test::In(values)),
            "notin" => made(key, Test::NotIn(values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return made(key, Test::NotIn(one(value)));
    }
    if let Some((key, value)) = part.split_once('=') {
        return made(key, Test::In(one(value.strip_prefix('=').unwrap_or(value))));
    }
    match part.strip_prefix('!') {
        Some(key) => made(key, Test::Missing),
        None => made(part, Test::Exists),
    }
}

fn is_word(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./".contains(letter))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requirements() {
        let labels = json!({ "serving.knative.dev/service": "hello", "team": "blue" });
        for (text, takes) in [
            ("", true),
            ("serving.knative.dev/service = hello", true),
            ("team=blue,serving.knative.dev/service==hello", true),
            ("team!=blue", false),
            ("other!=x", true),
            ("team in (red, blue)", true),
            ("team notin (red,blue)", false),
            ("team", true),
            ("!team", false),
            ("!other", true),
        ] {
            assert_eq!(Selector::parse(text).expect(text).takes(&labels), takes, "{text}");
        }
        let selector = Selector::parse("a=b,c in (d),e in (f,g)").expect("a selector");
        assert_eq!(["a", "c", "e", "x"].map(|label| selector.value(label)), [Some("b"), Some("d"), None, None]);
        for wrong in ["team in blue", "(a)", "a b", "team in (a", ",", "a=b,,c"] {
            assert!(Selector::parse(wrong).is_err(), "{wrong}");
        }
    }
}
