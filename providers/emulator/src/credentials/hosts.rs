//! Which requests are those of credential flows: by host name, and on a loopback name by a path that is nobody else's.
use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;

use super::{Credentials, github, issuer::Issuer, metadata, refusal::Refusal, rsa::Failed};
use crate::{faults::Service, server::dispatch::is_loopback};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `oauth2.googleapis.com`, and its older names.
    OAuth,
    Sts,
    Metadata,
    /// A job of GitHub's asks for its token.
    GitHubJob,
    Discovery(Who),
    Keys(Who),
    /// One of these hosts, and no path of it.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Google,
    GitHub,
    GitLab,
}

const DISCOVERY: &str = "/.well-known/openid-configuration";

impl Endpoint {
    /// What faults call it.
    pub(crate) fn service(self) -> Option<Service> {
        match self {
            Self::OAuth => Some(Service::OAuth2),
            Self::Sts => Some(Service::Sts),
            Self::Metadata => Some(Service::Metadata),
            Self::GitHubJob => Some(Service::GitHub),
            Self::Discovery(_) | Self::Keys(_) | Self::Nothing => None,
        }
    }

    /// Whether a name is one of these hosts, whatever the path.
    pub(crate) fn is_host(host: &str) -> bool {
        !is_loopback(host) && Self::of(host, "", &HeaderMap::new()).is_some()
    }

    /// `host` is without a port.
    pub(crate) fn of(host: &str, path: &str, headers: &HeaderMap) -> Option<Self> {
        let one = |found: Option<Self>| Some(found.unwrap_or(Self::Nothing));
        match host {
            "oauth2.googleapis.com" => one((path == "/token").then_some(Self::OAuth)),
            "sts.googleapis.com" => one((path == "/v1/token").then_some(Self::Sts)),
            "metadata.google.internal" | "metadata" | "169.254.169.254" => Some(Self::Metadata),
            github::HOST => one(path.ends_with(github::PATH).then_some(Self::GitHubJob)),
            "accounts.google.com" => one(match path {
                "/o/oauth2/token" => Some(Self::OAuth),
                DISCOVERY => Some(Self::Discovery(Who::Google)),
                _ => None,
            }),
            "www.googleapis.com" => one(match path {
                "/oauth2/v4/token" => Some(Self::OAuth),
                "/oauth2/v3/certs" => Some(Self::Keys(Who::Google)),
                _ => None,
            }),
            "token.actions.githubusercontent.com" => one(match path {
                DISCOVERY => Some(Self::Discovery(Who::GitHub)),
                "/.well-known/jwks" => Some(Self::Keys(Who::GitHub)),
                _ => None,
            }),
            "gitlab.com" => one(match path {
                DISCOVERY => Some(Self::Discovery(Who::GitLab)),
                "/oauth/discovery/keys" => Some(Self::Keys(Who::GitLab)),
                _ => None,
            }),
            "127.0.0.1" | "localhost" | "[::1]" => match path {
                "/token" => Some(Self::OAuth),
                "/v1/token" => Some(Self::Sts),
                "/oauth2/v3/certs" => Some(Self::Keys(Who::Google)),
                "/.well-known/jwks" => Some(Self::Keys(Who::GitHub)),
                "/oauth/discovery/keys" => Some(Self::Keys(Who::GitLab)),
                // How clients look whether there is one.
                "/" if headers.contains_key(metadata::FLAVOR) => Some(Self::Metadata),
                _ if path.starts_with("/computeMetadata/") => Some(Self::Metadata),
                _ if path.ends_with(github::PATH) && path.contains("/_apis/") => Some(Self::GitHubJob),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Credentials {
    /// `host` is as the request has it, with its port.
    pub(crate) async fn answer(&self, endpoint: Endpoint, host: &str, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let wanted = match endpoint {
            Endpoint::OAuth | Endpoint::Sts => Method::POST,
            _ => Method::GET,
        };
        if endpoint == Endpoint::Metadata {
            return self.metadata(&parts).await;
        }
        if endpoint == Endpoint::Nothing || parts.method != wanted {
            return not_found();
        }
        match endpoint {
            Endpoint::OAuth => {
                let own = format!("http://{host}{}", parts.uri.path());
                secret(self.token(&own, &parts.headers, body).await)
            }
            Endpoint::Sts => secret(self.exchange(&parts.headers, body).await),
            Endpoint::GitHubJob => {
                let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                match self.job_token(authorization, parts.uri.query().unwrap_or_default()).await {
                    Ok(Some(answer)) => Json(answer).into_response(),
                    Ok(None) => StatusCode::UNAUTHORIZED.into_response(),
                    Err(failed) => Refusal::from(failed).into_response(),
                }
            }
            Endpoint::Discovery(who) => Json(self.issuer(who).discovery()).into_response(),
            Endpoint::Keys(who) => public(self.issuer(who).keys().await),
            Endpoint::Metadata | Endpoint::Nothing => not_found(),
        }
    }

    fn issuer(&self, who: Who) -> &Issuer {
        match who {
            Who::Google => &self.issuers.google,
            Who::GitHub => &self.issuers.github,
            Who::GitLab => &self.issuers.gitlab,
        }
    }
}

/// Nobody keeps an answer with a token: <https://www.rfc-editor.org/rfc/rfc6749#section-5.1>
fn secret(answer: Result<Value, Refusal>) -> Response {
    match answer {
        Ok(answer) => {
            ([(header::CACHE_CONTROL, "no-cache, no-store, max-age=0, must-revalidate")], Json(answer)).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn public(answer: Result<Value, Failed>) -> Response {
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(failed) => Refusal::from(failed).into_response(),
    }
}

fn not_found() -> Response {
    let page = "<html><title>Error 404 (Not Found)!!1</title><p><b>404.</b> That’s an error.</html>\n";
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/html; charset=UTF-8")], page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_an_apis_own_is_no_endpoint() {
        let plain = HeaderMap::new();
        let of = |host: &str, path: &str| Endpoint::of(host, path, &plain);
        assert_eq!(of("127.0.0.1", "/token"), Some(Endpoint::OAuth));
        assert_eq!(of("oauth2.googleapis.com", "/other"), Some(Endpoint::Nothing));
        assert_eq!(of("localhost", "/v1/token"), Some(Endpoint::Sts));
        for path in ["/", "/v2/projects/p/locations/l/services", "/idtoken", "/.well-known/openid-configuration"] {
            assert_eq!(of("127.0.0.1", path), None, "{path}");
        }
        assert_eq!(of("run.googleapis.com", "/token"), None);
        let mut flavored = HeaderMap::new();
        flavored.insert(metadata::FLAVOR, http::HeaderValue::from_static("Google"));
        assert_eq!(Endpoint::of("127.0.0.1", "/", &flavored), Some(Endpoint::Metadata));
    }
}
