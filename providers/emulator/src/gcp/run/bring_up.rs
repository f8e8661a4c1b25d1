//! From a revision's template to an instance that listens.
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    condition::{Failure, Reason},
    image::Reference,
    names::Key,
    revision::{Revision, State},
    service::Service,
    settle::settle,
    starter::Starter,
    template,
};
use crate::{
    gcp::{
        access, repository_policy,
        status::{Code, Status},
    },
    image::{Image, ImageError},
    router::{
        Backend, Started,
        backend::{GRACE, Settings},
    },
};

/// Runs beside everything else; no lock is held while it waits.
pub(super) fn spawn(service: &Arc<Service>, revision: &Revision, fail: Option<Status>) {
    let (name, template, cancelled) = (revision.name.clone(), revision.template.clone(), revision.cancelled.clone());
    let task = bring_up(service.clone(), name, template, cancelled, fail);
    service.tasks.spawn(task);
}

struct Up {
    digest: String,
    backend: Arc<Backend>,
    started: Started,
}

async fn bring_up(
    service: Arc<Service>,
    name: String,
    template: Value,
    cancelled: CancellationToken,
    fail: Option<Status>,
) {
    let mut digest = None;
    let result = match fail {
        Some(Status { code, message, .. }) => Err(Failure { code, message, reason: Reason::Common("INTERNAL") }),
        None => first_instance(&service, &name, template, &cancelled, &mut digest).await,
    };
    let late = {
        let mut state = service.state();
        let deleted = state.deleted.is_some();
        let revision = state.revisions.iter_mut().find(|revision| revision.name == name);
        match (result, revision) {
            (Ok(up), Some(revision)) if !deleted => {
                revision.digest = Some(up.digest);
                up.backend.adopt(up.started);
                revision.settle(State::Ready(up.backend));
                None
            }
            (Err(failure), Some(revision)) => {
                revision.digest = digest;
                revision.settle(State::Failed(failure));
                None
            }
            (Ok(up), _) => Some(up),
            (Err(_), None) => None,
        }
    };
    if let Some(up) = late {
        up.backend.adopt(up.started);
        up.backend.close(GRACE).await;
    }
    settle(&service);
}

async fn first_instance(
    service: &Service,
    name: &str,
    template: Value,
    cancelled: &CancellationToken,
    digest: &mut Option<String>,
) -> Result<Up, Failure> {
    let (key, parts) = (&service.key, &service.parts);
    supported(key, name, &template)?;
    let image = resolve(service, &template, digest).await?;
    let runtime = parts.runtime.clone().map_err(|why| Failure {
        code: Code::FailedPrecondition,
        message: format!("The local cloud cannot run containers on this machine: {why}"),
        reason: Reason::Common("INTERNAL"),
    })?;
    let settings = Settings { http2: template::is_http2(&template), timeout: template::timeout(&template) };
    let digest = digest.clone().unwrap_or_default();
    let starter = Arc::new(Starter {
        key: key.clone(),
        revision: name.to_owned(),
        template,
        image,
        runtime,
        logs: parts.logs.clone(),
    });
    let started = starter.bring_up(cancelled).await?;
    Ok(Up { digest, backend: Backend::new(name.to_owned(), settings, starter), started })
}

/// What the local cloud does not do is refused here, and not left out in silence.
fn supported(key: &Key, revision: &str, template: &Value) -> Result<(), Failure> {
    let containers = template["containers"].as_array().map_or(0, Vec::len);
    let refuse = |message: String| {
        let reason = Reason::Common("UNKNOWN");
        Err(Failure { code: Code::Unimplemented, message, reason })
    };
    if containers > 1 {
        return refuse("The local cloud runs one container for each instance: sidecars are not supported.".to_owned());
    }
    if let Some(volume) = template["volumes"].as_array().and_then(|volumes| volumes.first()) {
        return refuse(format!("The local cloud does not mount volumes: {} is one.", volume["name"]));
    }
    let Some(container) = template::ingress(template) else {
        return Ok(());
    };
    for (index, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        let Some(reference) = variable["valueSource"].get("secretKeyRef") else {
            continue;
        };
        let secret = reference["secret"].as_str().unwrap_or_default();
        let path = match secret.strip_prefix("projects/") {
            Some(_) => secret.to_owned(),
            None => format!("projects/{}/secrets/{secret}", key.project_number()),
        };
        let version = reference["version"].as_str().unwrap_or("latest");
        tracing::debug!(revision, secret, "a secret that does not exist");
        // There is no Secret Manager here, so there is no secret.
        return Err(Failure {
            code: Code::Internal,
            message: format!(
                "spec.template.spec.containers[0].env[{index}].value_from.secret_key_ref.name: Secret {path}/versions/{version} was not found"
            ),
            reason: Reason::Common("SECRETS_ACCESS_CHECK_FAILED"),
        });
    }
    Ok(())
}

/// The tag becomes a digest when the revision is made, and stays it.
async fn resolve(service: &Service, template: &Value, digest: &mut Option<String>) -> Result<Image, Failure> {
    let text = template::ingress(template).and_then(|container| container["image"].as_str()).unwrap_or_default();
    let missing = |message: String, code| Failure { code, message, reason: Reason::Common("CONTAINER_MISSING") };
    let reference =
        Reference::parse(text).ok_or_else(|| missing(format!("Image '{text}' not found."), Code::NotFound))?;
    readable(service, text, &reference.name)?;
    match service.parts.images.image(&reference.name, &reference.version).await {
        Ok(mut image) => {
            *digest = Some(format!("{}@{}", reference.name, image.digest));
            text.clone_into(&mut image.reference);
            Ok(image)
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
fn readable(service: &Service, text: &str, name: &str) -> Result<(), Failure> {
    let (key, parts) = (&service.key, &service.parts);
    let Some(repository) = access::repository(&parts.projects, name) else { return Ok(()) };
    let other = repository.split('/').nth(1).unwrap_or_default();
    let agent = repository_policy::service_agent(&key.project_number());
    if other == key.project || repository_policy::agent_may_read(&parts.repositories, &repository, &agent) {
        return Ok(());
    }
    let own = &key.project;
    let agent = format!("Google Cloud Run Service Agent {agent}");
    Err(Failure {
        code: Code::PermissionDenied,
        message: format!(
            "{agent} must have permission to read the image, {text}. Ensure that the provided container image URL is correct and that the above account has permission to access the image. If you just enabled the Cloud Run API, the permissions might take a few minutes to propagate. Note that the image is from project [{other}], which is not the same as this project [{own}]. Permission must be granted to the {agent} from this project."
        ),
        reason: Reason::Common("CONTAINER_PERMISSION_DENIED"),
    })
}
