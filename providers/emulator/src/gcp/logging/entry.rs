//! One log entry in Google's form: <https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry>
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    gcp::run::{jobs::names::JobKey, names::Key},
    router::Served,
};

/// <https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#LogSeverity>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Default,
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Severity {
    const NAMES: [(Self, &'static str); 9] = [
        (Self::Default, "DEFAULT"),
        (Self::Debug, "DEBUG"),
        (Self::Info, "INFO"),
        (Self::Notice, "NOTICE"),
        (Self::Warning, "WARNING"),
        (Self::Error, "ERROR"),
        (Self::Critical, "CRITICAL"),
        (Self::Alert, "ALERT"),
        (Self::Emergency, "EMERGENCY"),
    ];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(severity, _)| *severity)
    }

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(severity, _)| *severity == self).map_or("DEFAULT", |(_, name)| name)
    }
}

/// What an entry belongs to, and is kept with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Service(Key),
    Job(JobKey),
}

impl Owner {
    pub(super) fn project(&self) -> &str {
        match self {
            Self::Service(key) => &key.project,
            Self::Job(key) => &key.project,
        }
    }
}

/// Whose entry it is, and which container's when there are several; cheap to copy.
#[derive(Clone, Debug)]
pub(crate) struct Source(Arc<Instance>, Option<Arc<str>>);

#[derive(Debug)]
struct Instance {
    owner: Owner,
    part: Part,
    id: u128,
}

/// Which part of its owner an instance is of.
#[derive(Debug)]
enum Part {
    Revision(String),
    Attempt { execution: String, task: u32, attempt: u32 },
}

impl Source {
    /// A new instance of a revision; no revision when none took the request.
    pub(crate) fn new(key: &Key, revision: Option<&str>) -> Self {
        Self::of(key, revision, fastrand::u128(..))
    }

    /// The instance that has this id.
    pub(crate) fn of(key: &Key, revision: Option<&str>, id: u128) -> Self {
        let part = Part::Revision(revision.unwrap_or_default().to_owned());
        Self(Arc::new(Instance { owner: Owner::Service(key.clone()), part, id }), None)
    }

    /// One attempt at one task of an execution.
    pub(crate) fn attempt(key: &JobKey, execution: &str, task: u32, attempt: u32) -> Self {
        let part = Part::Attempt { execution: execution.to_owned(), task, attempt };
        Self(Arc::new(Instance { owner: Owner::Job(key.clone()), part, id: fastrand::u128(..) }), None)
    }

    /// The same instance's, of one of its containers.
    pub(crate) fn of_container(&self, name: Option<&str>) -> Self {
        Self(self.0.clone(), name.map(Arc::from))
    }

    pub(super) fn owner(&self) -> &Owner {
        &self.0.owner
    }
}

impl Instance {
    /// <https://cloud.google.com/logging/docs/api/v2/resource-list>
    fn resource(&self) -> Value {
        match &self.owner {
            Owner::Service(Key { project, location, service }) => json!({
                "type": "cloud_run_revision",
                "labels": {
                    "project_id": project,
                    "location": location,
                    "service_name": service,
                    "configuration_name": service,
                    "revision_name": self.revision(),
                },
            }),
            Owner::Job(JobKey { project, location, job }) => json!({
                "type": "cloud_run_job",
                "labels": { "project_id": project, "location": location, "job_name": job },
            }),
        }
    }

    /// Empty when no revision took a request.
    fn revision(&self) -> &str {
        match &self.part {
            Part::Revision(revision) => revision,
            Part::Attempt { .. } => "",
        }
    }

    fn labels(&self) -> Value {
        let mut labels = json!({ "instanceId": format!("{:032x}", self.id) });
        if let Part::Attempt { execution, task, attempt } = &self.part {
            labels["run.googleapis.com/execution_name"] = json!(execution);
            labels["run.googleapis.com/task_index"] = json!(task.to_string());
            labels["run.googleapis.com/task_attempt"] = json!(attempt.to_string());
        }
        labels
    }
}

/// What happened. Most is never read, so it becomes an entry only then.
#[derive(Debug)]
pub(super) struct Record {
    source: Source,
    at: Timestamp,
    /// The entry's, the same at every reading.
    id: u128,
    what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// What a container wrote.
    Line { stderr: bool, text: String },
    /// What happened to a container.
    System { severity: Severity, text: String },
    /// A request that was answered.
    Request(Box<Served>),
}

