//! One client: token, user agent, retry, and the answer turned into a value or an error.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use carrack_core::{
    Error, ErrorKind, Result,
    error::RequestInfo,
    event::Ctx,
    poll::bounded,
    retry::{RetryPolicy, retry},
};
use reqwest::{
    StatusCode,
    header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, RETRY_AFTER},
};
use url::Url;

use crate::{
    endpoint::{Endpoint, is_loopback},
    redact,
    request::{Body, Keep, Request, Response},
    token::{Token, TokenCache},
    ways::Ways,
};

/// How a client is made.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// A server that stands in for the clouds.
    pub endpoint: Option<Endpoint>,
    /// For tests: faster retries.
    pub retry: RetryPolicy,
    /// For tests: the longest that any attempt may take.
    pub patience: Option<Duration>,
}

/// Of an answer whose success would have been taken piece by piece.
const LONGEST_REFUSAL: usize = 1 << 20;

/// Sends requests. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    ways: Arc<Ways>,
    endpoint: Option<Endpoint>,
    retry: RetryPolicy,
    patience: Option<Duration>,
}

/// Why a body did not come whole.
enum Broken {
    Connection(reqwest::Error),
    Refused(Error),
}

impl From<reqwest::Error> for Broken {
    fn from(error: reqwest::Error) -> Self {
        Self::Connection(error)
    }
}

impl Client {
    /// A client for a real cloud, or for the endpoint that stands in for it.
    pub fn new(options: ClientOptions) -> Result<Self> {
        Ok(Self {
            ways: Arc::new(Ways::new()?),
            endpoint: options.endpoint,
            retry: options.retry,
            patience: options.patience,
        })
    }

    /// Whether a server stands in for the clouds.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// How often, and for how long, this client tries; for callers that retry more than one request together.
    pub fn retry_policy(&self) -> RetryPolicy {
        self.retry
    }

    /// Sends `request` until it is answered, as often as the policy allows.
    ///
    /// A request that is not idempotent is sent again only when it was not taken: no connection, 429 or 503. When it
    /// may have been done all the same, the error is uncertain.
    pub async fn send(&self, cx: &Ctx, request: Request) -> Result<Response> {
        let url = Url::parse_with_params(&request.url, &request.query)
            .map_err(|e| Error::new(ErrorKind::Internal, format!("`{}` is not a URL", request.url)).with_source(e))?;
        let url = if request.query.is_empty() { without_empty_query(url) } else { url };
        let name = format!("{} {}", request.method, redact::url(&url));
        let mut policy = self.retry;
        if request.once {
            policy.attempts = 1;
        }
        if let Some(cache) = &request.token {
            // Whoever fetches it tries as often as it may; the attempts at this request are not spent on that.
            bounded(cx, "fetching an access token", cache.token(cx)).await??;
        }
        let doubt = AtomicBool::new(false);
        let answer = retry(cx, policy, &name, async |number| {
            let error = match self.authorized(cx, &request, &url, number).await {
                Ok(response) => return Ok(Ok(response)),
                Err(error) => error,
            };
            doubt.fetch_or(error.is_uncertain(), Ordering::Relaxed);
            // What is not idempotent is not sent twice.
            if error.is_uncertain() && !request.idempotent { Ok(Err(error)) } else { Err(error) }
        });
        // An earlier attempt may have been taken, whatever the last one met.
        answer.await.flatten().map_err(|error| if doubt.into_inner() { error.uncertain() } else { error })
    }

    /// One attempt, with a token when the request has one.
    async fn authorized(&self, cx: &Ctx, request: &Request, url: &Url, attempt: u32) -> Result<Response> {
        let Some(cache) = &request.token else {
            return self.attempt(cx, request, url, attempt, None).await;
        };
        self.with_token(cx, request, url, attempt, cache).await.map_err(|error| {
            // Only where the token comes from knows how to get a better one; without an answer it was not refused.
            let refused =
                error.kind() == ErrorKind::Unauthenticated && error.request().is_some_and(|sent| sent.status.is_some());
            if refused { error.hint(cache.remedy()) } else { error }
        })
    }

    /// A token that is refused before its end is replaced once, where there is another.
    async fn with_token(
        &self,
        cx: &Ctx,
        request: &Request,
        url: &Url,
        attempt: u32,
        cache: &TokenCache,
    ) -> Result<Response> {
        let token = bounded(cx, "fetching an access token", cache.token(cx)).await??;
        let refused = match self.attempt(cx, request, url, attempt, Some(&token)).await {
            Err(error) if error.request().is_some_and(|sent| sent.status == Some(401)) => error,
            other => return other,
        };
        match bounded(cx, "fetching an access token", cache.renew(cx, token.value())).await?? {
            Some(fresh) => self.attempt(cx, request, url, attempt, Some(&fresh)).await,
            None => Err(refused),
        }
    }

