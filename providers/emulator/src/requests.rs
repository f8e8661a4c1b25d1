//! The calls that the local cloud got: what, when and with which result; never a header's value or a body.
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Serialize;

const KEPT: usize = 10_000;
/// Of each text that the caller chose, which may have much more.
const LONGEST_TEXT: usize = 2 << 10;
/// Query parameters whose values may be shown, in lower case and without `_`: those of Google's documents, of the
/// registry and of whoever asks for an ID token. A field of a body may be given by any other name, and a credential too.
/// <https://cloud.google.com/apis/docs/system-parameters>
const SHOWN_PARAMETERS: [&str; 68] = [
    ".xgafv",
    "account",
    "allowmissing",
    "alt",
    "api-version",
    "apiversion",
    "artifacttype",
    "attachmentid",
    "audience",
    "callback",
    "continue",
    "digest",
    "dryrun",
    "etag",
    "extralocationtypes",
    "fields",
    "fieldselector",
    "filter",
    "force",
    "forcenewrevision",
    "from",
    "includeuninitialized",
    "instanceid",
    "jobid",
    "keytypes",
    "kind",
    "labelselector",
    "last",
    "limit",
    "mount",
    "n",
    "name",
    "names",
    "ns",
    "offlinetoken",
    "options.requestedpolicyversion",
    "orderby",
    "outputdefaults",
    "pagesize",
    "pagetoken",
    "parent",
    "prettyprint",
    "propagationpolicy",
    "publickeytype",
    "quotauser",
    "reason",
    "repositoryid",
    "resourceversion",
    "returnpartialsuccess",
    "ruleid",
    "scope",
    "secretid",
    "service",
    "serviceid",
    "showdeleted",
    "tag",
    "tagid",
    "unique",
    "updatemask",
    "uploadprotocol",
    "uploadtype",
    "userproject",
    "validateonly",
    "view",
    "watch",
    "workerpoolid",
    "workloadidentitypoolid",
    "workloadidentitypoolproviderid",
];

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Request {
    pub(crate) n: u64,
    pub(crate) time: String,
    pub(crate) method: String,
    pub(crate) host: String,
    /// With the query.
    pub(crate) path: String,
    /// `None` when there was no answer: a fault.
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
    pub(crate) ms: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    count: u64,
    entries: VecDeque<Request>,
}

/// What is known before the answer is.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path_and_query: String,
    pub(crate) at: Timestamp,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Option<StatusCode>,
    /// What it met on purpose.
    pub(crate) fault: Option<String>,
}

impl Outcome {
    pub(crate) fn answered(response: &Response) -> Self {
        Self { status: Some(response.status()), fault: None }
    }
}

