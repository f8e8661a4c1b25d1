//! Log lines by `entries:list`: <https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list>.
//!
//! Following asks again for what is newer: the tail call is gRPC only.
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};

use carrack_core::{
    Result,
    event::Ctx,
    job::{ExecutionId, JobLine, JobLogs},
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
use tokio_util::sync::CancellationToken;

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
    labels: BTreeMap<String, String>,
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
    /// Whose entries, in the service's language.
    resource: String,
    query: LogQuery,
    /// Set once there is nothing to come.
    ended: Option<CancellationToken>,
    /// The next look was the last one.
    over: bool,
    /// Only what is not older.
    from: Option<Timestamp>,
    seen: HashSet<String>,
    /// What was seen, the oldest first.
    order: VecDeque<String>,
    ready: VecDeque<JobLine>,
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
    let reader = Reader::new(provider, cx, of_service(provider, service), query);
    Box::pin(stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|JobLine { line, .. }| (line, reader)))
    }))
}

/// The lines of a job's tasks.
pub(crate) fn job_lines<'a>(
    provider: &'a CloudRun,
    cx: &'a Ctx,
    job: &ServiceName,
    wanted: JobLogs,
) -> BoxStream<'a, Result<JobLine>> {
    let JobLogs { execution, task, follow, since, tail, ended } = wanted;
    let resource = of_job(provider, job, execution.as_ref(), task);
    let reader = Reader::new(provider, cx, resource, LogQuery { follow, since, tail, ..LogQuery::default() });
    let reader = Reader { ended, ..reader };
    Box::pin(stream::try_unfold(
        reader,
        |mut reader| async move { Ok(reader.next().await?.map(|line| (line, reader))) },
    ))
}

/// <https://cloud.google.com/run/docs/logging#log-resource>
const EXECUTION: &str = "run.googleapis.com/execution_name";
const TASK: &str = "run.googleapis.com/task_index";

fn of_job(provider: &CloudRun, job: &ServiceName, execution: Option<&ExecutionId>, task: Option<u32>) -> String {
    let region = &provider.region;
    let mut filter = format!(
        "resource.type = \"cloud_run_job\" AND resource.labels.job_name = \"{job}\" AND resource.labels.location = \"{region}\""
    );
    if let Some(execution) = execution {
        filter += &format!(" AND labels.\"{EXECUTION}\" = \"{execution}\"");
    }
    if let Some(task) = task {
        filter += &format!(" AND labels.\"{TASK}\" = \"{task}\"");
    }
    filter
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
    words(Reader::new(provider, cx, of_service(provider, service), query), most).await
}

/// The same, of one task.
pub(crate) async fn last_words_of_task(
    provider: &CloudRun,
    cx: &Ctx,
    job: &ServiceName,
    execution: &ExecutionId,
    task: u32,
    most: usize,
) -> Result<LastWords> {
    let resource = of_job(provider, job, Some(execution), Some(task));
    words(Reader::new(provider, cx, resource, LogQuery::default()), most).await
}

async fn words(reader: Reader<'_>, most: usize) -> Result<LastWords> {
    let mut words = LastWords::default();
    for entry in reader.page(most, "").await?.entries.into_iter().rev() {
        let Some(JobLine { line, system, .. }) = entry.line() else { continue };
        if system {
            words.system.push(line);
        } else {
            words.program.extend(line.text.lines().map(str::to_owned));
        }
    }
    Ok(words)
}

impl<'a> Reader<'a> {
    fn new(provider: &'a CloudRun, cx: &'a Ctx, resource: String, query: LogQuery) -> Self {
        Self {
            from: query.since.and_then(|since| Timestamp::now().checked_sub(since).ok()),
            provider,
            cx,
            resource,
            query,
            ended: None,
            over: false,
            seen: HashSet::new(),
            order: VecDeque::new(),
            ready: VecDeque::new(),
            looked: false,
            missed: 0,
            floor: None,
        }
    }

    async fn next(&mut self) -> Result<Option<JobLine>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            if self.looked {
                if !self.query.follow || self.over {
                    return Ok(None);
                }
                self.pause().await?;
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

    /// Between two looks. Once there is nothing to come it is looked at once, and after a pause a last time.
    async fn pause(&mut self) -> Result<()> {
        let pause = pause_between(self.cx, BETWEEN_LOOKS);
        let Some(ended) = &self.ended else { return pause.await };
        if ended.is_cancelled() {
            self.over = true;
            return pause.await;
        }
        tokio::select! {
            biased;
            () = ended.cancelled() => Ok(()),
            paused = pause => paused,
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
        let mut filter = self.resource.clone();
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

    /// <https://cloud.google.com/run/docs/logging#log-types>
    fn is_system(&self) -> bool {
        self.log_name.ends_with("%2Fvarlog%2Fsystem")
    }

    /// `None` for an entry without a text, such as an audit entry.
    fn line(mut self) -> Option<JobLine> {
        let system = self.is_system();
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
        (!text.is_empty()).then(|| JobLine {
            execution: self.labels.remove(EXECUTION).map(ExecutionId),
            task: self.labels.get(TASK).and_then(|index| index.parse().ok()),
            system,
            line: LogLine {
                at: self.timestamp,
                revision: (!revision.is_empty()).then_some(RevisionId(revision)),
                severity: if self.severity.is_empty() { "DEFAULT".to_owned() } else { self.severity },
                text,
            },
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
