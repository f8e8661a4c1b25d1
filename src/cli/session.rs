//! What every command starts from: the file, the target, the connection, the output.
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use carrack_core::{
    Error, ErrorKind, Result,
    capability::{check, check_rollout},
    event::Ctx,
    job::check_job,
    pace::Pace,
    permission::{Subject, Task},
    plan::ResourceRef,
    poll::bounded,
    provider::Provider,
    receipt::Stamp,
    spec::{ImageRef, ProviderId, ServiceName, ServiceRef, ServiceSpec},
};
use serde::Serialize;
use serde_json::Value;
use tokio::{sync::OnceCell, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Common, FILE,
    error::{self, Failure},
    git,
    settings::{Environment, Format, quoted, this_command},
    ui::{self, Ui},
};
use crate::{
    config::{BuildConfig, Diagnostics, Federation, ImageSource, Loaded, Resolved, SCRATCH, Source, load},
    image::{self, Base, BuildSpec, DockerConfig, DockerfileSpec, FileCopy, Platform, Recipe},
    ops::{
        deploy::{Image, Request},
        deploy_secrets,
        image::Images,
        permissions,
        registries::Registries,
    },
    registry::{
        Access, Connection, Connections, LOCAL_PROJECT, LOCAL_PROVIDER, LOCAL_REGION, Place, capabilities,
        default_repository, refusals,
    },
};

/// One run of the program; of several services, one service's part of it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) common: Common,
    pub(super) environment: Environment,
    pub(super) cx: Ctx,
    pub(super) ui: Ui,
    report: Option<Value>,
    /// Of several services: what is printed when all have ended.
    data: Option<Mutex<Vec<String>>>,
    shared: Arc<Shared>,
}

/// What all services of one run have together.
#[derive(Debug, Default)]
struct Shared {
    connections: Connections,
    images: Arc<Images>,
    /// The local cloud is looked for, and started, once.
    local: OnceCell<Access>,
    /// One question at a time.
    asking: tokio::sync::Mutex<()>,
}

/// The file, read for one target.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) loaded: Loaded,
    pub(super) resolved: Resolved,
    pub(super) target: Option<String>,
    pub(super) place: Place,
}

impl Session {
    pub(super) fn new(common: Common, environment: Environment, cancel: CancellationToken) -> (Self, JoinHandle<()>) {
        let ui = Ui::new(&common, &environment);
        let (events, consumer) = ui::consume(&ui);
        let deadline = common.timeout.map(|timeout| Instant::now() + timeout);
        let cx = Ctx { events, cancel, deadline, stamp: Stamp::default(), pace: Pace::default() };
        (Self { common, environment, cx, ui, report: None, data: None, shared: Arc::default() }, consumer)
    }

    /// The part of one file and its targets.
    pub(super) fn of(&self, file: &Path, target: Vec<String>) -> Self {
        Self {
            common: Common { file: vec![file.to_owned()], target, ..self.common.clone() },
            environment: self.environment.clone(),
            cx: self.cx.clone(),
            ui: self.ui.clone(),
            report: None,
            data: Some(Mutex::default()),
            shared: Arc::clone(&self.shared),
        }
    }

    /// What this part says from here on is said of `label`.
    pub(super) fn call(&mut self, label: &str) {
        self.cx.events = self.cx.events.about(label);
        self.ui = self.ui.about(label);
    }

    /// Several files or targets are named.
    pub(super) fn is_several(&self) -> bool {
        self.common.file.len() > 1 || self.common.target.len() > 1
    }

    /// The file; of several the first.
    pub(super) fn file(&self) -> &Path {
        self.common.file.first().map_or(Path::new(FILE), PathBuf::as_path)
    }

    /// The target that was named; of several the first.
    pub(super) fn target(&self) -> Option<&str> {
        self.common.target.first().map(String::as_str)
    }

