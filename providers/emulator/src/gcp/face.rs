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
    iam::{self, Authority, Grants, ServiceAccounts},
    logging::{self, Logs},
    numbers,
    project::Projects,
    run,
    schema::{Document, Documents, Found, Method},
    secret_manager::{self, Secrets},
    service_usage,
    status::{Code, Status},
    validate,
};
use crate::{
    credentials::Credentials,
    iam::{Anonymous, Iam, Principal},
    state::Images,
};

/// <https://cloud.google.com/run/quotas>: far above what a service may be.
const LARGEST_BODY: usize = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Run,
    ArtifactRegistry,
    Logging,
    SecretManager,
    ServiceUsage,
    Iam,
    IamCredentials,
    Sts,
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
            "secretmanager.googleapis.com" => Some(Self::SecretManager),
            "serviceusage.googleapis.com" => Some(Self::ServiceUsage),
            "iam.googleapis.com" => Some(Self::Iam),
            "iamcredentials.googleapis.com" => Some(Self::IamCredentials),
            "sts.googleapis.com" => Some(Self::Sts),
            "cloudresourcemanager.googleapis.com" => Some(Self::ResourceManager),
            "127.0.0.1" | "localhost" | "[::1]" => Some(Self::Any),
            _ => region(host).map(|_| Self::Run),
        }
    }
}

/// Of Cloud Run's regional names, the only ones that answer for a namespace:
/// <https://cloud.google.com/run/docs/reference/rest#rest_endpoints>
fn region(host: &str) -> Option<&str> {
    host.strip_suffix("-run.googleapis.com").filter(|region| !region.is_empty() && !region.contains('.'))
}

/// A method, by the names that a request has for it.
struct Named<'a> {
    /// `run.googleapis.com`.
    api: &'static str,
    document: &'a Document,
    id: &'a str,
    method: &'a Method,
    parameters: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) documents: Documents,
    pub(crate) iam: Arc<Iam>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) accounts: Arc<ServiceAccounts>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) authority: Authority,
    pub(crate) projects: Arc<Projects>,
    pub(crate) run: Arc<run::Store>,
    pub(crate) jobs: Arc<run::Jobs>,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) images: Arc<dyn Images>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) logs: Arc<Logs>,
}

impl Face {
    /// `host` is the API's name, without a port.
    pub(crate) async fn answer(&self, api: Api, host: &str, request: Request<Body>) -> Response {
        match self.handle(api, host, request).await {
            Ok(value) => Json(value).into_response(),
            Err(status) => status.into_response(),
        }
    }

    /// The API's host and the method's id, when there is one.
    pub(crate) fn method(&self, api: Api, method: &str, path: &str) -> Option<(&'static str, &str)> {
        self.find(api, method, path).ok().map(|named| (named.api, named.id))
    }

    /// Somebody else changes the service or the job, or its policy, that a call to `path` is about.
    pub(crate) fn interfere(&self, path: &str) {
        for verb in ["GET", "POST"] {
            if let Ok(Named { id, parameters, .. }) = self.find(Api::Run, verb, path) {
                let policy = id.ends_with(".setIamPolicy");
                if id.starts_with("run.projects.locations.jobs.") {
                    run::interfere_with_job(&self.jobs, &self.projects, &parameters, policy);
                } else {
                    run::interfere(&self.run, &self.projects, &parameters, policy);
                }
            }
        }
    }

