//! What Cloud Run refuses in a service that its schema allows.
use serde_json::{Map, Value, json};

use super::{
    group,
    names::{Key, TAG_AND_SERVICE, is_revision, is_tag, tag_fits},
    resources,
    template::ingress_index,
    vpc,
};
use crate::gcp::{status::Status, validate::duration_seconds};

/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#Service>
const RESERVED_DOMAINS: [&str; 4] =
    ["run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev"];
/// <https://cloud.google.com/run/docs/container-contract#env-vars>
const RESERVED_ENV: [&str; 4] = ["K_CONFIGURATION", "K_REVISION", "K_SERVICE", "PORT"];
/// A sidecar is told no port, and Google's own sample sets one:
/// <https://github.com/GoogleCloudPlatform/cloud-run-samples/blob/main/multi-container/hello-nginx-sample/service.yaml>
const RESERVED_ENV_OF_SIDECARS: [&str; 3] = ["K_CONFIGURATION", "K_REVISION", "K_SERVICE"];
const ENV_BYTES: usize = 32_768;
const DESCRIPTION_CHARACTERS: usize = 512;
const MAX_TIMEOUT_SECONDS: f64 = 3600.0;

/// `request` = `CreateServiceRequest` or `UpdateServiceRequest`. The defaults are filled in already.
pub(crate) fn check(request: &str, key: &Key, spec: &Map<String, Value>) -> Result<(), Status> {
    let rules = Rules { request, resource: "service", reserved_env: &RESERVED_ENV };
    rules.service(spec)?;
    let Some(template) = spec.get("template") else {
        return Err(rules.violation("template", "required field not present."));
    };
    rules.template(key, template)?;
    rules.traffic(key, spec.get("traffic").unwrap_or(&Value::Null))
}

/// Those of one request; what a container may be is the same in a service and in a job.
pub(super) struct Rules<'a> {
    pub(super) request: &'a str,
    /// `service` or `job`: the request's field that all paths are below.
    pub(super) resource: &'static str,
    /// The names that no variable may have.
    pub(super) reserved_env: &'static [&'static str],
}

/// A connector is of the service's own region. The text is that of one that is not there:
/// <https://cloud.google.com/run/docs/configuring/vpc-connectors>
fn connector(key: &Key, template: &Value) -> Result<(), Status> {
    let name = template["vpcAccess"]["connector"].as_str().unwrap_or_default();
    let location = name.split_once("/locations/").and_then(|(_, rest)| rest.split_once('/')).map(|(place, _)| place);
    if location.is_none_or(|location| location == key.location) {
        return Ok(());
    }
    Err(Status::invalid(format!(
        "VPC connector {name} does not exist, or Cloud Run does not have permission to use it."
    )))
}

/// `a.b: text`, as refusals of a value are written.
pub(super) fn invalid(path: &str, text: &str) -> Status {
    Status::invalid(format!("{path}: {text}")).with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{ "field": path, "description": text }],
    }))
}

