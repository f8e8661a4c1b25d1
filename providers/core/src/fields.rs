//! A spec as a flat map of named fields, in the words of carrack.toml: `env.LOG_LEVEL`, `resources.cpu`.
//!
//! Diff, ownership and receipts all work on these names, so a field that is listed here is known to all of them.
use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::spec::{ContainerSpec, EnvValue, Probe, ProbeCheck, SecretRef, ServiceSpec, UNRESOLVED, Volume};

/// The name of a field, never its value.
pub type FieldPath = String;

/// The sections whose entries are owned one by one. A sidecar is an entry, and has such tables of its own.
pub const KEYED_TABLES: [&str; 6] = ["env", "secrets", "labels", "annotations", "volumes", SIDECARS];

/// The section of the containers beside the main one.
pub const SIDECARS: &str = "sidecars";

/// The keyed tables of one sidecar.
const OF_SIDECAR: [&str; 3] = ["env", "secrets", "volumes"];

/// The sidecar that `path` is a field of, and the field's name in it: `proxy` and `env.A` for `sidecars.proxy.env.A`.
pub fn sidecar(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix(SIDECARS)?.strip_prefix('.')?.split_once('.')
}

/// The keyed table that `path` is an entry of: `env` for `env.LOG_LEVEL`, `sidecars.proxy.env` for
/// `sidecars.proxy.env.A`. Other fields of a sidecar are none: the sidecar as a whole is the entry.
pub fn keyed_table(path: &str) -> Option<&str> {
    let (tables, field): (&[&str], &str) = match sidecar(path) {
        Some((_, field)) => (&OF_SIDECAR, field),
        None => (&KEYED_TABLES, path),
    };
    let (table, _) = field.split_once('.')?;
    tables.contains(&table).then(|| &path[..path.len() - field.len() + table.len()])
}

/// Whether `path` is a secret's, of any container.
pub fn is_secret(path: &str) -> bool {
    sidecar(path).map_or(path, |(_, field)| field).starts_with("secrets.")
}

/// The fields of which none can stand beside `path`: a variable is a text or a secret.
pub fn rivals(path: &str) -> Vec<FieldPath> {
    let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    let field = sidecar(path).map_or(path, |(_, field)| field);
    let at = &path[..path.len() - field.len()];
    match field.split_once('.') {
        Some(("env", name)) => vec![format!("{at}secrets.{name}")],
        // A file goes with any variable.
        Some(("secrets", name)) if !name.starts_with('/') => vec![format!("{at}env.{name}")],
        // Not the other way round: what a range is stays known where the number is fixed for a time.
        Some(("scaling", "instances")) => list(&["scaling.min", "scaling.max"]),
        Some(("network", "connector")) => list(&["network.network", "network.subnet", "network.tags"]),
        Some(("network", "network" | "subnet" | "tags")) => list(&["network.connector"]),
        _ => Vec::new(),
    }
}

/// Between a secret's name and its version, where both are shown.
pub const VERSION: &str = " version ";

/// A value as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldValue {
    /// Text for people.
    Shown(String),
    /// A value that is never shown.
    Redacted,
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shown(text) => f.write_str(text),
            Self::Redacted => f.write_str("(hidden)"),
        }
    }
}

