//! What Cloud Run refuses in a job that its schema allows.
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::names::{JobKey, is_token};
use crate::gcp::{
    run::{
        group, resources,
        rules::{Rules, invalid, reserved},
        template::cpu_millis,
    },
    status::Status,
    validate::duration_seconds,
};

/// <https://cloud.google.com/run/docs/container-contract#jobs-env-vars>
pub(super) const RESERVED_ENV: [&str; 5] =
    ["CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT", "CLOUD_RUN_TASK_ATTEMPT"];
/// <https://cloud.google.com/run/quotas>
const TASKS: RangeInclusive<i64> = 1..=10_000;
/// <https://cloud.google.com/run/docs/configuring/max-retries>
const RETRIES: RangeInclusive<i64> = 0..=10;
/// 168 hours: <https://cloud.google.com/run/docs/configuring/task-timeout>
const TIMEOUT_SECONDS: RangeInclusive<f64> = 1.0..=604_800.0;
/// <https://cloud.google.com/run/docs/configuring/jobs/cpu>
const LEAST_CPU_MILLIS: u64 = 1_000;

/// `request` = `CreateJobRequest` or `UpdateJobRequest`. The defaults are filled in already.
pub(super) fn check(request: &str, key: &JobKey, spec: &Map<String, Value>) -> Result<(), Status> {
    let rules = Rules { request, resource: "job", reserved_env: &RESERVED_ENV };
    reserved(spec.get("labels"), "labels")?;
    reserved(spec.get("annotations"), "annotations")?;
    tokens(&rules, key, spec)?;
    let Some(template) = spec.get("template") else {
        return Err(rules.violation("template", "required field not present."));
    };
    execution(&rules, template)
}

/// What an execution is made of, with the overrides of a run or without any.
pub(super) fn execution(rules: &Rules<'_>, execution: &Value) -> Result<(), Status> {
    reserved(execution.get("labels"), "template.labels")?;
    reserved(execution.get("annotations"), "template.annotations")?;
    if execution["delayExecution"] == true {
        return Err(rules.violation("template.delay_execution", "the local cloud starts every execution at once."));
    }
    let within = |path: &str, value: &Value, range: &RangeInclusive<i64>| {
        if range.contains(&value.as_i64().unwrap_or(0)) {
            return Ok(());
        }
        Err(rules.violation(path, &format!("must be between {} and {}.", range.start(), range.end())))
    };
    within("template.task_count", &execution["taskCount"], &TASKS)?;
    if execution["parallelism"].as_i64().unwrap_or(0) < 0 {
        return Err(rules.violation("template.parallelism", "must not be negative."));
    }
    let Some(task) = execution.get("template") else {
        return Err(rules.violation("template.template", "required field not present."));
    };
    within("template.template.max_retries", &task["maxRetries"], &RETRIES)?;
    let seconds = task["timeout"].as_str().and_then(duration_seconds).unwrap_or(0.0);
    if !TIMEOUT_SECONDS.contains(&seconds) {
        return Err(invalid("template.template.timeout", "must be between 1 and 604800 seconds."));
    }
    let containers = task["containers"].as_array().filter(|containers| !containers.is_empty());
    let Some(containers) = containers else {
        return Err(rules.violation("template.template.containers", "required field not present."));
    };
    for (index, container) in containers.iter().enumerate() {
        let path = format!("template.template.containers[{index}]");
        rules.container(&path, container)?;
        if container.get("livenessProbe").is_some() {
            return Err(rules.violation(&format!("{path}.liveness_probe"), "is not supported in a job."));
        }
    }
    group::check("template.template", task)?;
    if cpu_millis(task).is_some_and(|millis| millis < LEAST_CPU_MILLIS) {
        let path = "template.template.containers.resources.limits.cpu";
        return Err(invalid(path, "Invalid value specified for cpu. A job must have at least 1 cpu."));
    }
    resources::check("template.template", task)
}

