//! A revision in its Knative shape, and the configuration and the route that a service stands for.
use serde_json::{Value, json};

use super::{
    condition,
    metadata::{Kind, SERVING, metadata, resource, short},
    service::{address, generation, revisions, traffic_status},
    template,
};
use crate::gcp::run::names::Key;

pub(super) const KIND: Kind = Kind { api: SERVING, name: "Revision", plural: "revisions" };
pub(super) const CONFIGURATION: Kind = Kind { api: SERVING, name: "Configuration", plural: "configurations" };
pub(super) const ROUTE: Kind = Kind { api: SERVING, name: "Route", plural: "routes" };

/// A revision and what v1 tells of its place.
pub(super) struct Placed<'a> {
    pub(super) key: &'a Key,
    /// As v2 has it.
    pub(super) source: &'a Value,
    pub(super) service_uid: &'a str,
    /// The service's generation that made it.
    pub(super) made_by: u64,
    /// Whether traffic or a tag leads to it.
    pub(super) routed: bool,
}

pub(super) fn from_v2(placed: &Placed<'_>) -> Value {
    let Placed { key, source, service_uid, made_by, routed } = placed;
    let (annotations, spec) = template::from_v2(source);
    let mut labels = template::labels_of(source);
    for (label, value) in [
        ("serving.knative.dev/configuration", key.service.clone()),
        ("serving.knative.dev/configurationGeneration", made_by.to_string()),
        ("serving.knative.dev/route", key.service.clone()),
        ("serving.knative.dev/service", key.service.clone()),
        ("serving.knative.dev/serviceUid", (*service_uid).to_owned()),
    ] {
        labels.insert(label.to_owned(), json!(value));
    }
    let name = short(&source["name"]);
    let mut metadata = metadata(&KIND, source, name, &key.project_number(), &key.location, annotations, labels);
    metadata["ownerReferences"] = json!([{
        "apiVersion": SERVING,
        "kind": CONFIGURATION.name,
        "name": key.service,
        "uid": service_uid,
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
    resource(&KIND, metadata, spec, status(source, *routed))
}

fn status(source: &Value, routed: bool) -> Value {
    let mut conditions: Vec<_> =
        source["conditions"].as_array().into_iter().flatten().map(condition::from_v2).collect();
    let ready = conditions.first().cloned().unwrap_or_default();
    let mut active = json!({
        "type": "Active",
        "status": if ready["status"] == "True" && !routed { json!("False") } else { ready["status"].clone() },
        "lastTransitionTime": ready["lastTransitionTime"],
    });
    if ready["status"] == "True" && !routed {
        active["reason"] = json!("Retired");
        active["message"] = json!("Revision retired.");
        active["severity"] = json!("Info");
    }
    conditions.push(active);
    let mut status = json!({ "conditions": conditions, "observedGeneration": 1, "logUrl": source["logUri"] });
    if let Some(statuses) = source["containerStatuses"].as_array() {
        status["imageDigest"] = statuses[0]["imageDigest"].clone();
        status["containerStatuses"] = json!(statuses);
    }
    status
}

/// What makes the revisions.
pub(super) fn configuration(key: &Key, source: &Value) -> Value {
    let labels = owned_by(key);
    let metadata = metadata(
        &CONFIGURATION,
        source,
        &key.service,
        &key.project_number(),
        &key.location,
        serde_json::Map::new(),
        labels,
    );
    let spec = json!({ "template": template::render_template(&source["template"]) });
    let mut ready = source["conditions"][1].clone();
    ready["type"] = json!("Ready");
    let mut status = json!({ "conditions": [condition::from_v2(&ready)], "observedGeneration": generation(source) });
    revisions(source, &mut status);
    resource(&CONFIGURATION, metadata, spec, status)
}

/// What leads requests to them.
pub(super) fn route(key: &Key, source: &Value) -> Value {
    let labels = owned_by(key);
    let metadata =
        metadata(&ROUTE, source, &key.service, &key.project_number(), &key.location, serde_json::Map::new(), labels);
    let spec = json!({ "traffic": super::service::from_v2(key, source)["spec"]["traffic"] });
    let mut ready = source["conditions"][0].clone();
    ready["type"] = json!("Ready");
    let mut status = json!({ "conditions": [condition::from_v2(&ready)], "observedGeneration": generation(source) });
    let traffic = traffic_status(source);
    if !traffic.is_empty() {
        status["traffic"] = json!(traffic);
    }
    address(source, &mut status);
    resource(&ROUTE, metadata, spec, status)
}

fn owned_by(key: &Key) -> serde_json::Map<String, Value> {
    [("serving.knative.dev/service".to_owned(), json!(key.service))].into_iter().collect()
}
