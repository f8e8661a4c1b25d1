//! Every section and key of `carrack.toml`, with its type and description: the one place that lists them.
use std::time::Duration;

use carrack_core::spec::{Egress, ImageRef, Ingress, Mebibytes, MilliCpu, Protocol, ProviderId, ServiceName};
use serde_json::{Value as Json, json};

use super::{
    numbers::{Count, Failures, GrpcCheck, Port, TcpCheck},
    pass_through::PassThrough,
    read::{At, Entries, Read, section},
    rollout::Rollout,
    rules,
    secrets::Secrets,
    settings::{AnnotationKey, Description, Folder, NetworkName, NetworkTag, SqlInstance},
    sidecars::Sidecars,
    values::{
        Base, Command, EnvText, FederationProvider, HttpPath, ImageFile, ImageName, KeyedTable, LabelKey, LabelValue,
        LocalPath, Project, Region, Repository, ServiceAccount, ServiceVariable, SomeText, TargetName, Variable,
    },
    volumes::Volumes,
};

section! {
    /// The whole file.
    File checked_by rules::file {
        /// What runs, and answers requests.
        service: optional Service,
        /// What runs to its end, in place of a service.
        job: optional Job,
        /// What it runs: `ref`, or `name` and a build.
        image: optional Image,
        /// Environment variables of the service.
        env: optional Env,
        /// Environment variables and files whose values are secrets of the cloud's store.
        secrets: optional Secrets,
        /// Labels of the service.
        labels: optional Labels,
        /// Annotations of the service.
        annotations: optional Annotations,
        /// What one instance gets.
        resources: optional Resources,
        /// How many instances there are.
        scaling: optional Scaling,
        /// The way into a private network.
        network: optional Network,
        /// Cloud SQL instances, reached through sockets below `/cloudsql`. `[]` takes them away.
        cloud_sql: optional Vec<At<SqlInstance>>,
        /// Health checks.
        health: optional Health,
        /// Containers beside the main one.
        sidecars: optional Sidecars,
        /// What containers can mount, beside secrets.
        volumes: optional Volumes,
        /// How the traffic goes over to a new revision. Absent: all of it at once.
        rollout: optional Rollout,
        /// Named places to deploy to.
        targets: optional Entries<TargetName, Target>,
    }
}

pub(crate) type Env = Entries<ServiceVariable, EnvText>;
pub(crate) type Annotations = Entries<AnnotationKey, String>;
pub(crate) type Labels = Entries<LabelKey, LabelValue>;
pub(crate) type Words = Vec<At<String>>;

section! {
    /// `[service]`
    Service {
        /// The service's name: 1 to 49 of a-z, 0-9 and `-`, with a letter first and no `-` at the end.
        name: required ServiceName,
        /// The port that the container listens on. It is told to it as `PORT`.
        port: optional Port,
        /// Whether anyone may call it. Absent keeps what is live; a new service is private.
        public: optional bool,
        /// Replaces the image's entrypoint.
        command: optional Words,
        /// Replaces the image's arguments.
        args: optional Words,
        /// The folder that the container starts in. `""` is the image's own.
        working_dir: optional Folder,
        /// What the container speaks on its port: `http1`, or `h2c` for HTTP/2 without TLS, as gRPC needs it.
        protocol: optional Protocol,
        /// How long a request may take.
        timeout: optional Duration,
        /// From where the service is reached: `all`, `internal`, `internal-and-load-balancer` or `none`.
        ingress: optional Ingress,
        /// Whether a caller's requests go to the same instance where that can be.
        session_affinity: optional bool,
        /// A text for people. `""` takes it away.
        description: optional Description,
        /// Whether it answers at the name that the cloud gives it.
        default_url: optional bool,
        /// What callers' ID tokens may be for, beside the service's own address. `[]` takes them away.
        audiences: optional Vec<At<SomeText>>,
        /// Whether callers are checked at all. Without it the service is open to anyone, whatever the access policy says.
        invoker_check: optional bool,
        /// How the cloud isolates the container: `gen1` or `gen2`.
        execution_environment: optional SomeText,
        /// The sidecars that have to be up before the service's own container starts, by their names.
        depends_on: optional Words,
        /// Sections whose other live entries are removed: `env`, `secrets`, `labels`, `annotations`, `volumes`, `sidecars`.
        exact: optional Vec<At<KeyedTable>>,
    }
}

