//! One open port of a service.
use std::{io, sync::Arc};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    forward::{self, Context},
    ports,
    routes::{Entry, Owner, Routes},
};
use crate::server::{activity::Activity, listen};

#[derive(Debug)]
pub(crate) struct Front {
    port: u16,
    closed: CancellationToken,
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
        Ok(Self { port, closed, task })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Frees the port; returns when it is free.
    pub(crate) async fn close(self) {
        self.closed.cancel();
        // It ends by itself, or was ended with the process.
        let _ = self.task.await;
    }
}
