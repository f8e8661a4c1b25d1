//! The face that only Carrack uses: status, requests, faults, principals, reset, stop.
use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use http::{Request, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    credentials,
    faults::{Fault, FaultRule},
    iam::{self, Member, Permissions},
    server::dispatch::{host, is_loopback},
    state::Cloud,
};

/// Of principals that no project is said of; `--local` without a target has it too.
const PROJECT: &str = "local";

pub(crate) fn router(cloud: Arc<Cloud>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/requests", get(requests).delete(forget_requests))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(clear_fault))
        .route("/principals", post(add_principal))
        .route("/reset", post(reset))
        .route("/stop", post(stop))
        .merge(credentials::routes())
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "no such path on the console") })
        .layer(middleware::from_fn_with_state(cloud.clone(), guard))
        .with_state(cloud)
}

fn refuse(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}

/// Loopback alone is no protection: a web page can reach it, by its own name (rebinding) or across origins.
async fn guard(State(cloud): State<Arc<Cloud>>, request: Request<Body>, next: Next) -> Response {
    if !is_loopback(&host(request.uri(), request.headers())) {
        return refuse(StatusCode::FORBIDDEN, "the console answers to a loopback name only");
    }
    let origin = request.headers().get(header::ORIGIN);
    if origin.is_some_and(|origin| origin.as_bytes() != cloud.addresses.console.as_bytes()) {
        return refuse(StatusCode::FORBIDDEN, "the console answers no other origin");
    }
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| iam::token(value.to_str().ok()?));
    if !token.is_some_and(|token| cloud.iam.is_default_token(&token)) {
        return refuse(StatusCode::UNAUTHORIZED, "the local cloud's token is needed");
    }
    next.run(request).await
}

async fn status(State(cloud): State<Arc<Cloud>>) -> Json<Value> {
    let services: Vec<_> = cloud
        .google
        .run
        .all()
        .iter()
        .map(|service| {
            let key = &service.key;
            let url = service.state().url();
            json!({ "project": key.project, "location": key.location, "name": key.service, "url": url })
        })
        .collect();
    let (runtime, why) = match &cloud.runtime {
        Ok(kind) => (json!(kind), Value::Null),
        Err(why) => (Value::Null, json!(why.as_ref())),
    };
    Json(json!({
        "addresses": cloud.addresses,
        "runtime": runtime,
        "runtimeError": why,
        "uptimeSeconds": cloud.started.elapsed().as_secs(),
        "services": services,
        "images": cloud.images.list(),
    }))
}

async fn requests(State(cloud): State<Arc<Cloud>>) -> Json<Value> {
    Json(json!(cloud.requests.all()))
}

async fn forget_requests(State(cloud): State<Arc<Cloud>>) -> StatusCode {
    cloud.requests.clear();
    StatusCode::NO_CONTENT
}

async fn faults(State(cloud): State<Arc<Cloud>>) -> Json<Value> {
    Json(json!(cloud.faults.list()))
}

async fn add_fault(State(cloud): State<Arc<Cloud>>, Json(rule): Json<FaultRule>) -> Response {
    match rule.check() {
        Ok(()) => Json(json!({ "id": cloud.faults.add(rule) })).into_response(),
        Err(why) => refuse(StatusCode::BAD_REQUEST, &why.to_string()),
    }
}

async fn clear_faults(State(cloud): State<Arc<Cloud>>) -> Json<Value> {
    Json(json!({ "cleared": clear(&cloud, None) }))
}

async fn clear_fault(State(cloud): State<Arc<Cloud>>, Path(id): Path<u64>) -> Response {
    match clear(&cloud, Some(id)) {
        0 => refuse(StatusCode::NOT_FOUND, &format!("there is no rule {id}")),
        cleared => Json(json!({ "cleared": cleared })).into_response(),
    }
}

/// With the last rule that ends tokens goes what they did: nobody keeps which rule ended which.
fn clear(cloud: &Cloud, id: Option<u64>) -> usize {
    let gone = cloud.faults.clear(id);
    if gone.iter().any(|rule| rule.fault == Fault::ExpiredToken) && !cloud.faults.has(&Fault::ExpiredToken) {
        cloud.iam.revive();
    }
    gone.len()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewPrincipal {
    email: String,
    /// What it may do in every project. Without these and without roles, it may do all.
    permissions: Option<BTreeSet<String>>,
    /// Each is one more binding in the policy of `project`.
    roles: Option<BTreeSet<String>>,
    project: Option<String>,
    /// Its token ends after this.
    life_seconds: Option<u32>,
}

async fn add_principal(State(cloud): State<Arc<Cloud>>, Json(new): Json<NewPrincipal>) -> Response {
    let NewPrincipal { email, permissions, roles, project, life_seconds } = new;
    if email.is_empty() || email.contains(|letter: char| letter.is_whitespace() || letter == ':') {
        return refuse(StatusCode::BAD_REQUEST, &format!("`{email}` is no e-mail address"));
    }
    let grants = &cloud.google.grants;
    if let Some(role) = roles.iter().flatten().find(|role| !grants.knows(role)) {
        return refuse(StatusCode::BAD_REQUEST, &format!("there is no role `{role}`"));
    }
    let permissions = match permissions {
        Some(permissions) => Permissions::Only(permissions),
        None if roles.is_some() => Permissions::Only(BTreeSet::new()),
        None => Permissions::All,
    };
    let member = Member::of_email(email.clone());
    let project = cloud.google.projects.keep(project.as_deref().unwrap_or(PROJECT));
    for role in roles.iter().flatten() {
        grants.bind(&project, role, &member);
    }
    let life = life_seconds.map(|seconds| Duration::from_secs(seconds.into()));
    Json(json!({ "token": cloud.iam.add(email, permissions, life) })).into_response()
}

async fn reset(State(cloud): State<Arc<Cloud>>) -> Response {
    // A task of its own: it goes on when the caller goes away, and leaves nothing half removed.
    match tokio::spawn(async move { cloud.reset().await }).await.map_err(io::Error::from).flatten() {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &format!("images were not removed: {error}")),
    }
}

async fn stop(State(cloud): State<Arc<Cloud>>) -> StatusCode {
    cloud.stop.cancel();
    StatusCode::ACCEPTED
}
