//! `[targets.NAME.cloud-run]`: what no key of carrack.toml says, in Cloud Run's own words. Checked offline.
use std::collections::BTreeSet;

use carrack_core::{
    Error, ErrorKind,
    json_path::{JsonPath, Part},
    plan::Deploy,
};
use serde_json::{Map, Value};

use super::{
    schema::{self, Field, Root},
    verdict::{Verdict, pattern, verdict},
};
use crate::ID;

/// A field and its value.
pub(super) type Leaf = (JsonPath, Value);

/// Everything that is wrong in the deploy's own section of this cloud.
pub(crate) fn check(deploy: &Deploy) -> Vec<Error> {
    read(Root::Service, deploy.cloud.as_ref()).1
}

/// The section's fields, and what is wrong in it. Tables and lists of named entries are gone into; any other list is
/// one value.
pub(super) fn read(root: Root, cloud: Option<&Value>) -> (Vec<Leaf>, Vec<Error>) {
    let mut reader = Reader { root, leaves: Vec::new(), errors: Vec::new() };
    if let Some(cloud) = cloud {
        reader.message(root.message(), cloud, &JsonPath::default(), true);
    }
    // By name, whatever order the section's tables are kept in.
    reader.leaves.sort_by(|(a, _), (b, _)| a.cmp(b));
    reader.errors.sort_by(|a, b| a.field().cmp(&b.field()));
    (reader.leaves, reader.errors)
}

struct Reader {
    root: Root,
    leaves: Vec<Leaf>,
    errors: Vec<Error>,
}

impl Reader {
    /// `apart` = its fields are fields of ours, and no parts of one value.
    fn message(&mut self, name: &str, value: &Value, at: &JsonPath, apart: bool) {
        let (Some(fields), Some(map)) = (schema::message(name), value.as_object()) else {
            self.wrong_type(at, "a table", value);
            return;
        };
        if fields.is_empty() && apart {
            self.leaves.push((at.clone(), value.clone()));
        }
        for (key, value) in map {
            let path = at.key(key);
            match fields.get(key) {
                None => self.unknown(&path, key, fields),
                Some(field) if field.read_only => {
                    let text = format!("`{path}` is output only: the cloud fills it in");
                    self.refuse(&path, text, "remove it".to_owned());
                }
                Some(field) if self.may_be_named(&path) => self.field(field, value, &path, apart),
                Some(_) => {}
            }
        }
    }

    /// What a key says is said there alone.
    fn may_be_named(&mut self, path: &JsonPath) -> bool {
        match verdict(self.root, &pattern(path)) {
            Verdict::PassThrough => true,
            Verdict::Key(key) => {
                let text = format!("`{path}` is what `{key}` says");
                self.refuse(path, text, format!("remove it here, and write `{key}`"));
                false
            }
            Verdict::Unsupported(why) => {
                self.refuse(path, format!("`{path}` cannot be set: {why}"), "remove it".to_owned());
                false
            }
        }
    }

    fn field(&mut self, field: &Field, value: &Value, at: &JsonPath, apart: bool) {
        if let Some(message) = &field.message {
            return self.message(message, value, at, apart);
        }
        if let Some(message) = field.named_entries().filter(|_| apart) {
            return self.entries(message, value, at);
        }
        if let Some(each) = &field.additional_properties {
            let Some(map) = value.as_object() else { return self.wrong_type(at, "a table", value) };
            for (key, value) in map {
                let path = at.key(key);
                if self.may_be_named(&path) {
                    self.field(each, value, &path, apart);
                }
            }
            return;
        }
        if let Some(each) = &field.items {
            let Some(list) = value.as_array() else { return self.wrong_type(at, "a list", value) };
            for item in list {
                self.field(each, item, &at.and(Part::Entry(None)), false);
            }
        } else {
            self.scalar(field, value, at);
        }
        if apart {
            self.leaves.push((at.clone(), value.clone()));
        }
    }

    /// Of a list whose entries have names. The container without one is the service's own.
    fn entries(&mut self, message: &str, value: &Value, at: &JsonPath) {
        let Some(list) = value.as_array() else { return self.wrong_type(at, "a list", value) };
        let mut seen = BTreeSet::new();
        for item in list {
            let mut rest = item.as_object().cloned().unwrap_or_default();
            let name = match rest.remove("name") {
                Some(Value::String(name)) if !name.is_empty() => Some(name),
                Some(other) => return self.wrong_type(&at.and(Part::Entry(None)).key("name"), "a name", &other),
                None => None,
            };
            let path = at.and(Part::Entry(name.clone()));
            if name.is_none() && !message.ends_with("Container") {
                self.refuse(
                    &path,
                    format!("an entry of `{at}` has no `name`"),
                    "write `name = \"…\"` in it".to_owned(),
                );
            } else if !seen.insert(name) {
                self.refuse(&path, format!("`{path}` stands here twice"), "make one of them".to_owned());
            } else if item.is_object() {
                self.message(message, &Value::Object(rest), &path, true);
            } else {
                self.wrong_type(&path, "a table", item);
            }
        }
    }

