//! What the registry holds of a repository, and how an image is shown.
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::repositories::{Repositories, missing, name};
use crate::{
    gcp::{
        access::{self, container_registry, registry_uri},
        call::Call,
        project,
        status::Status,
        time::stamp,
    },
    registry::StoredImage,
    state::Images,
};

/// The images of the repository that a call names, there or not.
pub(super) fn of(images: &dyn Images, call: &Call<'_>) -> Vec<StoredImage> {
    images.list().into_iter().filter(|image| image.name.starts_with(&prefix(call, image))).collect()
}

/// The same, of a repository that must be there.
pub(super) fn seen(
    repositories: &Repositories,
    images: &dyn Images,
    call: &Call<'_>,
) -> Result<Vec<StoredImage>, Status> {
    let repository = name(call);
    if !repositories.exists(&repository) {
        return Err(missing(&repository));
    }
    Ok(of(images, call))
}

/// What an image's name begins with in the registry. One of Container Registry's hosts is its own repository.
fn prefix(call: &Call<'_>, image: &StoredImage) -> String {
    let (location, repository) = (call.parameter(1), call.parameter(2));
    // There it has the project's name by which it was pushed.
    let pushed =
        access::project(&image.name).filter(|pushed| project::number(pushed) == project::number(&call.project));
    let project = pushed.unwrap_or_else(|| call.project.clone());
    if container_registry(&repository) == Some(&*location) {
        return format!("{repository}/{}/", project.replace(':', "/"));
    }
    format!("{}/", registry_uri(&location, &project, &repository))
}

/// `team/hello`, of `us-central1-docker.pkg.dev/local/apps/team/hello`.
pub(super) fn package(call: &Call<'_>, image: &StoredImage) -> String {
    image.name.strip_prefix(&prefix(call, image)).unwrap_or(&image.name).to_owned()
}

/// As an id in a resource's name: <https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.packages#Package>
pub(super) fn escaped(package: &str) -> String {
    package.replace('/', "%2F")
}

/// `DockerImage`: <https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.dockerImages#DockerImage>
pub(super) async fn render(images: &dyn Images, call: &Call<'_>, image: &StoredImage) -> Value {
    let mut shown = metadata(images, call, image).await;
    shown.insert("uri".to_owned(), json!(format!("{}@{}", image.name, image.digest)));
    shown.insert("uploadTime".to_owned(), json!(stamp(image.uploaded)));
    shown.insert("updateTime".to_owned(), json!(stamp(image.updated)));
    if !image.tags.is_empty() {
        shown.insert("tags".to_owned(), json!(image.tags));
    }
    Value::Object(shown)
}

/// What a version shows of it too.
pub(super) async fn metadata(images: &dyn Images, call: &Call<'_>, image: &StoredImage) -> Map<String, Value> {
    let id = format!("{}@{}", escaped(&package(call, image)), image.digest);
    let mut shown = Map::new();
    shown.insert("name".to_owned(), json!(format!("{}/dockerImages/{id}", name(call))));
    shown.insert("imageSizeBytes".to_owned(), json!(image.size_bytes.to_string()));
    shown.insert("mediaType".to_owned(), json!(image.media_type));
    if let Some(built) = built(images, image).await {
        shown.insert("buildTime".to_owned(), json!(stamp(built)));
    }
    shown
}

/// What its configuration says, if it says it. <https://github.com/opencontainers/image-spec/blob/main/config.md#properties>
async fn built(images: &dyn Images, image: &StoredImage) -> Option<Timestamp> {
    let found = images.image(&image.name, &image.digest).await.ok()?;
    // The configuration of an index's image is that image's, which has an entry of its own.
    if found.digest != image.digest {
        return None;
    }
    let bytes = tokio::fs::read(found.configuration.path).await.ok()?;
    let configuration: Value = serde_json::from_slice(&bytes).ok()?;
    configuration["created"].as_str()?.parse().ok()
}
