//! Running a job, and ending what runs: <https://cloud.google.com/run/docs/execute/jobs>.
use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    job::{Execution, ExecutionId, Overrides},
    plan::ResourceRef,
    spec::ServiceName,
};
use serde_json::{Map, Value, json};

use super::{client, missing, wire};
use crate::{
    CloudRun,
    operations::{self, Ended, Tells},
    run::{client::BASE, wire::ingress_index},
};

/// The execution that the operation is about, without waiting for its end.
pub(super) async fn run(provider: &CloudRun, cx: &Ctx, job: &ServiceName, overrides: &Overrides) -> Result<Execution> {
    let body = match overrides.is_empty() {
        true => json!({}),
        false => {
            let live = client::get(provider, cx, job).await?.ok_or_else(|| missing(provider, job))?;
            json!({ "overrides": body(overrides, &live) })
        }
    };
    let on_job = |error: Error| match error.kind() {
        ErrorKind::NotFound if error.message().contains("of kind 'JOB'") => missing(provider, job),
        _ => error,
    };
    let started = client::run(provider, cx, job, &body).await.map_err(on_job)?;
    wire::execution(started.metadata())
}

/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs/run#Overrides>
fn body(overrides: &Overrides, live: &Value) -> Value {
    let mut body = Map::new();
    if let Some(tasks) = overrides.tasks {
        body.insert("taskCount".to_owned(), json!(tasks));
    }
    if let Some(timeout) = overrides.timeout {
        body.insert("timeout".to_owned(), json!(format!("{}s", timeout.as_secs())));
    }
    let mut container = Map::new();
    match overrides.args.as_deref() {
        None => {}
        Some([]) => drop(container.insert("clearArgs".to_owned(), json!(true))),
        Some(args) => drop(container.insert("args".to_owned(), json!(args))),
    }
    if !overrides.env.is_empty() {
        let env = overrides.env.iter().map(|(name, value)| json!({ "name": name, "value": value }));
        container.insert("env".to_owned(), env.collect());
    }
    if !container.is_empty() {
        let containers = live["template"]["template"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let main = containers.get(ingress_index(containers));
        if let Some(name) = main.and_then(|main| main["name"].as_str()).filter(|name| !name.is_empty()) {
            container.insert("name".to_owned(), json!(name));
        }
        body.insert("containerOverrides".to_owned(), json!([container]));
    }
    Value::Object(body)
}

pub(super) async fn cancel(
    provider: &CloudRun,
    cx: &Ctx,
    job: &ServiceName,
    execution: &ExecutionId,
) -> Result<Execution> {
    let about = || ResourceRef::new("execution", execution.0.as_str());
    let refused = |error: Error| {
        // https://cloud.google.com/apis/design/errors: FAILED_PRECONDITION is a 400.
        let ended = error.message().contains("cannot be cancelled because it is not running");
        let error = error.on(about());
        if ended { error.with_kind(ErrorKind::Conflict) } else { error }
    };
    let started = client::cancel(provider, cx, job, execution).await.map_err(refused)?;
    let ended = operations::wait(provider, cx, BASE, started, Tells::WhenDone, ErrorKind::Unclassified).await;
    match ended.map_err(Error::uncertain)? {
        Ended::Done(raw) => wire::execution(&raw),
        Ended::Failed { error, .. } => Err(error.on(about())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_otherwise_is_sent_and_nothing_else() {
        let one = json!({ "template": { "template": { "containers": [{ "image": "i" }] } } });
        let named = json!({ "template": { "template": { "containers": [{ "name": "main" }, { "name": "proxy" }] } } });
        let overrides = Overrides { tasks: Some(3), timeout: Some(Duration::from_secs(90)), ..Overrides::default() };
        assert_eq!(body(&overrides, &one), json!({ "taskCount": 3, "timeout": "90s" }));
        let overrides = Overrides {
            args: Some(vec!["a".to_owned()]),
            env: [("A".to_owned(), "1".to_owned())].into(),
            ..Overrides::default()
        };
        let container = json!({ "args": ["a"], "env": [{ "name": "A", "value": "1" }] });
        assert_eq!(body(&overrides, &one), json!({ "containerOverrides": [container] }));
        assert_eq!(body(&overrides, &named)["containerOverrides"][0]["name"], "main");
        let cleared = Overrides { args: Some(Vec::new()), ..Overrides::default() };
        assert_eq!(body(&cleared, &one), json!({ "containerOverrides": [{ "clearArgs": true }] }));
    }
}
