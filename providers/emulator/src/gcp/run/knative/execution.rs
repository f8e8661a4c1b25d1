//! An execution in its Knative shape.
use serde_json::{Value, json};

use super::{
    annotations::{EXECUTION, render},
    condition, container,
    job::execution_spec,
    metadata::{Kind, RUN, metadata, resource, short},
    service::generation,
};
use crate::gcp::run::jobs::names::JobKey;

pub(super) const KIND: Kind = Kind { api: RUN, name: "Execution", plural: "executions" };
/// The same in both.
const STATUS: [&str; 8] = [
    "runningCount",
    "succeededCount",
    "failedCount",
    "cancelledCount",
    "retriedCount",
    "startTime",
    "completionTime",
    "logUri",
];

/// `source` is the execution as v2 has it.
pub(super) fn from_v2(key: &JobKey, source: &Value) -> Value {
    let mut annotations = source["annotations"].as_object().cloned().unwrap_or_default();
    render(EXECUTION, source, &mut annotations);
    let spec = execution_spec(source, &mut annotations);
    let labels = source["labels"].as_object().cloned().unwrap_or_default();
    let owner = json!({
        "apiVersion": RUN,
        "kind": "Job",
        "name": key.job,
        "uid": labels.get("run.googleapis.com/jobUid"),
        "controller": true,
        "blockOwnerDeletion": true,
    });
    let name = short(&source["name"]);
    let mut metadata = metadata(&KIND, source, name, &key.project_number(), &key.location, annotations, labels);
    metadata["ownerReferences"] = json!([owner]);
    resource(&KIND, metadata, spec, status(source, &STATUS))
}

pub(super) fn status(source: &Value, fields: &[&str]) -> Value {
    let conditions = source["conditions"].as_array().into_iter().flatten().map(condition::from_v2);
    let mut status = container::only(source, fields);
    status["conditions"] = json!(conditions.collect::<Vec<_>>());
    status["observedGeneration"] = json!(generation(source));
    status
}
