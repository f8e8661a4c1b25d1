//! A revision's template: what Google fills in, and what it says.
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::resources::{self, SECOND_LEAST};
use crate::{gcp::validate::duration_seconds, router::Bounds};

const DEFAULT_PORT: u16 = 8080;
/// <https://cloud.google.com/run/docs/configuring/memory-limits>
const DEFAULT_MEMORY: &str = "512Mi";
const DEFAULT_CPU: &str = "1000m";
/// <https://cloud.google.com/run/docs/about-concurrency#defaults>
const DEFAULT_CONCURRENCY: usize = 80;
/// <https://cloud.google.com/run/docs/configuring/max-instances#default>
pub(super) const DEFAULT_INSTANCES: usize = 100;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// Fills in what the caller left out, as the answer to a create shows it.
pub(crate) fn fill(spec: &mut Map<String, Value>, project_number: &str) {
    default(spec, "launchStage", || json!("GA"));
    default(spec, "ingress", || json!("INGRESS_TRAFFIC_ALL"));
    default(spec, "traffic", || json!([{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }]));
    let Some(Value::Object(template)) = spec.get_mut("template") else {
        return;
    };
    default(template, "timeout", || json!("300s"));
    default(template, "serviceAccount", || json!(format!("{project_number}-compute@developer.gserviceaccount.com")));
    default(template, "scaling", || json!({}));
    if let Some(Value::Array(containers)) = template.get_mut("containers") {
        let ingress = ingress_index(containers);
        for (index, container) in containers.iter_mut().enumerate() {
            if let Value::Object(container) = container {
                fill_container(container, Some(index) == ingress);
            }
        }
    }
    // What the region's quota has no room for is not taken by default.
    let most = resources::room(&Value::Object(template.clone())).min(DEFAULT_INSTANCES as u64);
    if let Some(Value::Object(scaling)) = template.get_mut("scaling") {
        default(scaling, "maxInstanceCount", || json!(most));
    }
    let whole_cpu = cpu_millis(&Value::Object(template.clone())).is_none_or(|millis| millis >= 1000);
    // https://cloud.google.com/run/docs/about-concurrency#defaults
    default(template, "maxInstanceRequestConcurrency", || json!(if whole_cpu { 80 } else { 1 }));
}

/// As v2 shows it: an environment that nobody chose is named too. It is not stored, since what was not chosen goes on
/// following the memory; less memory runs in the first generation, which is what is left out.
/// <https://cloud.google.com/run/docs/about-execution-environments>
pub(crate) fn shown(mut template: Value) -> Value {
    let second = memory_bytes(&template).is_none_or(|bytes| bytes >= SECOND_LEAST << 20);
    if let Some(fields) = template.as_object_mut().filter(|_| second) {
        default(fields, "executionEnvironment", || json!("EXECUTION_ENVIRONMENT_GEN2"));
    }
    template
}

fn fill_container(container: &mut Map<String, Value>, ingress: bool) {
    // Once `resources` is sent, `cpuIdle` is what was sent.
    default(container, "resources", || json!({ "cpuIdle": true }));
    fill_limits(container);
    if ingress {
        default(container, "ports", || json!([{ "name": "http1", "containerPort": DEFAULT_PORT }]));
        if let Some(Value::Object(port)) = container.get_mut("ports").and_then(|ports| ports.get_mut(0)) {
            default(port, "name", || json!("http1"));
            default(port, "containerPort", || json!(DEFAULT_PORT));
        }
        let port = port_of(container);
        default(
            container,
            "startupProbe",
            || json!({ "timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, "tcpSocket": { "port": port } }),
        );
    }
    fill_probes(container);
}

pub(super) fn fill_limits(container: &mut Map<String, Value>) {
    default(container, "resources", || json!({}));
    if let Some(Value::Object(resources)) = container.get_mut("resources") {
        default(resources, "limits", || json!({}));
        if let Some(Value::Object(limits)) = resources.get_mut("limits") {
            default(limits, "cpu", || json!(DEFAULT_CPU));
            default(limits, "memory", || json!(DEFAULT_MEMORY));
        }
    }
}

pub(super) fn fill_probes(container: &mut Map<String, Value>) {
    let port = port_of(container);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        if let Some(Value::Object(probe)) = container.get_mut(probe) {
            fill_probe(probe, port);
        }
    }
}

/// <https://cloud.google.com/run/docs/reference/rest/v2/Container#Probe>
fn fill_probe(probe: &mut Map<String, Value>, port: u16) {
    default(probe, "timeoutSeconds", || json!(1));
    default(probe, "periodSeconds", || json!(10));
    default(probe, "failureThreshold", || json!(3));
    for action in ["httpGet", "tcpSocket", "grpc"] {
        if let Some(Value::Object(action)) = probe.get_mut(action) {
            default(action, "port", || json!(port));
        }
    }
    if let Some(Value::Object(http)) = probe.get_mut("httpGet") {
        default(http, "path", || json!("/"));
    }
}

pub(super) fn default(map: &mut Map<String, Value>, key: &str, value: impl FnOnce() -> Value) {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), value());
    }
}

/// The container that gets the requests: the only one, or the one with a port.
pub(crate) fn ingress_index(containers: &[Value]) -> Option<usize> {
    match containers {
        [_] => Some(0),
        _ => containers.iter().position(|container| container.get("ports").is_some()),
    }
}

pub(crate) fn ingress(template: &Value) -> Option<&Value> {
    let containers = template["containers"].as_array()?;
    containers.get(ingress_index(containers)?)
}

