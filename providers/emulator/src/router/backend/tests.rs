//! Starts that are no longer wanted.
use std::io;

use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc},
};

use super::*;
use crate::runtime::Exit;

/// Each start waits for a permit; cancelled or not, it comes up.
#[derive(Debug)]
struct Stubborn {
    begun: mpsc::UnboundedSender<CancellationToken>,
    permits: Semaphore,
    stopped: mpsc::UnboundedSender<()>,
}

#[derive(Debug)]
struct Still {
    ended: CancellationToken,
    stopped: mpsc::UnboundedSender<()>,
}

const EXIT: Exit = Exit::code(0);

#[async_trait]
impl Start for Stubborn {
    async fn start(&self, cancelled: CancellationToken) -> Result<Started, String> {
        self.begun.send(cancelled).map_err(|error| error.to_string())?;
        self.permits.acquire().await.map_err(|error| error.to_string())?.forget();
        let instance = Arc::new(Still { ended: CancellationToken::new(), stopped: self.stopped.clone() });
        Ok(Started { instance, port: 1 })
    }
}

#[async_trait]
impl Instance for Still {
    async fn connect(&self, _: u16) -> io::Result<TcpStream> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    async fn exited(&self) -> Exit {
        self.ended.cancelled().await;
        EXIT
    }

    async fn stop(&self, _: Duration) -> Exit {
        self.ended.cancel();
        let _ = self.stopped.send(());
        EXIT
    }
}

struct Fixture {
    backend: Arc<Backend>,
    start: Arc<Stubborn>,
    begun: mpsc::UnboundedReceiver<CancellationToken>,
    stopped: mpsc::UnboundedReceiver<()>,
}

fn fixture() -> Fixture {
    let ((begin, begun), (stop, stopped)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let start = Arc::new(Stubborn { begun: begin, permits: Semaphore::new(0), stopped: stop });
    let settings = Settings { http2: false, timeout: Duration::from_secs(1) };
    Fixture { backend: Backend::new("b".to_owned(), settings, start.clone()), start, begun, stopped }
}

/// On one thread, and nothing here waits for a time: what can run has run after so many turns.
async fn everything_ran() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_route_lost_while_starting_starts_nothing_again() {
    let Fixture { backend, start, mut begun, mut stopped } = fixture();
    backend.routed();
    let cancelled = begun.recv().await.expect("a start");
    backend.unrouted();
    assert!(cancelled.is_cancelled());
    start.permits.add_permits(3);
    stopped.recv().await.expect("the late one is stopped");
    everything_ran().await;
    assert!(begun.try_recv().is_err(), "another start");
    backend.routed();
    begun.recv().await.expect("a start for the new route");
}

#[tokio::test]
async fn a_close_waits_for_a_start() {
    let Fixture { backend, start, mut begun, mut stopped } = fixture();
    backend.routed();
    begun.recv().await.expect("a start");
    let close = tokio::spawn({
        let backend = backend.clone();
        async move { backend.close(Duration::ZERO).await }
    });
    everything_ran().await;
    assert!(!close.is_finished());
    start.permits.add_permits(1);
    close.await.expect("closed");
    stopped.try_recv().expect("it was stopped");
}