section! {
    /// `[job]`
    Job {
        /// The job's name: 1 to 49 of a-z, 0-9 and `-`, with a letter first and no `-` at the end.
        name: required ServiceName,
        /// How many times it is done in one execution. A task finds its index, from 0, in CLOUD_RUN_TASK_INDEX.
        tasks: optional Count,
        /// How many tasks run at the same time, at the most; 0 is as many as there can be.
        parallelism: optional Count,
        /// How often a task that failed is tried again.
        retries: optional Count,
        /// How long one attempt at a task may take.
        timeout: optional Duration,
        /// Replaces the image's entrypoint.
        command: optional Words,
        /// Replaces the image's arguments.
        args: optional Words,
        /// Sections whose other live entries are removed: `env`, `secrets`, `labels`.
        exact: optional Vec<At<KeyedTable>>,
    }
}

section! {
    /// `[targets.NAME.job]`: as `[job]`, without its name.
    JobOverride {
        /// How many times it is done in one execution.
        tasks: optional Count,
        /// How many tasks run at the same time, at the most; 0 is as many as there can be.
        parallelism: optional Count,
        /// How often a task that failed is tried again.
        retries: optional Count,
        /// How long one attempt at a task may take.
        timeout: optional Duration,
        /// Replaces the image's entrypoint.
        command: optional Words,
        /// Replaces the image's arguments.
        args: optional Words,
        /// Sections whose other live entries are removed: `env`, `secrets`, `labels`.
        exact: optional Vec<At<KeyedTable>>,
    }
}

impl File {
    /// The name of what runs; there is one in every file without errors.
    pub(crate) fn name(&self) -> Option<&ServiceName> {
        let service = self.service.as_ref().map(|service| &service.value.name);
        service.or(self.job.as_ref().map(|job| &job.value.name)).map(|name| &name.value)
    }

    /// The sections that it makes authoritative.
    pub(crate) fn exact(&self) -> Option<&At<Vec<At<KeyedTable>>>> {
        let service = self.service.as_ref().and_then(|service| service.value.exact.as_ref());
        service.or(self.job.as_ref().and_then(|job| job.value.exact.as_ref()))
    }
}

impl Target {
    /// The same, of one target.
    pub(crate) fn exact(&self) -> Option<&At<Vec<At<KeyedTable>>>> {
        let service = self.service.as_ref().and_then(|service| service.value.exact.as_ref());
        service.or(self.job.as_ref().and_then(|job| job.value.exact.as_ref()))
    }
}

section! {
    /// `[targets.NAME.service]`: as `[service]`, without its name.
    ServiceOverride {
        /// The port that the container listens on. It is told to it as `PORT`.
        port: optional Port,
        /// Whether anyone may call it. Absent keeps what is live; a new service is private.
        public: optional bool,
        /// Replaces the image's entrypoint.
        command: optional Words,
        /// Replaces the image's arguments.
        args: optional Words,
        /// The folder that the container starts in. `""` is the image's own.
        working_dir: optional Folder,
        /// What the container speaks on its port: `http1`, or `h2c` for HTTP/2 without TLS, as gRPC needs it.
        protocol: optional Protocol,
        /// How long a request may take.
        timeout: optional Duration,
        /// From where the service is reached: `all`, `internal`, `internal-and-load-balancer` or `none`.
        ingress: optional Ingress,
        /// Whether a caller's requests go to the same instance where that can be.
        session_affinity: optional bool,
        /// A text for people. `""` takes it away.
        description: optional Description,
        /// Whether it answers at the name that the cloud gives it.
        default_url: optional bool,
        /// What callers' ID tokens may be for, beside the service's own address. `[]` takes them away.
        audiences: optional Vec<At<SomeText>>,
        /// Whether callers are checked at all. Without it the service is open to anyone, whatever the access policy says.
        invoker_check: optional bool,
        /// How the cloud isolates the container: `gen1` or `gen2`.
        execution_environment: optional SomeText,
        /// The sidecars that have to be up before the service's own container starts, by their names.
        depends_on: optional Words,
        /// Sections whose other live entries are removed: `env`, `secrets`, `labels`, `annotations`, `volumes`, `sidecars`.
        exact: optional Vec<At<KeyedTable>>,
    }
}

