//! A runtime whose containers are axum servers in this process. The first argument says what a container does.
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Body, extract::State, response::Response, routing::any};
use http::{HeaderMap, Request, StatusCode, Uri, header};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    image::{Blob, Image, ImageConfig, ImageError},
    registry_access::Access,
    runtime::{Exit, Instance, Launch, LaunchError, Line, Runtime, RuntimeKind, Stream},
    server::listen,
    state::Images,
};

/// What tests watch and steer.
#[derive(Debug, Default)]
pub(super) struct FakeRuntime {
    pub(super) launched: Mutex<Vec<String>>,
    pub(super) running: Arc<AtomicUsize>,
    /// `/slow` answers when this is notified.
    pub(super) release: Arc<Notify>,
    /// `/slow` has been reached so often.
    pub(super) waiting: Arc<watch::Sender<usize>>,
    /// Containers with the argument `gated` listen when this is cancelled, those with `lingering` or
    /// `stubborn` end after it.
    pub(super) gate: CancellationToken,
    /// Connections that were refused.
    pub(super) refused: Arc<watch::Sender<usize>>,
}

#[derive(Clone)]
struct Container {
    env: Arc<BTreeMap<String, String>>,
    release: Arc<Notify>,
    waiting: Arc<watch::Sender<usize>>,
    output: mpsc::Sender<Line>,
    exit: CancellationToken,
    id: Arc<str>,
    /// `/health` fails.
    sick: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FakeInstance {
    /// `None` as long as nothing listens.
    port: Arc<Mutex<Option<u16>>>,
    stop: CancellationToken,
    exited: watch::Receiver<Option<Exit>>,
    refused: Arc<watch::Sender<usize>>,
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    fn engine(&self) -> Option<&std::path::Path> {
        None
    }

    async fn clear(&self) -> Result<(), String> {
        Ok(())
    }

    async fn launch(&self, launch: Launch) -> Result<Arc<dyn Instance>, LaunchError> {
        self.launched.lock().expect("a lock").push(launch.id.clone());
        let say = |stream, text: &str| {
            // Nobody listens when the local cloud has gone.
            let _ = launch.output.try_send(Line { stream, text: text.to_owned() });
        };
        say(Stream::Stdout, "hello from the container");
        let (sender, exited) = watch::channel(None);
        let stop = CancellationToken::new();
        let port = Arc::new(Mutex::new(None));
        let instance =
            Arc::new(FakeInstance { port: port.clone(), stop: stop.clone(), exited, refused: self.refused.clone() });
        match launch.args.first().map(String::as_str) {
            Some("noexec") => return Err(LaunchError::Exec("no such file".to_owned())),
            Some("task") => {
                tokio::spawn(self.task(launch, sender, stop));
                return Ok(instance);
            }
            Some("exit") => {
                say(Stream::Stderr, "oh no");
                let _ = sender.send(Some(Exit::code(1)));
                return Ok(instance);
            }
            _ => {}
        }
        let first = launch.args.first().map(String::as_str);
        let gate = (first == Some("gated")).then(|| self.gate.clone());
        let linger = (first == Some("lingering")).then(|| self.gate.clone());
        let stubborn = (first == Some("stubborn")).then(|| self.gate.clone());
        let never = first == Some("deaf");
        let listener = listen::bind(0).map_err(|error| LaunchError::Host(error.to_string()))?;
        let container = Container {
            env: Arc::new(launch.env.iter().cloned().collect()),
            release: self.release.clone(),
            waiting: self.waiting.clone(),
            output: launch.output.clone(),
            exit: CancellationToken::new(),
            id: launch.id.as_str().into(),
            sick: Arc::default(),
        };
        let running = self.running.clone();
        running.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let exit = container.exit.clone();
            let open = async {
                if let Some(gate) = gate {
                    gate.cancelled().await;
                }
                if never {
                    std::future::pending::<()>().await;
                }
                *port.lock().expect("a lock") = listener.local_addr().ok().map(|address| address.port());
                serve(listener, container).await;
            };
            let end = tokio::select! {
                () = open => Exit::code(0),
                () = exit.cancelled() => Exit::code(7),
                () = stop.cancelled() => Exit::code(0),
            };
            *port.lock().expect("a lock") = None;
            if let Some(linger) = linger {
                tokio::select! {
                    () = linger.cancelled() => {}
                    () = stop.cancelled() => {}
                }
            }
            if let Some(stubborn) = stubborn {
                stubborn.cancelled().await;
            }
            running.fetch_sub(1, Ordering::SeqCst);
            let _ = sender.send(Some(end));
        });
        Ok(instance)
    }
}

