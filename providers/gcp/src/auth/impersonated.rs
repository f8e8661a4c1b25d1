//! A service account that somebody else may speak for.
//! <https://cloud.google.com/iam/docs/create-short-lived-credentials-direct>
use std::sync::Arc;

use async_trait::async_trait;
use carrack_core::{
    Error, ErrorKind, Result,
    retry::{RetryPolicy, retry},
};
use carrack_http::{Identity, Request, Token};
use gcp_auth::TokenProvider;
use jiff::Timestamp;
use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderValue},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    SCOPES,
    asker::Asker,
    jwt,
    way::{Way, no_project, outward, to_library},
};
use crate::error::classify;

const BASE: &str = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts";
const ACCESS: &str = ":generateAccessToken";
const ID: &str = ":generateIdToken";
/// The longest that is given without an organisation's leave.
const LIFE: &str = "3600s";

/// One identity in the place of another.
#[derive(Debug)]
pub(super) struct Impersonated {
    own: Arc<dyn Way>,
    email: String,
    url: String,
    delegates: Vec<String>,
    life: String,
    remedy: String,
    asker: Asker,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Access {
    access_token: String,
    /// RFC 3339.
    expire_time: String,
}

#[derive(Deserialize)]
struct Id {
    token: String,
}

impl Impersonated {
    /// By the service account's name, or by a chain of them.
    pub(super) fn named(own: Arc<dyn Way>, chain: &str, asker: Asker) -> Result<Self> {
        let names: Vec<&str> = chain.split(',').map(str::trim).collect();
        if let Some(wrong) = names.iter().find(|name| !is_email(name)) {
            return Err(Error::new(ErrorKind::Usage, format!("`{wrong}` is no service account to impersonate"))
                .hint("name it by its email address: `--impersonate NAME@PROJECT.iam.gserviceaccount.com`"));
        }
        let (email, before) = names.split_last().unwrap_or((&chain, &[]));
        let delegates = before.iter().map(|name| format!("projects/-/serviceAccounts/{name}")).collect();
        Ok(Self::at(own, format!("{BASE}/{email}{ACCESS}"), delegates, asker))
    }

    /// By the address that a credential file has; it was seen to be private.
    pub(super) fn at(own: Arc<dyn Way>, url: String, delegates: Vec<String>, asker: Asker) -> Self {
        let email = account(&url).unwrap_or_default().to_owned();
        let remedy = format!("see who may speak for it: `gcloud iam service-accounts get-iam-policy {email}`");
        Self { own, email, url, delegates, life: LIFE.to_owned(), remedy, asker }
    }

    /// For another time than an hour.
    pub(super) fn for_seconds(mut self, seconds: u64) -> Self {
        self.life = format!("{seconds}s");
        self
    }

    async fn generate<T: DeserializeOwned>(&self, url: &str, body: &Value) -> Result<T> {
        let own = self.own.token(SCOPES).await.map_err(super::way::inward)?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", own.as_str()))
            .map_err(|_| Error::new(ErrorKind::Unauthenticated, "the access token has characters that no token has"))?;
        bearer.set_sensitive(true);
        let request = Request::new(Method::POST, url).header(AUTHORIZATION, bearer).json(body)?.classify(classify);
        let request = request.idempotent();
        // A grant that was made a moment ago is not known everywhere yet:
        // https://cloud.google.com/iam/docs/access-change-propagation
        let usual = self.asker.http.retry_policy();
        let patient = RetryPolicy { attempts: 4, first: usual.first * 10, ..usual };
        let name = format!("POST {url}");
        retry(&self.asker.cx, patient, &name, async |_| match self.asker.ask(request.clone()).await {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error.with_kind(ErrorKind::Unavailable)),
            other => Ok(other),
        })
        .await
        .map_err(|error| {
            let denied = error.request().is_some_and(|request| request.status == Some(403));
            if denied { error.with_kind(ErrorKind::PermissionDenied) } else { error }
        })
        .flatten()
        .map_err(|error| self.explained(error))
    }

