//! `[sidecars]`: containers beside the main one, and what must hold between all of them.
use std::collections::{BTreeMap, BTreeSet};

use carrack_core::{
    fields::{FieldPath, SIDECARS},
    spec::{ImageRef, MAIN, Mebibytes, MilliCpu, WorkloadSpec},
};
use serde_json::Value as Json;

use super::{
    diagnostics::{Problem, Span},
    document::{Node, Value},
    names,
    read::{At, Context, Entries, Invalid, KeyRule, Read, Table, section},
    resolve::{lay_env, lay_health, lay_secrets, put, replaced_secrets, words},
    schema::{self, File, Health, Words},
    secrets::{self, Secrets},
    settings,
    values::{EnvText, SidecarVariable},
    volumes::{Folder, VolumeName, Volumes},
};

pub(crate) type Sidecars = Entries<SidecarName, Sidecar>;
pub(crate) type Mounts = Entries<VolumeName, Folder>;

section! {
    /// `[sidecars.NAME]`
    Sidecar checked_by rules_of_one {
        /// An image that exists: HOST/PATH@sha256:… or HOST/PATH:TAG. A new sidecar needs one.
        image: optional SidecarImage,
        /// Replaces the image's entrypoint.
        command: optional Words,
        /// Replaces the image's arguments.
        args: optional Words,
        /// The folder that it starts in. `""` is the image's own.
        working_dir: optional settings::Folder,
        /// The containers that have to be up before it starts, by their names; `main` is that of [service].
        depends_on: optional Words,
        /// Its environment variables.
        env: optional Entries<SidecarVariable, EnvText>,
        /// Its environment variables and files whose values are secrets of the cloud's store.
        secrets: optional Secrets,
        /// The folders that show volumes, by the volumes' names.
        volumes: optional Mounts,
        /// What it gets in one instance.
        resources: optional SidecarResources,
        /// Its health checks; each names its port.
        health: optional Health,
    }
}

section! {
    /// `[sidecars.NAME.resources]`
    SidecarResources {
        /// CPUs: `1`, `0.5` or `"500m"`.
        cpu: optional MilliCpu,
        /// Memory: `"512MiB"` or `"1GiB"`.
        memory: optional Mebibytes,
    }
}

/// A reference; a build is refused in words of its own.
#[derive(Clone, Debug)]
pub(crate) struct SidecarImage(pub(crate) ImageRef);

impl Read for SidecarImage {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        if let Value::Table(_) = &node.value {
            let problem = Problem::new(&node.span, format!("`{}` takes a reference", context.path.join(".")))
                .label("the image of a sidecar is not built here")
                .hint("write `image = \"HOST/PATH@sha256:…\"`")
                .hint("to build it, give it a carrack.toml of its own: `carrack push -f FILE` prints the reference");
            context.report(problem);
            return None;
        }
        ImageRef::read(node, context).map(Self)
    }
    fn schema() -> Json {
        ImageRef::schema()
    }
}

/// The keys of `[sidecars]`.
#[derive(Clone, Debug)]
pub(crate) struct SidecarName;

impl KeyRule for SidecarName {
    const PATTERN: &'static str = names::PART;
    fn check(key: &str) -> Result<(), Invalid> {
        names::part("sidecar", key)?;
        match key {
            MAIN => Err(Invalid::new("a sidecar cannot be called `main`")
                .label("this is the container of [service]")
                .hint("`depends_on = [\"main\"]` means that one")),
            _ => Ok(()),
        }
    }
}

