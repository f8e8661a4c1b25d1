//! Jobs by v2: what runs, how it ends, and what is told of it.
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Local, PARENT, last};

const IMAGE: &str = "us-central1-docker.pkg.dev/local/apps/hello:v1";

/// A job of so many tasks, each of which does what `how` says.
pub(super) fn job(how: &str, tasks: u32) -> Value {
    let containers = json!([{ "image": IMAGE, "args": ["task", how] }]);
    json!({ "template": { "taskCount": tasks, "template": { "maxRetries": 1, "containers": containers } } })
}

impl Local {
    pub(super) async fn create_job(&self, name: &str, job: Value) -> Value {
        let created = self.call(Method::POST, &format!("{PARENT}/jobs?jobId={name}"), Some(job)).await;
        self.done(created).await
    }

    async fn run_job(&self, name: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, &format!("{PARENT}/jobs/{name}:run"), Some(body)).await
    }

    /// The end of the run's operation.
    async fn ran(&self, name: &str) -> Value {
        let begun = self.run_job(name, json!({})).await;
        self.done(begun).await
    }

    async fn job(&self, name: &str) -> Value {
        self.get(&format!("{PARENT}/jobs/{name}")).await.1
    }

    async fn at(&self, execution: &Value) -> Value {
        self.get(&format!("/v2/{}", execution["name"].as_str().expect("a name"))).await.1
    }

    async fn tasks(&self, execution: &Value) -> Vec<Value> {
        let path = format!("/v2/{}/tasks", execution["name"].as_str().expect("a name"));
        self.get(&path).await.1["tasks"].as_array().cloned().expect("tasks")
    }

    pub(super) async fn lines(&self, filter: &str) -> Vec<Value> {
        let body = json!({ "resourceNames": ["projects/local"], "filter": filter, "pageSize": 1000 });
        let (status, answer) = self.call(Method::POST, "/v2/entries:list", Some(body)).await;
        assert_eq!(status, 200, "{answer:#}");
        answer["entries"].as_array().cloned().unwrap_or_default()
    }
}

