//! The three faces, open until somebody asks for the end.
use std::{
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{
    authority::Authority,
    dispatch, listen,
    tunnel::{self, Tunnels},
};
use crate::{
    Addresses, console,
    router::incoming,
    runtime::RuntimeKind,
    state::{Cloud, Ingredients},
};

/// The first port that is tried for Google's face.
const FIRST_PORT: u16 = 8585;
const PORTS: u16 = 1_000;

/// A local cloud that serves.
#[derive(Debug)]
pub struct Running {
    cloud: Arc<Cloud>,
    authority: Arc<Authority>,
    closed: CancellationToken,
    faces: Vec<JoinHandle<()>>,
    idle: Option<Duration>,
}

/// Why it does not serve.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The port that was asked for is not free.
    Port { port: u16, source: io::Error },
    /// No port at all.
    Listen(io::Error),
    /// The folder for images and containers cannot be used.
    StateDir(io::Error),
    /// No key or certificate can be made.
    Certificates(rcgen::Error),
    /// The recording cannot be made.
    Record { path: PathBuf, source: io::Error },
    /// The schemas in this program are damaged.
    Schemas(serde_json::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { port, .. } => write!(formatter, "port {port} is not free"),
            Self::Listen(_) => formatter.write_str("no free port on 127.0.0.1"),
            Self::StateDir(_) => formatter.write_str("the local cloud's state folder cannot be used"),
            Self::Certificates(_) => formatter.write_str("the local cloud's certificates cannot be made"),
            Self::Record { path, source } => write!(formatter, "cannot record to `{}`: {source}", path.display()),
            Self::Schemas(_) => formatter.write_str("the API schemas in this program cannot be read"),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Port { source, .. } | Self::Listen(source) | Self::StateDir(source) | Self::Record { source, .. } => {
                Some(source)
            }
            Self::Certificates(source) => Some(source),
            Self::Schemas(source) => Some(source),
        }
    }
}

/// Opens the faces. `port` is Google's; without one it is the next free port from 8585.
pub(crate) fn start(
    ingredients: Ingredients,
    port: Option<u16>,
    idle: Option<Duration>,
) -> Result<Running, ServeError> {
    let google = google_port(port)?;
    let registry = listen::bind(0).map_err(ServeError::Listen)?;
    let console = listen::bind(0).map_err(ServeError::Listen)?;
    let address = |listener: &TcpListener| listener.local_addr().map_err(ServeError::Listen);
    let addresses = Addresses {
        google: format!("http://{}", address(&google)?),
        registry: address(&registry)?.to_string(),
        console: format!("http://{}", address(&console)?),
    };
    let cloud = Arc::new(Cloud::new(ingredients, addresses).map_err(ServeError::Schemas)?);
    let authority = Arc::new(Authority::new().map_err(ServeError::Certificates)?);
    let closed = CancellationToken::new();
    let tunnels = Tunnels { cloud: cloud.clone(), authority: authority.clone(), closed: closed.clone() };
    let router = console::router(cloud.clone());
    let faces = vec![
        tokio::spawn(listen::serve(google, closed.clone(), tunnel::handler(tunnels))),
        face(&cloud, registry, &closed, dispatch::registry),
        face(&cloud, console, &closed, move |_, request| {
            let router = router.clone();
            async move {
                match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        }),
    ];
    Ok(Running { cloud, authority, closed, faces, idle })
}

fn face<H, F>(cloud: &Arc<Cloud>, listener: TcpListener, closed: &CancellationToken, handler: H) -> JoinHandle<()>
where
    H: Fn(Arc<Cloud>, Request<Body>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let cloud = cloud.clone();
    let answer = move |request: Request<Incoming>, _: SocketAddr| handler(cloud.clone(), request.map(incoming));
    tokio::spawn(listen::serve(listener, closed.clone(), answer))
}

fn google_port(port: Option<u16>) -> Result<TcpListener, ServeError> {
    if let Some(port) = port {
        return listen::bind(port).map_err(|source| ServeError::Port { port, source });
    }
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in FIRST_PORT..FIRST_PORT + PORTS {
        match listen::bind(port) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(ServeError::Listen(last))
}

impl Running {
    pub fn addresses(&self) -> &Addresses {
        &self.cloud.addresses
    }

    /// The certificate of the authority that signs for the clouds' names in tunnels, in PEM.
    pub fn certificate(&self) -> String {
        self.authority.certificate()
    }

    /// How containers are run, or why they cannot be.
    pub fn runtime(&self) -> Result<RuntimeKind, &str> {
        match &self.cloud.runtime {
            Ok(kind) => Ok(*kind),
            Err(why) => Err(why),
        }
    }

    /// The socket of the engine that runs the containers, if one does.
    pub fn engine(&self) -> Option<&Path> {
        self.cloud.containers.as_ref()?.engine()
    }

    /// Resolves when the console was asked to stop, or nobody used the local cloud for the time given.
    pub async fn stopped(&self) {
        let idle = async {
            match self.idle {
                Some(idle) => self.cloud.activity.idle(idle).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.cloud.stop.cancelled() => {}
            () = idle => {}
        }
    }

    /// Stops every container, frees every port. An error says what an engine keeps of it: it is to be swept by the
    /// instance.
    pub async fn shutdown(self) -> Result<(), String> {
        self.closed.cancel();
        self.cloud.google.jobs.clear().await;
        self.cloud.google.run.clear().await;
        for face in self.faces {
            // It ends by itself, or was ended with the process.
            let _ = face.await;
        }
        if let Some(recorder) = &self.cloud.recorder {
            recorder.end();
        }
        // What a last request made before its face was closed.
        self.cloud.google.jobs.clear().await;
        self.cloud.google.run.clear().await;
        self.cloud.clear_runtime().await
    }
}
