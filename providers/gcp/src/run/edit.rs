//! A neutral spec written into a live service: only the fields named, everything else as it was.
use std::collections::BTreeSet;

use carrack_core::{
    Result,
    fields::FieldPath,
    spec::{EnvValue, Probe, ProbeCheck, ServiceSpec},
};
use serde_json::{Map, Value, json};

use super::wire::{DEFAULT_PORT, from_wire, ingress_index};
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
    // The port first: probes without a port of their own ask it.
    let (port, others): (Vec<_>, Vec<_>) = write.iter().partition(|path| *path == "service.port");
    for path in port.into_iter().chain(others) {
        let mut next = after.clone();
        write_field(&mut next, spec, path);
        let next_meaning = from_wire(&next)?;
        if next_meaning != meaning {
            (after, meaning) = (next, next_meaning);
        }
    }
    Ok(after)
}

fn write_field(raw: &mut Value, spec: &ServiceSpec, path: &str) {
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
        _ => {
            if let Some(name) = path.strip_prefix("env.") {
                set_env(container(raw), name, main.env.get(name));
            } else if let Some(name) = path.strip_prefix("labels.") {
                let value = spec.workload.labels.get(name).map(|text| json!(text));
                set(object(service(raw), "labels"), name, value);
            }
        }
    }
}

fn service(raw: &mut Value) -> &mut Value {
    object(raw, "service")
}

fn template(raw: &mut Value) -> &mut Value {
    object(service(raw), "template")
}

fn container(raw: &mut Value) -> &mut Value {
    let containers = array(template(raw), "containers");
    if containers.is_empty() {
        containers.push(json!({}));
    }
    let index = ingress_index(containers);
    &mut containers[index]
}

/// The object at `key`, made when it is missing.
fn object<'a>(parent: &'a mut Value, key: &str) -> &'a mut Value {
    let child = &mut parent[key];
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child
}

fn array<'a>(parent: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    let child = &mut parent[key];
    if !child.is_array() {
        *child = Value::Array(Vec::new());
    }
    match child {
        Value::Array(list) => list,
        _ => unreachable!("it was made an array"),
    }
}