impl Record {
    pub(super) fn now(source: Source, what: What) -> Self {
        Self { source, at: Timestamp::now(), id: fastrand::u128(..), what }
    }

    pub(super) fn owner(&self) -> &Owner {
        self.source.owner()
    }

    /// About what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let what = match &self.what {
            What::Line { text, .. } | What::System { text, .. } => text.len(),
            What::Request(served) => {
                let headers = [&served.user_agent, &served.referer];
                let headers: usize = headers.into_iter().flatten().map(|value| value.len()).sum();
                size_of::<Served>()
                    + served.method.as_str().len()
                    + served.url.len()
                    + headers
                    + served.trouble.as_ref().map_or(0, String::len)
            }
        };
        size_of::<Self>() + what
    }

    pub(super) fn entry(&self) -> Value {
        Value::Object(match &self.what {
            What::Line { stderr, text } => self.line(if *stderr { "stderr" } else { "stdout" }, text),
            What::System { severity, text } => {
                let mut entry = self.frame("varlog%2Fsystem", *severity);
                entry.insert("textPayload".to_owned(), json!(text));
                entry
            }
            What::Request(served) => self.request(served),
        })
    }

    /// What every entry has.
    fn frame(&self, log: &str, severity: Severity) -> Map<String, Value> {
        let instance = &*self.source.0;
        let project = instance.owner.project();
        let mut entry = Map::new();
        let mut set = |name: &str, value: Value| entry.insert(name.to_owned(), value);
        set("logName", json!(format!("projects/{project}/logs/run.googleapis.com%2F{log}")));
        set("resource", instance.resource());
        let mut labels = instance.labels();
        if let Some(container) = &self.source.1 {
            labels["container_name"] = json!(**container);
        }
        set("labels", labels);
        set("insertId", json!(format!("{:024x}", self.id >> 32)));
        set("timestamp", json!(nanoseconds(self.at)));
        set("receiveTimestamp", json!(nanoseconds(self.at)));
        if severity != Severity::Default {
            set("severity", json!(severity.name()));
        }
        entry
    }

    /// <https://cloud.google.com/run/docs/logging#log-resource>
    fn line(&self, log: &str, text: &str) -> Map<String, Value> {
        let mut entry = self.frame(log, Severity::Default);
        match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(fields) => structured(&mut entry, fields),
            Err(_) => {
                entry.insert("textPayload".to_owned(), json!(text));
            }
        }
        entry
    }

    fn request(&self, served: &Served) -> Map<String, Value> {
        let severity = match served.status {
            500.. => Severity::Error,
            400.. => Severity::Warning,
            _ => Severity::Info,
        };
        let mut entry = self.frame("requests", severity);
        let mut request = json!({
            "requestMethod": served.method.as_str(),
            "requestUrl": served.url,
            "requestSize": served.request_bytes.to_string(),
            "responseSize": served.response_bytes.to_string(),
            "status": served.status,
            "remoteIp": served.remote.to_string(),
            "protocol": format!("{:?}", served.protocol),
            "latency": format!("{:.9}s", served.took.as_secs_f64()),
        });
        for (name, value) in [("userAgent", &served.user_agent), ("referer", &served.referer)] {
            if let Some(value) = value.as_ref().and_then(|value| value.to_str().ok()) {
                request[name] = json!(value);
            }
        }
        entry.insert("httpRequest".to_owned(), request);
        let project = self.source.owner().project();
        entry.insert("trace".to_owned(), json!(format!("projects/{project}/traces/{}", served.trace)));
        if let Some(text) = &served.trouble {
            entry.insert("textPayload".to_owned(), json!(text));
        }
        entry
    }
}