impl Requests {
    /// The call's number.
    pub(crate) fn record(&self, call: Call, outcome: &Outcome, took: Duration) -> u64 {
        let mut ring = self.ring();
        ring.count += 1;
        if ring.entries.len() == KEPT {
            ring.entries.pop_front();
        }
        let request = Request {
            n: ring.count,
            time: call.at.to_string(),
            method: cut(call.method),
            host: cut(call.host),
            path: cut(redact(&call.path_and_query)),
            status: outcome.status.map(|status| status.as_u16()),
            fault: outcome.fault.clone(),
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        ring.entries.push_back(request);
        ring.count
    }

    pub(crate) fn all(&self) -> Vec<Request> {
        self.ring().entries.iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.ring().entries.clear();
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// Without what a query may say of who calls, or of a secret.
pub(crate) fn redact(path_and_query: &str) -> String {
    let Some((path, query)) = path_and_query.split_once('?') else {
        return path_and_query.to_owned();
    };
    let parts: Vec<_> = query
        .split('&')
        .map(|part| match concealed(part) {
            Some((Some(name), _)) => format!("{name}=REDACTED"),
            Some((None, _)) => "REDACTED".to_owned(),
            None => part.to_owned(),
        })
        .collect();
    format!("{path}?{}", parts.join("&"))
}

/// The values that [`redact`] leaves out, as they stand and as they are read.
pub(crate) fn redacted(path_and_query: &str) -> Vec<String> {
    let query = path_and_query.split_once('?').map_or("", |(_, query)| query);
    let values = query.split('&').filter_map(|part| Some(concealed(part)?.1));
    values.flat_map(|value| [value.to_owned(), percent_decode_str(value).decode_utf8_lossy().into_owned()]).collect()
}

/// Name and value of a part that is not shown.
fn concealed(part: &str) -> Option<(Option<&str>, &str)> {
    match part.split_once('=') {
        Some((name, value)) => (!is_shown(name)).then_some((Some(name), value)),
        None => (!part.is_empty() && !is_shown(part)).then_some((None, part)),
    }
}

fn is_shown(name: &str) -> bool {
    let name = percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase().replace('_', "");
    SHOWN_PARAMETERS.contains(&name.trim_start_matches('$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok() -> Outcome {
        Outcome { status: Some(StatusCode::OK), fault: None }
    }

    fn call(path: &str) -> Call {
        Call {
            method: "GET".to_owned(),
            host: "run.googleapis.com".to_owned(),
            path_and_query: path.to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_ring_is_bounded_and_numbered() {
        let requests = Requests::default();
        for _ in 0..KEPT + 3 {
            requests.record(call("/"), &ok(), Duration::ZERO);
        }
        let all = requests.all();
        assert_eq!((all.len(), all[0].n), (KEPT, 4));
        requests.clear();
        requests.record(call("/"), &ok(), Duration::ZERO);
        assert_eq!(requests.all()[0].n, KEPT as u64 + 4);
    }

    #[test]
    fn a_long_path_is_cut() {
        let requests = Requests::default();
        for path in
            [format!("/{}", "a".repeat(60_000)), format!("/?key=k&filter={}", "é".repeat(30_000)), "/short".to_owned()]
        {
            requests.record(call(&path), &ok(), Duration::ZERO);
        }
        let all = requests.all();
        for request in &all[..2] {
            assert!(
                request.path.len() <= LONGEST_TEXT + '…'.len_utf8() && request.path.ends_with('…'),
                "{}",
                request.path
            );
            assert!(request.path.len() >= LONGEST_TEXT);
        }
        assert!(all[1].path.starts_with("/?key=REDACTED&filter=é"), "{}", all[1].path);
        assert_eq!(all[2].path, "/short");
    }

    #[test]
    fn of_a_query_only_what_is_known_to_be_harmless_is_kept() {
        assert_eq!(
            redact("/v2/x?pageSize=2&access_token=t&key=k"),
            "/v2/x?pageSize=2&access_token=REDACTED&key=REDACTED"
        );
        for name in
            ["%24access%5Ftoken", "bearer_token", "Authorization", "payload.data", "payload.dataCrc32c", "Oauth_Token"]
        {
            assert_eq!(redact(&format!("/v1/x:addVersion?{name}=aGk%3D")), format!("/v1/x:addVersion?{name}=REDACTED"));
        }
        assert_eq!(redact("/v2/x?ya29.abc&alt"), "/v2/x?REDACTED&alt");
        for whole in ["/v2/x", "/v2/x?", "/v2/x?$alt=json;enum-encoding=int&update_mask=a&digest=sha256:1"] {
            assert_eq!(redact(whole), whole);
        }
    }

    #[test]
    fn every_parameter_of_the_documents_is_shown_but_credentials() {
        let documents = crate::gcp::schema::Documents::load().expect("the documents");
        let known = documents.all().into_iter().flat_map(|document| {
            document.served.values().flat_map(|method| method.query.keys()).chain(&document.common)
        });
        for name in known {
            assert_ne!(is_shown(name), ["access_token", "key", "oauth_token"].contains(&name.as_str()), "{name}");
        }
    }
}
