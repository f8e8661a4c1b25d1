//! The rules for what a secret is made of, with Google's texts.
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::names::LATEST;
use crate::gcp::{
    status::{Code, Status},
    validate::duration_seconds,
};

/// <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets#resource:-secret>
const MOST_LABELS: usize = 64;
const MOST_ALIASES: usize = 50;
const LARGEST_ANNOTATIONS: usize = 16 << 10;
const LONGEST_NAME: usize = 63;
const LONGEST_BYTES: usize = 128;
const SHORTEST_LIFE: SignedDuration = SignedDuration::from_secs(60);
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(876_000);
const SHORTEST_DELAY: SignedDuration = SignedDuration::from_hours(24);
const LONGEST_DELAY: SignedDuration = SignedDuration::from_hours(24_000);

/// What the local cloud has no part behind: nothing notifies, rotates or encrypts here.
pub(super) const NOT_KEPT: [&str; 5] = ["topics", "rotation", "customerManagedEncryption", "secretType", "tags"];

/// None of `names` is set.
pub(super) fn supported(body: &Map<String, Value>, names: &[&str]) -> Result<(), Status> {
    match names.iter().find(|name| body.contains_key(**name)) {
        Some(name) => Err(unsupported(&format!("Secret.{name}"))),
        None => Ok(()),
    }
}

fn unsupported(what: &str) -> Status {
    Status::new(Code::Unimplemented, format!("The local cloud does not support {what}."))
}

/// <https://cloud.google.com/secret-manager/docs/choosing-replication>
pub(super) fn replication(given: &Value) -> Result<(), Status> {
    let replicas = match (given.get("automatic"), given.get("userManaged")) {
        (None, None) => return Err(Status::invalid("Secret.replication must be provided.")),
        (Some(_), Some(_)) => {
            return Err(Status::invalid(
                "Invalid value at 'secret.replication' (oneof), oneof field 'replication' is already set. Cannot set 'userManaged'",
            ));
        }
        (Some(automatic), None) => return encryption("automatic", automatic),
        (None, Some(managed)) => managed["replicas"].as_array().map(Vec::as_slice).unwrap_or_default(),
    };
    if replicas.is_empty() {
        return Err(Status::invalid("Secret.replication.user_managed.replicas must be provided."));
    }
    let mut locations = BTreeSet::new();
    for replica in replicas {
        encryption("userManaged.replicas", replica)?;
        let location = replica["location"].as_str().unwrap_or_default();
        let good = location.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if location.is_empty() || !good || !locations.insert(location) {
            return Err(Status::invalid(format!(
                "Secret.replication.user_managed.replicas.location [{location}] must be a location, and be there once."
            )));
        }
    }
    Ok(())
}

fn encryption(place: &str, given: &Value) -> Result<(), Status> {
    match given.get("customerManagedEncryption") {
        Some(_) => Err(unsupported(&format!("Secret.replication.{place}.customerManagedEncryption"))),
        None => Ok(()),
    }
}

/// It never changes.
pub(super) fn same_replication(stored: &Map<String, Value>, body: &Map<String, Value>) -> Result<(), Status> {
    if stored.get("replication") == body.get("replication") {
        return Ok(());
    }
    let kind = if stored.get("replication").is_some_and(|own| own.get("automatic").is_some()) {
        "automatic"
    } else {
        "user managed"
    };
    Err(Status::invalid(format!(
        "Existing secret has {kind} replication, but requested secret does not. Updating secret replication is not supported."
    )))
}

/// When the secret ends; `ttl` is the time until then.
pub(super) fn expiry(body: &Map<String, Value>, now: Timestamp) -> Result<Option<Timestamp>, Status> {
    let invalid = || Status::invalid("Request contains an invalid argument.");
    let end = match (body.get("ttl").and_then(Value::as_str), body.get("expireTime").and_then(Value::as_str)) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Status::invalid(
                "Invalid value at 'secret' (oneof), oneof field 'expiration' is already set. Cannot set 'expireTime'",
            ));
        }
        (Some(ttl), None) => now.checked_add(duration(ttl).ok_or_else(invalid)?).map_err(|_| invalid())?,
        (None, Some(time)) => time.parse().map_err(|_| {
            Status::invalid(
                "Invalid value at 'secret.expire_time' (type.googleapis.com/google.protobuf.Timestamp), Field 'expireTime', Illegal timestamp format; timestamps must end with 'Z' or have a valid timezone offset.",
            )
        })?,
    };
    let life = end.duration_since(now);
    if life < SHORTEST_LIFE {
        return Err(Status::invalid("Expiration time must be at least [1m] in the future."));
    }
    if life > LONGEST_LIFE {
        return Err(Status::invalid("Expiration time cannot be more than [876000h] from now."));
    }
    Ok(Some(end))
}

