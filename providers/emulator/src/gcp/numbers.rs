//! Enum values by number, which Google's JSON takes and gives beside names.
//! <https://protobuf.dev/programming-guides/json/>
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    proto::message_name,
    schema::{Document, Field},
};

/// Schema -> property -> name -> number, as `schemas/numbers.py` finds them in Google's packages.
pub(crate) type Numbers = BTreeMap<String, BTreeMap<String, BTreeMap<String, i32>>>;

/// Whether a query asks for numbers in the answer: `alt` and `$alt` are one parameter.
/// <https://cloud.google.com/apis/docs/system-parameters>
pub(crate) fn are_asked(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name.trim_start_matches('$') == "alt" && value == "json;enum-encoding=int")
}

/// Of the value of a schema's property.
pub(super) fn number<'a>(document: &'a Document, (schema, property): (&str, &str), name: &str) -> Option<&'a i32> {
    document.numbers.get(schema)?.get(property)?.get(name)
}

pub(super) fn name<'a>(document: &'a Document, (schema, property): (&str, &str), number: i64) -> Option<&'a str> {
    let names = document.numbers.get(schema)?.get(property)?;
    names.iter().find(|(_, known)| i64::from(**known) == number).map(|(name, _)| name.as_str())
}

/// Turns names into numbers in a message of this schema. A name whose number no package has stays.
pub(crate) fn encode(document: &Document, schema: &str, value: &mut Value) {
    let (Some(definition), Value::Object(fields)) = (document.schemas.get(schema), value) else { return };
    for (name, value) in fields {
        if let Some((name, field)) = definition.properties.get_key_value(name) {
            encode_field(document, (schema, name), field, value);
        }
    }
}

fn encode_field(document: &Document, owner: (&str, &str), field: &Field, value: &mut Value) {
    if let Some(schema) = &field.reference {
        return encode(document, schema, value);
    }
    match value {
        Value::Array(values) => {
            for value in values {
                if let Some(items) = &field.items {
                    encode_field(document, owner, items, value);
                }
            }
        }
        Value::Object(entries) => match entries.get("@type").and_then(Value::as_str) {
            Some(url) => {
                let name = url.rsplit('/').next().unwrap_or(url);
                if let Some(schema) = document.schemas.keys().find(|schema| message_name(document, schema) == name) {
                    encode(document, schema, value);
                }
            }
            None => {
                for value in entries.values_mut() {
                    if let Some(entry) = &field.additional_properties {
                        encode_field(document, owner, entry, value);
                    }
                }
            }
        },
        Value::String(name) if !field.values.is_empty() => {
            if let Some(number) = number(document, owner, name) {
                *value = json!(number);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcp::schema::Documents;

    #[test]
    fn names_become_numbers_wherever_they_are() {
        let documents = Documents::load().expect("the committed schemas");
        let mut operation = json!({
            "name": "INGRESS_TRAFFIC_ALL",
            "response": {
                "@type": "type.googleapis.com/google.cloud.run.v2.Service",
                "ingress": "INGRESS_TRAFFIC_ALL",
                "labels": { "ingress": "INGRESS_TRAFFIC_ALL" },
                "template": { "volumes": [{ "emptyDir": { "medium": "MEMORY" } }, { "emptyDir": { "medium": "DISK" } }] },
                "conditions": [{ "state": "CONDITION_SUCCEEDED" }],
            },
        });
        encode(&documents.run, "GoogleLongrunningOperation", &mut operation);
        assert_eq!(
            operation,
            json!({
                "name": "INGRESS_TRAFFIC_ALL",
                "response": {
                    "@type": "type.googleapis.com/google.cloud.run.v2.Service",
                    "ingress": 1,
                    "labels": { "ingress": "INGRESS_TRAFFIC_ALL" },
                    "template": { "volumes": [{ "emptyDir": { "medium": 1 } }, { "emptyDir": { "medium": "DISK" } }] },
                    "conditions": [{ "state": 4 }],
                },
            })
        );
    }

    #[test]
    fn every_number_is_of_a_value_that_the_schema_has() {
        let documents = Documents::load().expect("the committed schemas");
        let mut count = 0;
        for document in documents.all() {
            for (schema, properties) in &document.numbers {
                for (property, names) in properties {
                    let field = &document.schemas[schema].properties[property];
                    let values = field.items.as_ref().map_or(&field.values, |items| &items.values);
                    assert!(names.keys().all(|name| values.contains(name)), "{schema}.{property}");
                    count += names.len();
                }
            }
        }
        assert!(count > 100, "{count}");
    }

    #[test]
    fn the_query_asks_for_numbers() {
        assert!(are_asked("a=b&%24alt=json%3Benum-encoding%3Dint") && are_asked("alt=json;enum-encoding=int"));
        assert!(!are_asked("alt=json") && !are_asked(""));
    }
}