/// Every field that `spec` sets.
pub fn fields(spec: &ServiceSpec) -> BTreeMap<FieldPath, FieldValue> {
    let mut map = BTreeMap::new();
    let workload = &spec.workload;
    let main = &workload.main;
    let mut put = |path: &str, value: Option<String>| {
        if let Some(text) = value {
            map.insert(path.to_owned(), FieldValue::Shown(text));
        }
    };
    put("service.port", spec.port.map(|port| port.to_string()));
    put("service.public", spec.public.map(|public| public.to_string()));
    put("service_account", workload.service_account.clone());
    put("scaling.min", spec.scaling.min.map(|n| n.to_string()));
    put("scaling.max", spec.scaling.max.map(|n| n.to_string()));
    put("scaling.concurrency", spec.scaling.concurrency.map(|n| n.to_string()));
    put("scaling.instances", spec.scaling.instances.map(|n| n.to_string()));
    put("service.protocol", spec.protocol.map(word));
    put("service.timeout", spec.timeout.map(|timeout| format!("{}s", timeout.as_secs())));
    put("service.ingress", spec.ingress.map(word));
    put("service.session_affinity", spec.session_affinity.map(|on| on.to_string()));
    put("service.description", spec.description.clone());
    put("service.default_url", spec.default_url.map(|on| on.to_string()));
    put("service.audiences", spec.audiences.as_ref().map(words));
    put("service.invoker_check", spec.invoker_check.map(|on| on.to_string()));
    put("service.execution_environment", spec.workload.execution_environment.clone());
    put("resources.cpu_always", main.cpu_always.map(|on| on.to_string()));
    put("resources.startup_boost", main.startup_boost.map(|on| on.to_string()));
    let network = &spec.workload.network;
    put("network.connector", network.connector.clone());
    put("network.network", network.network.clone());
    put("network.subnet", network.subnet.clone());
    put("network.tags", network.tags.as_ref().map(words));
    put("network.egress", network.egress.map(word));
    put("cloud_sql", spec.workload.cloud_sql.as_ref().map(words));
    container(main, &mut |field, value| match field {
        // In the file the main container is the service.
        "command" | "args" | "working_dir" | "depends_on" => put(&format!("service.{field}"), value),
        _ => put(field, value),
    });
    for (name, value) in &workload.volumes {
        put(&format!("volumes.{name}"), Some(volume(value, main.volumes.get(name))));
    }
    for (name, sidecar) in &workload.sidecars {
        let at = format!("{SIDECARS}.{name}.");
        container(sidecar, &mut |field, value| put(&format!("{at}{field}"), value));
        for (name, path) in &sidecar.volumes {
            put(&format!("{at}volumes.{name}"), Some(path.clone()));
        }
    }
    for (name, value) in &workload.labels {
        put(&format!("labels.{name}"), Some(value.clone()));
    }
    for (name, value) in &spec.workload.annotations {
        put(&format!("annotations.{name}"), Some(value.clone()));
    }
    map
}

/// What any container has.
fn container(container: &ContainerSpec, put: &mut dyn FnMut(&str, Option<String>)) {
    put("image", container.image.as_ref().map(|image| image.0.clone()));
    put("command", container.command.as_ref().map(words));
    put("args", container.args.as_ref().map(words));
    put("working_dir", container.working_dir.clone());
    put("depends_on", container.depends_on.as_ref().map(words));
    put("resources.cpu", container.cpu.map(|cpu| cpu.to_string()));
    put("resources.memory", container.memory.map(|memory| memory.to_string()));
    put("health.startup", container.probes.startup.as_ref().map(probe));
    put("health.liveness", container.probes.liveness.as_ref().map(probe));
    put("health.readiness", container.probes.readiness.as_ref().map(probe));
    for (name, value) in &container.env {
        if let EnvValue::Plain(text) = value {
            put(&format!("env.{name}"), Some(format!("{text:?}")));
        }
    }
    for (path, value) in container.secrets() {
        put(&path, Some(secret(value)));
    }
}

fn words(words: &Vec<String>) -> String {
    format!("{words:?}")
}

