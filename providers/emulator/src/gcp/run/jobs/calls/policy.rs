//! Who may do what with a job: getIamPolicy, setIamPolicy, testIamPermissions.
use serde_json::Value;

use super::super::store::Jobs;
use crate::gcp::{
    call::{Call, unimplemented},
    policy,
    status::Status,
};

pub(in crate::gcp::run) fn handle(store: &Jobs, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    let key = call.job();
    let resource = key.to_string();
    match verb {
        "getIamPolicy" => {
            call.authorize("run.jobs.getIamPolicy", &resource)?;
            Ok(store.find(&key)?.state().policy.clone())
        }
        "setIamPolicy" => {
            call.authorize("run.jobs.setIamPolicy", &resource)?;
            let job = store.find(&key)?;
            let mut state = job.state();
            let policy = policy::replace(&state.policy, call.body.get("policy").unwrap_or(&Value::Null))?;
            state.policy.clone_from(&policy);
            Ok(policy)
        }
        "testIamPermissions" => Ok(policy::held(call)),
        _ => Err(unimplemented()),
    }
}