impl Rules<'_> {
    pub(super) fn violation(&self, path: &str, text: &str) -> Status {
        invalid(&format!("Violation in {}.{}.{path}", self.request, self.resource), text)
    }

    fn service(&self, spec: &Map<String, Value>) -> Result<(), Status> {
        let description = spec.get("description").and_then(Value::as_str).unwrap_or_default();
        if description.chars().count() > DESCRIPTION_CHARACTERS {
            return Err(self.violation("description", "must not exceed 512 characters."));
        }
        reserved(spec.get("labels"), "labels")?;
        reserved(spec.get("annotations"), "annotations")
    }

    fn template(&self, key: &Key, template: &Value) -> Result<(), Status> {
        reserved(template.get("labels"), "template.labels")?;
        reserved(template.get("annotations"), "template.annotations")?;
        if let Some(revision) = template["revision"].as_str()
            && !is_revision(revision, &key.service)
        {
            return Err(self.violation(
                "template.revision",
                "must be prefixed by the service's name and a hyphen, and use only lowercase letters, numbers and hyphens; 63 characters at most.",
            ));
        }
        let Some(containers) = template["containers"].as_array() else {
            return Err(self.violation("template.containers", "required field not present."));
        };
        let with_port = containers.iter().filter(|container| container.get("ports").is_some()).count();
        if with_port > 1 {
            return Err(
                self.violation("template.containers", "should contain exactly one container with an exposed port.")
            );
        }
        let Some(ingress) = ingress_index(containers) else {
            return Err(self.violation(
                "template.containers",
                "Revision template should contain exactly one container with an exposed port.",
            ));
        };
        for (index, container) in containers.iter().enumerate() {
            let reserved_env = if index == ingress { self.reserved_env } else { &RESERVED_ENV_OF_SIDECARS };
            Rules { reserved_env, ..*self }.container(&format!("template.containers[{index}]"), container)?;
        }
        group::check("template", template)?;
        let seconds = template["timeout"].as_str().and_then(duration_seconds).unwrap_or(0.0);
        if !(1.0..=MAX_TIMEOUT_SECONDS).contains(&seconds) {
            return Err(invalid("template.timeout", "must be between 1 and 3600 seconds."));
        }
        connector(key, template)?;
        self.scaling(template)?;
        vpc::check("template", template)?;
        resources::check("template", template)?;
        resources::quota(template)
    }

    fn scaling(&self, template: &Value) -> Result<(), Status> {
        let minimum = template["scaling"]["minInstanceCount"].as_i64().unwrap_or(0);
        let maximum = template["scaling"]["maxInstanceCount"].as_i64().unwrap_or(0);
        if minimum < 0 || maximum < 0 || minimum > maximum {
            return Err(
                self.violation("template.scaling", "min_instance_count must be between 0 and max_instance_count.")
            );
        }
        Ok(())
    }

    pub(super) fn container(&self, path: &str, container: &Value) -> Result<(), Status> {
        let Some(image) = container["image"].as_str() else {
            return Err(self.violation(&format!("{path}.image"), "required field not present."));
        };
        if super::image::Reference::parse(image).is_none() {
            return Err(invalid(
                &format!("{path}.image"),
                &format!(
                    "Expected an image path like [host/]repo-path[:tag and/or @digest], where host is one of [region.]gcr.io, [region-]docker.pkg.dev or docker.io but obtained {image}"
                ),
            ));
        }
        if let Some(ports) = container["ports"].as_array() {
            let [port] = ports.as_slice() else {
                return Err(self.violation(&format!("{path}.ports"), "ports should contain 0 or 1 port."));
            };
            if !matches!(port["name"].as_str(), None | Some("http1" | "h2c")) {
                return Err(self.violation(&format!("{path}.ports[0].name"), "supported values are 'h2c' and 'http1'."));
            }
            if !port["containerPort"].as_i64().is_some_and(|port| (1..=65_535).contains(&port)) {
                return Err(self.violation(&format!("{path}.ports[0].container_port"), "must be between 1 and 65535."));
            }
        }
        self.env(path, container)?;
        for name in ["startupProbe", "livenessProbe", "readinessProbe"] {
            if let Some(probe) = container.get(name) {
                self.probe(&format!("{path}.{}", crate::gcp::schema::snake(name)), name, probe)?;
            }
        }
        Ok(())
    }

    fn env(&self, path: &str, container: &Value) -> Result<(), Status> {
        let empty = Vec::new();
        let env = container["env"].as_array().unwrap_or(&empty);
        let mut names: Vec<&str> = Vec::with_capacity(env.len());
        let mut reserved: Vec<&str> = Vec::new();
        for (index, variable) in env.iter().enumerate() {
            let Some(name) = variable["name"].as_str() else {
                return Err(self.violation(&format!("{path}.env[{index}].name"), "required field not present."));
            };
            if names.contains(&name) {
                return Err(invalid(&format!("{path}.env"), &format!("Duplicate environment variable names: {name}.")));
            }
            if self.reserved_env.contains(&name) {
                reserved.push(name);
            }
            let value = variable["value"].as_str().unwrap_or_default();
            if name.len() > ENV_BYTES || value.len() > ENV_BYTES {
                return Err(self.violation(&format!("{path}.env[{index}]"), "must not exceed 32768 bytes."));
            }
            if variable.get("value").is_some() && variable.get("valueSource").is_some() {
                return Err(
                    self.violation(&format!("{path}.env[{index}]"), "only one of value and value_source may be set.")
                );
            }
            names.push(name);
        }
        if reserved.is_empty() {
            return Ok(());
        }
        Err(invalid(
            &format!("{path}.env"),
            &format!(
                "The following reserved env names were provided: {}. These values are automatically set by the system.",
                reserved.join(", ")
            ),
        ))
    }

    /// <https://cloud.google.com/run/docs/reference/rest/v2/Container#Probe>
    fn probe(&self, path: &str, name: &str, probe: &Value) -> Result<(), Status> {
        let number = |field: &str| probe[field].as_i64().unwrap_or(0);
        let longest = if name == "startupProbe" { 240 } else { 3600 };
        let in_range = |field, range: std::ops::RangeInclusive<i64>| {
            if range.contains(&number(field)) {
                return Ok(());
            }
            let text = format!("must be between {} and {}.", range.start(), range.end());
            Err(self.violation(&format!("{path}.{}", crate::gcp::schema::snake(field)), &text))
        };
        in_range("initialDelaySeconds", 0..=longest)?;
        in_range("periodSeconds", 1..=longest)?;
        in_range("timeoutSeconds", 1..=longest)?;
        in_range("failureThreshold", 1..=i64::from(i32::MAX))?;
        if number("timeoutSeconds") > number("periodSeconds") {
            return Err(self.violation(&format!("{path}.timeout_seconds"), "must not be greater than period_seconds."));
        }
        let actions = ["httpGet", "tcpSocket", "grpc"].iter().filter(|action| probe.get(**action).is_some()).count();
        if actions != 1 {
            return Err(self.violation(path, "exactly one of http_get, tcp_socket and grpc must be set."));
        }
        Ok(())
    }

    fn traffic(&self, key: &Key, traffic: &Value) -> Result<(), Status> {
        let empty = Vec::new();
        let targets = traffic.as_array().unwrap_or(&empty);
        let mut total = 0;
        let mut tags: Vec<&str> = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            let path = format!("traffic[{index}]");
            let percent = target["percent"].as_i64().unwrap_or(0);
            if !(0..=100).contains(&percent) {
                return Err(self.violation(&format!("{path}.percent"), "must be between 0 and 100."));
            }
            total += percent;
            match (target["type"].as_str(), target["revision"].as_str()) {
                (Some("TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"), None)
                | (Some("TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"), Some(_)) => {}
                (Some("TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"), Some(_)) => {
                    return Err(self.violation(&format!("{path}.revision"), "must not be set for the latest revision."));
                }
                (Some("TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"), None) => {
                    return Err(self.violation(&format!("{path}.revision"), "required field not present."));
                }
                _ => return Err(self.violation(&format!("{path}.type"), "required field not present.")),
            }
            if let Some(tag) = target["tag"].as_str() {
                if !is_tag(tag) {
                    return Err(self.violation(
                        &format!("{path}.tag"),
                        "must use only lowercase letters, numbers and hyphens, begin with a letter and not end with a hyphen.",
                    ));
                }
                if !tag_fits(tag, &key.service) {
                    let text = format!(
                        "traffic tag '{tag}' and service name '{}' together are too long. Combined traffic tag and service name cannot exceed {TAG_AND_SERVICE} characters.",
                        key.service
                    );
                    return Err(self.violation(&format!("{path}.tag"), &text));
                }
                if tags.contains(&tag) {
                    return Err(self.violation(&format!("{path}.tag"), &format!("tag '{tag}' is used more than once.")));
                }
                tags.push(tag);
            }
        }
        if total == 100 {
            return Ok(());
        }
        Err(self.violation("traffic", &format!("Traffic targets sum to {total}, want 100.")))
    }
}

