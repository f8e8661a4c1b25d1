//! What is live.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    fields::FieldPath,
    receipt::Receipt,
    spec::{ImageRef, RevisionId, SecretRef, ServiceSpec},
};

/// The answer to one look at a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Observed {
    /// `None` when it does not exist.
    pub service: Option<ObservedService>,
    /// The version of what was read.
    pub fingerprint: Fingerprint,
}

/// A live service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObservedService {
    /// The live resource as it was read, so that unknown fields survive an edit.
    pub raw: serde_json::Value,
    /// What the last deploy recorded; `None` when Carrack never deployed it.
    pub receipt: Option<Receipt>,
    /// The live resource in neutral words.
    pub spec: ServiceSpec,
    /// Who gets how much traffic now.
    pub traffic: TrafficSplit,
    /// Who shall get how much, and who has a tag: what was asked for.
    #[serde(default)]
    pub targets: Vec<TrafficTarget>,
    /// The revision made last.
    pub latest: Option<RevisionId>,
    /// The revision made last that became ready.
    pub latest_ready: Option<RevisionId>,
    /// Where it answers.
    pub url: Option<String>,
    /// Whether it is as it was last asked to be.
    pub readiness: Readiness,
    /// The same of its parts, by the cloud's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, Readiness>,
}

impl ObservedService {
    /// The revision that serves: the one with the largest share, of two the newer one by name; else the newest that is
    /// ready.
    pub fn serving(&self) -> Option<RevisionId> {
        let most = self.traffic.0.iter().max_by_key(|(id, percent)| (**percent, (*id).clone()));
        most.map(|(id, _)| id.clone()).or_else(|| self.latest_ready.clone())
    }
}

/// Percent of the traffic by revision; the sum is 100, or 0 when nothing serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrafficSplit(pub BTreeMap<RevisionId, u8>);

/// Where traffic is sent: to the newest revision, or to one by its name; by its share, by a tag of its own, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficTarget {
    /// To the newest revision that is ready, whichever that is.
    pub latest: bool,
    /// To this one.
    pub revision: Option<RevisionId>,
    /// Its share; 0 with a tag alone.
    pub percent: u8,
    /// The name by which it is reached at a URL of its own.
    pub tag: Option<String>,
    /// That URL, once the cloud has made it.
    pub url: Option<String>,
}

/// Whether the cloud has done what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Done.
    Ready,
    /// Still at it; the cloud's words.
    Progressing(String),
    /// It gave up; the cloud's words.
    Failed(String),
}

/// Opaque version of what was read (an etag, a generation); `apply` sends it back as a precondition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

/// One service in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSummary {
    /// The cloud's name of it; services of others may have names that ours may not.
    pub name: String,
    /// Where it answers.
    pub url: Option<String>,
    /// Whether it is as it was last asked to be.
    pub readiness: Readiness,
    /// Whether Carrack deployed it.
    pub ours: bool,
    /// Its secrets, by the names of their fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<FieldPath, SecretRef>,
}

/// One revision in a listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// The cloud's name of it.
    pub id: RevisionId,
    /// What it runs.
    pub image: ImageRef,
    /// Its share of the traffic.
    pub percent: u8,
    /// Whether it can serve.
    pub readiness: Readiness,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Who made it, as the cloud says.
    #[serde(default)]
    pub creator: Option<String>,
    /// The names by which it is reached whatever its share, each with its URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Option<String>>,
    /// What a deploy recorded on it; as far as it [is trusted](Receipt::is_trusted).
    #[serde(default)]
    pub receipt: Option<Receipt>,
    /// The settings that the service has with it; those that are no revision's are the live ones.
    #[serde(skip)]
    pub spec: ServiceSpec,
    /// As it was read, so that unknown fields survive.
    #[serde(skip)]
    pub raw: serde_json::Value,
}

impl Revision {
    /// What the deploy that made it recorded; `None` when another client made it.
    pub fn deployed(&self) -> Option<&Receipt> {
        self.receipt.as_ref().filter(|receipt| receipt.is_trusted())
    }

    /// Whether it can serve.
    pub fn is_ready(&self) -> bool {
        self.readiness == Readiness::Ready
    }
}
