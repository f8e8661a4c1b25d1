//! Which live fields a deploy may change: the three-way rule between live, receipt and file.
//!
//! A field that carrack.toml names is owned. Every other live field is kept as it is. Scalars are never removed
//! by absence. Entries of a keyed table are removed when the receipt lists them, the table stands in the file
//! and the entry does not; a table that is absent is not managed, and its part of the receipt is carried on.
use std::collections::BTreeSet;

use crate::{
    fields::{FieldPath, KEYED_TABLES, fields, keyed_table},
    observed::ObservedService,
    spec::ServiceSpec,
};

/// What a deploy writes, keeps and records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Fields to write: set where the spec has them, else removed.
    pub write: BTreeSet<FieldPath>,
    /// Live fields that stay although the file does not name them.
    pub kept: Vec<FieldPath>,
    /// The receipt's new list.
    pub receipt: Vec<FieldPath>,
}

/// Applies the rule. `tables` are the keyed tables that stand in the file, `exact` those that are authoritative.
pub fn ownership(
    spec: &ServiceSpec,
    tables: &[FieldPath],
    exact: &[FieldPath],
    live: Option<&ObservedService>,
) -> Ownership {
    let desired: BTreeSet<FieldPath> = fields(spec).into_keys().collect();
    let Some(live) = live else {
        return Ownership { receipt: desired.iter().cloned().collect(), write: desired, kept: Vec::new() };
    };
    let recorded = live.receipt.as_ref().map(|receipt| receipt.owned.as_slice()).unwrap_or_default();
    let present: BTreeSet<FieldPath> = fields(&live.spec).into_keys().collect();
    let stands = |table: &str| tables.iter().any(|name| name == table);
    let removed: BTreeSet<FieldPath> = present
        .iter()
        .filter(|path| !desired.contains(*path))
        .filter(|path| {
            keyed_table(path).is_some_and(|table| {
                stands(table) && (recorded.contains(path) || exact.iter().any(|name| name == table))
            })
        })
        .cloned()
        .collect();
    let dropped = |path: &FieldPath| keyed_table(path).is_some_and(stands) && !desired.contains(path);
    let receipt: BTreeSet<FieldPath> = recorded.iter().filter(|path| !dropped(path)).chain(&desired).cloned().collect();
    Ownership {
        kept: present.iter().filter(|path| !desired.contains(*path) && !removed.contains(*path)).cloned().collect(),
        receipt: receipt.into_iter().collect(),
        write: desired.into_iter().chain(removed).collect(),
    }
}

/// The words for what is kept: `7 env, service_account, scaling.max`.
pub fn summarize_kept(kept: &[FieldPath]) -> String {
    let mut parts = Vec::new();
    for table in KEYED_TABLES {
        let count = kept.iter().filter(|path| keyed_table(path) == Some(table)).count();
        if count > 0 {
            parts.push(format!("{count} {table}"));
        }
    }
    parts.extend(kept.iter().filter(|path| keyed_table(path).is_none()).cloned());
    parts.join(", ")
}