/// A sidecar's port is nobody's to ask, so that its checks say which one they ask.
fn rules_of_one(sidecar: &Sidecar, table: &Table<'_>, context: &mut Context) {
    let health = sidecar.health.as_ref().map(|at| &at.value);
    let checks = health.into_iter().flat_map(|health| {
        [("startup", &health.startup), ("liveness", &health.liveness), ("readiness", &health.readiness)]
    });
    for (kind, check) in checks {
        let Some(At { value: probe, span }) = check else { continue };
        let by_tcp = probe.tcp.as_ref().is_some_and(|tcp| tcp.value.0.is_some());
        if probe.port.is_none() && !by_tcp {
            let message = format!("`{}.health.{kind}` does not say which port it asks", context.path.join("."));
            let problem = Problem::new(span, message).label("needs `port`");
            context.report(
                problem.hint("a sidecar has no port of its own: the port of [service] is the main container's"),
            );
        }
    }
    secrets::rules_of(sidecar.env.as_ref(), sidecar.secrets.as_ref(), table.node, &context.path.join("."), context);
}

/// Lays `sidecars` over what `workload` has; `neutral` is the section that a target's lies over.
pub(crate) fn lay(workload: &mut WorkloadSpec, neutral: Option<&At<Sidecars>>, sidecars: Option<&At<Sidecars>>) {
    for (name, At { value: sidecar, .. }) in sidecars.iter().flat_map(|at| &at.value.map) {
        let spec = workload.sidecars.entry(name.clone()).or_default();
        put(&mut spec.image, sidecar.image.as_ref(), |image| image.value.0.clone());
        put(&mut spec.command, sidecar.command.as_ref(), words);
        put(&mut spec.args, sidecar.args.as_ref(), words);
        put(&mut spec.working_dir, sidecar.working_dir.as_ref(), |folder| folder.value.0.clone());
        put(&mut spec.depends_on, sidecar.depends_on.as_ref(), words);
        let below = neutral.and_then(|neutral| neutral.value.map.get(name)).and_then(|at| at.value.secrets.as_ref());
        replaced_secrets(spec, below, sidecar.secrets.as_ref());
        lay_env(spec, sidecar.env.as_ref());
        lay_secrets(spec, sidecar.secrets.as_ref());
        for (volume, at) in sidecar.volumes.iter().flat_map(|at| &at.value.map) {
            spec.volumes.insert(volume.clone(), at.value.folder().to_owned());
        }
        if let Some(At { value: resources, .. }) = &sidecar.resources {
            put(&mut spec.cpu, resources.cpu.as_ref(), |cpu| cpu.value);
            put(&mut spec.memory, resources.memory.as_ref(), |memory| memory.value);
        }
        lay_health(&mut spec.probes, sidecar.health.as_ref());
    }
}

/// Each as a whole, with its place in the main container.
pub(crate) fn lay_volumes(workload: &mut WorkloadSpec, volumes: Option<&At<Volumes>>) {
    for (name, At { value: volume, .. }) in volumes.iter().flat_map(|at| &at.value.map) {
        workload.volumes.insert(name.clone(), volume.neutral());
        match &volume.mount {
            Some(mount) => drop(workload.main.volumes.insert(name.clone(), mount.value.folder().to_owned())),
            None => drop(workload.main.volumes.remove(name)),
        }
    }
}

/// The keyed tables that stand in the file: `volumes`, `sidecars`, `sidecars.proxy.env`.
pub(crate) fn tables(file: &File, over: Option<&schema::Target>) -> Vec<FieldPath> {
    let mut tables = BTreeSet::new();
    if file.volumes.is_some() || over.is_some_and(|over| over.volumes.is_some()) {
        tables.insert("volumes".to_owned());
    }
    let sections = [file.sidecars.as_ref(), over.and_then(|over| over.sidecars.as_ref())];
    for section in sections.into_iter().flatten() {
        tables.insert(SIDECARS.to_owned());
        for (name, At { value: sidecar, .. }) in &section.value.map {
            let stands = [
                ("env", sidecar.env.is_some()),
                ("secrets", sidecar.secrets.is_some()),
                ("volumes", sidecar.volumes.is_some()),
            ];
            let own = stands.iter().filter(|(_, stands)| *stands);
            tables.extend(own.map(|(table, _)| format!("{SIDECARS}.{name}.{table}")));
        }
    }
    tables.into_iter().collect()
}

