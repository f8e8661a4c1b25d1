//! A change by somebody else, at the worst moment: the next call's etag is stale.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    jobs::{Jobs, names::JobKey},
    names::Key,
    store::Store,
};
use crate::gcp::project::Projects;

/// Who it was.
const SOMEBODY_ELSE: &str = "somebody-else@example.com";

/// `parameters` = project, location, service. Another version of the service, or of its policy, is all that changes.
pub(crate) fn interfere(store: &Store, projects: &Projects, parameters: &[String], policy: bool) {
    let [project, location, service, ..] = parameters else {
        return;
    };
    let key = Key { project: projects.resolve(project), location: location.clone(), service: service.clone() };
    let Ok(service) = store.find(&key) else {
        return;
    };
    let mut state = service.state();
    if policy {
        state.policy["etag"] = another_etag();
    } else {
        state.touch(SOMEBODY_ELSE);
    }
}

/// The same of a job.
pub(crate) fn interfere_with_job(store: &Jobs, projects: &Projects, parameters: &[String], policy: bool) {
    let [project, location, job, ..] = parameters else {
        return;
    };
    let key = JobKey { project: projects.resolve(project), location: location.clone(), job: job.clone() };
    let Ok(job) = store.find(&key) else {
        return;
    };
    let mut state = job.state();
    if policy {
        state.policy["etag"] = another_etag();
    } else {
        state.touch(SOMEBODY_ELSE);
    }
}

fn another_etag() -> Value {
    json!(STANDARD.encode(fastrand::u64(..).to_be_bytes()))
}
