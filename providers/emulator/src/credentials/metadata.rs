//! The metadata server, as a machine in the cloud sees it at `metadata.google.internal`.
//!
//! <https://cloud.google.com/compute/docs/metadata/querying-metadata>
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use serde_json::json;

use super::{
    Credentials,
    oauth::{EXPIRES_IN, LIFE},
};
use crate::{gcp::project::number, iam::Member};

pub(super) const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");
const GOOGLE: HeaderValue = HeaderValue::from_static("Google");
const ROOT: &str = "/computeMetadata/v1/";
/// Of the machine that asks: that of `carrack deploy --local`.
const PROJECT: &str = "local";
const REGION: &str = "us-central1";
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email"];

/// The account that a machine has unless another one is chosen:
/// <https://cloud.google.com/compute/docs/access/service-accounts#default_service_account>
pub(super) fn account() -> String {
    format!("{}-compute@developer.gserviceaccount.com", number(PROJECT))
}

impl Credentials {
    pub(super) async fn metadata(&self, parts: &Parts) -> Response {
        let mut response = self.metadata_answer(parts).await;
        let headers = response.headers_mut();
        headers.insert(FLAVOR, GOOGLE);
        headers.insert(header::SERVER, HeaderValue::from_static("Metadata Server for VM"));
        response
    }

    async fn metadata_answer(&self, parts: &Parts) -> Response {
        if parts.method != Method::GET {
            return StatusCode::METHOD_NOT_ALLOWED.into_response();
        }
        let path = parts.uri.path();
        if path == "/" {
            return text("computeMetadata/\n".to_owned());
        }
        // Whatever a proxy or a page forwards must not get a token.
        if let Some(why) = forged(&parts.headers) {
            let text = format!(
                "Your client does not have permission to get URL <code>{path}</code> from this server. {why}\n"
            );
            return (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "text/html; charset=UTF-8")], text).into_response();
        }
        let query = |wanted: &str| {
            let query = parts.uri.query().unwrap_or_default();
            let found = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
        };
        let Some(path) = path.strip_prefix(ROOT) else { return missing() };
        let email = account();
        let path = match path.split('/').collect::<Vec<_>>().as_slice() {
            ["instance", "service-accounts", name, rest @ ..] if *name == email => {
                format!("instance/service-accounts/default/{}", rest.join("/"))
            }
            _ => path.to_owned(),
        };
        let recursive = query("recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        match path.as_str() {
            "" => text("instance/\nproject/\nuniverse/\n".to_owned()),
            "project/project-id" => text(PROJECT.to_owned()),
            "project/numeric-project-id" => text(number(PROJECT)),
            "universe/universe-domain" | "universe/universe_domain" => text("googleapis.com".to_owned()),
            "instance/id" => text("1".to_owned()),
            "instance/region" => text(format!("projects/{}/regions/{REGION}", number(PROJECT))),
            "instance/zone" => text(format!("projects/{}/zones/{REGION}-1", number(PROJECT))),
            "instance/service-accounts/" => text(format!("default/\n{email}/\n")),
            "instance/service-accounts/default/" if recursive => {
                json_text(&json!({ "aliases": ["default"], "email": email, "scopes": SCOPES }))
            }
            "instance/service-accounts/default/" => text("aliases\nemail\nidentity\nscopes\ntoken\n".to_owned()),
            "instance/service-accounts/default/aliases" => text("default\n".to_owned()),
            "instance/service-accounts/default/email" => text(email),
            "instance/service-accounts/default/scopes" => text(format!("{}\n", SCOPES.join("\n"))),
            "instance/service-accounts/default/token" => {
                let token = self.iam.issue(Member::ServiceAccount(email), LIFE);
                json_text(&json!({ "access_token": token, "expires_in": EXPIRES_IN, "token_type": "Bearer" }))
            }
            "instance/service-accounts/default/identity" => match query("audience") {
                None => (StatusCode::BAD_REQUEST, "non-empty audience parameter required\n").into_response(),
                // https://cloud.google.com/compute/docs/instances/verifying-instance-identity#request_signature
                Some(audience) => {
                    let full = query("format").is_some_and(|format| format == "full");
                    match self.id_token(&email, &audience, full).await {
                        Ok(token) => text(token),
                        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                    }
                }
            },
            _ => missing(),
        }
    }
}

fn forged(headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(FORWARDED) {
        return Some("Requests with X-Forwarded-For are refused.");
    }
    if headers.get(FLAVOR) == Some(&GOOGLE) { None } else { Some("Missing Metadata-Flavor:Google header.") }
}

fn text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/text")], text).into_response()
}

fn json_text(value: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/html; charset=UTF-8")], "Error 404 (Not Found)\n")
        .into_response()
}
