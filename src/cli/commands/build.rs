use clap::Args;
use serde_json::json;

use crate::{
    cli::{error::Failure, session::Session},
    image::{Base, Recipe},
    ops::image::build_image,
    registry::{Access, Credentials, connect},
};

/// Options of `carrack build`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  carrack build\n  digest=$(carrack build --quiet)")]
pub(in crate::cli) struct Options {}

pub(in crate::cli) async fn run(session: &mut Session, Options {}: Options) -> Result<u8, Failure> {
    // An image is the same for every target, so the first will do.
    let loaded = session.load()?;
    let first =
        session.target().map(str::to_owned).or_else(|| loaded.target_names().first().map(|name| (*name).to_owned()));
    let project = session.resolve(loaded, first)?;
    session.check_image(&project)?;
    let recipe = session.recipe(&project)?;
    let has_base = matches!(&recipe, Recipe::Files(spec) if spec.base != Base::Scratch);
    // Without a base nothing is asked for, so the local cloud need not run.
    let connection = if has_base {
        session.connect(&project.place).await?
    } else {
        connect(&project.place, &Access::Cloud(Credentials::default()))?
    };
    let ways = session.ways(&connection);
    let built = build_image(&session.cx, &ways, &recipe, &session.layout()?)
        .await
        .map_err(|error| session.located(&project, error))?;
    session.data(&built.digest).await;
    session.report(json!({ "digest": built.digest, "size": built.size, "layout": built.layout }));
    Ok(0)
}
