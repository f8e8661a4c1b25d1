//! Which fields an update takes from its body: <https://google.aip.dev/134>
use serde_json::{Map, Value};

use crate::gcp::{
    schema::{Document, camel},
    status::Status,
};

const SCHEMA: &str = "GoogleCloudRunV2Service";

/// The stored service with the body's fields in it. No mask, or `*`, takes them all.
pub(crate) fn apply(
    document: &Document,
    stored: &Map<String, Value>,
    body: &Map<String, Value>,
    mask: Option<&str>,
) -> Result<Map<String, Value>, Status> {
    let paths: Vec<Vec<String>> = mask
        .unwrap_or_default()
        .split(',')
        .filter(|path| !path.is_empty())
        .map(|path| path.trim().split('.').map(camel).collect())
        .collect();
    if paths.is_empty() || paths.iter().any(|path| path == &["*"]) {
        return Ok(body.clone());
    }
    let mut updated = stored.clone();
    for path in &paths {
        check(document, path)?;
        copy(&mut updated, body, path);
    }
    Ok(updated)
}

/// A path leads through messages and ends at any field of one.
fn check(document: &Document, path: &[String]) -> Result<(), Status> {
    let refuse =
        || Status::invalid(format!("Invalid field mask: no field `{}` in google.cloud.run.v2.Service", path.join(".")));
    let mut schema = SCHEMA;
    for (index, name) in path.iter().enumerate() {
        let field = document.schemas.get(schema).and_then(|message| message.properties.get(name)).ok_or_else(refuse)?;
        match &field.reference {
            Some(reference) => schema = reference,
            None if index + 1 == path.len() => {}
            None => return Err(refuse()),
        }
    }
    Ok(())
}

fn copy(target: &mut Map<String, Value>, source: &Map<String, Value>, path: &[String]) {
    let Some((name, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        match source.get(name) {
            Some(value) => target.insert(name.clone(), value.clone()),
            None => target.remove(name),
        };
        return;
    }
    let empty = Map::new();
    let inner = source.get(name).and_then(Value::as_object).unwrap_or(&empty);
    let entry = target.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(entry) = entry {
        copy(entry, inner, rest);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gcp::schema::Documents;

    fn update(mask: Option<&str>) -> Result<Value, String> {
        let documents = Documents::load().expect("the committed schemas");
        let stored = json!({ "description": "old", "labels": { "a": "1" }, "template": { "timeout": "1s", "serviceAccount": "s" } });
        let body = json!({ "labels": { "b": "2" }, "template": { "timeout": "2s" } });
        let (Some(stored), Some(body)) = (stored.as_object(), body.as_object()) else {
            panic!("objects");
        };
        apply(&documents.run, stored, body, mask).map(Value::Object).map_err(|status| status.message)
    }

    #[test]
    fn a_mask_takes_what_it_names() {
        let all = json!({ "labels": { "b": "2" }, "template": { "timeout": "2s" } });
        for (mask, expected) in [
            (None, all.clone()),
            (Some("*"), all),
            (
                Some("template.timeout"),
                json!({ "description": "old", "labels": { "a": "1" }, "template": { "timeout": "2s", "serviceAccount": "s" } }),
            ),
            (
                Some("labels,template.service_account"),
                json!({ "description": "old", "labels": { "b": "2" }, "template": { "timeout": "1s" } }),
            ),
            (
                Some("description"),
                json!({ "labels": { "a": "1" }, "template": { "timeout": "1s", "serviceAccount": "s" } }),
            ),
        ] {
            assert_eq!(update(mask), Ok(expected), "{mask:?}");
        }
        for wrong in ["nothing", "template.nothing", "labels.a", "template.containers.image"] {
            assert!(update(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