    /// Lets the last events out, prints the failure, and gives the exit code.
    pub(super) async fn finish(self, result: Result<u8, Failure>, consumer: JoinHandle<()>) -> u8 {
        let place = result.as_ref().err().and_then(|failure| self.place(failure));
        let Self { cx, ui, report, shared, .. } = self;
        // Whoever gets tokens holds on to the events too.
        drop((cx, shared));
        let _ = consumer.await;
        if let (Ok(code), Some(report)) = (&result, report) {
            ui.report(report, *code);
        }
        let result = match (result, ui.broken()) {
            (Ok(_), Some(kind)) if kind != std::io::ErrorKind::BrokenPipe => {
                Err(Error::new(ErrorKind::Unclassified, format!("the results could not be written: {kind}")).into())
            }
            (result, _) => result,
        };
        match result {
            Ok(code) => code,
            Err(failure) => {
                ui.failure(&failure, place);
                failure.exit_code()
            }
        }
    }

    /// Where in the file the failure can be mended, for an annotation there.
    pub(super) fn place(&self, failure: &Failure) -> Option<Diagnostics> {
        let Failure::Error(error) = failure else { return None };
        let field = error::field(error).filter(|_| self.ui.wants_places())?;
        let loaded = self.load().ok()?;
        let target = self.choose(&loaded, self.target()).ok().flatten();
        let (_, text) = error::in_short(error, &this_command());
        let mut short = Error::new(error.kind(), text).at_field(field);
        if let Some(cause) = error.why() {
            short = short.with_cause(cause.clone());
        }
        Some(loaded.locate(target.as_deref(), &short))
    }

    /// A result for people, on stdout, after everything that was said before it.
    pub(super) async fn data(&self, text: &str) {
        if let Some(data) = &self.data {
            data.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
            return;
        }
        self.cx.events.flushed().await;
        self.ui.data(text);
    }

    /// The last line of JSON output; printed when every event is out.
    pub(super) fn report(&mut self, report: impl Serialize) {
        self.report = serde_json::to_value(report).ok();
    }

    /// The report so far, for the one report of several.
    pub(super) fn take_report(&mut self) -> Option<Value> {
        self.report.take()
    }

    /// What was to be printed, for when all have ended.
    pub(super) fn take_data(&mut self) -> String {
        let data = self.data.take().map(|data| data.into_inner().unwrap_or_else(PoisonError::into_inner));
        data.unwrap_or_default().join("\n")
    }

