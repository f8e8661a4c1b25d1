//! How Cloud Run reads a secret for a container, and why it cannot.
use std::fmt;

use super::{bytes::SecretBytes, names::SecretName, store::Secrets};

/// Why a service account cannot have a value. The text is what Cloud Run says behind the field's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// No such secret, or no such version of it.
    NotFound(String),
    /// No policy gives the account the value.
    Denied(String),
    /// The version is disabled or destroyed.
    NotEnabled(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotFound(text) | Self::Denied(text) | Self::NotEnabled(text)) = self;
        formatter.write_str(text)
    }
}

impl Secrets {
    /// The value that `version` (`latest`, a number or an alias) has now, for a service account given by its e-mail.
    /// <https://cloud.google.com/run/docs/configuring/services/secrets>
    pub(crate) fn read(&self, name: &SecretName, version: &str, account: &str) -> Result<SecretBytes, Unreadable> {
        let mut store = self.lock();
        let full = format!("{name}/versions/{version}");
        let missing = || Unreadable::NotFound(format!("Secret {full} was not found"));
        let Ok(secret) = store.find(name) else {
            return Err(missing());
        };
        if !self.grants.account_may(account, "secretmanager.versions.access", &name.project, Some(&secret.policy)) {
            return Err(Unreadable::Denied(format!(
                "Permission denied on secret: {full} for Revision service account {account}. The service account used must be granted the 'Secret Manager Secret Accessor' role (roles/secretmanager.secretAccessor) at the secret, project or higher level."
            )));
        }
        let number = secret.number(version).map_err(|_| missing())?;
        secret.value(number).map(SecretBytes::copy).map_err(|status| {
            let given = name.given();
            Unreadable::NotEnabled(format!("Failed to access secret {given}/versions/{version}: {}", status.message))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::gcp::secret_manager::store::{Content, Version, now};

    const ACCOUNT: &str = "1-compute@developer.gserviceaccount.com";

    #[test]
    fn a_value_is_for_an_account_that_was_granted_it() {
        let secrets = Secrets::default();
        let name = SecretName::parse("db-url", "1").expect("a name");
        let read = |version: &str| secrets.read(&name, version, ACCOUNT).map(|value| value.expose().to_vec());
        let missing = |version: &str| {
            Err(Unreadable::NotFound(format!("Secret projects/1/secrets/db-url/versions/{version} was not found")))
        };
        assert_eq!(read("latest"), missing("latest"));
        secrets.lock().insert(&name, Map::new(), None).expect("new");
        let denied = read("latest").expect_err("denied");
        assert_eq!(
            denied.to_string(),
            "Permission denied on secret: projects/1/secrets/db-url/versions/latest for Revision service account 1-compute@developer.gserviceaccount.com. The service account used must be granted the 'Secret Manager Secret Accessor' role (roles/secretmanager.secretAccessor) at the secret, project or higher level."
        );
        let member = format!("serviceAccount:{ACCOUNT}");
        secrets.lock().find(&name).expect("there").policy =
            json!({ "bindings": [{ "role": "roles/secretmanager.secretAccessor", "members": [member] }] });
        assert_eq!(read("latest"), missing("latest"));
        {
            let mut store = secrets.lock();
            let secret = store.find(&name).expect("there");
            secret.fields.insert("versionAliases".to_owned(), json!({ "prod": "1" }));
            for content in [
                Content::Enabled(SecretBytes::new(b"hunter-1".to_vec())),
                Content::Destroyed(now()),
                Content::Disabled(SecretBytes::new(b"hunter-3".to_vec())),
            ] {
                secret.versions.push(Version {
                    created: now(),
                    etag: String::new(),
                    content,
                    checked: false,
                    scheduled: None,
                });
            }
        }
        assert_eq!(read("1"), Ok(b"hunter-1".to_vec()));
        assert_eq!(read("prod"), Ok(b"hunter-1".to_vec()));
        assert_eq!(read("4"), missing("4"));
        assert_eq!(read("staging"), missing("staging"));
        for (version, number, state) in [("2", 2, "DESTROYED"), ("latest", 3, "DISABLED")] {
            assert_eq!(
                read(version),
                Err(Unreadable::NotEnabled(format!(
                    "Failed to access secret projects/1/secrets/db-url/versions/{version}: Secret Version [projects/1/secrets/db-url/versions/{number}] is in {state} state."
                )))
            );
        }
        assert!(!format!("{secrets:?}").contains("hunter"));
    }
}
