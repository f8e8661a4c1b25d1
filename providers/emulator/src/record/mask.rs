//! What no recording has: tokens, and the payloads of secrets. Each keeps its type and its form, which are checked.
use std::mem;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// Four letters of base64 and four more, so that it stands for bytes too.
const HIDDEN: &str = "REDACTED";
/// What is shorter is in every text.
const SHORTEST: usize = 4;
/// Fields that hold a token or a key in one of Google's APIs, in lower case and without `_`.
const TOKENS: [&str; 15] = [
    "accesstoken",
    "actortoken",
    "assertion",
    "bearertoken",
    "clientsecret",
    "idtoken",
    "password",
    "privatekey",
    "privatekeydata",
    "refreshtoken",
    "signedblob",
    "signedjwt",
    "subjecttoken",
    "subtoken",
    "token",
];
/// <https://cloud.google.com/secret-manager/docs/reference/rest/v1/SecretPayload>
const PAYLOAD: &str = "payload";
const CHECKSUM: &str = "dataCrc32c";
/// Names that say nothing of a secret, where any other may be one.
const PLAIN: [&str; 4] = [PAYLOAD, "data", CHECKSUM, "data_crc32c"];
/// What else Secret Manager is sent: a secret's settings and policies. A text elsewhere is somebody's payload gone astray.
/// <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets>
const SETTINGS: [&str; 40] = [
    "annotations",
    "auditConfigs",
    "auditLogConfigs",
    "automatic",
    "bindings",
    "condition",
    "createTime",
    "customerManagedEncryption",
    "description",
    "etag",
    "exemptedMembers",
    "expireTime",
    "expression",
    "kmsKeyName",
    "labels",
    "location",
    "logType",
    "members",
    "name",
    "nextRotationTime",
    "permissions",
    "policy",
    "replicas",
    "replication",
    "role",
    "rotation",
    "rotationPeriod",
    "service",
    "tags",
    "title",
    "topics",
    "ttl",
    "updateMask",
    "userManaged",
    "version",
    "versionAliases",
    "versionDestroyTtl",
    "expire_time",
    "user_managed",
    "update_mask",
];
/// Whose keys are anybody's.
const MAPS: [&str; 4] = ["annotations", "labels", "tags", "versionAliases"];

/// How much of a call is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// What the names of fields say.
    Names,
    /// All that is sent to Secret Manager and is none of a secret's settings.
    Unknown,
    /// All that is sent: a new version.
    Sent,
    /// All that is answered: a version's payload.
    Answered,
}

/// With the values that were hidden so far.
#[derive(Debug)]
pub(super) struct Mask {
    reach: Reach,
    hidden: Vec<String>,
}

impl Mask {
    /// `hidden` is what is hidden elsewhere: the caller's token, parts of the query.
    pub(super) fn new(host: &str, path: &str, hidden: Vec<String>) -> Self {
        let path = percent_decode_str(path).decode_utf8_lossy();
        let verb = path.trim_end_matches('/').rsplit_once(':').map_or("", |(_, verb)| verb);
        let reach = if verb.eq_ignore_ascii_case("addVersion") {
            Reach::Sent
        } else if verb.eq_ignore_ascii_case("access") {
            Reach::Answered
        } else if host.to_ascii_lowercase().contains("secretmanager") || path.contains("/secrets") {
            Reach::Unknown
        } else {
            Reach::Names
        };
        Self { reach, hidden }
    }

    pub(super) fn hide_sent(&mut self, value: &mut Value) {
        match self.reach {
            Reach::Sent => self.blank(None, value),
            Reach::Unknown | Reach::Answered => self.hide_unknown(value),
            Reach::Names => {}
        }
        self.hide(value);
    }

    /// A refusal may repeat what it refuses.
    pub(super) fn hide_answered(&mut self, value: &mut Value, refused: bool) {
        if self.reach == Reach::Answered && !refused {
            match value.as_object_mut() {
                Some(fields) => {
                    fields.iter_mut().filter(|(name, _)| *name != "name").for_each(|(_, value)| self.blank(None, value))
                }
                None => self.blank(None, value),
            }
        }
        self.hide(value);
        if refused {
            self.hide_repeated(value);
        }
    }

