//! A running container, as the server sees it: the same for both runtimes.
use std::{
    io,
    net::Ipv4Addr,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rustix::process::{Pid, Signal};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::{error::Elapsed, timeout},
};

use super::{
    Exit, Instance, LaunchError, Line, Stream,
    command::INSTANCE_VARIABLE,
    control::Control,
    extract::remove_tree,
    launcher::{
        LAUNCHER_ARGUMENT,
        message::{self, Event, Order, Reason, Request},
    },
    memory::MemoryLimit,
    output::forward,
    spawner::Spawner,
};

/// A launcher that says nothing for so long is stuck.
const START: Duration = Duration::from_secs(30);
/// How long a launcher may take to end what it was told to kill.
const KILL: Duration = Duration::from_secs(5);

/// How the server reaches a container's ports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Network {
    /// Through the launcher, which lives in the container's network.
    Own,
    /// There is only this port, on loopback.
    Loopback(u16),
}

/// What a launcher needs.
#[derive(Debug)]
pub(super) struct Start<'start> {
    pub(super) spawner: &'start Spawner,
    pub(super) launcher: &'start Path,
    pub(super) instance: &'start str,
    /// One for each stage.
    pub(super) orders: &'start [Order],
    pub(super) output: mpsc::Sender<Line>,
    /// A folder that goes with the container.
    pub(super) scratch: Option<PathBuf>,
    pub(super) network: Network,
    pub(super) memory: Option<MemoryLimit>,
}

#[derive(Debug)]
pub(super) struct Container {
    control: Arc<Control>,
    network: Network,
    exit: watch::Receiver<Option<Exit>>,
    kill_launcher: Arc<Notify>,
}

/// Starts a launcher and waits until its program runs.
pub(super) async fn start(start: Start<'_>) -> Result<Container, LaunchError> {
    let Start { spawner, launcher, instance, orders, output, scratch, network, memory } = start;
    let mut scratch = Scratch(scratch);
    let host = |what: &str, error: io::Error| LaunchError::Host(format!("{what}: {error}"));
    let (server, stdin) = message::pair().map_err(|error| host("opening a socket", error))?;
    let mut command = Command::new(launcher);
    command
        .arg(LAUNCHER_ARGUMENT)
        .env_clear()
        .env(INSTANCE_VARIABLE, instance)
        .current_dir("/")
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = spawner
        .spawn(command)
        .await
        .map_err(|error| host(&format!("starting `{} {LAUNCHER_ARGUMENT}`", launcher.display()), error))?;
    if let (Some(memory), Some(pid)) = (&memory, child.id()) {
        // Best effort: without the limit it runs all the same.
        let _ = memory.admit(pid);
    }
    // Its orders come when it is in its place, since it starts more.
    for order in orders {
        message::send_order(server.as_fd(), order).map_err(|error| host("ordering a container", error))?;
    }
    let control = Arc::new(Control::new(server).map_err(|error| host("opening a socket", error))?);
    let mut readers = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        readers.push(tokio::spawn(forward(stdout, Stream::Stdout, output.clone())));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.push(tokio::spawn(forward(stderr, Stream::Stderr, output)));
    }
    let program = match first_word(timeout(START, control.event()).await) {
        Ok(program) => program,
        Err(refusal) => {
            // It ends by itself, and all of the container before it; or it is stuck.
            if timeout(KILL, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
            scratch.remove().await;
            return Err(refusal);
        }
    };
    let orphans = match network {
        Network::Own => None,
        Network::Loopback(_) => program.and_then(Pid::from_raw),
    };
    let (sender, exit) = watch::channel(None);
    let kill_launcher = Arc::new(Notify::new());
    tokio::spawn(attend(Attended {
        control: Arc::clone(&control),
        child,
        orphans,
        readers,
        scratch,
        memory,
        kill: Arc::clone(&kill_launcher),
        exit: sender,
    }));
    Ok(Container { control, network, exit, kill_launcher })
}

