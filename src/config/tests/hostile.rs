//! Any text at all: an answer, never a panic, and every place inside the text.
use proptest::prelude::*;

use super::try_load;
use crate::config::json_schema;

fn survives(text: &str) {
    match try_load(text) {
        Ok(file) => {
            for target in file.target_names() {
                if let Err(errors) = file.resolve(Some(target)) {
                    assert!(!errors.0.is_empty());
                }
            }
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            for error in &errors.0 {
                let marked = text.get(error.span());
                assert!(marked.is_some_and(|marked| !marked.contains('\n')), "{:?}", error.span());
                assert!((1..=text.matches('\n').count() + 1).contains(&error.line));
                assert!(error.column >= 1);
            }
            errors.render(false);
            errors.render(true);
        }
    }
}

/// Keys of the schema at any depth, and some that are not.
fn key() -> impl Strategy<Value = String> {
    let mut keys = vec!["prod".to_owned(), "x".to_owned(), "\"ä b\"".to_owned()];
    fn collect(schema: &serde_json::Value, keys: &mut Vec<String>) {
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            keys.push(key.clone());
            collect(below, keys);
        }
        if schema["additionalProperties"].is_object() {
            collect(&schema["additionalProperties"], keys);
        }
    }
    collect(&json_schema(), &mut keys);
    prop::sample::select(keys)
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|boolean| boolean.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}").replace("NaN", "nan")),
        "[a-z/:@$\\{}0-9äMGiB.-]{0,12}".prop_map(|text| format!("'{text}'")),
        Just("\"${A}\"".to_owned()),
        Just("2026-01-01".to_owned()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::btree_map(key(), inner, 0..4).prop_map(|entries| {
                let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

fn line() -> impl Strategy<Value = String> {
    let path = prop::collection::vec(key(), 1..4).prop_map(|keys| keys.join(".")).boxed();
    prop_oneof![
        path.clone().prop_map(|path| format!("[{path}]")),
        path.clone().prop_map(|path| format!("[[{path}]]")),
        (path, value()).prop_map(|(path, value)| format!("{path} = {value}")),
    ]
}

proptest! {
    #[test]
    fn any_text(text: String) {
        survives(&text);
    }

    #[test]
    fn any_lines(text in "([\\[\\]={}\",.'#$\\r\\n\\ta-z0-9ä日\u{1b}]{0,3}(\r\n|\n| |)){0,40}") {
        survives(&text);
    }

    #[test]
    fn any_values_at_the_keys_of_the_schema(lines in prop::collection::vec(line(), 0..12)) {
        survives(&lines.join("\n"));
    }
}

#[test]
fn deep_nesting() {
    survives(&format!("a = {}", "[".repeat(100_000)));
    survives(&format!("{}x = 1", "a.".repeat(10_000)));
    survives(&format!("a = {}", "{a=".repeat(100_000)));
}

#[test]
fn odd_beginnings_and_ends() {
    for text in [
        "\u{feff}[service]\nname = 1",
        "\0",
        "[",
        "[service]\nname = \"\\",
        "\r",
        "'''",
        "[service]\nname = \"${",
        "ä = \"ö\"\u{0}",
    ] {
        survives(text);
    }
}
