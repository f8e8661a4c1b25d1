//! A neutral spec written into a live service: only the fields named, everything else as it was.
use std::collections::BTreeSet;

use carrack_core::{
    Result,
    fields::{FieldPath, fields, sidecar},
    spec::{EnvValue, Probe, ProbeCheck, SecretRef, ServiceSpec},
};
use serde_json::{Map, Value, json};

use super::{
    containers, mounts, network, scalars,
    secret_names::Own,
    volumes,
    wire::{DEFAULT_PORT, from_wire, ingress_index},
};
use crate::iam;

/// The resource that a first deploy starts from.
pub(super) fn empty() -> Value {
    // Once `resources` is sent, `cpuIdle` has to be sent with it to keep billing by request:
    // https://cloud.google.com/run/docs/configuring/billing-settings
    json!({ "service": { "template": { "containers": [{ "resources": { "cpuIdle": true } }] } }, "policy": {} })
}

/// `raw` with the fields of `write` as `spec` has them; entries of keyed tables that `spec` lacks are removed.
///
/// A field that means the same already is left as it is written: the cloud omits zeros and keeps `1` beside `1000m`,
/// and another spelling would cut a new revision for nothing.
pub(super) fn edit(raw: &Value, spec: &ServiceSpec, write: &BTreeSet<FieldPath>) -> Result<Value> {
    let mut after = raw.clone();
    let mut meaning = from_wire(&after)?;
    let wanted = fields(spec);
    let mut order: Vec<&FieldPath> = write.iter().collect();
    // The port first: probes without a port of their own ask it. What goes makes room for what comes: a folder shows
    // the files of one secret. A volume is there before it is mounted.
    order.sort_by_key(|path| (*path != "service.port", wanted.contains_key(*path), !path.starts_with("volumes.")));
    let own = Own::of(&raw["service"]);
    for (at, container) in spec.workload.containers() {
        let sidecar = at.strip_prefix("sidecars.").map(|name| name.trim_end_matches('.'));
        let live = match sidecar {
            Some(name) => meaning.workload.sidecars.get(name),
            None => Some(&meaning.workload.main),
        };
        let Some(live) = live else { continue };
        for file in container.mounts.keys().filter(|file| write.contains(&format!("{at}secrets.{file}"))) {
            if mounts::in_the_way(file, &live.mounts, &container.mounts, &own) {
                hide_file(&mut after, sidecar, file)?;
            }
        }
    }
    meaning = from_wire(&after)?;
    for path in order {
        let mut next = after.clone();
        write_field(&mut next, spec, path)?;
        let next_meaning = from_wire(&next)?;
        if next_meaning != meaning {
            (after, meaning) = (next, next_meaning);
        }
    }
    if after["service"]["template"]["vpcAccess"] != raw["service"]["template"]["vpcAccess"] {
        network::tidy(template(&mut after));
    }
    if write.contains("resources.cpu_always") {
        containers::follow_cpu(template(&mut after), &spec.workload);
    }
    let (before, edited) = (&raw["service"]["template"], &after["service"]["template"]);
    containers::check(before, edited, spec)?;
    Ok(after)
}

fn write_field(raw: &mut Value, spec: &ServiceSpec, path: &str) -> Result<()> {
    if let Some((name, field)) = sidecar(path) {
        return containers::write(raw, &spec.workload, name, field);
    }
    let main = &spec.workload.main;
    match path {
        "image" => set(container(raw), "image", main.image.as_ref().map(|image| json!(image.0))),
        "service.port" => set_port(container(raw), spec.port),
        "service.public" => set_public(raw, spec.public),
        "service.command" => set(container(raw), "command", main.command.as_ref().map(|words| json!(words))),
        "service.args" => set(container(raw), "args", main.args.as_ref().map(|words| json!(words))),
        "service_account" => {
            set(template(raw), "serviceAccount", spec.workload.service_account.as_ref().map(|email| json!(email)))
        }
        "resources.cpu" => set_limit(container(raw), "cpu", main.cpu.map(|cpu| format!("{}m", cpu.0))),
        "resources.memory" => set_limit(container(raw), "memory", main.memory.map(|memory| format!("{}Mi", memory.0))),
        "scaling.min" => set(object(template(raw), "scaling"), "minInstanceCount", spec.scaling.min.map(Value::from)),
        "scaling.max" => set(object(template(raw), "scaling"), "maxInstanceCount", spec.scaling.max.map(Value::from)),
        "scaling.concurrency" => {
            set(template(raw), "maxInstanceRequestConcurrency", spec.scaling.concurrency.map(Value::from))
        }
        "health.startup" => set_probe(container(raw), "startupProbe", main.probes.startup.as_ref()),
        "health.liveness" => set_probe(container(raw), "livenessProbe", main.probes.liveness.as_ref()),
        "health.readiness" => set_probe(container(raw), "readinessProbe", main.probes.readiness.as_ref()),
        "service.depends_on" => {
            let index = main_index(raw);
            containers::depend(template(raw), index, main.depends_on.as_deref());
        }
        _ => {
            if let Some(file) = path.strip_prefix("secrets.").filter(|name| name.starts_with('/')) {
                set_file(raw, file, main.mounts.get(file))?;
            } else if let Some(name) = path.strip_prefix("env.").or_else(|| path.strip_prefix("secrets.")) {
                // A variable is a text or a secret, and stays in its place when it becomes the other.
                set_env(container(raw), name, main.env.get(name));
            } else if let Some(name) = path.strip_prefix("volumes.") {
                volumes::set(template(raw), name, spec.workload.volumes.get(name))?;
                volumes::mount(container(raw), name, main.volumes.get(name));
            } else if let Some(name) = path.strip_prefix("labels.") {
                let value = spec.workload.labels.get(name).map(|text| json!(text));
                set(object(service(raw), "labels"), name, value);
            } else {
                let index = raw["service"]["template"]["containers"].as_array().map_or(0, |list| ingress_index(list));
                scalars::write(raw, spec, path, index);
            }
        }
    }
    Ok(())
}

