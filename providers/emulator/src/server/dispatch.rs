//! From a request's host name to whoever answers it. Every face comes through here.
use std::sync::Arc;

use axum::{body::Body, response::IntoResponse, response::Response};
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use jiff::Timestamp;
use tower::ServiceExt as _;

use crate::{
    credentials::Endpoint,
    faults::{self, Service, Subject},
    gcp::{
        access::is_registry,
        face::Api,
        status::{Code, Status},
    },
    requests::Call,
    state::Cloud,
};

/// Google's APIs and registries by their names; a loopback name is all APIs in one.
pub(crate) async fn google(cloud: Arc<Cloud>, request: Request<Body>) -> Response {
    let host = host(request.uri(), request.headers());
    let call = describe(&request, &host);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let subject = subject(&cloud, &host, &method, &path, request.headers());
    faults::served(&cloud, subject, call, request, |request| dispatch(&cloud, &host, request)).await
}

/// The registry's own port: repositories by their whole name, no token.
pub(crate) async fn registry(cloud: Arc<Cloud>, request: Request<Body>) -> Response {
    let call = describe(&request, &host(request.uri(), request.headers()));
    // It asks for no token, so a web page must not reach it: neither by a name of its own nor across origins.
    let page = !is_loopback(&call.host) || request.headers().contains_key(header::ORIGIN);
    let routes = cloud.images.routes(cloud.access.clone(), None);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let subject = of_registry(&method, &path, request.headers());
    let answer = async |request| {
        if page { StatusCode::FORBIDDEN.into_response() } else { infallible(routes.oneshot(request).await) }
    };
    faults::served(&cloud, subject, call, request, answer).await
}

/// What a fault may look at.
fn subject<'a>(cloud: &Cloud, host: &str, method: &'a Method, path: &'a str, headers: &HeaderMap) -> Subject<'a> {
    let name = without_port(host);
    if is_registry(name) {
        return of_registry(method, path, headers);
    }
    if let Some(endpoint) = Endpoint::of(name, path, headers) {
        return Subject { service: endpoint.service(), ..of_registry(method, path, headers) };
    }
    let found = Api::of_host(name).and_then(|api| cloud.google.method(api, method.as_str(), path));
    let (api, id) = found.unwrap_or((name, ""));
    Subject {
        service: Service::of_host(api),
        changes: matches!(id.rsplit_once('.'), Some((parent, "create" | "patch" | "delete" | "run")) if BEGIN.contains(&parent)),
        has_version: VERSIONED.contains(&id),
        ..of_registry(method, path, headers)
    }
}

fn of_registry<'a>(method: &'a Method, path: &'a str, headers: &HeaderMap) -> Subject<'a> {
    Subject {
        service: Some(Service::Registry),
        method: method.as_str(),
        path,
        changes: false,
        has_version: false,
        has_token: headers.contains_key(header::AUTHORIZATION),
    }
}

/// Resources whose changes are operations, and jobs' runs.
const BEGIN: [&str; 3] = [
    "run.projects.locations.services",
    "run.projects.locations.jobs",
    "artifactregistry.projects.locations.repositories",
];
/// Calls that may carry an etag.
const VERSIONED: [&str; 7] = [
    "run.projects.locations.jobs.patch",
    "run.projects.locations.jobs.delete",
    "run.projects.locations.jobs.run",
    "run.projects.locations.jobs.setIamPolicy",
    "run.projects.locations.services.patch",
    "run.projects.locations.services.delete",
    "run.projects.locations.services.setIamPolicy",
];

async fn dispatch(cloud: &Cloud, host: &str, request: Request<Body>) -> Response {
    let name = without_port(host);
    if is_registry(name) {
        let routes = cloud.images.routes(cloud.access.clone(), Some(name.to_owned()));
        return infallible(routes.oneshot(request).await);
    }
    if let Some(endpoint) = Endpoint::of(name, request.uri().path(), request.headers()) {
        return cloud.credentials.answer(endpoint, host, request).await;
    }
    match Api::of_host(name) {
        Some(api) => cloud.google.answer(api, name, request).await,
        None => {
            let text = format!("The local cloud does not answer for the host '{name}'.");
            Status::new(Code::NotFound, text).into_response()
        }
    }
}

/// Whether somebody answers here for a cloud's host. A loopback name is no cloud's.
pub(super) fn answers_for(name: &str) -> bool {
    is_registry(name) || Endpoint::is_host(name) || Api::of_host(name).is_some_and(|api| api != Api::Any)
}

fn describe(request: &Request<Body>, host: &str) -> Call {
    Call {
        method: request.method().to_string(),
        host: host.to_owned(),
        path_and_query: request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        at: Timestamp::now(),
    }
}

fn infallible(response: Result<Response, std::convert::Infallible>) -> Response {
    match response {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The target's own host before the header: <https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2>
pub(crate) fn host(uri: &Uri, headers: &HeaderMap) -> String {
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let header = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.or_else(header).unwrap_or_default().to_ascii_lowercase()
}

/// Whether a request was sent to this machine by a name that no web page can have.
pub(crate) fn is_loopback(host: &str) -> bool {
    matches!(without_port(host), "127.0.0.1" | "localhost" | "[::1]")
}

pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let uri: Uri = "http://run.googleapis.com:80/v2/x".parse().expect("a uri");
        assert_eq!(without_port(&host(&uri, &HeaderMap::new())), "run.googleapis.com");
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, http::HeaderValue::from_static("LocalHost:8585"));
        let origin: Uri = "/v2/x".parse().expect("a uri");
        assert_eq!(without_port(&host(&origin, &headers)), "localhost");
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("[::1]:80"), "[::1]");
        assert!(is_loopback("localhost:5000") && !is_loopback("localhost.example:5000"));
    }
}
