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
    iam::{self, Permissions},
    server::dispatch::{host, is_loopback},
    state::Cloud,
};

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
    /// Without, it may do all.
    permissions: Option<BTreeSet<String>>,
    /// Its token ends after this.
    life_seconds: Option<u32>,
}

async fn add_principal(State(cloud): State<Arc<Cloud>>, Json(new): Json<NewPrincipal>) -> Json<Value> {
    let permissions = new.permissions.map_or(Permissions::All, Permissions::Only);
    let life = new.life_seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let token = cloud.iam.add(new.email, permissions, life);
    Json(json!({ "token": token }))
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
