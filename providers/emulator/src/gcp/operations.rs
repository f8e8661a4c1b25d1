//! Long-running operations: they pend until somebody finishes them, and can be waited for.
//!
//! <https://google.aip.dev/151>
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::status::{Code, Status};

/// Finished operations beyond this many are forgotten, the oldest first.
const KEPT: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Operations(Mutex<Store>);

#[derive(Debug, Default)]
struct Store {
    count: u64,
    operations: BTreeMap<String, Operation>,
}

#[derive(Debug)]
struct Operation {
    order: u64,
    state: watch::Sender<Value>,
}

impl Operations {
    /// Starts one below `projects/P/locations/L`; answers it as it is now.
    pub(crate) fn begin(&self, parent: &str, metadata: Value) -> Value {
        let name = format!("{parent}/operations/{}", Uuid::new_v4());
        let operation = json!({ "name": name, "metadata": metadata });
        let mut store = self.store();
        store.count += 1;
        let order = store.count;
        let (state, _) = watch::channel(operation.clone());
        store.operations.insert(name, Operation { order, state });
        store.forget_old();
        operation
    }

    /// An operation that is never stored, for what is only validated.
    pub(crate) fn unstored(parent: &str, metadata: Value, response: Value) -> Value {
        json!({
            "name": format!("{parent}/operations/{}", Uuid::new_v4()),
            "metadata": metadata,
            "done": true,
            "response": response,
        })
    }

    /// One that ends with an error as soon as somebody looks.
    pub(crate) fn failed(&self, parent: &str, metadata: Value, status: &Status) -> Value {
        let operation = self.begin(parent, metadata.clone());
        self.finish(operation["name"].as_str().unwrap_or_default(), metadata, Err(status.clone()));
        operation
    }

    /// Does nothing for one that was deleted meanwhile, or is finished already.
    pub(crate) fn finish(&self, name: &str, metadata: Value, result: Result<Value, Status>) {
        let store = self.store();
        let Some(operation) = store.operations.get(name) else {
            return;
        };
        operation.state.send_if_modified(|state| {
            if is_done(state) {
                return false;
            }
            let (key, value) = match result {
                Ok(response) => ("response", response),
                Err(status) => ("error", status.rpc()),
            };
            *state = json!({ "name": name, "metadata": metadata, "done": true, key: value });
            true
        });
    }

    pub(crate) fn get(&self, name: &str) -> Result<Value, Status> {
        let store = self.store();
        let operation = store.operations.get(name).ok_or_else(|| missing(name))?;
        Ok(operation.state.borrow().clone())
    }

    /// The newest first.
    pub(crate) fn list(&self, parent: &str) -> Vec<Value> {
        let prefix = format!("{parent}/operations/");
        let store = self.store();
        let mut found: Vec<_> = store
            .operations
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .map(|(_, operation)| (operation.order, operation.state.borrow().clone()))
            .collect();
        found.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
        found.into_iter().map(|(_, operation)| operation).collect()
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), Status> {
        self.store().operations.remove(name).map(|_| ()).ok_or_else(|| missing(name))
    }

    /// The operation when it is done, or as it is after `timeout`.
    pub(crate) async fn wait(&self, name: &str, timeout: Duration) -> Result<Value, Status> {
        let mut state = {
            let store = self.store();
            let operation = store.operations.get(name).ok_or_else(|| missing(name))?;
            operation.state.subscribe()
        };
        // Both ends of the wait, time and a deleted operation, answer what is known.
        let _ = tokio::time::timeout(timeout, state.wait_for(is_done)).await;
        let value = state.borrow().clone();
        Ok(value)
    }

    pub(crate) fn clear(&self) {
        self.store().operations.clear();
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn forget_old(&mut self) {
        while self.operations.len() > KEPT {
            let oldest = self
                .operations
                .iter()
                .filter(|(_, operation)| is_done(&operation.state.borrow()))
                .min_by_key(|(_, operation)| operation.order)
                .map(|(name, _)| name.clone());
            match oldest {
                Some(name) => self.operations.remove(&name),
                None => return,
            };
        }
    }
}

fn is_done(operation: &Value) -> bool {
    operation["done"] == true
}

fn missing(name: &str) -> Status {
    let id = name.rsplit('/').next().unwrap_or(name);
    Status::new(Code::NotFound, format!("Operation '{id}' was not found."))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn name(operation: &Value) -> String {
        operation["name"].as_str().expect("a name").to_owned()
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_operation() {
        let operations = Arc::new(Operations::default());
        let begun = operations.begin("projects/p/locations/l", json!({ "a": 1 }));
        let pending = operations.wait(&name(&begun), Duration::ZERO).await.expect("known");
        assert_eq!(pending.get("done"), None);
        let waiter = {
            let (operations, name) = (operations.clone(), name(&begun));
            tokio::spawn(async move { operations.wait(&name, Duration::from_secs(60)).await })
        };
        operations.finish(&name(&begun), json!({}), Err(Status::invalid("no")));
        operations.finish(&name(&begun), json!({}), Ok(json!({})));
        let done = waiter.await.expect("joined").expect("known");
        assert_eq!(done["done"], true);
        assert_eq!(done["error"], json!({ "code": 3, "message": "no" }));
        assert_eq!(operations.list("projects/p/locations/l").len(), 1);
        assert!(operations.list("projects/p/locations/other").is_empty());
        operations.delete(&name(&begun)).expect("known");
        assert!(operations.get(&name(&begun)).is_err());
    }
}
