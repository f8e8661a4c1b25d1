//! What is live and has no key in carrack.toml: it stays as it is, and the plan says so.
//!
//! Names are the resource's own, from the service down: `template.encryptionKey`, `template.containers[1]`.
//! A field that Cloud Run adds one day is named as well: what is left out is listed here, not what is shown.
use carrack_core::fields::{FieldPath, FieldValue};
use serde_json::{Map, Value};

use super::{
    containers::is_sidecar,
    volumes::Source,
    wire::{RECEIPT, ingress_index, read},
};

/// A label by which gcloud finds the revision that it made:
/// <https://cloud.google.com/sdk/gcloud/reference/run/deploy>.
pub(super) const NONCE: &str = "client.knative.dev/nonce";

/// What the cloud writes itself, and what a client writes of itself:
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#Service>.
const BOOKKEEPING: &[&str] = &[
    "name",
    "uid",
    "generation",
    "observedGeneration",
    "createTime",
    "updateTime",
    "deleteTime",
    "expireTime",
    "creator",
    "lastModifier",
    "client",
    "clientVersion",
    "terminalCondition",
    "conditions",
    "latestReadyRevision",
    "latestCreatedRevision",
    "trafficStatuses",
    "uri",
    "urls",
    "reconciling",
    "satisfiesPzs",
    "etag",
];

/// Told in words of carrack.toml; or, as the traffic is, by a plan that changes it. They are sent when they differ.
pub(super) const SERVICE_FIELDS: &[&str] = &[
    "labels",
    "annotations",
    "description",
    "ingress",
    "invokerIamDisabled",
    "defaultUriDisabled",
    "customAudiences",
    "scaling",
    "template",
    "traffic",
];
const OF_SERVICE_SCALING: &[&str] = &["scalingMode", "manualInstanceCount"];
const OF_TEMPLATE: &[&str] = &[
    "containers",
    "volumes",
    "revision",
    "scaling",
    "serviceAccount",
    "maxInstanceRequestConcurrency",
    "timeout",
    "sessionAffinity",
    "executionEnvironment",
    "vpcAccess",
];
const OF_SCALING: &[&str] = &["minInstanceCount", "maxInstanceCount"];
const OF_NETWORK: &[&str] = &["connector", "egress", "networkInterfaces"];
const OF_INTERFACE: &[&str] = &["network", "subnetwork", "tags"];
const OF_CONTAINER: &[&str] = &[
    "name",
    "image",
    "command",
    "args",
    "env",
    "resources",
    "ports",
    "volumeMounts",
    "startupProbe",
    "livenessProbe",
    "workingDir",
    "readinessProbe",
    "dependsOn",
];
const OF_RESOURCES: &[&str] = &["limits", "cpuIdle", "startupCpuBoost"];
const OF_PORT: &[&str] = &["containerPort", "name"];
const OF_SECRET_VOLUME: &[&str] = &["secret", "items"];
const OF_SECRET_FILE: &[&str] = &["path", "version"];
/// Of a volume, and of what it is made of: memory is told where `medium` says nothing else.
const OF_VOLUME: &[&str] = &["name", "emptyDir", "gcs", "nfs"];
const OF_VOLUMES_SOURCE: &[&str] = &["medium", "sizeLimit", "bucket", "readOnly", "mountOptions", "server", "path"];
const OF_LIMITS: &[&str] = &["cpu", "memory"];