fn condition<'a>(resource: &'a Value, kind: &str) -> &'a Value {
    let conditions = resource["conditions"].as_array().expect("conditions");
    conditions.iter().find(|condition| condition["type"] == kind).expect(kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_made_and_runs_all_its_tasks() {
    let local = Local::start();
    let operation = local.create_job("nightly", job("env", 3)).await;
    let made = &operation["response"];
    assert_eq!(made["@type"], "type.googleapis.com/google.cloud.run.v2.Job");
    assert_eq!(made["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    assert_eq!((&made["generation"], &made["observedGeneration"]), (&json!("1"), &json!("1")));
    assert_eq!((&made["latestCreatedExecution"], made.get("executionCount")), (&json!({}), None));

    let (status, begun) = local.run_job("nightly", json!({})).await;
    let metadata = &begun["metadata"];
    assert_eq!((status, &metadata["@type"]), (200, &json!("type.googleapis.com/google.cloud.run.v2.Execution")));
    assert_eq!((&metadata["reconciling"], &metadata["job"]), (&json!(true), &json!("nightly")));
    let execution = local.done((status, begun)).await["response"].clone();
    assert_eq!((&execution["succeededCount"], &execution["taskCount"]), (&json!(3), &json!(3)));
    assert_eq!((execution.get("failedCount"), execution.get("runningCount")), (None, None));
    assert_eq!(execution["parallelism"], 3);
    for kind in ["Completed", "ResourcesAvailable", "Started", "ContainerReady"] {
        assert_eq!(condition(&execution, kind)["state"], "CONDITION_SUCCEEDED", "{kind}");
    }
    let text = condition(&execution, "Completed")["message"].as_str().expect("a message");
    assert!(text.starts_with("Execution completed successfully in "), "{text}");
    let image = execution["template"]["containers"][0]["image"].as_str().expect("an image");
    assert!(image.starts_with("us-central1-docker.pkg.dev/local/apps/hello@sha256:"), "{image}");

    let tasks = local.tasks(&execution).await;
    let name = last(&execution["name"]);
    let names: Vec<_> = tasks.iter().map(|task| last(&task["name"]).to_owned()).collect();
    assert_eq!(names, (0..3).map(|index| format!("{name}-task{index}")).collect::<Vec<_>>());
    assert_eq!((tasks[0].get("index"), &tasks[2]["index"]), (None, &json!(2)));
    assert_eq!(tasks[0]["lastAttemptResult"], json!({ "status": {} }));
    assert_eq!(condition(&tasks[0], "Completed")["state"], "CONDITION_SUCCEEDED");
    assert_eq!(local.at(&tasks[1]).await, tasks[1]);

    let now = local.job("nightly").await;
    assert_eq!(now["executionCount"], 1);
    assert_eq!(now["latestCreatedExecution"]["name"], name);
    assert_eq!(now["latestCreatedExecution"]["completionStatus"], "EXECUTION_SUCCEEDED");

    let filter = format!(
        "resource.type=\"cloud_run_job\" AND resource.labels.job_name=nightly AND labels.\"run.googleapis.com/execution_name\"=\"{name}\" AND labels.\"run.googleapis.com/task_index\"=2 AND textPayload:CLOUD_RUN"
    );
    let lines = local.lines(&filter).await;
    let expected = format!(
        "CLOUD_RUN_JOB=nightly CLOUD_RUN_EXECUTION={name} CLOUD_RUN_TASK_INDEX=2 CLOUD_RUN_TASK_COUNT=3 CLOUD_RUN_TASK_ATTEMPT=0"
    );
    assert_eq!(lines.iter().map(|line| &line["textPayload"]).collect::<Vec<_>>(), [&json!(expected)]);
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_fails_is_tried_again_and_then_fails_its_execution() {
    let local = Local::start();
    local.create_job("flaky", job("flaky", 2)).await;
    let execution = local.ran("flaky").await["response"].clone();
    assert_eq!((&execution["succeededCount"], &execution["retriedCount"]), (&json!(2), &json!(2)));
    assert_eq!(local.tasks(&execution).await[0]["retried"], 1);

    local.create_job("failing", job("second", 3)).await;
    let operation = local.ran("failing").await;
    let execution = &operation["metadata"];
    let text = format!(
        "Task {}-task1 failed with exit code: 1 and message: The container exited with an error.",
        last(&execution["name"])
    );
    assert_eq!(operation["error"], json!({ "code": 10, "message": text }));
    assert_eq!((&execution["succeededCount"], &execution["failedCount"]), (&json!(2), &json!(1)));
    let completed = condition(execution, "Completed");
    assert_eq!((&completed["state"], &completed["message"]), (&json!("CONDITION_FAILED"), &json!(text)));
    assert_eq!(completed["executionReason"], "NON_ZERO_EXIT_CODE");
    let task = local.tasks(execution).await[1].clone();
    let status = json!({ "code": 10, "message": "The container exited with an error." });
    assert_eq!(task["lastAttemptResult"], json!({ "status": status, "exitCode": 1 }));
    assert_eq!(task["retried"], 1);
    let latest = &local.job("failing").await["latestCreatedExecution"];
    assert_eq!(latest["completionStatus"], "EXECUTION_FAILED");
    let lines = local.lines("resource.type=cloud_run_job AND textPayload=\"Container called exit(1).\"").await;
    let attempts: Vec<_> = lines
        .iter()
        .filter(|line| line["resource"]["labels"]["job_name"] == "failing")
        .map(|line| line["labels"]["run.googleapis.com/task_attempt"].clone())
        .collect();
    assert_eq!(attempts, ["0", "1"]);
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_tried_again_tells_how_the_last_attempt_ended() {
    let local = Local::start();
    local.create_job("flaky", job("flaky-gated", 1)).await;
    let begun = local.run_job("flaky", json!({})).await;
    local.until_async(|| async { local.tasks(&begun.1["metadata"]).await[0]["retried"] == 1 }).await;
    let task = local.tasks(&begun.1["metadata"]).await[0].clone();
    let status = json!({ "code": 10, "message": "The container exited with an error." });
    assert_eq!(task["lastAttemptResult"], json!({ "status": status, "exitCode": 1 }));
    let completed = condition(&task, "Completed");
    assert_eq!((&completed["state"], completed.get("message")), (&json!("CONDITION_RECONCILING"), None));
    assert_eq!(completed.get("executionReason"), None);
    local.runtime.gate.cancel();
    let execution = local.done(begun).await["response"].clone();
    assert_eq!(local.tasks(&execution).await[0]["lastAttemptResult"], json!({ "status": {} }));
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_tasks_run_at_once_than_are_allowed() {
    let local = Local::start();
    let mut wanted = job("gated", 5);
    wanted["template"]["parallelism"] = json!(2);
    local.create_job("wide", wanted).await;
    let begun = local.run_job("wide", json!({})).await;
    local.until(|| local.containers() == 2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(local.containers(), 2);
    let running = local.at(&begun.1["metadata"]).await;
    assert_eq!((&running["runningCount"], &running["parallelism"]), (&json!(2), &json!(2)));
    assert_eq!(local.job("wide").await["latestCreatedExecution"]["completionStatus"], "EXECUTION_RUNNING");
    local.runtime.gate.cancel();
    assert_eq!(local.done(begun).await["response"]["succeededCount"], 5);
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_takes_too_long_is_ended() {
    let local = Local::start();
    let mut wanted = job("gated", 1);
    wanted["template"]["template"]["timeout"] = json!("1s");
    wanted["template"]["template"]["maxRetries"] = json!(0);
    local.create_job("slow", wanted).await;
    let operation = local.ran("slow").await;
    let name = last(&operation["metadata"]["name"]);
    let text = format!("Task {name}-task0 failed with exit code: 0 and message: The configured timeout was reached.");
    assert_eq!(operation["error"], json!({ "code": 4, "message": text }));
    assert_eq!(local.containers(), 0);
    let text = "Terminating task because it has reached the maximum timeout of 1 seconds.";
    assert_eq!(local.lines(&format!("severity=ERROR AND textPayload=\"{text}\"")).await.len(), 1);
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_cancelled_and_its_operation_is_no_error() {
    let local = Local::start();
    let mut wanted = job("gated", 2);
    wanted["template"]["parallelism"] = json!(1);
    local.create_job("long", wanted).await;
    let begun = local.run_job("long", json!({})).await;
    local.until(|| local.containers() == 1).await;
    let path = format!("/v2/{}:cancel", begun.1["metadata"]["name"].as_str().expect("a name"));
    let cancelled = local.call(Method::POST, &path, Some(json!({}))).await;
    assert_eq!(cancelled.1["metadata"]["generation"], "2");
    let execution = local.done(cancelled).await["response"].clone();
    assert_eq!(execution["cancelledCount"], 2);
    let completed = condition(&execution, "Completed");
    assert_eq!(completed["message"], "Cancelled by user.");
    assert_eq!((&completed["state"], &completed["executionReason"]), (&json!("CONDITION_FAILED"), &json!("CANCELLED")));
    assert_eq!(local.containers(), 0);
    assert_eq!(local.done(begun).await["response"]["cancelledCount"], 2);
    assert_eq!(local.job("long").await["latestCreatedExecution"]["completionStatus"], "EXECUTION_CANCELLED");
    let (status, refused) = local.call(Method::POST, &path, Some(json!({}))).await;
    assert_eq!((status, &refused["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_stops() {
    let local = Local::start();
    local.create_job("long", job("gated", 1)).await;
    let (first, second) = (local.run_job("long", json!({})).await, local.run_job("long", json!({})).await);
    local.until(|| local.containers() == 2).await;
    let path = format!("/v2/{}", first.1["metadata"]["name"].as_str().expect("a name"));
    let deleted = local.call(Method::DELETE, &path, None).await;
    assert!(deleted.1["metadata"]["deleteTime"].is_string(), "{deleted:?}");
    local.done(deleted).await;
    assert_eq!((local.get(&path).await.0, local.containers()), (404, 1));
    let deleted = local.call(Method::DELETE, &format!("{PARENT}/jobs/long"), None).await;
    local.done(deleted).await;
    assert_eq!(local.done(second).await["response"]["cancelledCount"], 1);
    let (status, refused) = local.get(&format!("{PARENT}/jobs/long")).await;
    let text = "Resource 'long' of kind 'JOB' in region 'us-central1' in project 'local' does not exist.";
    assert_eq!((status, &refused["error"]["message"]), (404, &json!(text)));
    assert_eq!(local.containers(), 0);
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_runs_after_the_local_cloud_has_ended() {
    let local = Local::start();
    local.create_job("long", job("gated", 3)).await;
    assert_eq!(local.run_job("long", json!({})).await.0, 200);
    local.until(|| local.containers() == 3).await;
    local.running.shutdown().await.unwrap();
    assert_eq!(local.runtime.running.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_may_differ_from_its_job() {
    let local = Local::start();
    local.create_job("nightly", job("fail", 1)).await;
    let changed = json!([{ "args": ["task", "env"], "env": [{ "name": "LEVEL", "value": "debug" }] }]);
    let overrides = json!({ "taskCount": 2, "timeout": "30s", "containerOverrides": changed });
    let begun = local.run_job("nightly", json!({ "overrides": overrides })).await;
    let execution = local.done(begun).await["response"].clone();
    assert_eq!((&execution["succeededCount"], &execution["template"]["timeout"]), (&json!(2), &json!("30s")));
    assert_eq!(local.lines("textPayload:\"LEVEL=debug\"").await.len(), 2);
    assert_eq!(local.job("nightly").await["template"]["taskCount"], 1);
    let (status, refused) = local.run_job("nightly", json!({ "overrides": { "taskCount": 20_000 } })).await;
    let text = "Violation in RunJobRequest.job.template.task_count: must be between 1 and 10000.: ";
    assert_eq!(status, 400);
    assert!(
        refused["error"]["message"].as_str().expect("a text").starts_with(text.trim_end_matches(": ")),
        "{refused}"
    );
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_replaces_the_whole_job() {
    let local = Local::start();
    let mut first = job("env", 2);
    first["labels"] = json!({ "team": "blue" });
    let made = local.create_job("nightly", first).await["response"].clone();
    let path = format!("{PARENT}/jobs/nightly");
    let mut change = job("env", 1);
    change["etag"] = made["etag"].clone();
    let changed = local.call(Method::PATCH, &path, Some(change.clone())).await;
    let changed = local.done(changed).await["response"].clone();
    assert_eq!((&changed["generation"], &changed["template"]["taskCount"]), (&json!("2"), &json!(1)));
    assert_eq!(changed.get("labels"), None);
    let (status, stale) = local.call(Method::PATCH, &path, Some(change)).await;
    assert_eq!((status, &stale["error"]["status"]), (409, &json!("ABORTED")));
    let same = local.call(Method::PATCH, &path, Some(job("env", 1))).await;
    assert_eq!(local.done(same).await["response"]["generation"], "2");
    let dry = local.call(Method::PATCH, &format!("{path}?validateOnly=true"), Some(job("env", 9))).await;
    assert_eq!(dry.1["response"]["template"]["taskCount"], 9);
    assert_eq!(local.job("nightly").await["template"]["taskCount"], 1);
    let other = format!("{PARENT}/jobs/other");
    assert_eq!(local.call(Method::PATCH, &other, Some(job("env", 1))).await.0, 404);
    let made = local.call(Method::PATCH, &format!("{other}?allowMissing=true"), Some(job("env", 1))).await;
    local.done(made).await;
    let (_, jobs) = local.get(&format!("{PARENT}/jobs")).await;
    let names: Vec<_> =
        jobs["jobs"].as_array().expect("jobs").iter().map(|job| last(&job["name"]).to_owned()).collect();
    assert_eq!(names, ["other", "nightly"], "the newest first");
    let again = local.call(Method::POST, &format!("{PARENT}/jobs?jobId=other"), Some(job("env", 1))).await;
    assert_eq!((again.0, &again.1["error"]["message"]), (409, &json!("Resource 'other' already exists.")));
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_its_image_is_not_ready() {
    let local = Local::start();
    let mut wanted = job("env", 1);
    wanted["template"]["template"]["containers"][0]["image"] = json!("gcr.io/local/missing");
    let operation = local.create_job("nightly", wanted).await;
    let text = "Image 'gcr.io/local/missing' not found.";
    assert_eq!(operation["error"], json!({ "code": 5, "message": text }));
    let ready = local.job("nightly").await["terminalCondition"].clone();
    assert_eq!((&ready["state"], &ready["message"]), (&json!("CONDITION_FAILED"), &json!(text)));
    let operation = local.ran("nightly").await;
    assert_eq!(operation["error"], json!({ "code": 5, "message": text }));
    assert_eq!(condition(&operation["metadata"], "ContainerReady")["state"], "CONDITION_FAILED");
    let task = local.tasks(&operation["metadata"]).await[0].clone();
    let completed = condition(&task, "Completed");
    assert_eq!((&completed["state"], &completed["message"]), (&json!("CONDITION_FAILED"), &json!(text)));
    assert_eq!((task.get("reconciling"), task.get("startTime")), (None, None), "{task:#}");
    assert_eq!(operation["metadata"]["failedCount"], 1);
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_runs_the_job_with_its_change() {
    let local = Local::start();
    let mut wanted = job("env", 1);
    wanted["runExecutionToken"] = json!("v1");
    let made = local.create_job("nightly", wanted.clone()).await["response"].clone();
    let latest = &made["latestCreatedExecution"];
    assert_eq!((&latest["name"], &latest["completionStatus"]), (&json!("nightly-v1"), &json!("EXECUTION_SUCCEEDED")));
    let again = local.call(Method::PATCH, &format!("{PARENT}/jobs/nightly"), Some(wanted)).await;
    assert_eq!(local.done(again).await["response"]["executionCount"], 1);
    let mut failing = job("fail", 1);
    failing["runExecutionToken"] = json!("v2");
    let failed = local.call(Method::PATCH, &format!("{PARENT}/jobs/nightly"), Some(failing)).await;
    assert_eq!(local.done(failed).await["error"]["code"], 10);
    assert_eq!(local.job("nightly").await["terminalCondition"]["state"], "CONDITION_FAILED");
    let mut started = job("gated", 1);
    started["startExecutionToken"] = json!("v3");
    let started = local.call(Method::PATCH, &format!("{PARENT}/jobs/nightly"), Some(started)).await;
    assert_eq!(local.done(started).await["response"]["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    local.until(|| local.containers() == 1).await;
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_is_kept_does_not_run_at_once() {
    let local = Local::start();
    local.create_job("wide", job("gated", 10_000)).await;
    for _ in 0..5 {
        assert_eq!(local.run_job("wide", json!({})).await.0, 200);
    }
    let (status, refused) = local.run_job("wide", json!({})).await;
    assert_eq!((status, &refused["error"]["status"]), (429, &json!("RESOURCE_EXHAUSTED")));
    for (field, token) in [("startExecutionToken", "v1"), ("runExecutionToken", "v2")] {
        let mut another = job("gated", 10_000);
        another[field] = json!(token);
        // Also when it is asked again: a token that started nothing is not used up.
        for _ in 0..2 {
            let changed = local.call(Method::PATCH, &format!("{PARENT}/jobs/wide"), Some(another.clone())).await;
            assert_eq!(local.done(changed).await["error"]["code"], 8);
        }
    }
    assert_eq!(local.job("wide").await["executionCount"], 5);
    local.until(|| local.containers() == 64).await;
    local.running.shutdown().await.unwrap();
    assert_eq!(local.runtime.running.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_meet_jobs_too() {
    let local = Local::start();
    local.create_job("nightly", job("env", 1)).await;
    local.fault(json!({ "service": "run", "path": "*:run", "fault": { "kind": "failed-operation" } })).await;
    assert_eq!(local.ran("nightly").await["error"]["code"], 13);
    assert_eq!(local.job("nightly").await.get("executionCount"), None);
    local.fault(json!({ "service": "run", "method": "PATCH", "fault": { "kind": "conflict" } })).await;
    let mut change = job("env", 2);
    change["etag"] = local.job("nightly").await["etag"].clone();
    let (status, stale) = local.call(Method::PATCH, &format!("{PARENT}/jobs/nightly"), Some(change)).await;
    assert_eq!((status, &stale["error"]["status"]), (409, &json!("ABORTED")));
    assert_eq!(local.job("nightly").await["lastModifier"], "somebody-else@example.com");
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_what() {
    let local = Local::start();
    local.create_job("nightly", job("env", 1)).await;
    let path = format!("{PARENT}/jobs/nightly");
    let policy = json!({ "bindings": [{ "role": "roles/run.invoker", "members": ["user:a@b"] }] });
    let (_, set) = local.call(Method::POST, &format!("{path}:setIamPolicy"), Some(json!({ "policy": policy }))).await;
    assert_eq!(local.get(&format!("{path}:getIamPolicy")).await.1, set);
    let asked = json!({ "permissions": ["run.jobs.run"] });
    assert_eq!(local.call(Method::POST, &format!("{path}:testIamPermissions"), Some(asked.clone())).await.1, asked);
    let (status, made) = local.run_job("nightly", json!({ "validateOnly": true })).await;
    assert_eq!((status, &made["done"]), (200, &json!(true)));
    assert_eq!(local.job("nightly").await.get("executionCount"), None);
    local.running.shutdown().await.unwrap();
}
