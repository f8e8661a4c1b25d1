//! How refusals name types: as the protocol buffers do, which the discovery documents do not say.
use super::schema::{Document, Field};

pub(super) fn type_name(field: &Field) -> String {
    match (field.kind.as_deref(), field.format.as_deref()) {
        (Some("boolean"), _) => "TYPE_BOOL",
        (Some("integer"), _) => "TYPE_INT32",
        (Some("number"), _) => "TYPE_FLOAT",
        (Some("array"), _) => "TYPE_REPEATED",
        (_, Some("int64")) => "TYPE_INT64",
        (_, Some("byte")) => "TYPE_BYTES",
        _ => "TYPE_STRING",
    }
    .to_owned()
}

pub(super) fn message_name(document: &Document, schema: &str) -> String {
    for (prefix, package) in [
        ("GoogleCloudRunV2", "google.cloud.run.v2."),
        ("GoogleIamV1", "google.iam.v1."),
        ("GoogleLongrunning", "google.longrunning."),
        ("GoogleType", "google.type."),
    ] {
        if let Some(name) = schema.strip_prefix(prefix) {
            return format!("{package}{name}");
        }
    }
    match document.name.as_str() {
        "run" => format!("google.cloud.run.{}.{schema}", document.version),
        "artifactregistry" => format!("google.devtools.artifactregistry.v1.{schema}"),
        "logging" => format!("google.logging.v2.{schema}"),
        "secretmanager" => format!("google.cloud.secretmanager.v1.{schema}"),
        _ => schema.to_owned(),
    }
}

/// The discovery documents do not name enums; these are the ones of
/// <https://github.com/googleapis/googleapis/tree/master/google/cloud/run/v2>, others are named after their field.
pub(super) fn enum_name(document: &Document, (schema, property): (&str, &str)) -> String {
    match property {
        "ingress" => "google.cloud.run.v2.IngressTraffic".to_owned(),
        "launchStage" => "google.api.LaunchStage".to_owned(),
        "executionEnvironment" => "google.cloud.run.v2.ExecutionEnvironment".to_owned(),
        "type" if schema.contains("TrafficTarget") => "google.cloud.run.v2.TrafficTargetAllocationType".to_owned(),
        "egress" => "google.cloud.run.v2.VpcAccess.VpcEgress".to_owned(),
        "encryptionKeyRevocationAction" => "google.cloud.run.v2.EncryptionKeyRevocationAction".to_owned(),
        _ => {
            let mut letters = property.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            let name: String = first.into_iter().chain(letters).collect();
            format!("{}.{name}", message_name(document, schema))
        }
    }
}
