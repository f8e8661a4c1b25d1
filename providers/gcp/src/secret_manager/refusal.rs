//! Google's texts, with the secret and a command to type.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use carrack_core::{Error, ErrorKind, secret::SecretValue};
use zeroize::Zeroizing;

use super::names::SecretName;

/// The least predefined role that holds a permission: <https://cloud.google.com/secret-manager/docs/access-control>
const ROLES: [(&str, &str); 8] = [
    ("secretmanager.versions.access", "roles/secretmanager.secretAccessor"),
    ("secretmanager.versions.add", "roles/secretmanager.secretVersionAdder"),
    ("secretmanager.versions.get", "roles/secretmanager.viewer"),
    ("secretmanager.versions.list", "roles/secretmanager.viewer"),
    ("secretmanager.versions.", "roles/secretmanager.secretVersionManager"),
    ("secretmanager.secrets.get", "roles/secretmanager.viewer"),
    ("secretmanager.secrets.list", "roles/secretmanager.viewer"),
    ("secretmanager.", "roles/secretmanager.admin"),
];

/// Whether a 404 says that there is no such secret or version: one of another server says something else.
pub(super) fn is_missing(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound && error.message().starts_with("Secret ")
}

/// The cloud's refusal, as one of this secret.
pub(super) fn refused(name: &SecretName, error: Error) -> Error {
    let (text, shown) = (error.message().to_owned(), name.shown());
    let has = |part: &str| text.contains(part);
    let told = |kind, message: String, error: Error| again(kind, message, error).on(name.resource());
    match error.kind() {
        ErrorKind::NotFound if is_missing(&error) => {
            let version = text.rsplit("/versions/").next().filter(|_| text.starts_with("Secret Version ["));
            let alias = text.split_once("has no alias [").map(|(_, alias)| alias);
            if let Some(version) = version.or(alias).and_then(|rest| rest.split(']').next()) {
                return told(ErrorKind::NotFound, format!("it has no version `{version}`"), error)
                    .hint(format!("see what it has: `carrack secrets versions {shown}`"));
            }
            let none =
                if has("has no versions") { "it does not exist, or has no version" } else { "it does not exist" };
            told(ErrorKind::NotFound, format!("{none} in project `{}`", name.project), error)
                .hint("see which there are: `carrack secrets list`")
                .hint(format!("or give it a value: `carrack secrets set {shown}`"))
        }
        ErrorKind::PermissionDenied | ErrorKind::NotFound => in_project(&name.project, error).on(name.resource()),
        ErrorKind::Unclassified if has("DESTROYED") => {
            told(ErrorKind::NotFound, "the version is destroyed: its value is gone for good".to_owned(), error)
                .hint(format!("see what is left: `carrack secrets versions {shown}`"))
                .hint(format!("or give it a value anew: `carrack secrets set {shown}`"))
        }
        ErrorKind::Unclassified if has("DISABLED state") => {
            let number = text.split("/versions/").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or("latest");
            told(ErrorKind::Conflict, format!("version {number} is disabled"), error)
                .hint(format!("enable it: `carrack secrets enable {shown} {number}`"))
        }
        ErrorKind::Unclassified if has(" etag ") => {
            told(ErrorKind::Conflict, "somebody else changed it at the same time".to_owned(), error)
                .hint(format!("look at it again: `carrack secrets versions {shown}`"))
        }
        _ => error.on(name.resource()),
    }
}

/// A refusal that the project is to blame for.
pub(super) fn in_project(project: &str, error: Error) -> Error {
    let text = error.message().to_owned();
    if error.kind() != ErrorKind::PermissionDenied {
        return error;
    }
    // https://cloud.google.com/service-usage/docs/troubleshooting#api-not-enabled
    if text.contains("has not been used in project") || text.contains("it is disabled") {
        return error.hint(format!("`gcloud services enable secretmanager.googleapis.com --project {project}`"));
    }
    let Some(permission) = text.split('\'').find(|part| part.starts_with("secretmanager.")) else { return error };
    match ROLES.iter().find(|(begin, _)| permission.starts_with(begin)) {
        Some((_, role)) => error.hint(format!(
            "an owner of the project may give it: `gcloud projects add-iam-policy-binding {project} --member=user:YOU@EXAMPLE.COM --role={role}`"
        )),
        None => error,
    }
}

/// Google says so when the value and its checksum did not come as they were sent.
pub(super) fn changed_on_its_way(error: Error) -> Error {
    if error.message().contains("crc32c does not match") {
        let text = "the value was changed on its way, and nothing was stored".to_owned();
        return again(ErrorKind::Unavailable, text, error).hint("run the command again");
    }
    error
}

/// A value that is shorter stands in many a text that does not repeat it.
const SHORTEST_REPEATED: usize = 5;

/// A server that repeats what it was sent is not repeated. What is said where no server answered, or of a permission,
/// are fixed texts.
pub(super) fn without_value(error: Error, value: &SecretValue) -> Error {
    let answered = error.request().is_none_or(|request| request.status.is_some());
    if !answered || error.message().starts_with("Permission 'secretmanager.") {
        return error;
    }
    let encoded = Zeroizing::new(STANDARD.encode(value.expose()));
    let plain = Zeroizing::new(String::from_utf8_lossy(value.expose()).into_owned());
    let text = error.message();
    let repeats = |value: &str| match value.len() {
        0 => false,
        1..SHORTEST_REPEATED => ['"', '\'', '`'].iter().any(|quote| text.contains(&format!("{quote}{value}{quote}"))),
        _ => text.contains(value),
    };
    if !repeats(&encoded) && !repeats(plain.trim()) {
        return error;
    }
    let told = Error::new(error.kind(), "the cloud refused the value, in words that repeat it")
        .with_retry_after(error.retry_after());
    let told = error.hints().iter().filter(|hint| !repeats_in(hint, &encoded, plain.trim())).fold(told, Error::hint);
    let told = match error.request() {
        Some(request) => told.with_request(request.clone()),
        None => told,
    };
    if error.is_uncertain() { told.uncertain() } else { told }
}

