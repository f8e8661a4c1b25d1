//! Who is asking: the challenge, the token exchange, and the question to the cloud's own rule.
use axum::{
    Json,
    http::{StatusCode, header, request::Parts},
    response::IntoResponse,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{Answer, Face, Repository, text_header};
use crate::{
    registry::error::{Code, Failure},
    registry_access::{Action, Denied},
};

/// The user name that makes a password an access token.
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication#token>
const TOKEN_USER: &str = "oauth2accesstoken";

impl Face {
    pub(super) fn base(&self, parts: &Parts) -> Answer {
        self.allow(parts, None, Action::Pull)?;
        Ok(Json(json!({})).into_response())
    }

    /// Gives back the token that came as a password: it is the bearer token already.
    /// <https://distribution.github.io/distribution/spec/auth/token/>
    pub(super) fn token(&self, parts: &Parts) -> Answer {
        self.allow(parts, None, Action::Pull)?;
        let Some(token) = text_header(&parts.headers, &header::AUTHORIZATION).and_then(token_of) else {
            return Err(Failure::new(
                StatusCode::UNAUTHORIZED,
                Code::Unauthorized,
                format!("a token is given for Basic credentials of the user `{TOKEN_USER}`"),
            )
            .header(header::WWW_AUTHENTICATE, format!("Basic realm=\"{}\"", self.service(parts))));
        };
        Ok(Json(json!({ "token": token, "access_token": token, "expires_in": 3600 })).into_response())
    }

    /// `repository` = `None` for what belongs to none.
    pub(super) fn allow(&self, parts: &Parts, repository: Option<&Repository>, action: Action) -> Result<(), Failure> {
        match self.check(parts, repository.map_or("", |repository| &repository.stored), action) {
            Ok(()) => Ok(()),
            Err(Denied::Forbidden { message }) => Err(Failure::new(StatusCode::FORBIDDEN, Code::Denied, message)),
            Err(Denied::Unauthenticated) => {
                Err(Failure::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, "authentication required")
                    .header(header::WWW_AUTHENTICATE, self.challenge(parts, repository, action)))
            }
        }
    }

    pub(super) fn check(&self, parts: &Parts, stored: &str, action: Action) -> Result<(), Denied> {
        let authorization = text_header(&parts.headers, &header::AUTHORIZATION);
        self.access.check(self.prefix.as_deref(), authorization, stored, action)
    }

    fn challenge(&self, parts: &Parts, repository: Option<&Repository>, action: Action) -> String {
        let service = self.service(parts);
        // A cloud's name is https to the client, whatever carries it here.
        let scheme = if self.prefix.is_some() { "https" } else { "http" };
        let mut challenge = format!("Bearer realm=\"{scheme}://{service}/v2/token\",service=\"{service}\"");
        if let Some(repository) = repository {
            let actions = match action {
                Action::Pull => "pull",
                Action::Push => "pull,push",
                Action::Delete => "delete",
            };
            challenge.push_str(&format!(",scope=\"repository:{}:{actions}\"", repository.shown));
        }
        challenge
    }

    fn service(&self, parts: &Parts) -> String {
        if let Some(prefix) = &self.prefix {
            return prefix.clone();
        }
        // Only what a host can be, since it goes into a quoted string.
        text_header(&parts.headers, &header::HOST)
            .or(parts.uri.authority().map(|authority| authority.as_str()))
            .filter(|host| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte)))
            .unwrap_or("localhost")
            .to_owned()
    }
}

fn token_of(authorization: &str) -> Option<String> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    (user == TOKEN_USER && !password.is_empty()).then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_token_out_of_basic_credentials() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(token_of(&basic("oauth2accesstoken:ya29.a:b")).as_deref(), Some("ya29.a:b"));
        for other in [
            basic("oauth2accesstoken:"),
            basic("me:secret"),
            basic("x"),
            "Bearer x".to_owned(),
            "Basic %".to_owned(),
            String::new(),
        ] {
            assert_eq!(token_of(&other), None, "{other}");
        }
    }
}
