//! From the file to what is deployed: the neutral part, with a target's overrides laid over it.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use carrack_core::{
    job::JobDeploy,
    plan::Deploy,
    spec::{ContainerSpec, EnvValue, ImageRef, Probe, ProbeCheck, Probes, ProviderId, ServiceName, ServiceSpec},
};

use super::{
    job, lay,
    read::{At, Entries},
    rollout,
    rules::{DEFAULT_FAILURES, DEFAULT_PERIOD, DEFAULT_TIMEOUT},
    schema::{self, File, Words},
    secrets::{SecretEntry, Secrets},
    sidecars,
    values::{EnvText, SCRATCH},
};

/// What the file says for one target.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The service's name, or the job's.
    pub name: ServiceName,
    /// What a deploy asks for. Its image is set when `[image] ref` is. Of a job it holds what jobs and services share.
    pub deploy: Deploy,
    /// What a deploy asks for, where the file is of a job.
    pub job: Option<JobDeploy>,
    /// Where the image comes from; `None` when the file does not say.
    pub image: Option<ImageSource>,
    /// Where to; `None` for the neutral part alone.
    pub target: Option<Target>,
}

/// Where the image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a run, and a box would only burden who reads it")]
pub enum ImageSource {
    /// It exists.
    Ref(ImageRef),
    /// It is built.
    Build(BuildConfig),
}

/// How an image is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildConfig {
    /// The image's name, below the target's repository.
    pub name: String,
    /// A command for the shell, run in `directory` before the files are taken.
    pub run: Option<String>,
    /// What the image starts from: `scratch`, or an image.
    pub base: String,
    /// What is copied into it, in this order.
    pub files: Vec<BuildFile>,
    /// What the container runs.
    pub entrypoint: Vec<String>,
    /// Arguments of the entrypoint.
    pub cmd: Vec<String>,
    /// Variables that are part of the image.
    pub env: BTreeMap<String, String>,
    /// The folder that the container starts in.
    pub working_dir: Option<String>,
    /// The user that the container runs as.
    pub user: Option<String>,
    /// The Dockerfile that says all of it instead.
    pub dockerfile: Option<DockerfileConfig>,
    /// The folder of carrack.toml, absolute.
    pub directory: PathBuf,
}

/// An image that a Dockerfile describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileConfig {
    /// The Dockerfile, absolute.
    pub file: PathBuf,
    /// The folder that it copies from, absolute.
    pub context: PathBuf,
    /// The stage; `None` is the last one.
    pub target: Option<String>,
    /// Values for its ARGs.
    pub args: BTreeMap<String, String>,
}

/// One file or folder of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildFile {
    /// On this machine, absolute.
    pub from: PathBuf,
    /// In the image, absolute.
    pub to: String,
}

/// A named place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What `--to` takes.
    pub name: String,
    /// The cloud.
    pub provider: ProviderId,
    /// The project.
    pub project: String,
    /// The region.
    pub region: String,
    /// Where built images are pushed.
    pub repository: Option<String>,
    /// How a CI logs in.
    pub federation: Option<Federation>,
}

/// How a CI's own token is exchanged for the cloud's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation {
    /// Who vouches for the CI, by the cloud's name.
    pub provider: String,
    /// The account that it then speaks for.
    pub service_account: Option<String>,
}

/// Lays the target over the neutral part.
pub(crate) fn resolve(
    file: &File,
    name: &ServiceName,
    target: Option<(&str, &schema::Target)>,
    directory: &Path,
) -> Resolved {
    let over = target.map(|(_, target)| target);
    let image = image(file, name, over, directory);
    let mut spec = neutral(file);
    if let Some(over) = over {
        lay_over(&mut spec, file, over);
    }
    if let Some(ImageSource::Ref(reference)) = &image {
        spec.workload.main.image = Some(reference.clone());
    }
    let deploy = deploy(spec, file, over);
    Resolved {
        name: name.clone(),
        job: job::deploy(file, over, &deploy),
        deploy,
        image,
        target: target.map(|(name, target)| Target {
            name: name.to_owned(),
            provider: target.provider.value.clone(),
            project: target.project.value.0.clone(),
            region: target.region.value.0.clone(),
            repository: target.repository.as_ref().map(|at| at.value.0.clone()),
            federation: target.federation.as_ref().map(|at| Federation {
                provider: at.value.provider.value.0.clone(),
                service_account: at.value.service_account.as_ref().map(|at| at.value.0.clone()),
            }),
        }),
    }
}