fn set(parent: &mut Value, key: &str, value: Option<Value>) {
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

fn set_limit(container: &mut Value, name: &str, limit: Option<String>) {
    set(object(object(container, "resources"), "limits"), name, limit.map(Value::String));
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

fn set_env(container: &mut Value, name: &str, value: Option<&EnvValue>) {
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

fn set_probe(container: &mut Value, key: &str, probe: Option<&Probe>) {
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
mod tests {
    use std::time::Duration;

    use carrack_core::{
        fields::fields,
        spec::{ContainerSpec, ImageRef, Mebibytes, MilliCpu, Probes, Scaling, SecretRef, WorkloadSpec},
    };
    use proptest::{collection::btree_map, option::of, prelude::*};

    use super::*;

    fn probe() -> impl Strategy<Value = Probe> {
        let port = || of(1_u16..);
        let check = prop_oneof![
            ("/[a-z]{0,5}", port()).prop_map(|(path, port)| ProbeCheck::Http { path, port }),
            port().prop_map(|port| ProbeCheck::Tcp { port }),
            (port(), of("[a-z]{1,5}")).prop_map(|(port, service)| ProbeCheck::Grpc { port, service }),
        ];
        (check, 0_u64..240, 1_u64..240, 1_u64..240, 1_u32..50).prop_map(|(check, delay, period, timeout, failures)| {
            Probe {
                check,
                delay: Duration::from_secs(delay),
                period: Duration::from_secs(period),
                timeout: Duration::from_secs(timeout),
                failures,
            }
        })
    }

    fn env() -> impl Strategy<Value = EnvValue> {
        prop_oneof![
            ".{0,8}".prop_map(EnvValue::Plain),
            ("[a-z]{1,4}", "[0-9]{1,2}").prop_map(|(name, version)| EnvValue::Secret(SecretRef { name, version })),
        ]
    }

    fn words() -> impl Strategy<Value = Option<Vec<String>>> {
        of(prop::collection::vec("[a-z]{1,4}", 1..3))
    }

    fn spec() -> impl Strategy<Value = ServiceSpec> {
        let container = (
            of("[a-z]{1,9}"),
            words(),
            words(),
            btree_map("[A-C]", env(), 0..3),
            of(1_u32..9000),
            of(1_u32..9000),
            of(probe()),
            of(probe()),
        )
            .prop_map(|(image, command, args, env, cpu, memory, startup, liveness)| ContainerSpec {
                image: image.map(ImageRef),
                command,
                args,
                env,
                cpu: cpu.map(MilliCpu),
                memory: memory.map(Mebibytes),
                probes: Probes { startup, liveness },
            });
        let scaling = (of(0_u32..9), of(1_u32..9), of(1_u32..9)).prop_map(|(min, max, concurrency)| Scaling {
            min,
            max,
            concurrency,
        });
        let labels = btree_map("[a-c]", "[a-z]{0,3}", 0..3);
        (container, scaling, labels, of(1_u16..9000), of(any::<bool>()), of("[a-z]{1,5}")).prop_map(
            |(main, scaling, labels, port, public, service_account)| ServiceSpec {
                workload: WorkloadSpec { main, service_account, labels },
                port,
                scaling,
                public,
            },
        )
    }

    fn everything(spec: &ServiceSpec) -> BTreeSet<FieldPath> {
        fields(spec).into_keys().collect()
    }

    proptest! {
        /// What is owned becomes as the file says; every other known field, and every unknown one, stays.
        #[test]
        fn an_edit_changes_what_is_owned_and_nothing_else(live in spec(), wanted in spec()) {
            let mut raw = edit(&empty(), &live, &everything(&live)).unwrap();
            raw["service"]["unknown"] = json!({ "deep": [1, 2] });
            raw["service"]["template"]["unknown"] = json!("kept");
            raw["service"]["template"]["containers"][0]["unknown"] = json!(7);
            raw["policy"]["bindings"] = json!([{ "role": "roles/other", "members": ["user:a"] }]);
            let before = fields(&from_wire(&raw).unwrap());
            let after = edit(&raw, &wanted, &everything(&wanted)).unwrap();
            let seen = fields(&from_wire(&after).unwrap());
            let asked = fields(&wanted);
            for (path, value) in &asked {
                prop_assert_eq!(seen.get(path), Some(value), "{}", path);
            }
            for (path, value) in before.iter().filter(|(path, _)| !asked.contains_key(*path) && *path != "service.public") {
                prop_assert_eq!(seen.get(path), Some(value), "{}", path);
            }
            prop_assert_eq!(&after["service"]["unknown"], &raw["service"]["unknown"]);
            prop_assert_eq!(&after["service"]["template"]["unknown"], "kept");
            prop_assert_eq!(&after["service"]["template"]["containers"][0]["unknown"], 7);
            prop_assert_eq!(&after["policy"]["bindings"][0], &raw["policy"]["bindings"][0]);
            prop_assert_eq!(&edit(&after, &wanted, &everything(&wanted)).unwrap(), &after, "a second edit changes nothing");
        }
    }

    #[test]
    fn a_default_probe_follows_the_port() {
        let mut raw = empty();
        raw["service"]["template"]["containers"][0] = json!({ "ports": [{ "name": "http1", "containerPort": 8080 }], "startupProbe": { "tcpSocket": { "port": 8080 } } });
        let spec = ServiceSpec { port: Some(9090), ..ServiceSpec::default() };
        let after = edit(&raw, &spec, &everything(&spec)).unwrap();
        let container = &after["service"]["template"]["containers"][0];
        assert_eq!(container["ports"], json!([{ "name": "http1", "containerPort": 9090 }]));
        assert_eq!(container["startupProbe"]["tcpSocket"]["port"], 9090);
    }
}
