//! CONNECT: the local cloud as the proxy of a client that speaks TLS to the clouds' real names.
//! <https://www.rfc-editor.org/rfc/rfc9110#name-connect>
use std::{net::SocketAddr, sync::Arc};

use axum::{body::Body, response::IntoResponse};
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::{
    authority::Authority,
    breakable::Breaker,
    dispatch::{self, answers_for},
    listen,
};
use crate::{router::incoming, state::Cloud};

const TLS_PORT: u16 = 443;

/// The face behind every tunnel, and what a tunnel is made of.
#[derive(Clone, Debug)]
pub(super) struct Tunnels {
    pub(super) cloud: Arc<Cloud>,
    pub(super) authority: Arc<Authority>,
    pub(super) closed: CancellationToken,
}

impl Tunnels {
    /// Opens a tunnel, or answers what is no wish for one.
    pub(super) async fn answer(self, request: Request<Body>) -> Response<Body> {
        if request.method() == Method::CONNECT {
            self.open(request)
        } else {
            dispatch::google(self.cloud, request).await
        }
    }

    fn open(self, mut request: Request<Body>) -> Response<Body> {
        let host = match host(request.uri()) {
            Ok(host) => host,
            Err(why) => return (StatusCode::FORBIDDEN, why).into_response(),
        };
        let breaker = request.extensions_mut().remove::<Breaker>().unwrap_or_default();
        tokio::spawn(self.serve(host, hyper::upgrade::on(request), breaker));
        Response::new(Body::empty())
    }

    /// A client that does not trust the authority, or goes away, is no error of ours.
    async fn serve(self, host: String, upgrade: OnUpgrade, breaker: Breaker) {
        let acceptor = match self.authority.acceptor(&host) {
            Ok(acceptor) => acceptor,
            Err(error) => return tracing::warn!(%error, host, "no certificate"),
        };
        let accepted = async { acceptor.accept(TokioIo::new(upgrade.await.map_err(std::io::Error::other)?)).await };
        let stream = tokio::select! {
            accepted = accepted => match accepted {
                Ok(stream) => stream,
                Err(error) => return tracing::debug!(%error, host, "no TLS"),
            },
            () = self.closed.cancelled() => return,
        };
        let answer = move |request: Request<Incoming>| dispatch::google(self.cloud.clone(), request.map(incoming));
        listen::attend(stream, breaker, self.closed, answer).await;
    }
}

/// The name that a tunnel leads to, when somebody answers there.
fn host(uri: &Uri) -> Result<String, String> {
    let authority = uri.authority().ok_or("CONNECT takes HOST:PORT\n")?;
    let host = authority.host().to_ascii_lowercase();
    if !answers_for(&host) {
        return Err(format!("the local cloud does not answer for the host '{host}'\n"));
    }
    match authority.port_u16() {
        Some(TLS_PORT) => Ok(host),
        _ => Err(format!("the local cloud answers for '{host}' on port {TLS_PORT} alone\n")),
    }
}

/// A handler for a listener, which has no use for the peer.
pub(super) fn handler(
    tunnels: Tunnels,
) -> impl Fn(Request<Incoming>, SocketAddr) -> std::pin::Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Clone {
    move |request, _| Box::pin(tunnels.clone().answer(request.map(incoming)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_lead_to_the_clouds_names_alone() {
        let host = |text: &str| host(&text.parse().expect("a uri"));
        assert_eq!(host("run.googleapis.com:443").as_deref(), Ok("run.googleapis.com"));
        assert_eq!(host("US-Central1-docker.pkg.dev:443").as_deref(), Ok("us-central1-docker.pkg.dev"));
        for refused in ["example.com:443", "run.googleapis.com:80", "127.0.0.1:443", "localhost:443"] {
            assert!(host(refused).is_err(), "{refused}");
        }
    }
}
