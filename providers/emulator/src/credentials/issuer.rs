//! Who signs ID tokens: Google, and two CI services. Each has a key, that is made when the first token is asked for.
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{
    jwt,
    rsa::{Failed, PublicKey, SigningKey},
};

/// <https://developers.google.com/identity/openid-connect/openid-connect#discovery>
pub(super) const GOOGLE: &str = "https://accounts.google.com";
/// <https://docs.github.com/en/actions/reference/security/oidc>
pub(super) const GITHUB: &str = "https://token.actions.githubusercontent.com";
/// <https://docs.gitlab.com/ci/secrets/id_token_authentication/>
pub(super) const GITLAB: &str = "https://gitlab.com";

#[derive(Debug)]
pub(super) struct Issuer {
    /// The claim `iss`.
    pub(super) name: &'static str,
    jwks: &'static str,
    key: OnceCell<SigningKey>,
}

#[derive(Debug)]
pub(super) struct Issuers {
    pub(super) google: Issuer,
    pub(super) github: Issuer,
    pub(super) gitlab: Issuer,
}

impl Default for Issuers {
    fn default() -> Self {
        let issuer = |name, jwks| Issuer { name, jwks, key: OnceCell::new() };
        Self {
            google: issuer(GOOGLE, "https://www.googleapis.com/oauth2/v3/certs"),
            github: issuer(GITHUB, "https://token.actions.githubusercontent.com/.well-known/jwks"),
            gitlab: issuer(GITLAB, "https://gitlab.com/oauth/discovery/keys"),
        }
    }
}

impl Issuers {
    pub(super) fn by_name(&self, name: &str) -> Option<&Issuer> {
        [&self.google, &self.github, &self.gitlab].into_iter().find(|issuer| issuer.name == name)
    }
}

impl Issuer {
    /// With the claim `iss`.
    pub(super) async fn sign(&self, mut claims: Value) -> Result<String, Failed> {
        claims["iss"] = json!(self.name);
        jwt::sign(self.key().await?, &claims)
    }

    /// `None` as long as it signed nothing.
    pub(super) fn public(&self) -> Option<&PublicKey> {
        self.key.get().map(SigningKey::public)
    }

    pub(super) async fn keys(&self) -> Result<Value, Failed> {
        Ok(json!({ "keys": [self.key().await?.public().jwk()] }))
    }

    /// <https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata>
    pub(super) fn discovery(&self) -> Value {
        json!({
            "issuer": self.name,
            "jwks_uri": self.jwks,
            "subject_types_supported": ["public"],
            "response_types_supported": ["id_token"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    async fn key(&self) -> Result<&SigningKey, Failed> {
        self.key.get_or_try_init(SigningKey::generate).await
    }
}
