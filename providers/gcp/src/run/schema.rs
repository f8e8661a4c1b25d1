//! The fields of a service and a job, as Google publishes them: `schemas/trim.py` makes the file.
use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

/// <https://run.googleapis.com/$discovery/rest?version=v2>
const TRIMMED: &str = include_str!("../../schemas/run.v2.json");

/// A whole resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Service,
    #[cfg_attr(not(test), expect(dead_code, reason = "a job has no pass-through yet; its fields are only told"))]
    Job,
}

impl Root {
    /// Its message.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Service => "GoogleCloudRunV2Service",
            Self::Job => "GoogleCloudRunV2Job",
        }
    }
}

#[derive(Debug, Deserialize)]
struct Document {
    schemas: BTreeMap<String, Message>,
}

/// Fields by their names.
pub(super) type Message = BTreeMap<String, Field>;

/// One field's type.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Field {
    pub(super) r#type: String,
    pub(super) format: String,
    pub(super) r#enum: Vec<String>,
    #[serde(rename = "$ref")]
    pub(super) message: Option<String>,
    /// Nobody but the cloud sets it.
    pub(super) read_only: bool,
    pub(super) items: Option<Box<Field>>,
    pub(super) additional_properties: Option<Box<Field>>,
}

impl Field {
    /// The message that entries of this list have, where they are told apart by their `name`.
    pub(super) fn named_entries(&self) -> Option<&str> {
        let message = self.items.as_ref()?.message.as_deref()?;
        NAMED.contains(&message).then_some(message)
    }
}

/// A header may be there twice, and a port's `name` is what it speaks: lists of those are one value.
const NAMED: [&str; 4] = [
    "GoogleCloudRunV2Container",
    "GoogleCloudRunV2SandboxTemplate",
    "GoogleCloudRunV2Volume",
    "GoogleCloudRunV2VolumeMount",
];

/// The fields of a message; only the cloud's own have none here.
pub(super) fn message(name: &str) -> Option<&'static Message> {
    static DOCUMENT: LazyLock<Document> =
        LazyLock::new(|| serde_json::from_str(TRIMMED).unwrap_or(Document { schemas: BTreeMap::new() }));
    DOCUMENT.schemas.get(name)
}
