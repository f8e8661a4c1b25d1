//! A request's body and query against the schema, with the texts that Google's front end answers.
//!
//! What passes is normalised as Google does before it looks: names in lower camel case, read-only fields dropped,
//! fields at their default value dropped, 64-bit numbers as strings.
use std::collections::BTreeMap;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use serde_json::{Map, Value, json};

use super::{
    numbers,
    proto::{enum_name, message_name, type_name},
    schema::{Document, Field, Method, camel, snake},
    status::Status,
};

/// Fields that are part of a `oneof`, or `optional`, where an empty value is still a value.
/// <https://cloud.google.com/run/docs/reference/rest/v2/Container#EnvVar>
const PRESENT_WHEN_EMPTY: [(&str, &str); 9] = [
    // `optional`: https://github.com/googleapis/googleapis/blob/master/google/cloud/run/v2/vendor_settings.proto
    ("GoogleCloudRunV2ServiceScaling", "manualInstanceCount"),
    ("GoogleCloudRunV2ServiceScaling", "maxInstanceCount"),
    ("GoogleCloudRunV2RevisionTemplate", "gpuZonalRedundancyDisabled"),
    // True when it is not there: https://cloud.google.com/run/docs/reference/rest/v1/TrafficTarget
    ("TrafficTarget", "latestRevision"),
    ("GoogleCloudRunV2EnvVar", "value"),
    ("EnvVar", "value"),
    ("SecretPayload", "dataCrc32c"),
    // `oneof retries`: https://github.com/googleapis/googleapis/blob/master/google/cloud/run/v2/task_template.proto
    ("GoogleCloudRunV2TaskTemplate", "maxRetries"),
    ("TaskSpec", "maxRetries"),
];
/// Google's texts repeat what is wrong. Of this message it could be a secret's value, so here they do not.
const SECRET: &str = "AddSecretVersionRequest";

#[derive(Debug)]
struct Violation {
    field: String,
    description: String,
}

/// The body of a method. `root` is the request's field that the body stands for, empty when it is the whole request.
pub(crate) fn body(document: &Document, schema: &str, root: &str, value: &Value) -> Result<Value, Status> {
    let mut check = Check { document, violations: Vec::new(), secret: schema == SECRET };
    let value = check.message(schema, root, value);
    match value {
        Some(value) if check.violations.is_empty() => Ok(value),
        _ => Err(refusal(check.violations)),
    }
}

/// The query of a method, by lower camel case name. Parameters that all methods take are checked and dropped.
pub(crate) fn query(document: &Document, method: &Method, query: &str) -> Result<BTreeMap<String, String>, Status> {
    let mut values = BTreeMap::new();
    let mut violations = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let known =
            [name.clone().into_owned(), camel(&name)].into_iter().find_map(|name| method.query.get_key_value(&name));
        match known {
            Some((known, field)) if scalar_text(field, &value) => {
                values.insert(known.clone(), value.into_owned());
            }
            Some((known, field)) => violations.push(Violation {
                field: snake(known),
                description: format!("Invalid value at '{}' ({}), \"{value}\"", snake(known), type_name(field)),
            }),
            None if is_common(document, &name) => {}
            None => violations.push(Violation {
                field: String::new(),
                description: format!(
                    "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. Field '{name}' could not be found in request message."
                ),
            }),
        }
    }
    if violations.is_empty() { Ok(values) } else { Err(refusal(violations)) }
}

fn is_common(document: &Document, name: &str) -> bool {
    let plain = name.strip_prefix('$').unwrap_or(name);
    document.common.iter().any(|common| common == name || common == plain)
}

fn scalar_text(field: &Field, value: &str) -> bool {
    match field.kind.as_deref() {
        // gcloud writes them as Python does.
        Some("boolean") => matches!(value, "true" | "false" | "True" | "False"),
        Some("integer") => value.parse::<i32>().is_ok(),
        _ => field.values.is_empty() || field.values.iter().any(|known| known == value),
    }
}

