//! A job in its Knative shape.
use serde_json::{Map, Value, json};

use super::{
    annotations::{Annotations, EXECUTION, JOB, TASK, labels, render, render_authorization},
    condition, container,
    metadata::{Kind, RUN, metadata, resource, short},
    service::generation,
    template::{before, keep, named, workload_from_v2, workload_to_v2},
};
use crate::gcp::{run::jobs::names::JobKey, schema::Documents, status::Status, validate::duration_seconds};

pub(super) const KIND: Kind = Kind { api: RUN, name: "Job", plural: "jobs" };
const TOKENS: [&str; 2] = ["startExecutionToken", "runExecutionToken"];
/// What v2 has and v1 no word for: a change by v1 leaves it as it is.
const UNSPOKEN: [&str; 1] = ["functionalType"];
const UNSPOKEN_OF_TASKS: [&str; 1] = ["workloadIdentityConfig"];

/// A v1 job in v2's shape. `stored` is the v2 job that it is to replace.
pub(super) fn to_v2(documents: &Documents, given: &Value, stored: &Value) -> Result<Map<String, Value>, Status> {
    for (field, expected) in [("apiVersion", KIND.api), ("kind", KIND.name)] {
        if given[field] != expected {
            return Err(Status::invalid(format!("{field}: must be '{expected}'.")));
        }
    }
    let (metadata, spec) = (&given["metadata"], &given["spec"]);
    let mut annotations = Annotations::of(metadata);
    let mut job = Map::new();
    annotations.fields(JOB, stored, &mut job)?;
    annotations.authorization(&mut job);
    for field in TOKENS {
        container::copy(spec, field, &mut job);
    }
    named(&mut job, "labels", labels(metadata));
    named(&mut job, "annotations", annotations.rest(KIND.name)?);
    let execution = execution_to_v2(documents, &spec["template"], &stored["template"])?;
    job.insert("template".to_owned(), Value::Object(execution));
    keep(&UNSPOKEN, stored, &mut job);
    Ok(job)
}

fn execution_to_v2(documents: &Documents, given: &Value, stored: &Value) -> Result<Map<String, Value>, Status> {
    let (metadata, spec) = (&given["metadata"], &given["spec"]);
    let mut annotations = Annotations::of(metadata);
    let (mut execution, mut task) = (Map::new(), Map::new());
    annotations.fields(EXECUTION, stored, &mut execution)?;
    annotations.fields(TASK, &stored["template"], &mut task)?;
    for field in ["taskCount", "parallelism", "delayExecution"] {
        container::copy(spec, field, &mut execution);
    }
    let given = &spec["template"]["spec"];
    let mut shown = Map::new();
    let before_spec = task_spec(&stored["template"], &mut shown);
    let before = before(documents, "TaskSpec", &stored["template"], (shown, before_spec));
    workload_to_v2(given, &mut annotations, &before, false, &mut task)?;
    container::copy(given, "maxRetries", &mut task);
    if let Some(seconds) = seconds(&given["timeoutSeconds"]) {
        let same = self::seconds(&before.spec["timeoutSeconds"]) == Some(seconds);
        let timeout = if same { stored["template"]["timeout"].clone() } else { json!(format!("{seconds}s")) };
        task.insert("timeout".to_owned(), timeout);
    }
    keep(&UNSPOKEN_OF_TASKS, &stored["template"], &mut task);
    named(&mut execution, "labels", labels(metadata));
    named(&mut execution, "annotations", annotations.rest("Execution")?);
    execution.insert("template".to_owned(), Value::Object(task));
    Ok(execution)
}

/// An int64 is a text, and a number is taken too.
pub(super) fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// `source` is the job as v2 has it.
pub(super) fn from_v2(key: &JobKey, source: &Value) -> Value {
    let mut annotations = source["annotations"].as_object().cloned().unwrap_or_default();
    render(JOB, source, &mut annotations);
    render_authorization(source, &mut annotations);
    let mut labels = source["labels"].as_object().cloned().unwrap_or_default();
    if let Some(updated) = source.get("updateTime") {
        labels.insert("run.googleapis.com/lastUpdatedTime".to_owned(), updated.clone());
    }
    let metadata = metadata(&KIND, source, &key.job, &key.project_number(), &key.location, annotations, labels);
    let template = &source["template"];
    let mut annotations = template["annotations"].as_object().cloned().unwrap_or_default();
    render(EXECUTION, template, &mut annotations);
    let spec = execution_spec(template, &mut annotations);
    let mut inner = Map::new();
    named(&mut inner, "labels", template["labels"].as_object().cloned().unwrap_or_default());
    named(&mut inner, "annotations", annotations);
    let mut job = json!({ "template": { "metadata": inner, "spec": spec } });
    for field in TOKENS {
        if let Some(token) = source.get(field) {
            job[field] = token.clone();
        }
    }
    resource(&KIND, metadata, job, status(source))
}

