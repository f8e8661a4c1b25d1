//! Calls that come at the same time.
use reqwest::Method;
use serde_json::json;

use super::harness::{Local, public};

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
