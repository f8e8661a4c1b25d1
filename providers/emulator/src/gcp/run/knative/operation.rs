//! What gcloud waits for after a change: its id is an annotation of the service.
use serde_json::{Value, json};

use super::{metadata::short, service, source};
use crate::gcp::{
    call::Call,
    run::{names::Key, operations, store::Store},
    status::Status,
};

const SERVICE: &str = "type.googleapis.com/google.cloud.run.v2.Service";

/// As v2's, with services in their Knative shape.
pub(super) async fn handle(store: &Store, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    let mut answer = operations::handle(store, call, verb).await?;
    match answer.get_mut("operations") {
        Some(Value::Array(operations)) => {
            operations.iter_mut().for_each(|operation| translate(store, call, operation));
        }
        _ => translate(store, call, &mut answer),
    }
    Ok(answer)
}

/// A deploy that failed is done all the same: the service's conditions say why, in words that no operation has.
fn translate(store: &Store, call: &Call<'_>, operation: &mut Value) {
    if operation["metadata"]["@type"] != SERVICE {
        return;
    }
    let name = short(&operation["metadata"]["name"]).to_owned();
    let key = Key { service: name, ..call.key() };
    let now = match store.find(&key) {
        Ok(service) => source(&service),
        // Of one that is gone, what was known last.
        Err(_) => operation["metadata"].take(),
    };
    let mut shown = service::from_v2(&key, &now);
    shown["@type"] = json!("type.googleapis.com/google.cloud.run.v1.Service");
    operation["metadata"] = shown.clone();
    let failed = now["terminalCondition"]["state"] == "CONDITION_FAILED";
    if operation.get("response").is_some() || (operation.get("error").is_some() && failed) {
        operation["response"] = shown;
        if let Some(fields) = operation.as_object_mut() {
            fields.remove("error");
        }
    }
}
