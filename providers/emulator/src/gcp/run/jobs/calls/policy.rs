//! Who may do what with a job: getIamPolicy, setIamPolicy.
use serde_json::Value;

use super::super::store::Jobs;
use crate::gcp::{
    call::{Call, unimplemented},
    policy,
    status::Status,
};

pub(in crate::gcp::run) fn handle(store: &Jobs, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    let key = call.job();
    match verb {
        "getIamPolicy" => Ok(store.find(&key)?.state().policy.clone()),
        "setIamPolicy" => {
            let job = store.find(&key)?;
            let mut state = job.state();
            let policy = policy::replace(&state.policy, call.body.get("policy").unwrap_or(&Value::Null))?;
            state.policy.clone_from(&policy);
            Ok(policy)
        }
        _ => Err(unimplemented()),
    }
}
