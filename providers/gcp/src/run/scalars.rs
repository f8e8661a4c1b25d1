//! Settings of the service, its template and its main container that are one value each.
use std::{collections::BTreeMap, time::Duration};

use carrack_core::{
    Result,
    spec::{Ingress, Protocol, ServiceSpec},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    cloud_sql,
    edit::{container, object, service, set, template},
    network,
    secret_names::Own,
    wire::{self, DEFAULT_PORT, RECEIPT},
};

/// In neutral words and in Cloud Run's: <https://cloud.google.com/run/docs/securing/ingress>.
const INGRESS: [(Ingress, &str); 4] = [
    (Ingress::All, "INGRESS_TRAFFIC_ALL"),
    (Ingress::Internal, "INGRESS_TRAFFIC_INTERNAL_ONLY"),
    (Ingress::InternalAndLoadBalancer, "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"),
    (Ingress::None, "INGRESS_TRAFFIC_NONE"),
];
/// What `gen1` and `gen2` begin with: <https://cloud.google.com/run/docs/about-execution-environments>.
const ENVIRONMENT: &str = "EXECUTION_ENVIRONMENT_";
const H2C: &str = "h2c";
const MANUAL: &str = "MANUAL";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Service {
    annotations: BTreeMap<String, String>,
    description: String,
    ingress: String,
    invoker_iam_disabled: bool,
    default_uri_disabled: bool,
    custom_audiences: Vec<String>,
    scaling: Scaling,
    template: Template,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Scaling {
    scaling_mode: String,
    manual_instance_count: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Template {
    timeout: String,
    session_affinity: bool,
    execution_environment: String,
    containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    working_dir: String,
    resources: Option<Resources>,
    ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Resources {
    cpu_idle: bool,
    startup_cpu_boost: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Port {
    name: String,
}

/// Adds what `service` says to `spec`; `index` is the container that gets the requests.
pub(super) fn read(service: &Value, index: usize, own: &Own<'_>, spec: &mut ServiceSpec) -> Result<()> {
    let live: Service = wire::read(service)?;
    let text = |text: String| (!text.is_empty()).then_some(text);
    let scaling = live.scaling;
    spec.scaling.instances = (scaling.scaling_mode == MANUAL).then_some(scaling.manual_instance_count);
    spec.invoker_check = Some(!live.invoker_iam_disabled);
    spec.ingress = INGRESS.iter().find(|(_, word)| *word == live.ingress).map(|(ingress, _)| *ingress);
    spec.description = text(live.description);
    spec.default_url = Some(!live.default_uri_disabled);
    spec.audiences = (!live.custom_audiences.is_empty()).then_some(live.custom_audiences);
    let template = live.template;
    spec.timeout = seconds(&template.timeout);
    spec.session_affinity = Some(template.session_affinity);
    let workload = &mut spec.workload;
    workload.annotations = live.annotations;
    workload.annotations.remove(RECEIPT);
    let environment = template.execution_environment.strip_prefix(ENVIRONMENT).filter(|word| word.starts_with("GEN"));
    workload.execution_environment = environment.map(str::to_lowercase);
    workload.network = network::read(&service["template"], own)?;
    workload.cloud_sql = cloud_sql::read(&service["template"], index);
    let Some(main) = template.containers.into_iter().nth(index) else { return Ok(()) };
    spec.protocol = Some(match main.ports.first() {
        Some(port) if port.name == H2C => Protocol::H2c,
        _ => Protocol::Http1,
    });
    workload.main.working_dir = text(main.working_dir);
    // Without `resources` the CPU is there during requests; with them that has to be said:
    // https://cloud.google.com/run/docs/reference/rest/v2/Container#resourcerequirements
    workload.main.cpu_always = Some(main.resources.as_ref().is_some_and(|resources| !resources.cpu_idle));
    workload.main.startup_boost = Some(main.resources.is_some_and(|resources| resources.startup_cpu_boost));
    Ok(())
}

/// `300s`, also with a fraction: <https://protobuf.dev/reference/protobuf/google.protobuf/#duration>.
fn seconds(text: &str) -> Option<Duration> {
    text.strip_suffix('s')?.split('.').next()?.parse().ok().map(Duration::from_secs)
}

/// Writes the field at `path` as `spec` has it; `index` is as for [`read`]. A path of another kind is left alone.
pub(super) fn write(raw: &mut Value, spec: &ServiceSpec, path: &str, index: usize) {
    let workload = &spec.workload;
    let main = &workload.main;
    let text = |text: &Option<String>| text.as_ref().filter(|text| !text.is_empty()).map(|text| json!(text));
    match path {
        "scaling.instances" => set_instances(object(service(raw), "scaling"), spec.scaling.instances),
        "service.invoker_check" => set_switch(service(raw), "invokerIamDisabled", spec.invoker_check.map(|on| !on)),
        "service.default_url" => set_switch(service(raw), "defaultUriDisabled", spec.default_url.map(|on| !on)),
        "service.ingress" => {
            let word = spec.ingress.and_then(|asked| INGRESS.iter().find(|(ingress, _)| *ingress == asked));
            set(service(raw), "ingress", word.map(|(_, word)| json!(word)));
        }
        "service.description" => set(service(raw), "description", text(&spec.description)),
        "service.audiences" => {
            let audiences = spec.audiences.as_ref().filter(|audiences| !audiences.is_empty());
            set(service(raw), "customAudiences", audiences.map(|audiences| json!(audiences)));
        }
        "service.timeout" => {
            let timeout = spec.timeout.map(|timeout| json!(format!("{}s", timeout.as_secs())));
            set(template(raw), "timeout", timeout);
        }
        "service.session_affinity" => set_switch(template(raw), "sessionAffinity", spec.session_affinity),
        "service.execution_environment" => {
            let asked = workload.execution_environment.as_ref();
            let word = asked.map(|asked| json!(format!("{ENVIRONMENT}{}", asked.to_uppercase())));
            set(template(raw), "executionEnvironment", word);
        }
        "service.protocol" => set_protocol(container(raw), spec.protocol),
        "service.working_dir" => set(container(raw), "workingDir", text(&main.working_dir)),
        "resources.cpu_always" => set_cpu_always(container(raw), main.cpu_always),
        "resources.startup_boost" => set_switch(resources(container(raw)), "startupCpuBoost", main.startup_boost),
        "cloud_sql" => {
            container(raw);
            cloud_sql::set(template(raw), index, workload.cloud_sql.as_deref().unwrap_or_default());
        }
        _ => {
            if let Some(key) = path.strip_prefix("annotations.") {
                let value = workload.annotations.get(key).map(|text| json!(text));
                set(object(service(raw), "annotations"), key, value);
            } else if let Some(key) = path.strip_prefix("network.") {
                network::set(template(raw), key, &workload.network);
            }
        }
    }
}

/// The container's `resources`. Once they are sent `cpuIdle` has to be sent with them, or the CPU is there, and paid
/// for, all the time: <https://cloud.google.com/run/docs/configuring/billing-settings>.
pub(super) fn resources(container: &mut Value) -> &mut Value {
    if !container["resources"].is_object() {
        container["resources"] = json!({ "cpuIdle": true });
    }
    &mut container["resources"]
}

fn set_switch(parent: &mut Value, key: &str, on: Option<bool>) {
    set(parent, key, on.map(Value::Bool));
}

fn set_cpu_always(container: &mut Value, always: Option<bool>) {
    set_switch(resources(container), "cpuIdle", Some(!always.unwrap_or(false)));
}

fn set_instances(scaling: &mut Value, instances: Option<u32>) {
    set(scaling, "scalingMode", Some(json!(if instances.is_some() { MANUAL } else { "AUTOMATIC" })));
    set(scaling, "manualInstanceCount", instances.map(Value::from));
}

fn set_protocol(container: &mut Value, protocol: Option<Protocol>) {
    let Some(protocol) = protocol else { return };
    let name = if protocol == Protocol::H2c { H2C } else { "http1" };
    match container.get_mut("ports").and_then(|ports| ports.get_mut(0)) {
        Some(port) => set(port, "name", Some(json!(name))),
        None => container["ports"] = json!([{ "name": name, "containerPort": DEFAULT_PORT }]),
    }
}

#[cfg(test)]
mod tests {
    use carrack_core::{fields::fields, spec::MilliCpu};

    use super::*;
    use crate::run::{
        edit::{edit, empty},
        wire::from_wire,
    };

    fn written(raw: &Value, spec: &ServiceSpec) -> Value {
        edit(raw, spec, &fields(spec).into_keys().collect()).unwrap()
    }

    #[test]
    fn a_size_alone_does_not_make_the_cpu_stay() {
        let raw = json!({ "service": { "template": { "containers": [{ "image": "i" }] } }, "policy": {} });
        let mut spec = ServiceSpec::default();
        spec.workload.main.cpu = Some(MilliCpu(2000));
        for raw in [raw, empty()] {
            let resources = &written(&raw, &spec)["service"]["template"]["containers"][0]["resources"];
            assert_eq!(*resources, json!({ "cpuIdle": true, "limits": { "cpu": "2000m" } }));
        }
    }

    #[test]
    fn the_cpu_of_a_service_that_says_nothing_is_there_all_the_time_only_with_resources() {
        let of = |container: Value| {
            let raw = json!({ "service": { "template": { "containers": [container] } }, "policy": {} });
            from_wire(&raw).unwrap().workload.main.cpu_always
        };
        assert_eq!(of(json!({})), Some(false));
        assert_eq!(of(json!({ "resources": { "cpuIdle": true } })), Some(false));
        // What is false the cloud leaves out of its answers.
        assert_eq!(of(json!({ "resources": { "limits": { "cpu": "1" } } })), Some(true));
    }

    #[test]
    fn a_text_that_is_taken_away_is_gone() {
        let raw = json!({ "service": { "description": "old", "customAudiences": ["a"], "template": { "containers": [
            { "workingDir": "/srv" },
        ] } }, "policy": {} });
        let mut spec =
            ServiceSpec { description: Some(String::new()), audiences: Some(Vec::new()), ..Default::default() };
        spec.workload.main.working_dir = Some(String::new());
        let after = written(&raw, &spec);
        assert_eq!(after["service"], json!({ "template": { "containers": [{}] } }));
        assert_eq!(written(&after, &spec), after);
    }

    #[test]
    fn a_range_ends_a_fixed_number_of_instances() {
        let raw = json!({ "service": { "scaling": { "scalingMode": "MANUAL", "manualInstanceCount": 3, "minInstanceCount": 1 } }, "policy": {} });
        assert_eq!(from_wire(&raw).unwrap().scaling.instances, Some(3));
        let after = edit(&raw, &ServiceSpec::default(), &["scaling.instances".to_owned()].into()).unwrap();
        assert_eq!(after["service"]["scaling"], json!({ "scalingMode": "AUTOMATIC", "minInstanceCount": 1 }));
    }

    #[test]
    fn durations_of_the_wire() {
        let texts = ["300s", "3.500s", "0s", "", "s", "5m"].map(seconds);
        assert_eq!(texts.map(|text| text.map(|d| d.as_secs())), [Some(300), Some(3), Some(0), None, None, None]);
    }
}
