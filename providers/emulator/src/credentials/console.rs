//! What only Carrack's own command line asks for: things that somebody in the cloud would have made.
use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{github, gitlab, keys::project_of, oauth::TOKEN_URI};
use crate::state::Cloud;

/// Below `/credentials`.
pub(crate) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/credentials/key", post(key))
        .route("/credentials/user", post(user))
        .route("/credentials/github", post(github_job))
        .route("/credentials/gitlab", post(gitlab_job))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    email: String,
    /// Its endpoint is the loopback address, which works without a proxy.
    #[serde(default)]
    loopback: bool,
}

/// A service account's key file.
async fn key(State(cloud): State<Arc<Cloud>>, Json(Whose { email, loopback }): Json<Whose>) -> Response {
    let Some(project) = project_of(&email).or_else(|| email.ends_with(".gserviceaccount.com").then_some("local"))
    else {
        return refuse(&format!("`{email}` is no service account: it is NAME@PROJECT.iam.gserviceaccount.com"));
    };
    match cloud.credentials.new_key(project, &email, &token_uri(&cloud, loopback)).await {
        Ok((file, _)) => Json(json!({ "file": file.as_str() })).into_response(),
        Err(status) => refuse(&status.message),
    }
}

/// The file that `gcloud auth application-default login` writes.
async fn user(State(cloud): State<Arc<Cloud>>, Json(Whose { email, loopback }): Json<Whose>) -> Response {
    if !email.contains('@') || email.ends_with(".gserviceaccount.com") {
        return refuse(&format!("`{email}` is no user's address"));
    }
    let (refresh_token, grant) = cloud.credentials.users.agree(email);
    let mut file = json!({
        "account": "",
        "client_id": grant.client_id,
        "client_secret": grant.client_secret,
        "refresh_token": refresh_token,
        "type": "authorized_user",
        "universe_domain": "googleapis.com",
    });
    if loopback {
        file["token_uri"] = json!(token_uri(&cloud, true));
    }
    Json(json!({ "file": format!("{file:#}\n") })).into_response()
}

async fn github_job(State(cloud): State<Arc<Cloud>>, Json(job): Json<github::Job>) -> Response {
    if let Err(why) = job.check() {
        return refuse(&why);
    }
    let (url, token) = cloud.credentials.begin_job(job, &cloud.addresses.google);
    Json(json!({ "url": url, "token": token })).into_response()
}

async fn gitlab_job(State(cloud): State<Arc<Cloud>>, Json(job): Json<gitlab::Job>) -> Response {
    if let Err(why) = job.check() {
        return refuse(&why);
    }
    match cloud.credentials.gitlab_token(&job).await {
        Ok(token) => Json(json!({ "token": token })).into_response(),
        Err(failed) => refuse(&failed.to_string()),
    }
}

fn token_uri(cloud: &Cloud, loopback: bool) -> String {
    if loopback { format!("{}/token", cloud.addresses.google) } else { TOKEN_URI.to_owned() }
}

fn refuse(text: &str) -> Response {
    let body: Value = json!({ "error": text });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
