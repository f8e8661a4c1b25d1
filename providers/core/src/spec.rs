//! What a service shall be, neutral of any cloud. `None` means "not ours": what is live stays.
use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result, secret::LATEST};

/// One cloud's backend: `cloud-run`, `memory`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProviderId(pub String);

/// The full name of a service: where it is, and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServiceRef {
    /// The backend.
    pub provider: ProviderId,
    /// Project, subscription or account.
    pub scope: String,
    /// Region or location.
    pub region: String,
    /// The service's own name.
    pub name: ServiceName,
}

/// A name that every cloud accepts: 1 to 49 of `a-z`, `0-9` and `-`, a letter first, no `-` at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

impl ServiceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServiceName {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        let valid = (1..=49).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !name.ends_with('-');
        if valid {
            return Ok(Self(name));
        }
        Err(Error::new(ErrorKind::ConfigInvalid, format!("invalid service name `{name}`"))
            .at_field("service.name")
            .hint("use 1 to 49 of a-z, 0-9 and `-`, with a letter first and no `-` at the end"))
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One immutable version of a service, by the cloud's own name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionId(pub String);

/// The desired or observed state of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Containers, identity and labels.
    pub workload: WorkloadSpec,
    /// The port that the main container listens on.
    pub port: Option<u16>,
    /// What the main container speaks on its port.
    pub protocol: Option<Protocol>,
    /// How many instances, and how many requests each takes.
    pub scaling: Scaling,
    /// Whether anyone may call it.
    pub public: Option<bool>,
    /// Whether callers are checked at all: without the check it is open whatever the access policy says.
    pub invoker_check: Option<bool>,
    /// From which networks it is reached.
    pub ingress: Option<Ingress>,
    /// How long a request may take; whole seconds.
    pub timeout: Option<Duration>,
    /// Whether a caller's requests go to the same instance where that can be.
    pub session_affinity: Option<bool>,
    /// Text for people.
    pub description: Option<String>,
    /// Whether it answers at the name that the cloud gives it.
    pub default_url: Option<bool>,
    /// More audiences that callers' ID tokens may be for.
    pub audiences: Option<Vec<String>>,
}

/// What is spoken between the cloud and a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, also for gRPC.
    H2c,
}

/// From where a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ingress {
    /// From everywhere.
    All,
    /// From the project's own networks.
    Internal,
    /// From those, and through a load balancer.
    InternalAndLoadBalancer,
    /// From nowhere.
    None,
}

/// What services and jobs share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkloadSpec {
    /// The container that gets the requests.
    pub main: ContainerSpec,
    /// Containers beside it, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sidecars: BTreeMap<String, ContainerSpec>,
    /// What containers can mount, by name. Mounted secrets are no part of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Volume>,
    /// The account that the container runs as.
    pub service_account: Option<String>,
    /// Labels of the service.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// How the cloud isolates containers: its own word.
    pub execution_environment: Option<String>,
    /// The way into a private network.
    pub network: Network,
    /// Cloud SQL instances, reached through sockets below `/cloudsql`.
    pub cloud_sql: Option<Vec<String>>,
}

/// The main container, where others say that they depend on it.
pub const MAIN: &str = "main";

impl WorkloadSpec {
    /// Every container, with the beginning of its fields' names: nothing for the main one, `sidecars.proxy.` for a
    /// sidecar.
    pub fn containers(&self) -> impl Iterator<Item = (String, &ContainerSpec)> {
        let sidecars = self.sidecars.iter().map(|(name, sidecar)| (format!("sidecars.{name}."), sidecar));
        std::iter::once((String::new(), &self.main)).chain(sidecars)
    }

    /// Every secret that a container gets, by the name of its field: `secrets.DATABASE_URL`,
    /// `sidecars.proxy.secrets.TOKEN`.
    pub fn secrets(&self) -> impl Iterator<Item = (String, &SecretRef)> {
        self.containers()
            .flat_map(|(at, container)| container.secrets().map(move |(path, secret)| (format!("{at}{path}"), secret)))
    }

    /// The same, to keep.
    pub fn live_secrets(&self) -> BTreeMap<String, SecretRef> {
        self.secrets().map(|(path, secret)| (path, secret.clone())).collect()
    }

