//! What a cloud can do, as data, and the check that refuses before any request what it cannot.
mod keys;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind,
    job::JobLimits,
    rollout::TAG,
    spec::{ContainerSpec, Ingress, Mebibytes, MilliCpu, ProbeCheck, Probes, ServiceName, ServiceSpec, Volume},
};

/// What a cloud can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Earlier versions stay and can serve again.
    pub revisions: bool,
    /// Several of them can serve at the same time, each with its share; and have URLs of their own.
    pub traffic_split: bool,
    /// Characters of a service's name and of a tag of it together, at the most.
    pub longest_name_and_tag: Option<usize>,
    /// Logs can be followed.
    pub logs_follow: bool,
    /// A service may be open to anyone or closed.
    pub public_access: bool,
    /// Health checks by gRPC.
    pub grpc_probe: bool,
    /// Health checks while it serves, which only take requests away.
    pub readiness_probe: bool,
    /// Containers beside the main one.
    pub sidecars: bool,
    /// What containers can mount, beside secrets.
    pub volumes: Vec<VolumeKind>,
    /// Which sizes there are; the pairs that the cloud documents.
    pub sizes: Vec<Size>,
    /// Below this CPU an instance takes one request at a time.
    pub single_request_below: Option<MilliCpu>,
    /// Requests that one instance may take at the same time, at the most; `None` = not settable.
    pub max_concurrency: Option<u32>,
    /// Instances at the most.
    pub max_instances: u32,
    /// What not every cloud has, and this one does.
    pub features: Vec<Feature>,
    /// The longest that a request may take; `None` = not settable.
    pub longest_timeout: Option<Duration>,
    /// From where a service can be reached; empty = not settable.
    pub ingress: Vec<Ingress>,
    /// How containers can be isolated; empty = not settable.
    pub execution_environments: Vec<ExecutionEnvironment>,
    /// Characters of a description, at the most.
    pub longest_description: usize,
    /// What a job can be; `None` = there are no jobs.
    pub jobs: Option<JobLimits>,
}

/// What a cloud may have or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// HTTP/2 without TLS between the cloud and a container.
    H2c,
    /// A caller's requests go to the same instance.
    SessionAffinity,
    /// A service has a text for people.
    Description,
    /// The name that the cloud gives a service can be switched off.
    DefaultUrl,
    /// Audiences of callers' ID tokens beside the service's own address.
    Audiences,
    /// The check of callers can be switched off.
    InvokerCheck,
    /// The folder that a container starts in can be chosen.
    WorkingDir,
    /// CPU also between requests can be chosen.
    CpuAlways,
    /// More CPU while a container starts.
    StartupBoost,
    /// A fixed number of instances.
    Instances,
    /// Annotations of a service.
    Annotations,
    /// The way into a private network, through a connector.
    Connector,
    /// Instances in a private network.
    Network,
    /// Sockets to Cloud SQL.
    CloudSql,
}

/// One way to isolate containers, and the least that it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionEnvironment {
    /// The cloud's own word.
    pub name: String,
    /// Smallest CPU.
    pub cpu_from: MilliCpu,
    /// Smallest memory.
    pub memory_from: Mebibytes,
}

/// What a volume is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeKind {
    /// Memory.
    Memory,
    /// A bucket.
    Bucket,
    /// A folder of an NFS server.
    Nfs,
}

impl VolumeKind {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Bucket, Self::Nfs];

    /// That of a volume.
    pub fn of(volume: &Volume) -> Self {
        match volume {
            Volume::Memory { .. } => Self::Memory,
            Volume::Bucket { .. } => Self::Bucket,
            Volume::Nfs { .. } => Self::Nfs,
        }
    }

    /// As carrack.toml writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Bucket => "bucket",
            Self::Nfs => "nfs",
        }
    }
}

/// A range of CPU and the range of memory that goes with it; both ends are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Smallest CPU.
    pub cpu_from: MilliCpu,
    /// Largest CPU.
    pub cpu_to: MilliCpu,
    /// Smallest memory.
    pub memory_from: Mebibytes,
    /// Largest memory.
    pub memory_to: Mebibytes,
}

impl Size {
    fn has_cpu(&self, cpu: MilliCpu) -> bool {
        (self.cpu_from..=self.cpu_to).contains(&cpu)
    }
    fn has_memory(&self, memory: Mebibytes) -> bool {
        (self.memory_from..=self.memory_to).contains(&memory)
    }
}

/// Everything in `spec` that this cloud refuses; empty when it can be deployed.
pub fn check(capabilities: &Capabilities, spec: &ServiceSpec) -> Vec<Error> {
    let mut errors = Vec::new();
    for (at, container) in spec.workload.containers() {
        errors.extend(check_size(capabilities, &at, container));
        errors.extend(check_probes(capabilities, &at, &container.probes));
    }
    errors.extend(check_scaling(capabilities, spec));
    errors.extend(keys::check(capabilities, spec));
    if spec.public == Some(true) && !capabilities.public_access {
        errors.push(unsupported("service.public", "this cloud has no access control for a service"));
    }
    if !spec.workload.sidecars.is_empty() && !capabilities.sidecars {
        errors.push(unsupported("sidecars", "this cloud has no containers beside the main one"));
    }
    for (name, volume) in &spec.workload.volumes {
        let kind = VolumeKind::of(volume);
        if !capabilities.volumes.contains(&kind) {
            let error = unsupported(&format!("volumes.{name}"), format!("this cloud has no {} volumes", kind.name()));
            let others: Vec<&str> = capabilities.volumes.iter().map(|kind| kind.name()).collect();
            errors.push(if others.is_empty() { error } else { error.hint(format!("it has {}", others.join(", "))) });
        }
    }
    errors
}

