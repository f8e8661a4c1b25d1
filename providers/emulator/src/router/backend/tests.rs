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
    async fn start(&self, _: Why, cancelled: CancellationToken) -> Result<Started, String> {
        self.begun.send(cancelled).map_err(|error| error.to_string())?;
        self.permits.acquire().await.map_err(|error| error.to_string())?.forget();
        let instance = Arc::new(Still { ended: CancellationToken::new(), stopped: self.stopped.clone() });
        Ok(Started { instance, port: 1, unready: watch::channel(0).1 })
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
    let settings = Settings {
        http2: false,
        timeout: Duration::from_secs(1),
        concurrency: 2,
        idle: Duration::from_millis(100),
        queue: Duration::from_millis(100),
        affinity: false,
    };
    let bounds = Bounds { min: 0, max: 2 };
    Fixture { backend: Backend::new("b".to_owned(), settings, bounds, start.clone()), start, begun, stopped }
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

#[tokio::test]
async fn a_request_waits_so_long_for_a_place_and_no_longer() {
    let Fixture { backend, start, begun: _begun, stopped: _stopped } = fixture();
    start.permits.add_permits(1);
    backend.set_bounds(Bounds { min: 0, max: 1 });
    backend.routed();
    let held = [backend.lease(None).await.unwrap(), backend.lease(None).await.unwrap()];
    let asked = Instant::now();
    assert_eq!(backend.lease(None).await.unwrap_err(), NoInstance::Full);
    assert!(asked.elapsed() >= backend.settings.queue);
    let waits = tokio::spawn({
        let backend = backend.clone();
        async move { backend.lease(None).await.map(|lease| lease.id) }
    });
    everything_ran().await;
    drop(held);
    assert_eq!(waits.await.unwrap(), Ok(1));
}

#[tokio::test]
async fn what_is_idle_goes_down_to_the_fewest() {
    let Fixture { backend, start, begun: _begun, mut stopped } = fixture();
    start.permits.add_permits(9);
    backend.set_bounds(Bounds { min: 1, max: 2 });
    backend.routed();
    let places = [(); 4].map(|()| backend.lease(None));
    let held = futures_util::future::join_all(places).await;
    let ids: std::collections::BTreeSet<u64> = held.iter().map(|lease| lease.as_ref().unwrap().id).collect();
    assert_eq!(ids.len(), 2);
    drop(held);
    let idle_from = Instant::now();
    stopped.recv().await.expect("one is stopped");
    assert!(idle_from.elapsed() >= backend.settings.idle);
    sleep(backend.settings.idle * 3).await;
    assert!(stopped.try_recv().is_err(), "the last one stays");
    backend.set_bounds(Bounds { min: 0, max: 2 });
    stopped.recv().await.expect("the last one goes too");
}
