//! `carrack auth …`: whose credentials are used. No command of it prints a token.
use carrack_http::Identity;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::cli::{error::Failure, session::Session};

/// Options of `carrack auth`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack auth show
  carrack auth show --to prod
  carrack auth show --impersonate deploy@my-project.iam.gserviceaccount.com
  carrack auth show --format json")]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say which identity, from where, and till when; a token is fetched for it, and never shown
    Show,
}

pub(in crate::cli) async fn run(session: &mut Session, Options { command }: Options) -> Result<u8, Failure> {
    match command {
        Command::Show => show(session).await,
    }
}

async fn show(session: &mut Session) -> Result<u8, Failure> {
    let place = session.place_or_default()?;
    let credentials = session.connect(&place).await?.credentials;
    let token = credentials.token(&session.cx).await?;
    // Who it is may have come with the token.
    let identity = credentials.identity(&session.cx).await?;
    session.data(&table(&identity, token.expires())).await;
    let expires = token.expires().map(|end| end.to_string());
    session.report(json!({
        "principal": identity.principal, "kind": identity.kind, "from": identity.from,
        "project": identity.project, "expires": expires, "through": identity.through,
    }));
    Ok(0)
}

fn table(identity: &Identity, expires: Option<Timestamp>) -> String {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".to_owned());
    let mut lines = vec![format!("identity  {}", known(&identity.principal)), format!("kind      {}", identity.kind)];
    if let Some(own) = &identity.through {
        lines.push(format!("asked by  {}, by {}", known(&own.principal), own.kind));
    }
    lines.push(format!("from      {}", identity.from));
    if let Some(project) = &identity.project {
        lines.push(format!("project   {project}"));
    }
    lines.push(match expires {
        Some(end) => format!("valid     until {end:.0}, {}", left(Timestamp::now().duration_until(end))),
        None => "valid     until an end that is not known".to_owned(),
    });
    lines.join("\n")
}

fn left(duration: SignedDuration) -> String {
    match duration.as_secs() {
        ..=0 => "which is over".to_owned(),
        seconds @ 1..=119 => format!("{seconds} s from now"),
        seconds => format!("{} minutes from now", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_shown_with_who_stands_behind_it() {
        let own = Identity { principal: Some("me@example.com".into()), kind: "user's login", ..Identity::default() };
        let identity = Identity {
            principal: Some("deploy@shop.iam.gserviceaccount.com".into()),
            kind: "impersonation",
            from: "`/home/me/adc.json` (application default credentials)".into(),
            project: Some("shop".into()),
            through: Some(Box::new(own)),
        };
        insta::assert_snapshot!(table(&identity, None), @r"
        identity  deploy@shop.iam.gserviceaccount.com
        kind      impersonation
        asked by  me@example.com, by user's login
        from      `/home/me/adc.json` (application default credentials)
        project   shop
        valid     until an end that is not known
        ");
        assert_eq!(left(SignedDuration::from_mins(59)), "59 minutes from now");
    }
}
