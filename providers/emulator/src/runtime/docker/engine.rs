//! The connection to an engine, and how what a local cloud makes in it is told from everything else.
use std::{
    collections::{HashMap, HashSet},
    error::Error as _,
    path::Path,
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, PortBinding},
    query_parameters::{CreateContainerOptions, ListContainersOptions, RemoveContainerOptions},
};
use tokio::time::{sleep, timeout};

use super::import::Found;
use crate::runtime::PROCESSES;

/// A container's label with the instance of its local cloud.
const INSTANCE_LABEL: &str = "dev.carrack.instance";
/// A trial container's second one: what a late trial leaves is found while the local cloud goes on.
const TRIAL_LABEL: &str = "dev.carrack.trial";
/// Of one request that the engine answers when it has done it.
const REQUEST_SECONDS: u64 = 60;
/// A socket whose engine has gone may still accept.
const GREETING: Duration = Duration::from_secs(5);
/// Between two looks at what an engine removes.
const PAUSE: Duration = Duration::from_millis(100);
/// So many.
const PATIENCE: usize = 50;

/// Connects, and hears which version of the API the engine speaks.
pub(super) async fn connect(socket: &Path) -> Result<Docker, String> {
    let path = socket.to_str().ok_or("its path is no text")?;
    let docker = Docker::connect_with_unix(path, REQUEST_SECONDS, API_DEFAULT_VERSION).map_err(|e| explain(&e))?;
    match timeout(GREETING, docker.negotiate_version()).await {
        Ok(Ok(docker)) => Ok(docker),
        Ok(Err(error)) => Err(explain(&error)),
        Err(_) => Err(format!("no answer within {} s", GREETING.as_secs())),
    }
}

/// What the engine said, or every cause of why it could not be asked.
pub(super) fn explain(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        Error::SocketNotFoundError(_) => "no such file".to_owned(),
        Error::RequestTimeoutError => "no answer in time".to_owned(),
        error => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                // Several of them repeat their cause.
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

pub(super) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

/// The repository of every image that the local cloud `instance` imports. `localhost` is no registry that an
/// engine would look for it in.
pub(super) fn repository(instance: &str) -> String {
    format!("localhost/carrack-{instance}")
}

/// The label that finds the containers of a local cloud.
pub(super) fn instance_label(instance: &str) -> String {
    format!("{INSTANCE_LABEL}={instance}")
}

/// The same, to be given.
pub(super) fn instance_labels(instance: &str) -> HashMap<String, String> {
    [(INSTANCE_LABEL.to_owned(), instance.to_owned())].into()
}

/// The one that finds those of a trial alone.
pub(super) fn trial_label(trial: &str) -> String {
    format!("{TRIAL_LABEL}={trial}")
}

async fn list(docker: &Docker, label: &str) -> Result<Vec<String>, Error> {
    let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
    let options = ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
    let found = docker.list_containers(Some(options)).await?;
    Ok(found.into_iter().filter_map(|container| container.id).collect())
}

/// Removes every container that has a label, and says how many there were. One that does not go keeps none of the
/// others. Returns when the engine has them no more: what somebody else removes this moment is still in its image's
/// way.
pub(super) async fn remove_labelled(docker: &Docker, label: &str) -> Result<usize, String> {
    let mut left = list(docker, label).await.map_err(|error| explain(&error))?;
    let mut seen = HashSet::new();
    let mut stubborn = HashSet::new();
    let mut first = None;
    for _ in 0..PATIENCE {
        for id in left {
            if seen.insert(id.clone())
                && let Err(error) = remove(docker, &id).await
            {
                first.get_or_insert_with(|| format!("container {id}: {}", explain(&error)));
                stubborn.insert(id);
            }
        }
        left = list(docker, label).await.map_err(|error| explain(&error))?;
        left.retain(|id| !stubborn.contains(id));
        if left.is_empty() {
            return first.map_or(Ok(seen.len()), Err);
        }
        sleep(PAUSE).await;
    }
    Err(first.unwrap_or_else(|| format!("containers do not go: {}", left.join(", "))))
}

/// What an engine can do beyond running a container at all; found by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// A small first process that forwards signals and reaps. Without it the program is process 1, which the kernel
    /// spares from signals that it does not handle.
    pub(super) init: bool,
    /// Control groups for memory.
    pub(super) memory: bool,
    /// Control groups that count processes.
    pub(super) processes: bool,
}

