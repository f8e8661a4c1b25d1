//! `carrack ci …`: pipelines, and what lets them in.
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use carrack_core::{
    Error, ErrorKind,
    permission::{Subject, Task},
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::{
    ci::{self, Host, Kind, Names, Pipeline, Setup},
    cli::{
        error::Failure,
        session::{Matter, Project, Session},
        settings::quoted,
    },
    config::{ImageSource, Target, check_federation_provider},
    registry::permissions,
};

/// Options of `carrack ci`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack ci setup github --repository me/shop > setup.sh
  carrack ci setup github --repository me/shop --as terraform > carrack.tf
  carrack ci init github
  carrack ci init gitlab --print
  carrack ci init script --out ci/deploy.sh")]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a pipeline: a plan for each change, and a deploy of exactly that plan on the main branch
    Init(Init),
    /// Print what an owner runs once, so that the pipeline needs no key
    Setup(SetUp),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InitKind {
    /// `.github/workflows/carrack.yml`
    Github,
    /// `.gitlab-ci.yml`
    Gitlab,
    /// `carrack-ci.sh`, for any other CI
    Script,
}

#[derive(Debug, Args)]
struct Init {
    /// For which CI
    kind: InitKind,
    /// Where to; else where that CI looks for it
    #[arg(long, value_name = "FILE", conflicts_with = "print")]
    out: Option<PathBuf>,
    /// Print it, and write nothing
    #[arg(long)]
    print: bool,
    /// The branch whose commits are deployed
    #[arg(long, default_value = "main")]
    branch: String,
    /// What pool and accounts are called, as in `ci setup`
    #[arg(long, default_value = NAME)]
    name: String,
    /// `projects/N/locations/global/workloadIdentityPools/P/providers/R`; else the file's, else the variable CARRACK_FEDERATION_PROVIDER
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The command that puts `carrack` on PATH; else cargo builds it from its repository
    #[arg(long, value_name = "COMMAND")]
    install: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HostKind {
    /// GitHub Actions
    Github,
    /// GitLab CI
    Gitlab,
}

/// How it is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// A script of gcloud's commands
    Gcloud,
    /// A file for Terraform
    Terraform,
}

#[derive(Debug, Args)]
struct SetUp {
    /// Whose tokens are trusted
    host: HostKind,
    /// The repository, as in its address: `OWNER/NAME`
    #[arg(long, value_name = "OWNER/NAME")]
    repository: String,
    /// The branch whose commits are deployed
    #[arg(long, default_value = "main")]
    branch: String,
    /// What pool and accounts are called
    #[arg(long, default_value = NAME)]
    name: String,
    /// Who signs the tokens, when it is a host of your own: `https://gitlab.example.com`
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// How it is printed
    #[arg(long = "as", value_enum, default_value_t = Form::Gcloud)]
    form: Form,
}

const NAME: &str = "carrack";

pub(in crate::cli) fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    match options.command {
        Command::Init(options) => init(session, &options),
        Command::Setup(options) => setup(session, &options),
    }
}

fn init(session: &mut Session, options: &Init) -> Result<u8, Failure> {
    let project = session.project()?;
    let target = target(&project)?;
    let kind = match options.kind {
        InitKind::Github => Kind::Host(Host::GitHub),
        InitKind::Gitlab => Kind::Host(Host::GitLab),
        InitKind::Script => Kind::Script,
    };
    if let Some(provider) = &options.provider {
        check_federation_provider(provider).map_err(|why| {
            Error::new(ErrorKind::Usage, format!("--provider: {why}")).hint("`carrack ci setup` prints it at its end")
        })?;
    }
    let federation = project.place.federation.as_ref();
    let text = ci::pipeline(&Pipeline {
        kind,
        flags: &flags(session.file(), &target.name)?,
        environment: &target.name,
        builds: matches!(project.resolved.image, Some(ImageSource::Build(_))),
        names: &Names::new(&options.name, &target.project)?,
        provider: options.provider.as_deref().or(federation.map(|federation| federation.provider.as_str())),
        branch: ci::branch(&options.branch)?,
        install: options.install.as_deref(),
    });
    if options.print {
        session.ui.data(text.trim_end());
        session.report(json!({ "text": text }));
        return Ok(0);
    }
    let path = options.out.clone().unwrap_or_else(|| kind.path().into());
    write(&path, &text, session.common.yes)?;
    let next = match options.kind {
        InitKind::Script => "`./carrack-ci.sh plan`".to_owned(),
        InitKind::Github => "`carrack ci setup github --repository OWNER/NAME`".to_owned(),
        InitKind::Gitlab => "`carrack ci setup gitlab --repository GROUP/NAME`".to_owned(),
    };
    session.ui.say("Wrote", &format!("{}; next: {next}", path.display()));
    session.report(json!({ "file": path }));
    Ok(0)
}

