//! An access token that somebody else fetched, in a variable or a file.
use std::sync::Arc;

use async_trait::async_trait;
use carrack_core::{Error, ErrorKind, Result, event::Ctx};
use carrack_http::{Identity, Token};
use gcp_auth::TokenProvider;
use zeroize::Zeroizing;

use super::{
    file,
    surroundings::{Surroundings, path_in},
    way::{Way, no_project, outward, to_library},
};

/// In this order; whether it names a file. The names without CARRACK are Terraform's and gcloud's:
/// <https://registry.terraform.io/providers/hashicorp/google/latest/docs/guides/provider_reference#access_token>,
/// <https://cloud.google.com/sdk/docs/properties#auth>.
const NAMES: [(&str, bool); 5] = [
    ("CARRACK_ACCESS_TOKEN", false),
    ("CARRACK_ACCESS_TOKEN_FILE", true),
    ("GOOGLE_OAUTH_ACCESS_TOKEN", false),
    ("CLOUDSDK_AUTH_ACCESS_TOKEN", false),
    ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", true),
];

/// The token, or the file that has it.
pub(super) struct Explicit {
    name: &'static str,
    file: bool,
    value: Zeroizing<String>,
    remedy: String,
    cx: Ctx,
}

impl Explicit {
    pub(super) fn find(surroundings: &Surroundings, cx: &Ctx) -> Option<Self> {
        NAMES.iter().find_map(|&(name, file)| {
            let value = Zeroizing::new(surroundings.get(name)?.to_owned());
            let what = if file { format!("the file that {name} names") } else { format!("the token in {name}") };
            let remedy = format!("{what} is used as it is: put a fresh one there, or unset {name}");
            Some(Self { name, file, value, remedy, cx: cx.clone() })
        })
    }

    /// A file is read each time: whoever wrote it may keep it fresh.
    async fn read(&self) -> Result<Zeroizing<String>> {
        let text = if self.file {
            let path = path_in(self.name, &self.value)?;
            file::read(path, &self.cx).await?.map_err(|e| {
                let text = format!("{} names `{}`, which cannot be read", self.name, *self.value);
                Error::new(ErrorKind::Unauthenticated, text).with_source(e)
            })?
        } else {
            self.value.clone()
        };
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let place = if self.file { format!("the file that {} names", self.name) } else { self.name.to_owned() };
            return Err(Error::new(ErrorKind::Unauthenticated, format!("what is in {place} is no access token"))
                .hint("`gcloud auth print-access-token` prints one"));
        }
        Ok(Zeroizing::new(token.to_owned()))
    }
}

impl std::fmt::Debug for Explicit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Explicit({})", self.name)
    }
}

#[async_trait]
impl TokenProvider for Explicit {
    async fn token(&self, _scopes: &[&str]) -> Result<Arc<gcp_auth::Token>, gcp_auth::Error> {
        to_library(&self.read().await.map_err(outward)?, None)
    }
    async fn project_id(&self) -> Result<Arc<str>, gcp_auth::Error> {
        Err(no_project())
    }
}

#[async_trait]
impl Way for Explicit {
    fn identity(&self) -> Identity {
        let from = if self.file && path_in(self.name, &self.value).is_ok() {
            format!("`{}` ({})", *self.value, self.name)
        } else {
            format!("the variable {}", self.name)
        };
        Identity { kind: "access token", from, ..Identity::default() }
    }
    fn principal(&self) -> Option<&str> {
        None
    }
    async fn id_token(&self, _audience: &str) -> Result<Token> {
        Err(Error::new(ErrorKind::Unauthenticated, format!("an access token alone ({}) gives no ID token", self.name))
            .hint("name a service account that it may speak for: `--impersonate EMAIL`"))
    }
    fn has_more(&self) -> bool {
        self.file
    }
    fn remedy(&self) -> &str {
        &self.remedy
    }
}
