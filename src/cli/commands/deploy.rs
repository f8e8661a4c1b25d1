use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::{error::Failure, session::Session},
    ops::{
        Report,
        deploy::{apply, deploy},
        deploy_secrets::Options as Secrets,
        saved_plan,
    },
    registry::Place,
};

/// Options of `carrack deploy`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack deploy --local
  carrack deploy --to prod
  carrack deploy --image REF@DIGEST   change the image, and nothing else that the file does not name
  carrack deploy --plan plan.json     apply exactly what `plan --out` showed")]
pub(in crate::cli) struct Options {
    /// An image that is in a registry, instead of what the file says; runs no build
    #[arg(long, value_name = "REF@DIGEST", conflicts_with = "plan")]
    image: Option<String>,
    /// Let the service's account read its secrets, where it may not yet
    #[arg(long)]
    grant: bool,
    /// A plan that `plan --out` wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "file"])]
    plan: Option<PathBuf>,
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    session.stamp().await;
    let report = match options.plan {
        Some(path) => saved(session, &path, options.grant).await?,
        None => from_file(session, options.image, options.grant).await?,
    };
    if let Some(url) = &report.url {
        session.data(url).await;
    }
    session.report(report);
    Ok(0)
}

async fn from_file(session: &Session, image: Option<String>, grant: bool) -> Result<Report, Failure> {
    let project = session.project()?;
    if image.is_none() {
        session.check_image(&project)?;
    }
    let connection = session.connect(&project.place).await?;
    let ways = session.ways(&connection);
    let mut request = session.request(&project, &connection, &ways, image)?;
    request.secrets.grant = grant;
    deploy(&session.cx, &request).await.map_err(|error| session.located(&project, error))
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
