//! The local cloud as the command line starts it, with the real registry.
use std::{path::PathBuf, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Local, TOKEN};
use crate::{Options, RuntimeKind, ServeError, serve};

fn options(dir: &std::path::Path) -> Options {
    Options {
        state_dir: dir.to_owned(),
        runtime: Some(RuntimeKind::Process),
        engines: crate::runtime::EngineSockets::default(),
        port: Some(0),
        idle: None,
        launcher: PathBuf::from("/nonexistent/launcher"),
        instance: "test".to_owned(),
        token: TOKEN.to_owned(),
        latency: Duration::ZERO,
        instance_idle: Duration::from_secs(900),
        record: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_knows_artifact_registrys_rules() {
    let dir = tempfile::tempdir().expect("a folder");
    let running = serve(options(dir.path())).await.expect("served");
    assert!(running.runtime().is_err());
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let google = running.addresses().google.clone();
    let push = |token: Option<&'static str>| {
        let url = format!("{google}/v2/local/apps/hello/blobs/uploads/");
        let request = client.post(url).header("host", "us-central1-docker.pkg.dev");
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
        .send()
    };
    assert_eq!(push(None).await.expect("an answer").status(), 401);
    let refused = push(Some(TOKEN)).await.expect("an answer");
    assert_eq!(refused.status(), 403);
    let answer: Value = refused.json().await.expect("JSON");
    let text = "Permission \"artifactregistry.repositories.uploadArtifacts\" denied on resource \"projects/local/locations/us-central1/repositories/apps\" (or it may not exist)";
    assert_eq!(answer["errors"][0]["code"], "DENIED");
    assert_eq!(answer["errors"][0]["message"], text);
    let path = "/v1/projects/local/locations/us-central1/repositories?repositoryId=apps";
    let request = client.request(Method::POST, format!("{google}{path}")).bearer_auth(TOKEN);
    let made = request.json(&json!({ "format": "DOCKER" })).send().await.expect("an answer");
    assert_eq!(made.status(), 200);
    assert_eq!(push(Some(TOKEN)).await.expect("an answer").status(), 202);
    let anonymous = format!(
        "http://{}/v2/us-central1-docker.pkg.dev/local/other/hello/blobs/uploads/",
        running.addresses().registry
    );
    assert_eq!(client.post(anonymous).send().await.expect("an answer").status(), 202);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_asked_for_must_be_free() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let error = serve(Options { port: Some(port), ..options(dir.path()) }).await.expect_err("taken");
    assert!(matches!(error, ServeError::Port { .. }));
    assert_eq!(error.to_string(), format!("port {port} is not free"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_by_itself_when_nobody_uses_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let idle = Some(Duration::from_millis(1));
    let running = serve(Options { idle, ..options(dir.path()) }).await.expect("served");
    tokio::time::timeout(Duration::from_secs(20), running.stopped()).await.expect("it ends");
    running.shutdown().await.unwrap();
    let local = Local::start();
    let stopped = tokio::time::timeout(Duration::from_millis(20), local.running.stopped()).await;
    assert!(stopped.is_err(), "without a time it goes on");
}
