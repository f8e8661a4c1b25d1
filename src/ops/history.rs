//! What ran, and runs: each revision with what its deploy recorded.
use std::collections::BTreeMap;

use carrack_core::{
    Result,
    event::Ctx,
    observed::{Readiness, Revision},
    provider::Provider,
    spec::{RevisionId, ServiceName},
};
use serde::Serialize;

use super::observe::missing;

/// One revision, as its history tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Its name.
    pub revision: RevisionId,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Whether Carrack deployed it.
    pub by: Client,
    /// Who did; `None` where neither the deploy nor the cloud tells.
    pub who: Option<String>,
    /// The source's git commit, where the deploy knew it.
    pub commit: Option<String>,
    /// What it runs.
    pub image: String,
    /// By digest, where the reference has one.
    pub digest: Option<String>,
    /// Its share of the traffic.
    pub percent: u8,
    /// The names by which it is reached, each with its URL.
    pub tags: BTreeMap<String, Option<String>>,
    /// Whether it can serve.
    pub readiness: Readiness,
    /// The revision that served before.
    pub previous: Option<RevisionId>,
    /// The revision whose settings a rollback made these again.
    pub restored: Option<RevisionId>,
}

/// Who made a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Client {
    /// A deploy of ours.
    Carrack,
    /// The console, gcloud, Terraform, …
    Others,
}

/// Every revision, newest first. A service that is not there is an error.
pub async fn history(cx: &Ctx, provider: &dyn Provider, name: &ServiceName) -> Result<Vec<Entry>> {
    let revisions = provider.revisions(cx, name).await?;
    if revisions.is_empty() {
        return Err(missing(provider, name));
    }
    Ok(revisions.iter().map(Entry::of).collect())
}

impl Entry {
    /// As it was listed.
    pub fn of(revision: &Revision) -> Self {
        let receipt = revision.deployed();
        let by = receipt.map(|receipt| receipt.by.clone()).filter(|by| !by.is_empty());
        Self {
            revision: revision.id.clone(),
            created: revision.created.clone(),
            by: if receipt.is_some() { Client::Carrack } else { Client::Others },
            who: by.or_else(|| revision.creator.clone()),
            commit: receipt.and_then(|receipt| receipt.commit.clone()),
            image: revision.image.0.clone(),
            digest: revision.image.digest().map(str::to_owned),
            percent: revision.percent,
            tags: revision.tags.clone(),
            readiness: revision.readiness.clone(),
            previous: receipt.and_then(|receipt| receipt.previous.clone()),
            restored: receipt.and_then(|receipt| receipt.restored.clone()),
        }
    }
}
