//! Host names, the console, logs, repositories.
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Local, TOKEN, last, public, url};

async fn by_host(local: &Local, host: &str, path: &str) -> (u16, Value) {
    let url = format!("{}{path}", local.running.addresses().google);
    let request = local.client.get(url).header("host", host).bearer_auth(TOKEN);
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a text");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_name_leads_to_its_api() {
    let local = Local::start();
    let services = "/v2/projects/local/locations/us-central1/services";
    let repositories = "/v1/projects/local/locations/us-central1/repositories";
    for (host, path, status) in [
        ("run.googleapis.com", services, 200),
        ("us-central1-run.googleapis.com", services, 200),
        ("run.googleapis.com:443", services, 200),
        ("artifactregistry.googleapis.com", services, 404),
        ("artifactregistry.googleapis.com", repositories, 200),
        ("localhost", repositories, 200),
        ("example.com", services, 404),
    ] {
        assert_eq!(by_host(&local, host, path).await.0, status, "{host} {path}");
    }
    let (_, answer) = by_host(&local, "example.com", "/").await;
    assert_eq!(answer["error"]["message"], "The local cloud does not answer for the host 'example.com'.");
    let (_, answer) = by_host(&local, "us-central1-docker.pkg.dev", "/v2/").await;
    assert_eq!(answer, json!("registry Some(\"us-central1-docker.pkg.dev\")"));
    let registry = format!("http://{}/v2/", local.running.addresses().registry);
    assert_eq!(local.text(&registry).await, (200, "registry None".to_owned()));

    let console = format!("{}/requests", local.running.addresses().console);
    let listed = local.client.get(&console).bearer_auth(TOKEN).send().await.expect("an answer");
    let listed: Vec<Value> = listed.json().await.expect("JSON");
    assert_eq!(listed.len(), 10);
    assert_eq!(listed[0]["host"], "run.googleapis.com");
    assert_eq!((&listed[0]["path"], &listed[0]["status"]), (&json!(services), &json!(200)));
    assert!(!listed.iter().any(|line| line.to_string().contains(TOKEN)));
    local.client.delete(&console).bearer_auth(TOKEN).send().await.expect("an answer");
    let listed = local.client.get(&console).bearer_auth(TOKEN).send().await.expect("an answer");
    assert_eq!(listed.json::<Value>().await.expect("JSON"), json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_is_for_carrack_alone() {
    let local = Local::start();
    let service = local.deployed("hello").await;
    let console = local.running.addresses().console.clone();
    let status = format!("{console}/status");
    let get = || local.client.get(&status);
    for (request, expected) in [
        (get(), 401),
        (get().bearer_auth("wrong"), 401),
        (get().bearer_auth(TOKEN).header("host", "evil.example"), 403),
        (get().bearer_auth(TOKEN).header("origin", "http://evil.example"), 403),
        (get().bearer_auth(TOKEN).header("origin", &console), 200),
        (get().bearer_auth(TOKEN), 200),
    ] {
        assert_eq!(request.send().await.expect("an answer").status(), expected);
    }
    let answer: Value = get().bearer_auth(TOKEN).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer["runtime"], "process");
    assert_eq!(answer["addresses"]["console"], console);
    assert_eq!(answer["services"][0]["url"], url(&service));
    let post = |path: &str| local.client.post(format!("{console}{path}")).bearer_auth(TOKEN).send();
    assert_eq!(post("/reset").await.expect("an answer").status(), 204);
    assert_eq!(local.containers(), 0);
    assert_eq!(local.get("/v2/projects/local/locations/us-central1/services").await, (200, json!({})));
    assert_eq!(post("/stop").await.expect("an answer").status(), 202);
    local.running.stopped().await;
    local.running.shutdown().await.unwrap();
    assert!(local.client.get(&status).send().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repositories_come_and_go() {
    let local = Local::start();
    let parent = "/v1/projects/local/locations/us-central1/repositories";
    let create = async |id: &str, body: Value| {
        local.call(Method::POST, &format!("{parent}?repositoryId={id}"), Some(body)).await
    };
    let (status, operation) = create("apps", json!({ "format": "DOCKER" })).await;
    assert_eq!(status, 200);
    let name = format!("/v1/{}", operation["name"].as_str().expect("a name"));
    local.until_async(|| async { local.get(&name).await.1["done"] == true }).await;
    let (_, repository) = local.get(&format!("{parent}/apps")).await;
    assert_eq!(repository["registryUri"], "us-central1-docker.pkg.dev/local/apps");
    assert_eq!(repository["format"], "DOCKER");
    assert_eq!(local.get(parent).await.1["repositories"], json!([repository]));
    assert_eq!(create("apps", json!({ "format": "DOCKER" })).await.0, 409);
    assert_eq!(create("Apps", json!({ "format": "DOCKER" })).await.0, 400);
    assert_eq!(create("maven", json!({ "format": "MAVEN" })).await.0, 501);
    assert_eq!(create("odd", json!({ "format": "ODD" })).await.0, 400);
    assert_eq!(local.call(Method::DELETE, &format!("{parent}/apps"), None).await.0, 200);
    let (status, answer) = local.get(&format!("{parent}/apps")).await;
    assert_eq!((status, &answer["error"]["message"]), (404, &json!("Requested entity was not found.")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repositories_of_container_registry_are_named_as_their_hosts() {
    let local = Local::start();
    let create = async |location: &str, id: &str| {
        let parent = format!("/v1/projects/local/locations/{location}/repositories");
        local.call(Method::POST, &format!("{parent}?repositoryId={id}"), Some(json!({ "format": "DOCKER" }))).await.0
    };
    for (location, id) in [("us", "gcr.io"), ("us", "us.gcr.io"), ("europe", "eu.gcr.io"), ("asia", "asia.gcr.io")] {
        assert_eq!(create(location, id).await, 200, "{location} {id}");
        let (_, repository) = local.get(&format!("/v1/projects/local/locations/{location}/repositories/{id}")).await;
        assert_eq!(repository["registryUri"], format!("{location}-docker.pkg.dev/local/{id}"));
    }
    for (location, id) in [("us-central1", "gcr.io"), ("us", "eu.gcr.io"), ("us", "x.gcr.io")] {
        assert_eq!(create(location, id).await, 400, "{location} {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_logged() {
    let local = Local::start();
    let service = local.deployed("hello").await;
    local.done(local.create("broken", public(&["exit"])).await).await;
    assert_eq!(local.text(&format!("{}/log?{{\"severity\":\"ERROR\",\"message\":\"m\"}}", url(&service))).await.0, 200);
    assert_eq!(local.text(&format!("{}/fail", url(&service))).await.0, 404);
    let list = async |filter: &str, more: Value| {
        let mut body = json!({ "resourceNames": ["projects/local"], "filter": filter });
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        local.call(Method::POST, "/v2/entries:list", Some(body)).await
    };
    let hello = "resource.type = cloud_run_revision AND resource.labels.service_name = hello";
    let requests = format!("{hello} AND logName = \"projects/local/logs/run.googleapis.com%2Frequests\"");
    local
        .until_async(|| async { list(&requests, json!({})).await.1["entries"].as_array().map_or(0, Vec::len) == 2 })
        .await;
    let (_, answer) = list(&requests, json!({ "orderBy": "timestamp desc" })).await;
    assert_eq!(answer["entries"][0]["httpRequest"]["status"], 404);
    assert_eq!(answer["entries"][0]["severity"], "WARNING");
    assert_eq!(answer["entries"][0]["resource"]["labels"]["revision_name"], last(&service["latestReadyRevision"]));
    let (_, answer) = list(&format!("{hello} AND textPayload : \"hello from\""), json!({})).await;
    assert_eq!(answer["entries"].as_array().map(Vec::len), Some(1));
    let (_, answer) = list(&format!("{hello} AND severity = ERROR"), json!({})).await;
    assert_eq!(answer["entries"][0]["jsonPayload"], json!({ "message": "m" }));
    let (_, answer) = list("resource.labels.service_name = broken AND logName : system", json!({})).await;
    let texts: Vec<_> =
        answer["entries"].as_array().expect("entries").iter().map(|entry| entry["textPayload"].clone()).collect();
    assert!(texts.contains(&json!("Container called exit(1).")), "{texts:?}");
    assert!(
        texts.contains(&json!(
            "Default STARTUP TCP probe failed 1 time consecutively for container \"broken-1\" on port 8080. The instance was not started.\nConnection failed with status CANCELLED."
        )),
        "{texts:?}"
    );

    let (_, first) = list(hello, json!({ "pageSize": 2 })).await;
    let token = first["nextPageToken"].clone();
    let (_, second) = list(hello, json!({ "pageSize": 2, "pageToken": token })).await;
    let ids = |answer: &Value| -> Vec<String> {
        answer["entries"].as_array().expect("entries").iter().map(|entry| entry["insertId"].to_string()).collect()
    };
    let all: std::collections::BTreeSet<_> = ids(&first).into_iter().chain(ids(&second)).collect();
    assert_eq!(all.len(), 4);
    let (status, answer) = list("textPayload =~ \"x\"", json!({})).await;
    assert_eq!((status, &answer["error"]["message"]), (400, &json!("Unparseable filter: `=~` is not supported")));
}
