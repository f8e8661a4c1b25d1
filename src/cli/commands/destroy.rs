use carrack_core::permission::Task;
use clap::Args;

use crate::{
    cli::{
        error::Failure,
        session::{Session, explained},
    },
    ops::{destroy, jobs},
};

/// Options of `carrack destroy`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  carrack destroy --to prod\n  carrack destroy --local --yes")]
pub(in crate::cli) struct Options {}

pub(in crate::cli) async fn run(session: &mut Session, Options {}: Options) -> Result<u8, Failure> {
    let project = session.project()?;
    let connection = session.connect(&project.place).await?;
    let provider = &*connection.provider;
    let name = &project.resolved.name;
    let prepared = match &project.resolved.job {
        Some(_) => jobs::prepare_destroy(&session.cx, provider, name).await,
        None => destroy::prepare(&session.cx, provider, name).await,
    };
    let plan = match prepared {
        Ok(plan) => plan,
        Err(error) => return Err(explained(session, &project, provider, Task::Destroy, error).await.into()),
    };
    let Some(step) = plan.steps.first() else {
        session.ui.say("Done", "there was nothing to destroy");
        return Ok(0);
    };
    if !session.confirm("destroy", &step.resource).await? {
        session.ui.say("Kept", "nothing was changed");
        return Ok(0);
    }
    let report = match destroy::apply(&session.cx, provider, &plan).await {
        Ok(report) => report,
        Err(error) => return Err(explained(session, &project, provider, Task::Destroy, error).await.into()),
    };
    session.report(report);
    Ok(0)
}
