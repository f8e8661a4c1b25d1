//! Service Usage: whether a project may use an API. gcloud asks before its first call of one.
use serde_json::{Value, json};

use super::{
    call::Call,
    project,
    status::{Code, Status},
};

/// The APIs that are answered here; they are enabled in every project.
const ENABLED: [(&str, &str); 7] = [
    ("artifactregistry.googleapis.com", "Artifact Registry API"),
    ("cloudresourcemanager.googleapis.com", "Cloud Resource Manager API"),
    ("iam.googleapis.com", "Identity and Access Management (IAM) API"),
    ("logging.googleapis.com", "Cloud Logging API"),
    ("run.googleapis.com", "Cloud Run Admin API"),
    ("secretmanager.googleapis.com", "Secret Manager API"),
    ("serviceusage.googleapis.com", "Service Usage API"),
];

/// <https://cloud.google.com/service-usage/docs/reference/rest/v1/services/get>
pub(crate) fn get(call: &Call<'_>) -> Result<Value, Status> {
    let (parent, name) = (format!("projects/{}", call.project), call.parameter(1));
    call.authorize("serviceusage.services.get", &parent)?;
    let Some((_, title)) = ENABLED.iter().find(|(known, _)| *known == name) else {
        let text = format!("The local cloud has no service '{name}'.");
        return Err(Status::new(Code::NotFound, text));
    };
    let parent = format!("projects/{}", project::number(&call.project));
    Ok(json!({
        "name": format!("{parent}/services/{name}"),
        "parent": parent,
        "config": { "name": name, "title": title },
        "state": "ENABLED",
    }))
}
