//! Instances of several containers, with secrets and volumes, really run.
use std::{io, net::TcpListener, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::Router;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::harness::{Local, PARENT, TOKEN, last, url};
use crate::{
    gcp::{
        logging::Source,
        project,
        run::{
            group::{Ends, Plan, Wanted},
            names::Key,
        },
    },
    image::{Image, ImageError},
    registry_access::Access,
    runtime::{Exit, Instance as _, RuntimeKind, tests::support::Bench},
    state::{Images, Ingredients},
};

pub(super) const IMAGE: &str = "us-central1-docker.pkg.dev/local/apps/program:v1";
const VALUE: &str = "hunter2-and-more";

#[derive(Debug)]
struct OneImage(Image);

#[async_trait]
impl Images for OneImage {
    async fn image(&self, _: &str, _: &str) -> Result<Image, ImageError> {
        Ok(self.0.clone())
    }

    fn routes(&self, _: Arc<dyn Access>, _: Option<String>) -> Router {
        Router::new()
    }

    async fn clear(&self) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> Vec<crate::registry::StoredImage> {
        Vec::new()
    }

    fn remove(&self, _: &str, _: &str) {}
}

/// A local cloud that really runs the tests' program.
pub(super) struct Real {
    pub(super) local: Local,
    pub(super) bench: Bench,
    /// Free for a sidecar, which has no port of its own where nothing is isolated.
    port: u16,
}

impl Real {
    pub(super) async fn start(kind: RuntimeKind) -> Self {
        let bench = Bench::new(kind).await;
        let ingredients = Ingredients {
            images: Arc::new(OneImage(bench.image.clone())),
            runtime: Ok(bench.runtime.clone()),
            token: TOKEN.to_owned(),
            latency: Duration::ZERO,
            shares: crate::gcp::run::group::Shares::at(std::path::Path::new("/nonexistent")),
            instance_idle: Duration::from_secs(900),
            recorder: None,
        };
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        Self { local: Local::of(ingredients, Arc::default()), bench, port }
    }

    fn front(&self) -> Value {
        json!({ "name": "front", "image": IMAGE, "args": ["serve"], "ports": [{ "containerPort": 8080 }] })
    }

    pub(super) fn side(&self) -> Value {
        json!({
            "name": "side",
            "image": IMAGE,
            "args": [format!("serve-at-{}", self.port)],
            "startupProbe": { "tcpSocket": { "port": self.port }, "periodSeconds": 1, "failureThreshold": 60 },
        })
    }

    async fn deploy(&self, template: Value) -> Value {
        let service = json!({ "invokerIamDisabled": true, "template": template });
        self.local.done(self.local.create("hello", service).await).await
    }

    async fn deployed(&self, template: Value) -> Value {
        let operation = self.deploy(template).await;
        assert_eq!(operation.get("error"), None, "{operation:#} {:#?}", self.log().await);
        operation["response"].clone()
    }

    async fn ask(&self, service: &Value, words: &str) -> String {
        self.local.text(&format!("{}/{}", url(service), words.replace(' ', "+"))).await.1
    }

    /// The same of an instance that may end meanwhile, in the middle of its answer too.
    async fn ask_the_dying(&self, service: &Value, words: &str) -> Option<String> {
        let url = format!("{}/{}", url(service), words.replace(' ', "+"));
        let response = self.local.client.get(url).send().await.expect("an answer's beginning");
        response.text().await.ok()
    }

    /// The container's name, if any, and the text, in the order of time.
    pub(super) async fn log(&self) -> Vec<(String, String)> {
        let body = json!({ "resourceNames": ["projects/local"], "pageSize": 1000 });
        let (_, answer) = self.local.call(Method::POST, "/v2/entries:list", Some(body)).await;
        let entries = answer["entries"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        entries.iter().map(|entry| (text(&entry["labels"]["container_name"]), text(&entry["textPayload"]))).collect()
    }

    pub(super) async fn end(self) {
        self.local.running.shutdown().await.expect("an end");
        self.bench.assert_nothing_is_left();
    }
}

fn place(log: &[(String, String)], container: &str, start: &str) -> usize {
    let found = log.iter().position(|(name, text)| name == container && text.starts_with(start));
    found.unwrap_or_else(|| panic!("`{start}` of `{container}` is not in {log:#?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_reaches_its_sidecar_on_localhost() {
    for kind in [RuntimeKind::Namespace, RuntimeKind::Process] {
        let real = Real::start(kind).await;
        let mut side = real.side();
        side["env"] = json!([{ "name": "SIDE", "value": "yes" }, { "name": "PORT", "value": "8888" }]);
        let service = real.deployed(json!({ "containers": [side, real.front()] })).await;
        let environment = real.ask(&service, &format!("relay 127.0.0.1:{} env", real.port)).await;
        let lines: Vec<&str> = environment.lines().collect();
        assert!(lines.contains(&"SIDE=yes") && lines.contains(&"K_SERVICE=hello"), "{environment}");
        assert!(lines.contains(&"PORT=8888"), "a sidecar's own variable: {environment}");
        assert!(real.ask(&service, "env").await.contains("K_SERVICE=hello"));
        let path = format!("{PARENT}/services/hello/revisions/{}", last(&service["latestReadyRevision"]));
        let (_, revision) = real.local.get(&path).await;
        let named = |name: &str| json!({ "name": name, "imageDigest": format!("us-central1-docker.pkg.dev/local/apps/program@{}", real.bench.image.digest) });
        assert_eq!(revision["containerStatuses"], json!([named("side"), named("front")]));
        assert_eq!(revision["containers"][0].get("ports"), None);
        let log = real.log().await;
        place(&log, "side", "STARTUP TCP probe succeeded after 1 attempt for container \"side\" on port");
        place(
            &log,
            "front",
            "Default STARTUP TCP probe succeeded after 1 attempt for container \"front\" on port 8080.",
        );
        let told = log.iter().any(|(_, text)| text.starts_with("The containers are not isolated"));
        assert_eq!(told, kind == RuntimeKind::Process);
        real.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_waits_for_those_that_it_depends_on() {
    let real = Real::start(RuntimeKind::Namespace).await;
    let (mut front, mut side) = (real.front(), real.side());
    front["args"] = json!(["lines", "serve"]);
    front["dependsOn"] = json!(["side"]);
    side["args"] = json!(["lines", "late", format!("serve-at-{}", real.port)]);
    real.deployed(json!({ "containers": [front, side] })).await;
    let log = real.log().await;
    let up = place(&log, "side", "STARTUP TCP probe succeeded");
    assert!(place(&log, "side", "to stdout") < up, "{log:#?}");
    assert!(up < place(&log, "front", "to stdout"), "{log:#?}");
    real.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_fails_fails_the_revision() {
    let real = Real::start(RuntimeKind::Namespace).await;
    let mut side = real.side();
    side["args"] = json!(["lines", "7"]);
    let operation = real.deploy(json!({ "containers": [real.front(), side] })).await;
    assert_eq!(operation["error"]["code"], 9, "{operation:#}");
    let text = operation["error"]["message"].as_str().unwrap_or_default();
    assert!(text.starts_with("The user-provided container failed the configured startup probe checks."), "{text}");
    let log = real.log().await;
    let said = place(&log, "side", "to stderr");
    let ended = place(&log, "side", "Container called exit(7).");
    assert!(said < ended, "{log:#?}");
    place(&log, "side", "STARTUP TCP probe failed 1 time consecutively for container \"side\"");
    real.end().await;
}

/// Whoever has no probe fails a start too, long before the front's own probe gives up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_without_a_probe_ends_a_start_as_well() {
    let real = Real::start(RuntimeKind::Namespace).await;
    let side = json!({ "name": "side", "image": IMAGE, "args": ["late", "7"] });
    let mut front = real.front();
    front["args"] = json!(["wait"]);
    let operation = real.deploy(json!({ "containers": [front, side] })).await;
    assert_eq!(operation["error"]["code"], 9, "{operation:#}");
    place(&real.log().await, "side", "Container called exit(7).");
    real.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_sidecar_is_the_instances() {
    for kind in [RuntimeKind::Namespace, RuntimeKind::Process] {
        let real = Real::start(kind).await;
        let service = real.deployed(json!({ "containers": [real.front(), real.side()] })).await;
        let relay = format!("relay 127.0.0.1:{}", real.port);
        assert_eq!(real.ask(&service, &format!("{relay} hello")).await, "hello");
        real.ask_the_dying(&service, &format!("{relay} exit 7")).await;
        // Another instance, once this one has gone.
        let again =
            || async { real.ask_the_dying(&service, &format!("{relay} hello")).await.as_deref() == Some("hello") };
        real.local.until_async(again).await;
        let log = real.log().await;
        place(&log, "side", "Container called exit(7).");
        assert!(!log.iter().any(|(name, text)| name == "front" && text.starts_with("Container")), "{log:#?}");
        let starts = log.iter().filter(|(_, text)| text.starts_with("Starting new instance."));
        assert!(starts.count() >= 2, "{log:#?}");
        real.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_can_be_switched_off() {
    let real = Real::start(RuntimeKind::Namespace).await;
    let mut front = real.front();
    front["args"] = json!(["wait"]);
    let mut side = real.side();
    side["args"] = json!(["wait"]);
    real.deployed(json!({ "containers": [front, side], "healthCheckDisabled": true })).await;
    real.end().await;
}

impl Real {
    async fn secret(&self, id: &str, value: &str) {
        let secrets = "/v1/projects/local/secrets";
        let body = json!({ "replication": { "automatic": {} } });
        let created = self.local.call(Method::POST, &format!("{secrets}?secretId={id}"), Some(body)).await;
        assert_eq!(created.0, 200, "{created:?}");
        let body = json!({ "payload": { "data": BASE64_STANDARD.encode(value) } });
        let added = self.local.call(Method::POST, &format!("{secrets}/{id}:addVersion"), Some(body)).await;
        assert_eq!(added.0, 200);
    }

    async fn grant(&self, id: &str) {
        let account = format!("serviceAccount:{}-compute@developer.gserviceaccount.com", project::number("local"));
        let policy = json!({ "bindings": [{ "role": "roles/secretmanager.secretAccessor", "members": [account] }] });
        let path = format!("/v1/projects/local/secrets/{id}:setIamPolicy");
        let (status, answer) = self.local.call(Method::POST, &path, Some(json!({ "policy": policy }))).await;
        assert_eq!(status, 200, "{answer:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_variables_and_files() {
    for kind in [RuntimeKind::Namespace, RuntimeKind::Process] {
        let real = Real::start(kind).await;
        real.secret("db-url", VALUE).await;
        real.secret("key", &format!("{VALUE}\n")).await;
        let reference = json!({ "secretKeyRef": { "secret": "db-url", "version": "latest" } });
        let mut front = real.front();
        front["env"] = json!([{ "name": "PLAIN", "value": "1" }, { "name": "DB_URL", "valueSource": reference }]);
        let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path });
        front["volumeMounts"] = json!([mount("whole", "/etc/whole"), mount("items", "/etc/items")]);
        let items = json!([{ "version": "1", "path": "tls/key.pem", "mode": 0o600 }]);
        let volumes = json!([
            { "name": "whole", "secret": { "secret": "key" } },
            { "name": "items", "secret": { "secret": "key", "items": items } },
        ]);
        let template = json!({ "containers": [front], "volumes": volumes });

        let refused = real.deploy(template.clone()).await;
        let (number, account) = (project::number("local"), "compute@developer.gserviceaccount.com");
        assert_eq!(refused["error"]["code"], 13, "{refused:#}");
        assert_eq!(
            refused["error"]["message"],
            format!(
                "spec.template.spec.containers[0].env[1].value_from.secret_key_ref.name: Permission denied on secret: projects/{number}/secrets/db-url/versions/latest for Revision service account {number}-{account}. The service account used must be granted the 'Secret Manager Secret Accessor' role (roles/secretmanager.secretAccessor) at the secret, project or higher level."
            )
        );
        let service = real.local.service("hello").await;
        assert_eq!(service["terminalCondition"]["reason"], "SECRETS_ACCESS_CHECK_FAILED");
        let message = service["terminalCondition"]["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("is not ready and cannot serve traffic. spec.template.spec.containers[0].env[1]"),
            "{message}"
        );

        real.grant("db-url").await;
        let (status, operation) = real
            .local
            .patch("hello", "?forceNewRevision=true&updateMask=template", json!({ "template": template }))
            .await;
        let refused = real.local.done((status, operation)).await;
        let text = refused["error"]["message"].as_str().unwrap_or_default();
        assert!(
            text.starts_with("spec.template.spec.volumes[0].secret.secret_name: Permission denied on secret"),
            "{text}"
        );

        real.grant("key").await;
        let (status, operation) = real
            .local
            .patch("hello", "?forceNewRevision=true&updateMask=template", json!({ "template": template }))
            .await;
        let operation = real.local.done((status, operation)).await;
        assert_eq!(operation.get("error"), None, "{operation:#}");
        let service = operation["response"].clone();
        assert!(real.ask(&service, "env").await.contains(&format!("\nDB_URL={VALUE}\n")));
        assert_eq!(real.ask(&service, "list /etc/whole").await, "key");
        assert_eq!(real.ask(&service, "read /etc/whole/key").await, format!("{VALUE}\n"));
        assert_eq!(real.ask(&service, "mode /etc/whole/key").await, "0444");
        assert_eq!(real.ask(&service, "read /etc/items/tls/key.pem").await, format!("{VALUE}\n"));
        assert_eq!(real.ask(&service, "mode /etc/items/tls/key.pem").await, "0400");
        assert!(real.ask(&service, "write /etc/items/new x").await.contains("Read-only file system"));

        let revision = format!("{PARENT}/services/hello/revisions/{}", last(&service["latestReadyRevision"]));
        let shown = format!("{} {service} {:?}", real.local.get(&revision).await.1, real.log().await);
        assert!(!shown.contains("hunter2"), "{shown}");
        real.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_in_memory_is_shared() {
    for kind in [RuntimeKind::Namespace, RuntimeKind::Process] {
        let real = Real::start(kind).await;
        let mount = |path: &str| json!([{ "name": "shared", "mountPath": path }]);
        let (mut front, mut side) = (real.front(), real.side());
        front["volumeMounts"] = mount("/here");
        side["volumeMounts"] = mount("/there");
        let volumes = json!([{ "name": "shared", "emptyDir": { "medium": "MEMORY", "sizeLimit": "16Mi" } }]);
        let service = real.deployed(json!({ "containers": [front, side], "volumes": volumes })).await;
        assert_eq!(real.ask(&service, "write /here/file text").await, "ok");
        assert_eq!(real.ask(&service, &format!("relay 127.0.0.1:{} read /there/file", real.port)).await, "text");
        real.end().await;
    }
}

/// As a job's task is: no port, and the main container's end is its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_main_container_is_a_tasks() {
    let bench = Bench::new(RuntimeKind::Namespace).await;
    let key = Key { project: "p".to_owned(), location: "l".to_owned(), service: "s".to_owned() };
    let main = json!({ "name": "main", "dependsOn": ["first"], "args": ["late", "7"] });
    let first = json!({ "name": "first", "args": ["wait"] });
    let plan = Plan {
        project: "p".to_owned(),
        template: json!({ "containers": [main, first, { "args": ["0"] }] }),
        images: vec![bench.image.clone(); 3],
        runtime: bench.runtime.clone(),
        logs: Arc::default(),
        secrets: Arc::default(),
        shares: crate::gcp::run::group::Shares::at(std::path::Path::new("/nonexistent")),
    };
    let wanted = |ends, main| Wanted {
        id: format!("task-{main}"),
        env: vec![("CLOUD_RUN_TASK_INDEX".to_owned(), "0".to_owned())],
        source: Source::new(&key, None),
        owner: "task".to_owned(),
        main,
        port: None,
        ends,
    };
    let task = plan.bring_up(&wanted(Ends::WithMain, 0), &CancellationToken::new()).await.expect("it starts");
    assert_eq!(task.exited().await, Exit::code(7));
    let entries = plan.logs.all("p");
    let ends: Vec<(&Value, &Value)> =
        entries.iter().map(|entry| (&entry["labels"]["container_name"], &entry["textPayload"])).collect();
    let end = |name: &str, code: i32| (json!(name), json!(format!("Container called exit({code}).")));
    let (third, main) = (end("task-3", 0), end("main", 7));
    assert_eq!(ends, [(&third.0, &third.1), (&main.0, &main.1)]);
    bench.assert_nothing_is_left();
    // Ended from outside before its time.
    let task = plan.bring_up(&wanted(Ends::WithMain, 1), &CancellationToken::new()).await.expect("it starts");
    let exit = task.stop(Duration::ZERO).await;
    assert!(matches!(exit.signal, Some(9 | 15)), "{exit:?}");
    bench.assert_nothing_is_left();
    // And by nobody's hand.
    let task = plan.bring_up(&wanted(Ends::WithMain, 1), &CancellationToken::new()).await.expect("it starts");
    drop(task);
    let gone = async {
        while !crate::runtime::tests::support::is_empty(&bench) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("nothing is left");
}
