//! What a registry answers to somebody it does not know yet.
//!
//! <https://distribution.github.io/distribution/spec/auth/token/>
use std::collections::BTreeMap;

/// `Bearer realm="…",service="…",scope="…"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Where tokens are given.
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
    pub(crate) scope: Option<String>,
}

impl Challenge {
    /// Reads a `WWW-Authenticate` header; `None` when it asks for something else than a bearer token.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut fields = fields(rest);
        Some(Self { realm: fields.remove("realm")?, service: fields.remove("service"), scope: fields.remove("scope") })
    }
}

/// `name=value` and `name="value"`, with commas between; a quoted value may hold commas.
fn fields(text: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([',', ' ']).to_ascii_lowercase();
        let value;
        (value, rest) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        fields.insert(name, value);
    }
    fields
}

/// Up to the closing quote, and what comes after it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let challenge = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://HOST/v2/token",service="HOST",scope="repository:a/b:pull,push""#,
                challenge("https://HOST/v2/token", Some("HOST"), Some("repository:a/b:pull,push")),
            ),
            (
                r#"bearer  service=HOST , Realm="https://HOST/\"token""#,
                challenge("https://HOST/\"token", Some("HOST"), None),
            ),
            (r#"Bearer realm="unclosed"#, challenge("unclosed", None, None)),
            (r#"Basic realm="https://HOST""#, None),
            ("Bearer", None),
            ("Bearer service=x", None),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(header), expected, "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in ".{0,80}", fields in "[a-z=\",\\\\ ]{0,60}") {
            let _ = (Challenge::parse(&header), Challenge::parse(&format!("Bearer {fields}")));
        }
    }
}
