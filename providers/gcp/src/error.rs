//! Google's error bodies: <https://cloud.google.com/apis/design/errors>.
use carrack_core::{Error, ErrorKind, evidence::Evidence};
use carrack_http::{Response, client::kind_of};
use serde::Deserialize;
use serde_json::Value;

use crate::{permissions::named_in, run::signs::of_refusal};

#[derive(Deserialize)]
struct Envelope {
    error: Body,
}

#[derive(Deserialize)]
struct Body {
    message: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    details: Vec<Value>,
}

/// Reads `{"error":{"code","message","status"}}`.
pub(crate) fn classify(response: &Response) -> Error {
    let Ok(Envelope { error }) = response.json::<Envelope>() else {
        let request = &response.request;
        return Error::new(
            kind_of(response.status),
            format!("{} {} answered {}", request.method, request.url, response.status),
        );
    };
    let kind = match error.status.as_str() {
        "UNAUTHENTICATED" => ErrorKind::Unauthenticated,
        "PERMISSION_DENIED" => ErrorKind::PermissionDenied,
        "NOT_FOUND" => ErrorKind::NotFound,
        "ABORTED" | "ALREADY_EXISTS" => ErrorKind::Conflict,
        // Per-minute limits pass; <https://cloud.google.com/run/quotas> has both kinds under this status.
        "RESOURCE_EXHAUSTED" => ErrorKind::RateLimited,
        "UNAVAILABLE" | "INTERNAL" => ErrorKind::Unavailable,
        "DEADLINE_EXCEEDED" => ErrorKind::Timeout,
        _ if error.message.contains("Quota violated:") => ErrorKind::QuotaExceeded,
        _ => kind_of(response.status),
    };
    let refused = Error::new(kind, error.message.trim_end_matches('.'));
    let told = Evidence { signs: of_refusal(&error.message).into_iter().collect(), ..Evidence::default() };
    if let Some(cause) = told.cause() {
        return refused.with_cause(cause);
    }
    // https://cloud.google.com/apis/design/errors#error_info
    let permission = error.details.iter().find_map(|detail| detail["metadata"]["permission"].as_str());
    match permission {
        _ if kind != ErrorKind::PermissionDenied => refused,
        Some(permission) => refused.with_permission(Some(permission.to_owned())),
        None => refused.with_permission(named_in(&error.message)),
    }
}

/// The kind of a `google.rpc.Code`: <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>.
pub(crate) fn kind_of_code(code: i64, otherwise: ErrorKind) -> ErrorKind {
    match code {
        4 => ErrorKind::Timeout,
        7 => ErrorKind::PermissionDenied,
        8 => ErrorKind::QuotaExceeded,
        10 => ErrorKind::Conflict,
        14 => ErrorKind::Unavailable,
        16 => ErrorKind::Unauthenticated,
        _ => otherwise,
    }
}
