use carrack_core::{permission::Task, plan::Risk, spec::RevisionId};
use clap::Args;

use crate::{
    cli::{
        error::Failure,
        session::{Session, explained},
    },
    ops::rollback::{self, Request},
};

/// Options of `carrack rollback`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack rollback                  all traffic to the revision that served before
  carrack rollback --config         its settings too, as a new revision
  carrack rollback --to-revision shop-00007-abc
  carrack rollback --to prod --format json")]
pub(in crate::cli) struct Options {
    /// To this one, as `history` names it
    #[arg(long, value_name = "REVISION")]
    to_revision: Option<String>,
    /// Make its settings and image those of a new revision, so that the next deploy goes on from there
    #[arg(long)]
    config: bool,
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    let project = session.project()?;
    let connection = session.connect(&project.place).await?;
    let ways = session.ways(&connection);
    let request = Request {
        provider: &*connection.provider,
        ways: &ways,
        name: project.resolved.name.clone(),
        to: options.to_revision.map(RevisionId),
        config: options.config,
        flags: session.flags(),
    };
    let prepared = match rollback::prepare(&session.cx, &request).await {
        Ok(prepared) => prepared,
        Err(error) => return Err(explained(session, &project, request.provider, Task::Rollback, error).await.into()),
    };
    let risky = prepared.plan.steps.iter().find(|step| step.risk >= Risk::Downtime);
    if let Some(step) = risky
        && !session.confirm("roll back", &step.resource).await?
    {
        session.ui.say("Kept", "nothing was changed");
        return Ok(0);
    }
    let report = rollback::apply(&session.cx, &request, prepared).await?;
    if let Some(url) = &report.url {
        session.data(url).await;
    }
    session.report(report);
    Ok(0)
}
