//! A carrack.toml from a running service: one line a field, so that a line that cannot be is left out by its number.
use std::{collections::BTreeSet, time::Duration};

use carrack_core::{
    adopted::Adopted,
    spec::{
        ContainerSpec, Egress, EnvValue, Ingress, MilliCpu, Probe, ProbeCheck, Protocol, SecretRef, ServiceName, Volume,
    },
};
use serde_json::Value as Json;
use toml::{Table, Value};

/// Where the service runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// What the target is called in the file.
    pub target: String,
    /// The cloud.
    pub provider: String,
    /// The project.
    pub project: String,
    /// The region.
    pub region: String,
}

/// A file that is being written.
#[derive(Debug)]
pub struct Draft {
    head: String,
    lines: Vec<Line>,
    /// What is not in it, and stays as it is live.
    pub left: Vec<String>,
}

#[derive(Debug)]
struct Line {
    /// As its header has it; empty for what stands before all sections.
    section: String,
    /// The name of the field, for people.
    field: String,
    text: String,
}

/// The service as a file; a variable whose value looks like a secret is left out.
pub fn draft(name: &ServiceName, place: &Place, adopted: &Adopted) -> Draft {
    let head = format!(
        "# Service `{name}` as it runs in {}/{}. What is not here stays as it is.\n",
        place.project, place.region
    );
    let mut draft = Draft { head, lines: Vec::new(), left: adopted.left.clone() };
    draft.neutral(name, adopted);
    let target = format!("targets.{}", quoted(&place.target));
    for (key, value) in [("provider", &place.provider), ("project", &place.project), ("region", &place.region)] {
        draft.put(&target, key, value.as_str());
    }
    draft.some(&target, "service_account", adopted.spec.workload.service_account.clone());
    if let Some(Json::Object(cloud)) = &adopted.cloud {
        draft.cloud(&format!("{target}.{}", place.provider), cloud, "");
    }
    draft
}

