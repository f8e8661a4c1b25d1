//! Health checks of a container: <https://cloud.google.com/run/docs/configuring/healthchecks>
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Request, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::runtime::{Exit, Instance};

/// Between two tries to connect within one probe: loopback refuses at once what a cloud's network waits for.
const RETRY: Duration = Duration::from_millis(5);
/// Of a health service.
const LARGEST_ANSWER: usize = 1024;
const RETRY_MAX: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) delay: Duration,
    timeout: Duration,
    pub(super) period: Duration,
    pub(super) failures: u64,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Connect { port: u16 },
    Get { port: u16, path: String, headers: Vec<(String, String)> },
    Ask { port: u16, service: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// After so many attempts.
    Passed(u64),
    Failed,
    Exited(Exit),
    Cancelled,
}

/// Why one attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// The container ended first.
    Cancelled,
    /// Nothing listened, all the time that a connection may take.
    Refused,
    /// As before, and the check is by HTTP.
    NotConnected,
    /// It connected, and the answer was late.
    Late,
    /// It answered, and not as it must.
    Answered,
}

impl Miss {
    /// In the words of the log's second line; an answer has none.
    pub(super) fn status(self) -> Option<&'static str> {
        match self {
            Self::Cancelled => Some("CANCELLED"),
            Self::Refused | Self::Late => Some("DEADLINE_EXCEEDED"),
            Self::NotConnected => Some("ERROR_CONNECTION_FAILED"),
            Self::Answered => None,
        }
    }
}

impl Probe {
    /// From a container's probe, whose defaults are filled in.
    pub(super) fn parse(probe: &Value) -> Option<Self> {
        let seconds = |field: &str| probe[field].as_u64().map(Duration::from_secs);
        let port = |action: &Value| action["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let action = if let Some(http) = probe.get("httpGet") {
            let pair = |header: &Value| {
                Some((header["name"].as_str()?.to_owned(), header["value"].as_str().unwrap_or_default().to_owned()))
            };
            Action::Get {
                port: port(http)?,
                path: http["path"].as_str().unwrap_or("/").to_owned(),
                headers: http["httpHeaders"].as_array().into_iter().flatten().filter_map(pair).collect(),
            }
        } else if let Some(grpc) = probe.get("grpc") {
            Action::Ask { port: port(grpc)?, service: grpc["service"].as_str().unwrap_or_default().to_owned() }
        } else {
            Action::Connect { port: port(probe.get("tcpSocket")?)? }
        };
        Some(Self {
            delay: seconds("initialDelaySeconds").unwrap_or_default(),
            timeout: seconds("timeoutSeconds")?,
            period: seconds("periodSeconds")?,
            failures: probe["failureThreshold"].as_u64()?,
            action,
        })
    }

    pub(super) fn port(&self) -> u16 {
        match &self.action {
            Action::Connect { port } | Action::Get { port, .. } | Action::Ask { port, .. } => *port,
        }
    }

    pub(super) fn path(&self) -> Option<&str> {
        match &self.action {
            Action::Connect { .. } | Action::Ask { .. } => None,
            Action::Get { path, .. } => Some(path),
        }
    }

