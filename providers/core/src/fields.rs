//! A spec as a flat map of named fields, in the words of carrack.toml: `env.LOG_LEVEL`, `resources.cpu`.
//!
//! Diff, ownership and receipts all work on these names, so a field that is listed here is known to all of them.
use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::spec::{EnvValue, Probe, ProbeCheck, SecretRef, ServiceSpec, UNRESOLVED};

/// The name of a field, never its value.
pub type FieldPath = String;

/// The tables whose entries are owned one by one.
pub const KEYED_TABLES: [&str; 4] = ["env", "secrets", "labels", "annotations"];

/// The keyed table that `path` is an entry of: `env` for `env.LOG_LEVEL`.
pub fn keyed_table(path: &str) -> Option<&'static str> {
    let (table, _) = path.split_once('.')?;
    KEYED_TABLES.into_iter().find(|keyed| *keyed == table)
}

/// The fields of which none can stand beside `path`: a variable is a text or a secret.
pub fn rivals(path: &str) -> Vec<FieldPath> {
    let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    match path.split_once('.') {
        Some(("env", name)) => vec![format!("secrets.{name}")],
        // A file goes with any variable.
        Some(("secrets", name)) if !name.starts_with('/') => vec![format!("env.{name}")],
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
    let main = &spec.workload.main;
    let mut put = |path: &str, value: Option<String>| {
        if let Some(text) = value {
            map.insert(path.to_owned(), FieldValue::Shown(text));
        }
    };
    put("image", main.image.as_ref().map(|image| image.0.clone()));
    put("service.port", spec.port.map(|port| port.to_string()));
    put("service.public", spec.public.map(|public| public.to_string()));
    put("service.command", main.command.as_ref().map(words));
    put("service.args", main.args.as_ref().map(words));
    put("service_account", spec.workload.service_account.clone());
    put("resources.cpu", main.cpu.map(|cpu| cpu.to_string()));
    put("resources.memory", main.memory.map(|memory| memory.to_string()));
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
    put("service.working_dir", main.working_dir.clone());
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
    put("health.startup", main.probes.startup.as_ref().map(probe));
    put("health.liveness", main.probes.liveness.as_ref().map(probe));
    for (name, value) in &main.env {
        if let EnvValue::Plain(text) = value {
            put(&format!("env.{name}"), Some(format!("{text:?}")));
        }
    }
    for (path, value) in main.secrets() {
        put(&path, Some(secret(value)));
    }
    for (name, value) in &spec.workload.labels {
        put(&format!("labels.{name}"), Some(value.clone()));
    }
    for (name, value) in &spec.workload.annotations {
        put(&format!("annotations.{name}"), Some(value.clone()));
    }
    map
}

fn words(words: &Vec<String>) -> String {
    format!("{words:?}")
}

/// As the file writes it.
fn word(choice: impl Serialize) -> String {
    serde_json::to_value(choice).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
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
