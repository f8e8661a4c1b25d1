//! `carrack emulator identity …`: what a CI gives a job to say who it is, from an issuer that the local cloud plays.
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{call, faults::unreadable};
use crate::cli::{error::Failure, session::Session, settings::quoted};

/// Options of `carrack emulator identity`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  eval \"$(carrack emulator identity github --repository octo/hello)\"
  eval \"$(carrack emulator identity github --repository octo/hello --ref refs/tags/v1 --loopback)\"
  export CARRACK_ID_TOKEN=\"$(carrack emulator identity gitlab --project octo/hello --audience https://hello.example.com)\"")]
pub(super) struct Options {
    #[command(subcommand)]
    issuer: Issuer,
}

#[derive(Debug, Subcommand)]
enum Issuer {
    /// Print the variables by which a job of GitHub Actions asks for its token
    Github(GitHub),
    /// Print a token as a job of GitLab CI finds it in a variable of its `id_tokens`
    Gitlab(GitLab),
}

#[derive(Debug, Args)]
struct GitHub {
    /// Whose job it is
    #[arg(long, value_name = "OWNER/NAME")]
    repository: String,
    /// What it runs for; else the branch `main`
    #[arg(long = "ref", value_name = "REF", default_value = "refs/heads/main")]
    reference: String,
    /// What made it run
    #[arg(long, value_name = "NAME", default_value = "push")]
    event: String,
    /// The file below `.github/workflows` that it is in
    #[arg(long, value_name = "FILE", default_value = "deploy.yml")]
    workflow: String,
    /// The environment that it deploys to
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Let it ask by the loopback address, which needs no proxy, and not by GitHub's name
    #[arg(long)]
    loopback: bool,
}

#[derive(Debug, Args)]
struct GitLab {
    /// Whose job it is
    #[arg(long, value_name = "GROUP/PROJECT")]
    project: String,
    /// Whom the token is for
    #[arg(long, value_name = "URL")]
    audience: String,
    /// The branch, or the tag, that it runs for
    #[arg(long = "ref", value_name = "NAME", default_value = "main")]
    reference: String,
    /// `--ref` is a tag
    #[arg(long)]
    tag: bool,
    /// The branch or tag is protected
    #[arg(long)]
    protected: bool,
    /// What made the pipeline, as `$CI_PIPELINE_SOURCE` has it
    #[arg(long, value_name = "NAME", default_value = "push")]
    source: String,
    /// The environment that it deploys to
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

pub(super) async fn run(session: &Session, options: Options) -> Result<(), Failure> {
    match options.issuer {
        Issuer::Github(GitHub { repository, reference, event, workflow, environment, loopback }) => {
            let job = json!({
                "repository": repository, "ref": reference, "event": event, "environment": environment,
                "workflow": workflow, "loopback": loopback,
            });
            let answer = asked(session, "/credentials/github", &job).await?;
            for (name, field) in [("ACTIONS_ID_TOKEN_REQUEST_URL", "url"), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "token")]
            {
                let value = answer[field].as_str().unwrap_or_default();
                session.ui.print(&format!("export {name}={}", quoted(value)));
            }
        }
        Issuer::Gitlab(GitLab { project, audience, reference, tag, protected, source, environment }) => {
            let job = json!({
                "project": project, "audience": audience, "ref": reference, "tag": tag, "protected": protected,
                "source": source, "environment": environment,
            });
            let answer = asked(session, "/credentials/gitlab", &job).await?;
            session.ui.print(answer["token"].as_str().unwrap_or_default());
        }
    }
    Ok(())
}

async fn asked(session: &Session, path: &str, body: &Value) -> Result<Value, Failure> {
    Ok(serde_json::from_slice(&call(session, "POST", path, Some(body)).await?).map_err(unreadable)?)
}