    /// Reads the file.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        let path = self.file().to_owned();
        let text = std::fs::read_to_string(&path).map_err(|e| {
            let missing = e.kind() == std::io::ErrorKind::NotFound;
            let error =
                Error::new(ErrorKind::ConfigInvalid, format!("cannot read `{}`", path.display())).with_source(e);
            if missing { error.hint("run `carrack init`, or name the file with `-f FILE`") } else { error }
        })?;
        let environment = &self.environment;
        Ok(load(Source { path, text }, &|name: &str| environment.exact(name))?)
    }

    /// There is no file by its usual name, and no other was named.
    pub(super) fn file_is_missing(&self) -> bool {
        self.file() == Path::new(FILE) && !self.file().exists() && self.target().is_none()
    }

    /// Reads and checks the file for the one target, or the one that `--to` names. Sends nothing.
    pub(super) fn project(&self) -> Result<Project, Failure> {
        let loaded = self.load()?;
        let target = self.choose(&loaded, self.target())?;
        self.resolve(loaded, target)
    }

    /// The same, where the file has to be of a job.
    pub(super) fn job_project(&self) -> Result<Project, Failure> {
        let project = self.project()?;
        if project.resolved.job.is_none() {
            let name = &project.resolved.name;
            return Err(Error::new(
                ErrorKind::Usage,
                format!("`{name}` is a service, and this takes a file with [job]"),
            )
            .hint("name the job's own file: `-f FILE`")
            .into());
        }
        Ok(project)
    }

    /// The file for this target, or its neutral part. Sends nothing.
    pub(super) fn resolve(&self, loaded: Loaded, target: Option<String>) -> Result<Project, Failure> {
        let resolved = loaded.resolve(target.as_deref())?;
        let place = match &resolved.target {
            Some(target) => Place {
                provider: target.provider.clone(),
                scope: target.project.clone(),
                region: target.region.clone(),
                federation: target.federation.clone(),
            },
            None => Place {
                provider: ProviderId(LOCAL_PROVIDER.into()),
                scope: LOCAL_PROJECT.into(),
                region: LOCAL_REGION.into(),
                federation: None,
            },
        };
        let project = Project { loaded, resolved, target, place };
        let capabilities = capabilities(&project.place.provider)?;
        let mut refused = match &project.resolved.job {
            Some(job) => check_job(&capabilities, &job.spec),
            None => check(&capabilities, &project.resolved.deploy.spec),
        };
        refused.extend(refusals(&project.place.provider, &project.resolved.deploy));
        if project.resolved.deploy.rollout.is_some() {
            refused.extend(check_rollout(&capabilities, &project.resolved.name));
        }
        if !refused.is_empty() {
            let located = |error| project.loaded.locate(project.target.as_deref(), error).0;
            let mut all: Vec<_> = refused.iter().flat_map(located).collect();
            all.sort_by_key(|one| one.span().start);
            return Err(Failure::Diagnostics(Diagnostics(all)));
        }
        Ok(project)
    }

    /// The target of this name, or the only one.
    pub(super) fn choose(&self, loaded: &Loaded, named: Option<&str>) -> Result<Option<String>> {
        let names = loaded.target_names();
        let list = || names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match (named, names.as_slice()) {
            (Some(asked), _) if names.contains(&asked) => Ok(Some(asked.to_owned())),
            (Some(asked), []) => {
                Err(Error::new(ErrorKind::Usage, format!("there is no target `{asked}`: the file has none"))
                    .hint(format!("add [targets.{asked}] with provider, project and region")))
            }
            (Some(asked), _) => Err(Error::new(ErrorKind::Usage, format!("there is no target `{asked}`"))
                .hint(format!("use one of {}", list()))),
            (None, [one]) => Ok(Some((*one).to_owned())),
            (None, []) if self.common.local => Ok(None),
            (None, []) => Err(Error::new(ErrorKind::Usage, "the file names no target")
                .hint("add [targets.prod] with provider, project and region")
                .hint("or deploy to the local cloud, with no account: `carrack deploy --local`")),
            (None, _) => Err(Error::new(ErrorKind::Usage, format!("the file names several targets: {}", list()))
                .hint(format!("choose one: `--to {}`", names[0]))),
        }
    }

    /// The file's place; where there is no file, one that only credentials are asked for.
    pub(super) fn place_or_default(&self) -> Result<Place, Failure> {
        if self.target().is_some() || self.file().exists() {
            return Ok(self.project()?.place);
        }
        Ok(Place {
            provider: ProviderId(LOCAL_PROVIDER.into()),
            scope: LOCAL_PROJECT.into(),
            region: LOCAL_REGION.into(),
            federation: None,
        })
    }

    /// How the file has a CI log in to where a saved plan goes. A plan needs no file, so a missing one is no error.
    pub(super) fn federation_of(&self, planned: &ServiceRef) -> Option<Federation> {
        let loaded = self.load().ok()?;
        let names: Vec<String> = loaded.target_names().into_iter().map(str::to_owned).collect();
        names.iter().find_map(|name| {
            let target = loaded.resolve(Some(name)).ok()?.target?;
            let same = (&target.provider, &target.project, &target.region)
                == (&planned.provider, &planned.scope, &planned.region);
            target.federation.filter(|_| same)
        })
    }

    /// The provider of a place. Starts the local cloud under `--local` when none runs.
    pub(super) async fn connect(&self, place: &Place) -> Result<Connection> {
        let access = if self.common.local {
            self.shared.local.get_or_try_init(|| self.local()).await?.clone()
        } else if let Some(endpoint) = self.environment.access()? {
            endpoint
        } else {
            self.environment.check_proxies()?;
            let impersonate = self.common.impersonate.as_deref();
            Access::Cloud(self.environment.credentials(impersonate, place.federation.as_ref())?)
        };
        self.shared.connections.connect(place, &access)
    }

    #[cfg(all(feature = "local", target_os = "linux"))]
    async fn local(&self) -> Result<Access> {
        super::local::access(self).await
    }

    #[cfg(not(all(feature = "local", target_os = "linux")))]
    async fn local(&self) -> Result<Access> {
        Err(Error::new(ErrorKind::Unsupported, "this build has no local cloud")
            .hint("use Linux and the feature `local`")
            .hint(
                "or name one that runs elsewhere with CARRACK_ENDPOINT and CARRACK_ENDPOINT_TOKEN, without `--local`",
            ))
    }

    /// How registries are reached.
    pub(super) fn ways(&self, connection: &Connection) -> Registries {
        let docker = self.environment.docker_config().map(DockerConfig::at).unwrap_or_default();
        Registries::new(Arc::clone(&connection.provider), connection.http.clone(), docker)
    }

    /// Stamps receipts with the commit of the file's folder.
    pub(super) async fn stamp(&mut self) {
        let folder = self.file().parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.cx.stamp.commit = git::commit(folder).await;
    }

    /// Built images are kept here.
    pub(super) fn layout(&self) -> Result<PathBuf> {
        Ok(self.environment.state_dir()?.join("images"))
    }

    /// How the file's image is built, or an error that says that it is not.
    pub(super) fn recipe(&self, project: &Project) -> Result<Recipe, Failure> {
        match &project.resolved.image {
            Some(ImageSource::Build(config)) => Ok(self.to_recipe(config)?),
            _ => Err(Error::new(ErrorKind::ConfigInvalid, "the file does not say how to build an image")
                .at_field("image")
                .hint("add [image.build] with files and entrypoint, or with a dockerfile")
                .into()),
        }
    }

    /// Refuses an image that can never be good, before anything is sent or started.
    pub(super) fn check_image(&self, project: &Project) -> Result<(), Failure> {
        match &project.resolved.image {
            Some(ImageSource::Build(config)) => {
                image::check(&self.to_recipe(config)?).map_err(|error| self.located(project, error))
            }
            _ => Ok(()),
        }
    }

    fn to_recipe(&self, config: &BuildConfig) -> Result<Recipe> {
        // The clouds run amd64; the local cloud also runs what this machine is.
        let platform = if self.common.local { Platform::host() } else { Platform::LinuxAmd64 };
        let source_date_epoch = self.environment.get("SOURCE_DATE_EPOCH").map(image::source_date_epoch).transpose()?;
        if let Some(dockerfile) = &config.dockerfile {
            return Ok(Recipe::Dockerfile(Box::new(DockerfileSpec {
                name: config.name.clone(),
                run: config.run.clone(),
                file: dockerfile.file.clone(),
                context: dockerfile.context.clone(),
                target: dockerfile.target.clone(),
                args: dockerfile.args.clone(),
                platform,
                directory: config.directory.clone(),
                source_date_epoch,
            })));
        }
        Ok(Recipe::Files(Box::new(BuildSpec {
            name: config.name.clone(),
            run: config.run.clone(),
            base: match config.base.as_str() {
                SCRATCH => Base::Scratch,
                name => Base::Image(ImageRef(name.to_owned())),
            },
            files: config.files.iter().map(|file| FileCopy { from: file.from.clone(), to: file.to.clone() }).collect(),
            entrypoint: config.entrypoint.clone(),
            cmd: config.cmd.clone(),
            env: config.env.clone(),
            working_dir: config.working_dir.clone(),
            user: config.user.clone(),
            platform,
            directory: config.directory.clone(),
            source_date_epoch,
        })))
    }

    /// An error that names a field is shown at its place in the file.
    pub(super) fn located(&self, project: &Project, error: Error) -> Failure {
        let in_file = error.field().is_some() && error.request().is_none() && error.resource().is_none();
        let of_secret = error.field().is_some_and(|field| field.starts_with("secrets."));
        if in_file && (of_secret || error.kind() == ErrorKind::ConfigInvalid) {
            let all = std::iter::once(&error).chain(error.others());
            let all = all.flat_map(|error| project.loaded.locate(project.target.as_deref(), error).0);
            Failure::Diagnostics(Diagnostics(all.collect()))
        } else {
            error.into()
        }
    }

    /// Asks on the terminal; `--yes` answers, and without a terminal it is an error.
    pub(super) async fn confirm(&self, what: &str, resource: &ResourceRef) -> Result<bool> {
        if self.common.yes {
            return Ok(true);
        }
        if !self.ui.can_ask() {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("refusing to {what} {} `{}` without a confirmation", resource.kind, resource.name),
            )
            .hint("add `--yes`"));
        }
        self.asked(format!("{what} {} `{}`?", resource.kind, resource.name)).await
    }

    /// The answer to a question on the terminal; one is asked at a time, and the others go on meanwhile.
    pub(super) async fn asked(&self, question: String) -> Result<bool> {
        let _one = self.shared.asking.lock().await;
        self.cx.events.flushed().await;
        let ui = self.ui.clone();
        let answer = bounded(&self.cx, "the answer", tokio::task::spawn_blocking(move || ui.ask(&question))).await?;
        Ok(answer.unwrap_or(false))
    }

    /// The deploy that file and flags ask for. `image` replaces what the file says.
    pub(super) fn request<'a>(
        &self,
        project: &Project,
        connection: &'a Connection,
        ways: &'a Registries,
        image: Option<String>,
    ) -> Result<Request<'a>, Failure> {
        Ok(Request {
            provider: &*connection.provider,
            ways,
            name: project.resolved.name.clone(),
            deploy: project.resolved.deploy.clone(),
            job: project.resolved.job.clone(),
            image: self.image(project, connection, image)?,
            chosen: false,
            secrets: deploy_secrets::Options { grant: false, flags: self.flags() },
        })
    }

    /// The flags by which another command finds the same place, as they are typed.
    pub(super) fn flags(&self) -> String {
        let (file, target, local) = (self.file(), self.target(), &self.common.local);
        let mut flags = String::new();
        if *local {
            flags += " --local";
        }
        if let Some(target) = target {
            flags += &format!(" --to {target}");
        }
        if file != Path::new(FILE) {
            flags += &format!(" -f {}", quoted(&file.to_string_lossy()));
        }
        flags
    }

    fn image(&self, project: &Project, connection: &Connection, image: Option<String>) -> Result<Image, Failure> {
        if let Some(text) = image {
            return Ok(Image::Ref(ImageRef(text)));
        }
        Ok(match &project.resolved.image {
            None => Image::Keep,
            Some(ImageSource::Ref(image)) => Image::Ref(image.clone()),
            Some(ImageSource::Build(config)) => Image::Build {
                recipe: self.to_recipe(config)?,
                layout: self.layout()?,
                repository: repository(project, connection, &config.name),
                images: Arc::clone(&self.shared.images),
            },
        })
    }

    pub(super) fn json(&self) -> bool {
        self.common.format == Format::Json
    }
}

