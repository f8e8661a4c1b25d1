//! A refusal in the form of the face that it comes from.
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::Service;
use crate::gcp::status::{Code, Status};

/// How a service refuses with `status`.
pub(super) fn refusal(
    service: Option<Service>,
    host: &str,
    status: u16,
    retry_after: Option<u64>,
    message: Option<&str>,
) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match service {
        Some(Service::Registry) => registry(host, status, message),
        Some(Service::OAuth2) => oauth(status, message),
        Some(Service::Metadata | Service::GitHub) => plain(status, message),
        _ => google(status, message),
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// <https://cloud.google.com/apis/design/errors>, with the texts of its table where a service has none of its own.
fn google(status: StatusCode, message: Option<&str>) -> Response {
    let (code, text) = match status.as_u16() {
        400 => (Code::InvalidArgument, "Request contains an invalid argument."),
        401 => (Code::Unauthenticated, "Request had invalid authentication credentials."),
        403 => (Code::PermissionDenied, "The caller does not have permission"),
        404 => (Code::NotFound, "Requested entity was not found."),
        409 => (Code::Aborted, "The operation was aborted."),
        429 => (Code::ResourceExhausted, "Resource has been exhausted (e.g. check quota)."),
        500 => (Code::Internal, "Internal error encountered."),
        501 => (Code::Unimplemented, "Operation is not implemented, or supported, or enabled."),
        503 => (Code::Unavailable, "The service is currently unavailable."),
        504 => (Code::DeadlineExceeded, "Deadline expired before operation could complete."),
        // What Google's front end says when no API does.
        _ => {
            let text = message.or(status.canonical_reason()).unwrap_or("Error");
            let page = format!("<html><title>Error {0}</title><p><b>{0}.</b> {text}</html>\n", status.as_u16());
            return (status, [(header::CONTENT_TYPE, "text/html; charset=UTF-8")], page).into_response();
        }
    };
    Status::new(code, message.unwrap_or(text)).into_response()
}

/// <https://www.rfc-editor.org/rfc/rfc6749#section-5.2>, and what Google says of itself.
fn oauth(status: StatusCode, message: Option<&str>) -> Response {
    let (error, text) = match status.as_u16() {
        400 => ("invalid_grant", "Bad Request"),
        401 => ("invalid_client", "Unauthorized"),
        403 => ("access_denied", "Forbidden"),
        429 => ("rate_limit_exceeded", "Rate Limit Exceeded"),
        _ => ("internal_failure", "Backend Error"),
    };
    (status, Json(json!({ "error": error, "error_description": message.unwrap_or(text) }))).into_response()
}

fn plain(status: StatusCode, message: Option<&str>) -> Response {
    let text = message.or(status.canonical_reason()).unwrap_or("Error");
    (status, format!("{text}\n")).into_response()
}

/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes>; what has no code there is
/// UNKNOWN, and 503 is UNAVAILABLE as distribution says it.
fn registry(host: &str, status: StatusCode, message: Option<&str>) -> Response {
    let (code, text) = match status.as_u16() {
        401 => ("UNAUTHORIZED", "authentication required"),
        403 => ("DENIED", "requested access to the resource is denied"),
        404 => ("NAME_UNKNOWN", "repository name not known to registry"),
        405 => ("UNSUPPORTED", "the operation is unsupported"),
        429 => ("TOOMANYREQUESTS", "too many requests"),
        503 => ("UNAVAILABLE", "service unavailable"),
        _ => ("UNKNOWN", "unknown error"),
    };
    let body = json!({ "errors": [{ "code": code, "message": message.unwrap_or(text) }] });
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::UNAUTHORIZED
        && let Ok(challenge) = HeaderValue::try_from(format!("Bearer realm=\"https://{host}/v2/token\""))
    {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
