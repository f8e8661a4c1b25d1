//! One container of an engine, from its start to its removal.
use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use bollard::{
    Docker,
    container::{AttachContainerResults, LogOutput},
    errors::Error,
    models::ContainerInspectResponse,
    query_parameters::{AttachContainerOptions, KillContainerOptions, WaitContainerOptions},
};
use futures_util::StreamExt;
use tokio::{
    net::TcpStream,
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    engine::{explain, is_missing, remove},
    reach::Reach,
    volumes::Folders,
};
use crate::runtime::{Exit, Instance, Line, Stream, output::Lines};

/// How long an engine may take to end what it was told to kill.
const KILL: Duration = Duration::from_secs(10);
/// Between two questions to an engine that cannot wait for a container's end.
const PAUSE: Duration = Duration::from_millis(100);
/// So often.
const PATIENCE: u32 = 25;
/// So many tries to remove one, at that distance.
const REMOVALS: u32 = 300;
/// An engine answers a wait when the container has ended, which may be in a year.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The last output may be on its way when the container has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

const SIGKILL: i32 = 9;

/// A container that is not started; removed when dropped.
#[derive(Debug)]
pub(super) struct Created {
    docker: Docker,
    id: Option<String>,
}

impl Created {
    pub(super) fn new(docker: Docker, id: String) -> Self {
        Self { docker, id: Some(id) }
    }

    pub(super) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// Listens to its output first, so that no line is lost.
    pub(super) async fn start(&mut self, output: mpsc::Sender<Line>, shared: Shared) -> Result<Container, Error> {
        let options =
            AttachContainerOptions { stream: true, stdout: true, stderr: true, ..AttachContainerOptions::default() };
        let attached = self.docker.attach_container(self.id(), Some(options)).await?;
        let reader = tokio::spawn(forward(attached, output));
        self.docker.start_container(self.id(), None).await?;
        // One that has ended by now has no port to reach.
        let found = match self.docker.inspect_container(self.id(), None).await {
            Err(Error::JsonDataError { .. }) => ContainerInspectResponse::default(),
            found => found?,
        };
        let id: Arc<str> = self.id.take().unwrap_or_default().into();
        let (sender, exit) = watch::channel(None);
        let signs = Signs::default();
        tokio::spawn(attend(self.docker.clone(), Arc::clone(&id), reader, sender, signs.clone()));
        let reach = shared.reach.unwrap_or_else(|| Arc::new(Reach::of(&found)));
        let folders = shared.folders;
        Ok(Container { docker: self.docker.clone(), id, reach, folders, exit, signs, patience: KILL })
    }
}

impl Created {
    pub(super) async fn remove(&mut self) {
        if let Some(id) = self.id.take()
            && let Err(error) = remove(&self.docker, &id).await
        {
            tracing::debug!(id, error = explain(&error), "a container stays in the engine");
        }
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        let (Some(id), Ok(handle)) = (self.id.take(), Handle::try_current()) else { return };
        let docker = self.docker.clone();
        // What is left is found by its label when the local cloud ends.
        handle.spawn(async move { remove(&docker, &id).await });
    }
}

#[derive(Debug)]
pub(super) struct Container {
    docker: Docker,
    id: Arc<str>,
    reach: Arc<Reach>,
    /// Its own, and those of the first one.
    folders: Vec<Arc<Folders>>,
    exit: watch::Receiver<Option<Exit>>,
    signs: Signs,
    /// How long the engine may take to end it.
    pub(super) patience: Duration,
}

/// What containers of one instance have together.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    /// The way to the ports of the first one, in whose network the others are.
    pub(super) reach: Option<Arc<Reach>>,
    pub(super) folders: Vec<Arc<Folders>>,
}

impl Container {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What one gets that joins this one.
    pub(super) fn shared(&self) -> Shared {
        Shared { reach: Some(Arc::clone(&self.reach)), folders: self.folders.clone() }
    }
}

/// What its attendant and its holder tell each other on the way to its end.
#[derive(Clone, Debug, Default)]
struct Signs {
    /// It has ended; its last words and its removal may take longer.
    ended: CancellationToken,
    /// The engine does not end it.
    given_up: CancellationToken,
}

/// Stays with a container to its end, removes it, and tells of it then.
async fn attend(
    docker: Docker,
    id: Arc<str>,
    mut reader: JoinHandle<()>,
    exit: watch::Sender<Option<Exit>>,
    signs: Signs,
) {
    let orderly = async {
        let told = ended(&docker, &id).await;
        signs.ended.cancel();
        let _ = timeout(LAST_WORDS, &mut reader).await;
        if remove(&docker, &id).await.is_err() {
            tokio::spawn(remove_later(docker.clone(), Arc::clone(&id)));
        }
        told
    };
    let told = tokio::select! {
        told = orderly => told,
        () = signs.given_up.cancelled() => Exit::KILLED,
    };
    signs.ended.cancel();
    reader.abort();
    // Nobody may be left to hear it.
    let _ = exit.send(Some(told));
}

/// It has ended, and others are in its network still: Podman removes it when they have gone.
async fn remove_later(docker: Docker, id: Arc<str>) {
    for _ in 0..REMOVALS {
        tokio::time::sleep(PAUSE).await;
        match remove(&docker, &id).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%id, error = explain(&error), "a container stays in the engine"),
        }
    }
}