fn duration(text: &str) -> Option<SignedDuration> {
    SignedDuration::try_from_secs_f64(duration_seconds(text)?).ok()
}

/// How long a destruction is put off.
pub(super) fn destroy_delay(fields: &Map<String, Value>) -> Result<Option<SignedDuration>, Status> {
    let Some(text) = fields.get("versionDestroyTtl").and_then(Value::as_str) else {
        return Ok(None);
    };
    let delay = duration(text).ok_or_else(|| Status::invalid("Request contains an invalid argument."))?;
    if delay < SHORTEST_DELAY {
        return Err(Status::invalid("Version destroy TTL must be at least [24h]."));
    }
    if delay > LONGEST_DELAY {
        return Err(Status::invalid("Version destroy TTL cannot be more than [24000h]."));
    }
    Ok(Some(delay))
}

/// All of a secret's fields that a caller may change, of a secret with so many versions.
pub(super) fn fields(fields: &Map<String, Value>, versions: usize) -> Result<(), Status> {
    labels(&texts(fields, "labels"))?;
    annotations(&texts(fields, "annotations"))?;
    aliases(&texts(fields, "versionAliases"), versions)?;
    destroy_delay(fields).map(|_| ())
}

fn texts<'a>(fields: &'a Map<String, Value>, name: &str) -> Vec<(&'a str, &'a str)> {
    let entries = fields.get(name).and_then(Value::as_object).into_iter().flatten();
    entries.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())).collect()
}

fn labels(labels: &[(&str, &str)]) -> Result<(), Status> {
    if labels.len() > MOST_LABELS {
        let text =
            format!("Invalid field \"labels\"; at most {MOST_LABELS} entries allowed but found {}", labels.len());
        return Err(Status::invalid(text));
    }
    for (key, value) in labels {
        let starts = key.chars().next().is_some_and(is_label_letter);
        if let Some(why) = label_problem(key, starts, "character", r"[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}") {
            return Err(Status::invalid(format!("Invalid field \"labels\"; key \"{key}\" {why}")));
        }
        if let Some(why) = label_problem(value, true, "value", r"[\p{Ll}\p{Lo}\p{N}_-]{0,63}") {
            return Err(Status::invalid(format!("Invalid field \"labels.{key}\"; value \"{value}\" {why}")));
        }
    }
    Ok(())
}

fn is_label_letter(letter: char) -> bool {
    letter.is_alphabetic() && !letter.is_uppercase()
}

fn label_problem(text: &str, starts: bool, what: &str, pattern: &str) -> Option<String> {
    if text.len() > LONGEST_BYTES {
        return Some(format!("exceeds maximum byte length {LONGEST_BYTES}"));
    }
    if text.chars().count() > LONGEST_NAME {
        return Some(format!("exceeds maximum {what} length {LONGEST_NAME}"));
    }
    let known =
        text.chars().all(|letter| is_label_letter(letter) || letter.is_numeric() || matches!(letter, '_' | '-'));
    (!starts || !known).then(|| format!("does not conform to regular expression \"{pattern}\""))
}