fn deploy(spec: ServiceSpec, file: &File, over: Option<&schema::Target>) -> Deploy {
    let mut tables = Vec::new();
    if file.env.is_some() || over.is_some_and(|over| over.env.is_some()) {
        tables.push("env".to_owned());
    }
    if file.secrets.is_some() || over.is_some_and(|over| over.secrets.is_some()) {
        tables.push("secrets".to_owned());
    }
    if file.labels.is_some() || over.is_some_and(|over| over.labels.is_some()) {
        tables.push("labels".to_owned());
    }
    if file.annotations.is_some() || over.is_some_and(|over| over.annotations.is_some()) {
        tables.push("annotations".to_owned());
    }
    tables.extend(sidecars::tables(file, over));
    let exact = over.and_then(schema::Target::exact).or(file.exact());
    let mut exact: Vec<String> = exact
        .iter()
        .flat_map(|exact| &exact.value)
        .map(|table| table.value.0.clone())
        // A table that stands only in another target is not managed in this one.
        .filter(|table| tables.contains(table))
        .collect();
    exact.sort();
    exact.dedup();
    let cloud = over.and_then(|over| over.cloud_run.as_ref()).map(|cloud| cloud.value.0.clone());
    Deploy { cloud, rollout: rollout::resolve(file, over), ..Deploy::new(spec, tables, exact) }
}

fn neutral(file: &File) -> ServiceSpec {
    let mut spec = ServiceSpec::default();
    if let Some(At { value: service, .. }) = &file.service {
        spec.workload.main.command = service.command.as_ref().map(words);
        spec.workload.main.args = service.args.as_ref().map(words);
        spec.port = service.port.as_ref().map(|port| port.value.0);
        spec.public = service.public.as_ref().map(|public| public.value);
        spec.workload.main.depends_on = service.depends_on.as_ref().map(words);
        lay::service(&mut spec, service);
    }
    if let Some(At { value: job, .. }) = &file.job {
        job::lay_words(&mut spec, job.command.as_ref(), job.args.as_ref());
    }
    lay::parts(&mut spec, file.network.as_ref(), file.cloud_sql.as_ref(), file.annotations.as_ref());
    lay_tables(&mut spec, file.env.as_ref(), file.labels.as_ref());
    lay_secrets(&mut spec.workload.main, file.secrets.as_ref());
    lay_sizes(&mut spec, file.resources.as_ref(), file.scaling.as_ref());
    lay_health(&mut spec.workload.main.probes, file.health.as_ref());
    sidecars::lay(&mut spec.workload, None, file.sidecars.as_ref());
    sidecars::lay_volumes(&mut spec.workload, file.volumes.as_ref());
    spec
}