/// Waits for the end of a container that was started.
pub(super) async fn ended(docker: &Docker, id: &str) -> Exit {
    let waiting = docker.clone().with_timeout(FOREVER);
    for attempt in 0.. {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let code = match waiting.wait_container(id, Some(options)).next().await {
            Some(Ok(answer)) => Some(answer.status_code),
            Some(Err(Error::DockerContainerWaitError { code, .. })) => Some(code),
            // The container's state says more.
            Some(Err(_)) | None => None,
        };
        match docker.inspect_container(id, None).await.map(|found| found.state) {
            Ok(Some(state)) if state.running != Some(true) => {
                return exit_of(state.exit_code.unwrap_or(-1), state.oom_killed == Some(true));
            }
            // Podman has a state that Docker has not, before the last one.
            Err(Error::JsonDataError { .. }) if code.is_none() || attempt < PATIENCE => tokio::time::sleep(PAUSE).await,
            Err(Error::JsonDataError { .. }) => return exit_of(code.unwrap_or(-1), false),
            Ok(_) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                if !is_missing(&error) {
                    tracing::warn!(id, error = explain(&error), "the engine does not know a container's end");
                }
                return Exit::KILLED;
            }
        }
    }
    Exit::KILLED
}

/// Engines tell a signal as 128 and its number, as shells do; a program that exits with such a code cannot be told
/// from it.
fn exit_of(code: i64, out_of_memory: bool) -> Exit {
    match i32::try_from(code) {
        Ok(code @ 0..=128) => Exit::code(code),
        Ok(code @ 129..=159) => {
            let signal = code - 128;
            Exit { out_of_memory: out_of_memory && signal == SIGKILL, ..Exit::signal(signal) }
        }
        Ok(code @ 160..) => Exit::code(code),
        _ => Exit::KILLED,
    }
}

/// Every line of a container's output, until its end.
async fn forward(attached: AttachContainerResults, output: mpsc::Sender<Line>) {
    let AttachContainerResults { output: mut pieces, input: _input } = attached;
    let mut streams = [(Stream::Stdout, Lines::default()), (Stream::Stderr, Lines::default())];
    let mut whole = Vec::new();
    while let Some(Ok(piece)) = pieces.next().await {
        let (stream, lines) = &mut streams[usize::from(matches!(piece, LogOutput::StdErr { .. }))];
        lines.push(piece.as_ref(), &mut |text| whole.push(text));
        for text in whole.drain(..) {
            // Nobody listening is no reason to let the program wait for a reader.
            let _ = output.send(Line { stream: *stream, text }).await;
        }
    }
    for (stream, lines) in streams {
        lines.finish(&mut |text| whole.push(text));
        for text in whole.drain(..) {
            let _ = output.send(Line { stream, text }).await;
        }
    }
}

async fn kill(docker: &Docker, id: &str, signal: &str, patience: Duration) {
    let options = KillContainerOptions { signal: signal.to_owned() };
    match timeout(patience, docker.kill_container(id, Some(options))).await {
        Ok(Ok(())) => {}
        // It has ended, or ends now.
        Ok(Err(error)) => tracing::debug!(id, signal, error = explain(&error), "a signal was not sent"),
        Err(_) => tracing::debug!(id, signal, "the engine does not answer"),
    }
}

#[async_trait]
impl Instance for Container {
    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        // Its address and port may be another container's by then.
        if self.signs.ended.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the container has ended"));
        }
        self.reach.connect(port).await
    }

    async fn exited(&self) -> Exit {
        Exit::told(&self.exit).await
    }

    async fn stop(&self, grace: Duration) -> Exit {
        if self.exit.borrow().is_none() {
            kill(&self.docker, &self.id, "SIGTERM", self.patience).await;
        }
        if let Ok(exit) = timeout(grace, self.exited()).await {
            return exit;
        }
        kill(&self.docker, &self.id, "SIGKILL", self.patience).await;
        if let Ok(exit) = timeout(self.patience, self.exited()).await {
            return exit;
        }
        // With it gone its attendant hears of the end.
        let _ = timeout(self.patience, remove(&self.docker, &self.id)).await;
        if let Ok(exit) = timeout(self.patience, self.exited()).await {
            return exit;
        }
        tracing::warn!(id = %self.id, "the engine does not end a container; its label finds it");
        self.signs.given_up.cancel();
        self.exited().await
    }
}

impl Drop for Container {
    /// A container that nobody knows any more must not run on.
    fn drop(&mut self) {
        let Ok(handle) = Handle::try_current() else { return };
        if self.exit.borrow().is_none() {
            let (docker, id) = (self.docker.clone(), Arc::clone(&self.id));
            handle.spawn(async move { kill(&docker, &id, "SIGKILL", KILL).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told_from_an_exit() {
        assert_eq!(exit_of(7, false), Exit::code(7));
        assert_eq!(exit_of(128, false), Exit::code(128));
        assert_eq!(exit_of(134, false), Exit::signal(6));
        assert_eq!(exit_of(137, true), Exit { out_of_memory: true, ..Exit::signal(9) });
        assert_eq!(exit_of(143, true), Exit::signal(15));
        assert_eq!(exit_of(255, false), Exit::code(255));
        assert_eq!(exit_of(-1, false), Exit::KILLED);
    }
}
