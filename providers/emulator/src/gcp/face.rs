//! The APIs behind Google's host names: who calls, which method, is the request one, then its handler.
use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Request, header, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

use super::{
    artifact_registry::{self, Repositories},
    call::{Call, FailOperation, unimplemented},
    logging::{self, Logs},
    permissions,
    project::Projects,
    run,
    schema::{Document, Documents, Found, Method},
    status::{Code, Status},
    validate,
};
use crate::iam::{Anonymous, Iam, Principal};

/// <https://cloud.google.com/run/quotas>: far above what a service may be.
const LARGEST_BODY: usize = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Run,
    ArtifactRegistry,
    Logging,
    Iam,
    ResourceManager,
    /// A loopback name: whichever has the path.
    Any,
}

impl Api {
    pub(crate) fn of_host(host: &str) -> Option<Self> {
        match host {
            "run.googleapis.com" => Some(Self::Run),
            "artifactregistry.googleapis.com" => Some(Self::ArtifactRegistry),
            "logging.googleapis.com" => Some(Self::Logging),
            "iam.googleapis.com" => Some(Self::Iam),
            "cloudresourcemanager.googleapis.com" => Some(Self::ResourceManager),
            "127.0.0.1" | "localhost" | "[::1]" => Some(Self::Any),
            _ => host.strip_suffix("-run.googleapis.com").filter(|region| !region.contains('.')).map(|_| Self::Run),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) documents: Documents,
    pub(crate) iam: Arc<Iam>,
    pub(crate) projects: Arc<Projects>,
    pub(crate) run: Arc<run::Store>,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) logs: Arc<Logs>,
}

impl Face {
    pub(crate) async fn answer(&self, api: Api, request: Request<Body>) -> Response {
        match self.handle(api, request).await {
            Ok(value) => Json(value).into_response(),
            Err(status) => status.into_response(),
        }
    }

    /// The API's host and the method's id, when there is one.
    pub(crate) fn method(&self, api: Api, method: &str, path: &str) -> Option<(&'static str, &str)> {
        self.find(api, method, path).ok().map(|(name, _, id, ..)| (name, id))
    }

    /// Somebody else changes the service, or its policy, that a call to `path` is about.
    pub(crate) fn interfere(&self, path: &str) {
        for verb in ["GET", "POST"] {
            if let Ok((_, _, id, _, parameters)) = self.find(Api::Run, verb, path) {
                let policy = id.ends_with(".setIamPolicy");
                run::interfere(&self.run, &self.projects, &parameters, policy);
            }
        }
    }

    async fn handle(&self, api: Api, request: Request<Body>) -> Result<Value, Status> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        if permissions::is_asked(api, parts.method.as_str(), path) {
            let principal = self.authenticate(&parts)?;
            return permissions::test(&principal, &read(body).await?);
        }
        let (name, document, id, method, parameters) = self.find(api, parts.method.as_str(), path)?;
        let principal = self.authenticate(&parts)?;
        let query = validate::query(document, method, parts.uri.query().unwrap_or_default())?;
        let body = match &method.request {
            Some(schema) => validate::body(document, schema, root(id), &read(body).await?)?,
            None => Value::Null,
        };
        let project = parameters.first().map(|named| self.projects.resolve(named)).unwrap_or_default();
        let fail = parts.extensions.get::<FailOperation>().map(|fail| fail.0.clone());
        let call = Call { documents: &self.documents, principal, api: name, project, parameters, query, body, fail };
        self.dispatch(id, &call).await
    }

    async fn dispatch(&self, id: &str, call: &Call<'_>) -> Result<Value, Status> {
        if id == "logging.entries.list" {
            return logging::handle(&self.logs, &self.projects, call);
        }
        if let Some(method) = id.strip_prefix("artifactregistry.projects.locations.") {
            return artifact_registry::handle(&self.repositories, call, method);
        }
        let method = id.strip_prefix("run.projects.locations.").unwrap_or_default();
        match method.rsplit_once('.') {
            Some(("services", verb @ ("getIamPolicy" | "setIamPolicy" | "testIamPermissions"))) => {
                run::handle_policy(&self.run, call, verb)
            }
            Some(("services", verb)) => run::handle_service(&self.run, call, verb),
            Some(("services.revisions", verb)) => run::handle_revision(&self.run, call, verb),
            Some(("operations", verb)) => run::handle_operation(&self.run, call, verb).await,
            _ => Err(unimplemented()),
        }
    }

    fn find(
        &self,
        api: Api,
        http_method: &str,
        path: &str,
    ) -> Result<(&'static str, &Document, &str, &Method, Vec<String>), Status> {
        let all = [
            (Api::Run, "run.googleapis.com", &self.documents.run),
            (Api::ArtifactRegistry, "artifactregistry.googleapis.com", &self.documents.artifact_registry),
            (Api::Logging, "logging.googleapis.com", &self.documents.logging),
        ];
        let mut known = false;
        for (which, name, document) in all {
            if api != which && api != Api::Any {
                continue;
            }
            match document.find(http_method, path) {
                Found::Served(id, method, parameters) => return Ok((name, document, id, method, parameters)),
                Found::Unserved => known = true,
                Found::Nothing => {}
            }
        }
        Err(if known { unimplemented() } else { Status::new(Code::NotFound, "Method not found.") })
    }

    fn authenticate(&self, parts: &Parts) -> Result<Arc<Principal>, Status> {
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.iam.authenticate(authorization).map_err(|why| unauthenticated(why, parts))
    }
}

/// <https://cloud.google.com/docs/authentication/troubleshoot-adc>
fn unauthenticated(why: Anonymous, parts: &Parts) -> Status {
    let (text, reason) = match why {
        Anonymous::Unnamed => (
            "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
            "CREDENTIALS_MISSING",
        ),
        Anonymous::Unknown => (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
            "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        ),
        // https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto
        Anonymous::Expired => (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
            "ACCESS_TOKEN_EXPIRED",
        ),
    };
    Status::new(Code::Unauthenticated, text).with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": { "method": parts.uri.path() },
    }))
}

/// The request's field that a method's body stands for: <https://google.aip.dev/127>
fn root(id: &str) -> &'static str {
    match id {
        "run.projects.locations.services.create" | "run.projects.locations.services.patch" => "service",
        "artifactregistry.projects.locations.repositories.create" => "repository",
        _ => "",
    }
}

/// An empty body is an empty message.
async fn read(body: Body) -> Result<Value, Status> {
    let bytes = Limited::new(body, LARGEST_BODY)
        .collect()
        .await
        .map_err(|error| Status::invalid(format!("Request body cannot be read: {error}")))?
        .to_bytes();
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(&bytes).map_err(|error| Status::invalid(format!("Invalid JSON payload received. {error}")))
}