fn lay_over(spec: &mut ServiceSpec, file: &File, over: &schema::Target) {
    if let Some(At { value: service, .. }) = &over.service {
        let main = &mut spec.workload.main;
        put(&mut main.command, service.command.as_ref(), words);
        put(&mut main.args, service.args.as_ref(), words);
        put(&mut main.depends_on, service.depends_on.as_ref(), words);
        put(&mut spec.port, service.port.as_ref(), |port| port.value.0);
        put(&mut spec.public, service.public.as_ref(), |at| at.value);
        lay::service_override(spec, service);
    }
    lay::parts(spec, over.network.as_ref(), over.cloud_sql.as_ref(), over.annotations.as_ref());
    if let Some(At { value: job, .. }) = &over.job {
        job::lay_words(spec, job.command.as_ref(), job.args.as_ref());
    }
    let account = over.service_account.as_ref();
    spec.workload.service_account = account.map(|account| account.value.0.clone());
    replaced_secrets(&mut spec.workload.main, file.secrets.as_ref(), over.secrets.as_ref());
    lay_tables(spec, over.env.as_ref(), over.labels.as_ref());
    lay_secrets(&mut spec.workload.main, over.secrets.as_ref());
    lay_sizes(spec, over.resources.as_ref(), over.scaling.as_ref());
    lay_health(&mut spec.workload.main.probes, over.health.as_ref());
    sidecars::lay(&mut spec.workload, file.sidecars.as_ref(), over.sidecars.as_ref());
    sidecars::lay_volumes(&mut spec.workload, over.volumes.as_ref());
}

fn lay_tables(spec: &mut ServiceSpec, env: Option<&At<schema::Env>>, labels: Option<&At<schema::Labels>>) {
    lay_env(&mut spec.workload.main, env);
    for (key, text) in labels.iter().flat_map(|labels| &labels.value.map) {
        let value = text.value.0.clone();
        spec.workload.labels.insert(key.clone(), value);
    }
}

pub(super) fn lay_env<K>(container: &mut ContainerSpec, env: Option<&At<Entries<K, EnvText>>>) {
    for (name, text) in env.iter().flat_map(|env| &env.value.map) {
        container.env.insert(name.clone(), EnvValue::Plain(text.value.0.clone()));
    }
}

/// An entry is replaced as a whole: a file of the neutral part may be a variable, or another file, here.
pub(super) fn replaced_secrets(
    container: &mut ContainerSpec,
    neutral: Option<&At<Secrets>>,
    over: Option<&At<Secrets>>,
) {
    let replaced = |name: &str| over.is_some_and(|secrets| secrets.value.map.contains_key(name));
    for (name, entry) in neutral.iter().flat_map(|secrets| &secrets.value.map).filter(|(name, _)| replaced(name)) {
        match &entry.value.0.mount {
            Some(mount) => drop(container.mounts.remove(&mount.value.0)),
            None => drop(container.env.remove(name)),
        }
    }
}

pub(super) fn lay_secrets(container: &mut ContainerSpec, secrets: Option<&At<Secrets>>) {
    for (name, At { value: SecretEntry(secret), .. }) in secrets.iter().flat_map(|secrets| &secrets.value.map) {
        match &secret.mount {
            Some(mount) => drop(container.mounts.insert(mount.value.0.clone(), secret.reference())),
            None => drop(container.env.insert(name.clone(), EnvValue::Secret(secret.reference()))),
        }
    }
}

fn lay_sizes(spec: &mut ServiceSpec, resources: Option<&At<schema::Resources>>, scaling: Option<&At<schema::Scaling>>) {
    if let Some(At { value, .. }) = resources {
        let main = &mut spec.workload.main;
        put(&mut main.cpu, value.cpu.as_ref(), |cpu| cpu.value);
        put(&mut main.memory, value.memory.as_ref(), |at| at.value);
        put(&mut main.cpu_always, value.cpu_always.as_ref(), |at| at.value);
        put(&mut main.startup_boost, value.startup_boost.as_ref(), |at| at.value);
    }
    if let Some(At { value, .. }) = scaling {
        let scaling = &mut spec.scaling;
        put(&mut scaling.min, value.min.as_ref(), |at| at.value.0);
        put(&mut scaling.max, value.max.as_ref(), |at| at.value.0);
        let concurrency = value.concurrency.as_ref();
        put(&mut scaling.concurrency, concurrency, |at| at.value.0);
        lay::instances(scaling, value);
    }
}

