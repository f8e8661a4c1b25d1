//! `projects.locations.repositories.dockerImages`.
use serde_json::Value;

use super::{
    images,
    repositories::{Repositories, missing, name, refuse_unsupported},
};
use crate::{
    gcp::{
        call::{Call, page, unimplemented},
        status::Status,
    },
    state::Images,
};

pub(super) async fn handle(
    repositories: &Repositories,
    images: &dyn Images,
    call: &Call<'_>,
    verb: &str,
) -> Result<Value, Status> {
    match verb {
        "list" => {
            let found = images::seen(repositories, images, call)?;
            refuse_unsupported(call, &["orderBy"])?;
            let mut shown = Vec::new();
            for image in &found {
                shown.push(images::render(images, call, image).await);
            }
            page(call, "dockerImages", shown)
        }
        "get" => {
            let found = images::seen(repositories, images, call)?;
            // `IMAGE@sha256:…`.
            let id = call.parameter(3);
            let image = found.iter().find(|image| format!("{}@{}", images::package(call, image), image.digest) == id);
            let image =
                image.ok_or_else(|| missing(&format!("{}/dockerImages/{}", name(call), images::escaped(&id))))?;
            Ok(images::render(images, call, image).await)
        }
        _ => Err(unimplemented()),
    }
}
