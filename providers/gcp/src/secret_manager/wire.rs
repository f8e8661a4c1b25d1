//! What is sent and what is answered: <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets>.
use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use carrack_core::{
    Error, ErrorKind, Result,
    secret::{NewSecret, Secret, SecretValue, SecretVersion, VersionState},
};
use carrack_http::{Request, Response, request::Body};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireSecret {
    pub(super) name: String,
    #[serde(default)]
    create_time: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    replication: Replication,
    etag: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Replication {
    user_managed: UserManaged,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct UserManaged {
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    location: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireVersion {
    pub(super) name: String,
    #[serde(default)]
    create_time: String,
    state: WireState,
    etag: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum WireState {
    Enabled,
    Disabled,
    Destroyed,
}

/// The last part of a resource's name.
pub(super) fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

impl WireSecret {
    /// `shown` is how the caller names it.
    pub(super) fn neutral(self, shown: impl Into<String>) -> Secret {
        let locations = self.replication.user_managed.replicas.into_iter().map(|replica| replica.location);
        Secret {
            name: shown.into(),
            created: self.create_time,
            labels: self.labels,
            locations: locations.collect(),
            etag: self.etag,
        }
    }
}

impl WireVersion {
    pub(super) fn neutral(self) -> SecretVersion {
        SecretVersion {
            id: last(&self.name).to_owned(),
            created: self.create_time,
            state: match self.state {
                WireState::Enabled => VersionState::Enabled,
                WireState::Disabled => VersionState::Disabled,
                WireState::Destroyed => VersionState::Destroyed,
            },
            etag: self.etag,
        }
    }
}

/// <https://cloud.google.com/secret-manager/docs/choosing-replication>
pub(super) fn new_secret(new: &NewSecret) -> Value {
    let replication = if new.locations.is_empty() {
        json!({ "automatic": {} })
    } else {
        let replicas: Vec<_> = new.locations.iter().map(|location| json!({ "location": location })).collect();
        json!({ "userManaged": { "replicas": replicas } })
    };
    json!({ "replication": replication, "labels": new.labels })
}

/// With a body that is wiped when it was sent.
pub(super) fn with_payload(request: Request, value: &SecretValue) -> Request {
    let body = Body::Bytes(Bytes::from_owner(body(value)));
    request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body)
}

/// The value and its checksum: <https://cloud.google.com/secret-manager/docs/data-integrity>
fn body(value: &SecretValue) -> Zeroizing<Vec<u8>> {
    let data = Zeroizing::new(STANDARD.encode(value.expose()));
    let checksum = crc32c::crc32c(value.expose());
    // Nothing in base64 or a number needs an escape in JSON.
    Zeroizing::new(format!(r#"{{"payload":{{"data":"{}","dataCrc32c":"{checksum}"}}}}"#, *data).into_bytes())
}

#[derive(Deserialize)]
struct Accessed {
    name: String,
    payload: Payload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    #[serde(default)]
    data: String,
    data_crc32c: Option<String>,
}

/// The version's number and the value, when it is what its checksum says.
pub(super) fn payload(response: &Response) -> Result<(String, SecretValue)> {
    // serde's own words may repeat what is in the answer.
    let odd = |what: &str| {
        let text = format!("Secret Manager answered with {what}");
        Error::new(ErrorKind::Unclassified, text).with_request(response.request.clone())
    };
    let Ok(Accessed { name, payload }) = serde_json::from_slice(&response.body) else {
        return Err(odd("something unexpected in place of a value"));
    };
    let data = Zeroizing::new(payload.data);
    let bytes = STANDARD.decode(data.as_bytes()).map_err(|_| odd("a value that is not base64"))?;
    let value = SecretValue::new(bytes);
    match payload.data_crc32c {
        Some(said) if said == crc32c::crc32c(value.expose()).to_string() => Ok((last(&name).to_owned(), value)),
        Some(_) => Err(odd("a value that does not match its checksum")
            .with_kind(ErrorKind::Unavailable)
            .hint("run the command again: the value was changed on its way")),
        None => Err(odd("a value that has no checksum")),
    }
}

#[cfg(test)]
mod tests {
    use carrack_core::error::RequestInfo;
    use proptest::prelude::*;
    use reqwest::{StatusCode, header::HeaderMap};

    use super::*;

    fn answered(body: impl Into<Bytes>) -> Response {
        let request = RequestInfo {
            method: "GET".into(),
            url: "https://example.com/".into(),
            status: Some(200),
            request_id: None,
            attempts: 1,
        };
        Response { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into(), request }
    }

    fn sent(value: &SecretValue) -> Value {
        serde_json::from_slice(&body(value)).expect("JSON")
    }

    #[test]
    fn a_value_goes_with_its_checksum() {
        // The check value of CRC-32C: https://reveng.sourceforge.io/crc-catalogue/17plus.htm#crc.cat.crc-32-iscsi
        let payload = json!({ "data": "MTIzNDU2Nzg5", "dataCrc32c": "3808858755" });
        assert_eq!(sent(&SecretValue::new(b"123456789".to_vec())), json!({ "payload": payload }));
    }

    #[test]
    fn an_answer_that_is_not_what_its_checksum_says_is_no_value_and_is_not_repeated() {
        let read =
            |payload: Value| payload_of(&json!({ "name": "projects/1/secrets/s/versions/3", "payload": payload }));
        let (version, value) = read(json!({ "data": "aHVudGVy", "dataCrc32c": "211494455" })).expect("a value");
        assert_eq!((version.as_str(), value.expose()), ("3", &b"hunter"[..]));
        for payload in [
            json!({ "data": "aHVudGVy", "dataCrc32c": "1" }),
            json!({ "data": "aHVudGVy" }),
            json!({ "data": "aHVudGVy!", "dataCrc32c": "1" }),
            json!({ "data": ["aHVudGVy"] }),
            json!("aHVudGVy"),
        ] {
            let error = read(payload).expect_err("refused");
            assert!(!format!("{error} {error:?}").contains("aHVudGVy"), "{error:?}");
        }
    }

    fn payload_of(answer: &Value) -> Result<(String, SecretValue)> {
        payload(&answered(answer.to_string()))
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_as_they_were_sent(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut answer = sent(&SecretValue::new(bytes.clone()));
            answer["name"] = json!("projects/1/secrets/s/versions/1");
            let (_, value) = payload_of(&answer).expect("a value");
            prop_assert_eq!(value.expose(), bytes.as_slice());
        }
    }
}
