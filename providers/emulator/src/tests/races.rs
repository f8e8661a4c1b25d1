//! Calls that come at the same time.
use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use super::{
    harness::{Local, PARENT, last, public, template, url},
    jobs::job,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_changes_at_once_none_is_lost() {
    let local = Local::start();
    let mut etag = local.deployed("hello").await["etag"].clone();
    for round in 0..50 {
        let change = |name: String| {
            let body = json!({ "etag": etag, "description": name });
            let local = &local;
            async move { local.patch("hello", "?updateMask=description", body).await.0 }
        };
        let changes = (0..8).map(|number| change(format!("{round}-{number}")));
        let mut answers = futures_util::future::join_all(changes).await;
        answers.sort_unstable();
        assert_eq!(answers, [200, 409, 409, 409, 409, 409, 409, 409], "one etag is good for one change");
        etag = local.service("hello").await["etag"].clone();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_takes_what_is_made_meanwhile() {
    let local = Local::start();
    local.done(local.create("first", public(&["stubborn"])).await).await;
    let address = format!("{}/reset", local.running.addresses().console);
    let reset = tokio::spawn(local.client.request(Method::POST, address).bearer_auth(&local.token).send());
    local.until_async(|| async { local.service("first").await["deleteTime"].is_string() }).await;
    let second = local.deployed("second").await;
    local.runtime.gate.cancel();
    assert_eq!(reset.await.expect("joined").expect("an answer").status(), 204);
    assert_eq!(local.service("second").await["error"]["code"], 404, "{second:#}");
    assert_eq!(local.containers(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_takes_the_jobs_that_are_made_while_services_end() {
    let local = Local::start();
    local.done(local.create("first", public(&["stubborn"])).await).await;
    let address = format!("{}/reset", local.running.addresses().console);
    let reset = tokio::spawn(local.client.request(Method::POST, address).bearer_auth(&local.token).send());
    local.until_async(|| async { local.service("first").await["deleteTime"].is_string() }).await;
    let operation = local.create_job("nightly", job("env", 1)).await;
    assert_eq!(local.get(&format!("{PARENT}/jobs/nightly")).await.0, 200);
    local.runtime.gate.cancel();
    assert_eq!(reset.await.expect("joined").expect("an answer").status(), 204);
    assert_eq!(local.get(&format!("{PARENT}/jobs/nightly")).await.0, 404);
    let path = format!("/v2/{}", operation["name"].as_str().expect("a name"));
    assert_eq!(local.get(&path).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_revision_leaves_no_container_behind() {
    let local = Arc::new(Local::start());
    let service = local.deployed("hello").await;
    let slow = {
        let (local, url) = (local.clone(), format!("{}/slow", url(&service)));
        tokio::spawn(async move { local.text(&url).await.0 })
    };
    let mut waiting = local.runtime.waiting.subscribe();
    waiting.wait_for(|count| *count == 1).await.expect("reached");
    local.done(local.patch("hello", "?updateMask=template", json!({ "template": template(&["new"]) })).await).await;
    assert_eq!(local.containers(), 2);
    let path = format!("/v2/{}", service["latestReadyRevision"].as_str().expect("a name"));
    local.done(local.call(Method::DELETE, &path, None).await).await;
    assert_eq!(local.containers(), 1);
    assert_eq!(slow.await.expect("joined"), 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_will_have_traffic_is_not_deleted() {
    let local = Local::start();
    let service = local.deployed("hello").await;
    let old = last(&service["latestReadyRevision"]).to_owned();
    local.done(local.patch("hello", "?updateMask=template", json!({ "template": template(&["new"]) })).await).await;
    let traffic = json!([{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": old, "percent": 100 }]);
    let body = json!({ "template": template(&["gated"]), "traffic": traffic });
    assert_eq!(local.patch("hello", "?updateMask=template,traffic", body).await.0, 200);
    let path = format!("{PARENT}/services/hello/revisions/{old}");
    let (status, answer) = local.call(Method::DELETE, &path, None).await;
    assert_eq!((status, &answer["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
}
