//! Where access tokens come from.
use std::sync::Arc;

use async_trait::async_trait;
use carrack_core::{Error, ErrorKind, Result, event::Ctx};
use carrack_http::{Token, TokenCache, TokenSource, token::FixedToken};
use jiff::Timestamp;
use tokio::sync::OnceCell;

/// <https://developers.google.com/identity/protocols/oauth2/scopes#cloud>
const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];

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
    provider: OnceCell<Arc<dyn gcp_auth::TokenProvider>>,
}

impl std::fmt::Debug for ApplicationDefault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApplicationDefault")
    }
}

#[async_trait]
impl TokenSource for ApplicationDefault {
    async fn fetch(&self, _cx: &Ctx) -> Result<Token> {
        let provider = self
            .provider
            .get_or_try_init(gcp_auth::provider)
            .await
            .map_err(|e| unauthenticated("no Google credentials were found", e))?;
        let token = provider.token(SCOPES).await.map_err(|e| unauthenticated("Google gave no access token", e))?;
        let expires = Timestamp::from_second(token.expires_at().timestamp()).ok();
        Ok(Token::new(token.as_str(), expires))
    }
    fn principal(&self) -> Option<&str> {
        None
    }
}

fn unauthenticated(message: &str, cause: gcp_auth::Error) -> Error {
    if let gcp_auth::Error::Http(..) = cause {
        return Error::new(ErrorKind::Unavailable, "Google's token service does not answer").with_source(cause);
    }
    Error::new(ErrorKind::Unauthenticated, message)
        .with_source(cause)
        .hint("run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS")
        .hint("to try it without a cloud account: `carrack deploy --local`")
}
