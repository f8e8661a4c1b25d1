//! What really runs a container. The rest of the local cloud sees only [`Runtime`] and [`Instance`].
//!
//! | module | what it holds |
//! |---|---|
//! | `choose` | which runtime works here, found by trying |
//! | `namespace` | own namespaces, isolated |
//! | `docker` | a container of a Docker or Podman engine |
//! | `process` | a plain process, not isolated |
//! | `extract` | layers to a root file system |
//! | `command` | what the image and the launch say together |
//! | `mount` | files and folders beside the image's |
//! | `container` | a running container as the server sees it; `control`, `memory`, `output`, `spawner` are its parts |
//! | `launcher` | the other side: this program again, as a container's first process |
//! | [`sweep`] | ends what is left of a local cloud that was killed |
mod address;
mod choose;
mod command;
mod container;
mod control;
mod docker;
mod extract;
mod launcher;
mod memory;
mod mount;
mod namespace;
mod output;
mod process;
mod spawner;
mod sweep;

use std::{any::Any, fmt, io, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};

pub(crate) use choose::choose;
pub use docker::{EngineSockets, sweep_engine};
#[cfg(any(test, fuzzing))]
pub(crate) use extract::fuzzing as extract_fuzzing;
pub use launcher::{LAUNCHER_ARGUMENT, launcher_main};
pub(crate) use mount::{Content, FOLDER_MOUNTS, Hidden, Lend, Mount, MountedFile};
pub use sweep::sweep;

use crate::image::Image;

/// How containers are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// Own user, mount, pid and network namespaces (Linux).
    Namespace,
    /// A Docker or Podman engine, through its socket.
    Docker,
    /// A plain process; not isolated.
    Process,
}

impl RuntimeKind {
    /// Whether a container is kept apart from this machine.
    pub fn isolated(self) -> bool {
        match self {
            Self::Namespace | Self::Docker => true,
            Self::Process => false,
        }
    }

    /// Whether the files of a mount are never on a disk.
    pub(crate) fn keeps_files_in_memory(self) -> bool {
        match self {
            Self::Namespace | Self::Process => true,
            Self::Docker => false,
        }
    }

    /// Whether a container runs as the image's user; else as its root, without capabilities.
    pub fn heeds_user(self) -> bool {
        match self {
            Self::Docker => true,
            Self::Namespace | Self::Process => false,
        }
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Namespace => "namespace",
            Self::Docker => "docker",
            Self::Process => "process (not isolated)",
        })
    }
}

/// One container to start.
pub(crate) struct Launch {
    /// Unique, safe as a folder name: `hello-00001-abc-1`.
    pub(crate) id: String,
    pub(crate) image: Image,
    /// Replaces the image's entrypoint (and drops its cmd) when not empty.
    pub(crate) command: Vec<String>,
    /// Replaces the image's cmd when not empty.
    pub(crate) args: Vec<String>,
    /// On top of the image's own; without `PORT`, which the runtime sets.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) working_dir: Option<String>,
    /// The port that the container is told to listen on, if any. A runtime without an own network may choose another.
    pub(crate) port: Option<u16>,
    /// All that are connected to beside it, in this container or in one that joins it: those of probes.
    pub(crate) reached: Vec<u16>,
    /// In bytes; best effort.
    pub(crate) memory: Option<u64>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) company: Company,
    /// Every line that the container writes.
    pub(crate) output: mpsc::Sender<Line>,
}

impl fmt::Debug for Launch {
    /// Variables may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Launch").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whom a container shares its network with.
#[derive(Clone, Debug, Default)]
pub(crate) enum Company {
    #[default]
    Nobody,
    /// With those that are launched to join it, and the folders that more than one mount shows.
    First(Vec<Lend>),
    /// With the first one, of the same runtime.
    Joins(Arc<dyn Instance>),
}

impl Company {
    /// What it hands out, when others may join it.
    fn lends(&self) -> Option<&[Lend]> {
        match self {
            Self::First(lends) => Some(lends),
            Self::Nobody | Self::Joins(_) => None,
        }
    }
}

/// One line of a container's output, without its newline.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) stream: Stream,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// The processes and threads that one container may have, where they can be counted: four times as many as a server
/// with a thread for each of Cloud Run's at most 1000 requests at once, and an eighth of the 32768 that Linux has by
/// default, so that a program that forks without end leaves this machine usable.
/// <https://cloud.google.com/run/docs/about-concurrency>
const PROCESSES: i64 = 4096;

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// The kernel killed it because it wanted more memory than its limit.
    pub(crate) out_of_memory: bool,
}

impl Exit {
    /// What is told of a container of which nothing else is known: its launcher was killed, its engine has gone.
    pub(crate) const KILLED: Self = Self::signal(Signal::KILL.as_raw());

    /// The end that a container's task tells. One that the server took along when it went down tells none.
    pub(crate) async fn told(exit: &watch::Receiver<Option<Self>>) -> Self {
        let mut exit = exit.clone();
        match exit.wait_for(Option::is_some).await.map(|exit| *exit) {
            Ok(Some(exit)) => exit,
            Ok(None) | Err(_) => Self::KILLED,
        }
    }

    pub(crate) const fn code(code: i32) -> Self {
        Self { code: Some(code), signal: None, out_of_memory: false }
    }

    pub(crate) const fn signal(signal: i32) -> Self {
        Self { code: None, signal: Some(signal), out_of_memory: false }
    }
}

/// Why a container could not be started at all.
#[derive(Clone, Debug)]
pub(crate) enum LaunchError {
    /// A layer is not what its digest says, leaves the root, or is too large.
    Image(String),
    /// The program is missing, not executable, or of another architecture.
    Exec(String),
    /// The machine refused.
    Host(String),
}

#[async_trait]
pub(crate) trait Runtime: fmt::Debug + Send + Sync {
    fn kind(&self) -> RuntimeKind;
    /// The socket of the engine that runs the containers, if one does.
    fn engine(&self) -> Option<&Path>;
    /// Extracts the image when it is not extracted yet, and starts the container.
    async fn launch(&self, launch: Launch) -> Result<Arc<dyn Instance>, LaunchError>;
    /// The local cloud has no services and images any more: what is left of them elsewhere goes. An error says what
    /// stays.
    async fn clear(&self) -> Result<(), String>;
}

#[async_trait]
pub(crate) trait Instance: Any + fmt::Debug + Send + Sync {
    /// A connection to a port inside the container; refused while nothing listens there.
    async fn connect(&self, port: u16) -> io::Result<TcpStream>;
    /// Waits for the end; answers at once when it has ended. May be called by many.
    async fn exited(&self) -> Exit;
    /// SIGTERM, then SIGKILL after `grace`; returns when all its processes are gone. Idempotent.
    async fn stop(&self, grace: Duration) -> Exit;
}

#[cfg(test)]
pub(crate) mod tests;