    /// The same, to change them.
    pub fn secrets_mut(&mut self) -> impl Iterator<Item = &mut SecretRef> {
        std::iter::once(&mut self.main).chain(self.sidecars.values_mut()).flat_map(ContainerSpec::secrets_mut)
    }
}

/// The way of outgoing requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// A connector, by its name; in place of a network.
    pub connector: Option<String>,
    /// The network that instances are part of.
    pub network: Option<String>,
    /// Its subnet.
    pub subnet: Option<String>,
    /// Network tags of the instances.
    pub tags: Option<Vec<String>>,
    /// What goes that way.
    pub egress: Option<Egress>,
}

/// Which outgoing requests take the way into a private network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Egress {
    /// Those to private addresses.
    PrivateRanges,
    /// All.
    All,
}

/// What containers can mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Volume {
    /// In memory, gone with the instance, shared by its containers.
    Memory {
        /// At the most; `None` is the cloud's own limit.
        size: Option<Mebibytes>,
    },
    /// A bucket's objects as files.
    Bucket {
        /// Its name.
        name: String,
        /// Whether files can only be read.
        read_only: bool,
        /// Options of the mount, as the cloud writes them.
        options: Vec<String>,
    },
    /// A folder of an NFS server.
    Nfs {
        /// Its host.
        server: String,
        /// The folder.
        path: String,
        /// Whether files can only be read.
        read_only: bool,
    },
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// By digest, once resolved.
    pub image: Option<ImageRef>,
    /// Replaces the image's entrypoint.
    pub command: Option<Vec<String>>,
    /// Replaces the image's arguments.
    pub args: Option<Vec<String>>,
    /// Environment variables.
    pub env: BTreeMap<String, EnvValue>,
    /// Secrets as files, by the file's absolute path. A folder shows one secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, SecretRef>,
    /// Where volumes are mounted: an absolute path by the volume's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, String>,
    /// The folder that it starts in.
    pub working_dir: Option<String>,
    /// The containers that have to be up before it starts, by their names.
    pub depends_on: Option<Vec<String>>,
    /// Whether it has its CPU also between requests.
    pub cpu_always: Option<bool>,
    /// Whether it gets more CPU while it starts.
    pub startup_boost: Option<bool>,
    /// CPU limit.
    pub cpu: Option<MilliCpu>,
    /// Memory limit.
    pub memory: Option<Mebibytes>,
    /// Health checks.
    pub probes: Probes,
}

/// Health checks of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// Until it passes the container gets no request.
    pub startup: Option<Probe>,
    /// When it fails the container is restarted.
    pub liveness: Option<Probe>,
    /// While it fails the instance gets no request.
    pub readiness: Option<Probe>,
}

/// One health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    pub check: ProbeCheck,
    /// Wait before the first check; whole seconds.
    pub delay: Duration,
    /// Between two checks; whole seconds.
    pub period: Duration,
    /// For one check; whole seconds.
    pub timeout: Duration,
    /// How many checks must fail in a row.
    pub failures: u32,
}

/// What a health check asks. A port of `None` is the container's own port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeCheck {
    /// Passes on a status from 200 to 399.
    Http {
        /// Absolute path.
        path: String,
        /// Another port than the container's.
        port: Option<u16>,
    },
    /// Passes when the connection opens.
    Tcp {
        /// Another port than the container's.
        port: Option<u16>,
    },
    /// Passes when the gRPC health service says SERVING.
    Grpc {
        /// Another port than the container's.
        port: Option<u16>,
        /// The service name to ask for.
        service: Option<String>,
    },
}

/// `HOST/PATH@sha256:…` or `HOST/PATH:TAG`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageRef(pub String);

impl ImageRef {
    /// The digest, when the reference has one.
    pub fn digest(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, digest)| digest)
    }
    /// Host and path, without tag and digest.
    pub fn repository(&self) -> &str {
        let name = self.0.split_once('@').map_or(self.0.as_str(), |(name, _)| name);
        match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => name,
        }
    }
    /// The tag, when the reference has one.
    pub fn tag(&self) -> Option<&str> {
        let name = self.0.split_once('@').map_or(self.0.as_str(), |(name, _)| name);
        name.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'))
    }
}

