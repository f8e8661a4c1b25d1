//! What the Knative shape keeps in annotations and v2 in fields.
//!
//! <https://cloud.google.com/run/docs/reference/rest/v1/ObjectMeta> lists them, and which resource takes which.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::gcp::status::Status;

/// Namespaces of Cloud Run's own; a name in one of them that nobody knows is refused.
const SYSTEM: [&str; 4] =
    ["run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev"];
/// Written by Cloud Run: a client that sends back what it read changes nothing by them.
const OUTPUT_ONLY: [&str; 9] = [
    "run.googleapis.com/creator",
    "run.googleapis.com/ingress-status",
    "run.googleapis.com/lastModifier",
    "run.googleapis.com/operation-id",
    "run.googleapis.com/startupProbeType",
    "run.googleapis.com/urls",
    "serving.knative.dev/creator",
    "serving.knative.dev/lastModifier",
    "cloud.googleapis.com/location",
];

/// Whose policy for binary authorization it is: the project's, or one that is named.
const AUTHORIZATION: &str = "run.googleapis.com/binary-authorization";

/// How an annotation's text says a field's value.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    /// `true` or `false`.
    Switch,
    Hours,
    Json,
    /// Words with a comma between them.
    List,
    /// The annotation's words, and the field's.
    Words(&'static [(&'static str, &'static str)]),
}

/// An annotation, and the field (a path) that it is in v2.
pub(super) type Pairs = &'static [Pair];
pub(super) struct Pair(&'static str, &'static str, Form);

const CLIENT: Pair = Pair("run.googleapis.com/client-name", "client", Form::Text);
const CLIENT_VERSION: Pair = Pair("run.googleapis.com/client-version", "clientVersion", Form::Text);
const ENCRYPTION_KEY: Pair = Pair("run.googleapis.com/encryption-key", "encryptionKey", Form::Text);
const ENVIRONMENT: Pair = Pair(
    "run.googleapis.com/execution-environment",
    "executionEnvironment",
    Form::Words(&[("gen1", "EXECUTION_ENVIRONMENT_GEN1"), ("gen2", "EXECUTION_ENVIRONMENT_GEN2")]),
);
const LAUNCH_STAGE: Pair = Pair("run.googleapis.com/launch-stage", "launchStage", Form::Text);
const CONNECTOR: Pair = Pair("run.googleapis.com/vpc-access-connector", "vpcAccess.connector", Form::Text);
const EGRESS: Pair = Pair(
    "run.googleapis.com/vpc-access-egress",
    "vpcAccess.egress",
    // The last word is deprecated, and taken all the same.
    Form::Words(&[
        ("all-traffic", "ALL_TRAFFIC"),
        ("private-ranges-only", "PRIVATE_RANGES_ONLY"),
        ("all", "ALL_TRAFFIC"),
    ]),
);
const INTERFACES: Pair = Pair("run.googleapis.com/network-interfaces", "vpcAccess.networkInterfaces", Form::Json);
const BREAKGLASS: Pair = Pair(
    "run.googleapis.com/binary-authorization-breakglass",
    "binaryAuthorization.breakglassJustification",
    Form::Text,
);

const ZONES: Pair =
    Pair("run.googleapis.com/gpu-zonal-redundancy-disabled", "gpuZonalRedundancyDisabled", Form::Switch);