    async fn handle(&self, api: Api, host: &str, request: Request<Body>) -> Result<Value, Status> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let Named { api, document, id, method, mut parameters } = self.find(api, parts.method.as_str(), path)?;
        // Taken whatever comes of it: who is refused has sent it, and a recording shows it.
        let sent = match &method.request {
            Some(schema) => Some((schema, read(body).await)),
            None => None,
        };
        let principal = self.authenticate(&parts)?;
        let asked = parts.uri.query().unwrap_or_default();
        let query = validate::query(document, method, asked)?;
        let body = match sent {
            Some((schema, sent)) => validate::body(document, schema, root(id), &sent?)?,
            None => Value::Null,
        };
        if id.starts_with("run.namespaces.") {
            // How gcloud lists the jobs of all locations.
            let everywhere = (id == "run.namespaces.jobs.list").then_some("-");
            let region = region(host).or(everywhere).ok_or_else(|| {
                Status::invalid(format!(
                    "Namespaces are served by the regional endpoints only: LOCATION-run.googleapis.com, not '{host}'."
                ))
            })?;
            parameters.insert(1, region.to_owned());
        }
        if id.starts_with("serviceusage.services.") && parameters.remove(0) != "projects" {
            return Err(unimplemented());
        }
        let named = parameters.first().cloned();
        // `-` is the project that a service account's name tells.
        let named = named.filter(|named| named != "-");
        let project = named.as_deref().map(|named| self.projects.resolve(named)).unwrap_or_default();
        let fail = parts.extensions.get::<FailOperation>().map(|fail| fail.0.clone());
        let (documents, authority, version) = (&self.documents, &self.authority, document.version.as_str());
        let call = Call { documents, principal, authority, api, version, project, parameters, query, body, fail };
        let mut answer = self.permitted(id, &call).await?;
        // What was made there goes by the name that the project has now.
        if let Some(named) = named.filter(|_| parts.method != http::Method::GET) {
            self.projects.keep(&named);
        }
        if let Some(schema) = method.response.as_ref().filter(|_| numbers::are_asked(asked)) {
            numbers::encode(document, schema, &mut answer);
        }
        Ok(answer)
    }

    /// What the method's permissions allow, for all methods in one way.
    async fn permitted(&self, id: &str, call: &Call<'_>) -> Result<Value, Status> {
        // By a loopback name the path is Artifact Registry's as well.
        if id == "run.projects.locations.operations.get" && artifact_registry::has_operation(&self.repositories, call) {
            return artifact_registry::handle(&self.repositories, &*self.images, call, "operations.get").await;
        }
        self.authority.check(call, id)?;
        if let Some(answer) = self.authority.which(call, id) {
            return answer;
        }
        if id.ends_with(".setIamPolicy") {
            iam::check_policy(&self.grants, call)?;
        }
        self.dispatch(id, call).await
    }

    async fn dispatch(&self, id: &str, call: &Call<'_>) -> Result<Value, Status> {
        if (call.api, call.version) == ("run.googleapis.com", "v1") {
            return match id.rsplit('.').nth(1) {
                Some("jobs" | "executions" | "tasks") => run::handle_knative_jobs(&self.jobs, call, id),
                _ => run::handle_knative(&self.run, call, id).await,
            };
        }
        match id {
            "serviceusage.services.get" => return service_usage::get(call),
            "serviceusage.services.batchEnable" => return service_usage::enable(call),
            _ => {}
        }
        if let Some(verb) = id.strip_prefix("cloudresourcemanager.projects.") {
            return iam::handle_project(&self.grants, call, verb);
        }
        if let Some(method) = id.strip_prefix("iam.projects.serviceAccounts.keys.") {
            return self.credentials.handle_key(call, method).await;
        }
        if let Some(method) = id.strip_prefix("iam.projects.locations.workloadIdentityPools.") {
            return self.credentials.handle_pool(call, method);
        }
        if id.starts_with("iam.") {
            // A number tells nothing any more once its account is gone.
            let email = self.accounts.email(&call.parameter(1));
            let answer = iam::handle(&self.authority, call, id);
            if id == "iam.projects.serviceAccounts.delete" && answer.is_ok() {
                self.credentials.forget(&email);
            }
            return answer;
        }
        if id == "logging.entries.list" {
            return logging::handle(&self.logs, &self.projects, call);
        }
        if let Some(method) = id.strip_prefix("artifactregistry.projects.locations.") {
            return artifact_registry::handle(&self.repositories, &*self.images, call, method).await;
        }
        if let Some(method) = id.strip_prefix("secretmanager.projects.secrets.") {
            return secret_manager::handle(&self.secrets, call, method);
        }
        if let Some(method) = id.strip_prefix("iamcredentials.projects.serviceAccounts.") {
            return self.credentials.impersonate(call, method).await;
        }
        let method = id.strip_prefix("run.projects.locations.").unwrap_or_default();
        if method.starts_with("jobs.") {
            return run::handle_job(&self.jobs, call, method);
        }
        match method.rsplit_once('.') {
            Some(("services", verb @ ("getIamPolicy" | "setIamPolicy"))) => run::handle_policy(&self.run, call, verb),
            Some(("services", verb)) => run::handle_service(&self.run, call, verb),
            Some(("services.revisions", verb)) => run::handle_revision(&self.run, call, verb),
            Some(("operations", verb)) => run::handle_operation(&self.run, call, verb).await,
            _ => Err(unimplemented()),
        }
    }

    fn find(&self, api: Api, http_method: &str, path: &str) -> Result<Named<'_>, Status> {
        let documents = &self.documents;
        let all = [
            (Api::Run, "run.googleapis.com", &documents.run),
            (Api::Run, "run.googleapis.com", &documents.run_v1),
            (Api::SecretManager, "secretmanager.googleapis.com", &documents.secret_manager),
            (Api::ArtifactRegistry, "artifactregistry.googleapis.com", &documents.artifact_registry),
            (Api::Logging, "logging.googleapis.com", &documents.logging),
            (Api::ServiceUsage, "serviceusage.googleapis.com", &documents.service_usage),
            (Api::ResourceManager, "cloudresourcemanager.googleapis.com", &documents.resource_manager),
            (Api::ResourceManager, "cloudresourcemanager.googleapis.com", &documents.resource_manager_v3),
            (Api::Iam, "iam.googleapis.com", &documents.iam),
            (Api::IamCredentials, "iamcredentials.googleapis.com", &documents.iam_credentials),
            (Api::Sts, "sts.googleapis.com", &documents.sts),
        ];
        let mut known = false;
        for (which, host, document) in all {
            if api != which && api != Api::Any {
                continue;
            }
            match document.find(http_method, path) {
                Found::Served(id, method, parameters) => {
                    return Ok(Named { api: host, document, id, method, parameters });
                }
                Found::Unserved => known = true,
                Found::Nothing => {}
            }
        }
        Err(if known { unimplemented() } else { Status::new(Code::NotFound, "Method not found.") })
    }

    fn authenticate(&self, parts: &Parts) -> Result<Arc<Principal>, Status> {
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let principal = self.iam.authenticate(authorization).map_err(|why| unauthenticated(why, parts))?;
        if self.accounts.bars(principal.member()) { Err(disabled(parts)) } else { Ok(principal) }
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
    refused_credential(text, reason, parts)
}

