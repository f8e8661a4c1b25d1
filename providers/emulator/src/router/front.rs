//! One open port of a service.
use std::{io, sync::Arc};

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    forward::{self, Context},
    ports,
    routes::{Entry, Owner, Routes},
};
use crate::server::{activity::Activity, listen};

/// Closes when it is dropped.
#[derive(Debug)]
pub(crate) struct Front {
    port: u16,
    closed: DropGuard,
    task: JoinHandle<()>,
}

impl Front {
    /// `name` decides the port.
    pub(crate) fn open(
        name: &str,
        entry: Entry,
        routes: Arc<Routes>,
        owner: Arc<dyn Owner>,
        activity: Activity,
    ) -> io::Result<Self> {
        let listener = ports::bind(name)?;
        let port = listener.local_addr()?.port();
        let closed = CancellationToken::new();
        let context = Arc::new(Context { entry, routes, owner, activity });
        let task = tokio::spawn(listen::serve(listener, closed.clone(), move |request, peer| {
            forward::handle(context.clone(), request, peer)
        }));
        Ok(Self { port, closed: closed.drop_guard(), task })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Frees the port; returns when it is free.
    pub(crate) async fn close(self) {
        drop(self.closed);
        // It ends by itself, or was ended with the process.
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpStream;

    use super::*;
    use crate::router::{Admission, Served};

    #[derive(Debug)]
    struct Nobody;

    impl Owner for Nobody {
        fn admit(&self, _: &Entry, _: Option<&str>, _: bool) -> Admission {
            Admission::NotFound
        }

        fn served(&self, _: Served) {}
    }

    #[tokio::test]
    async fn a_dropped_front_frees_its_port() {
        let front = Front::open("dropped", Entry::Main, Arc::default(), Arc::new(Nobody), Activity::new());
        let Front { port, closed, task } = front.expect("a port");
        TcpStream::connect(("127.0.0.1", port)).await.expect("open");
        let front = Front { port, closed, task: tokio::spawn(async {}) };
        drop(front);
        tokio::time::timeout(Duration::from_secs(20), task).await.expect("in time").expect("ended");
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    }
}
