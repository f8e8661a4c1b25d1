use std::sync::Arc;

use carrack_core::permission::Task;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        error::Failure,
        session::{Session, explained, repository},
    },
    image::Tag,
    ops::image::{LocalImage, build_image, push_image},
};

/// Options of `carrack push`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  carrack push --to prod\n  image=$(carrack push --tag v1.2 --quiet)")]
pub(in crate::cli) struct Options {
    /// The tag to give it
    #[arg(long, default_value = "latest")]
    tag: String,
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    let project = session.project()?;
    session.check_image(&project)?;
    let recipe = session.recipe(&project)?;
    let connection = session.connect(&project.place).await?;
    let ways = session.ways(&connection);
    let built = build_image(&session.cx, &ways, &recipe, &session.layout()?)
        .await
        .map_err(|error| session.located(&project, error))?;
    let repository = repository(&project, &connection, recipe.name());
    let image = LocalImage { built, repository, images: Arc::default() };
    let provider = &*connection.provider;
    let pushed = match push_image(&session.cx, provider, &ways, &image, Tag::Required(options.tag)).await {
        Ok(pushed) => pushed,
        Err(error) => return Err(explained(session, &project, provider, Task::Push, error).await.into()),
    };
    session.data(&pushed.reference).await;
    session.report(json!({ "reference": pushed.reference, "digest": image.built.digest, "uploaded": pushed.uploaded }));
    Ok(0)
}
