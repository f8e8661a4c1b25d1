//! Whoever is logged in with gcloud, by gcloud itself.
use std::{io, process::Stdio, sync::Arc};

use async_trait::async_trait;
use carrack_core::{Error, ErrorKind, Result};
use carrack_http::{Identity, Token};
use gcp_auth::TokenProvider;
use jiff::Timestamp;
use serde_json::Value;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::{
    jwt,
    way::{Way, no_project, outward, to_library},
};

/// On Windows it is a batch file.
const PROGRAM: &str = if cfg!(windows) { "gcloud.cmd" } else { "gcloud" };
const LOGIN: &str = "log in: `gcloud auth login`";

/// An account of gcloud's.
#[derive(Debug)]
pub(super) struct Gcloud {
    email: Option<String>,
    project: Option<String>,
}

impl Gcloud {
    /// Asks it who is logged in; else says why there is none.
    pub(super) async fn find() -> Result<Self, String> {
        let properties = match run(&["config", "list", "--format=json"]).await {
            Ok(text) => serde_json::from_str::<Value>(&text).unwrap_or_default(),
            Err(Failed::Missing) => return Err("gcloud is not installed".to_owned()),
            Err(Failed::Said(text)) => return Err(format!("gcloud fails: {text}")),
        };
        let core = |name: &str| properties["core"][name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let (email, project) = (core("account"), core("project"));
        let by_file = properties["auth"]["access_token_file"].is_string();
        if email.is_none() && !by_file {
            return Err("nobody is logged in with gcloud".to_owned());
        }
        Ok(Self { email, project })
    }
}

enum Failed {
    Missing,
    Said(String),
}

async fn run(arguments: &[&str]) -> Result<Zeroizing<String>, Failed> {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // It would ask, and nobody hears it.
    command.env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1");
    let output = command.output().await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failed::Missing,
        _ => Failed::Said(error.to_string()),
    })?;
    if output.status.success() {
        return Ok(Zeroizing::new(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line =
        said.lines().find(|line| line.starts_with("ERROR:")).or(said.lines().next()).unwrap_or("it said nothing");
    Err(Failed::Said(line.trim_start_matches("ERROR:").trim().to_owned()))
}

fn refused(failed: Failed) -> Error {
    let said = match failed {
        Failed::Missing => "it is not installed any more".to_owned(),
        Failed::Said(text) => text,
    };
    Error::new(ErrorKind::Unauthenticated, format!("gcloud gives no token: {said}")).hint(LOGIN)
}

#[async_trait]
impl TokenProvider for Gcloud {
    /// `config-helper` is for programs like this one, and says when the token ends; `print-access-token` does not.
    async fn token(&self, _scopes: &[&str]) -> Result<Arc<gcp_auth::Token>, gcp_auth::Error> {
        let text = run(&["config", "config-helper", "--min-expiry=5m", "--format=json"]).await;
        let text = text.map_err(|failed| outward(refused(failed)))?;
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let credential = &value["credential"];
        let Some(token) = credential["access_token"].as_str() else {
            return Err(outward(refused(Failed::Said("it printed none".to_owned()))));
        };
        let end: Option<Timestamp> = credential["token_expiry"].as_str().and_then(|end| end.parse().ok());
        let seconds = end.map(|end| u64::try_from(Timestamp::now().duration_until(end).as_secs()).unwrap_or(0));
        to_library(token, seconds)
    }
    async fn project_id(&self) -> Result<Arc<str>, gcp_auth::Error> {
        self.project.as_deref().map(Arc::from).ok_or_else(no_project)
    }
}

#[async_trait]
impl Way for Gcloud {
    fn identity(&self) -> Identity {
        let from = "gcloud".to_owned();
        Identity { principal: self.email.clone(), kind: "gcloud's login", from, ..Identity::default() }
    }
    fn principal(&self) -> Option<&str> {
        self.email.as_deref()
    }
    /// Only a service account's can be for an audience; a user's is for gcloud, and Cloud Run takes that:
    /// <https://cloud.google.com/run/docs/authenticating/developers>
    async fn id_token(&self, audience: &str) -> Result<Token> {
        let audiences = format!("--audiences={audience}");
        let mut arguments = vec!["auth", "print-identity-token"];
        if self.email.as_deref().is_some_and(|email| email.ends_with("gserviceaccount.com")) {
            arguments.push(&audiences);
        }
        let token = run(&arguments).await.map_err(refused)?.trim().to_owned();
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
