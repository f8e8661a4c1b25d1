//! Log lines by `entries:list`: <https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list>.
//!
//! Following asks again for what is newer: the tail call is gRPC only.
use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use carrack_core::{
    Result,
    event::Ctx,
    poll::{MISSES, pause_between},
    provider::{BoxStream, LogLine, LogQuery},
    spec::{RevisionId, ServiceName},
};
use carrack_http::Request;
use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{CloudRun, error::classify};

const URL: &str = "https://logging.googleapis.com/v2/entries:list";

/// Entries a request; the service allows no more.
pub(crate) const PAGE: usize = 1000;

/// The API allows 60 reads a minute and project: <https://cloud.google.com/logging/quotas#api-limits>.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// Entries may arrive late and out of order, so each look reaches back a little and drops what it has seen.
const OVERLAP: SignedDuration = SignedDuration::from_secs(10);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    pub(crate) next_page_token: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Entry {
    log_name: String,
    timestamp: String,
    insert_id: String,
    severity: String,
    text_payload: String,
    json_payload: Value,
    pub(crate) http_request: Value,
    resource: Resource,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resource {
    labels: Labels,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Labels {
    revision_name: String,
}

struct Reader<'a> {
    provider: &'a CloudRun,
    cx: &'a Ctx,
    service: &'a ServiceName,
    query: LogQuery,
    /// Only what is not older.
    from: Option<Timestamp>,
    seen: HashSet<String>,
    /// What was seen, the oldest first.
    order: VecDeque<String>,
    ready: VecDeque<LogLine>,
    looked: bool,
    missed: usize,
    /// Nothing older is shown: it was cut off at the first look.
    floor: Option<Timestamp>,
}

pub(crate) fn lines<'a>(
    provider: &'a CloudRun,
    cx: &'a Ctx,
    service: &'a ServiceName,
    query: LogQuery,
) -> BoxStream<'a, Result<LogLine>> {
    let reader = Reader::new(provider, cx, service, query);
    Box::pin(stream::try_unfold(
        reader,
        |mut reader| async move { Ok(reader.next().await?.map(|line| (line, reader))) },
    ))
}

/// The newest lines of one revision, oldest first, with what the cloud itself says of it apart.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    /// The program's own.
    pub(crate) program: Vec<String>,
    /// The cloud's.
    pub(crate) system: Vec<LogLine>,
}

/// One request, whatever there is.
pub(crate) async fn last_words(
    provider: &CloudRun,
    cx: &Ctx,
    service: &ServiceName,
    revision: &RevisionId,
    most: usize,
) -> Result<LastWords> {
    let query = LogQuery { revision: Some(revision.clone()), ..LogQuery::default() };
    let mut words = LastWords::default();
    for entry in Reader::new(provider, cx, service, query).page(most, "").await?.entries.into_iter().rev() {
        // https://cloud.google.com/run/docs/logging#log-types
        let system = entry.log_name.ends_with("%2Fvarlog%2Fsystem");
        let Some(line) = entry.line() else { continue };
        if system {
            words.system.push(line);
        } else {
            words.program.extend(line.text.lines().map(str::to_owned));
        }
    }
    Ok(words)
}

impl<'a> Reader<'a> {
    fn new(provider: &'a CloudRun, cx: &'a Ctx, service: &'a ServiceName, query: LogQuery) -> Self {
        Self {
            from: query.since.and_then(|since| Timestamp::now().checked_sub(since).ok()),
            provider,
            cx,
            service,
            query,
            seen: HashSet::new(),
            order: VecDeque::new(),
            ready: VecDeque::new(),
            looked: false,
            missed: 0,
            floor: None,
        }
    }

