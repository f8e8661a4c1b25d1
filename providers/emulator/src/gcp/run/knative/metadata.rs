//! What every v1 resource has in common: its metadata, and the answer to a list.
use serde_json::{Map, Value, json};

use super::selector::Selector;
use crate::gcp::{call::Call, status::Status};

pub(super) const SERVING: &str = "serving.knative.dev/v1";
/// Of what Knative does not have: jobs.
pub(super) const RUN: &str = "run.googleapis.com/v1";

/// Of which resource it is.
pub(super) struct Kind {
    pub(super) api: &'static str,
    pub(super) name: &'static str,
    pub(super) plural: &'static str,
}

impl Kind {
    /// `serving.knative.dev`.
    fn group(&self) -> &'static str {
        self.api.split('/').next().unwrap_or_default()
    }
}

/// The metadata of a resource that v2 renders as `source`. `name` is the short one.
pub(super) fn metadata(
    kind: &Kind,
    source: &Value,
    name: &str,
    namespace: &str,
    location: &str,
    mut annotations: Map<String, Value>,
    mut labels: Map<String, Value>,
) -> Value {
    labels.insert("cloud.googleapis.com/location".to_owned(), json!(location));
    for field in ["creator", "lastModifier"] {
        if let Some(value) = source.get(field) {
            annotations.insert(format!("{}/{field}", kind.group()), value.clone());
        }
    }
    let mut metadata = json!({
        "name": name,
        "namespace": namespace,
        "selfLink": format!("/apis/{}/namespaces/{namespace}/{}/{name}", kind.api, kind.plural),
        "uid": source["uid"],
        "resourceVersion": version(source),
        "generation": source["generation"].as_str().and_then(|text| text.parse::<i32>().ok()).unwrap_or(1),
        "creationTimestamp": source["createTime"],
        "labels": labels,
    });
    if let Some(deleted) = source.get("deleteTime") {
        metadata["deletionTimestamp"] = deleted.clone();
    }
    if !annotations.is_empty() {
        metadata["annotations"] = Value::Object(annotations);
    }
    metadata
}

/// v2's etag, without its quotes.
fn version(source: &Value) -> &str {
    source["etag"].as_str().unwrap_or_default().trim_matches('"')
}

pub(super) fn resource(kind: &Kind, metadata: Value, spec: Value, status: Value) -> Value {
    json!({ "apiVersion": kind.api, "kind": kind.name, "metadata": metadata, "spec": spec, "status": status })
}

/// The last part of a resource's name.
pub(super) fn short(value: &Value) -> &str {
    value.as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default()
}

/// `limit` and `continue`, the labels that are asked for. A token is the number of the first item.
pub(super) fn list(call: &Call<'_>, kind: &Kind, items: Vec<Value>) -> Result<Value, Status> {
    let text = |name: &str| call.query.get(name).map(String::as_str).unwrap_or_default();
    let selector = Selector::parse(text("labelSelector"))?;
    let items: Vec<_> = items.into_iter().filter(|item| selector.takes(&item["metadata"]["labels"])).collect();
    let start = match text("continue") {
        "" => 0,
        token => token
            .parse::<usize>()
            .ok()
            .filter(|start| *start <= items.len())
            .ok_or_else(|| Status::invalid("The provided continue token is invalid."))?,
    };
    let limit = text("limit").parse::<usize>().ok().filter(|limit| *limit > 0).unwrap_or(items.len());
    let end = start.saturating_add(limit).min(items.len());
    let mut metadata = json!({});
    if end < items.len() {
        metadata["continue"] = json!(end.to_string());
    }
    let mut answer = json!({ "apiVersion": kind.api, "kind": format!("{}List", kind.name), "metadata": metadata });
    if start < end {
        answer["items"] = json!(items[start..end]);
    }
    Ok(answer)
}

/// `dryRun=all`: nothing is kept.
pub(super) fn dry(call: &Call<'_>) -> Result<bool, Status> {
    match call.query.get("dryRun").map(String::as_str) {
        None | Some("") => Ok(false),
        Some("all") => Ok(true),
        Some(other) => Err(Status::invalid(format!("Invalid dryRun value '{other}'; supported values: all."))),
    }
}

/// The answer to a delete that has begun.
pub(super) fn deleting(kind: &Kind, name: &str, uid: &Value) -> Value {
    json!({ "status": "Success", "details": { "name": name, "group": kind.group(), "kind": kind.plural, "uid": uid } })
}
