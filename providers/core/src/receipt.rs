//! What a deploy records on the live version itself; there is no state file.
use serde::{Deserialize, Serialize};

use crate::{fields::FieldPath, spec::RevisionId};

/// The format that this version writes.
pub const FORMAT: u32 = 1;

/// Written on the immutable version, only together with another change.
///
/// `owned` is always trusted. The rest is trusted only while `digest` is the live image's, because other
/// clients copy annotations from one revision to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The version of this record's form.
    pub format: u32,
    /// SHA-256 of the desired spec, without its image.
    pub config: String,
    /// The source's git commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The image's digest.
    pub digest: String,
    /// The revision that served before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RevisionId>,
    /// When, RFC 3339; empty until it is applied.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// Who; empty where the credentials do not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Names of the fields that carrack.toml has set, sorted.
    pub owned: Vec<FieldPath>,
}

/// Who deploys, when, and from which commit: what a plan cannot know, stamped when it is applied.
#[derive(Clone, Debug, Default)]
pub struct Stamp {
    /// The source's git commit.
    pub commit: Option<String>,
}

impl Receipt {
    /// The receipt as it is written: with time, principal and commit.
    #[must_use]
    pub fn stamped(mut self, stamp: &Stamp, by: Option<&str>) -> Self {
        self.commit = stamp.commit.clone();
        self.at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.by = by.unwrap_or_default().to_owned();
        self
    }
}
