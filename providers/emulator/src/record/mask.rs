//! What no recording has: tokens, and the payloads of secrets. Each keeps its type and its form, which are checked.
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use serde_json::{Value, json};

/// Four letters of base64 and four more, so that it stands for bytes too.
const HIDDEN: &str = "REDACTED";
/// What is shorter is in every text.
const SHORTEST: usize = 4;
/// Fields that hold a token or a key in one of Google's APIs.
const TOKENS: [&str; 12] = [
    "access_token",
    "accessToken",
    "client_secret",
    "clientSecret",
    "id_token",
    "idToken",
    "password",
    "private_key",
    "privateKeyData",
    "refresh_token",
    "refreshToken",
    "token",
];
/// <https://cloud.google.com/secret-manager/docs/reference/rest/v1/SecretPayload>
const PAYLOAD: &str = "payload";

/// With the values that were hidden so far.
#[derive(Debug)]
pub(super) struct Mask {
    hidden: Vec<String>,
}

impl Mask {
    /// `token` is the caller's.
    pub(super) fn new(token: Option<String>) -> Self {
        Self { hidden: token.into_iter().collect() }
    }

    /// By the names of fields.
    pub(super) fn hide(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if name == PAYLOAD || (TOKENS.contains(&name.as_str()) && !value.is_object()) {
                        self.blank(value);
                    } else {
                        self.hide(value);
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide(value)),
            _ => {}
        }
    }

    /// What was hidden elsewhere, within any text.
    pub(super) fn hide_repeated(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => fields.values_mut().for_each(|value| self.hide_repeated(value)),
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide_repeated(value)),
            Value::String(text) => {
                for hidden in self.hidden.iter().filter(|hidden| hidden.len() >= SHORTEST) {
                    *text = text.replace(hidden, HIDDEN);
                }
            }
            _ => {}
        }
    }

    fn blank(&mut self, value: &mut Value) {
        let blank = match value {
            Value::Object(fields) => return fields.values_mut().for_each(|value| self.blank(value)),
            Value::Array(values) => return values.iter_mut().for_each(|value| self.blank(value)),
            Value::Null | Value::Bool(_) => return,
            Value::Number(_) => json!(0),
            Value::String(text) if text.parse::<i64>().is_ok() => json!("0"),
            Value::String(text) if STANDARD.decode(&*text).or_else(|_| URL_SAFE.decode(&*text)).is_ok() => {
                json!(HIDDEN)
            }
            Value::String(_) => json!(format!("({HIDDEN})")),
        };
        self.hidden.push(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        *value = blank;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_tokens_are_hidden_and_keep_their_form() {
        let mut mask = Mask::new(Some("local-token".to_owned()));
        let mut sent = json!({
            "payload": { "data": "aHVudGVyMg==", "dataCrc32c": "12345678", "foo": ["hunter2"] },
            "env": [{ "name": "A", "value": "kept" }],
            "tokens": [{ "accessToken": "ya29.abc" }],
            "pageToken": "kept too",
        });
        mask.hide(&mut sent);
        assert_eq!(
            sent,
            json!({
                "payload": { "data": "REDACTED", "dataCrc32c": "0", "foo": ["(REDACTED)"] },
                "env": [{ "name": "A", "value": "kept" }],
                "tokens": [{ "accessToken": "(REDACTED)" }],
                "pageToken": "kept too",
            })
        );
        let mut refused = json!({ "error": { "message": "no \"aHVudGVyMg==\", hunter2, ya29.abc, local-token" } });
        mask.hide_repeated(&mut refused);
        assert_eq!(refused["error"]["message"], "no \"REDACTED\", REDACTED, REDACTED, REDACTED");
    }
}
