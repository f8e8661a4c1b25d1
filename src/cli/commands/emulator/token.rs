//! `carrack emulator token`: a token of somebody whom the local cloud lets do only what it says.
use std::time::Duration;

use carrack_core::{Error, ErrorKind};
use clap::Args;
use serde_json::{Value, json};

use super::{call, faults::unreadable};
use crate::cli::{error::Failure, session::Session};

/// Options of `carrack emulator token`.
#[derive(Debug, Args)]
#[command(after_help = "Without a role and a permission it is good for what the policies give to its owner.

Examples:
  carrack emulator token --email ci@local.iam.gserviceaccount.com --role roles/run.developer
  carrack emulator token --email me@example.com --role roles/viewer --role projects/local/roles/deployer --life 1h
  carrack emulator token --email me@example.com --permission run.services.get --permission run.services.list
  carrack emulator token --email ci@local.iam.gserviceaccount.com > token && gcloud run services list --access-token-file token")]
pub(super) struct Options {
    /// Whose token it is: a service account's address, or a user's
    #[arg(long, value_name = "EMAIL")]
    email: String,
    /// Bind this role to them in the project's policy: one of Google's (`roles/run.developer`) or the project's own
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Allow this permission in every project, whatever the policies say
    #[arg(long = "permission", value_name = "NAME")]
    permissions: Vec<String>,
    /// The project of the roles
    #[arg(long, value_name = "PROJECT", default_value = "local")]
    project: String,
    /// End after this long (`90s`, `1h`); else it is good as long as the local cloud runs
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::settings::duration)]
    life: Option<Duration>,
}

pub(super) async fn run(session: &mut Session, options: Options) -> Result<(), Failure> {
    let Options { email, roles, permissions, project, life } = options;
    let life = match life.map(|life| u32::try_from(life.as_secs())) {
        None => None,
        Some(Ok(seconds @ 1..)) => Some(seconds),
        Some(_) => {
            let error = Error::new(ErrorKind::Usage, "`--life` must be from a second to a hundred years");
            return Err(error.hint("write `90s` or `1h`").into());
        }
    };
    let asked = json!({
        "email": email, "roles": roles, "permissions": permissions, "project": project, "lifeSeconds": life,
    });
    let answer = call(session, "POST", "/principals", Some(&asked)).await.map_err(|e| match e.kind() {
        ErrorKind::Usage => e.hint("see `carrack emulator token --help`"),
        _ => e,
    })?;
    let answer: Value = serde_json::from_slice(&answer).map_err(unreadable)?;
    session.ui.data(answer["token"].as_str().unwrap_or_default());
    session.report(json!({ "email": email, "token": answer["token"] }));
    Ok(())
}
