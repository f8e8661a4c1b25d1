//! One request, from the port to an instance and back.
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header, uri};
use hyper::{
    body::Incoming,
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::TokioIo;

use super::{
    affinity,
    backend::{InFlight, Lease, NoInstance, Serving},
    body::{Lent, Tracked, incoming},
    headers, pages,
    routes::{Admission, Entry, NoRoute, Owner, Routes, Served},
};
use crate::server::activity::{Activity, Use};

/// A request goes to this many instances that refuse it and end.
const INSTANCES: u32 = 5;
/// How long a request waits for an instance that refuses connections: it ends, or listens again.
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN_CONNECTS: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Context {
    pub(super) entry: Entry,
    pub(super) routes: Arc<Routes>,
    pub(super) owner: Arc<dyn Owner>,
    pub(super) activity: Activity,
}

/// What is held until the last byte of the answer.
struct Held {
    context: Arc<Context>,
    served: Served,
    begun: Instant,
    flight: Option<InFlight>,
    lease: Option<Lease>,
    _use: Use,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut served = self.served.clone();
        served.took = self.begun.elapsed();
        self.context.owner.served(served);
    }
}

impl Held {
    /// An answer of ours.
    fn answer(mut self, response: Response<Body>, trouble: Option<String>) -> Response<Body> {
        self.served.status = response.status().as_u16();
        self.served.trouble = trouble;
        response
    }
}

pub(super) async fn handle(context: Arc<Context>, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
    set_host(&mut request);
    let mut held = Held {
        served: describe(&mut request, peer),
        begun: Instant::now(),
        flight: None,
        lease: None,
        _use: context.activity.begin(),
        context: context.clone(),
    };
    let (authorization, header) = headers::authorization(request.headers());
    let inside = headers::from_inside(request.headers_mut());
    let path = request.uri().path().to_owned();
    match context.owner.admit(&context.entry, authorization.as_deref(), inside) {
        Admission::Admitted { hide_token: false } => {}
        Admission::Admitted { hide_token: true } => {
            match authorization.as_deref().and_then(headers::unsigned) {
                Some(unsigned) => request.headers_mut().insert(header, unsigned),
                None => request.headers_mut().remove(header),
            };
        }
        Admission::Unauthenticated => return held.answer(pages::unauthorized(&path), None),
        Admission::Forbidden => return held.answer(pages::forbidden(&path), None),
        Admission::NotFound => return held.answer(pages::not_found(), None),
    }
    let flight = match context.routes.pick(&context.entry) {
        Ok(flight) => flight,
        Err(NoRoute::NoSuchTag) => return held.answer(pages::not_found(), None),
        Err(NoRoute::NoRevision) => {
            return held.answer(pages::unavailable(), Some("the service has no ready revision".to_owned()));
        }
    };
    let backend = flight.backend().clone();
    held.served.backend = Some(backend.name.clone());
    held.flight = Some(flight);
    let timeout = backend.settings.timeout;
    let preferred = backend.settings.affinity.then(|| affinity::asked(request.headers(), &backend.name)).flatten();
    headers::add_forwarded(request.headers_mut(), peer.ip());
    let client_upgrade = upgrade_of(&mut request, backend.settings.http2);
    headers::remove_hop_by_hop(request.headers_mut());
    let (parts, body) = request.into_parts();
    let outgoing = Outgoing {
        parts,
        body: Lent::new(incoming(body)),
        upgrade: client_upgrade.as_ref().map(|(protocol, _)| protocol.clone()),
    };
    match tokio::time::timeout(timeout, outgoing.send(&backend, preferred)).await {
        Err(_) => held.answer(
            pages::timeout(),
            Some("The request has been terminated because it has reached the maximum request timeout.".to_owned()),
        ),
        Ok(Err(Failed::NoInstance(NoInstance::Unavailable(text)))) => held.answer(pages::unavailable(), Some(text)),
        Ok(Err(Failed::NoInstance(NoInstance::Full))) => held.answer(
            pages::full(),
            Some("The request was aborted because there was no available instance.".to_owned()),
        ),
        Ok(Err(Failed::Broken(text))) => held.answer(
            pages::broken(),
            Some(format!(
                "The request failed because either the HTTP response was malformed or connection to the instance had an error. {text}"
            )),
        ),
        Ok(Ok((mut response, lease))) => {
            if backend.settings.affinity && preferred != Some(lease.id) {
                affinity::give(response.headers_mut(), &backend.name, lease.id);
            }
            held.lease = Some(lease);
            let left = timeout.saturating_sub(held.begun.elapsed());
            finish(held, response, client_upgrade, left)
        }
    }
}

struct Outgoing {
    parts: http::request::Parts,
    body: Lent,
    upgrade: Option<HeaderValue>,
}

enum Failed {
    NoInstance(NoInstance),
    Broken(String),
}

