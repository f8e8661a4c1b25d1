//! The server's side: finds an engine, and launches.
use std::{
    any::Any,
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bollard::{Docker, errors::Error};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    EngineSockets,
    clean::clear,
    container::{Container, Created, Shared},
    engine::{self, Abilities, Plan, explain},
    import::Imported,
    program, trial,
    volumes::{self, Folders},
};
use crate::runtime::{
    Company, Instance, Launch, LaunchError, Runtime, RuntimeKind, command::program as program_of,
    launcher::message::Program,
};

/// Whoever starts a local cloud waits 20 s for it: all engines together get less, and each one less than all.
const OPEN: Duration = Duration::from_secs(15);
const TRIAL: Duration = Duration::from_secs(9);

#[derive(Debug)]
pub(in crate::runtime) struct DockerRuntime {
    docker: Docker,
    socket: PathBuf,
    instance: String,
    abilities: Abilities,
    imported: Imported,
    /// Programs that were found to be startable: digest, name, PATH and working directory.
    startable: Mutex<HashSet<String>>,
}

impl DockerRuntime {
    /// The first engine that runs a container, or why each does not.
    pub(in crate::runtime) async fn open(sockets: &EngineSockets, instance: &str) -> Result<Self, String> {
        let mut reasons: Vec<String> = sockets.refused.iter().cloned().collect();
        let deadline = Instant::now() + OPEN;
        for socket in &sockets.paths {
            let opened = timeout_at(deadline, Self::open_one(socket, instance, TRIAL)).await;
            match opened.unwrap_or_else(|_| Err("other engines took the time for it".to_owned())) {
                Ok(runtime) => return Ok(runtime),
                Err(reason) => reasons.push(format!("`{}`: {reason}", socket.display())),
            }
        }
        if reasons.is_empty() {
            reasons.push("no socket of an engine is known".to_owned());
        }
        Err(reasons.join(", "))
    }

    pub(super) async fn open_one(socket: &Path, instance: &str, limit: Duration) -> Result<Self, String> {
        let docker = engine::connect(socket).await?;
        // A task of its own, which takes away what it made however long that takes.
        let trial = tokio::spawn({
            let (docker, instance) = (docker.clone(), instance.to_owned());
            async move { trial::run(&docker, &instance).await }
        });
        let abilities = match timeout(limit, trial).await {
            Ok(told) => told.map_err(|error| error.to_string())??,
            Err(_) => return Err(format!("it answers, and ran no container within {} s", limit.as_secs())),
        };
        tracing::debug!(socket = %socket.display(), ?abilities, "an engine runs containers");
        Ok(Self {
            docker,
            socket: socket.to_owned(),
            instance: instance.to_owned(),
            abilities,
            imported: Imported::new(instance),
            startable: Mutex::default(),
        })
    }

    /// The container whose network is joined, if one is, and what the containers of the instance have together.
    async fn company(&self, launch: &Launch) -> Result<(Option<String>, Shared), LaunchError> {
        let (joins, mut shared) = match &launch.company {
            Company::Nobody | Company::First(_) => (None, Shared::default()),
            Company::Joins(first) => {
                let any: &dyn Any = &**first;
                let first = any.downcast_ref::<Container>();
                let other = || LaunchError::Host("the container to join is not this engine's".to_owned());
                let first = first.ok_or_else(other)?;
                (Some(first.id().to_owned()), first.shared())
            }
        };
        let lends = launch.company.lends().unwrap_or_default();
        let own = Folders::create(&self.docker, &self.instance, lends, &launch.mounts, &shared.folders).await;
        let own = own.map_err(|error| LaunchError::Host(format!("creating a volume: {}", explain(&error))))?;
        shared.folders.push(Arc::new(own));
        Ok((joins, shared))
    }

    async fn prepare(&self, id: &str, digest: &str, program: &Program) -> Result<(), LaunchError> {
        program::make_working_dir(&self.docker, id, &program.working_dir).await;
        let path = program.environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
        let name = program.arguments.first().map_or("", String::as_str);
        let key = [digest, name, path, &program.working_dir].join("\0");
        let known = |startable: &Mutex<HashSet<String>>| {
            startable.lock().unwrap_or_else(PoisonError::into_inner).contains(&key)
        };
        if known(&self.startable) {
            return Ok(());
        }
        program::check(&self.docker, id, program).await.map_err(LaunchError::Exec)?;
        self.startable.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        Ok(())
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    fn engine(&self) -> Option<&Path> {
        Some(&self.socket)
    }

    async fn launch(&self, launch: Launch) -> Result<Arc<dyn Instance>, LaunchError> {
        let mut program = program_of(&launch, launch.port, &self.instance)?;
        let image = self.imported.find(&self.docker, &launch.image).await?;
        if !is_root(launch.image.config.user.as_deref()) && !sets_home(&launch) {
            // The engine knows the home of the image's user.
            program.environment.retain(|(name, _)| name != "HOME");
        }
        let (joins, shared) = self.company(&launch).await?;
        let plan = Plan {
            name: format!("carrack-{}-{}", launch.id, uuid::Uuid::new_v4().simple()),
            instance: self.instance.clone(),
            image,
            arguments: program.arguments.clone(),
            environment: program.environment.clone(),
            working_dir: program.working_dir.clone(),
            ports: launch
                .port
                .into_iter()
                .chain(launch.reached.iter().copied())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            mounts: volumes::nameless(&launch.mounts),
            binds: volumes::binds(&launch.mounts, &shared.folders),
            joins,
            memory: launch.memory,
            abilities: self.abilities,
            trial: None,
        };
        let id = engine::create(&self.docker, plan)
            .await
            .map_err(|error| LaunchError::Host(format!("creating a container: {}", explain(&error))))?;
        // From here on it is removed again.
        let mut created = Created::new(self.docker.clone(), id);
        let prepared = match self.prepare(created.id(), &launch.image.digest, &program).await {
            Ok(()) => volumes::fill(&self.docker, created.id(), &launch.mounts).await.map_err(LaunchError::Host),
            Err(error) => Err(error),
        };
        let started = match prepared {
            Ok(()) => created.start(launch.output, shared).await.map_err(not_started),
            Err(error) => Err(error),
        };
        match started {
            Ok(container) => Ok(Arc::new(container)),
            Err(error) => {
                created.remove().await;
                Err(error)
            }
        }
    }

    async fn clear(&self) -> Result<(), String> {
        clear(&self.docker, &self.instance).await.map(|_| ())
    }
}

fn is_root(user: Option<&str>) -> bool {
    matches!(user.unwrap_or_default(), "" | "0" | "root" | "0:0" | "root:root")
}

fn sets_home(launch: &Launch) -> bool {
    launch.env.iter().any(|(name, _)| name == "HOME")
        || launch.image.config.env.iter().any(|line| line.starts_with("HOME="))
}

/// Without a first process of its own, the engine says itself that a program cannot be executed.
fn not_started(error: Error) -> LaunchError {
    let text = explain(&error);
    let of_the_program = ["exec:", "exec format error", "executable file"];
    if of_the_program.iter().any(|part| text.contains(part)) {
        LaunchError::Exec(format!("cannot start the program: {text}"))
    } else {
        LaunchError::Host(format!("starting a container: {text}"))
    }
}
