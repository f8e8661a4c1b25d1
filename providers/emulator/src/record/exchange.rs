//! One call, as both sides see it.
use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::{Body, HttpBody as _},
    response::Response,
};
use http::{HeaderMap, HeaderName, Request, header};
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde_json::Value;

use super::mask::Mask;
use crate::{
    iam,
    requests::{Call, Outcome, redact, redacted},
};

/// As much as an API takes; what is longer is left out.
const LARGEST_BODY: usize = 8 << 20;
/// Which library calls, where the user agent is that of the library below it.
/// <https://cloud.google.com/apis/docs/system-parameters>
const API_CLIENT: HeaderName = HeaderName::from_static("x-goog-api-client");

#[derive(Debug)]
pub(crate) struct Exchange {
    time: String,
    host: String,
    method: String,
    path: String,
    query: Option<String>,
    client: Option<String>,
    api_client: Option<String>,
    content_type: Option<String>,
    registry: bool,
    mask: Mask,
    /// Absent for registries: blobs pass by.
    sent: Option<Captured>,
    answer: Option<Part>,
}

/// A body, or why it is not here.
#[derive(Debug)]
enum Part {
    Json(Value),
    Unread(&'static str),
}

#[derive(Serialize)]
struct Line<'a> {
    n: u64,
    time: &'a str,
    host: &'a str,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_unread: Option<&'static str>,
    /// `null` when there was no answer: a fault.
    status: Option<u16>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    registry: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_unread: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
}

impl Exchange {
    /// What of `request` is read from now on is kept too, unless it is a registry's.
    pub(crate) fn begin(call: &Call, registry: bool, request: &mut Request<Body>) -> Self {
        let headers = request.headers();
        let token = headers.get(header::AUTHORIZATION).and_then(|value| iam::token(value.to_str().ok()?));
        let path_and_query = redact(&call.path_and_query);
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (path_and_query, None),
        };
        let mask = Mask::new(&call.host, &path, token.into_iter().chain(redacted(&call.path_and_query)).collect());
        Self {
            time: call.at.to_string(),
            host: call.host.clone(),
            method: call.method.clone(),
            path,
            query,
            client: text(headers, &header::USER_AGENT),
            api_client: text(headers, &API_CLIENT),
            content_type: text(headers, &header::CONTENT_TYPE),
            registry,
            mask,
            sent: (!registry).then(|| Captured::of(request)),
            answer: None,
        }
    }

    /// Keeps the body of an answer that is there as a whole.
    pub(crate) async fn answered(&mut self, response: Response) -> Response {
        let Some(length) = response.body().size_hint().exact().filter(|_| self.sent.is_some()) else {
            return response;
        };
        if length > LARGEST_BODY as u64 {
            self.answer = Some(Part::Unread("too long"));
            return response;
        }
        let (parts, body) = response.into_parts();
        let bytes = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => {
                // Its client sees the same.
                self.answer = Some(Part::Unread("broken"));
                return Response::from_parts(
                    parts,
                    Body::from_stream(futures_util::stream::once(async { Err::<Vec<u8>, _>(error) })),
                );
            }
        };
        self.answer = Part::of(&bytes);
        Response::from_parts(parts, Body::from(bytes))
    }

    /// With its line end.
    pub(super) fn line(mut self, n: u64, outcome: &Outcome) -> Vec<u8> {
        let (mut request, request_unread) = split(self.sent.and_then(|sent| sent.part()));
        let (mut response, response_unread) = split(self.answer);
        let status = outcome.status.map(|status| status.as_u16());
        if let Some(request) = &mut request {
            self.mask.hide_sent(request);
        }
        if let Some(response) = &mut response {
            self.mask.hide_answered(response, status.is_none_or(|status| status >= 400));
        }
        let line = Line {
            n,
            time: &self.time,
            host: &self.host,
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            client: self.client.as_deref(),
            api_client: self.api_client.as_deref(),
            content_type: self.content_type.as_deref(),
            request,
            request_unread,
            status,
            registry: self.registry,
            response,
            response_unread,
            fault: outcome.fault.as_deref(),
        };
        // Texts and JSON values alone: nothing in it can fail.
        let mut line = serde_json::to_vec(&line).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

impl Part {
    fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        Some(serde_json::from_slice(bytes).map_or(Self::Unread("no JSON"), Self::Json))
    }
}

fn split(part: Option<Part>) -> (Option<Value>, Option<&'static str>) {
    match part {
        None => (None, None),
        Some(Part::Json(value)) => (Some(value), None),
        Some(Part::Unread(why)) => (None, Some(why)),
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// What was read of a request's body, by whoever answers it.
#[derive(Debug)]
struct Captured(Arc<Mutex<Bytes>>);

#[derive(Debug, Default)]
struct Bytes {
    bytes: Vec<u8>,
    too_long: bool,
}

impl Captured {
    fn of(request: &mut Request<Body>) -> Self {
        let kept: Arc<Mutex<Bytes>> = Arc::default();
        let body = mem::replace(request.body_mut(), Body::empty());
        let seen = kept.clone();
        *request.body_mut() = Body::new(body.map_frame(move |frame| {
            if let Some(data) = frame.data_ref() {
                seen.lock().unwrap_or_else(PoisonError::into_inner).add(data);
            }
            frame
        }));
        Self(kept)
    }

    fn part(&self) -> Option<Part> {
        let kept = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if kept.too_long { Some(Part::Unread("too long")) } else { Part::of(&kept.bytes) }
    }
}

impl Bytes {
    fn add(&mut self, data: &[u8]) {
        if self.bytes.len() + data.len() > LARGEST_BODY {
            self.bytes = Vec::new();
            self.too_long = true;
        }
        if !self.too_long {
            self.bytes.extend_from_slice(data);
        }
    }
}