    async fn next(&mut self) -> Result<Option<LogLine>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            if self.looked {
                if !self.query.follow {
                    return Ok(None);
                }
                pause_between(self.cx, BETWEEN_LOOKS).await?;
            }
            match self.look().await {
                // A look that failed in a way that may pass is only a missed look.
                Err(error) if self.looked && error.kind().is_retryable() && self.missed + 1 < MISSES => {
                    self.missed += 1
                }
                other => {
                    other?;
                    self.missed = 0;
                }
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        let began = Timestamp::now();
        let limit = if self.looked { usize::MAX } else { self.query.tail.unwrap_or(PAGE) };
        let mut entries = Vec::new();
        let mut token = String::new();
        while entries.len() < limit {
            let page = self.page(limit.min(PAGE), &token).await?;
            entries.extend(page.entries);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        entries.truncate(limit);
        // Newest first is how the newest so many are had.
        entries.reverse();
        if !self.looked {
            self.floor = entries.first().and_then(|entry| entry.timestamp.parse().ok());
        }
        for entry in entries {
            // Alone among those of the same log and moment an entry's id is its own:
            // <https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry>
            let key = [entry.log_name.as_str(), &entry.timestamp, &entry.insert_id].join(" ");
            if !self.seen.insert(key.clone()) {
                continue;
            }
            self.order.push_back(key);
            if let Ok(at) = entry.timestamp.parse::<Timestamp>() {
                self.from = self.from.max(at.checked_sub(OVERLAP).ok()).max(self.floor);
            }
            self.ready.extend(entry.line());
        }
        while self.order.len() > 10 * PAGE {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
        self.looked = true;
        self.from.get_or_insert(began);
        Ok(())
    }

    async fn page(&self, size: usize, token: &str) -> Result<Page> {
        page(self.provider, self.cx, &self.filter(), size, token).await
    }

    fn filter(&self) -> String {
        let mut filter = of_service(self.provider, self.service);
        if let Some(revision) = &self.query.revision {
            filter += &format!(" AND resource.labels.revision_name = \"{}\"", revision.0);
        }
        if let Some(severity) = self.query.severity {
            filter += &format!(" AND severity >= {}", severity.name().to_uppercase());
        }
        if !self.query.requests {
            let project = &self.provider.project;
            filter += &format!(" AND logName != \"projects/{project}/logs/run.googleapis.com%2Frequests\"");
        }
        if let Some(from) = self.from {
            filter += &format!(" AND timestamp >= \"{from}\"");
        }
        filter
    }
}

/// One page of what a filter takes, the newest first.
pub(crate) async fn page(provider: &CloudRun, cx: &Ctx, filter: &str, size: usize, token: &str) -> Result<Page> {
    let mut body = json!({
        "resourceNames": [format!("projects/{}", provider.project)],
        "filter": filter,
        "orderBy": "timestamp desc",
        "pageSize": size,
    });
    if !token.is_empty() {
        body["pageToken"] = json!(token);
    }
    let request = Request::new(Method::POST, URL).bearer(&provider.token).classify(classify).json(&body)?.idempotent();
    provider.http.send(cx, request).await?.json()
}

/// The filter of all that a service writes.
pub(crate) fn of_service(provider: &CloudRun, service: &ServiceName) -> String {
    format!(
        "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"{service}\" AND resource.labels.location = \"{}\"",
        provider.region
    )
}

impl Entry {
    /// Whose it is; empty where no revision took a request.
    pub(crate) fn revision(&self) -> &str {
        &self.resource.labels.revision_name
    }

    /// `None` for an entry without a text, such as an audit entry.
    fn line(self) -> Option<LogLine> {
        let text = if !self.text_payload.is_empty() {
            self.text_payload
        } else if let Some(message) = self.json_payload.get("message").and_then(Value::as_str) {
            message.to_owned()
        } else if !self.json_payload.is_null() {
            self.json_payload.to_string()
        } else {
            request_line(&self.http_request)
        };
        let revision = self.resource.labels.revision_name;
        (!text.is_empty()).then(|| LogLine {
            at: self.timestamp,
            revision: (!revision.is_empty()).then_some(RevisionId(revision)),
            severity: if self.severity.is_empty() { "DEFAULT".to_owned() } else { self.severity },
            text,
        })
    }
}

/// A request log has no text: method, status and URL stand for it.
fn request_line(request: &Value) -> String {
    let part = |name: &str| match &request[name] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    [part("requestMethod"), part("status"), part("requestUrl")].join(" ").trim().to_owned()
}
