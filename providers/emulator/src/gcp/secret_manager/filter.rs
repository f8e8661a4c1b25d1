//! Which secrets and versions a list is about: <https://cloud.google.com/secret-manager/docs/filtering>
//!
//! The language is Logging's, over the fields of a secret or a version by their names in the protocol buffers.
use serde_json::{Map, Value, json};

pub(super) use crate::gcp::logging::Filter;
use crate::gcp::{call::Call, logging::parse_filter, schema::snake, status::Status};

pub(super) const SECRET: [&str; 8] =
    ["name", "create_time", "labels", "annotations", "replication", "expire_time", "version_aliases", "etag"];
pub(super) const VERSION: [&str; 6] = ["name", "create_time", "state", "destroy_time", "replication_status", "etag"];

/// The call's filter, when it has one.
pub(super) fn of(call: &Call<'_>, fields: &[&str]) -> Result<Option<Filter>, Status> {
    match call.query.get("filter").filter(|text| !text.trim().is_empty()) {
        Some(text) => read(text, fields).map(Some).map_err(|why| Status::invalid(format!("Invalid filter: {why}"))),
        None => Ok(None),
    }
}

fn read(text: &str, fields: &[&str]) -> Result<Filter, String> {
    named(parse_filter(&quote_times(text))?, fields)
}

pub(super) fn wants(filter: &Filter, item: &Value) -> bool {
    filter.wants(&view(item))
}

/// Times may stand without quotes here, in Logging's language they may not.
fn quote_times(text: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | ':' | '.' | '+');
    let mut quoted = String::with_capacity(text.len() + 4);
    let mut rest = text;
    let mut inside = false;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|letter: char| !is_part(letter)).unwrap_or(rest.len()).max(first.len_utf8());
        let (word, after) = rest.split_at(length);
        inside ^= word == "\"";
        if !inside && word.parse::<jiff::Timestamp>().is_ok() {
            quoted.extend(["\"", word, "\""]);
        } else {
            quoted.push_str(word);
        }
        rest = after;
    }
    quoted
}

/// The filter with its fields' names as the view has them. A field that is not there would quietly hide everything.
fn named(filter: Filter, fields: &[&str]) -> Result<Filter, String> {
    let each = |filters: Vec<Filter>| filters.into_iter().map(|filter| named(filter, fields)).collect::<Result<_, _>>();
    Ok(match filter {
        Filter::All(filters) => Filter::All(each(filters)?),
        Filter::Any(filters) => Filter::Any(each(filters)?),
        Filter::Not(filter) => Filter::Not(Box::new(named(*filter, fields)?)),
        Filter::Compare { mut path, operator, value } => {
            let first = path.first().map(|first| snake(first)).unwrap_or_default();
            if !fields.contains(&first.as_str()) {
                return Err(format!("`{first}` is not a field that can be filtered by"));
            }
            // What follows is a name of Google's only below these; keys of labels are the user's own.
            if first.starts_with("replication") {
                path = path.iter().map(|part| snake(part)).collect();
            } else if let Some(part) = path.first_mut() {
                *part = first;
            }
            Filter::Compare { path, operator, value }
        }
    })
}

/// An answer by its fields' names in the protocol buffers; a list of messages shows the lists of their fields.
fn view(item: &Value) -> Value {
    let Some(item) = item.as_object() else { return Value::Null };
    item.iter()
        .map(|(name, value)| {
            let value = if name.starts_with("replication") { replication(value) } else { value.clone() };
            (snake(name), value)
        })
        .collect::<Map<_, _>>()
        .into()
}

fn replication(value: &Value) -> Value {
    match value["userManaged"]["replicas"].as_array() {
        Some(replicas) => {
            let locations: Vec<_> = replicas.iter().map(|replica| replica["location"].clone()).collect();
            json!({ "user_managed": { "replicas": { "location": locations } } })
        }
        None => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_own_examples() {
        let automatic = json!({
            "name": "projects/1/secrets/mysecret-a",
            "createTime": "2021-01-01T08:00:00.123456Z",
            "labels": { "environment": "production" },
            "replication": { "automatic": {} },
        });
        let managed = json!({
            "name": "projects/1/secrets/other",
            "createTime": "2022-01-01T08:00:00Z",
            "replication": { "userManaged": { "replicas": [{ "location": "us-central1" }, { "location": "us-east1" }] } },
        });
        for (filter, first, second) in [
            ("name:mysecret", true, false),
            ("name:mysecret OR name:other", true, true),
            ("labels.environment=production", true, false),
            ("create_time<2021-01-01T12:00:00Z AND create_time>2021-01-01T06:00:00Z", true, false),
            ("createTime > \"2021-06-01T00:00:00Z\"", false, true),
            ("replication.automatic:*", true, false),
            ("replication.user_managed.replicas.location:us-central1", false, true),
            (
                "replication.userManaged.replicas.location:* AND NOT replication.user_managed.replicas.location:us-east1",
                false,
                false,
            ),
        ] {
            let parsed = read(filter, &SECRET).expect(filter);
            assert_eq!((wants(&parsed, &automatic), wants(&parsed, &managed)), (first, second), "{filter}");
        }
        let version = json!({ "name": "projects/1/secrets/a/versions/2", "state": "ENABLED", "replicationStatus": { "automatic": {} } });
        for (filter, wanted) in [
            ("state:ENABLED", true),
            ("state = enabled", true),
            ("NOT state:ENABLED", false),
            ("state:DESTROYED", false),
        ] {
            assert_eq!(wants(&read(filter, &VERSION).expect(filter), &version), wanted, "{filter}");
        }
        let text = "a=\"2021-01-01T06:00:00Z\" b<2021-01-01T06:00:00.5+01:00 c=é OR d:2021";
        assert_eq!(quote_times(text), "a=\"2021-01-01T06:00:00Z\" b<\"2021-01-01T06:00:00.5+01:00\" c=é OR d:2021");
        for wrong in ["state:ENABLED", "color=red", "name~\"a.*\"", "mysecret"] {
            assert!(read(wrong, &SECRET).is_err(), "{wrong}");
        }
    }
}