pub(super) fn lay_health(probes: &mut Probes, health: Option<&At<schema::Health>>) {
    if let Some(At { value, .. }) = health {
        let startup = value.startup.as_ref().and_then(|at| probe(&at.value));
        let liveness = value.liveness.as_ref().and_then(|at| probe(&at.value));
        put(&mut probes.startup, startup, |probe| probe);
        let readiness = value.readiness.as_ref().and_then(|at| probe(&at.value));
        put(&mut probes.liveness, liveness, |probe| probe);
        put(&mut probes.readiness, readiness, |probe| probe);
    }
}

/// `None` only where nothing is checked, which the rules have refused.
fn probe(probe: &schema::Probe) -> Option<Probe> {
    let port = probe.port.as_ref().map(|port| port.value.0);
    let check = match (&probe.http, &probe.tcp, &probe.grpc) {
        (Some(path), _, _) => ProbeCheck::Http { path: path.value.0.clone(), port },
        (None, Some(tcp), _) => ProbeCheck::Tcp { port: tcp.value.0.or(port) },
        (None, None, Some(grpc)) => ProbeCheck::Grpc { port, service: grpc.value.0.clone() },
        (None, None, None) => return None,
    };
    let failures = probe.failures.as_ref().map(|failures| failures.value.0);
    Some(Probe {
        check,
        delay: probe.delay.as_ref().map(|at| at.value).unwrap_or_default(),
        period: probe.period.as_ref().map_or(DEFAULT_PERIOD, |at| at.value),
        timeout: probe.timeout.as_ref().map_or(DEFAULT_TIMEOUT, |at| at.value),
        failures: failures.unwrap_or(DEFAULT_FAILURES),
    })
}

fn image(file: &File, service: &ServiceName, over: Option<&schema::Target>, directory: &Path) -> Option<ImageSource> {
    let over = over.and_then(|over| over.image.as_ref());
    let image = file.image.as_ref().map(|image| &image.value);
    let reference = over.and_then(|image| image.value.r#ref.as_ref()).or(image.and_then(|image| image.r#ref.as_ref()));
    if let Some(reference) = reference {
        return Some(ImageSource::Ref(reference.value.clone()));
    }
    let (image, build) = (image?, &image?.build.as_ref()?.value);
    let default_name = || service.to_string();
    let files = build
        .files
        .iter()
        .flat_map(|files| &files.value)
        .map(|file| BuildFile { from: directory.join(&file.value.from.value.0), to: file.value.to.value.0.clone() });
    let env = build.env.iter().flat_map(|env| &env.value.map);
    let args = build.args.iter().flat_map(|args| &args.value.map);
    let dockerfile = build.dockerfile.as_ref().map(|file| DockerfileConfig {
        file: directory.join(&file.value.0),
        context: build.context.as_ref().map_or_else(|| directory.to_owned(), |at| directory.join(&at.value.0)),
        target: build.target.as_ref().map(|target| target.value.0.clone()),
        args: args.map(|(name, text)| (name.clone(), text.value.0.clone())).collect(),
    });
    Some(ImageSource::Build(BuildConfig {
        name: image.name.as_ref().map_or_else(default_name, |name| name.value.0.clone()),
        run: build.run.as_ref().map(|run| run.value.0.clone()),
        base: build.base.as_ref().map_or(SCRATCH, |base| &base.value.0).to_owned(),
        files: files.collect(),
        entrypoint: build.entrypoint.as_ref().map(words).unwrap_or_default(),
        cmd: build.cmd.as_ref().map(words).unwrap_or_default(),
        env: env.map(|(name, text)| (name.clone(), text.value.0.clone())).collect(),
        working_dir: build.working_dir.as_ref().map(|at| at.value.0.clone()),
        user: build.user.as_ref().map(|user| user.value.0.clone()),
        dockerfile,
        directory: directory.to_owned(),
    }))
}

pub(super) fn words(words: &At<Words>) -> Vec<String> {
    words.value.iter().map(|word| word.value.clone()).collect()
}

pub(super) fn put<S, T>(field: &mut Option<T>, value: Option<S>, convert: impl Fn(S) -> T) {
    if let Some(value) = value {
        *field = Some(convert(value));
    }
}
