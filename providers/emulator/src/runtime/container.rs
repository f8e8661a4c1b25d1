//! A running container, as the server sees it: the same for both runtimes.
use std::{
    any::Any,
    collections::HashMap,
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
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
    Company, Exit, Instance, LaunchError, Lend, Line, Mount, Stream,
    command::INSTANCE_VARIABLE,
    control::Control,
    extract::remove_tree,
    launcher::{
        LAUNCHER_ARGUMENT,
        message::{self, Event, Order, Reason, Request, Volumes},
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
    /// This machine's: on loopback, where the container listens on another port than it would elsewhere.
    Loopback { told: u16, listens: u16 },
    /// This machine's, and every port is as it is.
    Shared,
}

/// One stage's order.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) order: Order,
    /// What comes along.
    pub(super) descriptors: Vec<OwnedFd>,
}

impl From<Order> for Ordered {
    fn from(order: Order) -> Self {
        Self { order, descriptors: Vec::new() }
    }
}

/// What a launcher needs.
#[derive(Debug)]
pub(super) struct Start<'start> {
    pub(super) spawner: &'start Spawner,
    pub(super) launcher: &'start Path,
    pub(super) instance: &'start str,
    /// One for each stage.
    pub(super) orders: &'start [Ordered],
    /// What the launcher hands out for others, if they may join.
    pub(super) lends: Option<&'start [Lend]>,
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
    shared: Option<Shared>,
}

/// What other containers of the instance get of the first one.
#[derive(Debug)]
struct Shared {
    /// Its namespaces, where it has any.
    spaces: Vec<OwnedFd>,
    /// Copies of mounts, by the folder's name; each is for one mount.
    folders: Mutex<HashMap<String, Vec<OwnedFd>>>,
}

impl Shared {
    fn new(mut descriptors: Vec<OwnedFd>, lends: &[Lend]) -> Option<Self> {
        let copies: usize = lends.iter().map(|lend| lend.copies).sum();
        let mut rest = descriptors.split_off(descriptors.len().checked_sub(copies)?).into_iter();
        let folders = lends.iter().map(|lend| (lend.name.clone(), rest.by_ref().take(lend.copies).collect())).collect();
        Some(Self { spaces: descriptors, folders: Mutex::new(folders) })
    }
}

/// What a container that joins another one gets: its namespaces, and its volumes with the folders that come along.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) spaces: Vec<OwnedFd>,
    pub(super) volumes: Volumes,
    pub(super) folders: Vec<OwnedFd>,
}

/// How a container with `mounts` is kept company. One that joins nobody gets no descriptors.
pub(super) fn joined(company: &Company, mounts: Vec<Mount>) -> Result<Joined, LaunchError> {
    let host = |text: &str| LaunchError::Host(text.to_owned());
    let mut volumes = Volumes { mounts, ..Volumes::default() };
    let first = match company {
        Company::Nobody => return Ok(Joined { spaces: Vec::new(), volumes, folders: Vec::new() }),
        Company::First(lends) => {
            volumes.lends = Some(lends.clone());
            return Ok(Joined { spaces: Vec::new(), volumes, folders: Vec::new() });
        }
        Company::Joins(first) => first,
    };
    let any: &dyn Any = &**first;
    let shared = any.downcast_ref::<Container>().and_then(|container| container.shared.as_ref());
    let shared = shared.ok_or_else(|| host("the container to join shares nothing"))?;
    let copied: io::Result<Vec<OwnedFd>> = shared.spaces.iter().map(OwnedFd::try_clone).collect();
    let spaces = copied.map_err(|error| host(&format!("joining a container: {error}")))?;
    let mut lent = shared.folders.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut given, mut folders) = (Vec::new(), Vec::new());
    for name in volumes.mounts.iter().filter_map(Mount::folder) {
        if let Some(copies) = lent.get_mut(name) {
            let copy = copies.pop().ok_or_else(|| host("a folder is mounted more often than it was said"))?;
            given.push(name.to_owned());
            folders.push(copy);
        }
    }
    volumes.given = given;
    Ok(Joined { spaces, volumes, folders })
}

/// Starts a launcher and waits until its program runs.
pub(super) async fn start(start: Start<'_>) -> Result<Container, LaunchError> {
    let Start { spawner, launcher, instance, orders, lends, output, scratch, network, memory } = start;
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
    for Ordered { order, descriptors } in orders {
        message::send_order(server.as_fd(), order, descriptors).map_err(|error| host("ordering a container", error))?;
    }
    let control = Arc::new(Control::new(server).map_err(|error| host("opening a socket", error))?);
    let mut readers = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        readers.push(tokio::spawn(forward(stdout, Stream::Stdout, output.clone())));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.push(tokio::spawn(forward(stderr, Stream::Stderr, output)));
    }
    let (program, descriptors) = match first_word(timeout(START, control.event()).await) {
        Ok(started) => started,
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
        Network::Loopback { .. } | Network::Shared => program.and_then(Pid::from_raw),
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
    let shared = lends.and_then(|lends| Shared::new(descriptors, lends));
    Ok(Container { control, network, exit, kill_launcher, shared })
}

type Word = (Event, Vec<OwnedFd>);

/// The program's process, if there is one, and what others may share, or why the container does not run.
fn first_word(word: Result<Option<Word>, Elapsed>) -> Result<(Option<i32>, Vec<OwnedFd>), LaunchError> {
    let (event, descriptors) = match word {
        Ok(Some(word)) => word,
        Ok(None) => return Err(LaunchError::Host("the launcher ended before the container started".to_owned())),
        Err(_) => return Err(LaunchError::Host("the launcher does not answer".to_owned())),
    };
    match event {
        Event::Started { program } => Ok((program, descriptors)),
        Event::Failed { reason: Reason::Image, text } => Err(LaunchError::Image(text)),
        Event::Failed { reason: Reason::Exec, text } => Err(LaunchError::Exec(text)),
        Event::Failed { reason: Reason::Host, text } => Err(LaunchError::Host(text)),
        _ => Err(LaunchError::Host("the launcher ended before the container started".to_owned())),
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
                Some((Event::Exited { code, signal }, _)) => told = Some(Exit { code, signal, out_of_memory: false }),
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
            Network::Loopback { told, listens } => {
                let port = if port == told { listens } else { port };
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
            }
            Network::Shared => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await,
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
