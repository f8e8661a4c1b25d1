//! A user who logged in with gcloud: a refresh token is exchanged for an access token.
//! <https://developers.google.com/identity/protocols/oauth2/native-app#offline>
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use carrack_core::{Error, ErrorKind, Result};
use carrack_http::{Identity, Token};
use gcp_auth::TokenProvider;
use zeroize::Zeroizing;

use super::{
    asker::Asker,
    document::Document,
    jwt,
    key::Granted,
    way::{Way, no_project, outward, to_library},
};

const LOGIN: &str = "log in again: `gcloud auth application-default login`";

/// A refresh token, and the program that it was given to.
pub(super) struct User {
    client_id: String,
    client_secret: Zeroizing<String>,
    refresh_token: Zeroizing<String>,
    token_uri: String,
    quota_project: Option<String>,
    from: String,
    /// Told with the first token, when it may be.
    email: OnceLock<String>,
    asker: Asker,
}

impl User {
    pub(super) fn read(document: &Document<'_>, asker: Asker) -> Result<Self> {
        let email = OnceLock::new();
        if let Some(account) = document.value["account"].as_str().filter(|account| !account.is_empty()) {
            let _ = email.set(account.to_owned());
        }
        Ok(Self {
            client_id: document.text("client_id")?.to_owned(),
            client_secret: document.text("client_secret")?.to_owned().into(),
            refresh_token: document.text("refresh_token")?.to_owned().into(),
            token_uri: document.private_url("token_uri", Some("https://oauth2.googleapis.com/token"))?,
            quota_project: document.value["quota_project_id"].as_str().map(str::to_owned),
            from: document.from.to_owned(),
            email,
            asker,
        })
    }

    async fn exchange(&self) -> Result<Granted> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("client_secret", &self.client_secret),
            ("refresh_token", &self.refresh_token),
        ];
        let granted: Granted = self.asker.form(&self.token_uri, &form).await.map_err(|error| match error.kind() {
            ErrorKind::Unauthenticated => {
                error.hint(LOGIN).with_source(format!("they are the login from {}", self.from))
            }
            _ => error,
        })?;
        let claims = granted.id_token.as_deref().and_then(jwt::claims);
        if let Some(email) = claims.as_ref().and_then(|claims| claims["email"].as_str()) {
            let _ = self.email.set(email.to_owned());
        }
        Ok(granted)
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({:?})", self.email.get())
    }
}

#[async_trait]
impl TokenProvider for User {
    async fn token(&self, _scopes: &[&str]) -> Result<Arc<gcp_auth::Token>, gcp_auth::Error> {
        let granted = self.exchange().await.map_err(outward)?;
        to_library(&granted.access_token, granted.expires_in)
    }
    async fn project_id(&self) -> Result<Arc<str>, gcp_auth::Error> {
        self.quota_project.as_deref().map(Arc::from).ok_or_else(no_project)
    }
}

#[async_trait]
impl Way for User {
    fn identity(&self) -> Identity {
        let principal = self.email.get().cloned();
        Identity { principal, kind: "user's login", from: self.from.clone(), ..Identity::default() }
    }
    fn principal(&self) -> Option<&str> {
        self.email.get().map(String::as_str)
    }
    /// Its audience is the program that the user logged in with; a user has no other:
    /// <https://cloud.google.com/run/docs/authenticating/developers>
    async fn id_token(&self, _audience: &str) -> Result<Token> {
        let token = self
            .exchange()
            .await?
            .id_token
            .ok_or_else(|| Error::new(ErrorKind::Unauthenticated, "this login gives no ID token").hint(LOGIN))?;
        let end = jwt::end(&token);
        Ok(Token::new(token, end))
    }
    fn has_more(&self) -> bool {
        true
    }
    fn remedy(&self) -> &str {
        LOGIN
    }
}
