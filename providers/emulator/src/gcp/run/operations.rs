//! `operations`: get, list, delete, wait.
use std::time::Duration;

use serde_json::{Value, json};

use super::store::Store;
use crate::gcp::{
    call::{Call, page, unimplemented},
    status::Status,
    validate::duration_seconds,
};

/// The longest that one call waits.
const LONGEST: Duration = Duration::from_secs(300);
/// Without a timeout in the call.
const DEFAULT: Duration = Duration::from_secs(30);

pub(crate) async fn handle(store: &Store, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    let parent = call.parent();
    let name = format!("{parent}/operations/{}", call.parameter(2));
    let operations = &store.parts.operations;
    match verb {
        "get" => operations.get(&name),
        "list" => page(call, "operations", operations.list(&parent)),
        "delete" => {
            operations.delete(&name)?;
            Ok(json!({}))
        }
        "wait" => {
            let asked = call.body["timeout"].as_str().and_then(duration_seconds);
            let timeout = asked.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(DEFAULT);
            operations.wait(&name, timeout.min(LONGEST)).await
        }
        _ => Err(unimplemented()),
    }
}
