//! A revision's template, and what it has in common with a job's tasks.
use serde_json::{Map, Value, json};

use super::{
    annotations::{Annotations, REVISION, labels, put, render},
    container::{self, Aliases, aliases},
    volume::{self, CLOUD_SQL},
};
use crate::gcp::{status::Status, validate::duration_seconds};

pub(super) const SECRETS: &str = "run.googleapis.com/secrets";
const ACCELERATOR: &str = "run.googleapis.com/accelerator";
/// <https://cloud.google.com/run/docs/reference/rest/v1/RevisionSpec>: not supported by Cloud Run.
const UNSUPPORTED: [&str; 2] = ["enableServiceLinks", "imagePullSecrets"];
/// What a v2 template has and v1 no word for: a change by v1 leaves it as it is.
const UNSPOKEN: [&str; 4] = ["ambientNetworking", "sandboxes", "serviceMesh", "workloadIdentityConfig"];

/// A v1 `RevisionTemplate` in v2's shape. `stored` is the v2 template that it is to replace.
pub(super) fn to_v2(given: &Value, stored: &Value) -> Result<Map<String, Value>, Status> {
    let (metadata, spec) = (&given["metadata"], &given["spec"]);
    if let Some(field) = UNSUPPORTED.into_iter().find(|field| spec.get(*field).is_some()) {
        return Err(Status::invalid(format!("spec.template.spec.{field}: not supported by Cloud Run.")));
    }
    let mut annotations = Annotations::of(metadata);
    let mut template = Map::new();
    annotations.fields(REVISION, &mut template)?;
    workload_to_v2(spec, &mut annotations, true, &mut template)?;
    if let Some(name) = metadata["name"].as_str() {
        template.insert("revision".to_owned(), json!(name));
    }
    if let Some(concurrency) = spec.get("containerConcurrency") {
        template.insert("maxInstanceRequestConcurrency".to_owned(), concurrency.clone());
    }
    if let Some(seconds) = spec["timeoutSeconds"].as_i64() {
        template.insert("timeout".to_owned(), json!(format!("{seconds}s")));
    }
    named(&mut template, "labels", labels(metadata));
    named(&mut template, "annotations", annotations.rest("Revision")?);
    for field in UNSPOKEN {
        container::copy(stored, field, &mut template);
    }
    Ok(template)
}

/// What revisions and tasks share: containers, volumes, the service account, the node's kind.
pub(super) fn workload_to_v2(
    spec: &Value,
    annotations: &mut Annotations,
    service: bool,
    template: &mut Map<String, Value>,
) -> Result<(), Status> {
    let aliases = match annotations.take(SECRETS) {
        Some(text) => aliases(&text)?,
        None => Aliases::new(),
    };
    let containers = container::to_v2(spec, annotations, &aliases, service)?;
    template.insert("containers".to_owned(), json!(containers));
    let sql = annotations.take(CLOUD_SQL);
    let volumes = volume::to_v2(spec, sql.as_deref(), &aliases)?;
    if !volumes.is_empty() {
        template.insert("volumes".to_owned(), json!(volumes));
    }
    if let Some(account) = spec.get("serviceAccountName") {
        template.insert("serviceAccount".to_owned(), account.clone());
    }
    if let Some(accelerator) = spec["nodeSelector"].get(ACCELERATOR) {
        put(template, "nodeSelector.accelerator", accelerator.clone());
    }
    Ok(())
}

fn named(template: &mut Map<String, Value>, field: &str, values: Map<String, Value>) {
    if !values.is_empty() {
        template.insert(field.to_owned(), Value::Object(values));
    }
}

/// A v2 template, or revision, as v1 has it: its annotations and labels, and its spec.
pub(super) fn from_v2(template: &Value) -> (Map<String, Value>, Map<String, Value>, Value) {
    let mut annotations = template["annotations"].as_object().cloned().unwrap_or_default();
    let labels = template["labels"].as_object().cloned().unwrap_or_default();
    render(REVISION, template, &mut annotations);
    container::cpu(template, &mut annotations);
    let mut spec = workload_from_v2(template, &mut annotations);
    if let Some(concurrency) = template.get("maxInstanceRequestConcurrency") {
        spec["containerConcurrency"] = concurrency.clone();
    }
    if let Some(seconds) = template["timeout"].as_str().and_then(duration_seconds) {
        // Whole seconds are all that v1 has.
        spec["timeoutSeconds"] = json!(seconds.ceil() as i64);
    }
    (annotations, labels, spec)
}

pub(super) fn workload_from_v2(template: &Value, annotations: &mut Map<String, Value>) -> Value {
    let mut aliases = Aliases::new();
    let containers = container::from_v2(template, annotations, &mut aliases);
    let volumes = volume::from_v2(template, annotations, &mut aliases);
    if !aliases.is_empty() {
        let entries: Vec<_> = aliases.iter().map(|(alias, secret)| format!("{alias}:{secret}")).collect();
        annotations.insert(SECRETS.to_owned(), json!(entries.join(",")));
    }
    let mut spec = json!({ "containers": containers });
    if !volumes.is_empty() {
        spec["volumes"] = json!(volumes);
    }
    if let Some(account) = template.get("serviceAccount") {
        spec["serviceAccountName"] = account.clone();
    }
    if let Some(accelerator) = template["nodeSelector"].get("accelerator") {
        spec["nodeSelector"] = json!({ ACCELERATOR: accelerator });
    }
    spec
}

/// With its metadata, as a service has it.
pub(super) fn render_template(template: &Value) -> Value {
    let (annotations, labels, spec) = from_v2(template);
    let mut metadata = json!({});
    if let Some(name) = template.get("revision") {
        metadata["name"] = name.clone();
    }
    for (field, values) in [("annotations", annotations), ("labels", labels)] {
        if !values.is_empty() {
            metadata[field] = Value::Object(values);
        }
    }
    json!({ "metadata": metadata, "spec": spec })
}