/// A container to create. Its variables may be secret.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) instance: String,
    pub(super) image: Found,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) working_dir: String,
    pub(super) ports: Vec<u16>,
    pub(super) mounts: Vec<Mount>,
    pub(super) binds: Vec<String>,
    /// The container whose network it is in, instead of an own one with the ports.
    pub(super) joins: Option<String>,
    /// In bytes.
    pub(super) memory: Option<u64>,
    pub(super) abilities: Abilities,
    /// Of a trial container.
    pub(super) trial: Option<String>,
}

/// Creates a container, and gives its id.
pub(super) async fn create(docker: &Docker, plan: Plan) -> Result<String, Error> {
    let options = CreateContainerOptions { name: Some(plan.name.clone()), ..CreateContainerOptions::default() };
    docker.create_container(Some(options), body(plan)).await.map(|created| created.id)
}

/// Its end, whatever state it is in; the anonymous volumes of its image too.
pub(super) async fn remove(docker: &Docker, container: &str) -> Result<(), Error> {
    let options = RemoveContainerOptions { force: true, v: true, ..RemoveContainerOptions::default() };
    match docker.remove_container(container, Some(options)).await {
        Err(error) if is_missing(&error) => Ok(()),
        // Somebody else removes it this moment; or, in Podman, others are in its network still.
        Err(Error::DockerResponseServerError { status_code: 409, message }) if !message.contains("depend") => Ok(()),
        result => result,
    }
}

fn body(plan: Plan) -> ContainerCreateBody {
    let key = |port: &u16| format!("{port}/tcp");
    let alone = plan.joins.is_none();
    let own_ports = if alone { plan.ports } else { Vec::new() };
    // The engine chooses the port; never another address than loopback.
    let loopback = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(String::new()) };
    let trial = plan.trial.map(|trial| (TRIAL_LABEL.to_owned(), trial));
    let memory = plan.memory.filter(|_| plan.abilities.memory).and_then(|bytes| i64::try_from(bytes).ok());
    let host_config = HostConfig {
        memory,
        // Equal: nothing is swapped out instead.
        memory_swap: memory,
        pids_limit: plan.abilities.processes.then_some(PROCESSES),
        init: plan.abilities.init.then_some(true),
        port_bindings: alone.then(|| own_ports.iter().map(|port| (key(port), Some(vec![loopback.clone()]))).collect()),
        network_mode: plan.joins.map(|id| format!("container:{id}")),
        mounts: (!plan.mounts.is_empty()).then_some(plan.mounts),
        binds: (!plan.binds.is_empty()).then_some(plan.binds),
        // The local cloud keeps the output.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        // Without capabilities only this opens ports below 1024.
        sysctls: alone.then(|| HashMap::from([("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())])),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(plan.image.name),
        hostname: alone.then(|| "localhost".to_owned()),
        entrypoint: Some(plan.arguments),
        env: Some(plan.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        working_dir: Some(plan.working_dir),
        exposed_ports: alone.then(|| own_ports.iter().map(key).collect()),
        labels: Some(instance_labels(&plan.instance).into_iter().chain(trial).collect()),
        // Cloud Run heeds neither of these two that an image may have. Podman wants systemd even to run none.
        healthcheck: plan
            .image
            .has_healthcheck
            .then(|| HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        stop_signal: Some("SIGTERM".to_owned()),
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    }
}
