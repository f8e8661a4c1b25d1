//! A filter as it comes with `entries.list`, and one entry held against it.
use serde_json::json;

use super::filter::parse;

/// Any bytes as a filter: parsed or refused, and then it wants the entry or not.
pub fn filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let entry = json!({
        "severity": "ERROR",
        "timestamp": "2026-01-01T00:00:00Z",
        "resource": { "type": "cloud_run_revision", "labels": { "service_name": "hello" } },
        "jsonPayload": { "list": [1, "two", null], "number": 1.5 },
    });
    match parse(text) {
        Ok(filter) => {
            filter.wants(&entry);
        }
        Err(text) => assert!(!text.is_empty()),
    }
}