impl Draft {
    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = self.head.clone();
        let mut section = "";
        for line in &self.lines {
            if line.section != section {
                text += &format!("\n{}\n", line.section);
                section = &line.section;
            }
            text += &line.text;
            text.push('\n');
        }
        text
    }

    /// Takes the field at a line of the text out; says whether there was one.
    pub fn leave_out(&mut self, number: usize, why: &str) -> bool {
        let text = self.text();
        let Some(wanted) = number.checked_sub(1).and_then(|index| text.lines().nth(index)).map(str::to_owned) else {
            return false;
        };
        let Some(index) = self.lines.iter().position(|line| line.text == wanted) else { return false };
        let line = self.lines.remove(index);
        self.left.push(format!("{}: {why}", line.field));
        true
    }

    fn line(&mut self, section: String, field: String, text: String) {
        self.lines.push(Line { section, field, text });
    }

    fn put(&mut self, section: &str, key: &str, value: impl Into<Value>) {
        let text = format!("{} = {}", quoted(key), plain(value.into()));
        let (header, field) = match section {
            "" => (String::new(), key.to_owned()),
            section => (format!("[{section}]"), format!("{section}.{key}")),
        };
        self.line(header, field, text);
    }

    fn some<T: Into<Value>>(&mut self, section: &str, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.put(section, key, value);
        }
    }

    fn neutral(&mut self, name: &ServiceName, adopted: &Adopted) {
        let spec = &adopted.spec;
        let main = &spec.workload.main;
        self.some("", "cloud_sql", spec.workload.cloud_sql.clone());
        self.put("service", "name", name.as_str());
        self.some("service", "port", spec.port.map(i64::from));
        self.some("service", "protocol", spec.protocol.map(protocol));
        self.some("service", "public", spec.public);
        self.some("service", "invoker_check", spec.invoker_check);
        self.some("service", "ingress", spec.ingress.map(ingress));
        self.some("service", "timeout", spec.timeout.map(seconds));
        self.some("service", "session_affinity", spec.session_affinity);
        self.some("service", "description", spec.description.clone());
        self.some("service", "default_url", spec.default_url);
        self.some("service", "audiences", spec.audiences.clone());
        self.some("service", "command", main.command.clone());
        self.some("service", "args", main.args.clone());
        self.some("service", "working_dir", main.working_dir.clone());
        self.some("service", "depends_on", main.depends_on.clone());
        self.some("service", "execution_environment", spec.workload.execution_environment.clone());
        match main.image.as_ref() {
            Some(image) if image.digest().is_some() => self.put("image", "ref", image.0.as_str()),
            Some(image) => self.left.push(format!("image: `{}` has no digest; deploy one with `--image`", image.0)),
            None => {}
        }
        self.env("env", main);
        self.secrets("secrets", main);
        for (section, table) in [("labels", &spec.workload.labels), ("annotations", &spec.workload.annotations)] {
            for (key, text) in table {
                self.put(section, key, text.as_str());
            }
        }
        self.some("resources", "cpu", main.cpu.map(cpu));
        self.some("resources", "memory", main.memory.map(|memory| memory.to_string()));
        self.some("resources", "cpu_always", main.cpu_always);
        self.some("resources", "startup_boost", main.startup_boost);
        self.some("scaling", "min", spec.scaling.min.map(i64::from));
        self.some("scaling", "max", spec.scaling.max.map(i64::from));
        self.some("scaling", "instances", spec.scaling.instances.map(i64::from));
        self.some("scaling", "concurrency", spec.scaling.concurrency.map(i64::from));
        let network = &spec.workload.network;
        self.some("network", "connector", network.connector.clone());
        self.some("network", "network", network.network.clone());
        self.some("network", "subnet", network.subnet.clone());
        self.some("network", "tags", network.tags.clone());
        self.some("network", "egress", network.egress.map(egress));
        self.some("health", "startup", main.probes.startup.as_ref().map(probe));
        self.some("health", "liveness", main.probes.liveness.as_ref().map(probe));
        self.some("health", "readiness", main.probes.readiness.as_ref().map(probe));
        for (name, volume) in &spec.workload.volumes {
            self.volume(&format!("volumes.{}", quoted(name)), volume, main.volumes.get(name));
        }
        for (name, sidecar) in &spec.workload.sidecars {
            self.sidecar(&format!("sidecars.{}", quoted(name)), sidecar);
        }
    }

    fn volume(&mut self, section: &str, volume: &Volume, mount: Option<&String>) {
        match volume {
            Volume::Memory { size } => {
                self.put(section, "kind", "memory");
                self.some(section, "size", size.map(|size| size.to_string()));
            }
            Volume::Bucket { name, read_only, options } => {
                self.put(section, "kind", "bucket");
                self.put(section, "bucket", name.as_str());
                self.some(section, "read_only", read_only.then_some(true));
                self.some(section, "options", (!options.is_empty()).then(|| options.clone()));
            }
            Volume::Nfs { server, path, read_only } => {
                self.put(section, "kind", "nfs");
                self.put(section, "server", server.as_str());
                self.put(section, "path", path.as_str());
                self.some(section, "read_only", read_only.then_some(true));
            }
        }
        self.some(section, "mount", mount.cloned());
    }

    fn sidecar(&mut self, section: &str, sidecar: &ContainerSpec) {
        self.some(section, "image", sidecar.image.as_ref().map(|image| image.0.clone()));
        self.some(section, "command", sidecar.command.clone());
        self.some(section, "args", sidecar.args.clone());
        self.some(section, "working_dir", sidecar.working_dir.clone());
        self.some(section, "depends_on", sidecar.depends_on.clone());
        self.env(&format!("{section}.env"), sidecar);
        self.secrets(&format!("{section}.secrets"), sidecar);
        for (name, path) in &sidecar.volumes {
            self.put(&format!("{section}.volumes"), name, path.as_str());
        }
        let resources = format!("{section}.resources");
        self.some(&resources, "cpu", sidecar.cpu.map(cpu));
        self.some(&resources, "memory", sidecar.memory.map(|memory| memory.to_string()));
        let health = format!("{section}.health");
        self.some(&health, "startup", sidecar.probes.startup.as_ref().map(probe));
        self.some(&health, "liveness", sidecar.probes.liveness.as_ref().map(probe));
        self.some(&health, "readiness", sidecar.probes.readiness.as_ref().map(probe));
    }

    fn env(&mut self, section: &str, container: &ContainerSpec) {
        for (name, value) in &container.env {
            let EnvValue::Plain(text) = value else { continue };
            if looks_secret(name, text) {
                self.left.push(format!(
                    "{section}.{name}: its value looks like a secret; store it with `carrack secrets set`, and name it in [secrets]"
                ));
            } else {
                self.put(section, name, text.as_str());
            }
        }
    }

    fn secrets(&mut self, section: &str, main: &ContainerSpec) {
        let mut names: BTreeSet<String> = main.env.keys().cloned().collect();
        let one = |draft: &mut Self, name: &str, field: &str, secret: &SecretRef, mount: Option<&str>| {
            if !secret.stays() {
                draft
                    .left
                    .push(format!("{field}: version `{}` is an alias, which each deploy looks up", secret.version));
                return;
            }
            let mut table = Table::new();
            table.insert("secret".to_owned(), Value::from(secret.name.as_str()));
            table.insert("version".to_owned(), Value::from(secret.version.as_str()));
            if let Some(mount) = mount {
                table.insert("mount".to_owned(), Value::from(mount));
            }
            draft.put(section, name, table);
        };
        for (name, value) in &main.env {
            if let EnvValue::Secret(secret) = value {
                one(self, name, &format!("{section}.{name}"), secret, None);
            }
        }
        for (file, secret) in &main.mounts {
            let word = file.rsplit('/').next().unwrap_or_default();
            let word: String =
                word.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
            let word = if word.starts_with(|c: char| c.is_ascii_digit()) { format!("FILE_{word}") } else { word };
            let numbered = (2..).map(|number| format!("{word}_{number}"));
            let Some(name) = std::iter::once(word.clone()).chain(numbered).find(|name| !names.contains(name)) else {
                continue;
            };
            one(self, &name, &format!("{section}.{file}"), secret, Some(file));
            names.insert(name);
        }
    }

    /// Dotted keys, and a header for each entry of a list of tables.
    fn cloud(&mut self, section: &str, table: &serde_json::Map<String, Json>, before: &str) {
        let mut lists = Vec::new();
        for (key, value) in table {
            let dotted = if before.is_empty() { quoted(key) } else { format!("{before}.{}", quoted(key)) };
            match value {
                Json::Object(below) => self.cloud(section, below, &dotted),
                Json::Array(list) if !list.is_empty() && list.iter().all(Json::is_object) => lists.push((dotted, list)),
                value => self.raw(&format!("[{section}]"), section, &dotted, value),
            }
        }
        for (dotted, list) in lists {
            let header = format!("[[{section}.{dotted}]]");
            for (index, entry) in list.iter().enumerate() {
                // Two entries have the same header: what is between tells them apart.
                let header = format!("{}{header}", " ".repeat(index));
                for (key, value) in entry.as_object().into_iter().flatten() {
                    self.raw(&header, &format!("{section}.{dotted}"), &quoted(key), value);
                }
            }
        }
    }

    fn raw(&mut self, header: &str, section: &str, dotted: &str, value: &Json) {
        if let Ok(value) = Value::try_from(value) {
            self.line(header.to_owned(), format!("{section}.{dotted}"), format!("{dotted} = {}", plain(value)));
        }
    }
}