    fn scalar(&mut self, field: &Field, value: &Value, at: &JsonPath) {
        let text = value.as_str();
        let digits = |text: &str| text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit());
        match (field.r#type.as_str(), field.format.as_str()) {
            ("boolean", _) if value.is_boolean() => {}
            ("boolean", _) => self.wrong_type(at, "`true` or `false`", value),
            ("integer", _) if value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => {}
            ("integer", _) => self.wrong_type(at, "an integer of 32 bits", value),
            ("number", _) if value.is_number() => {}
            ("number", _) => self.wrong_type(at, "a number", value),
            // https://protobuf.dev/programming-guides/json/
            ("string", "int64") if text.is_some_and(|text| !text.is_empty() && digits(text)) => {}
            ("string", "int64") => self.wrong_type(at, "an integer in quotes", value),
            ("string", "google-duration") if text.is_some_and(is_duration) => {}
            ("string", "google-duration") => self.wrong_type(at, "seconds such as \"300s\"", value),
            ("string", _) if text.is_none() => self.wrong_type(at, "a string", value),
            ("string", _) => {
                let known = |text: &str| field.r#enum.iter().any(|word| word == text);
                if let Some(text) = text.filter(|text| !field.r#enum.is_empty() && !known(text)) {
                    // `…_UNSPECIFIED` is what stands for no value.
                    let words: Vec<&str> = field
                        .r#enum
                        .iter()
                        .map(String::as_str)
                        .filter(|word| !word.ends_with("_UNSPECIFIED"))
                        .collect();
                    let hint = match nearest(text, words.iter().copied()) {
                        Some(near) => format!("did you mean \"{near}\"?"),
                        None => format!("it is one of {}", words.join(", ")),
                    };
                    self.refuse(at, format!("`{at}` cannot be \"{text}\""), hint);
                }
            }
            _ => {}
        }
    }

    fn unknown(&mut self, at: &JsonPath, key: &str, fields: &schema::Message) {
        let hint = match nearest(key, fields.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let names: Vec<String> = fields.keys().map(|name| format!("`{name}`")).collect();
                format!("the fields here are {}", names.join(", "))
            }
        };
        self.refuse(at, format!("Cloud Run knows no field `{at}`"), hint);
    }

    fn wrong_type(&mut self, at: &JsonPath, expected: &str, value: &Value) {
        let found = match value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "a table",
        };
        let text = format!("`{at}` takes {expected}, not {found}");
        self.errors.push(Error::new(ErrorKind::ConfigInvalid, text).at_field(field(at)));
    }

    fn refuse(&mut self, at: &JsonPath, text: String, hint: String) {
        self.errors.push(Error::new(ErrorKind::ConfigInvalid, text).at_field(field(at)).hint(hint));
    }
}

/// The field's name in receipts and errors.
pub(super) fn field(at: &JsonPath) -> String {
    format!("{ID}.{at}")
}

