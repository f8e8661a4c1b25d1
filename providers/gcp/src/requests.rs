//! What a service answered, counted in the log of its requests: <https://cloud.google.com/run/docs/logging#log-types>.
use std::collections::BTreeMap;

use carrack_core::{
    Result,
    event::Ctx,
    rollout::Answers,
    spec::{RevisionId, ServiceName},
};
use jiff::Timestamp;

use crate::{
    CloudRun,
    logging::{Entry, PAGE, of_service, page},
};

/// Pages at a look: a look every some seconds has to stay well below the reads that are allowed in a minute,
/// <https://cloud.google.com/logging/quotas#api-limits>.
const PAGES: usize = 5;

/// How our own requests call themselves.
const OWN: &str = "carrack/";

/// By revision, since then; of more than [`PAGES`] pages the newest are a sample.
pub(crate) async fn answers(
    provider: &CloudRun,
    cx: &Ctx,
    service: &ServiceName,
    since: Timestamp,
) -> Result<BTreeMap<RevisionId, Answers>> {
    let filter = format!(
        "{} AND logName = \"projects/{}/logs/run.googleapis.com%2Frequests\" AND timestamp >= \"{since}\"",
        of_service(provider, service),
        provider.project
    );
    let mut answers = BTreeMap::new();
    let mut token = String::new();
    for _ in 0..PAGES {
        let page = page(provider, cx, &filter, PAGE, &token).await?;
        count(&page.entries, &mut answers);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    Ok(answers)
}

fn count(entries: &[Entry], answers: &mut BTreeMap<RevisionId, Answers>) {
    for entry in entries {
        let request = &entry.http_request;
        let own = request["userAgent"].as_str().is_some_and(|name| name.starts_with(OWN));
        let status = request["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        // What no revision took, such as a refused caller, is nobody's.
        if let (Some(status), false, false) = (status, own, entry.revision().is_empty()) {
            answers.entry(RevisionId(entry.revision().to_owned())).or_default().count(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(revision: &str, request: Value) -> Entry {
        let entry = json!({ "httpRequest": request, "resource": { "labels": { "revision_name": revision } } });
        serde_json::from_value(entry).expect("an entry")
    }

    #[test]
    fn requests_are_counted_by_revision() {
        let entries = [
            entry("a", json!({ "status": 200, "userAgent": "curl/8" })),
            entry("a", json!({ "status": 404 })),
            entry("b", json!({ "status": 500 })),
            entry("b", json!({ "status": 503, "userAgent": "Mozilla/5.0 carrack/1" })),
            // Our own, one that nobody took, one that is no request.
            entry("b", json!({ "status": 500, "userAgent": "carrack/0.1.0" })),
            entry("", json!({ "status": 403 })),
            entry("b", json!({})),
        ];
        let mut answers = BTreeMap::new();
        count(&entries, &mut answers);
        let of = |revision: &str| answers[&RevisionId(revision.to_owned())];
        assert_eq!(of("a"), Answers { requests: 2, failed: 0 });
        assert_eq!(of("b"), Answers { requests: 2, failed: 2 });
        assert_eq!(answers.len(), 2);
    }
}