pub(super) fn reserved(map: Option<&Value>, path: &str) -> Result<(), Status> {
    let keys = map.and_then(Value::as_object).into_iter().flatten();
    for (key, _) in keys {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let taken = RESERVED_DOMAINS.iter().any(|reserved| {
            domain == *reserved || domain.strip_suffix(reserved).is_some_and(|rest| rest.ends_with('.'))
        });
        if taken {
            return Err(invalid(path, &format!("User-provided key '{key}' uses the reserved namespace '{domain}'.")));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::gcp::run) fn refusal(change: impl FnOnce(&mut Value)) -> Option<String> {
        let key = Key { project: "p".to_owned(), location: "l".to_owned(), service: "hello".to_owned() };
        let mut spec = json!({ "template": { "containers": [{ "image": "gcr.io/p/hello" }] } });
        change(&mut spec);
        let spec = spec.as_object_mut().expect("an object");
        crate::gcp::run::template::fill(spec, "123");
        check("CreateServiceRequest", &key, spec).err().map(|status| status.message)
    }

    #[test]
    fn a_plain_service_passes() {
        assert_eq!(refusal(|_| {}), None);
        assert_eq!(refusal(|spec| spec["template"]["annotations"] = json!({ "carrack.dev/receipt": "x" })), None);
    }

    #[test]
    fn only_the_container_that_gets_the_requests_is_told_its_port() {
        let with = |name: &str, at: usize| {
            refusal(|spec| {
                let image = "gcr.io/p/hello";
                spec["template"]["containers"] = json!([
                    { "name": "side", "image": image },
                    { "name": "front", "image": image, "ports": [{ "containerPort": 8080 }] },
                ]);
                spec["template"]["containers"][at]["env"] = json!([{ "name": name, "value": "8888" }]);
            })
        };
        let refused = |name: &str, at: usize| {
            Some(format!(
                "template.containers[{at}].env: The following reserved env names were provided: {name}. These values are automatically set by the system."
            ))
        };
        assert_eq!(with("PORT", 0), None);
        assert_eq!(with("PORT", 1), refused("PORT", 1));
        assert_eq!(with("K_SERVICE", 0), refused("K_SERVICE", 0));
    }

    #[test]
    fn refusals() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 12] = [
            (
                |spec| spec["template"] = json!({}),
                "Violation in CreateServiceRequest.service.template.containers: required field not present.",
            ),
            (
                |spec| spec["labels"] = json!({ "run.googleapis.com/x": "1" }),
                "labels: User-provided key 'run.googleapis.com/x' uses the reserved namespace 'run.googleapis.com'.",
            ),
            (
                |spec| spec["template"]["annotations"] = json!({ "autoscaling.knative.dev/minScale": "1" }),
                "template.annotations: User-provided key 'autoscaling.knative.dev/minScale' uses the reserved namespace 'autoscaling.knative.dev'.",
            ),
            (
                |spec| spec["template"]["revision"] = json!("other-1"),
                "Violation in CreateServiceRequest.service.template.revision: must be prefixed by the service's name and a hyphen, and use only lowercase letters, numbers and hyphens; 63 characters at most.",
            ),
            (
                |spec| {
                    spec["template"]["containers"][0]["ports"] = json!([{ "containerPort": 1 }, { "containerPort": 2 }])
                },
                "Violation in CreateServiceRequest.service.template.containers[0].ports: ports should contain 0 or 1 port.",
            ),
            (
                |spec| spec["template"]["containers"][0]["env"] = json!([{ "name": "PORT", "value": "1" }]),
                "template.containers[0].env: The following reserved env names were provided: PORT. These values are automatically set by the system.",
            ),
            (
                |spec| spec["template"]["containers"][0]["env"] = json!([{ "name": "A" }, { "name": "A" }]),
                "template.containers[0].env: Duplicate environment variable names: A.",
            ),
            (
                |spec| spec["template"]["containers"][0]["image"] = json!("Hello World"),
                "template.containers[0].image: Expected an image path like [host/]repo-path[:tag and/or @digest], where host is one of [region.]gcr.io, [region-]docker.pkg.dev or docker.io but obtained Hello World",
            ),
            (
                |spec| spec["traffic"] = json!([{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 90 }]),
                "Violation in CreateServiceRequest.service.traffic: Traffic targets sum to 90, want 100.",
            ),
            (
                |spec| spec["traffic"] = json!([{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "percent": 100 }]),
                "Violation in CreateServiceRequest.service.traffic[0].revision: required field not present.",
            ),
            (
                |spec| spec["template"]["timeout"] = json!("3601s"),
                "template.timeout: must be between 1 and 3600 seconds.",
            ),
            (
                |spec| {
                    spec["template"]["containers"][0]["startupProbe"] =
                        json!({ "httpGet": {}, "periodSeconds": 1, "timeoutSeconds": 2 })
                },
                "Violation in CreateServiceRequest.service.template.containers[0].startup_probe.timeout_seconds: must not be greater than period_seconds.",
            ),
        ];
        for (change, text) in cases {
            assert_eq!(refusal(change).as_deref(), Some(text));
        }
    }
}
