//! Containers of a template: what each of them has in neutral words, and the sidecars, which go by their names.
//! <https://cloud.google.com/run/docs/deploying#sidecars>
use std::collections::BTreeMap;

use carrack_core::{
    Error, ErrorKind, Result,
    spec::{ContainerSpec, ImageRef, MAIN, Probes, ServiceSpec, Volume, WorkloadSpec},
};
use serde_json::{Value, json};

use super::{
    edit::{array, set, set_env, set_limit, set_probe},
    mounts,
    secret_names::Own,
    volumes,
    wire::{Container, DEFAULT_PORT, Env, WireProbe, ingress_index, parse_cpu, parse_memory},
};

/// What a container is read with.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// All volumes.
    pub(super) all: &'a [mounts::Volume],
    /// Those that have a key in carrack.toml.
    pub(super) volumes: &'a BTreeMap<String, Volume>,
    /// The service's project.
    pub(super) own: &'a Own<'a>,
    /// What the container that gets the requests is called; nothing if it has no name.
    pub(super) main: String,
}

impl Surroundings<'_> {
    /// One container in neutral words. A sidecar has no port of its own, so that its probes always name theirs.
    pub(super) fn neutral(&self, container: Container, own_port: Option<u16>) -> ContainerSpec {
        let limit = |name: &str| container.resources.limits.get(name).map(String::as_str);
        let probe = |probe: Option<WireProbe>| probe.and_then(|probe| probe.neutral(own_port.unwrap_or_default()));
        let depends_on = container.depends_on.iter().map(|name| self.neutral_name(name)).collect::<Vec<_>>();
        ContainerSpec {
            cpu: limit("cpu").and_then(parse_cpu),
            memory: limit("memory").and_then(parse_memory),
            image: (!container.image.is_empty()).then_some(ImageRef(container.image)),
            command: (!container.command.is_empty()).then_some(container.command),
            args: (!container.args.is_empty()).then_some(container.args),
            working_dir: (!container.working_dir.is_empty()).then_some(container.working_dir),
            mounts: mounts::files(&container.volume_mounts, self.all, self.own),
            volumes: volumes::mounted(&container.volume_mounts, self.volumes),
            depends_on: (!depends_on.is_empty()).then_some(depends_on),
            env: container.env.into_iter().map(|env: Env| (env.name.clone(), env.neutral(self.own))).collect(),
            probes: Probes {
                startup: probe(container.startup_probe),
                liveness: probe(container.liveness_probe),
                readiness: probe(container.readiness_probe),
            },
            ..ContainerSpec::default()
        }
    }

    fn neutral_name(&self, name: &str) -> String {
        if name == self.main { MAIN.to_owned() } else { name.to_owned() }
    }
}

/// Whether a container can be a sidecar of carrack.toml. Others are kept, and told of in the resource's own words.
pub(super) fn is_sidecar(name: &str) -> bool {
    !name.is_empty() && !name.contains('.') && name != MAIN
}

/// One field of a sidecar as `spec` has it. One that `spec` lacks goes as a whole.
pub(super) fn write(raw: &mut Value, workload: &WorkloadSpec, name: &str, field: &str) -> Result<()> {
    let before = raw["service"].clone();
    let own = Own::of(&before);
    let template = &mut raw["service"]["template"];
    let Some(spec) = workload.sidecars.get(name) else {
        remove(template, name);
        return Ok(());
    };
    let index = match position(template, name) {
        Some(index) => index,
        None => add(template, name),
    };
    if let Some(file) = field.strip_prefix("secrets.").filter(|name| name.starts_with('/')) {
        return mounts::set(template, index, file, spec.mounts.get(file), &own);
    }
    if field == "depends_on" {
        depend(template, index, spec.depends_on.as_deref());
        return Ok(());
    }
    let container = &mut template["containers"][index];
    match field {
        "image" => set(container, "image", spec.image.as_ref().map(|image| json!(image.0))),
        "command" => set(container, "command", spec.command.as_ref().map(|words| json!(words))),
        "args" => set(container, "args", spec.args.as_ref().map(|words| json!(words))),
        "working_dir" => {
            let folder = spec.working_dir.as_ref().filter(|folder| !folder.is_empty());
            set(container, "workingDir", folder.map(|folder| json!(folder)));
        }
        "resources.cpu" => set_limit(container, "cpu", spec.cpu.map(|cpu| format!("{}m", cpu.0))),
        "resources.memory" => set_limit(container, "memory", spec.memory.map(|memory| format!("{}Mi", memory.0))),
        "health.startup" => set_probe(container, "startupProbe", spec.probes.startup.as_ref()),
        "health.liveness" => set_probe(container, "livenessProbe", spec.probes.liveness.as_ref()),
        "health.readiness" => set_probe(container, "readinessProbe", spec.probes.readiness.as_ref()),
        _ => match field.split_once('.') {
            Some(("env" | "secrets", name)) => set_env(container, name, spec.env.get(name)),
            Some(("volumes", name)) => volumes::mount(container, name, spec.volumes.get(name)),
            _ => {}
        },
    }
    Ok(())
}

