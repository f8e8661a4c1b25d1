use carrack_core::{Error, ErrorKind, Result, event::Ctx, provider::Provider, secret::SecretStore};
use clap::Args;
use serde_json::json;

use super::{Where, invalid};
use crate::{
    cli::{
        error::Failure,
        session::{Project, Session},
    },
    config,
};

/// Options of `carrack secrets grant`.
#[derive(Debug, Args)]
#[command(after_help = "Without `--to-account` it is the account that the file's service runs as: the file's
`service_account`, else the live service's, else the project's default one.

Examples:
  carrack secrets grant db-password
  carrack secrets grant db-password --to-account run-shop@my-project.iam.gserviceaccount.com")]
pub(super) struct Options {
    /// The secret, or whole: `projects/PROJECT/secrets/NAME`
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    /// The service account that may read it
    #[arg(long, value_name = "EMAIL")]
    to_account: Option<String>,
}

pub(super) async fn run(session: &mut Session, place: &Where, options: Options) -> Result<u8, Failure> {
    let Options { name, to_account } = options;
    if let Some(account) = &to_account {
        config::service_account(account).map_err(invalid)?;
    }
    let connection = place.connect(session).await?;
    let (provider, cx) = (&*connection.provider, &session.cx);
    let store = provider.secrets();
    store.check_name(&name)?;
    let account = match (to_account, &place.project) {
        (Some(account), _) => account,
        (None, Some(project)) => match service_account(cx, provider, project).await? {
            Some(account) => account,
            None => default_account(cx, store, &name).await?,
        },
        (None, None) => default_account(cx, store, &name).await?,
    };
    let new = store.grant(cx, &name, &account).await.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => {
            let command = store.grant_command(&name, &account);
            error.hint(format!("or let an owner of the secret do it: `{command}`"))
        }
        _ => error,
    })?;
    let (verb, when) = if new { ("Granted", "may read") } else { ("Done", "could already read") };
    session.ui.say(verb, &format!("`{account}` {when} secret `{name}`"));
    session.report(json!({ "secret": name, "account": account, "new": new }));
    Ok(0)
}

/// By the file, else by what is live.
async fn service_account(cx: &Ctx, provider: &dyn Provider, project: &Project) -> Result<Option<String>> {
    if let Some(account) = &project.resolved.deploy.spec.workload.service_account {
        return Ok(Some(account.clone()));
    }
    if project.resolved.job.is_some() {
        let observed = provider.jobs().observe(cx, &project.resolved.name).await?;
        return Ok(observed.job.and_then(|live| live.spec.workload.service_account));
    }
    let observed = provider.observe(cx, &project.resolved.name).await?;
    Ok(observed.service.and_then(|live| live.spec.workload.service_account))
}

async fn default_account(cx: &Ctx, store: &dyn SecretStore, name: &str) -> Result<String> {
    let reader = store.reader(cx, name, None).await?;
    if reader.account.contains('@') {
        return Ok(reader.account);
    }
    let why = reader.may.err().unwrap_or_default();
    Err(Error::new(ErrorKind::PermissionDenied, format!("{} is not known: {why}", reader.account))
        .hint("name it: `--to-account EMAIL`"))
}
