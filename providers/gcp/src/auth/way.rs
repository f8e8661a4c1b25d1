//! What every way gives, in the words of gcp_auth and back in ours.
use std::{fmt, sync::Arc};

use async_trait::async_trait;
use carrack_core::{Error, ErrorKind, Result};
use carrack_http::{Identity, Token};
use gcp_auth::TokenProvider;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

/// For a token whose end is not known: gcp_auth's have one.
const ENDLESS: u64 = 100 * 365 * 24 * 60 * 60;

/// One way to tokens. It holds none: the one cache is in carrack-http.
#[async_trait]
pub(super) trait Way: TokenProvider + fmt::Debug {
    /// Whose credentials these are, as far as it is known by now.
    fn identity(&self) -> Identity;
    /// Who the tokens speak for, where that is known by now.
    fn principal(&self) -> Option<&str>;
    /// A token that says who this is to `audience`.
    async fn id_token(&self, audience: &str) -> Result<Token>;
    /// Whether there may be another token in place of one that was refused.
    fn has_more(&self) -> bool;
    /// What to do when its tokens are refused.
    fn remedy(&self) -> &str;
}

/// A token in gcp_auth's form, which has no other constructor. Every access token passes here, whoever gave it: one that
/// fits into no header, or that ends later than gcp_auth can count, is refused.
pub(super) fn to_library(value: &str, seconds: Option<u64>) -> Result<Arc<gcp_auth::Token>, gcp_auth::Error> {
    let unexpected =
        |what: &str| outward(Error::new(ErrorKind::Unavailable, format!("what was given for an access token {what}")));
    if value.trim().is_empty() {
        return Err(unexpected("is empty"));
    }
    if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(unexpected("has characters that no token has"));
    }
    let seconds = seconds.unwrap_or(ENDLESS);
    if seconds > ENDLESS {
        return Err(unexpected(&format!("would be good for {seconds} seconds, which is unexpected")));
    }
    serde_json::from_value(json!({ "access_token": value, "expires_in": seconds }))
        .map(Arc::new)
        .map_err(|e| outward(Error::new(ErrorKind::Internal, "a token could not be kept").with_source(e)))
}

pub(super) fn from_library(token: &gcp_auth::Token) -> Token {
    let end = Timestamp::from_second(token.expires_at().timestamp()).ok();
    let half = SignedDuration::from_secs((ENDLESS / 2).cast_signed());
    Token::new(token.as_str(), end.filter(|end| Timestamp::now().duration_until(*end) < half))
}

/// Our error, as gcp_auth carries it.
pub(super) fn outward(error: Error) -> gcp_auth::Error {
    gcp_auth::Error::Other("no token", Box::new(error))
}

/// And back.
pub(super) fn inward(error: gcp_auth::Error) -> Error {
    let unclear = |cause: gcp_auth::Error| {
        Error::new(ErrorKind::Unauthenticated, "Google gave no access token").with_source(cause)
    };
    match error {
        gcp_auth::Error::Other(text, cause) => match cause.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(cause) => unclear(gcp_auth::Error::Other(text, cause)),
        },
        other => unclear(other),
    }
}

/// Of a way that knows no project.
pub(super) fn no_project() -> gcp_auth::Error {
    gcp_auth::Error::Str("these credentials name no project")
}
