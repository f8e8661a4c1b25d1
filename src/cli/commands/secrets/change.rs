use carrack_core::{Result, plan::ResourceRef, secret::VersionState};
use clap::Args;
use serde_json::json;

use super::{Where, show::word};
use crate::{
    cli::{error::Failure, session::Session},
    ops::secrets,
};

/// Options of `carrack secrets enable`, `disable` and `destroy`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack secrets disable db-password 3
  carrack secrets enable db-password 3
  carrack secrets destroy db-password 2 --yes")]
pub(super) struct Version {
    /// The secret, or whole: `projects/PROJECT/secrets/NAME`
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    /// The version: a number, an alias or `latest`
    #[arg(value_name = "VERSION")]
    version: String,
}

/// Options of `carrack secrets delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  carrack secrets delete db-password\n  carrack secrets delete db-password --yes")]
pub(super) struct Delete {
    /// The secret, or whole: `projects/PROJECT/secrets/NAME`
    #[arg(value_name = "NAME")]
    pub(super) name: String,
}

pub(super) async fn enable(session: &mut Session, place: &Where, version: Version) -> Result<u8, Failure> {
    turn(session, place, version, VersionState::Enabled).await
}

pub(super) async fn disable(session: &mut Session, place: &Where, version: Version) -> Result<u8, Failure> {
    turn(session, place, version, VersionState::Disabled).await
}

pub(super) async fn destroy(session: &mut Session, place: &Where, version: Version) -> Result<u8, Failure> {
    turn(session, place, version, VersionState::Destroyed).await
}

async fn turn(session: &mut Session, place: &Where, options: Version, state: VersionState) -> Result<u8, Failure> {
    let Version { name, version } = options;
    let connection = place.connect(session).await?;
    let store = connection.provider.secrets();
    let found = secrets::version(&session.cx, store, &name, &version).await?;
    let what = format!("version {} of secret", found.id);
    let destroys = state == VersionState::Destroyed && found.state != state;
    if destroys && !session.confirm("destroy", &ResourceRef::new(&what, &name)).await? {
        session.ui.say("Kept", "nothing was changed");
        return Ok(0);
    }
    let (turned, changed) = secrets::turn(&session.cx, store, &name, &found, state).await?;
    let verb = match state {
        VersionState::Enabled => "Enabled",
        VersionState::Disabled => "Disabled",
        VersionState::Destroyed => "Destroyed",
    };
    match (changed, turned.state == state) {
        (false, _) => session.ui.say("Done", &format!("{what} `{name}` was {} before", word(state))),
        (true, true) => session.ui.say(verb, &format!("{what} `{name}`")),
        // https://cloud.google.com/secret-manager/docs/delay-destroy-secret-version
        (true, false) => {
            let text =
                format!("{what} `{name}` is {} now, and destroyed later: the secret says so", word(turned.state));
            session.ui.say("Delayed", &text);
        }
    }
    session.report(json!({ "secret": name, "version": turned, "changed": changed }));
    Ok(0)
}

pub(super) async fn delete(session: &mut Session, place: &Where, options: Delete) -> Result<u8, Failure> {
    let Delete { name } = options;
    let connection = place.connect(session).await?;
    let store = connection.provider.secrets();
    let found = secrets::existing(&session.cx, store, &name).await?;
    if !session.confirm("delete", &ResourceRef::new("secret", &name)).await? {
        session.ui.say("Kept", "nothing was changed");
        return Ok(0);
    }
    store.delete(&session.cx, &name, found.etag.as_deref()).await?;
    session.ui.say("Deleted", &format!("secret `{name}` with all its versions"));
    session.report(json!({ "secret": name, "deleted": true }));
    Ok(0)
}
