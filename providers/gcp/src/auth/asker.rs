//! Requests for tokens, over the one client, and what their refusals mean.
use std::time::Duration;

use carrack_core::{Error, ErrorKind, Result, event::Ctx};
use carrack_http::{
    Body, Client, Request, Response,
    client::kind_of,
    endpoint::{authority, is_loopback},
};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use reqwest::{
    Method, Url,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::form_urlencoded;

/// Token services answer in little.
const LONGEST_ANSWER: usize = 1 << 20;
/// For one attempt.
const PATIENCE: Duration = Duration::from_secs(20);
/// Google takes a signed token that is not older and not newer than a few minutes.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Who asks, and on whose behalf. A way is asked by gcp_auth's trait, which hands down no context.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) http: Client,
    pub(super) cx: Ctx,
}

impl Asker {
    pub(super) fn new(http: Client, cx: Ctx) -> Self {
        Self { http, cx }
    }

    /// Sends a form as OAuth has it, and gives the answer. Asking twice does no harm.
    pub(super) async fn form<T: DeserializeOwned>(&self, url: &str, pairs: &[(&str, &str)]) -> Result<T> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = Request::new(Method::POST, url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .body(Body::Bytes(form.into()))
            .classify(refused)
            .idempotent();
        self.ask(request).await
    }

    /// Sends a request of any form for JSON.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        let answer = self.send(request).await?;
        answer.json().map_err(|e| {
            // What serde says may quote what it read.
            Error::new(ErrorKind::Unavailable, format!("{} answered with something unexpected", answer.request.url))
                .with_request(e.request().cloned().unwrap_or_else(|| answer.request.clone()))
        })
    }

    pub(super) async fn send(&self, request: Request) -> Result<Response> {
        let request = request.timeout(Some(PATIENCE)).at_most(LONGEST_ANSWER);
        self.http.send(&self.cx, request).await
    }
}

/// Secrets go only to where nobody listens on the way.
pub(super) fn is_private(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)))
}

/// Reads `{"error":"invalid_grant","error_description":"…"}`:
/// <https://www.rfc-editor.org/rfc/rfc6749#section-5.2>.
pub(super) fn refused(response: &Response) -> Error {
    let host = Url::parse(&response.request.url).map(|url| authority(&url)).unwrap_or_default();
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let kind = match kind_of(response.status) {
        ErrorKind::Unclassified | ErrorKind::PermissionDenied => ErrorKind::Unauthenticated,
        kind => kind,
    };
    let Some(code) = body["error"].as_str() else {
        return crate::error::classify(response).with_kind(kind);
    };
    let said =
        body["error_description"].as_str().map_or_else(String::new, |text| format!(": {}", text.trim_end_matches('.')));
    let does = if kind == ErrorKind::Unauthenticated { "refuses the credentials" } else { "gives no token" };
    let error = Error::new(kind, format!("{host} {does}{said} ({code})"));
    match skew(response).filter(|_| kind == ErrorKind::Unauthenticated) {
        Some(skew) => error.hint(skew),
        None => error,
    }
}

/// How far this machine's clock is from the server's, where that may be why.
fn skew(response: &Response) -> Option<String> {
    let theirs = rfc2822::DateTimeParser::new().parse_timestamp(response.header("date")?).ok()?;
    let ahead = theirs.duration_until(Timestamp::now());
    (ahead.abs() > SKEW).then(|| {
        let by = words(ahead.abs());
        let direction = if ahead.is_positive() { "ahead of" } else { "behind" };
        format!("this machine's clock is {by} {direction} the server's: set it (`date -u` shows it)")
    })
}

/// To the minute.
fn words(duration: SignedDuration) -> String {
    let minutes = (duration.as_secs() + 30) / 60;
    match (minutes / 60, minutes % 60) {
        (0, 1) => "1 minute".to_owned(),
        (0, minutes) => format!("{minutes} minutes"),
        (1, 0) => "1 hour".to_owned(),
        (hours, 0) => format!("{hours} hours"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_https_or_stay_on_this_machine() {
        for url in
            ["https://oauth2.googleapis.com/token", "http://127.0.0.1:80/t", "http://[::1]/t", "http://localhost/"]
        {
            assert!(is_private(url), "{url}");
        }
        for url in ["http://oauth2.googleapis.com/token", "http://127.0.0.1.evil.example/", "ftp://127.0.0.1/", "token"]
        {
            assert!(!is_private(url), "{url}");
        }
    }

    #[test]
    fn a_difference_is_told_to_the_minute() {
        let told = |seconds| words(SignedDuration::from_secs(seconds));
        assert_eq!(
            [61, 600, 3600, 7200, 5400].map(told),
            ["1 minute", "10 minutes", "1 hour", "2 hours", "1 h 30 min"]
        );
    }
}
