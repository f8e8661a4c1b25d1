//! A change of what a service should be.
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    bring_up,
    names::{Key, new_revision},
    revision::{Revision, unnamed},
    rules,
    service::{Pending, Service, State, typed},
    settle, template,
};
use crate::gcp::status::{Code, Status};

/// Not the user's to set: the name is in the path, the version is a condition.
const NOT_STORED: [&str; 2] = ["name", "etag"];

/// A change that passed all checks.
pub(super) struct Change {
    pub(super) spec: Map<String, Value>,
    pub(super) force: bool,
    pub(super) by: String,
    /// How its operation ends, when it is to fail.
    pub(super) fail: Option<Status>,
}

/// Fills in the defaults, then checks. `request` is the request's name in refusals.
pub(super) fn prepare(request: &str, key: &Key, mut spec: Map<String, Value>) -> Result<Map<String, Value>, Status> {
    for field in NOT_STORED {
        spec.remove(field);
    }
    template::fill(&mut spec, &key.project_number());
    rules::check(request, key, &spec)?;
    Ok(spec)
}

/// Makes it so and answers the operation; what takes time goes on beside it.
///
/// The caller holds the state since it looked at it: of two changes at once, the later one sees the earlier one.
pub(super) fn apply(service: &Arc<Service>, state: &mut State, change: Change) -> Result<Value, Status> {
    if state.deleted.is_some() {
        return Err(service.key.not_found());
    }
    let spec = Value::Object(change.spec);
    let cut = state.cut(&service.key, &spec, change.force)?;
    if let (Cut::Nothing | Cut::Again(_), Some(status)) = (&cut, &change.fail) {
        // No revision to fail with it: nothing changes.
        return Ok(service.parts.operations.failed(&service.key.parent(), typed(state.render(&service.key)), status));
    }
    let changed = cut != Cut::Nothing || state.spec != spec;
    let before = std::mem::replace(&mut state.spec, spec);
    if let Err(error) = service.open_ports(state) {
        state.spec = before;
        return Err(Status::new(Code::Internal, format!("no port for the service: {error}")));
    }
    if changed {
        state.generation += 1;
        state.touch(&change.by);
        state.reconcile(&cut);
    }
    let revision = match cut {
        Cut::Nothing => None,
        Cut::New(name) => {
            let generation = state.generation;
            let closed = service.closed.child_token();
            let revision = Revision::new(name.clone(), generation, &state.spec, &change.by, closed);
            bring_up::spawn(service, &revision, change.fail);
            state.revisions.push(revision);
            Some(name)
        }
        Cut::Again(name) => {
            state.take_up(&name);
            Some(name)
        }
    };
    let operation = service.parts.operations.begin(&service.key.parent(), typed(state.render(&service.key)));
    let name = operation["name"].as_str().unwrap_or_default().to_owned();
    state.operation = Some(name.clone());
    state.pending.push(Pending { operation: name, revision });
    // The operation pends until somebody looks at the service again.
    let settled = service.clone();
    service.tasks.spawn(async move { settle::settle(&settled) });
    Ok(operation)
}

/// What would come of it.
pub(super) fn preview(service: &Service, state: &State, change: Change) -> Result<Value, Status> {
    let spec = Value::Object(change.spec);
    state.cut(&service.key, &spec, change.force)?;
    let mut value = state.render(&service.key);
    if let (Some(value), Some(spec)) = (value.as_object_mut(), spec.as_object()) {
        for (name, field) in spec {
            value.insert(name.clone(), field.clone());
        }
    }
    Ok(value)
}

/// What a new spec makes the latest revision.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    /// The one that is.
    Nothing,
    /// One of this name.
    New(String),
    /// An earlier one, which the template names and is the same as: a roll-back. As Knative has it:
    /// <https://github.com/knative/serving/blob/main/pkg/reconciler/configuration/configuration.go>
    Again(String),
}

impl State {
    fn cut(&self, key: &Key, spec: &Value, force: bool) -> Result<Cut, Status> {
        let template = template::shown(unnamed(&spec["template"]));
        let same = |revision: &Revision| template::shown(revision.template.clone()) == template;
        let differs = self.latest_created().is_none_or(|latest| !same(latest));
        let Some(name) = spec["template"]["revision"].as_str() else {
            let name = || new_revision(&key.service, self.cuts + 1);
            return Ok(if differs || force { Cut::New(name()) } else { Cut::Nothing });
        };
        match self.revision(name) {
            None => Ok(Cut::New(name.to_owned())),
            Some(revision) if !force && same(revision) => {
                let latest = self.latest_created().is_some_and(|latest| latest.name == name);
                Ok(if latest { Cut::Nothing } else { Cut::Again(name.to_owned()) })
            }
            Some(_) => Err(Status::new(
                Code::AlreadyExists,
                format!("Revision named '{name}' with different configuration already exists."),
            )),
        }
    }

    /// From now on it is the latest one.
    fn take_up(&mut self, name: &str) {
        let generation = self.generation;
        if let Some(index) = self.revisions.iter().position(|revision| revision.name == name) {
            let mut revision = self.revisions.remove(index);
            revision.wanted_by = generation;
            self.revisions.push(revision);
        }
    }

    fn reconcile(&mut self, cut: &Cut) {
        use super::condition::Condition::Reconciling;
        self.reconciling = true;
        self.ready.set(Reconciling);
        self.routes_ready.set(Reconciling);
        if *cut != Cut::Nothing {
            self.configurations_ready.set(Reconciling);
        }
        if matches!(cut, Cut::New(_)) {
            self.cuts += 1;
        }
    }
}