section! {
    /// `[image]`
    Image checked_by rules::image {
        /// An image that exists: HOST/PATH@sha256:… or HOST/PATH:TAG.
        r#ref: optional ImageRef,
        /// The name of the image that is built, below the target's repository. Default: the service's name.
        name: optional ImageName,
        /// How the image is built.
        build: optional Build,
    }
}

section! {
    /// `[targets.NAME.image]`
    ImageOverride {
        /// An image that exists: HOST/PATH@sha256:… or HOST/PATH:TAG. It takes the place of a build.
        r#ref: optional ImageRef,
    }
}

section! {
    /// `[image.build]`
    Build checked_by rules::build {
        /// A command that makes the files, run in this file's folder.
        run: optional Command,
        /// What the image starts from: `scratch`, which is empty, or an image of any registry.
        base: optional Base,
        /// What is copied into the image.
        files: optional Vec<At<BuildFile>>,
        /// What the container runs.
        entrypoint: optional Words,
        /// Arguments of the entrypoint.
        cmd: optional Words,
        /// Environment variables that are part of the image.
        env: optional Entries<Variable, EnvText>,
        /// The folder that the container starts in. Default: `/`.
        working_dir: optional ImageFile,
        /// The user that the container runs as: a name or number, also with a group (`1000:1000`).
        user: optional SomeText,
        /// A Dockerfile instead of all that, built by Docker, Podman or Buildah.
        dockerfile: optional LocalPath,
        /// With a Dockerfile: the folder that it copies from. Default: this file's folder.
        context: optional LocalPath,
        /// With a Dockerfile: the stage that is built. Default: the last one.
        target: optional SomeText,
        /// With a Dockerfile: values for its ARGs. They are not secret: the image's history can show them.
        args: optional Entries<Variable, EnvText>,
    }
}

section! {
    /// One entry of `files`.
    BuildFile {
        /// A file or folder, relative to this file's folder.
        from: required LocalPath,
        /// Its absolute path in the image.
        to: required ImageFile,
    }
}

section! {
    /// `[resources]`
    Resources {
        /// CPUs: `1`, `0.5` or `"500m"`.
        cpu: optional MilliCpu,
        /// Memory: `"512MiB"` or `"1GiB"`.
        memory: optional Mebibytes,
        /// Whether the container has its CPU also between requests, and it is paid for all the time.
        cpu_always: optional bool,
        /// Whether it gets more CPU while it starts.
        startup_boost: optional bool,
    }
}

section! {
    /// `[scaling]`
    Scaling {
        /// Instances kept warm.
        min: optional Count,
        /// Instances at the most.
        max: optional Count,
        /// Requests that one instance takes at the same time.
        concurrency: optional Count,
        /// This many instances, whatever the traffic; in place of `min` and `max`.
        instances: optional Count,
    }
}