pub(super) const SERVICE: Pairs = &[
    CLIENT,
    CLIENT_VERSION,
    LAUNCH_STAGE,
    BREAKGLASS,
    Pair(
        "run.googleapis.com/ingress",
        "ingress",
        Form::Words(&[
            ("all", "INGRESS_TRAFFIC_ALL"),
            ("internal", "INGRESS_TRAFFIC_INTERNAL_ONLY"),
            ("internal-and-cloud-load-balancing", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"),
            ("none", "INGRESS_TRAFFIC_NONE"),
        ]),
    ),
    Pair("run.googleapis.com/description", "description", Form::Text),
    Pair("run.googleapis.com/minScale", "scaling.minInstanceCount", Form::Number),
    Pair("run.googleapis.com/maxScale", "scaling.maxInstanceCount", Form::Number),
    Pair("run.googleapis.com/manualInstanceCount", "scaling.manualInstanceCount", Form::Number),
    Pair(
        "run.googleapis.com/scalingMode",
        "scaling.scalingMode",
        Form::Words(&[("automatic", "AUTOMATIC"), ("manual", "MANUAL")]),
    ),
    Pair("run.googleapis.com/invoker-iam-disabled", "invokerIamDisabled", Form::Switch),
    Pair("run.googleapis.com/default-url-disabled", "defaultUriDisabled", Form::Switch),
    Pair("run.googleapis.com/custom-audiences", "customAudiences", Form::Json),
    Pair("run.googleapis.com/iap-enabled", "iapEnabled", Form::Switch),
    Pair("run.googleapis.com/regions", "multiRegionSettings.regions", Form::List),
    Pair("run.googleapis.com/build-base-image", "buildConfig.baseImage", Form::Text),
    Pair("run.googleapis.com/build-enable-automatic-updates", "buildConfig.enableAutomaticUpdates", Form::Switch),
    Pair("run.googleapis.com/build-environment-variables", "buildConfig.environmentVariables", Form::Json),
    Pair("run.googleapis.com/build-function-target", "buildConfig.functionTarget", Form::Text),
    Pair("run.googleapis.com/build-image-uri", "buildConfig.imageUri", Form::Text),
    Pair("run.googleapis.com/build-service-account", "buildConfig.serviceAccount", Form::Text),
    Pair("run.googleapis.com/build-source-location", "buildConfig.sourceLocation", Form::Text),
    Pair("run.googleapis.com/build-worker-pool", "buildConfig.workerPool", Form::Text),
];

pub(super) const REVISION: Pairs = &[
    CLIENT,
    CLIENT_VERSION,
    ENVIRONMENT,
    ENCRYPTION_KEY,
    CONNECTOR,
    EGRESS,
    INTERFACES,
    Pair("autoscaling.knative.dev/minScale", "scaling.minInstanceCount", Form::Number),
    Pair("autoscaling.knative.dev/maxScale", "scaling.maxInstanceCount", Form::Number),
    Pair("run.googleapis.com/sessionAffinity", "sessionAffinity", Form::Switch),
    Pair("run.googleapis.com/mesh", "serviceMesh.mesh", Form::Text),
    Pair("run.googleapis.com/health-check-disabled", "healthCheckDisabled", Form::Switch),
    ZONES,
    Pair("run.googleapis.com/encryption-key-shutdown-hours", "encryptionKeyShutdownDuration", Form::Hours),
    Pair(
        "run.googleapis.com/post-key-revocation-action-type",
        "encryptionKeyRevocationAction",
        Form::Words(&[("prevent-new", "PREVENT_NEW"), ("shut-down", "SHUTDOWN")]),
    ),
];

pub(super) const JOB: Pairs = &[CLIENT, CLIENT_VERSION, LAUNCH_STAGE, BREAKGLASS];

pub(super) const EXECUTION: Pairs = &[CLIENT, CLIENT_VERSION];

/// v1 has them with the execution.
pub(super) const TASK: Pairs = &[ENVIRONMENT, ENCRYPTION_KEY, CONNECTOR, EGRESS, INTERFACES, ZONES];

/// The annotations of one resource; each is taken once, and Cloud Run's own that are left are refused.
#[derive(Debug)]
pub(super) struct Annotations {
    system: BTreeMap<String, String>,
    user: Map<String, Value>,
}

impl Annotations {
    pub(super) fn of(metadata: &Value) -> Self {
        let mut found = Self { system: BTreeMap::new(), user: Map::new() };
        for (name, value) in metadata["annotations"].as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            if !is_system(name) {
                found.user.insert(name.clone(), value.clone());
            } else if !OUTPUT_ONLY.contains(&name.as_str()) {
                found.system.insert(name.clone(), text.to_owned());
            }
        }
        found
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.system.remove(name)
    }

    /// Sets the fields that annotations say; one that says what `stored` has leaves that to the letter.
    pub(super) fn fields(
        &mut self,
        pairs: Pairs,
        stored: &Value,
        target: &mut Map<String, Value>,
    ) -> Result<(), Status> {
        for Pair(name, path, form) in pairs {
            // An empty text is no value: gcloud clears by it.
            let Some(text) = self.take(name).filter(|text| !text.is_empty()) else { continue };
            let before = at(stored, path);
            let value = match form.render(before) {
                Some(same) if same == text => before.clone(),
                _ => form.parse(&text).ok_or_else(|| invalid(name, &text))?,
            };
            put(target, path, value);
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.system.get(name).map(String::as_str)
    }

    /// Sets what the annotation for binary authorization says, which is two fields in v2.
    pub(super) fn authorization(&mut self, target: &mut Map<String, Value>) {
        match self.take(AUTHORIZATION).as_deref() {
            None | Some("") => {}
            Some("default") => put(target, "binaryAuthorization.useDefault", json!(true)),
            Some(policy) => put(target, "binaryAuthorization.policy", json!(policy)),
        }
    }

    /// The user's own. `kind` is `Service`, `Revision`, …
    pub(super) fn rest(self, kind: &str) -> Result<Map<String, Value>, Status> {
        match self.system.into_keys().next() {
            None => Ok(self.user),
            Some(name) => Err(Status::invalid(format!(
                "metadata.annotations: annotation '{name}' is not supported on resources of kind '{kind}'."
            ))),
        }
    }
}

pub(super) fn invalid(name: &str, text: &str) -> Status {
    Status::invalid(format!("metadata.annotations[{name}]: Invalid value '{text}'."))
}

/// The user's labels: Cloud Run's own are written by it alone.
pub(super) fn labels(metadata: &Value) -> Map<String, Value> {
    let given = metadata["labels"].as_object().into_iter().flatten();
    given.filter(|(name, _)| !is_system(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The other way: the annotations that say what `source` has.
pub(super) fn render(pairs: Pairs, source: &Value, annotations: &mut Map<String, Value>) {
    for Pair(name, path, form) in pairs {
        if let Some(text) = form.render(at(source, path)) {
            annotations.insert((*name).to_owned(), json!(text));
        }
    }
}

/// The other way.
pub(super) fn render_authorization(source: &Value, annotations: &mut Map<String, Value>) {
    let authorization = &source["binaryAuthorization"];
    if authorization["useDefault"] == true {
        annotations.insert(AUTHORIZATION.to_owned(), json!("default"));
    } else if let Some(policy) = authorization.get("policy") {
        annotations.insert(AUTHORIZATION.to_owned(), policy.clone());
    }
}

impl Form {
    fn parse(self, text: &str) -> Option<Value> {
        match self {
            Self::Text => Some(json!(text)),
            Self::Number => text.parse::<i32>().ok().map(|number| json!(number)),
            Self::Switch => text.to_ascii_lowercase().parse::<bool>().ok().map(|switch| json!(switch)),
            Self::Hours => text.parse::<u32>().ok().map(|hours| json!(format!("{}s", u64::from(hours) * 3600))),
            Self::Json => serde_json::from_str(text).ok(),
            Self::List => Some(json!(text.split(',').map(str::trim).collect::<Vec<_>>())),
            Self::Words(words) => words.iter().find(|(word, _)| *word == text).map(|(_, name)| json!(name)),
        }
    }

    fn render(self, value: &Value) -> Option<String> {
        match self {
            Self::Text => value.as_str().map(str::to_owned),
            Self::Number => value.as_i64().map(|number| number.to_string()),
            Self::Switch => value.as_bool().map(|switch| switch.to_string()),
            Self::Hours => {
                let seconds = crate::gcp::validate::duration_seconds(value.as_str()?)?;
                Some((seconds / 3600.0).ceil().to_string())
            }
            Self::Json => (!value.is_null()).then(|| value.to_string()),
            Self::List => {
                let words: Vec<_> = value.as_array()?.iter().filter_map(Value::as_str).collect();
                Some(words.join(","))
            }
            Self::Words(words) => words.iter().find(|(_, name)| value == name).map(|(word, _)| (*word).to_owned()),
        }
    }
}

pub(super) fn is_system(name: &str) -> bool {
    name.split_once('/').is_some_and(|(domain, _)| SYSTEM.contains(&domain))
}

/// The field at a path.
pub(super) fn at<'a>(source: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(source, |value, field| &value[field])
}

/// Sets a field at a path, with the messages on the way to it.
pub(super) fn put(target: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            target.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            if let Value::Object(inner) = target.entry(first).or_insert_with(|| json!({})) {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_annotation_goes_both_ways() {
        let given = json!({ "annotations": {
            "autoscaling.knative.dev/maxScale": "7",
            "run.googleapis.com/execution-environment": "gen1",
            "run.googleapis.com/sessionAffinity": "true",
            "run.googleapis.com/encryption-key-shutdown-hours": "24",
            "run.googleapis.com/vpc-access-egress": "all-traffic",
            "run.googleapis.com/network-interfaces": "[{\"network\":\"default\"}]",
            "team": "blue",
        }});
        let mut annotations = Annotations::of(&given);
        let mut fields = Map::new();
        annotations.fields(REVISION, &Value::Null, &mut fields).expect("all are known");
        let fields = Value::Object(fields);
        assert_eq!(
            fields,
            json!({
                "scaling": { "maxInstanceCount": 7 },
                "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN1",
                "sessionAffinity": true,
                "encryptionKeyShutdownDuration": "86400s",
                "vpcAccess": { "egress": "ALL_TRAFFIC", "networkInterfaces": [{ "network": "default" }] },
            })
        );
        let mut back = annotations.rest("Revision").expect("nothing is left");
        render(REVISION, &fields, &mut back);
        assert_eq!(Value::Object(back), given["annotations"]);
    }

    #[test]
    fn what_is_cloud_runs_own_is_known_or_refused() {
        let of = |name: &str, text: &str| Annotations::of(&json!({ "annotations": { name: text } }));
        assert!(of("serving.knative.dev/creator", "me").rest("Service").expect("output only").is_empty());
        let unknown = of("run.googleapis.com/nothing", "x").rest("Service").expect_err("unknown");
        assert_eq!(
            unknown.message,
            "metadata.annotations: annotation 'run.googleapis.com/nothing' is not supported on resources of kind 'Service'."
        );
        for (name, text) in [
            ("autoscaling.knative.dev/maxScale", "many"),
            ("run.googleapis.com/sessionAffinity", "maybe"),
            ("run.googleapis.com/execution-environment", "gen3"),
        ] {
            assert!(of(name, text).fields(REVISION, &Value::Null, &mut Map::new()).is_err(), "{name}");
        }
    }
}
