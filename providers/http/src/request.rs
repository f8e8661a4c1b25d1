//! One request and its answer.
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use carrack_core::{Error, ErrorKind, Result, error::RequestInfo};
use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{client::kind_of, token::TokenCache};

/// Makes the body anew for each attempt, so that a streamed file can be sent again.
pub type MakeBody = Arc<dyn Fn() -> Result<reqwest::Body> + Send + Sync>;

/// What a request carries.
#[derive(Clone, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// A stream, made anew for each attempt.
    Stream(MakeBody),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// Takes a body piece by piece, with the status and headers that it came under.
pub type Take = Arc<dyn Fn(StatusCode, &HeaderMap, &[u8]) -> Result<()> + Send + Sync>;

/// What becomes of an answer's body.
#[derive(Clone)]
pub(crate) enum Keep {
    /// It is held in memory, up to so many bytes; a longer one is an error.
    Whole { most: usize },
    /// A success goes on piece by piece, and is not kept.
    Pieces(Take),
}

impl std::fmt::Debug for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole { most } => write!(f, "Whole({most})"),
            Self::Pieces(_) => f.write_str("Pieces"),
        }
    }
}

/// Turns an answer that is not a success into an error; a cloud reads its own error body here.
pub type Classify = fn(&Response) -> Error;

/// One request, to the cloud's real URL.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) token: Option<TokenCache>,
    pub(crate) idempotent: bool,
    pub(crate) classify: Classify,
    pub(crate) accept: &'static [u16],
    pub(crate) timeout: Option<Duration>,
    pub(crate) once: bool,
    pub(crate) past_proxies: bool,
    pub(crate) keep: Keep,
}

impl Request {
    /// A request; GET, HEAD, PUT and DELETE are taken as idempotent.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        let idempotent = matches!(method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE);
        Self {
            method,
            url: url.into(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Body::Empty,
            token: None,
            idempotent,
            classify: by_status,
            accept: &[],
            timeout: Some(Duration::from_secs(60)),
            once: false,
            past_proxies: false,
            keep: Keep::Whole { most: usize::MAX },
        }
    }
    /// Adds `name=value` to the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }
    /// Sets a header; a value that is no header text is an internal error when sent.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
    /// Sends `value` as JSON.
    pub fn json(mut self, value: &impl Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(value)
            .map_err(|e| Error::new(ErrorKind::Internal, "encoding a request failed").with_source(e))?;
        self.headers.insert(reqwest::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = Body::Bytes(bytes.into());
        Ok(self)
    }
    /// Sends a body as it is.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }
    /// Sends a bearer token.
    #[must_use]
    pub fn bearer(mut self, token: &TokenCache) -> Self {
        self.token = Some(token.clone());
        self
    }
    /// Says that sending it twice does no harm, so that it may be tried again after a broken connection.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }
    /// Never sends it again by itself: the caller has to begin earlier (a broken upload needs a new session).
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }
    /// Goes past any proxy: a server that only this machine reaches.
    #[must_use]
    pub fn past_proxies(mut self) -> Self {
        self.past_proxies = true;
        self
    }
    /// Reads this cloud's error bodies.
    #[must_use]
    pub fn classify(mut self, classify: Classify) -> Self {
        self.classify = classify;
        self
    }
    /// Takes these statuses as answers, not as errors (404 where "missing" is an answer).
    #[must_use]
    pub fn accept(mut self, statuses: &'static [u16]) -> Self {
        self.accept = statuses;
        self
    }
    /// Refuses an answer whose body has more bytes: for servers that nobody vouches for.
    #[must_use]
    pub fn at_most(mut self, bytes: usize) -> Self {
        self.keep = Keep::Whole { most: bytes };
        self
    }
    /// Hands the body of a success on piece by piece; the answer then has none. Memory does not depend on its size.
    #[must_use]
    pub fn pieces(mut self, take: Take) -> Self {
        self.keep = Keep::Pieces(take);
        self
    }
    /// The time for one attempt, from connecting to the last byte; `None` for a long upload.
    #[must_use]
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }
}

/// An answer, wholly read.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// What was sent, for errors.
    pub request: RequestInfo,
}

impl Response {
    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|e| {
            Error::new(
                ErrorKind::Unclassified,
                format!("{} {} answered with something unexpected", self.request.method, self.request.url),
            )
            .with_request(self.request.clone())
            .with_source(e)
            .uncertain()
        })
    }
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn by_status(response: &Response) -> Error {
    let RequestInfo { method, url, .. } = &response.request;
    Error::new(kind_of(response.status), format!("{method} {url} answered {}", response.status))
}
