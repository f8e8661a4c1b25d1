//! The server that knows who a machine of Google's is:
//! <https://cloud.google.com/compute/docs/metadata/querying-metadata>, <https://google.aip.dev/auth/4115>.
use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use carrack_core::{Error, ErrorKind, Result};
use carrack_http::{Identity, Request, Response, Token};
use gcp_auth::TokenProvider;
use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};

use super::{
    asker::Asker,
    jwt,
    key::Granted,
    surroundings::Surroundings,
    way::{Way, no_project, outward, to_library},
};

const HOST: &str = "metadata.google.internal";
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
/// Elsewhere nothing answers at its address.
const PROBE: Duration = Duration::from_secs(1);
/// One that a variable names is there.
const PATIENCE: Duration = Duration::from_secs(10);
const NAMED: &str = "GCE_METADATA_HOST names it: mend that, or unset it";
const REMEDY: &str = "see which service account this machine has, and its scopes: `gcloud compute instances describe`";

/// The account of this machine.
#[derive(Debug)]
pub(super) struct Metadata {
    host: String,
    named: bool,
    email: String,
    asker: Asker,
}

impl Metadata {
    /// Looks for it, shortly; else says why there is none. One that a variable names must answer.
    pub(super) async fn find(surroundings: &Surroundings, asker: &Asker) -> Result<Result<Self, String>> {
        // As in Google's own libraries.
        if surroundings.get("NO_GCE_CHECK").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Err("NO_GCE_CHECK says not to look for a metadata server".to_owned()));
        }
        let named = surroundings.get("GCE_METADATA_HOST");
        let mut metadata = Self {
            host: named.unwrap_or(HOST).to_owned(),
            named: named.is_some(),
            email: String::new(),
            asker: asker.clone(),
        };
        let request = metadata.request("instance/service-accounts/default/email");
        let request = request.timeout(Some(if named.is_some() { PATIENCE } else { PROBE }));
        let request = if named.is_some() { request } else { request.once() };
        let answer = match asker.http.send(&asker.cx, request).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) if named.is_some() => {
                return Err(error.hint(NAMED));
            }
            Err(_) => return Ok(Err("this is no machine of Google's: no metadata server answers".to_owned())),
        };
        // Who named it wants this identity: another way's would be worse than none.
        let otherwise = |why: &str| match named {
            Some(host) => {
                let text = format!("no credentials come from `{host}`: {why}");
                Err(Error::new(ErrorKind::Unauthenticated, text).hint(NAMED))
            }
            None => Ok(Err(why.to_owned())),
        };
        if !is_google(&answer) {
            return otherwise("what answers as a metadata server is not Google's");
        }
        let email = String::from_utf8_lossy(&answer.body).trim().to_owned();
        if answer.status == 404 || email.is_empty() {
            return otherwise("this machine of Google's has no service account");
        }
        metadata.email = email;
        Ok(Ok(metadata))
    }

    /// It is reached by this machine alone, so by no proxy.
    fn request(&self, path: &str) -> Request {
        Request::new(Method::GET, format!("http://{}/computeMetadata/v1/{path}", self.host))
            .header(FLAVOR, HeaderValue::from_static("Google"))
            .accept(&[404])
            .past_proxies()
    }

    async fn get(&self, request: Request) -> Result<Response> {
        let answer = self.asker.send(request).await?;
        if answer.status == 404 {
            let text =
                format!("the metadata server knows no {}", answer.request.url.rsplit('/').next().unwrap_or_default());
            return Err(Error::new(ErrorKind::Unauthenticated, text).hint(REMEDY));
        }
        Ok(answer)
    }
}

/// Other clouds have a server at the same address.
fn is_google(answer: &Response) -> bool {
    answer.header(FLAVOR.as_str()) == Some("Google")
}

#[async_trait]
impl TokenProvider for Metadata {
    async fn token(&self, scopes: &[&str]) -> Result<Arc<gcp_auth::Token>, gcp_auth::Error> {
        let request = self.request("instance/service-accounts/default/token").query("scopes", scopes.join(","));
        let answer = self.get(request).await.map_err(outward)?;
        let granted: Granted = answer.json().map_err(|_| {
            outward(Error::new(ErrorKind::Unavailable, "the metadata server answered with something unexpected"))
        })?;
        to_library(&granted.access_token, granted.expires_in)
    }
    async fn project_id(&self) -> Result<Arc<str>, gcp_auth::Error> {
        let answer = self.get(self.request("project/project-id")).await.map_err(outward)?;
        let project = String::from_utf8_lossy(&answer.body).trim().to_owned();
        if project.is_empty() { Err(no_project()) } else { Ok(project.into()) }
    }
}

#[async_trait]
impl Way for Metadata {
    fn identity(&self) -> Identity {
        let by = if self.named { " (GCE_METADATA_HOST)" } else { "" };
        let from = format!("the metadata server at {}{by}", self.host);
        Identity { principal: Some(self.email.clone()), kind: "machine's service account", from, ..Identity::default() }
    }
    fn principal(&self) -> Option<&str> {
        Some(&self.email)
    }
    /// <https://cloud.google.com/compute/docs/instances/verifying-instance-identity#request_signature>
    async fn id_token(&self, audience: &str) -> Result<Token> {
        let request = self.request("instance/service-accounts/default/identity");
        let answer = self.get(request.query("audience", audience).query("format", "full")).await?;
        let token = String::from_utf8_lossy(&answer.body).trim().to_owned();
        let end = jwt::end(&token);
        Ok(Token::new(token, end))
    }
    fn has_more(&self) -> bool {
        true
    }
    fn remedy(&self) -> &str {
        REMEDY
    }
}
