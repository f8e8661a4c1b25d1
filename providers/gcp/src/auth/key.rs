//! A service account's key: a JWT, signed by it, is exchanged for a token.
//! <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>
use std::sync::Arc;

use async_trait::async_trait;
use carrack_core::{Error, ErrorKind, Result};
use carrack_http::{Identity, Token};
use gcp_auth::{CustomServiceAccount, TokenProvider};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    asker::Asker,
    document::Document,
    jwt,
    way::{Way, no_project, outward, to_library},
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A key, and where its signatures are exchanged.
pub(super) struct Key {
    /// Parses the key and signs with it; its own client is never used.
    account: CustomServiceAccount,
    email: String,
    id: Option<String>,
    token_uri: String,
    project: Option<String>,
    from: String,
    remedy: String,
    asker: Asker,
}

/// What a token service gives.
#[derive(Deserialize)]
pub(super) struct Granted {
    pub(super) access_token: String,
    pub(super) expires_in: Option<u64>,
    pub(super) id_token: Option<String>,
}

#[derive(Deserialize)]
struct GrantedId {
    id_token: String,
}

impl Key {
    pub(super) fn read(document: &Document<'_>, asker: Asker) -> Result<Self> {
        let (key, email) = (document.text("private_key")?, document.text("client_email")?);
        let token_uri = document.private_url("token_uri", Some("https://oauth2.googleapis.com/token"))?;
        let remedy = format!(
            "see whether the key still exists (`gcloud iam service-accounts keys list --iam-account={email}`), or make another: `gcloud iam service-accounts keys create key.json --iam-account={email}`"
        );
        let parsed = json!({ "private_key": key, "client_email": email, "token_uri": token_uri }).to_string();
        let account = CustomServiceAccount::from_json(&parsed).map_err(|cause| match cause {
            gcp_auth::Error::Io(..) => {
                Error::new(ErrorKind::Usage, "no authority's certificate was found, so no cloud can be trusted")
                    .with_source(cause)
                    .hint("install the system's: the package `ca-certificates`")
            }
            // What the parser says can quote the key.
            _ => document
                .malformed("`private_key` is no RSA key in PEM (`-----BEGIN PRIVATE KEY-----`)")
                .hint("use the file as it was downloaded: line breaks of the key are `\\n` in it"),
        })?;
        Ok(Self {
            account,
            email: email.to_owned(),
            id: document.value["private_key_id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned),
            token_uri,
            project: document.value["project_id"].as_str().map(str::to_owned),
            from: document.from.to_owned(),
            remedy,
            asker,
        })
    }

    async fn exchange<T: serde::de::DeserializeOwned>(&self, wanted: (&str, String)) -> Result<T> {
        let mut claims: Value = json!({ "iss": self.email, "sub": self.email, "aud": self.token_uri });
        claims[wanted.0] = json!(wanted.1);
        let assertion = jwt::sign(self.account.signer(), self.id.as_deref(), claims)?;
        let form = [("grant_type", GRANT), ("assertion", &assertion)];
        self.asker.form(&self.token_uri, &form).await.map_err(|error| {
            if error.kind() != ErrorKind::Unauthenticated {
                return error;
            }
            let clock = error.message().contains("reasonable timeframe") && error.hints().is_empty();
            let error = if clock { error.hint("check this machine's clock: `date -u`") } else { error };
            error.hint(&self.remedy).with_source(format!("they are the key of {} from {}", self.email, self.from))
        })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.email)
    }
}

#[async_trait]
impl TokenProvider for Key {
    async fn token(&self, scopes: &[&str]) -> Result<Arc<gcp_auth::Token>, gcp_auth::Error> {
        let granted: Granted = self.exchange(("scope", scopes.join(" "))).await.map_err(outward)?;
        to_library(&granted.access_token, granted.expires_in)
    }
    async fn project_id(&self) -> Result<Arc<str>, gcp_auth::Error> {
        self.project.as_deref().map(Arc::from).ok_or_else(no_project)
    }
}

#[async_trait]
impl Way for Key {
    fn identity(&self) -> Identity {
        Identity {
            principal: Some(self.email.clone()),
            kind: "service account key",
            from: self.from.clone(),
            ..Identity::default()
        }
    }
    fn principal(&self) -> Option<&str> {
        Some(&self.email)
    }
    async fn id_token(&self, audience: &str) -> Result<Token> {
        let granted: GrantedId = self.exchange(("target_audience", audience.to_owned())).await?;
        let end = jwt::end(&granted.id_token);
        Ok(Token::new(granted.id_token, end))
    }
    fn has_more(&self) -> bool {
        true
    }
    fn remedy(&self) -> &str {
        &self.remedy
    }
}