fn repeats_in(text: &str, encoded: &str, plain: &str) -> bool {
    text.contains(encoded) || text.contains(plain)
}

/// In our words; the cloud's are below.
fn again(kind: ErrorKind, message: String, error: Error) -> Error {
    let request = error.request().cloned();
    let uncertain = error.is_uncertain();
    let mut told = Error::new(kind, message).with_retry_after(error.retry_after()).with_source(error);
    if let Some(request) = request {
        told = told.with_request(request);
    }
    if uncertain { told.uncertain() } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: ErrorKind, text: &str) -> (u8, String, Vec<String>) {
        let name = SecretName::parse("db-url", "p").expect("a name");
        let error = refused(&name, Error::new(kind, text));
        (error.kind().exit_code(), error.to_string(), error.hints().to_vec())
    }

    #[test]
    fn each_refusal_says_which_secret_and_what_to_type() {
        let secret = "projects/1/secrets/db-url";
        for (kind, text, code, message, hint) in [
            (
                ErrorKind::NotFound,
                format!("Secret [{secret}] not found"),
                30,
                "it does not exist in project `p`",
                "`carrack secrets list`",
            ),
            (
                ErrorKind::NotFound,
                format!("Secret [{secret}] not found or has no versions"),
                30,
                "it does not exist, or has no version in project `p`",
                "`carrack secrets list`",
            ),
            (
                ErrorKind::NotFound,
                format!("Secret Version [{secret}/versions/7] not found"),
                30,
                "it has no version `7`",
                "`carrack secrets versions db-url`",
            ),
            (
                ErrorKind::NotFound,
                format!("Secret [{secret}] has no alias [prod]"),
                30,
                "it has no version `prod`",
                "`carrack secrets versions db-url`",
            ),
            (
                ErrorKind::Unclassified,
                format!("Secret Version [{secret}/versions/2] is in DISABLED state"),
                31,
                "version 2 is disabled",
                "`carrack secrets enable db-url 2`",
            ),
            (
                ErrorKind::Unclassified,
                format!("Secret Version [{secret}/versions/2] is in DESTROYED state"),
                30,
                "the version is destroyed: its value is gone for good",
                "`carrack secrets versions db-url`",
            ),
            (
                ErrorKind::Unclassified,
                "The etag provided in the request does not match the resource's current etag".to_owned(),
                31,
                "somebody else changed it at the same time",
                "`carrack secrets versions db-url`",
            ),
            (
                ErrorKind::PermissionDenied,
                format!(
                    "Permission 'secretmanager.versions.access' denied for resource '{secret}/versions/latest' (or it may not exist)"
                ),
                21,
                "Permission 'secretmanager.versions.access' denied",
                "`gcloud projects add-iam-policy-binding p --member=user:YOU@EXAMPLE.COM --role=roles/secretmanager.secretAccessor`",
            ),
            (
                ErrorKind::PermissionDenied,
                "Secret Manager API has not been used in project p before or it is disabled".to_owned(),
                21,
                "Secret Manager API has not been used",
                "`gcloud services enable secretmanager.googleapis.com --project p`",
            ),
        ] {
            let (told, shown, hints) = told(kind, &text);
            assert_eq!(told, code, "{text}");
            assert!(shown.starts_with(&format!("secret `db-url`: {message}")), "{shown}");
            assert!(hints.iter().any(|known| known.contains(hint)), "{hints:?}");
        }
        // Not Secret Manager's.
        let (code, shown, hints) = told(ErrorKind::NotFound, "GET https://x/ answered 404 Not Found");
        assert_eq!((code, shown.contains("answered 404"), hints.len()), (30, true, 0));
    }

    #[test]
    fn a_refusal_never_repeats_the_value() {
        let value = SecretValue::new(b"hunter2\n".to_vec());
        for text in
            ["Invalid value at 'payload.data' (TYPE_BYTES), Base64 decoding failed for \"aHVudGVyMgo=\"", "no: hunter2"]
        {
            let error = without_value(Error::new(ErrorKind::Unclassified, text), &value);
            assert_eq!(error.message(), "the cloud refused the value, in words that repeat it");
        }
        let other = without_value(Error::new(ErrorKind::Unclassified, "no"), &value);
        assert_eq!(other.message(), "no");
    }

    #[test]
    fn a_short_value_hides_no_refusal_and_no_uncertainty() {
        let value = SecretValue::new(b"e".to_vec());
        let broken = Error::new(ErrorKind::Unavailable, "the connection broke off").uncertain();
        let error = without_value(broken, &value);
        assert_eq!((error.message(), error.is_uncertain()), ("the connection broke off", true));
        let denied = "Permission 'secretmanager.versions.add' denied";
        let error = without_value(Error::new(ErrorKind::PermissionDenied, denied), &value);
        assert_eq!(error.message(), denied);
        // Quoted, it is repeated; what may have happened stays known.
        let told = Error::new(ErrorKind::Unclassified, "no: \"e\"").uncertain().hint("wait");
        let error = without_value(told, &value);
        assert_eq!(error.message(), "the cloud refused the value, in words that repeat it");
        assert!(error.is_uncertain());
    }
}