    fn explained(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::PermissionDenied => {
                let error = error.with_source(format!("{} may not speak for {}", self.own_name(), self.email));
                error.hint(self.grant()).hint("a grant takes up to some minutes to be known everywhere")
            }
            ErrorKind::Unauthenticated => error.hint(self.own.remedy()),
            ErrorKind::NotFound => error.hint(&self.remedy),
            _ => error,
        }
    }

    fn own_name(&self) -> String {
        self.own.principal().map_or_else(|| format!("the {}", self.own.identity().kind), str::to_owned)
    }

    /// <https://cloud.google.com/iam/docs/service-account-permissions#token-creator-role>
    fn grant(&self) -> String {
        let (role, member) = match self.own.principal() {
            Some(email) if email.ends_with("gserviceaccount.com") => {
                ("iam.serviceAccountTokenCreator", format!("serviceAccount:{email}"))
            }
            Some(email) if is_email(email) => ("iam.serviceAccountTokenCreator", format!("user:{email}")),
            // https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines
            _ if self.own.identity().kind == super::federated::KIND => {
                ("iam.workloadIdentityUser", "principalSet://iam.googleapis.com/POOL/attribute.NAME/VALUE".to_owned())
            }
            _ => ("iam.serviceAccountTokenCreator", "user:YOUR-EMAIL".to_owned()),
        };
        format!(
            "grant it: `gcloud iam service-accounts add-iam-policy-binding {} --role=roles/{role} --member=\"{member}\"`",
            self.email
        )
    }
}

/// The account in `…/serviceAccounts/EMAIL:generateAccessToken`.
pub(super) fn account(url: &str) -> Option<&str> {
    url.rsplit('/').next()?.strip_suffix(ACCESS).filter(|email| is_email(email))
}

fn is_email(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+@".contains(c);
    text.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.'))
        && text.chars().all(plain)
}

#[async_trait]
impl TokenProvider for Impersonated {
    async fn token(&self, scopes: &[&str]) -> Result<Arc<gcp_auth::Token>, gcp_auth::Error> {
        let body = json!({ "scope": scopes, "lifetime": self.life, "delegates": self.delegates });
        let access: Access = self.generate(&self.url, &body).await.map_err(outward)?;
        let end: Option<Timestamp> = access.expire_time.parse().ok();
        let seconds = end.map(|end| u64::try_from(Timestamp::now().duration_until(end).as_secs()).unwrap_or(0));
        to_library(&access.access_token, seconds)
    }
    async fn project_id(&self) -> Result<Arc<str>, gcp_auth::Error> {
        // NAME@PROJECT.iam.gserviceaccount.com
        let domain = self.email.split_once('@').map(|(_, domain)| domain);
        let project = domain.and_then(|domain| domain.strip_suffix(".iam.gserviceaccount.com"));
        project.map(Arc::from).ok_or_else(no_project)
    }
}

#[async_trait]
impl Way for Impersonated {
    fn identity(&self) -> Identity {
        let own = self.own.identity();
        Identity {
            principal: Some(self.email.clone()),
            kind: "impersonation",
            from: own.from.clone(),
            through: Some(Box::new(own)),
            ..Identity::default()
        }
    }
    fn principal(&self) -> Option<&str> {
        Some(&self.email)
    }
    async fn id_token(&self, audience: &str) -> Result<Token> {
        let url = self.url.strip_suffix(ACCESS).map_or_else(|| self.url.clone(), |account| format!("{account}{ID}"));
        let body = json!({ "audience": audience, "includeEmail": true, "delegates": self.delegates });
        let Id { token } = self.generate(&url, &body).await?;
        let end = jwt::end(&token);
        Ok(Token::new(token, end))
    }
    fn has_more(&self) -> bool {
        true
    }
    fn remedy(&self) -> &str {
        &self.remedy
    }
}
