//! A job's template: what Google fills in, and what it says.
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::gcp::{
    run::template::{default, fill_limits, fill_probes},
    validate::duration_seconds,
};

/// <https://cloud.google.com/run/docs/configuring/task-timeout>
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// Fills in what the caller left out, as the answer to a create shows it.
pub(super) fn fill(spec: &mut Map<String, Value>, project_number: &str) {
    default(spec, "launchStage", || json!("GA"));
    let Some(Value::Object(execution)) = spec.get_mut("template") else {
        return;
    };
    default(execution, "taskCount", || json!(1));
    let Some(Value::Object(task)) = execution.get_mut("template") else {
        return;
    };
    default(task, "maxRetries", || json!(3));
    default(task, "timeout", || json!("600s"));
    default(task, "serviceAccount", || json!(format!("{project_number}-compute@developer.gserviceaccount.com")));
    // https://cloud.google.com/run/docs/about-execution-environments
    default(task, "executionEnvironment", || json!("EXECUTION_ENVIRONMENT_GEN2"));
    for container in task.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(container) = container {
            fill_limits(container);
            fill_probes(container);
        }
    }
}

/// Of one attempt.
pub(super) fn timeout(task: &Value) -> Duration {
    task["timeout"]
        .as_str()
        .and_then(duration_seconds)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(DEFAULT_TIMEOUT)
}

pub(super) fn max_retries(task: &Value) -> u32 {
    task["maxRetries"].as_u64().and_then(|retries| u32::try_from(retries).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_job_is_filled_as_google_fills_it() {
        let mut spec = json!({ "template": { "template": { "containers": [{ "image": "i" }] } } });
        fill(spec.as_object_mut().expect("an object"), "123");
        assert_eq!(
            spec,
            json!({
                "launchStage": "GA",
                "template": {
                    "taskCount": 1,
                    "template": {
                        "maxRetries": 3,
                        "timeout": "600s",
                        "serviceAccount": "123-compute@developer.gserviceaccount.com",
                        "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
                        "containers": [{
                            "image": "i",
                            "resources": { "limits": { "cpu": "1000m", "memory": "512Mi" } },
                        }],
                    },
                },
            })
        );
        assert_eq!(timeout(&spec["template"]["template"]), DEFAULT_TIMEOUT);
        assert_eq!(max_retries(&spec["template"]["template"]), 3);
    }
}
