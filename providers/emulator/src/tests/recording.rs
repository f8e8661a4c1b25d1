//! What a recording holds, and what never.
use std::{fs, path::Path};

use serde_json::{Value, json};

use super::harness::{Local, PARENT, TOKEN, public};
use crate::record::Recorder;

fn start(path: &Path) -> Local {
    Local::recorded(Some(Recorder::create(path).expect("a new file")))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a recording");
    assert!(text.ends_with('\n') && !text.contains(TOKEN), "{text}");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_exchange_is_a_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("calls");
    let local = start(&path);
    let google = local.running.addresses().google.clone();
    let operation = local.done(local.create("hello", public(&[])).await).await;
    assert_eq!(local.get(&format!("{PARENT}/services/none?access_token=abc")).await.0, 404);
    let broken = local.client.post(format!("{google}{PARENT}/services?serviceId=x"));
    let broken = broken.bearer_auth(TOKEN).header("user-agent", "broken/1.0").body("{");
    assert_eq!(broken.send().await.expect("an answer").status(), 400);
    let pull = local.client.get(format!("{google}/v2/local/apps/hello/manifests/v1"));
    pull.header("host", "us-central1-docker.pkg.dev").send().await.expect("an answer");
    let url = format!("{}/faults", local.running.addresses().console);
    let rule = json!({ "fault": { "kind": "reset" } });
    local.client.post(url).bearer_auth(TOKEN).json(&rule).send().await.expect("an answer");
    local.client.get(format!("{google}{PARENT}/services")).send().await.expect_err("a cut connection");

    let lines = lines(&path);
    assert_eq!(lines.iter().map(|line| line["n"].as_u64()).collect::<Vec<_>>(), (1..=6).map(Some).collect::<Vec<_>>());
    let [create, wait, missing, broken, pull, cut] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!((&create["query"], &create["content_type"]), (&json!("serviceId=hello"), &json!("application/json")));
    assert_eq!((&create["request"], &create["status"]), (&public(&[]), &json!(200)));
    assert_eq!(create["path"], format!("{PARENT}/services"));
    assert_eq!((&create["response"]["name"], &wait["response"]), (&operation["name"], &operation));
    assert_eq!(
        (&missing["query"], &missing["response"]["error"]["code"]),
        (&json!("access_token=REDACTED"), &json!(404))
    );
    assert_eq!((&broken["client"], &broken["request_unread"]), (&json!("broken/1.0"), &json!("no JSON")));
    assert_eq!((&pull["host"], &pull["registry"]), (&json!("us-central1-docker.pkg.dev"), &json!(true)));
    assert_eq!((pull.get("response"), create.get("registry")), (None, None));
    assert_eq!((&cut["status"], &cut["fault"]), (&Value::Null, &json!("reset")));

    local.running.shutdown().await.expect("an orderly end");
    let end = self::lines(&path).pop().expect("a last line");
    assert_eq!((&end["exchanges"], end["end"].is_string(), end.get("n")), (&json!(6), true, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_gone_astray_is_in_no_line_and_no_list() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("calls");
    let local = start(&path);
    let google = local.running.addresses().google.clone();
    let version = "/v1/projects/local/secrets/s:addVersion";
    let secret = "aHVudGVyMi10aGUtc2VjcmV0";
    let create = format!("{{\"replication\":{{\"automatic\":{{}}}},\"value\":\"{secret}\"}}");
    let query = format!("{version}?payload.data={secret}&bearer_token={secret}&Authorization={secret}");
    for (path, body) in [
        ("/v1/projects/local/secrets?secretId=s", r#"{"replication":{"automatic":{}}}"#.to_owned()),
        ("/v1/projects/local/secrets?secretId=t", create),
        (version, format!("{{\"data\":\"{secret}\"}}")),
        (version, format!("{{\"payloads\":{{\"data\":\"{secret}\"}}}}")),
        (version, format!("{{\"payload\":\"{secret}\"}}")),
        (version, format!("{{\"payload\":{{\"{secret}\":1}}}}")),
        (version, format!("{{\"payload\":{{\"data\":\"{secret}!\"}}}}")),
        (version, format!("{{\"payload\":{{\"data\":{{\"{secret}\":\"{secret}\"}}}}}}")),
        (version, format!("{{\"payload\":{{\"data\":\"{secret}")),
        (version, format!("{{\"payload\":{{\"data\":\"aGk=\"}},\"extra\":{{\"value\":\"{secret}\"}}}}")),
        (version, format!("{{\"payload\":{{\"data\":\"{secret}\"}}}}")),
        (&query, "{}".to_owned()),
        (&format!("{version}?{secret}"), "{}".to_owned()),
    ] {
        let call = local.client.post(format!("{google}{path}")).bearer_auth(TOKEN).body(body);
        let call = call.header("host", "secretmanager.googleapis.com").header("content-type", "application/json");
        call.send().await.expect("an answer");
    }
    let url = format!("{google}/v1/projects/local/secrets/s/versions/1:access");
    let call = local.client.get(url).bearer_auth(TOKEN).header("host", "secretmanager.googleapis.com");
    assert!(call.send().await.expect("an answer").text().await.expect("a text").contains(secret), "it is kept");
    let url = format!("{}/requests", local.running.addresses().console);
    let list = local.client.get(url).bearer_auth(TOKEN).send().await.expect("an answer").text().await.expect("a text");
    assert!(list.contains("payload.data=REDACTED"), "{list}");
    let text = fs::read_to_string(&path).expect("a recording");
    assert_eq!((text.lines().count(), text.matches("\"status\":200").count()), (14, 3), "{text}");
    assert!(!text.contains(secret) && !list.contains(secret), "{text}{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_refused_caller_sent_is_in_its_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("calls");
    let local = start(&path);
    let url = format!("{}{PARENT}/services?serviceId=x", local.running.addresses().google);
    let refused = local.client.post(&url).bearer_auth("nobody").json(&public(&[])).send().await.expect("an answer");
    assert_eq!(refused.status(), 401);
    let broken = local.client.post(&url).body("{").send().await.expect("an answer");
    assert_eq!(broken.status(), 401, "who it is comes first");
    let lines = lines(&path);
    assert_eq!((&lines[0]["request"], &lines[0]["status"]), (&public(&[]), &json!(401)));
    assert_eq!(lines[1]["request_unread"], "no JSON");
}