/// One container as one target has it.
#[derive(Debug, Default)]
struct Container<'a> {
    name: &'a str,
    depends_on: Option<&'a At<Words>>,
    /// The folder of each volume.
    volumes: BTreeMap<&'a str, &'a At<Folder>>,
    /// The folders of secrets, by the secrets' names in the file.
    secrets: BTreeMap<&'a str, (&'a str, &'a Span)>,
}

impl<'a> Container<'a> {
    fn add_secrets(&mut self, secrets: Option<&'a At<Secrets>>) {
        for (name, entry) in secrets.iter().flat_map(|secrets| &secrets.value.map) {
            match &entry.value.0.mount {
                Some(mount) => drop(self.secrets.insert(name, (mount.value.folder(), &mount.span))),
                None => drop(self.secrets.remove(name.as_str())),
            }
        }
    }

    fn add_volumes(&mut self, mounts: Option<&'a At<Mounts>>) {
        self.volumes.extend(mounts.iter().flat_map(|at| &at.value.map).map(|(name, path)| (name.as_str(), path)));
    }
}

/// Dependencies lead somewhere and not in a circle; volumes are there, and each folder shows one thing.
pub(crate) fn rules(file: &File, context: &mut Context) {
    // What is wrong without a target is told once.
    let mut told = BTreeSet::new();
    let mut report = |problem: Problem, context: &mut Context| {
        if told.insert((problem.span.start, format!("{problem:?}"))) {
            context.report(problem);
        }
    };
    let targets = file.targets.iter().flat_map(|targets| targets.value.map.values());
    for over in std::iter::once(None).chain(targets.map(|target| Some(&target.value))) {
        let (containers, volumes) = view(file, over);
        for problem in dependencies(&containers).into_iter().chain(mounts(&containers, &volumes)) {
            report(problem, context);
        }
    }
}

/// The containers of one target, the main one first, and the names of its volumes.
fn view<'a>(file: &'a File, over: Option<&'a schema::Target>) -> (Vec<Container<'a>>, BTreeSet<&'a str>) {
    let service = over.and_then(|over| over.service.as_ref()).and_then(|service| service.value.depends_on.as_ref());
    let mut main = Container {
        name: MAIN,
        depends_on: service.or(file.service.as_ref().and_then(|service| service.value.depends_on.as_ref())),
        ..Container::default()
    };
    main.add_secrets(file.secrets.as_ref());
    main.add_secrets(over.and_then(|over| over.secrets.as_ref()));
    let mut volumes = BTreeSet::new();
    let sections = [file.volumes.as_ref(), over.and_then(|over| over.volumes.as_ref())];
    for (name, volume) in sections.into_iter().flatten().flat_map(|at| &at.value.map) {
        volumes.insert(name.as_str());
        match &volume.value.mount {
            Some(mount) => drop(main.volumes.insert(name, mount)),
            None => drop(main.volumes.remove(name.as_str())),
        }
    }
    let mut sidecars: BTreeMap<&str, Container<'_>> = BTreeMap::new();
    let sections = [file.sidecars.as_ref(), over.and_then(|over| over.sidecars.as_ref())];
    for (name, At { value: sidecar, .. }) in sections.into_iter().flatten().flat_map(|at| &at.value.map) {
        let container = sidecars.entry(name).or_default();
        container.name = name;
        container.depends_on = sidecar.depends_on.as_ref().or(container.depends_on);
        container.add_secrets(sidecar.secrets.as_ref());
        container.add_volumes(sidecar.volumes.as_ref());
    }
    (std::iter::once(main).chain(sidecars.into_values()).collect(), volumes)
}

