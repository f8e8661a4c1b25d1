//! From a call to a URL that answers.
use serde_json::json;

use super::harness::{Local, PARENT, last, public, template, url};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_ends_in_a_url_that_answers() {
    let local = Local::start();
    let (status, operation) = local.create("hello", public(&[])).await;
    assert_eq!(status, 200);
    let begun = &operation["metadata"];
    assert_eq!(begun["@type"], "type.googleapis.com/google.cloud.run.v2.Service");
    assert_eq!(begun["reconciling"], true);
    assert_eq!(begun["generation"], "1");
    assert_eq!(begun["terminalCondition"]["state"], "CONDITION_RECONCILING");
    let operation = local.done((status, operation)).await;
    let service = &operation["response"];
    assert_eq!(service["name"], format!("{}/services/hello", &PARENT[4..]));
    assert_eq!(service["observedGeneration"], "1");
    assert_eq!(service.get("reconciling"), None);
    assert_eq!(service["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    assert_eq!(service["latestReadyRevision"], service["latestCreatedRevision"]);
    assert_eq!(
        service["trafficStatuses"],
        json!([{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }])
    );
    let revision = last(&service["latestReadyRevision"]);
    assert!(revision.starts_with("hello-00001-"), "{revision}");
    assert_eq!(local.text(url(service)).await, (200, revision.to_owned()));
    let (_, env) = local.text(&format!("{}/env", url(service))).await;
    assert_eq!(env, format!("K_CONFIGURATION=hello\nK_REVISION={revision}\nK_SERVICE=hello\n"));
    local.running.shutdown().await.unwrap();
    assert_eq!(local.runtime.running.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_template_makes_another_revision_at_the_same_url() {
    let local = Local::start();
    let first = local.deployed("hello").await;
    let change = json!({ "template": template(&["other"]) });
    let operation = local.patch("hello", "?updateMask=template", change.clone()).await;
    let second = local.done(operation).await["response"].clone();
    assert_eq!(url(&first), url(&second));
    assert_ne!(first["latestReadyRevision"], second["latestReadyRevision"]);
    assert_ne!(first["etag"], second["etag"]);
    assert_eq!(second["generation"], "2");
    assert_eq!(second["invokerIamDisabled"], true);
    let revision = last(&second["latestReadyRevision"]);
    assert!(revision.starts_with("hello-00002-"), "{revision}");
    assert_eq!(local.text(url(&second)).await.1, revision);
    let operation = local.patch("hello", "?updateMask=template", change).await;
    let third = local.done(operation).await["response"].clone();
    assert_eq!((&third["generation"], &third["etag"]), (&second["generation"], &second["etag"]));
    assert_eq!(third["latestCreatedRevision"], second["latestCreatedRevision"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_exits_fails_its_revision_and_the_earlier_one_serves() {
    let local = Local::start();
    let first = local.deployed("hello").await;
    let operation = local.patch("hello", "?updateMask=template", json!({ "template": template(&["exit"]) })).await;
    let operation = local.done(operation).await;
    assert_eq!(operation["error"]["code"], 9);
    let text = operation["error"]["message"].as_str().expect("a message").to_owned();
    assert!(text.starts_with("The user-provided container failed to start and listen on the port defined provided by the PORT=8080 environment variable within the allocated timeout."), "{text}");
    let service = local.service("hello").await;
    assert_eq!(service["terminalCondition"]["state"], "CONDITION_FAILED");
    assert_eq!(service["terminalCondition"]["revisionReason"], "HEALTH_CHECK_CONTAINER_ERROR");
    let failed = last(&service["latestCreatedRevision"]);
    assert_eq!(
        service["terminalCondition"]["message"],
        format!("Revision '{failed}' is not ready and cannot serve traffic. {text}")
    );
    assert_eq!((&service["generation"], &service["observedGeneration"]), (&json!("2"), &json!("1")));
    assert_eq!(service["latestReadyRevision"], first["latestReadyRevision"]);
    assert_eq!(local.text(url(&service)).await, (200, last(&first["latestReadyRevision"]).to_owned()));
}
