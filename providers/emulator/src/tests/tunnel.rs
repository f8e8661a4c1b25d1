//! The local cloud as a proxy: TLS as the clouds' own names, by its own authority.
use std::time::Duration;

use reqwest::{Certificate, Proxy, Version};
use serde_json::{Value, json};

use super::harness::{Local, PARENT, TOKEN};

const SERVICES: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/services";

/// A client that has the proxy, and trusts the authority when it is told to.
fn client(local: &Local, trusting: bool, http1: bool) -> reqwest::Client {
    let proxy = Proxy::https(&local.running.addresses().google).expect("a proxy");
    let mut builder = reqwest::Client::builder().proxy(proxy);
    if http1 {
        builder = builder.http1_only();
    }
    let authority = Certificate::from_pem(local.running.certificate().as_bytes()).expect("a certificate");
    let builder = if trusting { builder.tls_certs_only([authority]) } else { builder.tls_certs_only([]) };
    builder.build().expect("a client")
}

fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clouds_names_answer_over_tls() {
    let local = Local::start();
    for (http1, version) in [(true, Version::HTTP_11), (false, Version::HTTP_2)] {
        let client = client(&local, true, http1);
        let answer = client.get(SERVICES).bearer_auth(TOKEN).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert_eq!(answer.json::<Value>().await.expect("JSON"), json!({}));
        let refused = client.get(SERVICES).send().await.expect("an answer");
        assert_eq!(refused.status(), 401, "a tunnel gives nobody's rights");
        let registry = "https://us-central1-docker.pkg.dev/v2/";
        let answer = client.get(registry).bearer_auth(TOKEN).send().await.expect("an answer");
        assert_eq!(answer.text().await.expect("a text"), "registry Some(\"us-central1-docker.pkg.dev\")");
    }
    let listed = local.client.get(format!("{}/requests", local.running.addresses().console)).bearer_auth(TOKEN);
    let listed: Vec<Value> = listed.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(listed[0]["host"], "run.googleapis.com");
    assert!(listed.iter().all(|call| call["method"] == "GET"), "a tunnel is no call");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tunnel_leads_elsewhere_and_nobody_trusts_it_by_itself() {
    let local = Local::start();
    for elsewhere in ["https://example.com/", "https://run.googleapis.com:8443/"] {
        let error = client(&local, true, true).get(elsewhere).send().await.expect_err(elsewhere);
        assert!(error.is_connect(), "{error:?}");
    }
    let error = client(&local, false, true).get(SERVICES).send().await.expect_err("nobody signed for it");
    assert!(causes(&error).contains("invalid peer certificate"), "{}", causes(&error));
    assert_eq!(local.get(&format!("{PARENT}/services")).await.0, 200, "it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_and_the_end_reach_into_tunnels() {
    let local = Local::start();
    let client = client(&local, true, true);
    local.fault(json!({ "service": "run", "nth": 2, "fault": { "kind": "reset" } })).await;
    let get = || client.get(SERVICES).bearer_auth(TOKEN).send();
    assert_eq!(get().await.expect("an answer").status(), 200);
    let error = get().await.expect_err("a reset");
    assert!(causes(&error).contains("reset"), "{}", causes(&error));
    assert_eq!(get().await.expect("another tunnel").status(), 200);
    // A tunnel that is open and idle holds nothing up.
    tokio::time::timeout(Duration::from_secs(20), local.running.shutdown()).await.expect("an end").unwrap();
    // Its last task may have been answering.
    let gone = async { while get().await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("nobody answers any more");
}