impl Outgoing {
    async fn send(
        self,
        backend: &Arc<super::Backend>,
        preferred: Option<u64>,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        let mut instances = 1;
        let mut refused_since = None;
        let mut lease = backend.lease(preferred).await.map_err(Failed::NoInstance)?;
        loop {
            let request = self.request(&lease.serving).map_err(|error| Failed::Broken(error.to_string()))?;
            match lease.serving.client.request(request).await {
                Ok(response) => return Ok((response, lease)),
                Err(error) if error.is_connect() && self.body.is_untouched() => {
                    let since: &mut Instant = refused_since.get_or_insert_with(Instant::now);
                    if instances == INSTANCES || since.elapsed() > PATIENCE {
                        return Err(Failed::Broken(chain(&error)));
                    }
                    // A program that crashed refuses connections some time before the runtime knows of its end.
                    let serving = lease.serving.clone();
                    tokio::select! {
                        () = serving.exited() => {
                            instances += 1;
                            refused_since = None;
                            drop(lease);
                            lease = backend.lease(preferred).await.map_err(Failed::NoInstance)?;
                        }
                        () = tokio::time::sleep(BETWEEN_CONNECTS) => {}
                    }
                }
                Err(error) => return Err(Failed::Broken(chain(&error))),
            }
        }
    }

    fn request(&self, serving: &Serving) -> http::Result<Request<Lent>> {
        let http2 = serving.client.http2;
        let authority = self
            .parts
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .filter(|_| http2)
            .unwrap_or("container");
        let path = self.parts.uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
        let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build()?;
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        *request.headers_mut() = self.parts.headers.clone();
        if http2 {
            request.headers_mut().remove(header::HOST);
        }
        if let Some(protocol) = &self.upgrade {
            headers::set_upgrade(request.headers_mut(), protocol);
        }
        Ok(request)
    }
}

fn finish(
    mut held: Held,
    mut response: Response<Incoming>,
    client_upgrade: Option<(HeaderValue, OnUpgrade)>,
    left: Duration,
) -> Response<Body> {
    held.served.status = response.status().as_u16();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some((protocol, client)) = client_upgrade else {
            return held.answer(pages::broken(), Some("an upgrade that nobody asked for".to_owned()));
        };
        let container = upgrade::on(&mut response);
        let protocol = headers::upgrade(response.headers()).unwrap_or(protocol);
        headers::remove_hop_by_hop(response.headers_mut());
        headers::set_upgrade(response.headers_mut(), &protocol);
        tokio::spawn(tunnel(held, client, container, left));
        return response.map(|_| Body::empty());
    }
    headers::remove_hop_by_hop(response.headers_mut());
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_11;
    let body = Tracked::wrap(body, left, held, |held, bytes| {
        held.served.response_bytes += bytes as u64;
    });
    Response::from_parts(parts, body)
}

/// Both directions until one side ends, or the request's time is over.
async fn tunnel(held: Held, client: OnUpgrade, container: OnUpgrade, left: Duration) {
    let joined = async {
        let (client, container) = tokio::try_join!(client, container)?;
        let mut client = TokioIo::new(client);
        let mut container = TokioIo::new(container);
        // One side that closes is the ordinary end.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut container).await;
        Ok::<_, hyper::Error>(())
    };
    let _ = tokio::time::timeout(left, joined).await;
    drop(held);
}

/// An HTTP/1 request that asks for another protocol. HTTP/2 containers take none.
fn upgrade_of(request: &mut Request<Incoming>, http2: bool) -> Option<(HeaderValue, OnUpgrade)> {
    if http2 || request.version() != Version::HTTP_11 {
        return None;
    }
    let protocol = headers::upgrade(request.headers())?;
    Some((protocol, upgrade::on(request)))
}

/// HTTP/2 and absolute-form requests name the host in their target.
fn set_host(request: &mut Request<Incoming>) {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::try_from(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
}

fn describe(request: &mut Request<Incoming>, peer: SocketAddr) -> Served {
    let trace = headers::trace(request.headers_mut());
    let fields = request.headers();
    let host = headers::text(fields, &header::HOST).unwrap_or_default();
    let path = request.uri().path_and_query().map_or("/", uri::PathAndQuery::as_str);
    Served {
        backend: None,
        method: request.method().clone(),
        url: format!("http://{host}{path}"),
        status: 0,
        request_bytes: headers::text(fields, &header::CONTENT_LENGTH)
            .and_then(|length| length.parse().ok())
            .unwrap_or(0),
        response_bytes: 0,
        user_agent: fields.get(header::USER_AGENT).cloned(),
        referer: fields.get(header::REFERER).cloned(),
        remote: peer.ip(),
        protocol: request.version(),
        trace,
        took: Duration::ZERO,
        trouble: None,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
