//! What was posted to an OAuth endpoint: a form, or JSON where the endpoint takes that too.
use std::collections::BTreeMap;

use axum::body::Body;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use zeroize::Zeroize;

use super::refusal::Refusal;

/// An assertion is a few KiB.
const LARGEST_BODY: usize = 256 << 10;

/// Parameters by their name, with `_`. They are erased at the end: each may be a credential.
#[derive(Default)]
pub(super) struct Form(BTreeMap<String, String>);

impl Drop for Form {
    fn drop(&mut self) {
        self.0.values_mut().for_each(Zeroize::zeroize);
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl Form {
    /// `json` when the endpoint takes both: <https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>
    pub(super) async fn read(headers: &HeaderMap, body: Body, json: bool) -> Result<Self, Refusal> {
        let unreadable = |_| Refusal::invalid_request("Request body cannot be read.");
        let bytes = Limited::new(body, LARGEST_BODY).collect().await.map_err(unreadable)?.to_bytes();
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/json" if json => Self::of_json(&bytes),
            "application/x-www-form-urlencoded" | "" => Self::of_form(&bytes),
            other => Err(Refusal::invalid_request(format!("Unsupported content type: {other}"))),
        }
    }

    fn of_form(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut form = Self::default();
        for (name, value) in url::form_urlencoded::parse(bytes) {
            form.add(name.into_owned(), value.into_owned())?;
        }
        Ok(form)
    }

    fn of_json(bytes: &[u8]) -> Result<Self, Refusal> {
        let malformed = || Refusal::invalid_request("Invalid JSON payload received.");
        let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else { return Err(malformed()) };
        let mut form = Self::default();
        for (name, value) in fields {
            let Value::String(value) = value else { return Err(malformed()) };
            form.add(crate::gcp::schema::snake(&name), value)?;
        }
        Ok(form)
    }

    /// <https://www.rfc-editor.org/rfc/rfc6749#section-3.2>: none more than once.
    fn add(&mut self, name: String, value: String) -> Result<(), Refusal> {
        match self.0.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(Refusal::invalid_request("A parameter is included more than once.")),
        }
    }

    /// One without a value is as one that is not there.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::invalid_request(format!("Missing required parameter: {name}")))
    }
}
