//! A job in the shape of a service, and back: its task's template stands where a revision's does.
use serde_json::{Map, Value, json};

/// What a task's template has and a container does not: told by the job's own fields.
const OF_TASK: [&str; 2] = ["timeout", "maxRetries"];

/// `{"service": …, "policy": null}`, as services are read and written.
pub(super) fn service(job: &Value) -> Value {
    let mut service = job.clone();
    let mut template = as_object(&job["template"]["template"]);
    for field in OF_TASK {
        template.remove(field);
    }
    service["template"] = Value::Object(template);
    json!({ "service": service, "policy": null })
}

/// `shaped` as a job again; what a service has no place for is as in `job`.
pub(super) fn job(job: &Value, shaped: &Value) -> Value {
    let mut after = shaped["service"].clone();
    let mut task = as_object(&after["template"]);
    for field in OF_TASK {
        if let Some(value) = job["template"]["template"].get(field) {
            task.insert(field.to_owned(), value.clone());
        }
    }
    let mut execution = as_object(&job["template"]);
    execution.insert("template".to_owned(), Value::Object(task));
    after["template"] = Value::Object(execution);
    after
}

pub(super) fn as_object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_the_same_job() {
        let live = json!({
            "name": "projects/p/locations/l/jobs/j", "labels": { "a": "b" }, "unknown": 1,
            "template": {
                "taskCount": 3, "parallelism": 2, "labels": { "c": "d" }, "unknown": 2,
                "template": {
                    "containers": [{ "image": "i", "unknown": 3 }], "timeout": "90s", "maxRetries": 0, "unknown": 4,
                },
            },
        });
        let shaped = service(&live);
        assert_eq!(
            shaped["service"]["template"],
            json!({ "containers": [{ "image": "i", "unknown": 3 }], "unknown": 4 })
        );
        assert_eq!(job(&live, &shaped), live);
    }
}
