//! A registry's refusals: its own words, and the kind they mean.
use carrack_core::{Error, ErrorKind};
use carrack_http::{Response, client::kind_of};
use reqwest::StatusCode;
use serde::Deserialize;

/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes>
#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: String,
    #[serde(default)]
    message: String,
}

/// A registry's own words, and the kind they mean.
pub(crate) fn classify(response: &Response) -> Error {
    let body: Option<ErrorBody> = serde_json::from_slice(&response.body).ok();
    let entry = body.and_then(|body| body.errors.into_iter().next());
    let (method, url) = (&response.request.method, &response.request.url);
    let Some(ErrorEntry { code, message }) = entry else {
        let message = format!("{method} {url} answered {}", response.status);
        return Error::new(by_status(response.status), message);
    };
    let kind = match code.as_str() {
        "UNAUTHORIZED" => ErrorKind::Unauthenticated,
        "DENIED" => ErrorKind::PermissionDenied,
        "NAME_UNKNOWN" => ErrorKind::NotFound,
        "TOOMANYREQUESTS" => ErrorKind::RateLimited,
        // The session is gone, not the blob: a new one may do.
        "BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID" => ErrorKind::Unavailable,
        _ => match by_status(response.status) {
            // Something is missing, and it is not the repository.
            ErrorKind::NotFound => ErrorKind::BuildFailed,
            kind => kind,
        },
    };
    let error = Error::new(kind, format!("{method} {url}: {code}: {message}"));
    if code == "DIGEST_INVALID" {
        return error.hint("remove the folder of the image's layout and build again");
    }
    error
}

fn by_status(status: StatusCode) -> ErrorKind {
    match kind_of(status) {
        ErrorKind::Unclassified | ErrorKind::Conflict => ErrorKind::BuildFailed,
        kind => kind,
    }
}

/// The credentials are not good, whatever else the registry says.
pub(crate) fn refused(response: &Response) -> Error {
    classify(response).with_kind(ErrorKind::Unauthenticated).with_request(response.request.clone())
}

/// An answer that no registry should give.
pub(crate) fn unexpected(response: &Response, how: &str) -> Error {
    let (method, url) = (&response.request.method, &response.request.url);
    Error::new(ErrorKind::BuildFailed, format!("{method} {url} answered {} {how}", response.status))
        .with_request(response.request.clone())
}

#[cfg(test)]
mod tests {
    use carrack_core::error::RequestInfo;

    use super::*;

    #[test]
    fn a_registrys_words_are_kept_and_classed() {
        let classed = |status: u16, body: &str| {
            let response = Response {
                status: StatusCode::from_u16(status).expect("status"),
                headers: Default::default(),
                body: body.to_owned().into(),
                request: RequestInfo {
                    method: "PUT".into(),
                    url: "https://HOST/v2/a".into(),
                    status: Some(status),
                    request_id: None,
                    attempts: 1,
                },
            };
            let error = classify(&response);
            (error.kind(), error.message().to_owned())
        };
        let body = |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"why"}}]}}"#);
        for (status, code, kind) in [
            (403, "DENIED", ErrorKind::PermissionDenied),
            (401, "UNAUTHORIZED", ErrorKind::Unauthenticated),
            (404, "NAME_UNKNOWN", ErrorKind::NotFound),
            (404, "BLOB_UNKNOWN", ErrorKind::BuildFailed),
            (404, "BLOB_UPLOAD_UNKNOWN", ErrorKind::Unavailable),
            (400, "DIGEST_INVALID", ErrorKind::BuildFailed),
            (409, "TAG_IMMUTABLE", ErrorKind::BuildFailed),
            (429, "TOOMANYREQUESTS", ErrorKind::RateLimited),
            (503, "UNAVAILABLE", ErrorKind::Unavailable),
        ] {
            let expected = format!("PUT https://HOST/v2/a: {code}: why");
            assert_eq!(classed(status, &body(code)), (kind, expected));
        }
        for (status, kind) in [
            (404, ErrorKind::NotFound),
            (403, ErrorKind::PermissionDenied),
            (502, ErrorKind::Unavailable),
            (418, ErrorKind::BuildFailed),
        ] {
            assert_eq!(classed(status, "<html>").0, kind);
        }
    }
}
