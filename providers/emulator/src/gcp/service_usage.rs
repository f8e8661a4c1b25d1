//! Service Usage: which APIs a project has. gcloud asks before it deploys.
use serde_json::{Value, json};

use super::{
    call::Call,
    project,
    status::{Code, Status},
};

/// What the local cloud answers for, each with its title.
const SERVICES: [(&str, &str); 9] = [
    ("artifactregistry.googleapis.com", "Artifact Registry API"),
    ("cloudresourcemanager.googleapis.com", "Cloud Resource Manager API"),
    ("iam.googleapis.com", "Identity and Access Management (IAM) API"),
    ("iamcredentials.googleapis.com", "IAM Service Account Credentials API"),
    ("logging.googleapis.com", "Cloud Logging API"),
    ("run.googleapis.com", "Cloud Run Admin API"),
    ("secretmanager.googleapis.com", "Secret Manager API"),
    ("serviceusage.googleapis.com", "Service Usage API"),
    ("sts.googleapis.com", "Security Token Service API"),
];

/// All of them are always enabled; any other API is one that nobody here knows.
/// <https://cloud.google.com/service-usage/docs/reference/rest/v1/services/get>
pub(crate) fn get(call: &Call<'_>) -> Result<Value, Status> {
    enabled(call, &call.parameter(1))
}

/// What is asked for is enabled already, so that the operation is done at once.
/// <https://cloud.google.com/service-usage/docs/reference/rest/v1/services/batchEnable>
pub(crate) fn enable(call: &Call<'_>) -> Result<Value, Status> {
    let ids = call.body["serviceIds"].as_array().cloned().unwrap_or_default();
    if ids.is_empty() || ids.len() > 20 {
        return Err(Status::invalid("The number of services to enable must be between 1 and 20."));
    }
    let names = ids.iter().filter_map(Value::as_str);
    let services = names.map(|name| enabled(call, name)).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({
        "name": "operations/noop.DONE_OPERATION",
        "done": true,
        "response": {
            "@type": "type.googleapis.com/google.api.serviceusage.v1.BatchEnableServicesResponse",
            "services": services,
        },
    }))
}

fn enabled(call: &Call<'_>, service: &str) -> Result<Value, Status> {
    let Some((name, title)) = SERVICES.iter().find(|(name, _)| *name == service) else {
        let text = format!("Not found or permission denied for service(s): {service}.");
        return Err(denied(text, "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED", service));
    };
    let parent = format!("projects/{}", project::number(&call.project));
    Ok(json!({
        "name": format!("{parent}/services/{name}"),
        "parent": parent,
        "config": { "name": name, "title": title },
        "state": "ENABLED",
    }))
}

fn denied(text: String, reason: &str, service: &str) -> Status {
    Status::new(Code::PermissionDenied, text).with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "serviceusage.googleapis.com",
        "metadata": { "services": service },
    }))
}
