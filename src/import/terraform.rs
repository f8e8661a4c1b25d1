//! What Terraform has to leave alone where Carrack deploys:
//! <https://developer.hashicorp.com/terraform/language/meta-arguments/lifecycle#ignore_changes>,
//! <https://registry.terraform.io/providers/hashicorp/google/latest/docs/resources/cloud_run_v2_service>.
use std::collections::BTreeSet;

use carrack_core::{adopted::Adopted, fields::fields, json_path::JsonPath, spec::ServiceName};
use serde_json::Value;

/// What each deploy writes, whatever the file names: the image, the receipt and who serves.
const ALWAYS: [&str; 6] =
    ["annotations", "client", "client_version", "template[0].annotations", "template[0].revision", "traffic"];
const MAIN: &str = "template[0].containers[0]";

/// The block for the service's resource.
pub fn ignore_changes(name: &ServiceName, adopted: &Adopted) -> String {
    let mut ignored: BTreeSet<String> = ALWAYS.iter().map(|attribute| (*attribute).to_owned()).collect();
    ignored.insert(format!("{MAIN}.image"));
    ignored.extend(fields(&adopted.spec).keys().filter_map(|field| neutral(field)));
    if let Some(cloud) = &adopted.cloud {
        own(cloud, &JsonPath::default(), &mut ignored);
    }
    let lines: String = ignored.iter().map(|attribute| format!("    {attribute},\n")).collect();
    format!(
        "# In resource \"google_cloud_run_v2_service\" of `{name}`; the container that gets the requests is taken for its first.\n\
         lifecycle {{\n  ignore_changes = [\n{lines}  ]\n}}"
    )
}

/// Where the resource has what a key says.
fn neutral(field: &str) -> Option<String> {
    let at = match field {
        "service.port" | "service.protocol" => format!("{MAIN}.ports"),
        "service.command" => format!("{MAIN}.command"),
        "service.args" => format!("{MAIN}.args"),
        "service.working_dir" => format!("{MAIN}.working_dir"),
        "service.timeout" => "template[0].timeout".to_owned(),
        "service.session_affinity" => "template[0].session_affinity".to_owned(),
        "service.execution_environment" => "template[0].execution_environment".to_owned(),
        "service.ingress" => "ingress".to_owned(),
        "service.description" => "description".to_owned(),
        "service.default_url" => "default_uri_disabled".to_owned(),
        "service.audiences" => "custom_audiences".to_owned(),
        "service.invoker_check" => "invoker_iam_disabled".to_owned(),
        "service_account" => "template[0].service_account".to_owned(),
        "resources.cpu" | "resources.memory" => format!("{MAIN}.resources[0].limits"),
        "resources.cpu_always" => format!("{MAIN}.resources[0].cpu_idle"),
        "resources.startup_boost" => format!("{MAIN}.resources[0].startup_cpu_boost"),
        "scaling.min" | "scaling.max" => "template[0].scaling".to_owned(),
        "scaling.instances" => "scaling".to_owned(),
        "scaling.concurrency" => "template[0].max_instance_request_concurrency".to_owned(),
        "health.startup" => format!("{MAIN}.startup_probe"),
        "health.liveness" => format!("{MAIN}.liveness_probe"),
        "cloud_sql" => "template[0].volumes".to_owned(),
        _ => match field.split_once('.')? {
            ("env", _) => format!("{MAIN}.env"),
            ("secrets", name) if name.starts_with('/') => "template[0].volumes".to_owned(),
            ("secrets", _) => format!("{MAIN}.env"),
            ("labels", _) => "labels".to_owned(),
            ("network", _) => "template[0].vpc_access".to_owned(),
            // Annotations are named in any case; who may call is a resource of its own.
            _ => return None,
        },
    };
    Some(at)
}

/// The attribute that has a field of the cloud's own: whole blocks.
fn own(cloud: &Value, at: &JsonPath, ignored: &mut BTreeSet<String>) {
    for (key, value) in cloud.as_object().into_iter().flatten() {
        match (at.0.len(), key.as_str()) {
            (0, "template") => own(value, &at.key(key), ignored),
            (0, key) => drop(ignored.insert(snake(key))),
            (_, "containers") => {
                let keys = value.as_array().into_iter().flatten().filter_map(Value::as_object).flatten();
                ignored.extend(keys.filter(|(key, _)| *key != "name").map(|(key, _)| format!("{MAIN}.{}", snake(key))));
            }
            (_, key) => drop(ignored.insert(format!("template[0].{}", snake(key)))),
        }
    }
}

fn snake(key: &str) -> String {
    let mut text = String::new();
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}