/// The program's process, if there is one, or why the container does not run.
fn first_word(event: Result<Option<Event>, Elapsed>) -> Result<Option<i32>, LaunchError> {
    match event {
        Ok(Some(Event::Started { program })) => Ok(program),
        Ok(Some(Event::Failed { reason: Reason::Image, text })) => Err(LaunchError::Image(text)),
        Ok(Some(Event::Failed { reason: Reason::Exec, text })) => Err(LaunchError::Exec(text)),
        Ok(Some(Event::Failed { reason: Reason::Host, text })) => Err(LaunchError::Host(text)),
        Ok(_) => Err(LaunchError::Host("the launcher ended before the container started".to_owned())),
        Err(_) => Err(LaunchError::Host("the launcher does not answer".to_owned())),
    }
}

struct Attended {
    control: Arc<Control>,
    child: Child,
    /// The process group that outlives a launcher that is killed; in a namespace nothing does.
    orphans: Option<Pid>,
    readers: Vec<JoinHandle<()>>,
    scratch: Scratch,
    memory: Option<MemoryLimit>,
    kill: Arc<Notify>,
    exit: watch::Sender<Option<Exit>>,
}

/// Stays with a container to its end, and tells of it when nothing is left.
async fn attend(attended: Attended) {
    let Attended { control, mut child, orphans, readers, mut scratch, memory, kill, exit } = attended;
    // Somebody killed the launcher, or the kernel did for want of memory, when it says nothing.
    let mut told = None;
    let mut kill = std::pin::pin!(kill.notified());
    loop {
        tokio::select! {
            event = control.event() => match event {
                Some(Event::Exited { code, signal }) => told = Some(Exit { code, signal, out_of_memory: false }),
                Some(_) => {}
                None => break,
            },
            () = &mut kill => {
                // Its end is awaited below in any case.
                let _ = child.start_kill();
                break;
            }
        }
    }
    let _ = child.wait().await;
    if let (None, Some(orphans)) = (told, orphans) {
        // They may have ended too.
        let _ = rustix::process::kill_process_group(orphans, Signal::KILL);
    }
    for reader in readers {
        // A process that got away may keep the pipe open.
        if timeout(KILL, reader).await.is_err() {
            break;
        }
    }
    scratch.remove().await;
    let told = told.unwrap_or(Exit::KILLED);
    let out_of_memory = told.signal == Exit::KILLED.signal && memory.as_ref().is_some_and(MemoryLimit::was_exceeded);
    drop(memory);
    // Nobody may be left to hear it.
    let _ = exit.send(Some(Exit { out_of_memory, ..told }));
}

#[async_trait]
impl Instance for Container {
    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        match self.network {
            Network::Own => self.control.connect(port).await,
            Network::Loopback(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await,
        }
    }

    async fn exited(&self) -> Exit {
        Exit::told(&self.exit).await
    }

    async fn stop(&self, grace: Duration) -> Exit {
        // A request that cannot be sent is one to a container that has ended, or ends now.
        let _ = self.control.ask(&Request::Terminate).await;
        if let Ok(exit) = timeout(grace, self.exited()).await {
            return exit;
        }
        let _ = self.control.ask(&Request::Kill).await;
        if let Ok(exit) = timeout(KILL, self.exited()).await {
            return exit;
        }
        self.kill_launcher.notify_one();
        self.exited().await
    }
}

impl Drop for Container {
    /// A container that nobody knows any more must not run on.
    fn drop(&mut self) {
        let _ = self.control.ask_now(&Request::Kill);
    }
}

/// A folder that is removed at the end, however that comes.
struct Scratch(Option<PathBuf>);

impl Scratch {
    async fn remove(&mut self) {
        let Some(folder) = self.0.take() else { return };
        // What is left is removed when the local cloud starts again.
        let _ = tokio::task::spawn_blocking(move || remove_tree(&folder)).await;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take() {
            let _ = remove_tree(&folder);
        }
    }
}