/// A key as TOML has it.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if bare { key.to_owned() } else { Value::from(key).to_string() }
}

/// As it is written, on one line, with nothing that is replaced from the environment.
fn plain(value: Value) -> String {
    match value {
        // A text of several lines would be one.
        Value::String(text) => Json::from(text.replace("${", "$${")).to_string().replace('\u{7f}', "\\u007f"),
        Value::Array(list) => format!("[{}]", list.into_iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| format!("{} = {}", quoted(&key), plain(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http1",
        Protocol::H2c => "h2c",
    }
}

fn ingress(ingress: Ingress) -> &'static str {
    match ingress {
        Ingress::All => "all",
        Ingress::Internal => "internal",
        Ingress::InternalAndLoadBalancer => "internal-and-load-balancer",
        Ingress::None => "none",
    }
}

fn egress(egress: Egress) -> &'static str {
    match egress {
        Egress::PrivateRanges => "private-ranges",
        Egress::All => "all",
    }
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

fn cpu(cpu: MilliCpu) -> Value {
    if cpu.0.is_multiple_of(1000) { Value::from(i64::from(cpu.0 / 1000)) } else { Value::from(format!("{}m", cpu.0)) }
}

fn probe(probe: &Probe) -> Table {
    let mut table = Table::new();
    let mut put = |key: &str, value: Value| drop(table.insert(key.to_owned(), value));
    match &probe.check {
        ProbeCheck::Http { path, port } => {
            put("http", path.as_str().into());
            port.iter().for_each(|port| put("port", i64::from(*port).into()));
        }
        ProbeCheck::Tcp { port } => put("tcp", port.map_or(Value::from(true), |port| i64::from(port).into())),
        ProbeCheck::Grpc { port, service } => {
            put("grpc", service.as_deref().map_or(Value::from(true), Value::from));
            port.iter().for_each(|port| put("port", i64::from(*port).into()));
        }
    }
    put("period", seconds(probe.period).into());
    put("timeout", seconds(probe.timeout).into());
    put("failures", i64::from(probe.failures).into());
    put("delay", seconds(probe.delay).into());
    table
}

/// By its name, or by what keys and passwords look like. A file's name is none.
fn looks_secret(name: &str, value: &str) -> bool {
    const WORDS: [&str; 11] = [
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "SECRET",
        "TOKEN",
        "APIKEY",
        "API_KEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
        "CREDENTIAL",
        "DSN",
    ];
    const BEGINNINGS: [&str; 8] = ["-----BEGIN", "sk_live_", "sk-", "ghp_", "github_pat_", "xox", "AKIA", "AIza"];
    let upper = name.to_uppercase();
    let names_it =
        WORDS.iter().any(|word| upper.contains(word)) && !upper.ends_with("_FILE") && !upper.ends_with("_PATH");
    let in_url = value.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()?.split_once('@'));
    let password = in_url.is_some_and(|(user, _)| user.contains(':'));
    let jwt = value.starts_with("eyJ") && value.matches('.').count() == 2;
    !value.is_empty() && (names_it || password || jwt || BEGINNINGS.iter().any(|start| value.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret() {
        for (name, value) in [
            ("DB_PASSWORD", "x"),
            ("github_token", "x"),
            ("DATABASE_URL", "postgres://me:pass@db/x"),
            ("CERT", "-----BEGIN PRIVATE KEY-----"),
            ("SESSION", "eyJh.eyJi.c"),
            ("KEY", "AKIAXXXXXXXX"),
        ] {
            assert!(looks_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("LOG_LEVEL", "info"),
            ("TOKEN_FILE", "/run/token"),
            ("DB_PASSWORD", ""),
            ("DATABASE_URL", "postgres://me@db/x"),
            ("URL", "https://example.com/a@b:c"),
        ] {
            assert!(!looks_secret(name, value), "{name}");
        }
    }

    #[test]
    fn a_value_is_on_one_line_and_nothing_is_replaced_in_it() {
        assert_eq!(plain(Value::from("a\n${B}\"\u{1}\u{7f}")), r#""a\n$${B}\"\u0001\u007f""#);
        assert_eq!(quoted("example.com/a"), "\"example.com/a\"");
    }
}