/// The account behind a token was disabled after it was made:
/// <https://cloud.google.com/iam/docs/service-accounts-disable-enable>
fn disabled(parts: &Parts) -> Status {
    let text = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.";
    refused_credential(text, "ACCOUNT_STATE_INVALID", parts)
}

fn refused_credential(text: &str, reason: &str, parts: &Parts) -> Status {
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
        "run.projects.locations.services.create"
        | "run.projects.locations.services.patch"
        | "run.projects.locations.services.replaceService"
        | "run.namespaces.services.create"
        | "run.namespaces.services.replaceService" => "service",
        "run.projects.locations.jobs.create"
        | "run.projects.locations.jobs.patch"
        | "run.namespaces.jobs.create"
        | "run.namespaces.jobs.replaceJob" => "job",
        "secretmanager.projects.secrets.create" | "secretmanager.projects.secrets.patch" => "secret",
        "artifactregistry.projects.locations.repositories.create" => "repository",
        "iam.projects.roles.patch" => "role",
        "iam.projects.locations.workloadIdentityPools.create"
        | "iam.projects.locations.workloadIdentityPools.patch" => "workload_identity_pool",
        "iam.projects.locations.workloadIdentityPools.providers.create"
        | "iam.projects.locations.workloadIdentityPools.providers.patch" => "workload_identity_pool_provider",
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