fn port_of(container: &Map<String, Value>) -> u16 {
    container
        .get("ports")
        .and_then(|ports| ports[0]["containerPort"].as_u64())
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(DEFAULT_PORT)
}

pub(crate) fn port(template: &Value) -> u16 {
    ingress(template).and_then(Value::as_object).map_or(DEFAULT_PORT, port_of)
}

/// Whether the container speaks HTTP/2 without TLS: <https://cloud.google.com/run/docs/configuring/http2>
pub(crate) fn is_http2(template: &Value) -> bool {
    ingress(template).is_some_and(|container| container["ports"][0]["name"] == "h2c")
}

pub(crate) fn timeout(template: &Value) -> Duration {
    template["timeout"]
        .as_str()
        .and_then(duration_seconds)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(DEFAULT_TIMEOUT)
}

/// Requests that one instance takes at the same time.
pub(crate) fn concurrency(template: &Value) -> usize {
    count(&template["maxInstanceRequestConcurrency"]).filter(|count| *count > 0).unwrap_or(DEFAULT_CONCURRENCY)
}

/// How many instances one revision has.
pub(crate) fn bounds(template: &Value) -> Bounds {
    let scaling = &template["scaling"];
    let max = count(&scaling["maxInstanceCount"]).filter(|count| *count > 0).unwrap_or(DEFAULT_INSTANCES);
    Bounds { min: count(&scaling["minInstanceCount"]).unwrap_or(0).min(max), max }
}

pub(crate) fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
}

/// Of all containers together; `None` when one cannot be read.
pub(crate) fn cpu_millis(template: &Value) -> Option<u64> {
    sum(template, "cpu", parse_cpu)
}

/// In bytes.
pub(crate) fn memory_bytes(template: &Value) -> Option<u64> {
    sum(template, "memory", parse_memory)
}

fn sum(template: &Value, resource: &str, parse: fn(&str) -> Option<u64>) -> Option<u64> {
    let containers = template["containers"].as_array()?;
    let mut total = 0_u64;
    for container in containers {
        total = total.checked_add(parse(container["resources"]["limits"][resource].as_str()?)?)?;
    }
    Some(total)
}

/// `1`, `0.5`, `500m`, in thousandths.
pub(crate) fn parse_cpu(text: &str) -> Option<u64> {
    match text.strip_suffix('m') {
        Some(millis) => millis.parse().ok(),
        None => scaled(text, 1000),
    }
}

/// `512Mi`, `1G`, `536870912`, in bytes.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
pub(crate) fn parse_memory(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    scaled(digits, factor)
}

fn scaled(number: &str, factor: u64) -> Option<u64> {
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let (whole, fraction) = number.split_once('.')?;
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let unit = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = fraction.parse::<u64>().ok()?.checked_mul(factor)? / unit;
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, millis) in
            [("1", Some(1000)), ("0.5", Some(500)), ("250m", Some(250)), ("0.08", Some(80)), ("x", None), ("1.", None)]
        {
            assert_eq!(parse_cpu(text), millis, "{text}");
        }
        for (text, bytes) in [
            ("512Mi", Some(512 << 20)),
            ("1Gi", Some(1 << 30)),
            ("1G", Some(1_000_000_000)),
            ("1.5Gi", Some(3 << 29)),
            ("1024", Some(1024)),
            ("1Xi", None),
            ("", None),
        ] {
            assert_eq!(parse_memory(text), bytes, "{text}");
        }
    }

    #[test]
    fn a_bare_service_is_filled_as_google_fills_it() {
        let mut spec = json!({ "template": { "containers": [{ "image": "i" }] } });
        fill(spec.as_object_mut().expect("an object"), "123");
        assert_eq!(
            spec,
            json!({
                "launchStage": "GA",
                "ingress": "INGRESS_TRAFFIC_ALL",
                "traffic": [{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }],
                "template": {
                    "timeout": "300s",
                    "serviceAccount": "123-compute@developer.gserviceaccount.com",
                    "scaling": { "maxInstanceCount": 100 },
                    "maxInstanceRequestConcurrency": 80,
                    "containers": [{
                        "image": "i",
                        "resources": { "limits": { "cpu": "1000m", "memory": "512Mi" }, "cpuIdle": true },
                        "ports": [{ "name": "http1", "containerPort": 8080 }],
                        "startupProbe": { "timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, "tcpSocket": { "port": 8080 } },
                    }],
                },
            })
        );
        let once = spec.clone();
        fill(spec.as_object_mut().expect("an object"), "123");
        assert_eq!(spec, once);
    }

    #[test]
    fn the_environment_follows_the_memory_until_somebody_chooses() {
        let of = |memory: &str| json!({ "containers": [{ "resources": { "limits": { "memory": memory } } }] });
        assert_eq!(shown(of("512Mi"))["executionEnvironment"], "EXECUTION_ENVIRONMENT_GEN2");
        assert_eq!(shown(of("256Mi")).get("executionEnvironment"), None);
        let mut chosen = of("512Mi");
        chosen["executionEnvironment"] = json!("EXECUTION_ENVIRONMENT_GEN1");
        assert_eq!(shown(chosen.clone()), chosen);
    }

    #[test]
    fn less_than_one_cpu_takes_one_request() {
        let limits = json!({ "limits": { "cpu": "500m" } });
        let mut spec = json!({ "template": { "containers": [{ "resources": limits }] } });
        fill(spec.as_object_mut().expect("an object"), "123");
        assert_eq!(spec["template"]["maxInstanceRequestConcurrency"], 1);
        assert_eq!(spec["template"]["containers"][0]["resources"].get("cpuIdle"), None);
        assert_eq!(memory_bytes(&spec["template"]), Some(512 << 20));
    }
}
