//! Jobs as gcloud speaks of them: the same ones in their Knative shape.
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Local, PARENT};

const NAMESPACE: &str = "/apis/run.googleapis.com/v1/namespaces/local";

fn job(how: &str) -> Value {
    let container = json!({ "image": "us-central1-docker.pkg.dev/local/apps/hello:v1", "args": ["task", how] });
    json!({
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Job",
        "metadata": { "name": "nightly", "namespace": "local" },
        "spec": { "template": { "spec": {
            "taskCount": 2,
            "template": { "spec": { "containers": [container], "maxRetries": 0, "timeoutSeconds": "60" } },
        } } },
    })
}

impl Local {
    /// By the name of the region's own host.
    async fn regional(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.running.addresses().google);
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        request = request.header("host", "us-central1-run.googleapis.com");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    /// The resource, when its condition `kind` is no longer unknown.
    async fn settled(&self, path: &str, kind: &str) -> Value {
        loop {
            let (status, value) = self.regional(Method::GET, path, None).await;
            assert_eq!(status, 200, "{value:#}");
            if status_of(&value, kind) != "Unknown" {
                return value;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

fn status_of<'a>(value: &'a Value, kind: &str) -> &'a str {
    let conditions = value["status"]["conditions"].as_array().expect("conditions");
    let found = conditions.iter().find(|condition| condition["type"] == kind).expect(kind);
    found["status"].as_str().expect("a status")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_from_its_creation_to_its_end() {
    let local = Local::start();
    let jobs = format!("{NAMESPACE}/jobs");
    let (status, made) = local.regional(Method::POST, &jobs, Some(job("env"))).await;
    assert_eq!(status, 200, "{made:#}");
    assert_eq!(
        (&made["kind"], &made["metadata"]["annotations"]["run.googleapis.com/creator"]),
        (&json!("Job"), &json!("local"))
    );
    let ready = local.settled(&format!("{jobs}/nightly"), "Ready").await;
    assert_eq!(status_of(&ready, "Ready"), "True");
    assert_eq!(ready["spec"]["template"]["spec"]["template"]["spec"]["timeoutSeconds"], "60");
    assert_eq!(ready["status"].get("latestCreatedExecution"), None);
    assert_eq!(local.get(&format!("{PARENT}/jobs/nightly")).await.1["template"]["taskCount"], 2);
    // Of all locations, by the name that has none.
    assert_eq!(local.get(&jobs).await.1["items"][0]["metadata"]["name"], "nightly");

    let (status, begun) = local.regional(Method::POST, &format!("{jobs}/nightly:run"), Some(json!({}))).await;
    assert_eq!((status, &begun["kind"]), (200, &json!("Execution")), "{begun:#}");
    let name = begun["metadata"]["name"].as_str().expect("a name").to_owned();
    let path = format!("{NAMESPACE}/executions/{name}");
    let ended = local.settled(&path, "Completed").await;
    assert_eq!(status_of(&ended, "Completed"), "True");
    assert_eq!(ended["status"]["succeededCount"], 2);
    assert_eq!(ended["metadata"]["labels"]["run.googleapis.com/job"], "nightly");
    let listed = async |query: &str| {
        let (_, list) = local.regional(Method::GET, &format!("{NAMESPACE}/{query}"), None).await;
        list["items"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(listed("executions?labelSelector=run.googleapis.com/job%20%3D%20nightly").await, 1);
    assert_eq!(listed("executions?labelSelector=run.googleapis.com/job%20%3D%20other").await, 0);
    let tasks = format!("{NAMESPACE}/tasks?labelSelector=run.googleapis.com/execution%20%3D%20{name}");
    let (_, tasks) = local.regional(Method::GET, &tasks, None).await;
    assert_eq!(tasks["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(tasks["items"][1]["metadata"]["labels"]["run.googleapis.com/runningState"], "Succeeded");
    let task = tasks["items"][1]["metadata"]["name"].as_str().expect("a name");
    assert_eq!(local.regional(Method::GET, &format!("{NAMESPACE}/tasks/{task}"), None).await.1, tasks["items"][1]);
    assert_eq!(local.regional(Method::DELETE, &path, None).await.1["status"], "Success");
    assert_eq!(local.regional(Method::GET, &path, None).await.0, 404);
    assert_eq!(local.regional(Method::DELETE, &format!("{jobs}/nightly"), None).await.1["status"], "Success");
    local.until_async(async || local.regional(Method::GET, &format!("{jobs}/nightly"), None).await.0 == 404).await;
    local.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_replaced_by_its_version_and_cancelled() {
    let local = Local::start();
    let path = format!("{NAMESPACE}/jobs/nightly");
    local.regional(Method::POST, &format!("{NAMESPACE}/jobs"), Some(job("env"))).await;
    let mut given = local.settled(&path, "Ready").await;
    given["spec"]["template"]["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["task", "gated"]);
    let (status, changed) = local.regional(Method::PUT, &path, Some(given.clone())).await;
    assert_eq!((status, &changed["metadata"]["generation"]), (200, &json!(2)), "{changed:#}");
    assert_eq!(local.regional(Method::PUT, &path, Some(given)).await.0, 409);
    let overrides = json!({ "overrides": { "taskCount": 1, "timeoutSeconds": 30, "containerOverrides": [
        { "args": [], "env": [{ "name": "A", "value": "1" }] }
    ] } });
    let (status, begun) = local.regional(Method::POST, &format!("{path}:run"), Some(overrides)).await;
    assert_eq!((status, &begun["spec"]["taskCount"]), (200, &json!(1)), "{begun:#}");
    assert_eq!(begun["spec"]["template"]["spec"]["timeoutSeconds"], "30");
    local.until(|| local.containers() == 1).await;
    let execution = format!("{NAMESPACE}/executions/{}", begun["metadata"]["name"].as_str().expect("a name"));
    let (status, cancelled) = local.regional(Method::POST, &format!("{execution}:cancel"), Some(json!({}))).await;
    assert_eq!(status, 200, "{cancelled:#}");
    let ended = local.settled(&execution, "Completed").await;
    let completed = &ended["status"]["conditions"][0];
    assert_eq!((&completed["status"], &completed["reason"]), (&json!("False"), &json!("Cancelled")));
    assert_eq!(local.containers(), 0);
    let iam = "/v1/projects/local/locations/us-central1/jobs/nightly:getIamPolicy";
    assert_eq!(local.get(iam).await, (200, json!({ "etag": "ACAB" })));
    local.running.shutdown().await.unwrap();
}