/// Of an execution, or of a job's template for one; `annotations` get what v1 says by them.
pub(super) fn execution_spec(source: &Value, annotations: &mut Map<String, Value>) -> Value {
    let mut spec = container::only(source, &["taskCount", "parallelism", "delayExecution"]);
    spec["template"] = json!({ "spec": task_spec(&source["template"], annotations) });
    spec
}

/// Of a task, or of a template for one.
pub(super) fn task_spec(source: &Value, annotations: &mut Map<String, Value>) -> Value {
    render(TASK, source, annotations);
    let mut spec = workload_from_v2(source, annotations);
    if let Some(retries) = source.get("maxRetries") {
        spec["maxRetries"] = retries.clone();
    }
    if let Some(seconds) = source["timeout"].as_str().and_then(duration_seconds) {
        // Whole seconds are all that v1 has, and an int64 is a text.
        spec["timeoutSeconds"] = json!(format!("{:.0}", seconds.ceil()));
    }
    spec
}

fn status(source: &Value) -> Value {
    let ready = condition::from_v2(&source["terminalCondition"]);
    let mut status = json!({ "conditions": [ready], "observedGeneration": generation(source) });
    if let Some(count) = source.get("executionCount") {
        status["executionCount"] = count.clone();
    }
    let latest = &source["latestCreatedExecution"];
    if latest.get("name").is_some() {
        let mut reference = container::only(latest, &["completionStatus"]);
        reference["name"] = json!(short(&latest["name"]));
        for (field, name) in [
            ("createTime", "creationTimestamp"),
            ("completionTime", "completionTimestamp"),
            ("deleteTime", "deletionTimestamp"),
        ] {
            if let Some(time) = latest.get(field) {
                reference[name] = time.clone();
            }
        }
        status["latestCreatedExecution"] = reference;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_goes_both_ways() {
        let template = json!({
            "metadata": {
                "labels": { "team": "blue" },
                "annotations": {
                    "run.googleapis.com/client-name": "gcloud",
                    "run.googleapis.com/execution-environment": "gen2",
                    "run.googleapis.com/cloudsql-instances": "p:l:db",
                },
            },
            "spec": {
                "taskCount": 3,
                "parallelism": 2,
                "template": { "spec": {
                    "containers": [{ "image": "gcr.io/p/hello", "env": [{ "name": "A", "value": "1" }] }],
                    "maxRetries": 0,
                    "timeoutSeconds": "600",
                    "serviceAccountName": "a@b",
                } },
            },
        });
        let given = json!({
            "apiVersion": "run.googleapis.com/v1",
            "kind": "Job",
            "metadata": { "name": "nightly", "annotations": { "run.googleapis.com/launch-stage": "BETA" } },
            "spec": { "template": template },
        });
        let job = Value::Object(
            to_v2(&Documents::load().expect("the committed schemas"), &given, &Value::Null).expect("a job"),
        );
        assert_eq!(job["launchStage"], "BETA");
        let (execution, task) = (&job["template"], &job["template"]["template"]);
        assert_eq!((&execution["client"], &execution["taskCount"]), (&json!("gcloud"), &json!(3)));
        assert_eq!((&task["timeout"], &task["maxRetries"]), (&json!("600s"), &json!(0)));
        assert_eq!(task["executionEnvironment"], "EXECUTION_ENVIRONMENT_GEN2");
        assert_eq!(task["volumes"][0]["cloudSqlInstance"]["instances"], json!(["p:l:db"]));
        let key = JobKey { project: "p".to_owned(), location: "l".to_owned(), job: "nightly".to_owned() };
        assert_eq!(from_v2(&key, &job)["spec"]["template"], template);
    }

    #[test]
    fn what_is_not_a_job_is_refused() {
        let wrong = json!({ "apiVersion": "serving.knative.dev/v1", "kind": "Job" });
        let refused =
            to_v2(&Documents::load().expect("the committed schemas"), &wrong, &Value::Null).expect_err("another kind");
        assert_eq!(refused.message, "apiVersion: must be 'run.googleapis.com/v1'.");
    }
}
