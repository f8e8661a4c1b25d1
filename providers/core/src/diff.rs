//! What differs between two specs, field by field; once, for all clouds.
use serde::{Deserialize, Serialize};

use crate::{
    fields::{FieldPath, FieldValue, fields},
    spec::ServiceSpec,
};

/// One field that changes. A missing side means that the field is not set there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field's name in carrack.toml.
    pub path: FieldPath,
    /// Before.
    pub from: Option<FieldValue>,
    /// After.
    pub to: Option<FieldValue>,
}

/// Every field in which `after` differs from `before`, sorted by name.
pub fn diff(before: &ServiceSpec, after: &ServiceSpec) -> Vec<FieldChange> {
    let mut before = fields(before);
    let mut changes: Vec<FieldChange> = fields(after)
        .into_iter()
        .filter_map(|(path, to)| {
            let from = before.remove(&path);
            (from.as_ref() != Some(&to)).then_some(FieldChange { path, from, to: Some(to) })
        })
        .collect();
    changes.extend(before.into_iter().map(|(path, from)| FieldChange { path, from: Some(from), to: None }));
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}
