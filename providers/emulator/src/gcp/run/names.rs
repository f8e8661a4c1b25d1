//! The names of services, revisions and tags, and the rules for them.
use std::fmt;

use super::super::{
    project,
    status::{Code, Status},
};

/// Fewer than 50 characters: <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services/create>
const SERVICE_LENGTH: usize = 49;
/// A DNS label.
const REVISION_LENGTH: usize = 63;
/// No vowels, so that no words come out.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz";

/// Which service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) project: String,
    pub(crate) location: String,
    pub(crate) service: String,
}

impl Key {
    pub(crate) fn parent(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.location)
    }

    pub(crate) fn revision(&self, revision: &str) -> String {
        format!("{self}/revisions/{revision}")
    }

    pub(crate) fn project_number(&self) -> String {
        project::number(&self.project)
    }

    pub(crate) fn not_found(&self) -> Status {
        missing("SERVICE", &self.service, &self.project, &self.location)
    }

    pub(crate) fn revision_not_found(&self, revision: &str) -> Status {
        missing("REVISION", revision, &self.project, &self.location)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/services/{}", self.parent(), self.service)
    }
}

pub(super) fn missing(kind: &str, name: &str, project: &str, location: &str) -> Status {
    let text =
        format!("Resource '{name}' of kind '{kind}' in region '{location}' in project '{project}' does not exist.");
    Status::new(Code::NotFound, text)
}

/// Lower case, digits and hyphens; a letter first, no hyphen last.
pub(super) fn is_label(name: &str, length: usize) -> bool {
    name.len() <= length
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

pub(crate) fn is_service(name: &str) -> bool {
    is_label(name, SERVICE_LENGTH)
}

pub(crate) fn is_revision(name: &str, service: &str) -> bool {
    is_label(name, REVISION_LENGTH)
        && name.strip_prefix(service).and_then(|rest| rest.strip_prefix('-')).is_some_and(|suffix| !suffix.is_empty())
}

/// `TAG---SERVICE` is a DNS label: <https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration#tags>
pub(crate) fn is_tag(tag: &str) -> bool {
    is_label(tag, REVISION_LENGTH)
}

/// As others have met it: <https://github.com/PolicyEngine/policyengine-api/issues/3729>.
pub(crate) const TAG_AND_SERVICE: usize = 46;

pub(crate) fn tag_fits(tag: &str, service: &str) -> bool {
    tag.len() + service.len() <= TAG_AND_SERVICE
}

/// `hello-00002-xyz`.
pub(crate) fn new_revision(service: &str, number: u64) -> String {
    let suffix: String = (0..3).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())])).collect();
    format!("{service}-{number:05}-{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        for (name, good) in [
            ("hello", true),
            ("h", true),
            ("hello-2", true),
            ("", false),
            ("2hello", false),
            ("hello-", false),
            ("Hello", false),
            ("he_llo", false),
            (&"a".repeat(49), true),
            (&"a".repeat(50), false),
        ] {
            assert_eq!(is_service(name), good, "{name}");
        }
        assert!(is_revision("hello-v1", "hello"));
        assert!(!is_revision("hello-", "hello"));
        assert!(!is_revision("hellov1", "hello"));
        assert!(is_tag("canary") && !is_tag("2") && !is_tag("a-"));
        assert!(tag_fits(&"a".repeat(41), "hello") && !tag_fits(&"a".repeat(42), "hello"));
        let made = new_revision("hello", 2);
        assert!(made.starts_with("hello-00002-") && is_revision(&made, "hello"), "{made}");
    }
}
