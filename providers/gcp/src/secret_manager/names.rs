//! A secret by its short or its whole name.
use carrack_core::{Error, ErrorKind, Result, plan::ResourceRef, secret::LATEST};

/// <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets/create#query-parameters>
const LONGEST_ID: usize = 255;

/// Which secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretName {
    /// By its id or number.
    pub(super) project: String,
    pub(super) id: String,
    /// It is in the target's own project.
    pub(super) own: bool,
}

impl SecretName {
    /// `db-url`, of the target's own project, or `projects/other/secrets/db-url`.
    pub(super) fn parse(text: &str, own: &str) -> Result<Self> {
        let name = Self::unchecked(text, own);
        let project = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
        if !is_id(&name.id) {
            let wrong = format!("`{text}` is no name of a secret");
            return Err(Error::new(ErrorKind::ConfigInvalid, wrong)
                .hint(format!("use 1 to {LONGEST_ID} letters, digits, `-` and `_`; a secret of another project is `projects/PROJECT/secrets/NAME`")));
        }
        if !name.project.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.project.chars().all(project) {
            let wrong = format!("`{}` in `{text}` is no name of a project", name.project);
            return Err(Error::new(ErrorKind::ConfigInvalid, wrong));
        }
        Ok(name)
    }

    /// The same, whatever it is made of.
    pub(super) fn unchecked(text: &str, own: &str) -> Self {
        match text.strip_prefix("projects/").and_then(|rest| rest.split_once("/secrets/")) {
            Some((project, id)) => Self { project: project.to_owned(), id: id.to_owned(), own: project == own },
            None => Self { project: own.to_owned(), id: text.to_owned(), own: true },
        }
    }

    /// As Google's API names it.
    pub(super) fn full(&self) -> String {
        format!("projects/{}/secrets/{}", self.project, self.id)
    }

    /// As a user names it: short in the own project.
    pub(super) fn shown(&self) -> String {
        if self.own { self.id.clone() } else { self.full() }
    }

    pub(super) fn resource(&self) -> ResourceRef {
        ResourceRef::new("secret", self.shown())
    }
}

fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(is_part)
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// A number, an alias or `latest`: <https://cloud.google.com/secret-manager/docs/assign-alias-to-secret-version>
pub(super) fn version(text: &str) -> Result<&str> {
    let good = if text.starts_with(|c: char| c.is_ascii_digit()) {
        text.bytes().all(|byte| byte.is_ascii_digit())
    } else {
        !text.is_empty() && text.len() <= 63 && text.bytes().all(is_part)
    };
    if good {
        return Ok(text);
    }
    Err(Error::new(ErrorKind::ConfigInvalid, format!("`{text}` is no version of a secret"))
        .hint(format!("use a number, an alias or `{LATEST}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_by_its_short_or_whole_name() {
        let own = SecretName::parse("db-url", "p").expect("a name");
        assert_eq!((own.full().as_str(), own.shown().as_str()), ("projects/p/secrets/db-url", "db-url"));
        assert_eq!(SecretName::parse("projects/p/secrets/db-url", "p").expect("a name"), own);
        let other = SecretName::parse("projects/example.com:q/secrets/DB_URL", "p").expect("a name");
        assert_eq!((other.own, other.shown()), (false, "projects/example.com:q/secrets/DB_URL".to_owned()));
        for wrong in [
            "",
            "a.b",
            "a/b",
            "a b",
            "é",
            "projects/q/secrets/",
            "projects//secrets/a",
            "projects/../secrets/a",
            "projects/q?x/secrets/a",
            "projects/q/secrets/a/versions/1",
            "projects/q/locations/l/secrets/a",
            &"a".repeat(256),
        ] {
            let error = SecretName::parse(wrong, "p").expect_err(wrong);
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{wrong}");
        }
        assert!(SecretName::parse(&"a".repeat(255), "p").is_ok());
    }

    #[test]
    fn a_version_is_a_number_an_alias_or_latest() {
        for good in ["1", "12", LATEST, "prod", "a-b_C1"] {
            assert_eq!(version(good).ok(), Some(good));
        }
        for wrong in ["", "1a", "-1 ", "1/2", "1:access", "a.b", "..", &"a".repeat(64)] {
            assert_eq!(version(wrong).expect_err(wrong).kind(), ErrorKind::ConfigInvalid, "{wrong}");
        }
    }
}