/// What a command is about, for the permissions that it needs.
#[derive(Debug)]
pub(super) struct Matter {
    name: ServiceName,
    spec: ServiceSpec,
    push: Option<ImageRef>,
    base: Option<ImageRef>,
    secret: Option<String>,
    job: bool,
}

impl Matter {
    /// What the file says of it. Sends nothing.
    pub(super) fn new(project: &Project, secret: Option<String>) -> Result<Self> {
        let Resolved { name, deploy, job, image, target } = &project.resolved;
        let (mut push, mut base) = (None, None);
        if let Some(ImageSource::Build(config)) = image {
            let repository = match target.as_ref().and_then(|target| target.repository.as_ref()) {
                Some(repository) => format!("{repository}/{}", config.name),
                None => default_repository(&project.place, &config.name)?,
            };
            push = Some(ImageRef(repository));
            base = (config.dockerfile.is_none() && config.base != SCRATCH).then(|| ImageRef(config.base.clone()));
        }
        Ok(Self { name: name.clone(), spec: deploy.spec.clone(), push, base, secret, job: job.is_some() })
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            push: self.push.as_ref(),
            base: self.base.as_ref(),
            secret: self.secret.as_deref(),
            job: self.job,
            ..Subject::new(&self.name, &self.spec)
        }
    }
}

/// The refusal of a command, with the permission that is missing and the command that grants it.
pub(super) async fn explained(
    session: &Session,
    project: &Project,
    provider: &dyn Provider,
    task: Task,
    error: Error,
) -> Error {
    match Matter::new(project, None) {
        Ok(matter) => permissions::explained(&session.cx, provider, task, &matter.subject(), error).await,
        Err(_) => error,
    }
}

/// `HOST/PATH` for an image of this name.
pub(super) fn repository(project: &Project, connection: &Connection, name: &str) -> String {
    match project.resolved.target.as_ref().and_then(|target| target.repository.as_ref()) {
        Some(repository) => format!("{repository}/{name}"),
        None => connection.provider.registry().default_repository(name),
    }
}
