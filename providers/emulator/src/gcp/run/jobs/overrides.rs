//! What one run has otherwise than its job: <https://cloud.google.com/run/docs/execute/jobs#override-job-configuration>
use serde_json::{Value, json};

use crate::gcp::{run::rules::invalid, status::Status};

/// `template` is the job's; what comes of it is checked by the job's rules afterwards.
pub(super) fn apply(template: &mut Value, overrides: &Value) -> Result<(), Status> {
    // Zero is "not given": <https://protobuf.dev/programming-guides/json/>
    if let Some(count) = overrides["taskCount"].as_i64().filter(|count| *count != 0) {
        template["taskCount"] = json!(count);
    }
    if let Some(timeout) = overrides["timeout"].as_str() {
        template["template"]["timeout"] = json!(timeout);
    }
    if overrides["delayExecution"] == true {
        template["delayExecution"] = json!(true);
    }
    let empty = Vec::new();
    let mut seen = Vec::new();
    for (index, change) in overrides["containerOverrides"].as_array().unwrap_or(&empty).iter().enumerate() {
        let path = format!("overrides.container_overrides[{index}]");
        let place = place(template, change["name"].as_str().unwrap_or_default(), &path)?;
        if seen.contains(&place) {
            return Err(invalid(&path, "the container is overridden more than once."));
        }
        seen.push(place);
        container(&mut template["template"]["containers"][place], change, &path)?;
    }
    Ok(())
}

/// Which container a change is of: the one of its name, or the only one.
fn place(template: &Value, name: &str, path: &str) -> Result<usize, Status> {
    let empty = Vec::new();
    let containers = template["template"]["containers"].as_array().unwrap_or(&empty);
    match containers.iter().position(|container| container["name"].as_str().unwrap_or_default() == name) {
        Some(place) if !name.is_empty() => Ok(place),
        _ if containers.len() == 1 && (name.is_empty() || containers[0].get("name").is_none()) => Ok(0),
        _ if name.is_empty() => Err(invalid(&format!("{path}.name"), "is needed where a job has several containers.")),
        _ => Err(invalid(&format!("{path}.name"), &format!("the job has no container '{name}'."))),
    }
}

fn container(container: &mut Value, change: &Value, path: &str) -> Result<(), Status> {
    let args = change["args"].as_array().filter(|args| !args.is_empty());
    match (args, change["clearArgs"] == true) {
        (Some(_), true) => {
            return Err(invalid(&format!("{path}.args"), "must be empty when clear_args is set."));
        }
        (Some(args), false) => container["args"] = json!(args),
        (None, true) => {
            if let Some(fields) = container.as_object_mut() {
                fields.remove("args");
            }
        }
        (None, false) => {}
    }
    for variable in change["env"].as_array().into_iter().flatten() {
        let env = container.as_object_mut().map(|fields| fields.entry("env").or_insert_with(|| json!([])));
        let Some(env) = env.and_then(Value::as_array_mut) else { continue };
        match env.iter_mut().find(|known| known["name"] == variable["name"]) {
            Some(known) => known.clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        json!({ "taskCount": 1, "template": { "timeout": "600s", "containers": [
            { "name": "main", "args": ["a"], "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }] },
            { "name": "other" },
        ] } })
    }

    fn refusal(overrides: &Value) -> Option<String> {
        apply(&mut template(), overrides).err().map(|status| status.message)
    }

    #[test]
    fn a_run_is_changed_by_name() {
        let mut template = template();
        let overrides = json!({ "taskCount": 3, "timeout": "5s", "containerOverrides": [
            { "name": "main", "args": ["x", "y"], "env": [{ "name": "B", "value": "3" }, { "name": "C", "value": "4" }] },
            { "name": "other", "clearArgs": true },
        ] });
        apply(&mut template, &overrides).expect("overrides");
        assert_eq!((&template["taskCount"], &template["template"]["timeout"]), (&json!(3), &json!("5s")));
        let main = &template["template"]["containers"][0];
        assert_eq!(main["args"], json!(["x", "y"]));
        let env = json!([{ "name": "A", "value": "1" }, { "name": "B", "value": "3" }, { "name": "C", "value": "4" }]);
        assert_eq!(main["env"], env);
    }

    #[test]
    fn the_only_container_needs_no_name() {
        let mut template = json!({ "template": { "containers": [{ "args": ["a"] }] } });
        apply(&mut template, &json!({ "containerOverrides": [{ "clearArgs": true }] })).expect("overrides");
        assert_eq!(template["template"]["containers"][0].get("args"), None);
        apply(&mut template, &json!({})).expect("none");
        assert_eq!(template.get("taskCount"), None);
    }

    #[test]
    fn refusals() {
        for (overrides, text) in [
            (
                json!({ "containerOverrides": [{ "args": ["x"] }] }),
                "overrides.container_overrides[0].name: is needed where a job has several containers.",
            ),
            (
                json!({ "containerOverrides": [{ "name": "nobody" }] }),
                "overrides.container_overrides[0].name: the job has no container 'nobody'.",
            ),
            (
                json!({ "containerOverrides": [{ "name": "main", "args": ["x"], "clearArgs": true }] }),
                "overrides.container_overrides[0].args: must be empty when clear_args is set.",
            ),
            (
                json!({ "containerOverrides": [{ "name": "main" }, { "name": "main" }] }),
                "overrides.container_overrides[1]: the container is overridden more than once.",
            ),
        ] {
            assert_eq!(refusal(&overrides).as_deref(), Some(text));
        }
    }
}
