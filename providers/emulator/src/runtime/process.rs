//! The process runtime: a container as a plain process of this machine, **not isolated**. It shares the network,
//! so `PORT` is a free one, and containers of one instance meet on its loopback as all others do: their other ports
//! are fixed, and can clash. As root its root is a copy of the image's;
//! without root only a static program works, started from such a copy. It runs as the user of the local cloud,
//! whatever the image's `USER` says.
use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{
    Instance, Launch, LaunchError, Runtime, RuntimeKind,
    command::program,
    container::{Joined, Network, Ordered, Start, joined, start},
    extract::{Cache, copy_tree, remove_tree},
    launcher::message::{Order, Program},
    memory::MemoryLimit,
    spawner::Spawner,
};

#[derive(Debug)]
pub(super) struct ProcessRuntime {
    launcher: PathBuf,
    instance: String,
    /// Holds a folder for each container.
    containers: PathBuf,
    cache: Cache,
    spawner: Spawner,
    chroot: bool,
}

impl ProcessRuntime {
    /// Tries it, and says why it does not work.
    pub(super) async fn open(dir: &Path, launcher: &Path, instance: &str) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let containers = dir.join("containers");
        remove_tree(&containers).map_err(text)?;
        fs::create_dir_all(&containers).map_err(text)?;
        let mut runtime = Self {
            launcher: launcher.to_owned(),
            instance: instance.to_owned(),
            containers,
            cache: Cache::open(dir.join("rootfs")).map_err(text)?,
            spawner: Spawner::start().map_err(text)?,
            chroot: rustix::process::geteuid().is_root(),
        };
        // Root may still lack the capability.
        if runtime.chroot && runtime.probe().await.is_err() {
            runtime.chroot = false;
        }
        match runtime.probe().await {
            Ok(()) => Ok(runtime),
            Err(LaunchError::Image(text) | LaunchError::Exec(text) | LaunchError::Host(text)) => Err(text),
        }
    }

    async fn probe(&self) -> Result<(), LaunchError> {
        let folder = self.containers.join(".probe");
        fs::create_dir_all(&folder).map_err(|error| LaunchError::Host(error.to_string()))?;
        let orders = [self.order(&folder, Joined::default(), None)];
        start(self.plain(&orders, folder)).await?.exited().await;
        Ok(())
    }

    fn order(&self, folder: &Path, joined: Joined, program: Option<Program>) -> Ordered {
        let Joined { volumes, folders, .. } = joined;
        let order = Order::Supervise { root: folder.to_owned(), chroot: self.chroot, volumes, program };
        Ordered { order, descriptors: folders }
    }

    /// The start of a container that nobody reads or reaches.
    fn plain<'start>(&'start self, orders: &'start [Ordered], folder: PathBuf) -> Start<'start> {
        Start {
            spawner: &self.spawner,
            launcher: &self.launcher,
            instance: &self.instance,
            orders,
            lends: None,
            output: mpsc::channel(1).0,
            scratch: Some(folder),
            network: Network::Shared,
            memory: None,
        }
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    fn engine(&self) -> Option<&Path> {
        None
    }

    /// The unpacked images are in the local cloud's own folder, and go with it.
    async fn clear(&self) -> Result<(), String> {
        Ok(())
    }

    async fn launch(&self, launch: Launch) -> Result<Arc<dyn Instance>, LaunchError> {
        let network = match launch.port {
            None => Network::Shared,
            Some(told) => {
                let free = free_port();
                let failed = |error| LaunchError::Host(format!("looking for a free port: {error}"));
                Network::Loopback { told, listens: free.map_err(failed)? }
            }
        };
        let listens = match network {
            Network::Loopback { listens, .. } => Some(listens),
            Network::Own | Network::Shared => None,
        };
        let program = program(&launch, listens, &self.instance)?;
        let root = self.cache.root_of(&launch.image).await?;
        // Before the copy, which nobody would remove when this fails.
        let joined = joined(&launch.company, launch.mounts)?;
        let folder = self.containers.join(format!("{}-{}", launch.id, uuid::Uuid::new_v4().simple()));
        let copied = tokio::task::spawn_blocking({
            let (folder, working_dir) = (folder.clone(), program.working_dir.clone());
            move || {
                copy_tree(&root, &folder)?;
                super::extract::make_folder(&folder, &working_dir)
            }
        });
        let copied = copied.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Err(error) = copied {
            // The first error is the one to tell.
            let _ = remove_tree(&folder);
            return Err(LaunchError::Host(format!("copying the image: {error}")));
        }
        let memory = launch.memory.and_then(|bytes| MemoryLimit::create(&self.instance, &launch.id, bytes));
        let lends = launch.company.lends();
        let orders = [self.order(&folder, joined, Some(program))];
        let start_with = Start { output: launch.output, network, memory, lends, ..self.plain(&orders, folder) };
        Ok(Arc::new(start(start_with).await?))
    }
}

/// Free now; another process may take it before the container does, which then fails to listen.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
