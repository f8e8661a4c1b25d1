//! Whether an entry is one that a filter wants.
use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    entry::Severity,
    filter::{Filter, Operator},
};

impl Filter {
    pub(crate) fn wants(&self, entry: &Value) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.wants(entry)),
            Self::Any(filters) => filters.iter().any(|filter| filter.wants(entry)),
            Self::Not(filter) => !filter.wants(entry),
            Self::Compare { path, operator, value } => compare(entry, path, *operator, value),
        }
    }
}

fn compare(entry: &Value, path: &[String], operator: Operator, wanted: &str) -> bool {
    if let [name] = path
        && name == "severity"
    {
        let own = entry["severity"].as_str().and_then(Severity::parse).unwrap_or(Severity::Default);
        return Severity::parse(wanted).is_some_and(|wanted| holds(operator, Some(own.cmp(&wanted))));
    }
    let found = path.iter().try_fold(entry, |value, name| value.get(name));
    let Some(found) = found else {
        // https://cloud.google.com/logging/docs/view/logging-query-language#missing_fields
        return operator == Operator::NotEqual;
    };
    if let Value::Array(values) = found {
        return values.iter().any(|value| matches(value, operator, wanted));
    }
    matches(found, operator, wanted)
}

/// Texts are compared without regard to case, except for the order of times and numbers.
fn matches(found: &Value, operator: Operator, wanted: &str) -> bool {
    let text = match found {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => found.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return operator == Operator::Has && wanted == "*",
    };
    if operator == Operator::Has {
        return wanted == "*" || text.to_lowercase().contains(&wanted.to_lowercase());
    }
    let order = match (text.parse::<Timestamp>(), wanted.parse::<Timestamp>()) {
        (Ok(own), Ok(wanted)) => Some(own.cmp(&wanted)),
        _ => match (text.parse::<f64>(), wanted.parse::<f64>()) {
            (Ok(own), Ok(wanted)) => own.partial_cmp(&wanted),
            _ => Some(text.to_lowercase().cmp(&wanted.to_lowercase())),
        },
    };
    holds(operator, order)
}

fn holds(operator: Operator, order: Option<Ordering>) -> bool {
    match operator {
        Operator::Equal | Operator::Has => order == Some(Ordering::Equal),
        Operator::NotEqual => order != Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::LessEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::GreaterEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::gcp::logging::filter::parse;

    #[test]
    fn entries() {
        let entry = json!({
            "resource": { "type": "cloud_run_revision", "labels": { "service_name": "hello" } },
            "severity": "WARNING",
            "timestamp": "2026-01-02T03:04:05.600000000Z",
            "insertId": "abc",
            "textPayload": "Hello World",
            "httpRequest": { "status": 404 },
        });
        for (filter, wanted) in [
            ("", true),
            ("resource.type = cloud_run_revision AND resource.labels.service_name = hello", true),
            ("resource.labels.service_name = HELLO", true),
            ("resource.labels.service_name = other", false),
            ("resource.labels.other != hello", true),
            ("resource.labels.other = hello", false),
            ("severity >= DEFAULT", true),
            ("severity >= warning", true),
            ("severity > WARNING", false),
            ("severity = NOTHING", false),
            ("timestamp >= \"2026-01-02T03:04:05.6Z\"", true),
            ("timestamp > \"2026-01-02T03:04:05.6Z\"", false),
            ("timestamp < \"2026-01-02T04:04:05.7+00:00\"", true),
            ("insertId != \"abc\"", false),
            ("textPayload : world", true),
            ("httpRequest.status >= 400", true),
            ("httpRequest.status < 400", false),
            ("httpRequest:*", true),
            ("jsonPayload:*", false),
            ("NOT severity = ERROR", true),
            ("severity = ERROR OR textPayload : hello", true),
        ] {
            let parsed = parse(filter).expect("a filter");
            assert_eq!(parsed.wants(&entry), wanted, "{filter}");
        }
    }
}
