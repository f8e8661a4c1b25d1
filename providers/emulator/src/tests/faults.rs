//! Calls that go wrong on purpose, at every face.
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Local, PARENT, TOKEN, last, public, template, url};

impl Local {
    async fn console(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.running.addresses().console);
        let mut request = self.client.request(method, url).bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    pub(super) async fn fault(&self, rule: Value) -> u64 {
        let (status, answer) = self.console(Method::POST, "/faults", Some(rule)).await;
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_u64().expect("a number")
    }

    /// A call whose answer does not come, or not whole: what its client says of it.
    async fn broken(&self, method: Method, path: &str, body: Value) -> String {
        let url = format!("{}{path}", self.running.addresses().google);
        let request = self.client.request(method, url).bearer_auth(&self.token).json(&body);
        let end = async { request.send().await?.bytes().await };
        let mut error: &dyn std::error::Error = &end.await.expect_err("no answer");
        while let Some(cause) = error.source() {
            error = cause;
        }
        error.to_string()
    }
}

fn kind(kind: &str) -> Value {
    json!({ "kind": kind })
}

fn services() -> String {
    format!("{PARENT}/services")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_comes_in_the_form_of_its_face() {
    let local = Local::start();
    let status = json!({ "kind": "status", "status": 429, "retryAfter": 7 });
    local.fault(json!({ "service": "run", "nth": 2, "fault": status })).await;
    assert_eq!(local.get(&services()).await.0, 200);
    let url = format!("{}{}", local.running.addresses().google, services());
    let refused = local.client.get(&url).bearer_auth(TOKEN).send().await.expect("an answer");
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (429, &b"7"[..]));
    let body: Value = refused.json().await.expect("JSON");
    assert_eq!((&body["error"]["code"], &body["error"]["status"]), (&json!(429), &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(local.get(&services()).await.0, 200);

    local
        .fault(json!({ "service": "registry", "fault": { "kind": "status", "status": 503, "message": "later" } }))
        .await;
    let registry = format!("http://{}/v2/", local.running.addresses().registry);
    let (status, text) = local.text(&registry).await;
    assert_eq!((status, text.as_str()), (503, r#"{"errors":[{"code":"UNAVAILABLE","message":"later"}]}"#));
    let google = local.client.get(format!("{}/v2/", local.running.addresses().google));
    let named = google.header("host", "us-central1-docker.pkg.dev").send().await.expect("an answer");
    assert_eq!(named.status(), 503, "the registry has two faces");
    assert_eq!(local.get(&services()).await.0, 200);

    let (_, requests) = local.console(Method::GET, "/requests", None).await;
    let faults: Vec<_> = requests.as_array().expect("a list").iter().map(|line| line["fault"].as_str()).collect();
    assert_eq!(faults, [None, Some("429"), None, Some("503"), Some("503"), None]);
    let (_, rules) = local.console(Method::GET, "/faults", None).await;
    assert_eq!((&rules[0]["calls"], &rules[0]["hits"], &rules[1]["hits"]), (&json!(4), &json!(1), &json!(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_breaks_the_connection_before_or_after() {
    let local = Local::start();
    for (fault, exists) in [("reset", 404), ("reset-after", 200)] {
        local.fault(json!({ "method": "POST", "nth": 1, "fault": kind(fault) })).await;
        let path = format!("{}?serviceId=by-{fault}", services());
        let why = local.broken(Method::POST, &path, public(&[])).await;
        assert!(why.to_lowercase().contains("reset"), "{fault}: {why}");
        assert_eq!(local.get(&format!("{}/by-{fault}", services())).await.0, exists, "{fault}");
        local.console(Method::DELETE, "/faults", None).await;
    }
    let (_, requests) = local.console(Method::GET, "/requests", None).await;
    assert_eq!((&requests[0]["status"], &requests[0]["fault"]), (&Value::Null, &json!("reset")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_breaks_all_that_shares_a_connection() {
    let mut local = Local::start();
    local.fault(json!({ "path": "/a", "fault": kind("stall") })).await;
    local.fault(json!({ "path": "/b", "fault": kind("reset") })).await;
    local.client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().expect("a client");
    let stalled = local.broken(Method::GET, "/a", Value::Null);
    let reset = async {
        local.until_async(async || local.console(Method::GET, "/faults", None).await.1[0]["hits"] == 1).await;
        local.broken(Method::GET, "/b", Value::Null).await
    };
    let both = async { tokio::join!(stalled, reset) };
    let (first, second) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("both end");
    for why in [first, second] {
        assert!(why.to_lowercase().contains("reset") || why.contains("broken pipe"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_answer_ends_in_its_middle() {
    let local = Local::start();
    local.fault(json!({ "nth": 1, "fault": kind("truncate") })).await;
    let path = format!("{}{}?serviceId=cut", local.running.addresses().google, services());
    let request = local.client.post(path).bearer_auth(TOKEN).json(&public(&[]));
    let mut response = request.send().await.expect("the answer's head");
    assert_eq!(response.status(), 200);
    let whole = response.content_length().expect("the length of the whole");
    let mut half = Vec::new();
    let end = loop {
        match response.chunk().await {
            Ok(piece) => half.extend(piece.expect("no end")),
            Err(error) => break error,
        }
    };
    assert_eq!(half.len() as u64, whole / 2, "{end}");
    assert!(half.starts_with(b"{"), "{}", String::from_utf8_lossy(&half));
    assert_eq!(local.get(&format!("{}/cut", services())).await.0, 200, "it was done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_lasts_until_its_rule_is_cleared() {
    let local = Local::start();
    for (fault, exists) in [("stall", 404), ("stall-after", 200)] {
        let id = local.fault(json!({ "method": "POST", "nth": 1, "fault": kind(fault) })).await;
        let path = format!("{}?serviceId=by-{fault}", services());
        let held = local.broken(Method::POST, &path, public(&[]));
        let look = async {
            local.until_async(async || local.console(Method::GET, "/faults", None).await.1[0]["hits"] == 1).await;
            local.until_async(async || local.get(&format!("{}/by-{fault}", services())).await.0 == exists).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            local.console(Method::DELETE, &format!("/faults/{id}"), None).await
        };
        let (why, (status, _)) = tokio::join!(held, look);
        assert!(why.to_lowercase().contains("reset"), "{fault}: {why}");
        assert_eq!(status, 200);
        assert_eq!(local.get(&format!("{}/by-{fault}", services())).await.0, exists, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_a_change_by_somebody_else() {
    let local = Local::start();
    let before = local.deployed("hello").await;
    local.fault(json!({ "fault": kind("conflict") })).await;
    let mut change = json!({ "etag": before["etag"], "labels": { "a": "b" } });
    let (status, refused) = local.patch("hello", "?updateMask=labels", change.clone()).await;
    assert_eq!((status, &refused["error"]["status"]), (409, &json!("ABORTED")));
    let text = refused["error"]["message"].as_str().expect("a text");
    assert!(text.starts_with("Conflict for resource 'hello': version '"), "{text}");
    let after = local.service("hello").await;
    assert_ne!(after["etag"], before["etag"]);
    assert_eq!(after["lastModifier"], "somebody-else@example.com");
    change["etag"] = after["etag"].clone();
    local.console(Method::DELETE, "/faults", None).await;
    assert_eq!(local.patch("hello", "?updateMask=labels", change).await.0, 200);

    local.fault(json!({ "path": "*:setIamPolicy", "fault": kind("conflict") })).await;
    let policy = local.get(&format!("{}/hello:getIamPolicy", services())).await.1;
    let path = format!("{}/hello:setIamPolicy", services());
    let set = local.call(Method::POST, &path, Some(json!({ "policy": { "etag": policy["etag"] } })));
    assert_eq!(set.await.0, 409);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_fails_leaves_the_earlier_revision_serving() {
    let local = Local::start();
    let before = local.deployed("hello").await;
    let failed = json!({ "kind": "failed-operation", "message": "No capacity." });
    local.fault(json!({ "service": "run", "fault": failed })).await;
    let operation =
        local.done(local.patch("hello", "?updateMask=template", json!({ "template": template(&["2"]) })).await).await;
    assert_eq!(operation["error"], json!({ "code": 13, "message": "No capacity." }));
    let after = local.service("hello").await;
    assert_eq!(after["terminalCondition"]["state"], "CONDITION_FAILED");
    assert_eq!(after["latestReadyRevision"], before["latestReadyRevision"]);
    assert_ne!(after["latestCreatedRevision"], before["latestCreatedRevision"]);
    let text = local.text(url(&before)).await;
    assert_eq!(text, (200, last(&before["latestReadyRevision"]).to_owned()));

    // Without a new revision nothing changes, and a delete deletes nothing.
    let operation = local.patch("hello", "?updateMask=labels", json!({ "labels": { "a": "b" } })).await;
    assert_eq!(operation.1.get("done"), None);
    assert!(local.done(operation).await["error"].is_object());
    assert_eq!(local.service("hello").await.get("labels"), None);
    let delete = local.call(Method::DELETE, &format!("{}/hello", services()), None).await;
    assert!(local.done(delete).await["error"].is_object());
    assert_eq!(local.text(url(&before)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_refused_begins_no_operation_that_fails() {
    let local = Local::start();
    let parent = "/v1/projects/local/locations/us-central1/repositories";
    let create = async || {
        local.call(Method::POST, &format!("{parent}?repositoryId=a"), Some(json!({ "format": "DOCKER" }))).await
    };
    let delete = async |id: &str| local.call(Method::DELETE, &format!("{parent}/{id}"), None).await;
    assert_eq!(create().await.0, 200);
    local.fault(json!({ "service": "artifactregistry", "fault": kind("failed-operation") })).await;
    assert_eq!(create().await.0, 409);
    assert_eq!(delete("none").await.0, 404);
    let (status, operation) = delete("a").await;
    assert_eq!(status, 200, "{operation:#}");
    let (_, end) = local.get(&format!("/v1/{}", operation["name"].as_str().expect("a name"))).await;
    assert_eq!(end["error"]["code"], 13, "{end:#}");
    assert_eq!(local.get(&format!("{parent}/a")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_in_the_middle() {
    let local = Local::start();
    let service = local.deployed("hello").await;
    local.fault(json!({ "nth": 2, "fault": kind("expired-token") })).await;
    let another = local.fault(json!({ "path": "/none", "fault": kind("expired-token") })).await;
    assert_eq!(local.get(&services()).await.0, 200);
    for _ in 0..2 {
        let (status, refused) = local.get(&services()).await;
        assert_eq!((status, &refused["error"]["details"][0]["reason"]), (401, &json!("ACCESS_TOKEN_EXPIRED")));
    }
    // A container could use it at the console.
    for (token, seen) in [(TOKEN, false), ("foreign", true)] {
        let request = local.client.get(format!("{}/headers", url(&service))).bearer_auth(token);
        let text = request.send().await.expect("an answer").text().await.expect("a text");
        assert_eq!(text.contains(token), seen, "{text}");
    }
    // The console is how it gets out of there.
    let (_, other) =
        local.console(Method::POST, "/principals", Some(json!({ "email": "a@b", "lifeSeconds": 600 }))).await;
    let request = local.client.get(format!("{}{}", local.running.addresses().google, services()));
    let token = other["token"].as_str().expect("a token");
    assert_eq!(request.bearer_auth(token).send().await.expect("an answer").status(), 200);
    assert_eq!(local.console(Method::DELETE, &format!("/faults/{another}"), None).await.0, 200);
    assert_eq!(local.get(&services()).await.0, 401, "the rule that ended it is there");
    local.console(Method::DELETE, "/faults", None).await;
    assert_eq!(local.get(&services()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_are_none_are_refused_and_a_reset_forgets_all() {
    let local = Local::start();
    for (rule, status) in [
        (json!({ "fault": { "kind": "status", "status": 200 } }), 400),
        (json!({ "nth": 0, "fault": kind("reset") }), 400),
        (json!({ "fault": kind("nothing") }), 422),
        (json!({ "fault": kind("reset"), "host": "x" }), 422),
        (json!({ "service": "storage", "fault": kind("reset") }), 422),
    ] {
        assert_eq!(local.console(Method::POST, "/faults", Some(rule.clone())).await.0, status, "{rule}");
    }
    assert_eq!(local.console(Method::DELETE, "/faults/1", None).await.0, 404);
    local.fault(json!({ "fault": kind("reset") })).await;
    local.console(Method::POST, "/reset", None).await;
    assert_eq!(local.console(Method::GET, "/faults", None).await.1, json!([]));
    assert_eq!(local.get(&services()).await.0, 200);
}
