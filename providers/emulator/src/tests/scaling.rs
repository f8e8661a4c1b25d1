//! How many instances there are, and which of them gets a request.
use std::time::Duration;

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::harness::{Local, public, url};

/// A public service whose template has these fields too.
fn with(fields: Value) -> Value {
    let mut service = public(&[]);
    for (name, value) in fields.as_object().expect("fields") {
        service["template"][name] = value.clone();
    }
    service
}

fn instances(min: u32, max: u32) -> Value {
    json!({ "minInstanceCount": min, "maxInstanceCount": max })
}

async fn deployed(local: &Local, service: Value) -> String {
    let operation = local.done(local.create("hello", service).await).await;
    url(&operation["response"]).to_owned()
}

async fn log(local: &Local) -> String {
    let filter = json!({ "resourceNames": ["projects/local"], "filter": "", "pageSize": 1000 });
    let (_, answer) = local.call(Method::POST, "/v2/entries:list", Some(filter)).await;
    answer.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instance_takes_so_many_requests_and_there_are_no_more_instances() {
    let local = Local::start();
    let service = with(json!({ "maxInstanceRequestConcurrency": 2, "scaling": instances(0, 2) }));
    let url = deployed(&local, service).await;
    let slow = || {
        let (client, url) = (local.client.clone(), format!("{url}/slow"));
        tokio::spawn(async move { client.get(url).send().await.expect("an answer").status().as_u16() })
    };
    let mut waiting = local.runtime.waiting.subscribe();
    let mut requests = vec![slow(), slow()];
    waiting.wait_for(|count| *count == 2).await.expect("both are there");
    assert_eq!(local.containers(), 1);
    requests.extend([slow(), slow(), slow()]);
    waiting.wait_for(|count| *count == 4).await.expect("the second instance has two");
    assert_eq!((local.containers(), *local.runtime.waiting.borrow()), (2, 4));
    // The fifth comes in when one of them is done.
    local.runtime.release.notify_waiters();
    waiting.wait_for(|count| *count == 5).await.expect("the fifth");
    assert_eq!(local.containers(), 2);
    local.runtime.release.notify_waiters();
    for request in requests {
        assert_eq!(request.await.expect("no panic"), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_runs_when_nobody_asks_and_the_next_request_starts_an_instance() {
    let local = Local::idle(Duration::from_millis(100));
    let url = deployed(&local, with(json!({}))).await;
    local.until(|| local.containers() == 0).await;
    assert!(!log(&local).await.contains("AUTOSCALING"));
    let (status, first) = local.text(&format!("{url}/who")).await;
    assert_eq!((status, log(&local).await.matches("AUTOSCALING").count()), (200, 1));
    local.until(|| local.containers() == 0).await;
    assert_ne!(local.text(&format!("{url}/who")).await, (200, first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_stay_as_there_shall_be() {
    let local = Local::idle(Duration::from_millis(50));
    let url = deployed(&local, with(json!({ "scaling": instances(2, 3) }))).await;
    local.until(|| local.containers() == 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((local.text(&url).await.0, local.containers()), (200, 2));
    // One that ends by itself is replaced.
    let (client, dies) = (local.client.clone(), format!("{url}/die"));
    let _ = client.get(dies).send().await;
    local.until(|| local.runtime.launched.lock().expect("a lock").len() == 3 && local.containers() == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_a_person_chose_holds_whatever_the_traffic() {
    let local = Local::idle(Duration::from_millis(50));
    let mut service = public(&[]);
    service["scaling"] = json!({ "scalingMode": "MANUAL", "manualInstanceCount": 3 });
    let url = deployed(&local, service).await;
    local.until(|| local.containers() == 3).await;
    let change = json!({ "scaling": { "scalingMode": "MANUAL", "manualInstanceCount": 0 } });
    local.done(local.patch("hello", "?updateMask=scaling", change).await).await;
    local.until(|| local.containers() == 0).await;
    assert_eq!(local.text(&url).await.0, 503);
    let change = json!({ "scaling": { "scalingMode": "MANUAL", "manualInstanceCount": 1 } });
    local.done(local.patch("hello", "?updateMask=scaling", change).await).await;
    assert_eq!((local.text(&url).await.0, local.containers()), (200, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_leads_back_to_the_same_instance() {
    let local = Local::start();
    let fields = json!({
        "sessionAffinity": true, "maxInstanceRequestConcurrency": 1, "scaling": instances(3, 3),
    });
    let url = format!("{}/who", deployed(&local, with(fields)).await);
    local.until(|| local.containers() == 3).await;
    let first = local.client.get(&url).send().await.expect("an answer");
    let cookie = first.headers()[header::SET_COOKIE].to_str().expect("text").to_owned();
    let cookie = cookie.split(';').next().expect("a cookie");
    let who = first.text().await.expect("a text");
    for _ in 0..10 {
        let again = local.client.get(&url).header(header::COOKIE, cookie).send().await.expect("an answer");
        assert_eq!(again.headers().get(header::SET_COOKIE), None);
        assert_eq!(again.text().await.expect("a text"), who);
    }
}

fn health(field: &str) -> Value {
    let mut service = public(&[]);
    service["template"]["containers"][0][field] =
        json!({ "httpGet": { "path": "/health" }, "periodSeconds": 1, "failureThreshold": 1 });
    service
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_not_alive_is_ended_and_the_next_request_gets_another() {
    let local = Local::start();
    let url = deployed(&local, health("livenessProbe")).await;
    let (_, first) = local.text(&format!("{url}/who")).await;
    assert_eq!(local.text(&format!("{url}/sicken")).await.0, 200);
    local.until(|| local.containers() == 0).await;
    assert!(log(&local).await.contains("LIVENESS HTTP probe failed 1 time consecutively"));
    let (status, second) = local.text(&format!("{url}/who")).await;
    assert_eq!(status, 200);
    assert_ne!(first, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_not_ready_gets_no_request_and_lives() {
    let local = Local::start();
    let mut service = health("readinessProbe");
    service["template"]["scaling"] = instances(1, 2);
    let url = deployed(&local, service).await;
    let (_, first) = local.text(&format!("{url}/who")).await;
    assert_eq!(local.text(&format!("{url}/sicken")).await.0, 200);
    let elsewhere = || async { local.text(&format!("{url}/who")).await.1 != first };
    local.until_async(elsewhere).await;
    assert_eq!(local.containers(), 2);
    assert!(log(&local).await.contains("READINESS HTTP probe failed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_internal_service_is_there_for_callers_from_inside() {
    let local = Local::start();
    let mut service = public(&[]);
    service["ingress"] = json!("INGRESS_TRAFFIC_INTERNAL_ONLY");
    let url = format!("{}/headers", deployed(&local, service).await);
    assert_eq!(local.text(&url).await.0, 404);
    let inside = local.client.get(&url).header("x-carrack-network", "internal").send().await.expect("an answer");
    assert_eq!(inside.status(), 200);
    assert!(!inside.text().await.expect("a text").contains("x-carrack-network"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_its_default_url_has_none_to_show() {
    let local = Local::start();
    let before = local.deployed("hello").await;
    let (_, service) =
        local.patch("hello", "?updateMask=defaultUriDisabled", json!({ "defaultUriDisabled": true })).await;
    assert_eq!(service["metadata"].get("uri"), None);
    local.until_async(|| async { local.text(url(&before)).await.0 == 404 }).await;
}
