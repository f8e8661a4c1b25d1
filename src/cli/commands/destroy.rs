use clap::Args;

use crate::{
    cli::{error::Failure, session::Session},
    ops::destroy,
};

/// Options of `carrack destroy`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  carrack destroy --to prod\n  carrack destroy --local --yes")]
pub(in crate::cli) struct Options {}

pub(in crate::cli) async fn run(session: &mut Session, Options {}: Options) -> Result<u8, Failure> {
    let project = session.project()?;
    let connection = session.connect(&project.place).await?;
    let provider = &*connection.provider;
    let plan = destroy::prepare(&session.cx, provider, &project.resolved.name).await?;
    let Some(step) = plan.steps.first() else {
        session.ui.say("Done", "there was nothing to destroy");
        return Ok(0);
    };
    if !session.confirm("destroy", &step.resource).await? {
        session.ui.say("Kept", "nothing was changed");
        return Ok(0);
    }
    let report = destroy::apply(&session.cx, provider, &plan).await?;
    session.report(report);
    Ok(0)
}