/// As the file writes it.
fn word(choice: impl Serialize) -> String {
    serde_json::to_value(choice).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// `memory 64MiB, at /cache`.
fn volume(volume: &Volume, mount: Option<&String>) -> String {
    let read_only = |only: &bool| if *only { ", read only" } else { "" };
    let kind = match volume {
        Volume::Memory { size } => match size {
            Some(size) => format!("memory {size}"),
            None => "memory".to_owned(),
        },
        Volume::Bucket { name, read_only: only, options } => {
            let options = if options.is_empty() { String::new() } else { format!(", options {options:?}") };
            format!("bucket {name}{}{options}", read_only(only))
        }
        Volume::Nfs { server, path, read_only: only } => format!("nfs {server}:{path}{}", read_only(only)),
    };
    let mount = mount.map(|path| format!(", at {path}")).unwrap_or_default();
    kind + &mount
}

/// Which version, and never its value.
fn secret(secret: &SecretRef) -> String {
    match secret.version.as_str() {
        UNRESOLVED => secret.name.clone(),
        version => format!("{}{VERSION}{version}", secret.name),
    }
}

fn probe(probe: &Probe) -> String {
    let port = |port: &Option<u16>| port.map(|port| format!(":{port}")).unwrap_or_default();
    let check = match &probe.check {
        ProbeCheck::Http { path, port: other } => format!("http {}{path}", port(other)),
        ProbeCheck::Tcp { port: other } => format!("tcp{}", port(other).replace(':', " ")),
        ProbeCheck::Grpc { port: other, service } => {
            format!("grpc{} {}", port(other), service.as_deref().unwrap_or_default()).trim_end().to_owned()
        }
    };
    format!(
        "{check}, every {}s, timeout {}s, {} failures, delay {}s",
        probe.period.as_secs(),
        probe.timeout.as_secs(),
        probe.failures,
        probe.delay.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_of_its_innermost_table() {
        for (path, table) in [
            ("env.LOG_LEVEL", Some("env")),
            ("secrets./etc/tls/key.pem", Some("secrets")),
            ("volumes.cache", Some("volumes")),
            ("resources.cpu", None),
            ("image", None),
            ("sidecars.proxy.image", None),
            ("sidecars.proxy.resources.cpu", None),
            ("sidecars.proxy.env.A", Some("sidecars.proxy.env")),
            ("sidecars.env.env.A.B", Some("sidecars.env.env")),
            ("sidecars.proxy.secrets./keys/a.pem", Some("sidecars.proxy.secrets")),
            ("sidecars.proxy.volumes.cache", Some("sidecars.proxy.volumes")),
            // A sidecar has no labels.
            ("sidecars.proxy.labels.a", None),
        ] {
            assert_eq!(keyed_table(path), table, "{path}");
        }
    }

    #[test]
    fn a_text_and_a_secret_are_rivals_in_their_own_container() {
        for (path, other) in [
            ("env.A", Some("secrets.A")),
            ("secrets.A", Some("env.A")),
            ("secrets./keys/a", None),
            ("sidecars.proxy.env.A", Some("sidecars.proxy.secrets.A")),
            ("sidecars.proxy.secrets.A", Some("sidecars.proxy.env.A")),
            ("sidecars.proxy.secrets./keys/a", None),
            ("sidecars.proxy.volumes.cache", None),
        ] {
            let expected: Vec<String> = other.into_iter().map(str::to_owned).collect();
            assert_eq!(rivals(path), expected, "{path}");
        }
        assert!(is_secret("secrets.A") && is_secret("sidecars.proxy.secrets.A"));
        assert!(!is_secret("sidecars.secrets.env.A") && !is_secret("env.A"));
    }

    #[test]
    fn volumes_read_as_written() {
        let bucket = Volume::Bucket { name: "b".into(), read_only: true, options: vec!["implicit-dirs".into()] };
        assert_eq!(
            volume(&bucket, Some(&"/data".into())),
            r#"bucket b, read only, options ["implicit-dirs"], at /data"#
        );
        assert_eq!(volume(&Volume::Memory { size: Some(crate::spec::Mebibytes(64)) }, None), "memory 64MiB");
        let nfs = Volume::Nfs { server: "10.0.0.2".into(), path: "/share".into(), read_only: false };
        assert_eq!(volume(&nfs, None), "nfs 10.0.0.2:/share");
    }
}
