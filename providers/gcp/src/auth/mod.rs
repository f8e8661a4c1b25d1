//! Where Google's tokens come from: one chooser over every way, each behind gcp_auth's `TokenProvider`.
//!
//! | module | what it holds |
//! |---|---|
//! | `surroundings` | what the ways are found by: variables, the file's settings |
//! | `choose` | their order |
//! | `source` | the chosen way as the one source of tokens |
//! | `way` | what every way gives |
//! | `asker` | requests for tokens, and what their refusals mean |
//! | `document` | credential files, by their `type` |
//! | `explicit`, `key`, `user`, `federated`, `impersonated`, `metadata`, `gcloud` | the ways |
//! | `file` | files with secrets, read so that none keeps the program |
//! | `subject` | the token that another cloud or CI gives, for `federated` |
//! | `jwt` | signed and read |
//!
//! gcp_auth's own client knows no proxy and is never used: every request goes over [`carrack_http::Client`].
mod asker;
mod choose;
mod document;
mod explicit;
mod federated;
mod file;
mod gcloud;
mod impersonated;
mod jwt;
mod key;
mod metadata;
mod source;
mod subject;
mod surroundings;
#[cfg(test)]
mod tests;
mod user;
mod way;

use std::sync::Arc;

use carrack_http::{Client, Token, TokenCache, token::FixedToken};

pub use self::surroundings::{Federation, Surroundings, VARIABLES};

/// <https://developers.google.com/identity/protocols/oauth2/scopes#cloud>
const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];

/// A token that was given; nothing else is looked up.
pub fn given(token: impl Into<String>, principal: Option<String>) -> TokenCache {
    TokenCache::new(Arc::new(FixedToken { token: Token::new(token, None), principal }))
}

/// The credentials that these surroundings have. They are looked up when the first request needs them.
pub fn choose(surroundings: Surroundings, http: Client) -> TokenCache {
    TokenCache::new(Arc::new(source::Chosen::new(surroundings, http)))
}
