use std::path::PathBuf;

use clap::Args;
use tokio::time::Instant;

use crate::{
    cli::{
        commands::traffic::{self, New},
        error::Failure,
        session::Session,
    },
    ops::{
        Outcome, Report,
        deploy::{apply, prepare},
        deploy_secrets::Options as Secrets,
        saved_plan,
    },
    registry::Place,
};

/// Options of `carrack deploy`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  carrack deploy --local
  carrack deploy --to prod
  carrack deploy --image REF@DIGEST   change the image, and nothing else that the file does not name
  carrack deploy --no-traffic --tag next
  carrack deploy --plan plan.json     apply exactly what `plan --out` showed")]
pub(in crate::cli) struct Options {
    /// An image that is in a registry, instead of what the file says; runs no build
    #[arg(long, value_name = "REF@DIGEST", conflicts_with = "plan")]
    image: Option<String>,
    /// Let the service's account read its secrets, where it may not yet
    #[arg(long)]
    grant: bool,
    #[command(flatten)]
    traffic: New,
    /// A plan that `plan --out` wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "file", "all_traffic", "no_traffic", "tag"])]
    plan: Option<PathBuf>,
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    session.stamp().await;
    let report = match options.plan {
        Some(path) => Some(saved(session, &path, options.grant).await?),
        None => from_file(session, options.image, options.grant, &options.traffic).await?,
    };
    let Some(report) = report else {
        session.ui.say("Kept", "nothing was changed");
        return Ok(0);
    };
    if report.result == Outcome::Deployed && report.revision.is_none() {
        // A job runs when somebody asks for it.
        session.ui.say("Next", &format!("run it: `carrack jobs run{}`", session.flags()));
    }
    let tag = report.tag.as_ref().and_then(|tag| tag.url.as_ref());
    // Where what was deployed is reached.
    if let Some(url) = tag.filter(|_| options.traffic.no_traffic).or(report.url.as_ref()) {
        session.data(url).await;
    }
    session.report(report);
    Ok(0)
}

/// `None` when the user had rather not.
async fn from_file(
    session: &Session,
    image: Option<String>,
    grant: bool,
    traffic: &New,
) -> Result<Option<Report>, Failure> {
    let project = session.project()?;
    if image.is_none() {
        session.check_image(&project)?;
    }
    let connection = session.connect(&project.place).await?;
    let ways = session.ways(&connection);
    let mut request = session.request(&project, &connection, &ways, image)?;
    request.secrets.grant = grant;
    traffic.ask(&mut request);
    let started = Instant::now();
    let mut prepared = prepare(&session.cx, &request).await.map_err(|error| session.located(&project, error))?;
    if let Some(open) = prepared.open.take()
        && !traffic::chosen(session, open).await?
    {
        return Ok(None);
    }
    let done = apply(&session.cx, request.provider, request.ways, prepared).await;
    let mut report = done.map_err(|error| session.located(&project, error))?;
    report.elapsed = started.elapsed();
    Ok(Some(report))
}

async fn saved(session: &Session, path: &std::path::Path, grant: bool) -> Result<Report, Failure> {
    let plan = saved_plan::read(path)?;
    let target = &plan.target;
    let place = Place {
        provider: target.provider.clone(),
        scope: target.scope.clone(),
        region: target.region.clone(),
        federation: session.federation_of(target),
    };
    let connection = session.connect(&place).await?;
    let secrets = Secrets { grant, flags: session.flags() };
    let prepared = saved_plan::prepare(&session.cx, &*connection.provider, plan, &secrets).await?;
    Ok(apply(&session.cx, &*connection.provider, &session.ways(&connection), prepared).await?)
}
