//! Listeners on loopback: HTTP/1 and HTTP/2 without TLS on one port, upgrades passed on.
use std::{fmt, future::Future, io, net::Ipv4Addr, net::SocketAddr, pin::pin, time::Duration};

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::breakable::{Breakable, Breaker};

/// How long open requests have to end when a listener closes.
const CLOSING: Duration = Duration::from_secs(1);
/// After a failed accept (no descriptors left), so that the loop does not spin.
const BREATH: Duration = Duration::from_millis(20);

/// In a response: there is none, the connection breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut;

impl Cut {
    pub(crate) fn response() -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response.extensions_mut().insert(Self);
        response
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection was cut on purpose")
    }
}

impl std::error::Error for Cut {}

/// A port on loopback; 0 is any.
pub(crate) fn bind(port: u16) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Serves until `closed`, then gives open requests a moment.
pub(crate) async fn serve<H, F>(listener: TcpListener, closed: CancellationToken, handler: H)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closed.cancelled() => break,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        // A failure only costs latency.
        let _ = stream.set_nodelay(true);
        let handler = handler.clone();
        let (stream, breaker) = Breakable::new(stream);
        tracker.spawn(attend(stream, breaker, closed.clone(), move |request| handler(request, peer)));
    }
    drop(listener);
    tracker.close();
    tracker.wait().await;
}

/// Serves one connection until it ends, or until `closed` and a moment more. A CONNECT carries its breaker along.
pub(super) async fn attend<S, H, F>(stream: S, breaker: Breaker, closed: CancellationToken, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        if request.method() == Method::CONNECT {
            request.extensions_mut().insert(breaker.clone());
        }
        let answer = handler(request);
        let breaker = breaker.clone();
        async move {
            let response = answer.await;
            match response.extensions().get::<Cut>() {
                Some(cut) => {
                    breaker.trip();
                    Err(*cut)
                }
                None => Ok(response),
            }
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).half_close(true);
    builder.http2().timer(TokioTimer::new());
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closed.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // What is still open then is dropped.
            tokio::time::timeout(CLOSING, connection).await.unwrap_or(Ok(()))
        }
    };
    // A client that goes away is no error of ours.
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
