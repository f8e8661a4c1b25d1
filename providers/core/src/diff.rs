//! What differs between two specs, field by field; once, for all clouds.
use std::collections::BTreeMap;

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
    diff_fields(fields(before), fields(after))
}

/// The same, of fields that are listed already.
pub fn diff_fields(
    mut before: BTreeMap<FieldPath, FieldValue>,
    after: BTreeMap<FieldPath, FieldValue>,
) -> Vec<FieldChange> {
    let mut changes: Vec<FieldChange> = after
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
