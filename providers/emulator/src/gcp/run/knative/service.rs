//! A service in its Knative shape.
use serde_json::{Map, Value, json};

use super::{
    annotations::{Annotations, SERVICE, labels, render, render_authorization},
    condition, container,
    metadata::{Kind, SERVING, metadata, resource, short},
    template,
};
use crate::gcp::{run::names::Key, schema::Documents, status::Status};

pub(super) const KIND: Kind = Kind { api: SERVING, name: "Service", plural: "services" };
const LATEST: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";
const REVISION: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";
/// Where the last operation's id is kept in the source, which v2 does not tell.
pub(super) const OPERATION: &str = "operation";
/// What a v2 service has and v1 no word for: a change by v1 leaves it as it is.
const UNSPOKEN: [&str; 3] = ["functionalType", "multiRegionSettings.multiRegionId", "sshEnabled"];

/// A v1 service in v2's shape. `stored` is the v2 service that it is to replace.
pub(super) fn to_v2(documents: &Documents, given: &Value, stored: &Value) -> Result<Map<String, Value>, Status> {
    for (field, expected) in [("apiVersion", KIND.api), ("kind", KIND.name)] {
        if given[field] != expected {
            return Err(Status::invalid(format!("{field}: must be '{expected}'.")));
        }
    }
    let mut annotations = Annotations::of(&given["metadata"]);
    let mut service = Map::new();
    annotations.fields(SERVICE, stored, &mut service)?;
    annotations.authorization(&mut service);
    service.insert(
        "template".to_owned(),
        Value::Object(template::to_v2(documents, &given["spec"]["template"], &stored["template"])?),
    );
    if let Some(traffic) = given["spec"]["traffic"].as_array() {
        let targets: Vec<_> = traffic.iter().enumerate().map(target_to_v2).collect::<Result<_, _>>()?;
        service.insert("traffic".to_owned(), json!(targets));
    }
    template::named(&mut service, "labels", labels(&given["metadata"]));
    template::named(&mut service, "annotations", annotations.rest(KIND.name)?);
    template::keep(&UNSPOKEN, stored, &mut service);
    Ok(service)
}

/// <https://cloud.google.com/run/docs/reference/rest/v1/TrafficTarget>
fn target_to_v2((index, given): (usize, &Value)) -> Result<Value, Status> {
    let refuse = |text: &str| Err(Status::invalid(format!("spec.traffic[{index}].{text}")));
    if given.get("configurationName").is_some() {
        return refuse("configuration_name: not supported by Cloud Run.");
    }
    let mut target = container::only(given, &["percent", "tag"]);
    match (given["revisionName"].as_str(), given["latestRevision"].as_bool()) {
        (Some(_), Some(true)) => return refuse("latest_revision: must be false when revision_name is set."),
        (Some(revision), _) => {
            target["type"] = json!(REVISION);
            target["revision"] = json!(revision);
        }
        (None, Some(false)) => return refuse("revision_name: must be set when latest_revision is false."),
        (None, _) => target["type"] = json!(LATEST),
    }
    Ok(target)
}

/// `source` is the service as v2 has it.
pub(super) fn from_v2(key: &Key, source: &Value) -> Value {
    let mut annotations = source["annotations"].as_object().cloned().unwrap_or_default();
    render(SERVICE, source, &mut annotations);
    render_authorization(source, &mut annotations);
    let ingress = annotations.get("run.googleapis.com/ingress").cloned();
    if let Some(ingress) = ingress {
        annotations.insert("run.googleapis.com/ingress-status".to_owned(), ingress);
    }
    if let Some(operation) = source.get(OPERATION) {
        annotations.insert("run.googleapis.com/operation-id".to_owned(), operation.clone());
    }
    if let Some(urls) = source.get("urls") {
        annotations.insert("run.googleapis.com/urls".to_owned(), json!(urls.to_string()));
    }
    let labels = source["labels"].as_object().cloned().unwrap_or_default();
    let metadata = metadata(&KIND, source, &key.service, &key.project_number(), &key.location, annotations, labels);
    let spec = json!({ "template": template::render_template(&source["template"]), "traffic": traffic(source) });
    resource(&KIND, metadata, spec, status(source))
}

fn traffic(source: &Value) -> Vec<Value> {
    let targets = source["traffic"].as_array().into_iter().flatten();
    targets
        .map(|target| {
            let mut given = container::only(target, &["percent", "tag"]);
            match target.get("revision") {
                Some(revision) => given["revisionName"] = revision.clone(),
                None => given["latestRevision"] = json!(true),
            }
            given
        })
        .collect()
}

/// What serves; always by its revision's name.
pub(super) fn traffic_status(source: &Value) -> Vec<Value> {
    let targets = source["trafficStatuses"].as_array().into_iter().flatten();
    targets
        .map(|target| {
            let mut status = container::only(target, &["percent", "tag"]);
            match target.get("revision") {
                Some(revision) => status["revisionName"] = revision.clone(),
                None => {
                    status["latestRevision"] = json!(true);
                    status["revisionName"] = json!(short(&source["latestReadyRevision"]));
                }
            }
            if let Some(url) = target.get("uri") {
                status["url"] = url.clone();
            }
            status
        })
        .collect()
}

fn status(source: &Value) -> Value {
    let mut conditions = vec![condition::from_v2(&source["terminalCondition"])];
    conditions.extend(source["conditions"].as_array().into_iter().flatten().map(condition::from_v2));
    let mut status = json!({ "conditions": conditions, "observedGeneration": generation(source) });
    revisions(source, &mut status);
    let traffic = traffic_status(source);
    if !traffic.is_empty() {
        status["traffic"] = json!(traffic);
    }
    address(source, &mut status);
    status
}

/// The names of the latest revisions.
pub(super) fn revisions(source: &Value, status: &mut Value) {
    for (field, name) in
        [("latestCreatedRevision", "latestCreatedRevisionName"), ("latestReadyRevision", "latestReadyRevisionName")]
    {
        if source.get(field).is_some() {
            status[name] = json!(short(&source[field]));
        }
    }
}

/// Where it answers.
pub(super) fn address(source: &Value, status: &mut Value) {
    if let Some(url) = source.get("uri") {
        status["url"] = url.clone();
        status["address"] = json!({ "url": url });
    }
}

/// v1's conditions are those of the generation that is wanted.
pub(super) fn generation(source: &Value) -> i32 {
    source["generation"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}