fn refusal(violations: Vec<Violation>) -> Status {
    let message = violations.iter().map(|violation| violation.description.as_str()).collect::<Vec<_>>().join("\n");
    let violations: Vec<_> = violations
        .into_iter()
        .map(|Violation { field, description }| {
            if field.is_empty() {
                json!({ "description": description })
            } else {
                json!({ "field": field, "description": description })
            }
        })
        .collect();
    Status::invalid(message).with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": violations,
    }))
}

struct Check<'a> {
    document: &'a Document,
    violations: Vec<Violation>,
    /// No text repeats a value.
    secret: bool,
}

impl Check<'_> {
    fn refuse(&mut self, path: &str, description: String) -> Option<Value> {
        self.violations.push(Violation { field: path.to_owned(), description });
        None
    }

    fn wrong(&mut self, path: &str, type_name: &str, value: &Value) -> Option<Value> {
        let value = if self.secret { String::new() } else { format!(", {value}") };
        self.refuse(path, format!("Invalid value at '{path}' ({type_name}){value}"))
    }

    /// `None` when something in it is refused.
    fn message(&mut self, schema: &str, path: &str, value: &Value) -> Option<Value> {
        let Some(definition) = self.document.schemas.get(schema) else {
            return self.refuse(path, format!("no schema `{schema}`"));
        };
        let Value::Object(given) = value else {
            let name = format!("type.googleapis.com/{}", message_name(self.document, schema));
            return self.wrong(path, &name, value);
        };
        let mut kept = Map::new();
        for (name, value) in given {
            let Some((known, field)) =
                definition.properties.get_key_value(name).or_else(|| definition.properties.get_key_value(&camel(name)))
            else {
                let at = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
                self.refuse(
                    path,
                    format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field."),
                );
                continue;
            };
            if value.is_null() {
                continue;
            }
            let inner = if path.is_empty() { snake(known) } else { format!("{path}.{}", snake(known)) };
            let checked = self.field((schema, known), field, &inner, value);
            if let Some(checked) = checked
                && !field.read_only
                && !self.is_zero((schema, known), &checked)
                && (!is_default(field, &checked) || PRESENT_WHEN_EMPTY.contains(&(schema, known)))
            {
                kept.insert(known.clone(), checked);
            }
        }
        Some(Value::Object(kept))
    }

    /// An enum's default.
    fn is_zero(&self, owner: (&str, &str), value: &Value) -> bool {
        value.as_str().is_some_and(|name| numbers::number(self.document, owner, name) == Some(&0))
    }

    fn field(&mut self, owner: (&str, &str), field: &Field, path: &str, value: &Value) -> Option<Value> {
        if let Some(schema) = &field.reference {
            return self.message(schema, path, value);
        }
        match field.kind.as_deref() {
            Some("array") => {
                let (Some(items), Value::Array(given)) = (&field.items, value) else {
                    let item = field.items.as_ref().and_then(|items| items.reference.as_deref());
                    let name = match item {
                        Some(schema) => format!("type.googleapis.com/{}", message_name(self.document, schema)),
                        None => type_name(field),
                    };
                    return self.wrong(path, &name, value);
                };
                let values: Vec<_> = given
                    .iter()
                    .enumerate()
                    .map(|(index, value)| self.field(owner, items, &format!("{path}[{index}]"), value))
                    .collect();
                values.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
            }
            Some("object") => {
                let (Some(entry), Value::Object(given)) = (&field.additional_properties, value) else {
                    return self.wrong(path, "TYPE_MESSAGE", value);
                };
                let mut values = Map::new();
                for (key, value) in given {
                    let checked = self.field(owner, entry, &format!("{path}[\"{key}\"]"), value)?;
                    values.insert(key.clone(), checked);
                }
                Some(Value::Object(values))
            }
            Some("any") => Some(value.clone()),
            _ => self.scalar(owner, field, path, value),
        }
    }

    fn scalar(&mut self, owner: (&str, &str), field: &Field, path: &str, value: &Value) -> Option<Value> {
        if value.is_array() {
            let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
            return self.refuse(
                parent,
                format!(
                    "Invalid JSON payload received. Unknown name \"{}\" at '{parent}': Proto field is not repeating, cannot start list.",
                    camel(name)
                ),
            );
        }
        if !field.values.is_empty() {
            let name = match value {
                Value::String(name) => field.values.iter().find(|known| *known == name).map(String::as_str),
                _ => value.as_i64().and_then(|number| numbers::name(self.document, owner, number)),
            };
            return if let Some(name) = name {
                Some(json!(name))
            } else {
                let name = format!("type.googleapis.com/{}", enum_name(self.document, owner));
                self.wrong(path, &name, value)
            };
        }
        let kept = match (field.kind.as_deref(), field.format.as_deref()) {
            (Some("boolean"), _) => value.is_boolean().then(|| value.clone()),
            (Some("integer"), _) => {
                number(value).and_then(|number| i32::try_from(number).ok()).map(|number| json!(number))
            }
            (Some("number"), _) => value.as_f64().map(|_| value.clone()),
            (_, Some("int64")) => number(value).map(|number| json!(number.to_string())),
            (_, Some("byte")) => match value.as_str().map(bytes) {
                Some(Some(bytes)) => Some(json!(STANDARD.encode(bytes))),
                Some(None) => {
                    let what = if self.secret { String::new() } else { format!(" for {value}") };
                    return self
                        .refuse(path, format!("Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed{what}"));
                }
                None => None,
            },
            (_, Some("google-duration")) => match value.as_str() {
                Some(text) if duration_seconds(text).is_some() => Some(value.clone()),
                _ => {
                    let name = path.rsplit('.').next().unwrap_or(path);
                    return self.refuse(
                        path,
                        format!(
                            "Invalid value at '{path}' (type.googleapis.com/google.protobuf.Duration), Field '{}', Illegal duration format; duration must end with 's'",
                            camel(name)
                        ),
                    );
                }
            },
            _ => value.is_string().then(|| value.clone()),
        };
        kept.or_else(|| self.wrong(path, &type_name(field), value))
    }
}