    /// `TCP`, `HTTP`, `GRPC`: as the system's log names it.
    pub(super) fn kind(&self) -> &'static str {
        match &self.action {
            Action::Connect { .. } => "TCP",
            Action::Get { .. } => "HTTP",
            Action::Ask { .. } => "GRPC",
        }
    }

    /// Until it passes, fails for good, or the container ends. `failed` hears of each attempt that fails.
    pub(super) async fn run(
        &self,
        instance: &Arc<dyn Instance>,
        cancelled: &CancellationToken,
        failed: impl Fn(u64, Miss),
    ) -> Outcome {
        tokio::select! {
            biased;
            () = cancelled.cancelled() => Outcome::Cancelled,
            exit = instance.exited() => Outcome::Exited(exit),
            outcome = self.attempts(instance, failed) => outcome,
        }
    }

    async fn attempts(&self, instance: &Arc<dyn Instance>, failed: impl Fn(u64, Miss)) -> Outcome {
        tokio::time::sleep(self.delay).await;
        for attempt in 1..=self.failures {
            let begun = Instant::now();
            match self.once(instance).await {
                Ok(()) => return Outcome::Passed(attempt),
                Err(miss) => failed(attempt, miss),
            }
            if attempt < self.failures {
                tokio::time::sleep_until(begun + self.period).await;
            }
        }
        Outcome::Failed
    }

    /// One attempt.
    pub(super) async fn once(&self, instance: &Arc<dyn Instance>) -> Result<(), Miss> {
        let connected = AtomicBool::new(false);
        match tokio::time::timeout(self.timeout, self.attempt(instance, &connected)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Miss::Answered),
            Err(_) if connected.load(Ordering::Relaxed) => Err(Miss::Late),
            Err(_) if self.path().is_some() => Err(Miss::NotConnected),
            Err(_) => Err(Miss::Refused),
        }
    }

    async fn attempt(&self, instance: &Arc<dyn Instance>, connected: &AtomicBool) -> bool {
        let mut pause = RETRY;
        let stream = loop {
            match instance.connect(self.port()).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(RETRY_MAX);
        };
        connected.store(true, Ordering::Relaxed);
        match &self.action {
            Action::Connect { .. } => true,
            Action::Get { port, path, headers } => get(stream, *port, path, headers).await.unwrap_or(false),
            Action::Ask { port, service } => serves(stream, *port, service).await.unwrap_or(false),
        }
    }
}

/// Passes from 200 to 399.
async fn get(
    stream: tokio::net::TcpStream,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder().uri(path).header(header::USER_AGENT, "GoogleHC/1.0");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header(header::HOST, format!("localhost:{port}"));
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::empty())?;
    let mut answer = std::pin::pin!(async {
        let response = sender.send_request(request).await?;
        Ok::<_, hyper::Error>((200..400).contains(&response.status().as_u16()))
    });
    tokio::select! {
        answer = &mut answer => Ok(answer?),
        // One that ends with its answer hands it over in the same moment; without one this fails.
        _ = connection => Ok(answer.await?),
    }
}

/// gRPC's own health service says SERVING: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>
async fn serves(
    stream: tokio::net::TcpStream,
    port: u16,
    service: &str,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    // HealthCheckRequest { string service = 1 }, behind a byte for compression and four for the length.
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        message.push(u8::try_from(service.len()).ok().filter(|length| *length < 0x80).ok_or("the name is too long")?);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0, 0, 0, 0, u8::try_from(message.len())?];
    frame.append(&mut message);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let request = Request::post(format!("http://localhost:{port}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "GoogleHC/1.0")
        .body(Body::from(frame))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let body = axum::body::to_bytes(Body::new(response.into_body()), LARGEST_ANSWER).await?;
        // HealthCheckResponse { ServingStatus status = 1 }, of which 1 is SERVING.
        Ok(body.get(5..) == Some(&[0x08, 0x01]))
    };
    tokio::select! {
        answer = answer => answer,
        _ = connection => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// What the probe makes of a server that says `answer` and closes.
    async fn probed(answer: &'static str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.expect("a request"));
            }
            stream.write_all(answer.as_bytes()).await.expect("written");
        };
        let stream = TcpStream::connect(address).await.expect("connected");
        let (result, ()) = tokio::join!(get(stream, 8080, "/", &[]), server);
        result.unwrap_or(false)
    }

    #[tokio::test]
    async fn an_answer_counts_that_ends_its_connection() {
        for turn in 0..200 {
            assert!(probed("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await, "{turn}");
        }
        assert!(!probed("HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await);
        assert!(!probed("").await);
    }
}
