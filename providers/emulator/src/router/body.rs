//! Bodies on their way through: one that can be taken back, and one that ends the request's bookkeeping.
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

/// A request's body that can be taken back as long as nobody read from it: a request that got no connection is sent again.
#[derive(Clone, Debug)]
pub(super) struct Lent(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    body: Body,
    read: bool,
}

impl Lent {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Inner { body, read: false })))
    }

    pub(super) fn is_untouched(&self) -> bool {
        !self.lock().read
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut inner = self.lock();
        inner.read = true;
        Pin::new(&mut inner.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}

/// A response's body; `guard` is dropped when it ends, is cut, or is no longer wanted.
pub(super) struct Tracked<G> {
    inner: Incoming,
    /// <https://cloud.google.com/run/docs/configuring/request-timeout>: the whole answer is within it.
    deadline: Pin<Box<Sleep>>,
    guard: Option<G>,
    count: fn(&mut G, usize),
}

impl<G: Send + Unpin + 'static> Tracked<G> {
    pub(super) fn wrap(inner: Incoming, left: Duration, guard: G, count: fn(&mut G, usize)) -> Body {
        let deadline = Box::pin(tokio::time::sleep_until(Instant::now() + left));
        Body::new(Self { inner, deadline, guard: Some(guard), count })
    }
}

impl<G: Unpin> HttpBody for Tracked<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.deadline.as_mut().poll(context).is_ready() {
            this.guard = None;
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut)))));
        }
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(guard)) = (frame.data_ref(), &mut this.guard) {
                    (this.count)(guard, data.len());
                }
            }
            Poll::Ready(None | Some(Err(_))) => this.guard = None,
            Poll::Pending => {}
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(axum::Error::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Hyper's body as axum's.
pub(crate) fn incoming(body: Incoming) -> Body {
    Body::new(body.map_err(axum::Error::new))
}
