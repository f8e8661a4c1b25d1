//! A revision's template, and what it has in common with a job's tasks.
use serde_json::{Map, Value, json};

use super::{
    annotations::{Annotations, REVISION, at, labels, put, render},
    container::{self, Aliases, Before, aliases},
    volume::{self, CLOUD_SQL},
};
use crate::gcp::{
    schema::Documents,
    status::Status,
    validate::{self, duration_seconds},
};

pub(super) const SECRETS: &str = "run.googleapis.com/secrets";
const ACCELERATOR: &str = "run.googleapis.com/accelerator";
/// <https://cloud.google.com/run/docs/reference/rest/v1/RevisionSpec>: not supported by Cloud Run.
const UNSUPPORTED: [&str; 2] = ["enableServiceLinks", "imagePullSecrets"];
/// What a v2 template has and v1 no word for: a change by v1 leaves it as it is.
const UNSPOKEN: [&str; 4] =
    ["ambientNetworking", "workloadIdentityConfig", "scaling.cpuUtilization", "scaling.concurrencyUtilization"];
/// Messages that say nothing when they are empty, and are there all the same.
const EMPTY: [&str; 2] = ["nodeSelector", "vpcAccess"];

/// A v1 `RevisionTemplate` in v2's shape. `stored` is the v2 template that it is to replace: what v1 shows of it and
/// gets back the same stays as it is, to the letter.
pub(super) fn to_v2(documents: &Documents, given: &Value, stored: &Value) -> Result<Map<String, Value>, Status> {
    let before = before(documents, "RevisionSpec", stored, from_v2(stored));
    let (metadata, spec) = (&given["metadata"], &given["spec"]);
    if let Some(field) = UNSUPPORTED.into_iter().find(|field| spec.get(*field).is_some()) {
        return Err(Status::invalid(format!("spec.template.spec.{field}: not supported by Cloud Run.")));
    }
    let mut annotations = Annotations::of(metadata);
    let mut template = Map::new();
    annotations.fields(REVISION, stored, &mut template)?;
    workload_to_v2(spec, &mut annotations, &before, true, &mut template)?;
    if let Some(name) = metadata["name"].as_str() {
        template.insert("revision".to_owned(), json!(name));
    }
    if let Some(concurrency) = spec.get("containerConcurrency") {
        template.insert("maxInstanceRequestConcurrency".to_owned(), concurrency.clone());
    }
    if let Some(seconds) = spec["timeoutSeconds"].as_i64() {
        let same = before.spec["timeoutSeconds"] == seconds;
        let timeout = if same { stored["timeout"].clone() } else { json!(format!("{seconds}s")) };
        template.insert("timeout".to_owned(), timeout);
    }
    named(&mut template, "labels", labels(metadata));
    named(&mut template, "annotations", annotations.rest("Revision")?);
    keep(&UNSPOKEN, stored, &mut template);
    Ok(template)
}

/// Fields, by their paths, that a change by v1 leaves as they are.
pub(super) fn keep(paths: &[&str], stored: &Value, target: &mut Map<String, Value>) {
    for path in paths {
        let value = at(stored, path);
        if !value.is_null() {
            put(target, path, value.clone());
        }
    }
}

/// What is stored, and what v1 shows of it in the form that a request has after its checks.
pub(super) fn before(
    documents: &Documents,
    schema: &str,
    stored: &Value,
    (annotations, spec): (Map<String, Value>, Value),
) -> Before {
    let spec = validate::body(&documents.run_v1, schema, "", &spec).unwrap_or(spec);
    Before { v2: stored.clone(), spec, annotations }
}

/// What revisions and tasks share: containers, volumes, the service account, the node's kind.
pub(super) fn workload_to_v2(
    spec: &Value,
    annotations: &mut Annotations,
    before: &Before,
    service: bool,
    template: &mut Map<String, Value>,
) -> Result<(), Status> {
    let aliases = match annotations.get(SECRETS) {
        Some(text) => aliases(text)?,
        None => Aliases::new(),
    };
    let same = [SECRETS, CLOUD_SQL].map(|name| before.says(annotations, name));
    let containers = container::to_v2(spec, annotations, &aliases, before, service)?;
    template.insert("containers".to_owned(), json!(containers));
    let (_, sql) = (annotations.take(SECRETS), annotations.take(CLOUD_SQL));
    let volumes = volume::to_v2(spec, sql.as_deref(), &aliases, before, same)?;
    if !volumes.is_empty() {
        template.insert("volumes".to_owned(), json!(volumes));
    }
    if let Some(account) = spec.get("serviceAccountName") {
        template.insert("serviceAccount".to_owned(), account.clone());
    }
    if let Some(accelerator) = spec["nodeSelector"].get(ACCELERATOR) {
        put(template, "nodeSelector.accelerator", accelerator.clone());
    }
    container::copy(spec, "sandboxes", template);
    for field in EMPTY {
        if before.v2[field].as_object().is_some_and(Map::is_empty) {
            template.entry(field).or_insert_with(|| json!({}));
        }
    }
    Ok(())
}

/// Labels or annotations, where there are any.
pub(super) fn named(template: &mut Map<String, Value>, field: &str, values: Map<String, Value>) {
    if !values.is_empty() {
        template.insert(field.to_owned(), Value::Object(values));
    }
}

/// A v2 template, or revision, as v1 has it: its annotations, and its spec.
pub(super) fn from_v2(template: &Value) -> (Map<String, Value>, Value) {
    let mut annotations = template["annotations"].as_object().cloned().unwrap_or_default();
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
    (annotations, spec)
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
    if let Some(sandboxes) = template.get("sandboxes") {
        spec["sandboxes"] = sandboxes.clone();
    }
    spec
}

pub(super) fn labels_of(template: &Value) -> Map<String, Value> {
    template["labels"].as_object().cloned().unwrap_or_default()
}

/// With its metadata, as a service has it.
pub(super) fn render_template(template: &Value) -> Value {
    let (annotations, spec) = from_v2(template);
    let labels = labels_of(template);
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
