//! How each API says that a permission is missing.
use serde_json::json;

use crate::gcp::status::{Code, Status};

pub(crate) fn refuse(api: &str, permission: &str, resource: &str) -> Status {
    let (message, domain) = match api {
        "artifactregistry.googleapis.com" => (
            format!(
                "Permission '{permission}' denied on resource '//artifactregistry.googleapis.com/{resource}' (or it may not exist)."
            ),
            api,
        ),
        "secretmanager.googleapis.com" => (
            format!("Permission '{permission}' denied for resource '{resource}' (or it may not exist)."),
            "iam.googleapis.com",
        ),
        // https://cloud.google.com/iam/docs/permission-error-messages
        "iam.googleapis.com" | "iamcredentials.googleapis.com" => {
            (format!("Permission '{permission}' denied on resource (or it may not exist)."), "iam.googleapis.com")
        }
        "logging.googleapis.com" => {
            return Status::new(Code::PermissionDenied, "Permission denied for all log views");
        }
        "cloudresourcemanager.googleapis.com" => {
            return Status::new(Code::PermissionDenied, "The caller does not have permission");
        }
        "serviceusage.googleapis.com" => {
            let service = resource.rsplit('/').next().unwrap_or_default();
            let text = format!("Permission denied to get service [{service}]");
            return Status::new(Code::PermissionDenied, text).with_detail(json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "AUTH_PERMISSION_DENIED",
                "domain": "serviceusage.googleapis.com",
                "metadata": { "services": service },
            }));
        }
        _ => (format!("Permission '{permission}' denied on resource '{resource}' (or resource may not exist)."), api),
    };
    Status::new(Code::PermissionDenied, message).with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED",
        "domain": domain,
        "metadata": { "permission": permission, "resource": resource },
    }))
}

/// Of whoever deploys an image that they may not read.
pub(crate) fn refuse_to_deploy(image: &str, repository: &str) -> Status {
    Status::new(
        Code::PermissionDenied,
        format!(
            "User must have permission to read the image, {image}. Ensure that the provided container image URL is correct and that the above account has permission to access the image. If you just enabled the Cloud Run API, the permissions might take a few minutes to propagate. Permission \"artifactregistry.repositories.downloadArtifacts\" denied on resource \"{repository}\" (or it may not exist)"
        ),
    )
}

/// Of whoever deploys something that runs as another account.
pub(crate) fn refuse_to_act_as(account: &str) -> Status {
    Status::new(
        Code::PermissionDenied,
        format!("Permission 'iam.serviceaccounts.actAs' denied on service account {account} (or it may not exist)."),
    )
    .with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED",
        "domain": "iam.googleapis.com",
        "metadata": { "permission": "iam.serviceAccounts.actAs" },
    }))
}
