//! Tasks that really run, in every runtime that needs no engine.
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    harness::PARENT,
    instances::{IMAGE, Real},
};
use crate::runtime::RuntimeKind;

const KINDS: [RuntimeKind; 2] = [RuntimeKind::Namespace, RuntimeKind::Process];

impl Real {
    /// A job of these containers, its tasks tried twice.
    async fn job(&self, tasks: u32, containers: Value) {
        let template = json!({ "taskCount": tasks, "template": { "maxRetries": 1, "containers": containers } });
        let operation = self.local.create_job("nightly", json!({ "template": template })).await;
        assert_eq!(operation.get("error"), None, "{operation:#}");
    }

    async fn begin(&self) -> (u16, Value) {
        self.local.call(Method::POST, &format!("{PARENT}/jobs/nightly:run"), Some(json!({}))).await
    }

    /// Whether a container has said that it goes on.
    async fn waits(&self) -> bool {
        self.log().await.iter().any(|(_, text)| text == "to stdout")
    }
}

fn container(args: &[&str]) -> Value {
    json!({ "name": "main", "image": IMAGE, "args": args })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_ends_as_its_program_does() {
    for kind in KINDS {
        let real = Real::start(kind).await;
        real.job(2, json!([container(&["lines", "0"])])).await;
        let begun = real.begin().await;
        let operation = real.local.done(begun).await;
        assert_eq!(operation["response"]["succeededCount"], 2, "{operation:#} {:#?}", real.log().await);
        let log = real.log().await;
        assert_eq!(log.iter().filter(|(_, text)| text == "to stdout").count(), 2, "{log:#?}");
        assert_eq!(log.iter().filter(|(_, text)| text == "Container called exit(0).").count(), 2, "{log:#?}");
        real.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_fails_is_run_again() {
    for kind in KINDS {
        let real = Real::start(kind).await;
        real.job(1, json!([container(&["lines", "3"])])).await;
        let begun = real.begin().await;
        let operation = real.local.done(begun).await;
        let text = operation["error"]["message"].as_str().expect("an error");
        assert!(
            text.ends_with("-task0 failed with exit code: 3 and message: The container exited with an error."),
            "{text}"
        );
        assert_eq!(operation["metadata"]["retriedCount"], 1);
        let log = real.log().await;
        assert_eq!(log.iter().filter(|(_, text)| text == "Container called exit(3).").count(), 2, "{log:#?}");
        real.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_takes_its_sidecar_along() {
    for kind in KINDS {
        let real = Real::start(kind).await;
        let mut main = container(&["lines", "0"]);
        main["dependsOn"] = json!(["side"]);
        real.job(1, json!([real.side(), main])).await;
        let begun = real.begin().await;
        let operation = real.local.done(begun).await;
        assert_eq!(operation["response"]["succeededCount"], 1, "{operation:#} {:#?}", real.log().await);
        assert!(real.log().await.contains(&("main".to_owned(), "to stdout".to_owned())));
        real.bench.assert_nothing_is_left();
        real.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_fails_when_its_sidecar_ends_too_early() {
    for kind in KINDS {
        let real = Real::start(kind).await;
        let (mut side, mut main) = (real.side(), container(&["lines", "0"]));
        side["args"] = json!(["lines", "0"]);
        main["dependsOn"] = json!(["side"]);
        real.job(1, json!([side, main])).await;
        let begun = real.begin().await;
        let operation = real.local.done(begun).await;
        let text = operation["error"]["message"].as_str().unwrap_or_default();
        let expected = "The user-provided container failed the configured startup probe checks.";
        assert!(text.ends_with(expected), "{operation:#} {:#?}", real.log().await);
        assert_eq!(
            (&operation["metadata"]["failedCount"], &operation["metadata"]["retriedCount"]),
            (&json!(1), &json!(1))
        );
        assert!(!real.log().await.iter().any(|(name, _)| name == "main"), "it waits for the other");
        real.bench.assert_nothing_is_left();
        real.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_task_is_asked_to_end() {
    for kind in KINDS {
        let real = Real::start(kind).await;
        real.job(1, json!([container(&["graceful", "lines", "wait"])])).await;
        let begun = real.begin().await;
        real.local.until_async(|| real.waits()).await;
        let path = format!("/v2/{}:cancel", begun.1["metadata"]["name"].as_str().expect("a name"));
        let cancelled = real.local.call(Method::POST, &path, Some(json!({}))).await;
        assert_eq!(real.local.done(cancelled).await["response"]["cancelledCount"], 1);
        real.bench.assert_nothing_is_left();
        real.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_will_not_end_ends_with_the_local_cloud() {
    for kind in KINDS {
        let real = Real::start(kind).await;
        real.job(2, json!([container(&["stubborn", "lines", "wait"])])).await;
        assert_eq!(real.begin().await.0, 200);
        real.local.until_async(|| real.waits()).await;
        real.end().await;
    }
}