/// Fields of a JSON line that are the entry's own: <https://cloud.google.com/logging/docs/structured-logging>
fn structured(entry: &mut Map<String, Value>, mut fields: Map<String, Value>) {
    if let Some(severity) = fields.get("severity").and_then(Value::as_str).and_then(Severity::parse) {
        fields.remove("severity");
        if severity != Severity::Default {
            entry.insert("severity".to_owned(), json!(severity.name()));
        }
    }
    for (field, name, fits) in [
        ("httpRequest", "httpRequest", Value::is_object as fn(&Value) -> bool),
        ("logging.googleapis.com/labels", "labels", Value::is_object),
        ("logging.googleapis.com/operation", "operation", Value::is_object),
        ("logging.googleapis.com/sourceLocation", "sourceLocation", Value::is_object),
        ("logging.googleapis.com/insertId", "insertId", Value::is_string),
        ("logging.googleapis.com/spanId", "spanId", Value::is_string),
        ("logging.googleapis.com/trace", "trace", Value::is_string),
        ("logging.googleapis.com/trace_sampled", "traceSampled", Value::is_boolean),
    ] {
        if let Some(value) = fields.remove(field).filter(fits) {
            match (entry.get_mut(name), value) {
                (Some(Value::Object(own)), Value::Object(more)) => own.extend(more),
                (_, value) => {
                    entry.insert(name.to_owned(), value);
                }
            }
        }
    }
    if let Some(at) = fields.get("time").and_then(Value::as_str).and_then(|time| time.parse::<Timestamp>().ok()) {
        fields.remove("time");
        entry.insert("timestamp".to_owned(), json!(nanoseconds(at)));
    }
    entry.insert("jsonPayload".to_owned(), Value::Object(fields));
}

/// RFC 3339 with all nine digits, so that text sorts as time does.
fn nanoseconds(at: Timestamp) -> String {
    format!("{at:.9}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stderr: bool, text: &str) -> Value {
        let key = Key { project: "p".to_owned(), location: "us-central1".to_owned(), service: "hello".to_owned() };
        let source = Source::new(&key, Some("hello-00001-abc"));
        Record::now(source, What::Line { stderr, text: text.to_owned() }).entry()
    }

    #[test]
    fn plain_lines_are_text() {
        let entry = line(true, "oh");
        assert_eq!(entry["textPayload"], "oh");
        assert_eq!(entry["logName"], "projects/p/logs/run.googleapis.com%2Fstderr");
        assert_eq!(entry.get("severity"), None);
        assert_eq!(entry["resource"]["labels"]["revision_name"], "hello-00001-abc");
        assert_eq!(entry["timestamp"].as_str().map(str::len), Some("2026-01-01T00:00:00.000000000Z".len()));
        assert_eq!(line(false, "[1]")["textPayload"], "[1]");
    }

    #[test]
    fn lines_of_a_task_are_a_jobs() {
        let key = JobKey { project: "p".to_owned(), location: "us-central1".to_owned(), job: "nightly".to_owned() };
        let what = What::Line { stderr: false, text: "done".to_owned() };
        let entry = Record::now(Source::attempt(&key, "nightly-x7k2p", 2, 1), what).entry();
        let labels = json!({ "project_id": "p", "location": "us-central1", "job_name": "nightly" });
        assert_eq!(entry["resource"], json!({ "type": "cloud_run_job", "labels": labels }));
        assert_eq!(entry["labels"]["run.googleapis.com/execution_name"], "nightly-x7k2p");
        assert_eq!(entry["labels"]["run.googleapis.com/task_index"], "2");
        assert_eq!(entry["labels"]["run.googleapis.com/task_attempt"], "1");
    }

    #[test]
    fn json_lines_are_taken_apart() {
        let text = json!({
            "severity": "warning",
            "message": "m",
            "time": "2026-01-02T03:04:05.6Z",
            "logging.googleapis.com/labels": { "a": "b" },
            "logging.googleapis.com/trace": "t",
        });
        let entry = line(false, &text.to_string());
        assert_eq!(entry["severity"], "WARNING");
        assert_eq!(entry["jsonPayload"], json!({ "message": "m" }));
        assert_eq!(entry["timestamp"], "2026-01-02T03:04:05.600000000Z");
        assert_eq!(entry["labels"]["a"], "b");
        assert!(entry["labels"]["instanceId"].is_string());
        assert_eq!(entry["trace"], "t");
        let odd = line(false, r#"{"severity":"LOUD"}"#);
        assert_eq!(odd["jsonPayload"], json!({ "severity": "LOUD" }));
    }
}
