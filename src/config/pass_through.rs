//! A cloud's own section: its JSON as it stands. Who knows that cloud checks it.
use serde_json::{Map, Number, Value as Json, json};

use super::{
    diagnostics::Problem,
    document::{Node, Value},
    read::{Context, Read},
};

/// `[targets.NAME.cloud-run]`
#[derive(Clone, Debug)]
pub(crate) struct PassThrough(pub(crate) Json);

impl Read for PassThrough {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        if !matches!(node.value, Value::Table(_)) {
            context.wrong_type(node, "a table", None);
            return None;
        }
        json(node, context).map(Self)
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": true })
    }
}

/// An integer stays one.
fn number(value: &Value, text: &str) -> Option<Number> {
    let digits = text.trim_start_matches('+').replace('_', "");
    match value {
        Value::Integer(_) => digits.parse::<i64>().ok().map(Number::from),
        _ => digits.parse().ok(),
    }
}

/// What is no JSON is reported, and then there is no value.
fn json(node: &Node, context: &mut Context) -> Option<Json> {
    let value = match &node.value {
        Value::Text(text) => Json::String(text.clone()),
        Value::Boolean(value) => Json::Bool(*value),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| json(item, context)).collect();
            Json::Array(items.into_iter().collect::<Option<_>>()?)
        }
        Value::Table(entries) => {
            let mut map = Map::new();
            for entry in entries {
                context.path.push(entry.key.clone());
                let value = json(&entry.node, context);
                context.path.pop();
                map.insert(entry.key.clone(), value?);
            }
            Json::Object(map)
        }
        Value::Integer(text) | Value::Float(text) => match number(&node.value, text) {
            Some(number) => Json::Number(number),
            None => {
                let message = format!("`{}` cannot be {text}: JSON has no such number", context.key());
                context.report(Problem::new(&node.span, message));
                return None;
            }
        },
        Value::Datetime => {
            context.wrong_type(node, "what JSON has", Some("write the date in quotes".to_owned()));
            return None;
        }
        // A variable that is not set was reported where it stands.
        Value::Unset => return None,
    };
    Some(value)
}