impl FakeRuntime {
    /// A container that does something and ends. The second argument says how.
    fn task(
        &self,
        launch: Launch,
        ended: watch::Sender<Option<Exit>>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (running, gate) = (self.running.clone(), self.gate.clone());
        running.fetch_add(1, Ordering::SeqCst);
        async move {
            let variable =
                |name: &str| launch.env.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
            let attempt = variable("CLOUD_RUN_TASK_ATTEMPT");
            let code = match launch.args.get(1).map(String::as_str) {
                Some("env") => {
                    let lines: Vec<_> = launch.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    let _ = launch.output.send(Line { stream: Stream::Stdout, text: lines.join(" ") }).await;
                    0
                }
                Some("fail") => 3,
                // Only the first attempt fails.
                Some("flaky") => i32::from(attempt == "0"),
                // Only the second task fails.
                Some("second") => i32::from(variable("CLOUD_RUN_TASK_INDEX") == "1"),
                Some("flaky-gated") if attempt == "0" => 1,
                Some("gated" | "flaky-gated") => tokio::select! {
                    () = gate.cancelled() => 0,
                    () = stop.cancelled() => 143,
                },
                _ => 0,
            };
            running.fetch_sub(1, Ordering::SeqCst);
            let _ = ended.send(Some(Exit::code(code)));
        }
    }
}

/// Dropped with the container: its connections end as those of a process do.
async fn serve(listener: TcpListener, container: Container) {
    let router = Router::new().fallback(any(answer)).with_state(container);
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(router.clone());
        let builder = auto::Builder::new(TokioExecutor::new());
        connections.spawn(async move {
            // Whoever tests looks at the answers.
            let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(State(container): State<Container>, uri: Uri, headers: HeaderMap, request: Request<Body>) -> Response {
    let text = match uri.path() {
        "/slow" => {
            let released = container.release.notified();
            container.waiting.send_modify(|count| *count += 1);
            released.await;
            "slow".to_owned()
        }
        "/env" => container.env.iter().map(|(name, value)| format!("{name}={value}\n")).collect(),
        "/headers" => {
            let version = format!("version: {:?}\n", request.version());
            let pairs = headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or("?")));
            std::iter::once(version).chain(pairs).collect()
        }
        "/log" => {
            let query = uri.query().unwrap_or_default();
            let text = percent_encoding::percent_decode_str(query).decode_utf8_lossy().into_owned();
            let _ = container.output.try_send(Line { stream: Stream::Stdout, text });
            "logged".to_owned()
        }
        "/die" => {
            container.exit.cancel();
            std::future::pending::<()>().await;
            String::new()
        }
        "/who" => container.id.to_string(),
        "/sicken" => {
            container.sick.store(true, Ordering::SeqCst);
            String::new()
        }
        "/heal" => {
            container.sick.store(false, Ordering::SeqCst);
            String::new()
        }
        "/health" if container.sick.load(Ordering::SeqCst) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return response;
        }
        "/echo" => return Response::new(request.into_body()),
        "/upgrade" => return upgrade(request),
        "/fail" => {
            let mut response = Response::new(Body::from("no"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
        _ => container.env.get("K_REVISION").cloned().unwrap_or_default(),
    };
    Response::new(Body::from(text))
}

/// Another protocol: it answers each byte with the next one.
fn upgrade(mut request: Request<Body>) -> Response {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut byte = [0];
        while stream.read_exact(&mut byte).await.is_ok() {
            if stream.write_all(&[byte[0] + 1]).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(header::CONNECTION, http::HeaderValue::from_static("upgrade"));
    fields.insert(header::UPGRADE, http::HeaderValue::from_static("counting"));
    response
}

#[async_trait]
impl Instance for FakeInstance {
    async fn connect(&self, _: u16) -> io::Result<TcpStream> {
        let port = *self.port.lock().expect("a lock");
        let Some(port) = port else {
            self.refused.send_modify(|count| *count += 1);
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        TcpStream::connect(("127.0.0.1", port)).await
    }

    async fn exited(&self) -> Exit {
        let mut exited = self.exited.clone();
        let end = exited.wait_for(Option::is_some).await.map(|exit| *exit);
        end.ok().flatten().unwrap_or(Exit::signal(9))
    }

    async fn stop(&self, _: Duration) -> Exit {
        self.stop.cancel();
        self.exited().await
    }
}

/// Every image is there, unless its name says otherwise.
#[derive(Debug, Default)]
pub(super) struct FakeImages;

#[async_trait]
impl Images for FakeImages {
    async fn image(&self, name: &str, reference: &str) -> Result<Image, ImageError> {
        if name.ends_with("missing") {
            return Err(ImageError::NotFound);
        }
        if name.ends_with("arm") {
            let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
            return Err(ImageError::NoPlatform { media_type });
        }
        Ok(Image {
            reference: format!("{name}:{reference}"),
            digest: format!("sha256:{}", "a".repeat(64)),
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            config: ImageConfig::default(),
            configuration: Blob { digest: format!("sha256:{}", "b".repeat(64)), path: "/nonexistent".into() },
            layers: Vec::new(),
        })
    }

    fn routes(&self, _: Arc<dyn Access>, prefix: Option<String>) -> Router {
        Router::new().fallback(|| async move { format!("registry {prefix:?}") })
    }

    async fn clear(&self) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> Vec<crate::registry::StoredImage> {
        Vec::new()
    }

    fn remove(&self, _: &str, _: &str) {}
}
