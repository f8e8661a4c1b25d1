//! Where access tokens come from.
use std::sync::Arc;

use async_trait::async_trait;
use carrack_core::{Error, ErrorKind, Result, event::Ctx};
use carrack_http::{Token, TokenCache, TokenSource, token::FixedToken};
use jiff::Timestamp;
use tokio::sync::Mutex;

/// <https://developers.google.com/identity/protocols/oauth2/scopes#cloud>
const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];
const LOGIN: &str = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS";

/// A token that was given; nothing else is looked up.
pub fn given(token: impl Into<String>, principal: Option<String>) -> TokenCache {
    TokenCache::new(Arc::new(FixedToken { token: Token::new(token, None), principal }))
}

/// Google's application default credentials, looked up when the first request needs them.
pub fn application_default() -> TokenCache {
    TokenCache::new(Arc::new(ApplicationDefault::default()))
}

#[derive(Default)]
struct ApplicationDefault {
    provider: Mutex<Option<Arc<dyn gcp_auth::TokenProvider>>>,
}

impl std::fmt::Debug for ApplicationDefault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApplicationDefault")
    }
}

#[async_trait]
impl TokenSource for ApplicationDefault {
    async fn fetch(&self, _cx: &Ctx) -> Result<Token> {
        let mut held = self.provider.lock().await;
        let provider = match held.as_ref() {
            Some(provider) => Arc::clone(provider),
            None => {
                let found = gcp_auth::provider().await;
                let found = found.map_err(|e| unauthenticated("no Google credentials were found", e))?;
                Arc::clone(held.insert(found))
            }
        };
        drop(held);
        let token = provider.token(SCOPES).await.map_err(|e| unauthenticated("Google gave no access token", e))?;
        let expires = Timestamp::from_second(token.expires_at().timestamp()).ok();
        Ok(Token::new(token.as_str(), expires))
    }
    async fn renew(&self, cx: &Ctx) -> Result<Option<Token>> {
        // The library keeps a token until its end, so one that was refused is had again until it begins anew.
        *self.provider.lock().await = None;
        self.fetch(cx).await.map(Some)
    }
    fn principal(&self) -> Option<&str> {
        None
    }
    fn remedy(&self) -> &str {
        LOGIN
    }
}

fn unauthenticated(message: &str, cause: gcp_auth::Error) -> Error {
    if let gcp_auth::Error::Http(..) = cause {
        return Error::new(ErrorKind::Unavailable, "Google's token service does not answer").with_source(cause);
    }
    Error::new(ErrorKind::Unauthenticated, message)
        .with_source(cause)
        .hint(LOGIN)
        .hint("to try it without a cloud account: `carrack deploy --local`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_logs_in_with_google_is_told_so_and_who_was_given_a_token_is_not() {
        assert!(application_default().remedy().contains("gcloud auth application-default login"));
        assert!(given("t", None).remedy().contains("CARRACK_ENDPOINT_TOKEN"));
    }
}
