//! The names of secrets and their versions.
use std::fmt;

use crate::gcp::project;

/// <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets/create>
const LONGEST_ID: usize = 255;
/// What is always the version that was created last.
pub(super) const LATEST: &str = "latest";

/// Which secret. Answers name it by the project's number, callers by that or by the project's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretName {
    /// As it was named: an id or a number.
    pub(crate) project: String,
    pub(crate) secret: String,
}

impl SecretName {
    /// As Cloud Run takes it: `S`, a secret of the service's own project, or `projects/P/secrets/S`.
    /// <https://cloud.google.com/run/docs/reference/rest/v2/Container#secretkeyselector>
    pub(crate) fn parse(text: &str, own_project: &str) -> Option<Self> {
        let (project, secret) = match text.strip_prefix("projects/") {
            Some(rest) => rest.split_once("/secrets/")?,
            None => (own_project, text),
        };
        let good = !project.is_empty() && !project.contains('/') && is_id(secret);
        good.then(|| Self { project: project.to_owned(), secret: secret.to_owned() })
    }

    pub(crate) fn project_number(&self) -> String {
        project::number(&self.project)
    }

    /// As a caller named it.
    pub(super) fn given(&self) -> String {
        format!("projects/{}/secrets/{}", self.project, self.secret)
    }
}

/// By the project's number: what it is stored under.
impl fmt::Display for SecretName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "projects/{}/secrets/{}", self.project_number(), self.secret)
    }
}

/// Letters, digits, `_` and `-`.
pub(super) fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_by_each_of_its_names() {
        let number = project::number("local");
        for text in ["db-url", "projects/local/secrets/db-url", &format!("projects/{number}/secrets/db-url")] {
            let name = SecretName::parse(text, "local").expect("a name");
            assert_eq!(name.to_string(), format!("projects/{number}/secrets/db-url"));
            assert_eq!((name.secret.as_str(), name.project_number()), ("db-url", number.clone()));
        }
        let other = SecretName::parse("projects/other/secrets/DB_URL", "local").expect("a name");
        assert_eq!(other.given(), "projects/other/secrets/DB_URL");
        assert_ne!(other.project_number(), number);
        for wrong in
            ["", "a.b", "projects/local/secrets/a/versions/1", "projects//secrets/a", "projects/a", &"a".repeat(256)]
        {
            assert_eq!(SecretName::parse(wrong, "local"), None, "{wrong}");
        }
    }
}