/// Why a rollout in steps is not possible here; `None` when it is.
pub fn check_rollout(capabilities: &Capabilities, name: &ServiceName) -> Option<Error> {
    if !capabilities.traffic_split {
        let message = "this cloud cannot send a part of the traffic to a new revision";
        return Some(
            unsupported("rollout", message).hint("remove [rollout], or keep it in the targets of clouds that can"),
        );
    }
    let longest = capabilities.longest_name_and_tag?.saturating_sub(TAG.len());
    let length = name.as_str().len();
    (length > longest).then(|| {
        let message = format!(
            "a rollout's tag `{TAG}` goes with names of {longest} characters at the most, and `{name}` has {length}"
        );
        invalid("rollout", message).hint("shorten the service's name, or remove [rollout]")
    })
}

/// `at` is the beginning of the container's field names.
fn check_probes(capabilities: &Capabilities, at: &str, probes: &Probes) -> Vec<Error> {
    let mut errors = Vec::new();
    let kinds = [("startup", &probes.startup), ("liveness", &probes.liveness), ("readiness", &probes.readiness)];
    for (kind, probe) in kinds {
        let Some(probe) = probe else { continue };
        let path = format!("{at}health.{kind}");
        if kind == "readiness" && !capabilities.readiness_probe {
            errors.push(unsupported(&path, "this cloud has no readiness checks"));
        }
        if matches!(probe.check, ProbeCheck::Grpc { .. }) && !capabilities.grpc_probe {
            errors.push(unsupported(&path, "this cloud has no gRPC health checks").hint("use an http or tcp check"));
        }
    }
    errors
}

pub(crate) fn check_size(capabilities: &Capabilities, at: &str, container: &ContainerSpec) -> Option<Error> {
    let sizes = &capabilities.sizes;
    let (cpu, memory) = (container.cpu, container.memory);
    if let Some(cpu) = cpu
        && !sizes.iter().any(|size| size.has_cpu(cpu))
    {
        return Some(
            invalid(&format!("{at}resources.cpu"), format!("cpu {cpu} is outside what this cloud has"))
                .hint(format!("use one of {}", cpu_ranges(sizes))),
        );
    }
    let memory = memory?;
    let fitting: Vec<&Size> = sizes.iter().filter(|size| cpu.is_none_or(|cpu| size.has_cpu(cpu))).collect();
    if fitting.iter().any(|size| size.has_memory(memory)) {
        return None;
    }
    let from = fitting.iter().map(|size| size.memory_from).min()?;
    let to = fitting.iter().map(|size| size.memory_to).max()?;
    let with = cpu.map(|cpu| format!(" with cpu {cpu}")).unwrap_or_default();
    Some(
        invalid(&format!("{at}resources.memory"), format!("memory {memory} is outside what this cloud has{with}"))
            .hint(format!("use {from} to {to}{with}")),
    )
}

/// `0.08 to 1, 2, 4`: ranges that touch are one.
fn cpu_ranges(sizes: &[Size]) -> String {
    let mut ranges: Vec<(MilliCpu, MilliCpu)> = Vec::new();
    for size in sizes {
        match ranges.last_mut() {
            Some((_, to)) if to.0 + 1 >= size.cpu_from.0 => *to = size.cpu_to,
            _ => ranges.push((size.cpu_from, size.cpu_to)),
        }
    }
    let texts: Vec<String> = ranges
        .into_iter()
        .map(|(from, to)| if from == to { from.to_string() } else { format!("{from} to {to}") })
        .collect();
    texts.join(", ")
}

fn check_scaling(capabilities: &Capabilities, spec: &ServiceSpec) -> Vec<Error> {
    let mut errors = Vec::new();
    let scaling = &spec.scaling;
    match (scaling.concurrency, capabilities.max_concurrency) {
        (Some(_), None) => {
            errors.push(unsupported("scaling.concurrency", "this cloud has no limit of concurrent requests"))
        }
        (Some(asked), Some(max)) if !(1..=max).contains(&asked) => errors.push(
            invalid("scaling.concurrency", format!("concurrency {asked} is outside what this cloud has"))
                .hint(format!("use 1 to {max}")),
        ),
        _ => {}
    }
    if let (Some(limit), Some(cpu)) = (capabilities.single_request_below, spec.workload.main.cpu)
        && cpu < limit
        && scaling.concurrency != Some(1)
    {
        let path = if scaling.concurrency.is_some() { "scaling.concurrency" } else { "resources.cpu" };
        errors
            .push(invalid(path, format!("cpu {cpu} goes only with concurrency 1")).hint(format!(
                "write `concurrency = 1` under [scaling], or `cpu = {limit}` or more under [resources]"
            )));
    }
    let counts = [("scaling.min", scaling.min), ("scaling.max", scaling.max), ("scaling.instances", scaling.instances)];
    for (path, count) in counts {
        if let Some(count) = count
            && count > capabilities.max_instances
        {
            let max = capabilities.max_instances;
            errors.push(
                invalid(path, format!("{count} instances are more than this cloud has"))
                    .hint(format!("use at most {max}")),
            );
        }
    }
    if scaling.max == Some(0) {
        errors.push(invalid("scaling.max", "0 instances at the most could serve nothing").hint("use 1 or more"));
    }
    if let (Some(min), Some(max)) = (scaling.min, scaling.max)
        && min > max
    {
        errors.push(
            invalid("scaling.min", format!("min {min} is more than max {max}")).hint(format!("use {max} or less")),
        );
    }
    errors
}

fn invalid(path: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ConfigInvalid, message).at_field(path)
}

fn unsupported(path: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message).at_field(path)
}