    /// By the names of fields.
    fn hide(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let plain = name.to_ascii_lowercase().replace('_', "");
                    let token = TOKENS.contains(&plain.as_str()) && !value.is_object();
                    if name == PAYLOAD || token || value.as_str().is_some_and(is_signed_token) {
                        self.blank(Some(name), value);
                    } else {
                        self.hide(value);
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide(value)),
            Value::String(text) if is_signed_token(text) => self.blank(None, value),
            _ => {}
        }
    }

    /// Whatever has another name than a secret's settings have.
    fn hide_unknown(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if !SETTINGS.contains(&name.as_str()) {
                        self.blank(Some(name), value);
                    } else if !MAPS.contains(&name.as_str()) {
                        self.hide_unknown(value);
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide_unknown(value)),
            _ => {}
        }
    }

    /// What was hidden elsewhere, within any text.
    fn hide_repeated(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => fields
                .iter_mut()
                .filter(|(name, _)| !["@type", "status"].contains(&name.as_str()))
                .for_each(|(_, value)| self.hide_repeated(value)),
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide_repeated(value)),
            Value::String(text) => {
                // One may be a part of another.
                let mut hidden: Vec<_> = self.hidden.iter().filter(|hidden| hidden.len() >= SHORTEST).collect();
                hidden.sort_by_key(|hidden| std::cmp::Reverse(hidden.len()));
                for hidden in hidden {
                    *text = text.replace(hidden, HIDDEN);
                }
                // A short one, a part of one, or one in another spelling.
                if matches!(self.reach, Reach::Sent | Reach::Unknown)
                    && let (Some(first), Some(last)) = (text.find('"'), text.rfind('"'))
                    && first < last
                    && !PLAIN.contains(&&text[first + 1..last])
                {
                    text.replace_range(first + 1..last, HIDDEN);
                }
            }
            _ => {}
        }
    }

    fn blank(&mut self, name: Option<&str>, value: &mut Value) {
        let blank = match value {
            Value::Object(fields) => {
                for (name, mut value) in mem::take(fields) {
                    self.blank(Some(&name), &mut value);
                    let plain = PLAIN.contains(&name.as_str());
                    let mut shown = if plain { name.clone() } else { format!("({HIDDEN})") };
                    while fields.contains_key(&shown) {
                        shown.push('\'');
                    }
                    fields.insert(shown, value);
                    if !plain {
                        self.hidden.push(name);
                    }
                }
                return;
            }
            Value::Array(values) => return values.iter_mut().for_each(|value| self.blank(name, value)),
            Value::Null | Value::Bool(_) => return,
            Value::Number(_) => json!(0),
            Value::String(text) if name != Some("data") && text.parse::<i64>().is_ok() => json!("0"),
            Value::String(text) if STANDARD.decode(&*text).or_else(|_| URL_SAFE.decode(&*text)).is_ok() => {
                json!(HIDDEN)
            }
            Value::String(_) => json!(format!("({HIDDEN})")),
        };
        self.hidden.push(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        *value = blank;
    }
}

