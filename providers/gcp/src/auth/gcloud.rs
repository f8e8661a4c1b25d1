//! Whoever is logged in with gcloud, by gcloud itself.
use std::{io, process::Stdio, sync::Arc};

use async_trait::async_trait;
use carrack_core::{Error, ErrorKind, Result};
use carrack_http::{Identity, Token};
use gcp_auth::TokenProvider;
use jiff::Timestamp;
use serde_json::Value;
use tokio::{process::Command, sync::Mutex};
use zeroize::Zeroizing;

use super::{
    jwt,
    way::{Way, no_project, outward, to_library},
};

/// On Windows it is a batch file.
const PROGRAM: &str = if cfg!(windows) { "gcloud.cmd" } else { "gcloud" };
const LOGIN: &str = "log in: `gcloud auth login`";

/// For programs like this one; it says who it is and when the token ends, which `print-access-token` does not.
const HELPER: [&str; 4] = ["config", "config-helper", "--min-expiry=5m", "--format=json"];

/// An account of gcloud's.
pub(super) struct Gcloud {
    email: Option<String>,
    project: Option<String>,
    /// The token that came with the answer to who it is: gcloud takes a second for each.
    first: Mutex<Option<Arc<gcp_auth::Token>>>,
}

impl Gcloud {
    /// Asks it who is logged in; else says why there is none.
    pub(super) async fn find() -> Result<Self, String> {
        let answer: Value = match run(&HELPER).await {
            Ok(text) => serde_json::from_str(&text).unwrap_or_default(),
            Err(Failed::Missing) => return Err("gcloud is not installed".to_owned()),
            Err(Failed::Said(text)) => return Err(format!("gcloud gives no token: {text}")),
        };
        let core = |name: &str| {
            let text = answer["configuration"]["properties"]["core"][name].as_str();
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let (email, project) = (core("account"), core("project"));
        let first = token(&answer).map_err(|failed| match failed {
            Failed::Missing => "gcloud is not installed".to_owned(),
            Failed::Said(text) => format!("gcloud gives no token: {text}"),
        })?;
        Ok(Self { email, project, first: Mutex::new(Some(first)) })
    }
}

impl std::fmt::Debug for Gcloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gcloud({:?})", self.email)
    }
}

/// The token in the helper's answer.
fn token(answer: &Value) -> Result<Arc<gcp_auth::Token>, Failed> {
    let credential = &answer["credential"];
    let token = credential["access_token"].as_str().ok_or_else(|| Failed::Said("it printed none".to_owned()))?;
    let end: Option<Timestamp> = credential["token_expiry"].as_str().and_then(|end| end.parse().ok());
    let seconds = end.map(|end| u64::try_from(Timestamp::now().duration_until(end).as_secs()).unwrap_or(0));
    to_library(token, seconds).map_err(|error| Failed::Said(error.to_string()))
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
    async fn token(&self, _scopes: &[&str]) -> Result<Arc<gcp_auth::Token>, gcp_auth::Error> {
        if let Some(first) = self.first.lock().await.take() {
            return Ok(first);
        }
        let text = run(&HELPER).await.map_err(|failed| outward(refused(failed)))?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        token(&answer).map_err(|failed| outward(refused(failed)))
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
