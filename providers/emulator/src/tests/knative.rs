//! One service in two shapes: what one API does, the other sees.
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Local, PARENT, public, template};

const NAMESPACE: &str = "/apis/serving.knative.dev/v1/namespaces/local";
const IMAGE: &str = "us-central1-docker.pkg.dev/local/apps/hello:v1";

/// A call by a regional name, as gcloud makes it through its proxy.
async fn regional(local: &Local, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("{}{NAMESPACE}{path}", local.running.addresses().google);
    let mut request = local.client.request(method, url).bearer_auth(&local.token);
    request = request.header("host", "us-central1-run.googleapis.com");
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    (status, response.json().await.expect("JSON"))
}

fn service(annotations: &Value) -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": { "name": "hello", "namespace": "local" },
        "spec": { "template": { "metadata": { "annotations": annotations }, "spec": { "containers": [{ "image": IMAGE }] } } },
    })
}

async fn ready(local: &Local) -> Value {
    local
        .until_async(|| async {
            let (_, service) = regional(local, Method::GET, "/services/hello", None).await;
            service["status"]["conditions"][0]["status"] != "Unknown"
        })
        .await;
    regional(local, Method::GET, "/services/hello", None).await.1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_v1_deploys_v2_sees() {
    let local = Local::start();
    let asked = service(&json!({ "autoscaling.knative.dev/maxScale": "5", "team": "blue" }));
    let (status, made) = regional(&local, Method::POST, "/services", Some(asked.clone())).await;
    assert_eq!((status, &made["metadata"]["generation"]), (200, &json!(1)), "{made:#}");
    let live = ready(&local).await;
    assert_eq!(live["status"]["conditions"][0]["status"], "True", "{live:#}");
    assert_eq!(live["status"]["observedGeneration"], live["metadata"]["generation"]);
    assert_eq!(live["status"]["traffic"][0]["revisionName"], live["status"]["latestReadyRevisionName"]);
    let other = local.service("hello").await;
    assert_eq!(other["template"]["scaling"]["maxInstanceCount"], 5);
    assert_eq!(other["template"]["annotations"], json!({ "team": "blue" }));
    assert_eq!(other["template"]["containers"][0]["resources"]["cpuIdle"], true);
    assert_eq!(other["etag"], format!("\"{}\"", live["metadata"]["resourceVersion"].as_str().expect("a version")));
    assert_eq!(other["uri"], live["status"]["url"]);
    let (status, again) = regional(&local, Method::POST, "/services", Some(asked)).await;
    assert_eq!((status, &again["error"]["message"]), (409, &json!("Resource 'hello' already exists.")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_v2_deploys_v1_sees_and_replaces() {
    let local = Local::start();
    local.deployed("hello").await;
    let mut live = ready(&local).await;
    assert_eq!(live["metadata"]["annotations"]["run.googleapis.com/invoker-iam-disabled"], "true");
    let stale = live.clone();
    live["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "A", "value": "1" }]);
    let (status, changed) = regional(&local, Method::PUT, "/services/hello", Some(live)).await;
    assert_eq!((status, &changed["metadata"]["generation"]), (200, &json!(2)), "{changed:#}");
    let live = ready(&local).await;
    let service = local.service("hello").await;
    assert_eq!(service["template"]["containers"][0]["env"], json!([{ "name": "A", "value": "1" }]));
    assert_eq!(service["invokerIamDisabled"], true);
    let (status, refused) = regional(&local, Method::PUT, "/services/hello", Some(stale)).await;
    assert_eq!((status, &refused["error"]["status"]), (409, &json!("ABORTED")), "{refused:#}");
    // The same again makes no revision.
    let (status, same) = regional(&local, Method::PUT, "/services/hello", Some(live.clone())).await;
    assert_eq!((status, &same["metadata"]["generation"]), (200, &json!(2)), "{same:#}");
    let (_, list) = regional(&local, Method::GET, "/revisions", None).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2), "{list:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_are_found_by_their_labels() {
    let local = Local::start();
    local.deployed("hello").await;
    local.deployed("other").await;
    let body = json!({ "template": template(&["new"]) });
    local.done(local.patch("hello", "?updateMask=template", body).await).await;
    let list = async |query: &str| {
        let (status, list) = regional(&local, Method::GET, &format!("/revisions{query}"), None).await;
        assert_eq!(status, 200, "{list:#}");
        list
    };
    let of_hello = list("?labelSelector=serving.knative.dev/service%20%3D%20hello").await;
    let items = of_hello["items"].as_array().expect("some");
    assert_eq!(items.len(), 2);
    let active = |item: &Value| {
        let conditions = item["status"]["conditions"].as_array().expect("some").iter();
        conditions.filter(|one| one["type"] == "Active").map(|one| one["status"].clone()).next()
    };
    assert_eq!((active(&items[0]), active(&items[1])), (Some(json!("True")), Some(json!("False"))));
    let first = list("?limit=2").await;
    assert_eq!(first["metadata"]["continue"], "2");
    assert_eq!(list("?limit=2&continue=2").await["items"].as_array().map(Vec::len), Some(1));
    let old = items[1]["metadata"]["name"].as_str().expect("a name").to_owned();
    let (status, deleted) = regional(&local, Method::DELETE, &format!("/revisions/{old}"), None).await;
    assert_eq!((status, &deleted["status"]), (200, &json!("Success")), "{deleted:#}");
    assert_eq!(regional(&local, Method::GET, &format!("/revisions/{old}"), None).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_has_a_route_and_a_configuration() {
    let local = Local::start();
    let service = local.deployed("hello").await;
    let (_, route) = regional(&local, Method::GET, "/routes/hello", None).await;
    assert_eq!((&route["kind"], &route["status"]["url"]), (&json!("Route"), &service["uri"]));
    let (_, configuration) = regional(&local, Method::GET, "/configurations/hello", None).await;
    let ready = configuration["status"]["latestReadyRevisionName"].as_str().expect("one");
    assert!(service["latestReadyRevision"].as_str().expect("one").ends_with(ready));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_of_a_dry_run_and_a_delete_ends_all() {
    let local = Local::start();
    let (status, shown) = regional(&local, Method::POST, "/services?dryRun=all", Some(service(&json!({})))).await;
    assert_eq!((status, &shown["spec"]["template"]["spec"]["containerConcurrency"]), (200, &json!(80)), "{shown:#}");
    assert_eq!(regional(&local, Method::GET, "/services/hello", None).await.0, 404);
    local.deployed("hello").await;
    let (status, deleted) = regional(&local, Method::DELETE, "/services/hello", None).await;
    assert_eq!((status, &deleted["status"]), (200, &json!("Success")));
    local.until_async(|| async { regional(&local, Method::GET, "/services/hello", None).await.0 == 404 }).await;
    assert_eq!(local.containers(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_ends_with_the_service_also_when_it_failed() {
    let local = Local::start();
    let wait = async |service: &Value| {
        let id = service["metadata"]["annotations"]["run.googleapis.com/operation-id"].as_str().expect("an id");
        let path = format!("/v1/projects/local/locations/us-central1/operations/{id}:wait");
        let (status, operation) = local.call(Method::POST, &path, Some(json!({ "timeout": "30s" }))).await;
        assert_eq!((status, &operation["done"]), (200, &json!(true)), "{operation:#}");
        operation
    };
    let (_, made) = regional(&local, Method::POST, "/services", Some(service(&json!({})))).await;
    let done = wait(&made).await;
    assert_eq!(done["response"]["kind"], "Service");
    assert_eq!(done["response"]["status"]["conditions"][0]["status"], "True", "{done:#}");
    let (_, mut live) = regional(&local, Method::GET, "/services/hello", None).await;
    live["spec"]["template"]["spec"]["containers"][0]["image"] =
        json!("us-central1-docker.pkg.dev/local/apps/missing:v1");
    let (_, changed) = regional(&local, Method::PUT, "/services/hello", Some(live)).await;
    let failed = wait(&changed).await;
    assert_eq!(failed.get("error"), None, "{failed:#}");
    let ready = &failed["response"]["status"]["conditions"][0];
    assert_eq!(ready["status"], "False");
    assert!(
        ready["message"].as_str().is_some_and(|text| text.contains("is not ready and cannot serve traffic. Image")),
        "{ready}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_v1_does_not_know_is_refused() {
    let local = Local::start();
    let refused = async |body: Value| {
        let (status, answer) = regional(&local, Method::POST, "/services", Some(body)).await;
        assert_eq!(status, 400, "{answer:#}");
        answer["error"]["message"].as_str().expect("a text").to_owned()
    };
    let mut unknown = service(&json!({}));
    unknown["spec"]["replicas"] = json!(2);
    assert_eq!(
        refused(unknown).await,
        "Invalid JSON payload received. Unknown name \"replicas\" at 'service.spec': Cannot find field."
    );
    let mut elsewhere = service(&json!({}));
    elsewhere["metadata"]["namespace"] = json!("other");
    assert_eq!(refused(elsewhere).await, "metadata.namespace: must be 'local', as in the request's path.");
    let mut kind = service(&json!({}));
    kind["kind"] = json!("Job");
    assert_eq!(refused(kind).await, "kind: must be 'Service'.");
    let text = refused(service(&json!({ "run.googleapis.com/replicas": "2" }))).await;
    assert!(text.contains("annotation 'run.googleapis.com/replicas' is not supported"), "{text}");
    // A namespace is in a region, which only the host's name says.
    assert_eq!(local.get(&format!("{NAMESPACE}/services")).await.0, 400);
    let (status, all) = local.get("/v1/projects/local/locations/-/services").await;
    assert_eq!((status, &all["kind"]), (200, &json!("ServiceList")));
    assert_eq!(local.create("hello", public(&[])).await.0, 200);
    assert_eq!(local.get(&format!("{PARENT}/services/hello")).await.0, 200);
}