fn setup(session: &mut Session, options: &SetUp) -> Result<u8, Failure> {
    let project = session.project()?;
    let target = target(&project)?;
    let host = match options.host {
        HostKind::Github => Host::GitHub,
        HostKind::Gitlab => Host::GitLab,
    };
    let issuer = options.issuer.as_deref().map(issuer).transpose()?;
    let table = permissions(&project.place)?;
    let matter = Matter::new(&project, None)?;
    let plans = matter.subject();
    let mut spec = plans.spec.clone();
    spec.workload.main.image = spec.workload.main.image.take().or_else(|| plans.push.cloned());
    // What is deployed is pushed before.
    let deploys = Subject { spec: &spec, push: None, base: None, ..plans };
    let setup = Setup {
        host,
        repository: ci::repository(&options.repository)?,
        branch: ci::branch(&options.branch)?,
        issuer,
        names: &Names::new(&options.name, &target.project)?,
        project: &target.project,
        images: spec
            .workload
            .main
            .image
            .as_ref()
            .and_then(|image| ci::artifact_registry(&image.0))
            .filter(|[_, project, _]| *project == target.project),
        runtime: spec.workload.service_account.as_deref(),
        plan: ci::needs(&*table, &[Task::Push, Task::Plan], &plans),
        deploy: ci::needs(&*table, &[Task::First, Task::Change], &deploys),
        table: &*table,
    };
    let text = match options.form {
        Form::Gcloud => ci::gcloud(&setup),
        Form::Terraform => ci::terraform(&setup),
    };
    session.ui.data(text.trim_end());
    session.report(json!({ "text": text }));
    Ok(0)
}

fn target(project: &Project) -> Result<&Target, Error> {
    project.resolved.target.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::Usage, "a pipeline needs a target to deploy to, and the file names none")
            .hint("add [targets.prod] with provider, project and region")
    })
}

/// What chooses file and target, for a shell that starts at the repository's root.
fn flags(file: &Path, target: &str) -> Result<String, Error> {
    if file.is_absolute() {
        return Err(Error::new(
            ErrorKind::Usage,
            "a pipeline runs elsewhere, where this path does not lead to the file",
        )
        .hint("run it at the repository's root, and name the file from there: `-f shop/carrack.toml`"));
    }
    let text = file.to_string_lossy();
    // GitHub fills `${{ … }}` in before a shell sees its quotes.
    if text.contains("${{") || text.contains(char::is_control) {
        return Err(Error::new(ErrorKind::Usage, "a pipeline would read this path as something else")
            .hint("name the folder without `${{` and without control characters"));
    }
    let file = if text == "carrack.toml" { String::new() } else { format!(" -f {}", quoted(&text)) };
    Ok(format!("{file} --to {target}"))
}

fn issuer(text: &str) -> Result<&str, Error> {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    if !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || ".-:/_".contains(c)) {
        Ok(text)
    } else {
        Err(Error::new(ErrorKind::Usage, format!("`{text}` is no address that signs tokens"))
            .hint("write it as `https://HOST`"))
    }
}

/// A file that is there stays, unless `--yes` says otherwise.
fn write(path: &Path, text: &str, over: bool) -> Result<(), Error> {
    let open = || -> std::io::Result<File> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        options.write(true);
        #[cfg(unix)]
        if text.starts_with("#!") {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o755);
        }
        if over { options.create(true).truncate(true).open(path) } else { options.create_new(true).open(path) }
    };
    open().and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| {
        let exists = e.kind() == std::io::ErrorKind::AlreadyExists;
        let error = Error::new(ErrorKind::Usage, format!("cannot write `{}`", path.display())).with_source(e);
        if exists { error.hint("`--yes` writes over it, `--out FILE` elsewhere, `--print` nowhere") } else { error }
    })
}
