//! A neutral spec written into a live service: only the fields named, everything else as it was.
use std::collections::BTreeSet;

use carrack_core::{
    Result,
    fields::{FieldPath, fields},
    spec::{EnvValue, Probe, ProbeCheck, SecretRef, ServiceSpec},
};
use serde_json::{Map, Value, json};

use super::{
    mounts, network, scalars,
    secret_names::Own,
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
    // the files of one secret.
    order.sort_by_key(|path| (*path != "service.port", wanted.contains_key(*path)));
    let (own, live) = (Own::of(&raw["service"]), &meaning.workload.main.mounts);
    let wanted = &spec.workload.main.mounts;
    for file in wanted.keys() {
        if write.contains(&format!("secrets.{file}")) && mounts::in_the_way(file, live, wanted, &own) {
            set_file(&mut after, file, None)?;
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
    Ok(after)
}

fn write_field(raw: &mut Value, spec: &ServiceSpec, path: &str) -> Result<()> {
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
            if let Some(file) = path.strip_prefix("secrets.").filter(|name| name.starts_with('/')) {
                set_file(raw, file, main.mounts.get(file))?;
            } else if let Some(name) = path.strip_prefix("env.").or_else(|| path.strip_prefix("secrets.")) {
                // A variable is a text or a secret, and stays in its place when it becomes the other.
                set_env(container(raw), name, main.env.get(name));
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

fn set_limit(container: &mut Value, name: &str, limit: Option<String>) {
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

fn set_file(raw: &mut Value, file: &str, wanted: Option<&SecretRef>) -> Result<()> {
    // The container is made where there is none.
    container(raw);
    let before = raw["service"].clone();
    let index = before["template"]["containers"].as_array().map_or(0, |list| ingress_index(list));
    mounts::set(template(raw), index, file, wanted, &Own::of(&before))
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
    use std::{collections::BTreeMap, time::Duration};

    use carrack_core::{
        ErrorKind,
        fields::rivals,
        spec::{ContainerSpec, ImageRef, Mebibytes, MilliCpu, Probes, Scaling, WorkloadSpec},
    };
    use proptest::{collection::btree_map, option::of, prelude::*};

    use super::*;
    use crate::run::settings::settings;

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
        prop_oneof![".{0,8}".prop_map(EnvValue::Plain), secret().prop_map(EnvValue::Secret),]
    }

    fn secret() -> impl Strategy<Value = SecretRef> {
        ("[a-c]{1,2}", "[1-9]").prop_map(|(name, version)| SecretRef { name, version })
    }

    /// A folder shows one secret, of which it may show several files.
    fn mounts() -> impl Strategy<Value = BTreeMap<String, SecretRef>> {
        let files = btree_map("[xy]", "[1-9]", 1..3);
        btree_map("(/[a-c]){1,2}", ("[a-c]", files), 0..3).prop_map(|folders| {
            let files = folders.into_iter().flat_map(|(folder, (name, files))| {
                let file =
                    move |(file, version)| (format!("{folder}/{file}"), SecretRef { name: name.clone(), version });
                files.into_iter().map(file)
            });
            files.collect()
        })
    }

    fn words() -> impl Strategy<Value = Option<Vec<String>>> {
        of(prop::collection::vec("[a-z]{1,4}", 1..3))
    }

    fn spec() -> impl Strategy<Value = ServiceSpec> {
        let container = (
            of("[a-z]{1,9}"),
            words(),
            words(),
            (btree_map("[A-C]", env(), 0..3), mounts()),
            of(1_u32..9000),
            of(1_u32..9000),
            of(probe()),
            of(probe()),
        )
            .prop_map(|(image, command, args, (env, mounts), cpu, memory, startup, liveness)| ContainerSpec {
                image: image.map(ImageRef),
                command,
                args,
                env,
                mounts,
                cpu: cpu.map(MilliCpu),
                memory: memory.map(Mebibytes),
                probes: Probes { startup, liveness, ..Probes::default() },
                ..ContainerSpec::default()
            });
        let scaling = (of(0_u32..9), of(1_u32..9), of(1_u32..9)).prop_map(|(min, max, concurrency)| Scaling {
            min,
            max,
            concurrency,
            ..Scaling::default()
        });
        let labels = btree_map("[a-c]", "[a-z]{0,3}", 0..3);
        (container, scaling, labels, of(1_u16..9000), of(any::<bool>()), of("[a-z]{1,5}"), settings()).prop_map(
            |(main, scaling, labels, port, public, service_account, settings)| {
                let spec = ServiceSpec {
                    workload: WorkloadSpec { main, service_account, labels, ..WorkloadSpec::default() },
                    port,
                    scaling,
                    public,
                    ..ServiceSpec::default()
                };
                settings.laid_over(spec)
            },
        )
    }

    fn everything(spec: &ServiceSpec) -> BTreeSet<FieldPath> {
        fields(spec).into_keys().collect()
    }

    fn folder(path: &str) -> &str {
        path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// A folder that would have to show two secrets, one of them somebody else's.
    fn clash(live: &ServiceSpec, wanted: &ServiceSpec) -> bool {
        let theirs = |path: &&String| !wanted.workload.main.mounts.contains_key(*path);
        live.workload.main.mounts.keys().filter(theirs).any(|path| {
            let name = &live.workload.main.mounts[path].name;
            let ours = wanted.workload.main.mounts.iter().filter(|(ours, _)| folder(ours) == folder(path));
            ours.into_iter().any(|(_, secret)| secret.name != *name)
        })
    }

    proptest! {
        /// What is owned becomes as the file says; every other known field, and every unknown one, stays.
        #[test]
        fn an_edit_changes_what_is_owned_and_nothing_else(live in spec(), wanted in spec(), ours in any::<bool>()) {
            let mut raw = edit(&empty(), &live, &everything(&live)).unwrap();
            // Volumes of others, and a sidecar that shows the first secret's volume too.
            let template = &mut raw["service"]["template"];
            let secret = |volume: &&Value| volume["secret"].is_object();
            let shared = template["volumes"].as_array().and_then(|all| all.iter().find(secret)).cloned().unwrap_or_default();
            array(template, "volumes").insert(0, json!({ "name": "theirs", "gcs": { "bucket": "b" } }));
            array(template, "volumes").push(json!({ "name": "nobodys", "secret": { "secret": "key" } }));
            let mount = json!({ "name": "theirs", "mountPath": "/theirs" });
            array(&mut template["containers"][0], "volumeMounts").insert(0, mount);
            let mut sidecar = json!({ "name": "sidecar" });
            if shared.is_object() {
                sidecar["volumeMounts"] = json!([{ "name": shared["name"], "mountPath": "/anywhere" }]);
            }
            array(template, "containers").push(sidecar);
            raw["service"]["unknown"] = json!({ "deep": [1, 2] });
            raw["service"]["template"]["unknown"] = json!("kept");
            raw["service"]["template"]["containers"][0]["unknown"] = json!(7);
            raw["policy"]["bindings"] = json!([{ "role": "roles/other", "members": ["user:a"] }]);
            let before = fields(&from_wire(&raw).unwrap());
            let asked = fields(&wanted);
            let mut write = everything(&wanted);
            let displaced = |path: &String| rivals(path).iter().any(|rival| asked.contains_key(rival));
            let removed = |path: &&String| {
                !asked.contains_key(*path) && (displaced(path) || (ours && path.starts_with("secrets.")))
            };
            write.extend(before.keys().filter(removed).cloned());
            let after = match edit(&raw, &wanted, &write) {
                Ok(after) => after,
                Err(error) => {
                    prop_assert_eq!(error.kind(), ErrorKind::Conflict);
                    prop_assert!(!ours && clash(&live, &wanted), "{}", error);
                    return Ok(());
                }
            };
            prop_assert!(ours || !clash(&live, &wanted), "nothing is hidden");
            let seen = fields(&from_wire(&after).unwrap());
            for (path, value) in &asked {
                prop_assert_eq!(seen.get(path), Some(value), "{}", path);
            }
            // Each can settle what the other then says.
            let access = ["service.public", "service.invoker_check"];
            let stays = |path: &String| !write.contains(path) && !access.contains(&path.as_str());
            for (path, value) in before.iter().filter(|(path, _)| stays(path)) {
                prop_assert_eq!(seen.get(path), Some(value), "{}", path);
            }
            for path in write.iter().filter(|path| !asked.contains_key(*path)) {
                prop_assert_eq!(seen.get(path), None, "{}", path);
            }
            let (old, new) = (&raw["service"]["template"], &after["service"]["template"]);
            prop_assert_eq!(&new["containers"][1], &old["containers"][1]);
            prop_assert_eq!(&new["containers"][0]["volumeMounts"][0], &old["containers"][0]["volumeMounts"][0]);
            let volumes = new["volumes"].as_array().unwrap();
            prop_assert_eq!(&volumes[0], &old["volumes"][0], "theirs stays where it is");
            prop_assert!(volumes.iter().any(|volume| volume["name"] == "nobodys"));
            if shared.is_object() {
                prop_assert!(volumes.contains(&shared), "the sidecar sees what it saw");
            }
            let names: BTreeSet<&str> = volumes.iter().filter_map(|volume| volume["name"].as_str()).collect();
            prop_assert_eq!(names.len(), volumes.len());
            let mounted = |name: &str| new.to_string().matches(&format!("\"name\":\"{name}\"")).count() > 1;
            prop_assert!(names.iter().all(|name| *name == "nobodys" || mounted(name)), "none is left behind");
            prop_assert_eq!(&after["service"]["unknown"], &raw["service"]["unknown"]);
            prop_assert_eq!(&after["service"]["template"]["unknown"], "kept");
            prop_assert_eq!(&after["service"]["template"]["containers"][0]["unknown"], 7);
            prop_assert_eq!(&after["policy"]["bindings"][0], &raw["policy"]["bindings"][0]);
            prop_assert_eq!(&edit(&after, &wanted, &write).unwrap(), &after, "a second edit changes nothing");
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
