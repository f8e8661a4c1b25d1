//! Google's error model: one status, as an HTTP answer and as an operation's error.
//!
//! <https://cloud.google.com/apis/design/errors>
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    FailedPrecondition,
    Aborted,
    DeadlineExceeded,
    ResourceExhausted,
    Unimplemented,
    Internal,
    Unavailable,
    Unauthenticated,
}

impl Code {
    const fn parts(self) -> (i32, StatusCode, &'static str) {
        match self {
            Self::InvalidArgument => (3, StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
            Self::NotFound => (5, StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::AlreadyExists => (6, StatusCode::CONFLICT, "ALREADY_EXISTS"),
            Self::PermissionDenied => (7, StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
            Self::DeadlineExceeded => (4, StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
            Self::ResourceExhausted => (8, StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
            Self::FailedPrecondition => (9, StatusCode::BAD_REQUEST, "FAILED_PRECONDITION"),
            Self::Aborted => (10, StatusCode::CONFLICT, "ABORTED"),
            Self::Unimplemented => (12, StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED"),
            Self::Internal => (13, StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
            Self::Unavailable => (14, StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            Self::Unauthenticated => (16, StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        }
    }

    pub(crate) const fn number(self) -> i32 {
        self.parts().0
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Status {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) details: Vec<Value>,
}

impl Status {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    #[must_use]
    pub(crate) fn with_detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// `google.rpc.Status`, as an operation carries it.
    pub(crate) fn rpc(&self) -> Value {
        let mut status = json!({ "code": self.code.number(), "message": self.message });
        if !self.details.is_empty() {
            status["details"] = json!(self.details);
        }
        status
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let (_, http, name) = self.code.parts();
        let mut error = json!({ "code": http.as_u16(), "message": self.message, "status": name });
        if !self.details.is_empty() {
            error["details"] = json!(self.details);
        }
        let mut response = (http, Json(json!({ "error": error }))).into_response();
        if http == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                axum::http::header::WWW_AUTHENTICATE,
                axum::http::HeaderValue::from_static("Bearer realm=\"https://accounts.google.com/\""),
            );
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_carries_the_number_and_an_answer_the_http_code() {
        let status = Status::new(Code::FailedPrecondition, "no");
        assert_eq!(status.rpc(), json!({ "code": 9, "message": "no" }));
        assert_eq!(status.into_response().status(), StatusCode::BAD_REQUEST);
    }
}