    async fn attempt(
        &self,
        cx: &Ctx,
        request: &Request,
        url: &Url,
        attempt: u32,
        token: Option<&Token>,
    ) -> Result<Response> {
        let mut headers = request.headers.clone();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.value())).map_err(|_| {
                Error::new(ErrorKind::Unauthenticated, "the access token has characters that no token has")
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut target = url.clone();
        if let Some(endpoint) = &self.endpoint
            && !is_loopback(url)
        {
            let (moved, host) = endpoint.redirect(url)?;
            target = moved;
            if let Ok(host) = HeaderValue::from_str(&host) {
                headers.insert(HOST, host);
            }
        }
        let client = self.ways.to(&target, request.past_proxies)?;
        let mut builder = client.request(request.method.clone(), target).headers(headers);
        if let Some(timeout) = request.timeout.into_iter().chain(self.patience).min() {
            builder = builder.timeout(timeout);
        }
        builder = match &request.body {
            Body::Empty => builder,
            Body::Bytes(bytes) => builder.body(bytes.clone()),
            Body::Stream(make) => builder.body(make()?),
        };
        let mut info = RequestInfo {
            method: request.method.to_string(),
            url: redact::url(url),
            status: None,
            request_id: None,
            attempts: attempt,
        };
        // The host that the request is for, whatever stands in for it.
        let host = url.host_str().map_or_else(String::new, |host| match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        });
        let flight = cx.pace.start(cx, &host).await?;
        let sent = async {
            let response = builder.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok::<_, Broken>((status, headers, read(response, &request.keep).await?))
        };
        let answer = bounded(cx, &format!("{} {}", info.method, info.url), sent).await?;
        drop(flight);
        let (status, headers, body) = match answer {
            Ok(answer) => answer,
            Err(Broken::Connection(error)) => return Err(unanswered(error, request.idempotent, info)),
            Err(Broken::Refused(error)) => return Err(error.with_request(info)),
        };
        tracing::debug!(method = info.method, url = info.url, status = status.as_u16(), attempt, "answered");
        info.status = Some(status.as_u16());
        info.request_id = ["x-request-id", "x-goog-request-id", "x-cloud-trace-context"]
            .iter()
            .find_map(|name| headers.get(*name)?.to_str().ok().map(str::to_owned));
        let response = Response { status, headers, body, request: info };
        if status.is_success() || status.is_redirection() || request.accept.contains(&status.as_u16()) {
            return Ok(response);
        }
        let wait = retry_after(&response.headers);
        if let Some(wait) = wait {
            cx.pace.leave_alone(&host, wait);
        }
        let mut error = (request.classify)(&response).with_retry_after(wait).with_request(response.request.clone());
        if request.idempotent && error.kind() == ErrorKind::Timeout {
            error = error.with_kind(ErrorKind::Unavailable);
        }
        // The server may have done it before it failed, but for 503, which says that it did not.
        let doubt = (status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT)
            && status != StatusCode::SERVICE_UNAVAILABLE
            && status != StatusCode::NOT_IMPLEMENTED;
        Err(if doubt { error.uncertain() } else { error })
    }
}

async fn read(mut response: reqwest::Response, keep: &Keep) -> Result<Bytes, Broken> {
    let status = response.status();
    let most = match keep {
        Keep::Pieces(take) if status.is_success() => {
            let headers = response.headers().clone();
            while let Some(piece) = response.chunk().await? {
                take(status, &headers, &piece).map_err(Broken::Refused)?;
            }
            return Ok(Bytes::new());
        }
        // Whatever says no has few words.
        Keep::Pieces(_) => LONGEST_REFUSAL,
        Keep::Whole { most: usize::MAX } => return Ok(response.bytes().await?),
        Keep::Whole { most } => *most,
    };
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > most {
            let error = Error::new(ErrorKind::Unclassified, format!("the answer is longer than {most} bytes"));
            return Err(Broken::Refused(error));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.into())
}

fn without_empty_query(mut url: Url) -> Url {
    if url.query() == Some("") {
        url.set_query(None);
    }
    url
}

/// The kind that a status has when the body says nothing better.
pub fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        409 | 412 => ErrorKind::Conflict,
        408 | 504 => ErrorKind::Timeout,
        429 => ErrorKind::RateLimited,
        500 | 502 | 503 => ErrorKind::Unavailable,
        _ => ErrorKind::Unclassified,
    }
}

/// Whether the server's certificate was refused. The text is rustls's, whose type reqwest keeps to itself.
fn is_untrusted(error: &reqwest::Error) -> bool {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
        .any(|cause| cause.to_string().starts_with("invalid peer certificate"))
}

fn unanswered(error: reqwest::Error, idempotent: bool, info: RequestInfo) -> Error {
    let host = Url::parse(&info.url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    if error.is_connect() && is_untrusted(&error) {
        // Nothing is better a moment later.
        return Error::new(ErrorKind::Unclassified, format!("the certificate of {host} is not trusted"))
            .with_request(info)
            .with_source(error.without_url())
            .hint("if an authority of your own has signed it, install its certificate beside the system's")
            // It takes the place of the system's, and the same command may speak to others: the cloud, another registry.
            .hint("or append it to a copy of the system's file, and name that: `SSL_CERT_FILE=all.pem carrack …`");
    }
    let (kind, message) = if error.is_connect() {
        (ErrorKind::Unavailable, format!("no connection to {host}"))
    } else if error.is_timeout() {
        (ErrorKind::Timeout, format!("{} {} got no answer in time", info.method, info.url))
    } else {
        (ErrorKind::Unavailable, format!("the connection to {host} broke off"))
    };
    let kind = if idempotent && kind == ErrorKind::Timeout { ErrorKind::Unavailable } else { kind };
    let taken = !error.is_connect();
    let elsewhere = Url::parse(&info.url).is_ok_and(|url| !is_loopback(&url));
    let mut unanswered = Error::new(kind, message).with_request(info).with_source(error.without_url());
    if !taken && elsewhere {
        unanswered =
            unanswered.hint("is this machine online? behind a proxy: `HTTPS_PROXY=http://HOST:PORT carrack …`");
    }
    // Whether the server did it is not known.
    if taken { unanswered.uncertain() } else { unanswered }
}

/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>; the form with a date is not used by these clouds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
