//! Artifact Registry v1: repositories, and what the registry holds in them.
//!
//! | module | what it holds |
//! |---|---|
//! | `repositories` | repositories and their policies |
//! | `images` | what of the registry is in a repository, and how an image is shown |
//! | `docker_images` | `dockerImages` |
//! | `packages` | the same as packages, versions and tags, which have a name each |
mod docker_images;
mod images;
mod packages;
mod repositories;

use std::sync::Arc;

use serde_json::Value;

pub(crate) use self::repositories::Repositories;
pub(super) use self::repositories::{missing, name};
use super::{
    call::{Call, unimplemented},
    status::Status,
};
use crate::state::Images;

/// `method` is what follows `artifactregistry.projects.locations.`.
pub(crate) async fn handle(
    repositories: &Arc<Repositories>,
    images: &dyn Images,
    call: &Call<'_>,
    method: &str,
) -> Result<Value, Status> {
    match method.rsplit_once('.') {
        Some(("repositories", verb)) => repositories::handle(repositories, images, call, verb),
        Some(("repositories.dockerImages", verb)) => docker_images::handle(repositories, images, call, verb).await,
        Some(("repositories.packages", verb)) => packages::package(repositories, images, call, verb),
        Some(("repositories.packages.versions", verb)) => packages::version(repositories, images, call, verb).await,
        Some(("repositories.packages.tags", verb)) => packages::tag(repositories, images, call, verb),
        // https://cloud.google.com/artifact-registry/docs/access-control: an operation asks for no permission of its own.
        Some(("operations", "get")) => repositories.operations.get(&operation(call)),
        _ => Err(unimplemented()),
    }
}

fn operation(call: &Call<'_>) -> String {
    format!("{}/operations/{}", call.parent(), call.parameter(2))
}

/// Whether an operation that a call names is one of a repository.
pub(crate) fn has_operation(repositories: &Repositories, call: &Call<'_>) -> bool {
    repositories.operations.get(&operation(call)).is_ok()
}