fn is_duration(text: &str) -> bool {
    let Some(number) = text.strip_suffix('s') else { return false };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    [whole, part].iter().all(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The known word that is most like `word`, also where it is written with underscores.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let asked = plain(word);
    let bound = (asked.chars().count() / 3).max(1);
    known
        .map(|candidate| (strsim::damerau_levenshtein(&asked, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= bound && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// What is at a place, if anything is.
pub(super) fn get<'a>(value: &'a Value, path: &[Part]) -> Option<&'a Value> {
    match path {
        [] => Some(value),
        [Part::Key(key), rest @ ..] => get(value.get(key)?, rest),
        [Part::Entry(name), rest @ ..] => {
            let list = value.as_array()?;
            get(list.get(place(list, name.as_deref())?)?, rest)
        }
    }
}

/// The container without a name is the one that gets the requests, whatever it is called.
fn place(list: &[Value], name: Option<&str>) -> Option<usize> {
    match name {
        Some(name) => list.iter().position(|entry| entry["name"] == name),
        None => (!list.is_empty()).then(|| super::wire::ingress_index(list)),
    }
}

/// Puts a value there, or takes it away with what is empty then. Says whether there was a place for it.
pub(super) fn set(value: &mut Value, path: &[Part], wanted: Option<&Value>) -> bool {
    let Some((Part::Key(key), rest)) = path.split_first() else { return false };
    let Some(map) = as_table(value) else { return false };
    if rest.is_empty() {
        match wanted {
            Some(wanted) => drop(map.insert(key.clone(), wanted.clone())),
            None => drop(map.remove(key)),
        }
        return true;
    }
    if wanted.is_none() && !map.contains_key(key) {
        return true;
    }
    let child = map.entry(key.clone()).or_insert(Value::Null);
    let (done, empty) = match rest {
        [Part::Entry(name), rest @ ..] => {
            if child.is_null() {
                *child = Value::Array(Vec::new());
            }
            let Some(list) = child.as_array_mut() else { return false };
            let done = set_entry(list, name.as_deref(), rest, wanted);
            (done, list.is_empty())
        }
        rest => {
            let done = set(child, rest, wanted);
            (done, child.as_object().is_some_and(Map::is_empty))
        }
    };
    // An empty message is not the same as none.
    if wanted.is_none() && empty {
        map.remove(key);
    }
    done
}

fn set_entry(list: &mut Vec<Value>, name: Option<&str>, rest: &[Part], wanted: Option<&Value>) -> bool {
    let index = match (place(list, name), name) {
        (Some(index), _) => index,
        (None, _) if wanted.is_none() => return true,
        (None, Some(name)) => {
            list.push(serde_json::json!({ "name": name }));
            list.len() - 1
        }
        (None, None) => return false,
    };
    let done = set(&mut list[index], rest, wanted);
    let bare = list[index].as_object().is_some_and(|map| map.keys().all(|key| key == "name"));
    if wanted.is_none() && bare && name.is_some() {
        list.remove(index);
    }
    done
}

fn as_table(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Each error on a line: the field, what is wrong, and the hint.
    fn errors(cloud: Value) -> Vec<String> {
        let (_, errors) = read(Root::Service, Some(&cloud));
        let hint = |error: &Error| error.hints().first().map(|hint| format!("; {hint}")).unwrap_or_default();
        errors
            .iter()
            .map(|error| format!("{}: {}{}", error.field().unwrap_or(""), error.message(), hint(error)))
            .collect()
    }

    #[test]
    fn what_no_key_says_is_taken_as_it_stands() {
        let cloud = json!({
            "iapEnabled": true,
            "binaryAuthorization": { "useDefault": true, "breakglassJustification": "an outage" },
            "multiRegionSettings": { "regions": ["us-central1", "europe-west1"] },
            "scaling": { "maxInstanceCount": 40 },
            "template": {
                "annotations": { "example.com/owner": "a" },
                "encryptionKey": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
                "encryptionKeyShutdownDuration": "3600s",
                "serviceMesh": { "mesh": "projects/p/locations/global/meshes/m" },
                "nodeSelector": { "accelerator": "nvidia-l4" },
                "containers": [
                    { "resources": { "limits": { "nvidia.com/gpu": "1" } } },
                    { "name": "proxy", "baseImageUri": "b" },
                    { "name": "app", "startupProbe": { "httpGet": { "httpHeaders": [{ "name": "Host", "value": "a" }] } } },
                ],
                "volumes": [{ "name": "share", "filestore": { "volume": "v" } }],
            },
        });
        let (leaves, errors) = read(Root::Service, Some(&cloud));
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
        let leaves: Vec<String> = leaves.iter().map(|(path, value)| format!("{path} = {value}")).collect();
        assert_eq!(
            leaves,
            [
                "binaryAuthorization.breakglassJustification = \"an outage\"",
                "binaryAuthorization.useDefault = true",
                "iapEnabled = true",
                "multiRegionSettings.regions = [\"us-central1\",\"europe-west1\"]",
                "scaling.maxInstanceCount = 40",
                "template.annotations.\"example.com/owner\" = \"a\"",
                "template.containers[].resources.limits.\"nvidia.com/gpu\" = \"1\"",
                "template.containers[app].startupProbe.httpGet.httpHeaders = [{\"name\":\"Host\",\"value\":\"a\"}]",
                "template.containers[proxy].baseImageUri = \"b\"",
                "template.encryptionKey = \"projects/p/locations/l/keyRings/r/cryptoKeys/k\"",
                "template.encryptionKeyShutdownDuration = \"3600s\"",
                "template.nodeSelector.accelerator = \"nvidia-l4\"",
                "template.serviceMesh.mesh = \"projects/p/locations/global/meshes/m\"",
                "template.volumes[share].filestore.volume = \"v\"",
            ]
        );
    }

    #[test]
    fn an_unknown_field_is_told_with_the_nearest_one() {
        assert_eq!(
            errors(
                json!({ "iap_enabled": true, "template": { "encriptionKey": "k", "cheese": 1 }, "iapEnabled": true })
            ),
            [
                "cloud-run.iap_enabled: Cloud Run knows no field `iap_enabled`; did you mean `iapEnabled`?",
                errors(json!({ "template": { "cheese": 1 } }))[0].as_str(),
                "cloud-run.template.encriptionKey: Cloud Run knows no field `template.encriptionKey`; did you mean `encryptionKey`?",
            ]
        );
        let cheese = &errors(json!({ "template": { "cheese": 1 } }))[0];
        assert!(cheese.contains("no field `template.cheese`; the fields here are `ambientNetworking`, "), "{cheese}");
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        assert_eq!(
            errors(json!({
                "iapEnabled": "yes",
                "scaling": { "maxInstanceCount": 4_000_000_000_u32 },
                "binaryAuthorization": true,
                "multiRegionSettings": { "regions": "us-central1" },
                "template": {
                    "encryptionKey": 7, "encryptionKeyShutdownDuration": "1h", "annotations": [],
                    "containers": { "baseImageUri": "b" }, "volumes": [{ "name": 7 }, { "nfs": {} }],
                },
            })),
            [
                "cloud-run.binaryAuthorization: `binaryAuthorization` takes a table, not a boolean",
                "cloud-run.iapEnabled: `iapEnabled` takes `true` or `false`, not a string",
                "cloud-run.multiRegionSettings.regions: `multiRegionSettings.regions` takes a list, not a string",
                "cloud-run.scaling.maxInstanceCount: `scaling.maxInstanceCount` takes an integer of 32 bits, not a number",
                "cloud-run.template.annotations: `template.annotations` takes a table, not a list",
                "cloud-run.template.containers: `template.containers` takes a list, not a table",
                "cloud-run.template.encryptionKey: `template.encryptionKey` takes a string, not a number",
                "cloud-run.template.encryptionKeyShutdownDuration: `template.encryptionKeyShutdownDuration` takes seconds such as \"300s\", not a string",
                "cloud-run.template.volumes[].name: `template.volumes[].name` takes a name, not a number",
            ]
        );
        assert_eq!(
            errors(json!({ "template": { "volumes": [{ "nfs": {} }, { "name": "a" }, { "name": "a" }] } })),
            [
                "cloud-run.template.volumes[]: an entry of `template.volumes` has no `name`; write `name = \"…\"` in it",
                "cloud-run.template.volumes[a]: `template.volumes[a]` stands here twice; make one of them",
            ]
        );
    }

    #[test]
    fn a_word_that_is_none_of_the_fields_is_refused() {
        assert_eq!(
            errors(json!({ "launchStage": "BEETA", "template": { "encryptionKeyRevocationAction": "WAIT" } })),
            [
                "cloud-run.launchStage: `launchStage` cannot be \"BEETA\"; did you mean \"BETA\"?",
                "cloud-run.template.encryptionKeyRevocationAction: `template.encryptionKeyRevocationAction` cannot be \"WAIT\"; it is one of PREVENT_NEW, SHUTDOWN",
            ]
        );
    }

    #[test]
    fn what_only_the_cloud_sets_is_refused() {
        assert_eq!(
            errors(json!({ "uri": "https://x", "generation": "1", "etag": "x", "template": { "revision": "a" } })),
            [
                "cloud-run.etag: `etag` cannot be set: each write sends the one that was read, so that it meets no other; remove it",
                "cloud-run.generation: `generation` is output only: the cloud fills it in; remove it",
                "cloud-run.template.revision: `template.revision` cannot be set: a revision's name can be used once, so the cloud makes it up; remove it",
                "cloud-run.uri: `uri` is output only: the cloud fills it in; remove it",
            ]
        );
    }

    #[test]
    fn what_a_key_says_is_said_there() {
        assert_eq!(
            errors(json!({
                "labels": { "a": "b" },
                "template": {
                    "serviceAccount": "a@b",
                    "containers": [{
                        "image": "i", "env": [{ "name": "A", "value": "1" }],
                        "resources": { "limits": { "cpu": "1" } }, "startupProbe": { "periodSeconds": 3 },
                    }],
                },
            })),
            [
                "cloud-run.labels: `labels` is what `labels` says; remove it here, and write `labels`",
                "cloud-run.template.containers[].env[].name: `template.containers[].env[].name` is what `env` says; remove it here, and write `env`",
                "cloud-run.template.containers[].env[].value: `template.containers[].env[].value` is what `env` says; remove it here, and write `env`",
                "cloud-run.template.containers[].image: `template.containers[].image` is what `image` says; remove it here, and write `image`",
                "cloud-run.template.containers[].resources.limits.cpu: `template.containers[].resources.limits.cpu` is what `resources.cpu` says; remove it here, and write `resources.cpu`",
                "cloud-run.template.containers[].startupProbe.periodSeconds: `template.containers[].startupProbe.periodSeconds` is what `health.startup` says; remove it here, and write `health.startup`",
                "cloud-run.template.serviceAccount: `template.serviceAccount` is what `service_account` says; remove it here, and write `service_account`",
            ]
        );
    }
}
