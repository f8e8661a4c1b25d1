//! The images of a template's containers: looked up when a revision or a job is made, by tag or digest.
use serde_json::Value;

use super::{
    Parts,
    condition::{Failure, Reason},
    image::Reference,
};
use crate::{
    gcp::{access, project, repository_policy, status::Code},
    image::{Image, ImageError},
};

/// Of each container in its order, with its name by digest, which it keeps. What was found before a failure is in
/// `found`.
pub(crate) async fn images(
    parts: &Parts,
    project: &str,
    template: &Value,
    found: &mut Vec<(String, Image)>,
) -> Result<(), Failure> {
    for container in template["containers"].as_array().into_iter().flatten() {
        found.push(image(parts, project, container["image"].as_str().unwrap_or_default()).await?);
    }
    Ok(())
}

async fn image(parts: &Parts, project: &str, text: &str) -> Result<(String, Image), Failure> {
    let missing = |message: String, code| Failure { code, message, reason: Reason::Common("CONTAINER_MISSING") };
    let reference =
        Reference::parse(text).ok_or_else(|| missing(format!("Image '{text}' not found."), Code::NotFound))?;
    readable(parts, project, text, &reference.name)?;
    match parts.images.image(&reference.name, &reference.version).await {
        Ok(mut image) => {
            text.clone_into(&mut image.reference);
            Ok((format!("{}@{}", reference.name, image.digest), image))
        }
        Err(ImageError::NotFound) => Err(missing(format!("Image '{text}' not found."), Code::NotFound)),
        Err(ImageError::NoPlatform { media_type }) => Err(missing(
            format!("Container manifest type '{media_type}' must support amd64/linux."),
            Code::FailedPrecondition,
        )),
        Err(ImageError::Invalid(why)) => {
            Err(missing(format!("Image '{text}' cannot be used: {why}"), Code::FailedPrecondition))
        }
    }
}

/// Cloud Run pulls as the project's service agent, not as whoever deploys.
fn readable(parts: &Parts, own: &str, text: &str, name: &str) -> Result<(), Failure> {
    let Some(repository) = access::repository(&parts.projects, name) else { return Ok(()) };
    let other = repository.split('/').nth(1).unwrap_or_default();
    let agent = repository_policy::service_agent(&project::number(own));
    if other == own || repository_policy::agent_may_read(&parts.repositories, &parts.grants, &repository, &agent) {
        return Ok(());
    }
    let agent = format!("Google Cloud Run Service Agent {agent}");
    Err(Failure {
        code: Code::PermissionDenied,
        message: format!(
            "{agent} must have permission to read the image, {text}. Ensure that the provided container image URL is correct and that the above account has permission to access the image. If you just enabled the Cloud Run API, the permissions might take a few minutes to propagate. Note that the image is from project [{other}], which is not the same as this project [{own}]. Permission must be granted to the {agent} from this project."
        ),
        reason: Reason::Common("CONTAINER_PERMISSION_DENIED"),
    })
}