fn annotations(annotations: &[(&str, &str)]) -> Result<(), Status> {
    for (key, _) in annotations {
        let ends = key.starts_with(|first: char| first.is_ascii_alphanumeric())
            && key.ends_with(|last: char| last.is_ascii_alphanumeric());
        let known = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !ends || !known || key.len() > LONGEST_NAME {
            return Err(Status::invalid(format!(
                r"[{key}] must follow pattern [a-z0-9A-Z]+([_\.\-]*[a-z0-9A-Z]+)*), be less than 64 characters, and must have a UTF encoding of less than 128 bytes"
            )));
        }
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > LARGEST_ANNOTATIONS {
        return Err(Status::invalid("Annotation map must not exceed 16kib."));
    }
    Ok(())
}

/// <https://cloud.google.com/secret-manager/docs/assign-alias-to-secret-version>; a destroyed version keeps its alias.
fn aliases(aliases: &[(&str, &str)], versions: usize) -> Result<(), Status> {
    if aliases.len() > MOST_ALIASES {
        return Err(Status::invalid("No more than 50 aliases can be assgined to any given secret"));
    }
    for (alias, number) in aliases {
        let known = alias.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        let starts = alias.starts_with(|first: char| first.is_ascii_alphabetic());
        if !known || !starts || alias.len() > LONGEST_NAME || matches!(*alias, LATEST | "NEW") {
            return Err(Status::invalid(format!(
                "[{alias}] must follow pattern [a-zA-Z][a-Aa-Z0-9_-]+, be less than 64 characters and cannot be \"latest\" or \"NEW\""
            )));
        }
        if !number.parse().is_ok_and(|number: usize| (1..=versions).contains(&number)) {
            return Err(Status::invalid("Aliases cannot be assigned to versions that don't exist"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn fields_that_google_refuses() {
        let many =
            |count: usize| -> Value { (0..count).map(|n| (format!("k{n}"), json!("1"))).collect::<Map<_, _>>().into() };
        for (given, text) in [
            (json!({ "labels": many(65) }), "Invalid field \"labels\"; at most 64 entries allowed but found 65"),
            (
                json!({ "labels": { "Team": "a" } }),
                r#"Invalid field "labels"; key "Team" does not conform to regular expression "[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}""#,
            ),
            (
                json!({ "labels": { "": "a" } }),
                r#"Invalid field "labels"; key "" does not conform to regular expression "[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}""#,
            ),
            (
                json!({ "labels": { "team": "a b" } }),
                r#"Invalid field "labels.team"; value "a b" does not conform to regular expression "[\p{Ll}\p{Lo}\p{N}_-]{0,63}""#,
            ),
            (
                json!({ "annotations": { "a.": "b" } }),
                r"[a.] must follow pattern [a-z0-9A-Z]+([_\.\-]*[a-z0-9A-Z]+)*), be less than 64 characters, and must have a UTF encoding of less than 128 bytes",
            ),
            (json!({ "annotations": { "a": "b".repeat(16 << 10) } }), "Annotation map must not exceed 16kib."),
            (json!({ "versionAliases": many(51) }), "No more than 50 aliases can be assgined to any given secret"),
            (
                json!({ "versionAliases": { "latest": "1" } }),
                "[latest] must follow pattern [a-zA-Z][a-Aa-Z0-9_-]+, be less than 64 characters and cannot be \"latest\" or \"NEW\"",
            ),
            (json!({ "versionAliases": { "prod": "3" } }), "Aliases cannot be assigned to versions that don't exist"),
            (json!({ "versionAliases": { "prod": "0" } }), "Aliases cannot be assigned to versions that don't exist"),
            (json!({ "versionDestroyTtl": "86399s" }), "Version destroy TTL must be at least [24h]."),
            (json!({ "versionDestroyTtl": "86400001s" }), "Version destroy TTL cannot be more than [24000h]."),
        ] {
            assert_eq!(fields(&object(given), 2).expect_err("refused").message, text);
        }
        let good = json!({
            "labels": { "team": "", "k-1_ä": "x_1" },
            "annotations": { "a.b-c_D": "any text, ü" },
            "versionAliases": { "prod": "2", "NEWER": "1" },
            "versionDestroyTtl": "86400s",
        });
        assert_eq!(fields(&object(good), 2), Ok(()));
    }

    #[test]
    fn replications() {
        for (given, code, text) in [
            (json!({}), Code::InvalidArgument, "Secret.replication must be provided."),
            (json!({ "userManaged": {} }), Code::InvalidArgument, "replicas must be provided"),
            (json!({ "automatic": {}, "userManaged": {} }), Code::InvalidArgument, "oneof"),
            (json!({ "userManaged": { "replicas": [{}] } }), Code::InvalidArgument, "must be a location"),
            (
                json!({ "userManaged": { "replicas": [{ "location": "us-east1" }, { "location": "us-east1" }] } }),
                Code::InvalidArgument,
                "be there once",
            ),
            (
                json!({ "automatic": { "customerManagedEncryption": {} } }),
                Code::Unimplemented,
                "customerManagedEncryption",
            ),
        ] {
            let refused = replication(&given).expect_err("refused");
            assert!(refused.code == code && refused.message.contains(text), "{given} {refused:?}");
        }
        let managed =
            json!({ "userManaged": { "replicas": [{ "location": "us-east1" }, { "location": "europe-west1" }] } });
        assert_eq!((replication(&json!({ "automatic": {} })), replication(&managed)), (Ok(()), Ok(())));
    }

    #[test]
    fn ends() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let end = |body: Value| expiry(&object(body), now).map_err(|status| status.message);
        let at = |text: &str| Ok(Some(text.parse().expect("a time")));
        assert_eq!(end(json!({})), Ok(None));
        assert_eq!(end(json!({ "ttl": "60s" })), at("2026-01-01T00:01:00Z"));
        assert_eq!(end(json!({ "expireTime": "2026-01-02T01:00:00+01:00" })), at("2026-01-02T00:00:00Z"));
        for (body, text) in [
            (json!({ "ttl": "59s" }), "Expiration time must be at least [1m] in the future."),
            (json!({ "expireTime": "2025-01-02T00:00:00Z" }), "Expiration time must be at least [1m] in the future."),
            (json!({ "ttl": "3153600001s" }), "Expiration time cannot be more than [876000h] from now."),
        ] {
            assert_eq!(end(body), Err(text.to_owned()));
        }
        for body in [json!({ "ttl": "60s", "expireTime": "2026-01-02T00:00:00Z" }), json!({ "expireTime": "tomorrow" })]
        {
            assert!(end(body).is_err());
        }
    }
}
