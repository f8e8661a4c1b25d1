//! A task in its Knative shape.
use serde_json::{Map, Value};

use super::{
    execution::status,
    job::task_spec,
    metadata::{Kind, RUN, metadata, resource, short},
};
use crate::gcp::run::jobs::names::JobKey;

pub(super) const KIND: Kind = Kind { api: RUN, name: "Task", plural: "tasks" };
/// The same in both.
const STATUS: [&str; 6] = ["index", "retried", "startTime", "completionTime", "lastAttemptResult", "logUri"];

/// `source` is the task as v2 has it.
pub(super) fn from_v2(key: &JobKey, source: &Value) -> Value {
    let mut annotations = Map::new();
    let spec = task_spec(source, &mut annotations);
    let labels = source["labels"].as_object().cloned().unwrap_or_default();
    let name = short(&source["name"]);
    let metadata = metadata(&KIND, source, name, &key.project_number(), &key.location, annotations, labels);
    resource(&KIND, metadata, spec, status(source, &STATUS))
}
