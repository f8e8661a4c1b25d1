//! A local cloud and a client for it.
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use super::containers::{FakeImages, FakeRuntime};
use crate::{
    record::Recorder,
    server::{self, Running},
    state::Ingredients,
};

pub(super) const PARENT: &str = "/v2/projects/local/locations/us-central1";
pub(super) const TOKEN: &str = "secret";

pub(super) struct Local {
    pub(super) running: Running,
    pub(super) runtime: Arc<FakeRuntime>,
    pub(super) client: reqwest::Client,
    pub(super) token: String,
}

impl Local {
    pub(super) fn start() -> Self {
        Self::recorded(None)
    }

    pub(super) fn recorded(recorder: Option<Recorder>) -> Self {
        Self::with(recorder, Duration::from_secs(900))
    }

    /// Instances without a request stay this long.
    pub(super) fn idle(instance_idle: Duration) -> Self {
        Self::with(None, instance_idle)
    }

    fn with(recorder: Option<Recorder>, instance_idle: Duration) -> Self {
        let runtime = Arc::new(FakeRuntime::default());
        let ingredients = Ingredients {
            images: Arc::new(FakeImages),
            runtime: Ok(runtime.clone()),
            token: TOKEN.to_owned(),
            latency: Duration::ZERO,
            shares: crate::gcp::run::group::Shares::at(std::path::Path::new("/nonexistent")),
            instance_idle,
            recorder,
        };
        Self::of(ingredients, runtime)
    }

    pub(super) fn of(ingredients: Ingredients, runtime: Arc<FakeRuntime>) -> Self {
        let running = server::start(ingredients, Some(0), None).expect("three ports");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { running, runtime, client, token: TOKEN.to_owned() }
    }

    /// One API call by the loopback name.
    pub(super) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.running.addresses().google);
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn service(&self, name: &str) -> Value {
        self.get(&format!("{PARENT}/services/{name}")).await.1
    }

    /// The operation's end.
    pub(super) async fn done(&self, (status, operation): (u16, Value)) -> Value {
        assert_eq!(status, 200, "{operation:#}");
        assert_eq!(operation.get("done"), None, "{operation:#}");
        let path = format!("/v2/{}:wait", operation["name"].as_str().expect("a name"));
        let (status, operation) = self.call(Method::POST, &path, Some(json!({ "timeout": "60s" }))).await;
        assert_eq!((status, &operation["done"]), (200, &json!(true)), "{operation:#}");
        operation
    }

    pub(super) async fn create(&self, name: &str, service: Value) -> (u16, Value) {
        self.call(Method::POST, &format!("{PARENT}/services?serviceId={name}"), Some(service)).await
    }

    pub(super) async fn patch(&self, name: &str, query: &str, service: Value) -> (u16, Value) {
        self.call(Method::PATCH, &format!("{PARENT}/services/{name}{query}"), Some(service)).await
    }

    /// A service that anyone may call and that answers its revision's name.
    pub(super) async fn deployed(&self, name: &str) -> Value {
        let operation = self.create(name, public(&[])).await;
        let mut service = self.done(operation).await["response"].clone();
        service.as_object_mut().expect("a service").remove("@type").expect("a type");
        service
    }

    pub(super) async fn text(&self, url: &str) -> (u16, String) {
        let response = self.client.get(url).send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a text"))
    }

    pub(super) fn containers(&self) -> usize {
        self.runtime.running.load(Ordering::SeqCst)
    }

    /// Waits for what happens beside the calls; the test's own limit ends a wait in vain.
    pub(super) async fn until(&self, reached: impl Fn() -> bool) {
        self.until_async(|| std::future::ready(reached())).await;
    }

    pub(super) async fn until_async<F: Future<Output = bool>>(&self, reached: impl Fn() -> F) {
        let poll = async {
            while !reached().await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), poll).await.expect("it happens in time");
    }
}

pub(super) fn public(args: &[&str]) -> Value {
    json!({ "invokerIamDisabled": true, "template": template(args) })
}

pub(super) fn template(args: &[&str]) -> Value {
    json!({ "containers": [{ "image": "us-central1-docker.pkg.dev/local/apps/hello:v1", "args": args }] })
}

pub(super) fn url(service: &Value) -> &str {
    service["uri"].as_str().expect("a url")
}

/// The last part of a resource's name.
pub(super) fn last(name: &Value) -> &str {
    name.as_str().and_then(|name| name.rsplit('/').next()).expect("a name")
}
