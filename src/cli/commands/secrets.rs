//! `carrack secrets …`: values, versions, and who may read them.
mod change;
mod get;
mod grant;
mod set;
mod show;

use carrack_core::{
    Error, ErrorKind, Result,
    permission::{Subject, Task},
    spec::{ProviderId, ServiceName},
};
use clap::{Args, Subcommand};

use crate::{
    cli::{
        error::Failure,
        session::{Project, Session},
    },
    config::{self, Invalid},
    ops::permissions::explained,
    registry::{Connection, LOCAL_PROJECT, LOCAL_PROVIDER, LOCAL_REGION, Place},
};

/// Options of `carrack secrets`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  printf %s \"$PASSWORD\" | carrack secrets set db-password
  carrack secrets set tls-key --from-file key.pem
  carrack secrets grant db-password
  carrack secrets list
  carrack secrets versions db-password
  carrack secrets get db-password > password.txt")]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    command: Command,
    /// The project whose secrets they are; else the one of the file's target
    #[arg(long, value_name = "PROJECT", global = true, conflicts_with = "target")]
    project: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give a secret a value, and make it when it is missing
    Set(set::Options),
    /// List the secrets
    List,
    /// List a secret's versions, newest first
    Versions(show::Versions),
    /// Print a value, or write it to a file
    Get(get::Options),
    /// Let a version be read again
    Enable(change::Version),
    /// Let nobody read a version for now
    Disable(change::Version),
    /// Remove a version's value for good
    Destroy(change::Version),
    /// Remove a secret with all its versions
    Delete(change::Delete),
    /// Let a service read a secret
    Grant(grant::Options),
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    let place = Where::find(session, options.project)?;
    let (task, secret) = options.command.about();
    let done = match options.command {
        Command::Set(options) => set::run(session, &place, options).await,
        Command::List => show::list(session, &place).await,
        Command::Versions(options) => show::versions(session, &place, options).await,
        Command::Get(options) => get::run(session, &place, options).await,
        Command::Enable(version) => change::enable(session, &place, version).await,
        Command::Disable(version) => change::disable(session, &place, version).await,
        Command::Destroy(version) => change::destroy(session, &place, version).await,
        Command::Delete(options) => change::delete(session, &place, options).await,
        Command::Grant(options) => grant::run(session, &place, options).await,
    };
    match done {
        Err(Failure::Error(error)) if error.kind() == ErrorKind::PermissionDenied => {
            let connection = place.connect(session).await?;
            let spec = place.project.as_ref().map(|project| project.resolved.deploy.spec.clone()).unwrap_or_default();
            let name = match &place.project {
                Some(project) => project.resolved.name.clone(),
                None => ServiceName::try_from("service".to_owned())?,
            };
            let subject = Subject { secret: secret.as_deref(), ..Subject::new(&name, &spec) };
            Err(explained(&session.cx, &*connection.provider, task, &subject, *error).await.into())
        }
        done => done,
    }
}

impl Command {
    /// What it needs to be allowed, and for which secret.
    fn about(&self) -> (Task, Option<String>) {
        let (task, name) = match self {
            Self::Set(options) => (Task::SecretsSet, &options.name),
            Self::List => return (Task::SecretsList, None),
            Self::Versions(options) => (Task::SecretsVersions, &options.name),
            Self::Get(options) => (Task::SecretsGet, &options.name),
            Self::Enable(version) => (Task::SecretsEnable, &version.name),
            Self::Disable(version) => (Task::SecretsDisable, &version.name),
            Self::Destroy(version) => (Task::SecretsDestroy, &version.name),
            Self::Delete(options) => (Task::SecretsDelete, &options.name),
            Self::Grant(options) => (Task::SecretsGrant, &options.name),
        };
        (task, Some(name.clone()))
    }
}

/// Where the secrets are, and the file when it is what says so.
struct Where {
    place: Place,
    project: Option<Project>,
}

impl Where {
    /// By `--project`, else by the file; with neither, the local cloud's built-in project.
    fn find(session: &Session, project: Option<String>) -> Result<Self, Failure> {
        let built_in = |scope: String| Place {
            provider: ProviderId(LOCAL_PROVIDER.into()),
            scope,
            region: LOCAL_REGION.into(),
            federation: None,
        };
        if let Some(project) = project {
            config::project(&project).map_err(invalid)?;
            return Ok(Self { place: built_in(project), project: None });
        }
        // Secrets are there before the first service is.
        if session.file_is_missing() {
            if session.common.local {
                return Ok(Self { place: built_in(LOCAL_PROJECT.into()), project: None });
            }
            let text = format!("nothing says which project: there is no `{}` here", session.file().display());
            return Err(Error::new(ErrorKind::Usage, text)
                .hint("name it: `--project PROJECT`")
                .hint("or the file: `-f FILE`; or use the local cloud, with no account: `--local`")
                .into());
        }
        let project = session.project()?;
        Ok(Self { place: project.place.clone(), project: Some(project) })
    }

    async fn connect(&self, session: &Session) -> Result<Connection> {
        session.connect(&self.place).await
    }
}

/// A value on the command line that breaks a rule of the file's.
fn invalid(invalid: Invalid) -> Error {
    invalid
        .hints
        .into_iter()
        .fold(Error::new(ErrorKind::ConfigInvalid, invalid.message), |error, hint| error.hint(hint))
}
