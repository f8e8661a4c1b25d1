//! HTTP to one instance, over pooled connections that the runtime makes.
use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, Error},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;
use tower_service::Service;

use super::body::Lent;
use crate::runtime::Instance;

#[derive(Clone)]
pub(crate) struct Client {
    inner: legacy::Client<Connector, Lent>,
    pub(super) http2: bool,
}

impl Client {
    pub(super) fn new(instance: Arc<dyn Instance>, port: u16, http2: bool) -> Self {
        let inner = legacy::Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .set_host(false)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .build(Connector { instance, port });
        Self { inner, http2 }
    }

    pub(super) async fn request(&self, request: Request<Lent>) -> Result<Response<Incoming>, Error> {
        self.inner.request(request).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("http2", &self.http2).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Connector {
    instance: Arc<dyn Instance>,
    port: u16,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { instance, port } = self.clone();
        Box::pin(async move {
            let stream = instance.connect(port).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
