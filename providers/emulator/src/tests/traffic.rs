//! Which revision serves, and what happens to the others.
use std::{sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    containers::{FakeImages, FakeRuntime},
    harness::{Local, PARENT, TOKEN, last, public, template, url},
};
use crate::state::Ingredients;

fn latest(percent: u32) -> Value {
    json!({ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": percent })
}

fn pinned(revision: &str, percent: u32) -> Value {
    json!({ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": revision, "percent": percent })
}

async fn second(local: &Local, traffic: Value) -> (String, String, Value) {
    let first = local.deployed("hello").await;
    let old = last(&first["latestReadyRevision"]).to_owned();
    let body = json!({ "template": template(&["new"]), "traffic": traffic });
    let operation = local.done(local.patch("hello", "?updateMask=template,traffic", body).await).await;
    let service = operation["response"].clone();
    let new = last(&service["latestReadyRevision"]).to_owned();
    assert_ne!(old, new);
    (old, new, service)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_has_its_own_url_and_no_traffic() {
    let local = Local::start();
    let first = local.deployed("hello").await;
    let old = last(&first["latestReadyRevision"]).to_owned();
    let mut canary = latest(0);
    canary["tag"] = json!("canary");
    let body = json!({ "template": template(&["new"]), "traffic": [pinned(&old, 100), canary] });
    let operation = local.done(local.patch("hello", "?updateMask=template,traffic", body).await).await;
    let service = &operation["response"];
    let new = last(&service["latestReadyRevision"]);
    assert_eq!(service["trafficStatuses"][0], pinned(&old, 100));
    let tag = service["trafficStatuses"][1]["uri"].as_str().expect("a url").to_owned();
    assert_eq!(service["trafficStatuses"][1].get("percent"), None);
    assert_eq!(local.text(url(service)).await, (200, old.clone()));
    assert_eq!(local.text(&tag).await, (200, new.to_owned()));
    let body = json!({ "traffic": [pinned(&old, 100)] });
    local.done(local.patch("hello", "?updateMask=traffic", body).await).await;
    local.until_async(|| async { local.client.get(&tag).send().await.is_err() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_kept_and_idle_revisions_stop_and_come_back() {
    let local = Local::start();
    let (old, new, service) = second(&local, json!([latest(100)])).await;
    local.until(|| local.containers() == 1).await;
    let body = json!({ "traffic": [pinned(&old, 30), pinned(&new, 70)] });
    local.done(local.patch("hello", "?updateMask=traffic", body).await).await;
    let mut counts = [0, 0];
    for _ in 0..300 {
        let (status, text) = local.text(url(&service)).await;
        assert_eq!(status, 200);
        counts[usize::from(text == new)] += 1;
    }
    // 300 draws at 30 %: seven standard deviations are 55.
    assert!((35..=145).contains(&counts[0]), "{counts:?}");
    let body = json!({ "traffic": [pinned(&old, 100)] });
    let operation = local.done(local.patch("hello", "?updateMask=traffic", body).await).await;
    assert_eq!(operation["response"]["latestReadyRevision"], service["latestReadyRevision"]);
    assert_eq!(local.text(url(&service)).await, (200, old));
    local.until(|| local.containers() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_to_nothing_fails_and_changes_nothing() {
    let local = Local::start();
    let first = local.deployed("hello").await;
    let body = json!({ "traffic": [pinned("hello-none", 100)] });
    let operation = local.done(local.patch("hello", "?updateMask=traffic", body).await).await;
    assert_eq!(operation["error"], json!({ "code": 5, "message": "Revision 'hello-none' not found." }));
    let service = local.service("hello").await;
    assert_eq!(service["trafficStatuses"], first["trafficStatuses"]);
    assert_eq!(local.text(url(&service)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_deploy_traffic_can_be_pinned() {
    let local = Local::start();
    let first = local.deployed("hello").await;
    let old = last(&first["latestReadyRevision"]).to_owned();
    let body = json!({ "template": template(&["exit"]) });
    let operation = local.done(local.patch("hello", "?updateMask=template", body).await).await;
    assert_eq!(operation["error"]["code"], 9);
    let body = json!({ "traffic": [pinned(&old, 100)] });
    let operation = local.done(local.patch("hello", "?updateMask=traffic", body).await).await;
    assert_eq!(operation["response"]["trafficStatuses"], json!([pinned(&old, 100)]));
    assert_eq!(local.text(url(&first)).await, (200, old));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_deploy_another_change_does_not_make_it_good() {
    let local = Local::start();
    let first = local.deployed("hello").await;
    let body = json!({ "template": template(&["exit"]) });
    let failed = local.done(local.patch("hello", "?updateMask=template", body).await).await;
    let body = json!({ "description": "another" });
    let operation = local.done(local.patch("hello", "?updateMask=description", body).await).await;
    assert_eq!(operation["error"], failed["error"]);
    let service = local.service("hello").await;
    assert_eq!(service["description"], "another");
    assert_eq!(service["terminalCondition"]["state"], "CONDITION_FAILED");
    assert_eq!(local.text(url(&service)).await, (200, last(&first["latestReadyRevision"]).to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_start_pends_while_the_earlier_revision_serves() {
    let local = Local::start();
    let first = local.deployed("hello").await;
    let (_, operation) =
        local.patch("hello", "?updateMask=template", json!({ "template": template(&["gated"]) })).await;
    let service = local.service("hello").await;
    assert_eq!((&service["reconciling"], &service["observedGeneration"]), (&json!(true), &json!("1")));
    assert_ne!(service["latestCreatedRevision"], service["latestReadyRevision"]);
    assert_eq!(local.text(url(&first)).await.1, last(&first["latestReadyRevision"]));
    let path = format!("/v2/{}:wait", operation["name"].as_str().expect("a name"));
    let (_, pending) = local.call(Method::POST, &path, Some(json!({ "timeout": "0.01s" }))).await;
    assert_eq!(pending.get("done"), None);
    local.runtime.gate.cancel();
    let operation = local.done((200, operation)).await;
    let new = last(&operation["response"]["latestReadyRevision"]).to_owned();
    assert_eq!(local.text(url(&first)).await, (200, new));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_change_overtakes_a_start_that_hangs() {
    let local = Local::start();
    let first = local.deployed("hello").await;
    let (_, stuck) = local.patch("hello", "?updateMask=template", json!({ "template": template(&["deaf"]) })).await;
    let operation = local.patch("hello", "?updateMask=template", json!({ "template": template(&["good"]) })).await;
    let service = local.done(operation).await["response"].clone();
    assert_eq!(service["generation"], "3");
    assert_eq!(local.text(url(&first)).await.1, last(&service["latestReadyRevision"]));
    let path = format!("/v2/{}", stuck["name"].as_str().expect("a name"));
    assert_eq!(local.get(&path).await.1.get("done"), None);
    local.running.shutdown().await.unwrap();
    assert_eq!(local.runtime.running.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_revision_that_fails_leaves_the_earlier_one_alone() {
    let local = Local::start();
    let slow = local.create("hello", public(&["gated"])).await;
    let mut broken = template(&[]);
    broken["containers"][0]["image"] = json!("us-central1-docker.pkg.dev/local/apps/missing");
    let operation = local.done(local.patch("hello", "?updateMask=template", json!({ "template": broken })).await).await;
    assert_eq!(operation["error"]["code"], 5);
    let first = last(&slow.1["metadata"]["latestCreatedRevision"]).to_owned();
    local.runtime.gate.cancel();
    let operation = local.done(slow).await;
    assert_eq!(operation.get("error"), None, "{operation:#}");
    let service = local.service("hello").await;
    assert_eq!(last(&service["latestReadyRevision"]), first);
    assert_eq!(service["terminalCondition"]["state"], "CONDITION_FAILED");
    assert_eq!(local.text(url(&service)).await, (200, first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_stops_everything_and_frees_the_port() {
    let local = Local::start();
    // A name of its own: other tests, also of another run, take the ports that belong to `hello`.
    let name = format!("freed-{}", std::process::id());
    let service = local.deployed(&name).await;
    let path = format!("{PARENT}/services/{name}");
    let operation = local.call(Method::DELETE, &path, None).await;
    assert!(operation.1["metadata"]["deleteTime"].is_string());
    local.done(operation).await;
    assert_eq!(local.containers(), 0);
    assert_eq!(local.get(&path).await.0, 404);
    let address = url(&service).trim_start_matches("http://");
    drop(std::net::TcpListener::bind(address).expect("a free port"));
    let again = local.deployed(&name).await;
    assert_eq!(url(&again), url(&service));
}

/// A template whose revision has a name.
fn named(revision: &str, args: &[&str]) -> Value {
    let mut template = template(args);
    template["revision"] = json!(revision);
    json!({ "invokerIamDisabled": true, "template": template })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_names_an_earlier_revision_rolls_back_to_it() {
    let local = Local::start();
    let change = async |service: Value| local.done(local.patch("hello", "", service).await).await;
    local.done(local.create("hello", named("hello-v1", &[])).await).await;
    change(named("hello-v2", &["new"])).await;
    let operation = change(named("hello-v1", &[])).await;
    let service = &operation["response"];
    for field in ["latestCreatedRevision", "latestReadyRevision"] {
        assert_eq!(last(&service[field]), "hello-v1", "{service:#}");
    }
    assert_eq!((&service["generation"], &service["observedGeneration"]), (&json!("3"), &json!("3")));
    assert_eq!(local.text(url(service)).await, (200, "hello-v1".to_owned()));
    local.until(|| local.containers() == 1).await;
    assert_eq!(change(named("hello-v1", &[])).await["response"]["generation"], "3", "the same again");
    let path = format!("{PARENT}/services/hello/revisions");
    let (_, listed) = local.get(&path).await;
    let names: Vec<_> = listed["revisions"].as_array().expect("a list").iter().map(|one| last(&one["name"])).collect();
    assert_eq!(names, ["hello-v2", "hello-v1"], "by their age");
    assert_eq!(local.call(Method::DELETE, &format!("{path}/hello-v1"), None).await.0, 400);
    local.done(local.call(Method::DELETE, &format!("{path}/hello-v2"), None).await).await;

    // To one that did not come up.
    let mut missing = named("hello-v3", &[]);
    missing["template"]["containers"][0]["image"] = json!("gcr.io/local/missing");
    let failed = change(missing.clone()).await["error"].clone();
    assert_eq!(change(named("hello-v1", &[])).await.get("error"), None);
    assert_eq!(change(missing).await["error"], failed);
    let service = local.service("hello").await;
    assert_eq!(last(&service["latestCreatedRevision"]), "hello-v3");
    assert_eq!(last(&service["latestReadyRevision"]), "hello-v1");
    assert_eq!(service["terminalCondition"]["state"], "CONDITION_FAILED");

    // From one that is on its way, and the next name is the next number.
    let pending = local.patch("hello", "", named("hello-v4", &["gated"])).await;
    assert_eq!(change(named("hello-v1", &[])).await.get("error"), None);
    local.runtime.gate.cancel();
    local.done(pending).await;
    local.until(|| local.containers() == 1).await;
    assert_eq!(local.text(url(&service)).await, (200, "hello-v1".to_owned()));
    let operation = change(public(&["newest"])).await;
    let made = last(&operation["response"]["latestReadyRevision"]);
    assert!(made.starts_with("hello-00005-"), "{made}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_v1_replaces_rolls_back_too() {
    let local = Local::start();
    local.done(local.create("hello", named("hello-v0", &[])).await).await;
    let path = "/v1/projects/local/locations/us-central1/services/hello";
    for (revision, level) in [("hello-v1", "1"), ("hello-v2", "2"), ("hello-v1", "1")] {
        let container = json!({
            "image": "us-central1-docker.pkg.dev/local/apps/hello:v1",
            "env": [{ "name": "LEVEL", "value": level }],
        });
        let service = json!({
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": { "name": "hello", "annotations": { "run.googleapis.com/invoker-iam-disabled": "true" } },
            "spec": { "template": { "metadata": { "name": revision }, "spec": { "containers": [container] } } },
        });
        let (status, answer) = local.call(Method::PUT, path, Some(service)).await;
        assert_eq!(status, 200, "{answer:#}");
        local.until_async(|| async { local.service("hello").await.get("reconciling").is_none() }).await;
        let (_, service) = local.get(path).await;
        assert_eq!(service["status"]["latestReadyRevisionName"], revision);
        assert_eq!(service["status"]["traffic"][0]["revisionName"], revision);
        let address = service["status"]["url"].as_str().expect("a url");
        assert_eq!(local.text(address).await, (200, revision.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_revisions_are_forgotten_when_there_are_too_many() {
    let local = Local::start();
    local.done(local.create("hello", named("hello-first", &[])).await).await;
    local.done(local.patch("hello", "", named("hello-second", &["new"])).await).await;
    let traffic = json!([pinned("hello-first", 100)]);
    local.done(local.patch("hello", "?updateMask=traffic", json!({ "traffic": traffic })).await).await;
    let mut missing = json!({ "template": template(&[]) });
    missing["template"]["containers"][0]["image"] = json!("gcr.io/local/missing");
    let mut newest = local.patch("hello", "?updateMask=template", missing.clone()).await;
    for _ in 0..1_000 {
        newest = local.patch("hello", "?updateMask=template&forceNewRevision=true", missing.clone()).await;
    }
    local.done(newest).await;
    let path = format!("{PARENT}/services/hello/revisions");
    local
        .until_async(|| async {
            let (_, listed) = local.get(&path).await;
            listed["revisions"].as_array().map(Vec::len) == Some(1_000) && listed.get("nextPageToken").is_none()
        })
        .await;
    assert_eq!(local.get(&format!("{path}/hello-first")).await.0, 200, "it serves");
    assert_eq!(local.get(&format!("{path}/hello-second")).await.0, 200, "it is the latest that is ready");
    let service = local.service("hello").await;
    assert_eq!(local.text(url(&service)).await, (200, "hello-first".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_have_the_newest_first() {
    let local = Local::start();
    for name in ["b", "c", "a"] {
        local.deployed(name).await;
    }
    local.done(local.patch("c", "?updateMask=template", json!({ "template": template(&["new"]) })).await).await;
    let names = |value: &Value, field: &str, part: usize| -> Vec<String> {
        let items = value[field].as_array().expect("a list").iter();
        items
            .map(|item| item["name"].as_str().and_then(|name| name.split('/').nth(part)).expect("a name").to_owned())
            .collect()
    };
    assert_eq!(names(&local.get(&format!("{PARENT}/services")).await.1, "services", 5), ["a", "c", "b"]);
    let (_, revisions) = local.get(&format!("{PARENT}/services/-/revisions")).await;
    assert_eq!(names(&revisions, "revisions", 5), ["c", "a", "c", "b"]);
    for path in ["services", "services/-/revisions"] {
        let (status, refused) = local.get(&format!("/v2/projects/local/locations/-/{path}")).await;
        assert_eq!((status, &refused["error"]["message"]), (400, &json!("Invalid location '-'.")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_are_listed_and_old_ones_deleted() {
    let local = Local::start();
    let (old, new, _) = second(&local, json!([latest(100)])).await;
    let path = format!("{PARENT}/services/hello/revisions");
    let (_, listed) = local.get(&path).await;
    let names: Vec<_> = listed["revisions"].as_array().expect("a list").iter().map(|one| last(&one["name"])).collect();
    assert_eq!(names, [new.as_str(), old.as_str()]);
    assert_eq!(
        listed["revisions"][0]["containerStatuses"][0]["imageDigest"],
        format!("us-central1-docker.pkg.dev/local/apps/hello@sha256:{}", "a".repeat(64))
    );
    let (_, page) = local.get(&format!("{path}?pageSize=1")).await;
    let token = page["nextPageToken"].as_str().expect("a token");
    let (_, rest) = local.get(&format!("{path}?pageSize=1&pageToken={token}")).await;
    assert_eq!(last(&rest["revisions"][0]["name"]), old);
    let (status, answer) = local.call(Method::DELETE, &format!("{path}/{new}"), None).await;
    assert_eq!((status, &answer["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
    local.done(local.call(Method::DELETE, &format!("{path}/{old}"), None).await).await;
    assert_eq!(local.get(&format!("{path}/{old}")).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_runtime_only_running_fails() {
    let why: Arc<str> = Arc::from("no namespaces here");
    let ingredients = Ingredients {
        images: Arc::new(FakeImages),
        runtime: Err(why),
        token: TOKEN.to_owned(),
        latency: Duration::ZERO,
        shares: crate::gcp::run::group::Shares::at(std::path::Path::new("/nonexistent")),
        instance_idle: Duration::from_secs(900),
        recorder: None,
    };
    let local = Local::of(ingredients, Arc::new(FakeRuntime::default()));
    assert_eq!(local.running.runtime(), Err("no namespaces here"));
    let operation = local.done(local.create("hello", public(&[])).await).await;
    assert_eq!(
        operation["error"]["message"],
        "The local cloud cannot run containers on this machine: no namespaces here"
    );
    let service = local.service("hello").await;
    assert_eq!(local.text(url(&service)).await, (503, "Service Unavailable".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_local_cloud_cannot_do_is_refused() {
    let local = Local::start();
    for (name, change, code, start) in [
        (
            "volume",
            json!({ "containers": template(&[])["containers"], "volumes": [{ "name": "v", "emptyDir": { "medium": "DISK" } }] }),
            12,
            "The local cloud mounts secrets, folders in memory, buckets, shares and sockets: volume \"v\" is a folder on disk.",
        ),
        (
            "secret",
            json!({ "containers": [{ "image": "gcr.io/p/x", "env": [{ "name": "A", "valueSource": { "secretKeyRef": { "secret": "s", "version": "1" } } }] }] }),
            13,
            "spec.template.spec.containers[0].env[0].value_from.secret_key_ref.name: Secret projects/",
        ),
    ] {
        let operation = local.done(local.create(name, json!({ "template": change })).await).await;
        assert_eq!(operation["error"]["code"], code, "{operation:#}");
        let text = operation["error"]["message"].as_str().expect("a message");
        assert!(text.starts_with(start), "{text}");
    }
}