/// Thousandths of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MilliCpu(pub u32);

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            return write!(f, "{}", self.0 / 1000);
        }
        f.write_str(format!("{}.{:03}", self.0 / 1000, self.0 % 1000).trim_end_matches('0'))
    }
}

/// Units of 1,048,576 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mebibytes(pub u32);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= 1024 && self.0.is_multiple_of(1024) {
            write!(f, "{}GiB", self.0 / 1024)
        } else {
            write!(f, "{}MiB", self.0)
        }
    }
}

/// How many instances there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaling {
    /// Instances kept warm.
    pub min: Option<u32>,
    /// Instances at the most.
    pub max: Option<u32>,
    /// Requests that one instance takes at the same time.
    pub concurrency: Option<u32>,
    /// This many instances, whatever the traffic: takes the place of `min` and `max`.
    pub instances: Option<u32>,
}

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvValue {
    /// As it stands.
    Plain(String),
    /// A reference to a secret; never its value.
    Secret(SecretRef),
}

/// A secret's name and version; never its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretRef {
    /// The secret, as the cloud names it.
    pub name: String,
    /// A number; an alias; `latest`, which goes on moving; or [`UNRESOLVED`].
    pub version: String,
}

/// In place of a version: the newest one, whose number is looked up before the plan is made.
pub const UNRESOLVED: &str = "";

impl SecretRef {
    /// Whether the version is written as it stands, a number or `latest`, and need not be looked up.
    pub fn stays(&self) -> bool {
        self.version == LATEST || (!self.version.is_empty() && self.version.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

impl ContainerSpec {
    /// Every secret that the container gets, by the name of its field below the container's own:
    /// `secrets.DATABASE_URL`, `secrets./etc/tls/key.pem`.
    pub fn secrets(&self) -> impl Iterator<Item = (String, &SecretRef)> {
        let variables = self.env.iter().filter_map(|(name, value)| match value {
            EnvValue::Secret(secret) => Some((name, secret)),
            EnvValue::Plain(_) => None,
        });
        variables.chain(&self.mounts).map(|(name, secret)| (format!("secrets.{name}"), secret))
    }

    /// The same, to change them.
    fn secrets_mut(&mut self) -> impl Iterator<Item = &mut SecretRef> {
        let variables = self.env.values_mut().filter_map(|value| match value {
            EnvValue::Secret(secret) => Some(secret),
            EnvValue::Plain(_) => None,
        });
        variables.chain(self.mounts.values_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names() {
        for good in ["a", "hello", "a-1", &"a".repeat(49)] {
            assert!(ServiceName::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "1a", "-a", "a-", "A", "a_b", "a.b", "ä", &"a".repeat(50)] {
            let error = ServiceName::try_from(bad.to_owned()).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        }
    }

    #[test]
    fn versions_that_need_not_be_looked_up() {
        for (version, stays) in [("1", true), ("20", true), ("latest", true), (UNRESOLVED, false), ("prod", false)] {
            let secret = SecretRef { name: "s".into(), version: version.into() };
            assert_eq!(secret.stays(), stays, "{version}");
        }
    }

    #[test]
    fn image_references() {
        let image = ImageRef("localhost:5000/a/b:v1@sha256:00".into());
        assert_eq!(
            (image.repository(), image.tag(), image.digest()),
            ("localhost:5000/a/b", Some("v1"), Some("sha256:00"))
        );
        let image = ImageRef("localhost:5000/a/b".into());
        assert_eq!((image.repository(), image.tag(), image.digest()), ("localhost:5000/a/b", None, None));
    }

    #[test]
    fn units_read_as_written() {
        let texts = [MilliCpu(1000), MilliCpu(500), MilliCpu(1250), MilliCpu(83)].map(|cpu| cpu.to_string());
        assert_eq!(texts, ["1", "0.5", "1.25", "0.083"]);
        assert_eq!(
            [Mebibytes(512), Mebibytes(2048), Mebibytes(1536)].map(|m| m.to_string()),
            ["512MiB", "2GiB", "1536MiB"]
        );
    }
}