/// Both `80` and `"80"` are numbers in Google's JSON.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => {
            number.as_i64().or_else(|| number.as_f64().filter(|float| float.fract() == 0.0).map(|float| float as i64))
        }
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A `bytes` field: in either alphabet, with padding or without. gcloud sends what it got back in the other one.
/// <https://protobuf.dev/programming-guides/json/>
fn bytes(text: &str) -> Option<Vec<u8>> {
    const ANY_PADDING: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let read = |alphabet| GeneralPurpose::new(alphabet, ANY_PADDING).decode(text).ok();
    read(&alphabet::STANDARD).or_else(|| read(&alphabet::URL_SAFE))
}

/// `300s`, `1.5s`.
pub(crate) fn duration_seconds(text: &str) -> Option<f64> {
    let number = text.strip_suffix('s')?;
    let plain = number.strip_prefix('-').unwrap_or(number);
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    number.parse().ok()
}

/// What proto3 does not put on the wire. A message that is there and empty is not a default.
fn is_default(field: &Field, value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || (field.format.as_deref() == Some("int64") && text == "0"),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty() && field.reference.is_none(),
        Value::Null => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gcp::schema::{Documents, Found};

    fn service(value: &Value) -> Result<Value, String> {
        let documents = Documents::load().expect("the committed schemas");
        body(&documents.run, "GoogleCloudRunV2Service", "service", value).map_err(|status| status.message)
    }

    #[test]
    fn what_google_refuses() {
        for (given, text) in [
            (
                json!({ "template": { "foo": 1 } }),
                "Invalid JSON payload received. Unknown name \"foo\" at 'service.template': Cannot find field.",
            ),
            (
                json!({ "ingress": "X" }),
                "Invalid value at 'service.ingress' (type.googleapis.com/google.cloud.run.v2.IngressTraffic), \"X\"",
            ),
            (
                json!({ "ingress": 77 }),
                "Invalid value at 'service.ingress' (type.googleapis.com/google.cloud.run.v2.IngressTraffic), 77",
            ),
            (
                json!({ "template": { "containers": [{ "image": 7 }] } }),
                "Invalid value at 'service.template.containers[0].image' (TYPE_STRING), 7",
            ),
            (
                json!({ "template": { "maxInstanceRequestConcurrency": "many" } }),
                "Invalid value at 'service.template.max_instance_request_concurrency' (TYPE_INT32), \"many\"",
            ),
            (
                json!({ "traffic": { "percent": 1 } }),
                "Invalid value at 'service.traffic' (type.googleapis.com/google.cloud.run.v2.TrafficTarget), {\"percent\":1}",
            ),
            (
                json!({ "invokerIamDisabled": "true" }),
                "Invalid value at 'service.invoker_iam_disabled' (TYPE_BOOL), \"true\"",
            ),
            (
                json!({ "description": ["a"] }),
                "Invalid JSON payload received. Unknown name \"description\" at 'service': Proto field is not repeating, cannot start list.",
            ),
            (
                json!({ "template": { "timeout": "300" } }),
                "Invalid value at 'service.template.timeout' (type.googleapis.com/google.protobuf.Duration), Field 'timeout', Illegal duration format; duration must end with 's'",
            ),
            (
                json!({ "a": 1, "b": 2 }),
                "Invalid JSON payload received. Unknown name \"a\" at 'service': Cannot find field.\nInvalid JSON payload received. Unknown name \"b\" at 'service': Cannot find field.",
            ),
        ] {
            assert_eq!(service(&given).expect_err("refused"), text, "{given}");
        }
    }

    #[test]
    fn what_is_kept() {
        let kept = service(&json!({
            "uid": "ours",
            "uri": "http://x",
            "description": "",
            "invoker_iam_disabled": true,
            "ingress": 2,
            "launchStage": 0,
            "traffic": [{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_UNSPECIFIED", "percent": 100 }],
            "labels": { "a": "b", "empty": "" },
            "template": {
                "maxInstanceRequestConcurrency": "80",
                "containers": [{ "image": "i", "env": [{ "name": "A", "value": "" }], "command": [], "resources": { "cpuIdle": false } }],
                "volumes": [{ "name": "v", "emptyDir": {} }],
                "scaling": null,
            },
        }))
        .expect("a valid service");
        assert_eq!(
            kept,
            json!({
                "invokerIamDisabled": true,
                "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
                "traffic": [{ "percent": 100 }],
                "labels": { "a": "b", "empty": "" },
                "template": {
                    "maxInstanceRequestConcurrency": 80,
                    "containers": [{ "image": "i", "env": [{ "name": "A", "value": "" }], "resources": {} }],
                    "volumes": [{ "name": "v", "emptyDir": {} }],
                },
            })
        );
    }

    #[test]
    fn bytes_come_in_either_alphabet() {
        let documents = Documents::load().expect("the committed schemas");
        let etag = |etag: &str| {
            let policy = json!({ "policy": { "etag": etag } });
            let kept = body(&documents.run, "GoogleIamV1SetIamPolicyRequest", "", &policy);
            kept.map(|kept| kept["policy"]["etag"].clone()).map_err(|status| status.message)
        };
        for given in ["+/8=", "+/8", "-_8=", "-_8"] {
            assert_eq!(etag(given), Ok(json!("+/8=")), "{given}");
        }
        assert_eq!(
            etag("a*b="),
            Err("Invalid value at 'policy.etag' (TYPE_BYTES), Base64 decoding failed for \"a*b=\"".to_owned())
        );
    }

    #[test]
    fn queries_are_checked() {
        let documents = Documents::load().expect("the committed schemas");
        let Found::Served(_, method, _) = documents.run.find("PATCH", "/v2/projects/p/locations/l/services/s") else {
            panic!("no such method");
        };
        let check = |text| query(&documents.run, method, text).map_err(|status| status.message);
        assert_eq!(
            check("update_mask=template&validateOnly=true&alt=json&%24alt=json"),
            Ok(BTreeMap::from([
                ("updateMask".to_owned(), "template".to_owned()),
                ("validateOnly".to_owned(), "true".to_owned()),
            ]))
        );
        assert_eq!(
            check("x=1"),
            Err("Invalid JSON payload received. Unknown name \"x\": Cannot bind query parameter. Field 'x' could not be found in request message.".to_owned())
        );
        assert_eq!(check("validateOnly=yes"), Err("Invalid value at 'validate_only' (TYPE_BOOL), \"yes\"".to_owned()));
    }
}
