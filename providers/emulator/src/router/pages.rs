//! What Google's front end answers in the place of a container.
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    page(status, "text/plain", text.to_owned())
}

fn page(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn html(status: StatusCode, title: &str, heading: &str, text: &str) -> Response<Body> {
    page(
        status,
        "text/html; charset=UTF-8",
        format!(
            "\n<html><head>\n<meta http-equiv=\"content-type\" content=\"text/html;charset=utf-8\">\n<title>{title}</title>\n</head>\n<body text=#000000 bgcolor=#ffffff>\n<h1>Error: {heading}</h1>\n<h2>{text}</h2>\n<h2></h2>\n</body></html>\n"
        ),
    )
}

pub(super) fn forbidden(path: &str) -> Response<Body> {
    let text =
        format!("Your client does not have permission to get URL <code>{}</code> from this server.", escape(path));
    html(StatusCode::FORBIDDEN, "403 Forbidden", "Forbidden", &text)
}

pub(super) fn unauthorized(path: &str) -> Response<Body> {
    let text = format!("Your client does not have permission to the requested URL <code>{}</code>.", escape(path));
    let mut response = html(StatusCode::UNAUTHORIZED, "401 Unauthorized", "Unauthorized", &text);
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(
            "Bearer error=\"invalid_token\" error_description=\"The access token could not be verified\"",
        ),
    );
    response
}

pub(super) fn not_found() -> Response<Body> {
    html(
        StatusCode::NOT_FOUND,
        "404 Page not found",
        "Page not found",
        "The requested URL was not found on this server.",
    )
}

/// No revision, or none that starts.
pub(super) fn unavailable() -> Response<Body> {
    plain(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
}

/// <https://cloud.google.com/run/docs/troubleshooting#429>
pub(super) fn full() -> Response<Body> {
    plain(StatusCode::TOO_MANY_REQUESTS, "Rate exceeded.")
}

/// The instance broke the connection: <https://cloud.google.com/run/docs/troubleshooting#malformed-response-or-connection-error>
pub(super) fn broken() -> Response<Body> {
    plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
    )
}

/// <https://cloud.google.com/run/docs/configuring/request-timeout>
pub(super) fn timeout() -> Response<Body> {
    plain(StatusCode::GATEWAY_TIMEOUT, "upstream request timeout")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
