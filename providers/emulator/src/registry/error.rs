//! What a refused request is answered.
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes>
use std::io;

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    /// Not in the specification; distribution's code for a bad `n`.
    PaginationNumberInvalid,
    SizeInvalid,
    #[serde(rename = "TOOMANYREQUESTS")]
    TooManyRequests,
    Unauthorized,
    /// Not in the specification; distribution's code for a registry that cannot serve now.
    Unavailable,
    Unknown,
    Unsupported,
}

#[derive(Debug, Serialize)]
struct Problem {
    code: Code,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Value>,
}

/// A refusal: status, one or more problems, and headers that help the client on.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    problems: Vec<Problem>,
    headers: Vec<(HeaderName, String)>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        let problem = Problem { code, message: message.into(), detail: None };
        Self { status, problems: vec![problem], headers: Vec::new() }
    }

    pub(super) fn bad_request(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn not_found(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// One problem for each detail, all with the same code and message.
    pub(super) fn each(
        status: StatusCode,
        code: Code,
        message: &str,
        details: impl IntoIterator<Item = Value>,
    ) -> Self {
        let problems = details
            .into_iter()
            .map(|detail| Problem { code, message: message.to_owned(), detail: Some(detail) })
            .collect();
        Self { status, problems, headers: Vec::new() }
    }

    pub(super) fn detail(mut self, detail: Value) -> Self {
        if let Some(problem) = self.problems.first_mut() {
            problem.detail = Some(detail);
        }
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                Code::Unavailable,
                format!("the local registry has no space left on its disk: {error}"),
            ),
            _ => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::Unknown,
                format!("the local registry cannot use its folder: {error}"),
            ),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            errors: Vec<Problem>,
        }
        if self.status.is_server_error() {
            tracing::warn!(status = %self.status, problems = ?self.problems, "the registry failed");
        }
        let mut response = (self.status, Json(Body { errors: self.problems })).into_response();
        for (name, value) in self.headers {
            // A value that no header can hold came from the client; the answer goes without it.
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        debug_assert!(response.headers().contains_key(header::CONTENT_TYPE));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_an_internal_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(failure.status(), StatusCode::INSUFFICIENT_STORAGE);
        let failure = Failure::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(failure.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn codes_are_the_specifications() {
        let text = |code| serde_json::to_value(code).unwrap();
        assert_eq!(text(Code::BlobUploadUnknown), "BLOB_UPLOAD_UNKNOWN");
        assert_eq!(text(Code::TooManyRequests), "TOOMANYREQUESTS");
    }
}