fn tokens(rules: &Rules<'_>, key: &JobKey, spec: &Map<String, Value>) -> Result<(), Status> {
    let token = |field: &str| spec.get(field).and_then(Value::as_str);
    let given = (token("startExecutionToken"), token("runExecutionToken"));
    let (path, token) = match given {
        (Some(_), Some(_)) => {
            let text = "only one of start_execution_token and run_execution_token may be set.";
            return Err(rules.violation("start_execution_token", text));
        }
        (Some(token), None) => ("start_execution_token", token),
        (None, Some(token)) => ("run_execution_token", token),
        (None, None) => return Ok(()),
    };
    if is_token(token, &key.job) {
        return Ok(());
    }
    let text = "must use only lowercase letters, numbers and hyphens, and not end with a hyphen; job and token together fewer than 63 characters.";
    Err(rules.violation(path, text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gcp::run::jobs::template;

    fn refusal(change: impl FnOnce(&mut Value)) -> Option<String> {
        let key = JobKey { project: "p".to_owned(), location: "l".to_owned(), job: "nightly".to_owned() };
        let mut spec = json!({ "template": { "template": { "containers": [{ "image": "gcr.io/p/hello" }] } } });
        change(&mut spec);
        let spec = spec.as_object_mut().expect("an object");
        template::fill(spec, "123");
        check("CreateJobRequest", &key, spec).err().map(|status| status.message)
    }

    #[test]
    fn a_plain_job_passes() {
        assert_eq!(refusal(|_| {}), None);
        assert_eq!(refusal(|spec| spec["template"]["taskCount"] = json!(10_000)), None);
        assert_eq!(refusal(|spec| spec["template"]["parallelism"] = json!(5)), None);
        assert_eq!(refusal(|spec| spec["runExecutionToken"] = json!("v1")), None);
        let second = json!([{ "image": "gcr.io/p/a" }, { "image": "gcr.io/p/b" }]);
        assert_eq!(refusal(|spec| spec["template"]["template"]["containers"] = second), None);
    }

    #[test]
    fn refusals() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 11] = [
            (
                |spec| spec["template"] = json!({}),
                "Violation in CreateJobRequest.job.template.template: required field not present.",
            ),
            (
                |spec| spec["template"]["taskCount"] = json!(10_001),
                "Violation in CreateJobRequest.job.template.task_count: must be between 1 and 10000.",
            ),
            (
                |spec| spec["template"]["parallelism"] = json!(-1),
                "Violation in CreateJobRequest.job.template.parallelism: must not be negative.",
            ),
            (
                |spec| spec["template"]["template"]["maxRetries"] = json!(11),
                "Violation in CreateJobRequest.job.template.template.max_retries: must be between 0 and 10.",
            ),
            (
                |spec| spec["template"]["template"]["timeout"] = json!("0s"),
                "template.template.timeout: must be between 1 and 604800 seconds.",
            ),
            (
                |spec| spec["template"]["template"]["containers"] = json!([]),
                "Violation in CreateJobRequest.job.template.template.containers: required field not present.",
            ),
            (
                |spec| {
                    spec["template"]["template"]["containers"][0]["env"] =
                        json!([{ "name": "CLOUD_RUN_TASK_INDEX", "value": "1" }])
                },
                "template.template.containers[0].env: The following reserved env names were provided: CLOUD_RUN_TASK_INDEX. These values are automatically set by the system.",
            ),
            (
                |spec| {
                    spec["template"]["template"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "500m" } })
                },
                "template.template.containers.resources.limits.cpu: Invalid value specified for cpu. A job must have at least 1 cpu.",
            ),
            (
                |spec| {
                    spec["template"]["template"]["containers"][0]["resources"] =
                        json!({ "limits": { "memory": "8Gi" } })
                },
                "template.template.containers.resources.limits.memory: Invalid value specified for memory with gen2 execution environment. For 1.0 CPU, memory must be between 512Mi and 4Gi inclusive.",
            ),
            (
                |spec| spec["labels"] = json!({ "run.googleapis.com/x": "1" }),
                "labels: User-provided key 'run.googleapis.com/x' uses the reserved namespace 'run.googleapis.com'.",
            ),
            (
                |spec| {
                    spec["startExecutionToken"] = json!("a");
                    spec["runExecutionToken"] = json!("a");
                },
                "Violation in CreateJobRequest.job.start_execution_token: only one of start_execution_token and run_execution_token may be set.",
            ),
        ];
        for (change, text) in cases {
            assert_eq!(refusal(change).as_deref(), Some(text));
        }
    }
}
