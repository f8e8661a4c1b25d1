//! Conditions: v2's states as `True`, `False` and `Unknown`.
use serde_json::{Value, json};

pub(super) fn from_v2(source: &Value) -> Value {
    let status = match source["state"].as_str() {
        Some("CONDITION_SUCCEEDED") => "True",
        Some("CONDITION_FAILED") => "False",
        _ => "Unknown",
    };
    let mut condition = json!({ "type": source["type"], "status": status });
    for field in ["message", "lastTransitionTime"] {
        if let Some(value) = source.get(field) {
            condition[field] = value.clone();
        }
    }
    let reason = ["reason", "revisionReason", "executionReason"].into_iter().find_map(|field| source[field].as_str());
    if let Some(reason) = reason {
        condition["reason"] = json!(words(reason));
    }
    condition
}

/// `HEALTH_CHECK_CONTAINER_ERROR` -> `HealthCheckContainerError`.
fn words(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            let first = letters.next().into_iter();
            first.chain(letters.map(|letter| letter.to_ascii_lowercase())).collect::<String>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_words() {
        let failed = json!({
            "type": "Ready", "state": "CONDITION_FAILED", "message": "no", "revisionReason": "HEALTH_CHECK_CONTAINER_ERROR",
        });
        let expected =
            json!({ "type": "Ready", "status": "False", "message": "no", "reason": "HealthCheckContainerError" });
        assert_eq!(from_v2(&failed), expected);
        assert_eq!(from_v2(&json!({ "type": "Ready", "state": "CONDITION_RECONCILING" }))["status"], "Unknown");
    }
}
