//! What a deploy records on the live version itself; there is no state file.
use serde::{Deserialize, Serialize};

use crate::{
    fields::FieldPath,
    observed::Revision,
    spec::{ImageRef, RevisionId},
};

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
    /// The revision whose settings these are again, after a rollback of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<RevisionId>,
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
    /// What of it is to be trusted while this image is live: other clients copy annotations on, and then only `owned` is.
    #[must_use]
    pub fn of_image(self, image: Option<&ImageRef>) -> Self {
        if image.and_then(ImageRef::digest) == Some(self.digest.as_str()) { self } else { self.copied() }
    }

    /// The receipt as it is written: with time, principal and commit.
    #[must_use]
    pub fn stamped(mut self, stamp: &Stamp, by: Option<&str>) -> Self {
        self.commit = stamp.commit.clone();
        self.at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.by = by.unwrap_or_default().to_owned();
        self
    }

    /// Whether more than `owned` is to be trusted: it has its time, which one that was copied on loses.
    pub fn is_trusted(&self) -> bool {
        !self.at.is_empty()
    }

    /// What is left of a receipt that another client copied on.
    #[must_use]
    pub fn copied(self) -> Self {
        Self { commit: None, previous: None, restored: None, at: String::new(), by: String::new(), ..self }
    }
}

/// A receipt that an older revision has as well was copied on by another client, whatever image it is about: no two
/// deploys write the same. `revisions` are newest first.
pub fn distrust_copies(revisions: &mut [Revision]) {
    for index in 0..revisions.len() {
        let (newer, older) = revisions.split_at_mut(index + 1);
        let Some(newest) = newer.last_mut() else { continue };
        let same = |older: &&Revision| older.receipt == newest.receipt;
        if newest.deployed().is_some() && older.iter().any(|older| same(&older)) {
            newest.receipt = newest.receipt.take().map(Receipt::copied);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observed::Readiness,
        spec::{ImageRef, ServiceSpec},
    };

    fn revision(receipt: Option<&str>) -> Revision {
        let receipt = receipt.map(|at| Receipt {
            format: FORMAT,
            config: "c".into(),
            commit: Some("abc".into()),
            digest: "d".into(),
            previous: None,
            restored: None,
            at: at.into(),
            by: "me".into(),
            owned: vec!["env.A".into()],
        });
        Revision {
            id: RevisionId("r".into()),
            image: ImageRef("i".into()),
            percent: 0,
            readiness: Readiness::Ready,
            created: String::new(),
            creator: None,
            tags: Default::default(),
            receipt,
            spec: ServiceSpec::default(),
            raw: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_receipt_that_was_copied_on_tells_what_is_owned_and_no_more() {
        let mut list = [Some("3"), Some("2"), Some("2"), Some("2"), None, Some("1")].map(revision);
        distrust_copies(&mut list);
        let told: Vec<_> = list.iter().map(|one| one.deployed().map(|receipt| receipt.at.as_str())).collect();
        assert_eq!(told, [Some("3"), None, None, Some("2"), None, Some("1")]);
        let copied = list[1].receipt.as_ref().expect("it is there");
        assert_eq!((copied.owned.as_slice(), &copied.commit), (&["env.A".to_owned()][..], &None));
    }

    #[test]
    fn receipts_of_other_versions_are_read() {
        let old = r#"{"format":1,"config":"c","digest":"d","owned":["env.A"],"at":"2026-01-01T00:00:00Z"}"#;
        let newer = r#"{"format":1,"config":"c","digest":"d","owned":[],"of":"tomorrow","restored":"r-1"}"#;
        let read = |text| serde_json::from_str::<Receipt>(text).expect("it is read");
        assert_eq!((read(old).restored, read(old).owned.len()), (None, 1));
        assert_eq!(read(newer).restored, Some(RevisionId("r-1".into())));
    }
}