section! {
    /// `[network]`
    Network {
        /// A connector, in place of a network. `""` takes it away.
        connector: optional NetworkName,
        /// The network that instances are part of. `""` takes it away.
        network: optional NetworkName,
        /// Its subnet. `""` takes it away.
        subnet: optional NetworkName,
        /// Network tags of the instances. `[]` takes them away.
        tags: optional Vec<At<NetworkTag>>,
        /// What takes this way: `private-ranges`, or `all`.
        egress: optional Egress,
    }
}

section! {
    /// `[health]`
    Health {
        /// Until it passes the container gets no request.
        startup: optional Probe,
        /// When it fails the container is restarted.
        liveness: optional Probe,
        /// While it fails the instance gets no new request.
        readiness: optional Probe,
    }
}

section! {
    /// One health check.
    Probe checked_by rules::probe {
        /// Asks this path; passes on a status from 200 to 399.
        http: optional HttpPath,
        /// Connects: to this port, or with `true` to the service's own.
        tcp: optional TcpCheck,
        /// Asks the gRPC health service: with `true` for the whole server, else for the service of this name.
        grpc: optional GrpcCheck,
        /// Another port than the service's own.
        port: optional Port,
        /// Between two checks. Default: 10s.
        period: optional Duration,
        /// For one check. Default: 1s.
        timeout: optional Duration,
        /// How many checks must fail in a row. Default: 3.
        failures: optional Failures,
        /// Wait before the first check. Default: 0s.
        delay: optional Duration,
    }
}

section! {
    /// `[targets.NAME]`: where, and what is different there.
    Target checked_by rules::target {
        /// The cloud: `cloud-run`.
        provider: required ProviderId,
        /// The project's id.
        project: required Project,
        /// The region, such as `us-central1`.
        region: required Region,
        /// The account that the container runs as, by its email address.
        service_account: optional ServiceAccount,
        /// Where built images are pushed: HOST/PATH.
        repository: optional Repository,
        /// How a CI logs in, without a key.
        federation: optional Federation,
        /// Overrides keys of [service].
        service: optional ServiceOverride,
        /// Overrides keys of [job].
        job: optional JobOverride,
        /// Overrides [image].
        image: optional ImageOverride,
        /// Adds to [env] and overrides its entries.
        env: optional Env,
        /// Adds to [secrets] and overrides its entries, each as a whole.
        secrets: optional Secrets,
        /// Adds to [labels] and overrides its entries.
        labels: optional Labels,
        /// Adds to [annotations] and overrides its entries.
        annotations: optional Annotations,
        /// Overrides keys of [resources].
        resources: optional Resources,
        /// Overrides keys of [scaling]; a range takes the place of a fixed number, and the other way round.
        scaling: optional Scaling,
        /// Overrides keys of [network]; a connector takes the place of a network, and the other way round.
        network: optional Network,
        /// Takes the place of the neutral list.
        cloud_sql: optional Vec<At<SqlInstance>>,
        /// Overrides health checks of [health], each as a whole.
        health: optional Health,
        /// Adds to [sidecars], and overrides keys of those that are in it.
        sidecars: optional Sidecars,
        /// Adds to [volumes] and overrides its entries, each as a whole.
        volumes: optional Volumes,
        /// Overrides keys of [rollout].
        rollout: optional Rollout,
        /// What no key of Carrack's says: fields of the service in Cloud Run's own JSON.
        cloud_run: optional PassThrough,
    }
}

section! {
    /// `[targets.NAME.federation]`
    Federation {
        /// Who vouches for the CI: projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER.
        provider: required FederationProvider,
        /// The account that the CI then speaks for, by its email address. Default: the federated identity itself.
        service_account: optional ServiceAccount,
    }
}

/// The JSON Schema of `carrack.toml`, for editors.
pub fn json_schema() -> Json {
    let mut schema = File::schema();
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("title".to_owned(), json!("carrack.toml"));
        object.insert("description".to_owned(), json!("What a service or a job is, and where it runs."));
        object.insert("oneOf".to_owned(), json!([{ "required": ["service"] }, { "required": ["job"] }]));
    }
    schema
}
