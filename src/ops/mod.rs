//! What the commands do, over any provider: no clap, no printing, no exit.
#[cfg(test)]
mod conflict;
mod converge;
pub mod deploy;
pub mod deploy_secrets;
pub mod destroy;
pub mod dossier;
pub mod drift;
pub mod history;
pub mod image;
pub mod import;
pub mod job_runs;
pub mod jobs;
pub mod observe;
pub mod outdated;
pub mod permissions;
pub mod registries;
pub mod rollback;
mod rollout;
pub mod saved_plan;
pub mod secrets;
pub mod traffic;
pub mod verify;

use std::time::Duration;

use carrack_core::{
    Result,
    run::RunReport,
    spec::{RevisionId, ServiceRef},
};
use serde::Serialize;

/// What came of a command: the last event of every one.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where.
    pub service: ServiceRef,
    /// In a word.
    pub result: Outcome,
    /// Where it answers.
    pub url: Option<String>,
    /// The revision that serves; after a deploy without traffic the new one.
    pub revision: Option<RevisionId>,
    /// The image's digest.
    pub digest: Option<String>,
    /// The tag that the deploy gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<TagUrl>,
    /// What the service answered.
    pub probe: Option<verify::Probe>,
    /// What was done, step by step.
    pub run: Option<RunReport>,
    /// In all.
    #[serde(rename = "elapsed_ms", serialize_with = "millis")]
    pub elapsed: Duration,
}

/// A revision's tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TagUrl {
    /// Its name.
    pub name: String,
    /// Where it answers by it.
    pub url: Option<String>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The service is as the file says.
    Deployed,
    /// It was so before.
    NoChanges,
    /// It is as it was before.
    RolledBack,
    /// It is gone.
    Destroyed,
}

fn millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
