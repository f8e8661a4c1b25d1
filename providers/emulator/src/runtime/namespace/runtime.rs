//! The server's side of the namespace runtime.
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::root::MOUNT_POINT;
use crate::runtime::{
    Instance, Launch, LaunchError, Runtime, RuntimeKind,
    command::program,
    container::{Joined, Network, Ordered, Start, joined, start},
    extract::Cache,
    launcher::message::{Order, Program},
    memory::MemoryLimit,
    spawner::Spawner,
};

const ROOTS: &str = "rootfs";

#[derive(Debug)]
pub(in crate::runtime) struct NamespaceRuntime {
    folder: PathBuf,
    launcher: PathBuf,
    instance: String,
    cache: Cache,
    spawner: Spawner,
}

impl NamespaceRuntime {
    /// Tries it with an empty container, and says why it does not work.
    pub(in crate::runtime) async fn open(folder: &Path, launcher: &Path, instance: &str) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        fs::create_dir_all(folder.join(MOUNT_POINT)).map_err(text)?;
        let runtime = Self {
            folder: fs::canonicalize(folder).map_err(text)?,
            launcher: launcher.to_owned(),
            instance: instance.to_owned(),
            cache: Cache::open(folder.join(ROOTS)).map_err(text)?,
            spawner: Spawner::start().map_err(text)?,
        };
        let nothing = Joined::default();
        match start(runtime.plain(&runtime.orders(None, nothing, None))).await {
            Ok(container) => {
                container.exited().await;
                Ok(runtime)
            }
            Err(LaunchError::Image(text) | LaunchError::Exec(text) | LaunchError::Host(text)) => Err(text),
        }
    }

    /// One for each stage of the launcher.
    fn orders(&self, rootfs: Option<PathBuf>, joined: Joined, program: Option<Program>) -> [Ordered; 2] {
        let server = rustix::process::getpid().as_raw_pid();
        let Joined { spaces, volumes, folders } = joined;
        let join = !spaces.is_empty();
        let init = Order::Init { folder: self.folder.clone(), rootfs, joined: join, volumes, program };
        [
            Ordered { order: Order::Enclose { server, join }, descriptors: spaces },
            Ordered { order: init, descriptors: folders },
        ]
    }

    /// The start of a container that nobody reads.
    fn plain<'start>(&'start self, orders: &'start [Ordered]) -> Start<'start> {
        Start {
            spawner: &self.spawner,
            launcher: &self.launcher,
            instance: &self.instance,
            orders,
            lends: None,
            output: mpsc::channel(1).0,
            scratch: None,
            network: Network::Own,
            memory: None,
        }
    }
}

#[async_trait]
impl Runtime for NamespaceRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Namespace
    }

    fn engine(&self) -> Option<&Path> {
        None
    }

    /// The unpacked images are in the local cloud's own folder, and go with it.
    async fn clear(&self) -> Result<(), String> {
        Ok(())
    }

    async fn launch(&self, launch: Launch) -> Result<Arc<dyn Instance>, LaunchError> {
        let program = program(&launch, launch.port, &self.instance)?;
        let root = self.cache.root_of(&launch.image).await?;
        let memory = launch.memory.and_then(|bytes| MemoryLimit::create(&self.instance, &launch.id, bytes));
        let rootfs = Path::new(ROOTS).join(root.file_name().unwrap_or_default());
        let joined = joined(&launch.company, launch.mounts)?;
        let orders = self.orders(Some(rootfs), joined, Some(program));
        let lends = launch.company.lends();
        let container = start(Start { output: launch.output, memory, lends, ..self.plain(&orders) }).await?;
        Ok(Arc::new(container))
    }
}
