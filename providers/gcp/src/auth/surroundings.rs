//! What credentials are found by. Read outside and handed down: nothing here looks at the environment itself.
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use carrack_core::{Error, ErrorKind, Result};

/// The variables that have a say, beside the one that [`Federation::variable`] names.
pub const VARIABLES: &[&str] = &[
    "CARRACK_ACCESS_TOKEN",
    "CARRACK_ACCESS_TOKEN_FILE",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
    "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "CLOUDSDK_CONFIG",
    "HOME",
    "APPDATA",
    "GCE_METADATA_HOST",
    "NO_GCE_CHECK",
];

/// What credentials are found by.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Those of [`VARIABLES`] that are set and not empty.
    pub variables: BTreeMap<String, String>,
    /// The service account to speak for, in place of whoever the credentials are of; several, joined by commas, are a
    /// chain whose last one it is.
    pub impersonate: Option<String>,
    /// How a CI's own token is exchanged.
    pub federation: Option<Federation>,
}

/// How a CI's own token is exchanged: <https://cloud.google.com/iam/docs/workload-identity-federation>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation {
    /// `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`.
    pub provider: String,
    /// The service account to speak for; `None` = the federated identity itself.
    pub service_account: Option<String>,
    /// The variable that holds the CI's token, where there is no server to ask for one.
    pub variable: String,
}

impl Federation {
    /// The name that Google's token service knows it by.
    pub(super) fn audience(&self) -> String {
        format!("//iam.googleapis.com/{}", self.provider)
    }
}

impl Surroundings {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// <https://cloud.google.com/docs/authentication/application-default-credentials#personal>
    pub(super) fn application_default(&self) -> Option<PathBuf> {
        let folder = self.get("CLOUDSDK_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| match cfg!(windows) {
            true => Some(PathBuf::from(self.get("APPDATA")?).join("gcloud")),
            false => Some(PathBuf::from(self.get("HOME")?).join(".config/gcloud")),
        })?;
        Some(folder.join("application_default_credentials.json"))
    }
}

/// The file that a variable names. What is not plainly a path may be the key or the token itself, and is never shown.
pub(super) fn path_in<'a>(name: &str, value: &'a str) -> Result<&'a Path> {
    let path = Path::new(value);
    if (value.len() < 4096 && path.exists()) || is_plainly_a_path(value) {
        return Ok(path);
    }
    Err(Error::new(ErrorKind::Unauthenticated, format!("{name} names no file that exists"))
        .hint(format!("{name} takes the path of a file: what it has may be the key or the token itself"))
        .hint("GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON takes a key's JSON as it is (no base64), CARRACK_ACCESS_TOKEN a token"))
}

fn is_plainly_a_path(value: &str) -> bool {
    let begins = ["/", "./", "../", "~/"].iter().any(|begin| value.starts_with(begin));
    let drive = value.as_bytes().get(1..3).is_some_and(|after| after == b":\\" || after == b":/");
    let odd = |c: char| c.is_control() || "{}\"'=".contains(c);
    let opaque = value.starts_with("ya29.") || value.starts_with("ey") || value.contains("-----");
    value.len() <= 255
        && !value.contains(odd)
        && !opaque
        && (begins || drive || value.ends_with(".json") || value.ends_with(".txt"))
}

/// Values are tokens and keys.
impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("variables", &self.variables.keys())
            .field("impersonate", &self.impersonate)
            .field("federation", &self.federation)
            .finish()
    }
}
