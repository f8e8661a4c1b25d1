//! The ways against small servers of their own.

mod federation;
mod files;
mod order;
mod server;

use std::{collections::BTreeMap, path::PathBuf, sync::OnceLock};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use carrack_core::{Error, Result, event::Ctx};
use carrack_http::{Client, Token, TokenCache};
use serde_json::{Value, json};

use super::{Federation, Surroundings, choose};

/// A key that was made for this run.
fn key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).unwrap())
}

/// It, as a key file has it.
fn pem() -> String {
    let der: Pkcs8V1Der<'_> = key().as_der().unwrap();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()))
}

fn key_file(token_uri: &str) -> Value {
    json!({
        "type": "service_account", "project_id": "shop", "private_key_id": "k1", "private_key": pem(),
        "client_email": "deploy@shop.iam.gserviceaccount.com", "token_uri": token_uri,
    })
}

fn user_file(token_uri: &str) -> Value {
    json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "client-secret",
        "refresh_token": "refresh-token", "quota_project_id": "shop", "token_uri": token_uri,
    })
}

/// A folder of its own for the files of one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("carrack-auth-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn write(&self, name: &str, text: impl ToString) -> String {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Nothing but these; no metadata server is looked for.
fn with(variables: &[(&str, &str)]) -> Surroundings {
    let mut variables: BTreeMap<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    variables.entry("NO_GCE_CHECK".to_owned()).or_insert_with(|| "true".to_owned());
    Surroundings { variables, ..Surroundings::default() }
}

fn federation() -> Federation {
    Federation {
        provider: "projects/12/locations/global/workloadIdentityPools/ci/providers/github".to_owned(),
        service_account: Some("deploy@shop.iam.gserviceaccount.com".to_owned()),
        variable: "CARRACK_ID_TOKEN".to_owned(),
    }
}

async fn token(surroundings: Surroundings, http: Client) -> (Result<Token>, TokenCache) {
    let cache = choose(surroundings, http);
    (cache.token(&Ctx::silent()).await, cache)
}

/// The error, with everything that would be shown of it.
async fn refused(surroundings: Surroundings, http: Client) -> (Error, String) {
    let error = token(surroundings, http).await.0.expect_err("no token");
    let mut lines = vec![format!("{} {error}", error.kind().exit_code())];
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        lines.push(format!("because: {cause}"));
        source = cause.source();
    }
    lines.extend(error.details().iter().map(|line| format!("detail: {line}")));
    lines.extend(error.hints().iter().map(|line| format!("hint: {line}")));
    let text = lines.join("\n");
    for secret in ["client-secret", "refresh-token", "PRIVATE KEY-----\nM", "subject-token", "request-token"] {
        assert!(!text.contains(secret) && !format!("{error:?}").contains(secret), "{text}");
    }
    (error, text)
}

/// A token that says this of itself; nobody here verifies it.
fn unsigned(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}
