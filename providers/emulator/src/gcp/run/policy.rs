//! Who may do what with a service: getIamPolicy, setIamPolicy.
use serde_json::Value;

use super::store::Store;
use crate::gcp::{
    call::{Call, unimplemented},
    policy,
    status::Status,
};

pub(crate) fn handle(store: &Store, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    let key = call.key();
    match verb {
        "getIamPolicy" => Ok(store.find(&key)?.state().policy.clone()),
        "setIamPolicy" => {
            let service = store.find(&key)?;
            let mut state = service.state();
            let policy = policy::replace(&state.policy, call.body.get("policy").unwrap_or(&Value::Null))?;
            state.policy.clone_from(&policy);
            Ok(policy)
        }
        _ => Err(unimplemented()),
    }
}