/// Every live field without a key in carrack.toml, in the resource's order. Zeros and documented defaults are none.
pub(super) fn unnamed(service: &Value) -> Vec<FieldPath> {
    let mut found = Vec::new();
    let others = |key: &str| !BOOKKEEPING.contains(&key) && !SERVICE_FIELDS.contains(&key);
    collect(&mut found, "", &service.as_object().cloned().unwrap_or_default(), others);
    collect(&mut found, "scaling.", &object(&service["scaling"]), |key| !OF_SERVICE_SCALING.contains(&key));
    let template = &service["template"];
    let others = |key: &str| !BOOKKEEPING.contains(&key) && !OF_TEMPLATE.contains(&key);
    collect(&mut found, "template.", &object(template), others);
    collect(&mut found, "template.scaling.", &object(&template["scaling"]), |key| !OF_SCALING.contains(&key));
    collect(&mut found, "template.vpcAccess.", &object(&template["vpcAccess"]), |key| !OF_NETWORK.contains(&key));
    let interfaces = template["vpcAccess"]["networkInterfaces"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, interface) in interfaces.iter().enumerate() {
        let path = format!("template.vpcAccess.networkInterfaces[{index}].");
        collect(&mut found, &path, &object(interface), |key| index > 0 || !OF_INTERFACE.contains(&key));
    }
    let containers = template["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (volumes, mut shown) = (list(&template["volumes"]), Vec::new());
    for (index, container) in containers.iter().enumerate() {
        let path = format!("template.containers[{index}]");
        let main = index == ingress_index(containers);
        if !main && !is_sidecar(container["name"].as_str().unwrap_or_default()) {
            found.push(path);
            continue;
        }
        collect(&mut found, &format!("{path}."), &object(container), |key| !OF_CONTAINER.contains(&key));
        let resources = &container["resources"];
        // More CPU at the start has a key for the main container only.
        let others = |key: &str| !OF_RESOURCES.contains(&key) || (!main && key == "startupCpuBoost");
        collect(&mut found, &format!("{path}.resources."), &object(resources), others);
        let limits = object(&resources["limits"]);
        collect(&mut found, &format!("{path}.resources.limits."), &limits, |key| !OF_LIMITS.contains(&key));
        let port = object(&container["ports"][0]);
        collect(&mut found, &format!("{path}.ports[0]."), &port, |key| !OF_PORT.contains(&key));
        let told = |volume: &Value| volume["secret"].is_object() || (main && volume["cloudSqlInstance"].is_object());
        for (at, mount) in list(&container["volumeMounts"]).iter().enumerate() {
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
            if is_whole(mount) && volume.is_some_and(told) {
                shown.push(mount["name"].clone());
            } else if !is_first(container, at) || !volume.is_some_and(is_ours) {
                found.push(format!("{path}.volumeMounts[{at}]"));
            }
        }
    }
    for (index, volume) in volumes.iter().enumerate() {
        of_volume(&mut found, &format!("template.volumes[{index}]"), volume, shown.contains(&volume["name"]));
    }
    found
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn is_whole(mount: &Value) -> bool {
    mount["subPath"].as_str().unwrap_or_default().is_empty()
}

/// A volume with a key in carrack.toml.
fn is_ours(volume: &Value) -> bool {
    read::<Source>(volume).is_ok_and(|source| source.neutral().is_some())
}

/// The mount of a volume that carrack.toml can tell: the first that shows all of it.
fn is_first(container: &Value, at: usize) -> bool {
    let mounts = list(&container["volumeMounts"]);
    let same = |other: &Value| is_whole(other) && other["name"] == mounts[at]["name"];
    same(&mounts[at]) && !mounts[..at].iter().any(same)
}

/// What a volume has that is not told; all of one that is of another kind, and of a secret that nobody shows. Sockets of
/// Cloud SQL and files of secrets are told with the mounts that show them.
fn of_volume(found: &mut Vec<FieldPath>, path: &str, volume: &Value, shown: bool) {
    let secret = &volume["secret"];
    if is_ours(volume) {
        collect(found, &format!("{path}."), &object(volume), |key| !OF_VOLUME.contains(&key));
        for kind in ["emptyDir", "gcs", "nfs"] {
            let others = |key: &str| !OF_VOLUMES_SOURCE.contains(&key);
            collect(found, &format!("{path}.{kind}."), &object(&volume[kind]), others);
        }
    } else if shown {
        collect(found, &format!("{path}.secret."), &object(secret), |key| !OF_SECRET_VOLUME.contains(&key));
        for (index, item) in list(&secret["items"]).iter().enumerate() {
            let path = format!("{path}.secret.items[{index}].");
            collect(found, &path, &object(item), |key| !OF_SECRET_FILE.contains(&key));
        }
    } else {
        found.push(path.to_owned());
    }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn collect(found: &mut Vec<FieldPath>, at: &str, fields: &Map<String, Value>, wanted: impl Fn(&str) -> bool) {
    for (key, value) in fields.iter().filter(|(key, _)| wanted(key)) {
        let path = format!("{at}{key}");
        match value {
            // Entries of a table are somebody's one by one.
            Value::Object(entries) if key == "annotations" || key == "labels" => {
                let theirs = entries.keys().filter(|key| *key != RECEIPT && *key != NONCE);
                found.extend(theirs.map(|key| format!("{path}.{key}")));
            }
            value if is_default(key, value) => {}
            _ => found.push(path),
        }
    }
}

/// What proto3's JSON may as well leave out: <https://protobuf.dev/programming-guides/json/>.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_zero),
    }
}

/// What the cloud fills in by itself says nothing about anybody's wish.
pub(super) fn is_default(key: &str, value: &Value) -> bool {
    match key {
        // https://cloud.google.com/run/docs/troubleshooting#launch-stage-validation
        "launchStage" => value == "GA",
        // https://cloud.google.com/run/docs/reference/rest/v2/Volume#secretvolumesource
        "defaultMode" => value == 0o444,
        _ => is_zero(value),
    }
}

/// What the cloud fills in for a key of carrack.toml, or means by leaving it out.
const FILLED_IN: [(&str, &str); 10] = [
    // https://cloud.google.com/run/docs/container-contract#port
    ("service.protocol", "http1"),
    // https://cloud.google.com/run/docs/configuring/request-timeout
    ("service.timeout", "300s"),
    // https://cloud.google.com/run/docs/securing/ingress
    ("service.ingress", "all"),
    ("service.session_affinity", "false"),
    ("service.default_url", "true"),
    ("service.invoker_check", "true"),
    // https://cloud.google.com/run/docs/about-execution-environments
    ("service.execution_environment", "gen2"),
    // https://cloud.google.com/run/docs/configuring/billing-settings
    ("resources.cpu_always", "false"),
    ("resources.startup_boost", "false"),
    // https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#vpcegress
    ("network.egress", "private-ranges"),
];

/// Whether a live value says nothing about anybody's wish.
pub(super) fn filled_in(path: &str, value: &FieldValue) -> bool {
    FILLED_IN.iter().any(|(known, default)| *known == path && *value == FieldValue::Shown((*default).to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_set_is_named_and_defaults_are_not() {
        let service = json!({
            "name": "projects/p/locations/l/services/s", "uid": "u", "generation": "3", "etag": "\"x\"",
            "labels": { "team": "a" }, "annotations": { "team/owner": "a", RECEIPT: "{}" },
            "description": "a", "scaling": { "scalingMode": "MANUAL", "manualInstanceCount": 2, "minInstanceCount": 1 },
            "ingress": "INGRESS_TRAFFIC_ALL", "launchStage": "GA", "aFieldOfTomorrow": { "on": true }, "empty": {},
            "template": {
                "timeout": "300s", "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2", "serviceAccount": "x",
                "vpcAccess": { "egress": "ALL_TRAFFIC", "networkInterfaces": [{ "network": "a" }, { "network": "b" }] }, "sessionAffinity": false, "client": "gcloud",
                "labels": { "cost": "1", NONCE: "x" },
                "scaling": { "maxInstanceCount": 3 },
                "containers": [
                    { "image": "proxy" },
                    {
                        "image": "app", "ports": [{ "name": "h2c", "containerPort": 8080 }], "workingDir": "/srv",
                        "resources": { "limits": { "cpu": "1", "nvidia.com/gpu": "1" }, "cpuIdle": false, "startupCpuBoost": true },
                        "volumeMounts": [
                            { "name": "cache", "mountPath": "/cache" },
                            { "name": "key", "mountPath": "/key" },
                        ],
                    },
                ],
                "volumes": [
                    { "name": "cache", "emptyDir": {} },
                    { "name": "key", "secret": { "secret": "key", "defaultMode": 292, "items": [
                        { "path": "key.pem", "version": "1", "mode": 256 },
                    ] } },
                    { "name": "nobodys", "secret": { "secret": "key" } },
                ],
            },
        });
        assert_eq!(
            unnamed(&service),
            [
                "aFieldOfTomorrow",
                "scaling.minInstanceCount",
                "template.labels.cost",
                "template.vpcAccess.networkInterfaces[1].network",
                "template.containers[0]",
                "template.containers[1].resources.limits.nvidia.com/gpu",
                "template.volumes[1].secret.items[0].mode",
                "template.volumes[2]",
            ]
        );
    }
}
