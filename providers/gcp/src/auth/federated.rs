//! Workload identity federation: another's token is exchanged for one of Google's.
//! <https://cloud.google.com/iam/docs/workload-identity-federation>, <https://google.aip.dev/auth/4117>
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use carrack_core::{Error, ErrorKind, Result};
use carrack_http::{Identity, Token};
use gcp_auth::TokenProvider;

use super::{
    asker::Asker,
    document::Document,
    impersonated::Impersonated,
    jwt,
    key::Granted,
    subject::{GITHUB, Subject},
    surroundings::{Federation, Surroundings},
    way::{Way, no_project, outward, to_library},
};

/// In words.
pub(super) const KIND: &str = "workload identity federation";

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const TOKEN_URL: &str = "https://sts.googleapis.com/v1/token";

/// A federated identity.
#[derive(Debug)]
pub(super) struct Federated {
    subject: Subject,
    subject_kind: String,
    audience: String,
    token_url: String,
    from: String,
    /// Who the exchanged token said it is of.
    name: OnceLock<String>,
    asker: Asker,
}

impl Federated {
    /// `external_account`: such as `gcloud iam workload-identity-pools create-cred-config` writes.
    pub(super) fn read(document: &Document<'_>, asker: &Asker) -> Result<Arc<dyn Way>> {
        let federated = Self {
            subject: Subject::read(document)?,
            subject_kind: document.text("subject_token_type")?.to_owned(),
            audience: document.text("audience")?.to_owned(),
            token_url: document.private_url("token_url", Some(TOKEN_URL))?,
            from: document.from.to_owned(),
            name: OnceLock::new(),
            asker: asker.clone(),
        };
        let own: Arc<dyn Way> = Arc::new(federated);
        if document.value["service_account_impersonation_url"].is_null() {
            return Ok(own);
        }
        let url = document.impersonation_url()?;
        let impersonated = Impersonated::at(own, url, Vec::new(), asker.clone());
        Ok(Arc::new(match document.value["service_account_impersonation"]["token_lifetime_seconds"].as_u64() {
            Some(seconds) => impersonated.for_seconds(seconds),
            None => impersonated,
        }))
    }

    fn of(federation: &Federation, subject: Subject, asker: &Asker) -> Result<Arc<dyn Way>> {
        let own: Arc<dyn Way> = Arc::new(Self {
            from: subject.place(),
            subject,
            subject_kind: JWT.to_owned(),
            audience: federation.audience(),
            token_url: TOKEN_URL.to_owned(),
            name: OnceLock::new(),
            asker: asker.clone(),
        });
        match &federation.service_account {
            Some(email) => Ok(Arc::new(Impersonated::named(own, email, asker.clone())?)),
            None => Ok(own),
        }
    }

    async fn exchange(&self, scopes: &[&str]) -> Result<Granted> {
        let subject = self.subject.token(&self.asker).await?;
        // Who it is of is known now, whatever comes of it.
        let claims = jwt::claims(&subject);
        if let Some(name) = claims.as_ref().and_then(|claims| claims["sub"].as_str()) {
            let _ = self.name.set(name.to_owned());
        }
        let scope = scopes.join(" ");
        let form = [
            ("grant_type", EXCHANGE),
            ("audience", &self.audience),
            ("scope", &scope),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token_type", &self.subject_kind),
            ("subject_token", &subject),
        ];
        self.asker.form(&self.token_url, &form).await.map_err(|error| {
            if error.kind() != ErrorKind::Unauthenticated {
                return error;
            }
            let error = match self.name.get() {
                Some(name) => error.with_source(format!("they are the token of {name}, from {}", self.from)),
                None => error.with_source(format!("they are the token from {}", self.from)),
            };
            error
                .hint("see what the provider takes: its issuer, audience and attribute condition")
                .hint(self.describe())
        })
    }

    fn describe(&self) -> String {
        // //iam.googleapis.com/projects/N/locations/global/workloadIdentityPools/POOL/providers/PROVIDER
        let parts: Vec<&str> = self.audience.split('/').collect();
        let after = |word: &str| parts.windows(2).find(|pair| pair[0] == word).map_or("…", |pair| pair[1]);
        format!(
            "`gcloud iam workload-identity-pools providers describe {} --workload-identity-pool={} --location=global --project={}`",
            after("providers"),
            after("workloadIdentityPools"),
            after("projects")
        )
    }
}

/// GitHub Actions and GitLab say who a job is, with nothing written to a disk. `None` where there is no federation, or
/// where this is no CI: `[targets.X.federation]` stands in the file of a laptop too.
pub(super) fn of_a_ci(surroundings: &Surroundings, asker: &Asker) -> Result<Option<Arc<dyn Way>>> {
    let Some(federation) = &surroundings.federation else { return Ok(None) };
    let (url, token) = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN");
    let missing = |text: &str| Error::new(ErrorKind::Unauthenticated, text);
    let subject = match (surroundings.get(url), surroundings.get(token), surroundings.get(&federation.variable)) {
        (Some(url), Some(token), _) => Subject::github(url, token, &federation.audience())?,
        (_, _, Some(value)) => Subject::Variable { name: federation.variable.clone(), value: value.to_owned().into() },
        _ if surroundings.get("GITHUB_ACTIONS").is_some() => {
            let text = format!("GitHub Actions gives this job no token to exchange: {url} and {token} are not set");
            return Err(missing(&text).hint(GITHUB));
        }
        _ if surroundings.get("GITLAB_CI").is_some() => {
            let text = format!("GitLab gives this job no token to exchange: {} is not set", federation.variable);
            return Err(missing(&text).hint(format!(
                "give the job `id_tokens: {{ {}: {{ aud: \"https:{}\" }} }}`",
                federation.variable,
                federation.audience()
            )));
        }
        _ => return Ok(None),
    };
    Federated::of(federation, subject, asker).map(Some)
}

#[async_trait]
impl TokenProvider for Federated {
    async fn token(&self, scopes: &[&str]) -> Result<Arc<gcp_auth::Token>, gcp_auth::Error> {
        let granted = self.exchange(scopes).await.map_err(outward)?;
        to_library(&granted.access_token, granted.expires_in)
    }
    async fn project_id(&self) -> Result<Arc<str>, gcp_auth::Error> {
        Err(no_project())
    }
}

#[async_trait]
impl Way for Federated {
    fn identity(&self) -> Identity {
        Identity { principal: self.name.get().cloned(), kind: KIND, from: self.from.clone(), ..Identity::default() }
    }
    fn principal(&self) -> Option<&str> {
        self.name.get().map(String::as_str)
    }
    async fn id_token(&self, _audience: &str) -> Result<Token> {
        Err(Error::new(ErrorKind::Unauthenticated, "a federated identity alone has no ID token")
            .hint("name the service account that it speaks for: `service_account` under [targets.NAME.federation]"))
    }
    fn has_more(&self) -> bool {
        true
    }
    fn remedy(&self) -> &str {
        "see what the pool's provider takes: its issuer, audience and attribute condition"
    }
}