fn dependencies(containers: &[Container<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut waits: BTreeMap<&str, Vec<(&str, &Span)>> = BTreeMap::new();
    for container in containers {
        for At { value, span } in container.depends_on.iter().flat_map(|at| &at.value) {
            if !containers.iter().any(|other| other.name == value) {
                let message = format!("`{}` depends on `{value}`, which is no container here", container.name);
                let names: Vec<&str> =
                    containers.iter().map(|other| other.name).filter(|name| *name != container.name).collect();
                let problem = Problem::new(span, message);
                problems.push(match super::suggest::nearest(value, names.iter().copied()) {
                    Some(near) => problem.label(format!("did you mean \"{near}\"?")),
                    None if names.is_empty() => problem.hint(format!("add [sidecars.{value}]")),
                    None => problem.hint(format!("the other containers are {}", super::suggest::quoted(&names))),
                });
                continue;
            }
            waits.entry(container.name).or_default().push((value, span));
        }
    }
    problems.extend(circle(&waits));
    problems
}

/// The first circle, at the dependency that closes it.
fn circle(waits: &BTreeMap<&str, Vec<(&str, &Span)>>) -> Option<Problem> {
    fn walk<'a>(
        waits: &BTreeMap<&'a str, Vec<(&'a str, &'a Span)>>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
        name: &'a str,
    ) -> Option<Problem> {
        path.push(name);
        for (next, span) in waits.get(name).into_iter().flatten() {
            if let Some(start) = path.iter().position(|seen| seen == next) {
                let circle: Vec<String> = path[start..].iter().chain([next]).map(|name| format!("`{name}`")).collect();
                let message = format!("containers wait for each other: {}", circle.join(" -> "));
                return Some(Problem::new(span, message).label("remove one of these dependencies"));
            }
            if !done.contains(next)
                && let Some(problem) = walk(waits, path, done, next)
            {
                return Some(problem);
            }
        }
        path.pop();
        done.insert(name);
        None
    }
    let mut done = BTreeSet::new();
    waits.keys().find_map(|name| walk(waits, &mut Vec::new(), &mut done, name))
}

fn mounts(containers: &[Container<'_>], volumes: &BTreeSet<&str>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for container in containers {
        for (name, At { span, .. }) in container.volumes.iter().filter(|(name, _)| !volumes.contains(*name)) {
            let problem = Problem::new(span, format!("`{}` mounts `{name}`, which is no volume here", container.name));
            problems.push(match super::suggest::nearest(name, volumes.iter().copied()) {
                Some(near) => problem.label(format!("did you mean `{near}`?")),
                None => problem.hint(format!("add [volumes.{name}]")),
            });
        }
        // Secrets among themselves are judged where they are read.
        let secrets = container.secrets.iter().map(|(name, (folder, span))| (*folder, *span, "secret", *name));
        let own = container.volumes.iter().map(|(name, at)| (at.value.folder(), &at.span, "volume", *name));
        let mut all: Vec<_> = secrets.chain(own).collect();
        all.sort_by_key(|(_, span, ..)| span.start);
        for (index, (folder, span, kind, name)) in all.iter().enumerate() {
            let clash = all[..index]
                .iter()
                .find(|(taken, _, other, _)| (*kind == "volume" || *other == "volume") && clashes(folder, taken));
            let Some((taken, _, other, with)) = clash else { continue };
            let message = if folder == taken {
                format!("{other} `{with}` and {kind} `{name}` are both mounted at `{folder}`")
            } else {
                format!("`{folder}` and `{taken}`, where {other} `{with}` is mounted, are one below the other")
            };
            problems.push(Problem::new(span, message).label("use a folder that is beside the other"));
        }
    }
    problems
}

/// The same folder, or one in the other.
fn clashes(one: &str, other: &str) -> bool {
    let inside = |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'));
    one == other || inside(one, other) || inside(other, one)
}

impl Folder {
    fn folder(&self) -> &str {
        self.0.trim_end_matches('/')
    }
}