/// Where the sidecar `name` is.
pub(super) fn position(template: &Value, name: &str) -> Option<usize> {
    let containers = template["containers"].as_array()?;
    let main = ingress_index(containers);
    let mut others = (0..containers.len()).filter(|index| *index != main);
    others.find(|index| containers[*index]["name"] == name)
}

fn add(template: &mut Value, name: &str) -> usize {
    let containers = array(template, "containers");
    if containers.is_empty() {
        containers.push(json!({}));
    }
    let main = ingress_index(containers);
    // Once there are two containers, the one that gets the requests is told by its port:
    // https://cloud.google.com/run/docs/reference/rest/v2/Container
    if containers[main]["ports"].as_array().is_none_or(Vec::is_empty) {
        containers[main]["ports"] = json!([{ "containerPort": DEFAULT_PORT }]);
    }
    // Once `resources` is sent, `cpuIdle` has to be sent with it; all containers of an instance are billed alike:
    // https://cloud.google.com/run/docs/configuring/billing-settings
    let idle = containers[main]["resources"]["cpuIdle"].as_bool().unwrap_or(false);
    containers.push(json!({ "name": name, "resources": { "cpuIdle": idle } }));
    containers.len() - 1
}

/// All containers of an instance have their CPU at the same times: those of `workload` follow the main one.
pub(super) fn follow_cpu(template: &mut Value, workload: &WorkloadSpec) {
    let Some(containers) = template["containers"].as_array() else { return };
    let idle = containers[ingress_index(containers)]["resources"]["cpuIdle"].clone();
    for name in workload.sidecars.keys() {
        let Some(index) = position(template, name) else { continue };
        let resources = &mut template["containers"][index]["resources"];
        if resources.is_object() && resources["cpuIdle"] != idle && idle.is_boolean() {
            resources["cpuIdle"] = idle.clone();
        }
    }
}

/// What only it has shown goes with it: the volumes of its secrets.
fn remove(template: &mut Value, name: &str) {
    let Some(index) = position(template, name) else { return };
    mounts::hide_all(template, index);
    array(template, "containers").remove(index);
}

/// `depends_on` by the containers' live names; the main one gets a name when it has none and one is asked for.
pub(super) fn depend(template: &mut Value, index: usize, wanted: Option<&[String]>) {
    let main = template["containers"].as_array().map_or(0, |containers| ingress_index(containers));
    let on_main = wanted.is_some_and(|names| names.iter().any(|name| name == MAIN));
    let main = &mut template["containers"][main];
    if on_main && main["name"].as_str().is_none_or(str::is_empty) {
        main["name"] = json!(MAIN);
    }
    let live = main.get("name").cloned().unwrap_or_default();
    let names = wanted.filter(|names| !names.is_empty()).map(|names| {
        names.iter().map(|name| if name == MAIN { live.clone() } else { json!(name) }).collect::<Vec<_>>()
    });
    set(&mut template["containers"][index], "dependsOn", names.map(Value::Array));
}

/// What the edit would leave behind broken: a sidecar without an image, or one that waits for another that has gone.
pub(super) fn check(before: &Value, after: &Value, spec: &ServiceSpec) -> Result<()> {
    let containers = after["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let main = containers.get(ingress_index(containers)).and_then(|main| main["name"].as_str());
    for name in spec.workload.sidecars.keys() {
        if main == Some(name) {
            let text =
                format!("refusing to make a sidecar `{name}`: the container that gets the requests is called so");
            return Err(Error::new(ErrorKind::Conflict, text)
                .at_field(format!("sidecars.{name}"))
                .hint("call the sidecar in carrack.toml something else"));
        }
        let live = position(after, name);
        if live.is_none_or(|index| after["containers"][index]["image"].as_str().is_none_or(str::is_empty)) {
            return Err(Error::new(ErrorKind::ConfigInvalid, format!("sidecar `{name}` is new and needs an image"))
                .at_field(format!("sidecars.{name}.image"))
                .hint(format!("add `image = \"HOST/PATH@sha256:…\"` to [sidecars.{name}]")));
        }
    }
    let gone = |name: &str| position(before, name).is_some() && position(after, name).is_none();
    for container in containers {
        let names = container["dependsOn"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Some(name) = names.into_iter().find(|name| gone(name)) {
            let waiting = container["name"].as_str().unwrap_or(MAIN);
            let text = format!("refusing to remove sidecar `{name}`: container `{waiting}` depends on it");
            return Err(Error::new(ErrorKind::Conflict, text)
                .at_field("sidecars")
                .hint("write `depends_on` of that container in carrack.toml, or keep the sidecar"));
        }
    }
    volumes::check(before, after)
}