pub(super) fn service(raw: &mut Value) -> &mut Value {
    object(raw, "service")
}

pub(super) fn template(raw: &mut Value) -> &mut Value {
    object(service(raw), "template")
}

pub(super) fn container(raw: &mut Value) -> &mut Value {
    let containers = array(template(raw), "containers");
    if containers.is_empty() {
        containers.push(json!({}));
    }
    let index = ingress_index(containers);
    &mut containers[index]
}

/// The object at `key`, made when it is missing.
pub(super) fn object<'a>(parent: &'a mut Value, key: &str) -> &'a mut Value {
    let child = &mut parent[key];
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child
}

pub(super) fn array<'a>(parent: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    let child = &mut parent[key];
    if !child.is_array() {
        *child = Value::Array(Vec::new());
    }
    match child {
        Value::Array(list) => list,
        _ => unreachable!("it was made an array"),
    }
}

pub(super) fn set(parent: &mut Value, key: &str, value: Option<Value>) {
    match (value, parent.as_object_mut()) {
        (Some(value), Some(map)) => {
            map.insert(key.to_owned(), value);
        }
        (None, Some(map)) => {
            map.remove(key);
        }
        (_, None) => {}
    }
}

/// Probes that asked the old port ask the new one.
fn set_port(container: &mut Value, port: Option<u16>) {
    let Some(port) = port else { return };
    let old = container["ports"][0]["containerPort"].as_u64().unwrap_or(DEFAULT_PORT.into());
    let ports = array(container, "ports");
    if ports.is_empty() {
        ports.push(json!({}));
    }
    ports[0]["containerPort"] = json!(port);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        for check in ["httpGet", "tcpSocket", "grpc"] {
            if let Some(asked) = container.get_mut(probe).and_then(|probe| probe.get_mut(check)?.get_mut("port"))
                && asked.as_u64() == Some(old)
            {
                *asked = json!(port);
            }
        }
    }
}

pub(super) fn set_limit(container: &mut Value, name: &str, limit: Option<String>) {
    set(object(scalars::resources(container), "limits"), name, limit.map(Value::String));
}

fn set_public(raw: &mut Value, public: Option<bool>) {
    let Some(public) = public else { return };
    if raw["service"]["invokerIamDisabled"] == true {
        if public {
            return;
        }
        set(service(raw), "invokerIamDisabled", None);
    }
    raw["policy"] = iam::with_public(&raw["policy"], public);
}

pub(super) fn set_env(container: &mut Value, name: &str, value: Option<&EnvValue>) {
    let list = array(container, "env");
    let entry = value.map(|value| match value {
        EnvValue::Plain(text) => json!({ "name": name, "value": text }),
        EnvValue::Secret(secret) => json!({
            "name": name,
            "valueSource": { "secretKeyRef": { "secret": secret.name, "version": secret.version } },
        }),
    });
    let place = list.iter().position(|entry| entry["name"] == name);
    match (place, entry) {
        (Some(index), Some(entry)) => list[index] = entry,
        (Some(index), None) => {
            list.remove(index);
        }
        (None, Some(entry)) => list.push(entry),
        (None, None) => {}
    }
}

fn set_file(raw: &mut Value, file: &str, wanted: Option<&SecretRef>) -> Result<()> {
    let index = main_index(raw);
    let before = raw["service"].clone();
    mounts::set(template(raw), index, file, wanted, &Own::of(&before))
}

fn hide_file(raw: &mut Value, sidecar: Option<&str>, file: &str) -> Result<()> {
    let index = match sidecar {
        Some(name) => containers::position(template(raw), name),
        None => Some(main_index(raw)),
    };
    let Some(index) = index else { return Ok(()) };
    let before = raw["service"].clone();
    mounts::set(template(raw), index, file, None, &Own::of(&before))
}

/// The container is made where there is none.
fn main_index(raw: &mut Value) -> usize {
    container(raw);
    raw["service"]["template"]["containers"].as_array().map_or(0, |list| ingress_index(list))
}

pub(super) fn set_probe(container: &mut Value, key: &str, probe: Option<&Probe>) {
    let own_port = container["ports"][0]["containerPort"].as_u64().unwrap_or(DEFAULT_PORT.into());
    let live = container[key].clone();
    let wire = probe.map(|probe| {
        let (check, port) = match &probe.check {
            ProbeCheck::Http { port, .. } => ("httpGet", port),
            ProbeCheck::Tcp { port } => ("tcpSocket", port),
            ProbeCheck::Grpc { port, .. } => ("grpc", port),
        };
        let mut wire = json!({
            "initialDelaySeconds": probe.delay.as_secs(),
            "timeoutSeconds": probe.timeout.as_secs(),
            "periodSeconds": probe.period.as_secs(),
            "failureThreshold": probe.failures,
        });
        // Headers and the like, which the file does not name, stay with a check of the same kind.
        let body = object(&mut wire, check);
        if live[check].is_object() {
            body.clone_from(&live[check]);
        }
        body["port"] = json!(port.map_or(own_port, u64::from));
        match &probe.check {
            ProbeCheck::Http { path, .. } => body["path"] = json!(path),
            ProbeCheck::Grpc { service, .. } => set(body, "service", service.as_ref().map(|name| json!(name))),
            ProbeCheck::Tcp { .. } => {}
        }
        wire
    });
    set(container, key, wire);
}

#[cfg(test)]
mod tests;