/// A JSON Web Token, whatever its field is called: GitHub's is a `value`.
fn is_signed_token(text: &str) -> bool {
    let mut parts = text.split('.');
    let header = parts.next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
    header.is_some_and(|header| serde_json::from_slice::<Value>(&header).is_ok_and(|header| header.is_object()))
        && parts.count() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "run.googleapis.com";
    const SECRETS: &str = "secretmanager.googleapis.com";

    #[test]
    fn secrets_and_tokens_are_hidden_and_keep_their_form() {
        let mut mask = Mask::new(RUN, "/v2/x", vec!["local-token".to_owned()]);
        let mut sent = json!({
            "payload": { "data": "aHVudGVyMg==", "dataCrc32c": "12345678", "foo": ["hunter2"] },
            "env": [{ "name": "A", "value": "kept" }],
            "tokens": [{ "accessToken": "ya29.abc" }],
            "pageToken": "kept too",
        });
        mask.hide_sent(&mut sent);
        assert_eq!(
            sent,
            json!({
                "payload": { "data": "REDACTED", "dataCrc32c": "0", "(REDACTED)": ["(REDACTED)"] },
                "env": [{ "name": "A", "value": "kept" }],
                "tokens": [{ "accessToken": "(REDACTED)" }],
                "pageToken": "kept too",
            })
        );
        let mut refused = json!({ "error": { "message": "no \"aHVudGVyMg==\", hunter2, ya29.abc, local-token" } });
        mask.hide_answered(&mut refused, true);
        assert_eq!(refused["error"]["message"], "no \"REDACTED\", REDACTED, REDACTED, REDACTED");
    }

    #[test]
    fn a_signed_token_is_hidden_by_whatever_name() {
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJtZSJ9.c2lnbmF0dXJl";
        let mut mask = Mask::new("pipelines.actions.githubusercontent.com", "/x/idtoken", vec![]);
        let mut answer = json!({ "count": 1, "value": token, "list": [token, "a.b.c", "10.0.0.1", "e30.x"] });
        mask.hide_answered(&mut answer, false);
        let shown = json!({ "count": 1, "value": "(REDACTED)", "list": ["(REDACTED)", "a.b.c", "10.0.0.1", "e30.x"] });
        assert_eq!(answer, shown);
        let mut refused = json!({ "error_description": format!("no {token}") });
        mask.hide_answered(&mut refused, true);
        assert_eq!(refused, json!({ "error_description": "no REDACTED" }));
    }

    #[test]
    fn of_a_new_version_nothing_is_kept_whatever_its_shape() {
        for (sent, shown) in [
            (json!({ "data": "aHVudGVyMg==" }), json!({ "data": "REDACTED" })),
            (json!({ "payload": { "data": "1234" } }), json!({ "payload": { "data": "REDACTED" } })),
            (json!({ "payloads": { "data": "hunter2!" } }), json!({ "(REDACTED)": { "data": "(REDACTED)" } })),
            (
                json!({ "payload": { "data": "aGk=" }, "extra": { "value": "hunter2!" } }),
                json!({ "payload": { "data": "REDACTED" }, "(REDACTED)": { "(REDACTED)": "(REDACTED)" } }),
            ),
            (json!({ "payload": { "k1": 1, "k2": 2 } }), json!({ "payload": { "(REDACTED)": 0, "(REDACTED)'": 0 } })),
            (json!(["hunter2!"]), json!(["(REDACTED)"])),
        ] {
            for (host, path) in [(SECRETS, "/v1/projects/p/secrets/s:addVersion"), ("127.0.0.1:1", "/s%3AaddVersion")] {
                let mut mask = Mask::new(host, path, vec![]);
                let mut masked = sent.clone();
                mask.hide_sent(&mut masked);
                assert_eq!(masked, shown);
            }
        }
        let mut mask = Mask::new(SECRETS, "/v1/projects/p/secrets/s:addVersion", vec![]);
        mask.hide_sent(&mut json!({ "payload": { "data": "abc", "hunter2": 1 } }));
        let mut refused =
            json!({ "message": "Base64 decoding failed for \"abc\"", "details": ["hunter2 at \"payload\""] });
        mask.hide_answered(&mut refused, true);
        assert_eq!(
            refused,
            json!({ "message": "Base64 decoding failed for \"REDACTED\"", "details": ["REDACTED at \"payload\""] })
        );
    }

    #[test]
    fn of_secret_managers_other_calls_only_settings_are_kept() {
        let mut mask = Mask::new(SECRETS, "/v1/projects/p/secrets", vec![]);
        let settings = json!({ "replication": { "userManaged": { "replicas": [{ "location": "us-central1" }] } },
            "labels": { "team": "a" }, "ttl": "3600s" });
        let mut sent = settings.clone();
        mask.hide_sent(&mut sent);
        assert_eq!(sent, settings);
        let mut sent = json!({ "replication": { "automatic": {}, "data": "aGk=" }, "value": ["hunter2!"] });
        mask.hide_sent(&mut sent);
        assert_eq!(sent, json!({ "replication": { "automatic": {}, "data": "REDACTED" }, "value": ["(REDACTED)"] }));
    }

    #[test]
    fn of_a_versions_payload_nothing_is_kept_whatever_its_shape() {
        let mut mask = Mask::new(SECRETS, "/v1/projects/p/secrets/s/versions/1:access", vec![]);
        let mut answer = json!({ "name": "projects/1/secrets/s/versions/1", "payload": { "data": "aGk=" },
            "data": ["hunter2!"], "other": { "hunter2": "hunter2!" } });
        mask.hide_answered(&mut answer, false);
        assert_eq!(
            answer,
            json!({ "name": "projects/1/secrets/s/versions/1", "payload": { "data": "REDACTED" },
                "data": ["(REDACTED)"], "other": { "(REDACTED)": "(REDACTED)" } })
        );
        let mut refused = json!({ "error": { "message": "Secret \"s\" not found" } });
        let same = refused.clone();
        mask.hide_answered(&mut refused, true);
        assert_eq!(refused, same);
    }
}
