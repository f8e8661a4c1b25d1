//! `/v2/…` as one handler: a repository's name has slashes, so the path is taken apart here and not by the router.
mod blobs;
mod lists;
mod login;
mod manifests;
mod path;
mod range;
mod uploads;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::any,
};

use self::path::Endpoint;
use super::{
    Registry,
    error::{Code, Failure},
    name,
};
use crate::registry_access::{Access, Action};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// One face: who may, and what stands before the names.
#[derive(Clone)]
struct Face {
    registry: Registry,
    access: Arc<dyn Access>,
    prefix: Option<String>,
}

/// A repository by the name that the client uses and the name that it is stored by.
#[derive(Clone, Debug)]
struct Repository {
    shown: String,
    stored: String,
}

type Answer = Result<Response, Failure>;

pub(super) fn router(registry: Registry, access: Arc<dyn Access>, prefix: Option<String>) -> Router {
    Router::new().route("/v2", any(serve)).route("/v2/", any(serve)).route("/v2/{*path}", any(serve)).with_state(Face {
        registry,
        access,
        prefix,
    })
}

async fn serve(State(face): State<Face>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = if matches!(parts.method, Method::GET | Method::HEAD) {
        face.dispatch(&parts, body).await
    } else {
        // In a task of its own: a client that goes away must not stop a write halfway, file and hash would differ.
        match tokio::spawn(async move { face.dispatch(&parts, body).await }).await {
            Ok(answer) => answer,
            Err(error) => Err(Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::Unknown,
                format!("the local registry failed: {error}"),
            )),
        }
    };
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

impl Face {
    async fn dispatch(&self, parts: &Parts, body: Body) -> Answer {
        let endpoint = path::parse(parts.uri.path())?;
        let allowed = endpoint.methods();
        let method = Verb::of(&parts.method);
        match (endpoint, method) {
            (Endpoint::Base, Verb::Read) => self.base(parts),
            (Endpoint::Token, Verb::Read) => self.token(parts),
            (Endpoint::Catalog, Verb::Read) => self.catalog(parts),
            (Endpoint::Tags { name }, Verb::Read) => self.tags(&self.enter(parts, &name, Action::Pull)?, parts),
            (Endpoint::Referrers { name, digest }, Verb::Read) => {
                self.referrers(&self.enter(parts, &name, Action::Pull)?, &digest, parts)
            }
            (Endpoint::Manifest { name, reference }, Verb::Read) => {
                self.get_manifest(&self.enter(parts, &name, Action::Pull)?, &reference, parts).await
            }
            (Endpoint::Manifest { name, reference }, Verb::Put) => {
                self.put_manifest(&self.enter(parts, &name, Action::Push)?, &reference, parts, body).await
            }
            (Endpoint::Manifest { name, reference }, Verb::Delete) => {
                self.delete_manifest(&self.enter(parts, &name, Action::Delete)?, &reference)
            }
            (Endpoint::Blob { name, digest }, Verb::Read) => {
                self.get_blob(&self.enter(parts, &name, Action::Pull)?, &digest, parts).await
            }
            (Endpoint::Blob { name, digest }, Verb::Delete) => {
                self.delete_blob(&self.enter(parts, &name, Action::Delete)?, &digest)
            }
            (Endpoint::Uploads { name }, Verb::Post) => {
                self.start_upload(&self.enter(parts, &name, Action::Push)?, parts, body).await
            }
            (Endpoint::Upload { name, id }, method) => {
                let repository = self.enter(parts, &name, Action::Push)?;
                match method {
                    Verb::Read => self.upload_status(&repository, &id).await,
                    Verb::Patch => self.patch_upload(&repository, &id, parts, body).await,
                    Verb::Put => self.put_upload(&repository, &id, parts, body).await,
                    Verb::Delete => self.delete_upload(&repository, &id).await,
                    Verb::Post | Verb::Other => Err(not_allowed(parts, allowed)),
                }
            }
            _ => Err(not_allowed(parts, allowed)),
        }
    }

    /// Grammar first, then access: a name that can not exist is told so to anybody.
    fn enter(&self, parts: &Parts, name: &str, action: Action) -> Result<Repository, Failure> {
        let repository = self.repository(name)?;
        self.allow(parts, Some(&repository), action)?;
        Ok(repository)
    }

    fn repository(&self, name: &str) -> Result<Repository, Failure> {
        let stored = match &self.prefix {
            Some(prefix) => format!("{prefix}/{name}"),
            None => name.to_owned(),
        };
        // The whole is measured too: it is what the runtime asks by later.
        if name::is_name(name) && name::is_name(&stored) {
            return Ok(Repository { shown: name.to_owned(), stored });
        }
        Err(Failure::bad_request(Code::NameInvalid, "the repository's name is not valid")
            .detail(serde_json::json!({ "name": name })))
    }
}

/// GET and HEAD differ only in whether a body is sent.
#[derive(Clone, Copy)]
enum Verb {
    Read,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

impl Verb {
    fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Read,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}

/// <https://www.rfc-editor.org/rfc/rfc9110#section-15.5.6>: the answer names the methods that are.
fn not_allowed(parts: &Parts, allowed: &'static str) -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, format!("{} is not supported here", parts.method))
        .header(header::ALLOW, allowed)
}

fn text_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The first value of a query parameter, decoded.
fn query(parts: &Parts, key: &str) -> Option<String> {
    url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.into_owned())
}

/// 201 with where it is and what it is.
fn created(location: String, digest: &super::digest::Digest) -> Response {
    (StatusCode::CREATED, [(header::LOCATION, location), (CONTENT_DIGEST, digest.to_string())]).into_response()
}
