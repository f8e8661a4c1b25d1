//! Where a service stands after each event: which routes serve, which operations are done.
//!
//! Level-triggered: it looks at the whole state, so events may come in any order.
use std::{collections::BTreeMap, sync::Arc};

use super::{
    condition::{Condition, Failure, Reason},
    revision::{self, Revision},
    service::{Service, State, Target, typed},
    template,
};
use crate::{
    gcp::status::{Code, Status},
    router::{Bounds, Routes, Share},
};

/// Of one service: <https://cloud.google.com/run/quotas>
const KEPT: usize = 1_000;

enum Verdict {
    Waiting,
    Settled,
    Failed { failure: Failure, condition: Condition, routing: bool },
}

pub(super) fn settle(service: &Arc<Service>) {
    let (finished, rendered, surplus) = {
        let mut state = service.state();
        if state.deleted.is_some() {
            return;
        }
        let finished = state.settle(&service.routes);
        state.close_tags();
        let surplus = state.take_surplus(KEPT);
        (finished, state.render(&service.key), surplus)
    };
    for revision in surplus {
        let closed = service.closed.clone();
        service.tasks.spawn(async move { revision.end(&closed).await });
    }
    for (operation, result) in finished {
        let metadata = typed(rendered.clone());
        service.parts.operations.finish(&operation, metadata.clone(), result.map(|()| metadata));
    }
}

impl State {
    fn settle(&mut self, routes: &Routes) -> Vec<(String, Result<(), Status>)> {
        let newest_ready = self.revisions.iter().rev().find(|revision| revision.backend().is_some());
        if let Some(revision) = newest_ready {
            self.latest_ready = Some(revision.name.clone());
        }
        let wanted = Target::all(&self.spec);
        let verdict = self.verdict(&wanted);
        // A revision that came up behind a later one serves until that one does, also when that one never will.
        if self.applied.is_empty() && matches!(self.resolve(&wanted), Verdict::Settled) {
            self.applied.clone_from(&wanted);
        }
        match &verdict {
            Verdict::Waiting => self.reconciling = true,
            Verdict::Settled => {
                self.applied = wanted;
                self.observed_generation = self.generation;
                self.reconciling = false;
                self.ready.set(Condition::Succeeded);
                self.routes_ready.set(Condition::Succeeded);
                if self.latest_created().is_some_and(|latest| latest.failure().is_none()) {
                    self.configurations_ready.set(Condition::Succeeded);
                }
            }
            Verdict::Failed { condition, routing, .. } => {
                self.reconciling = false;
                self.ready.set(condition.clone());
                if !routing {
                    self.configurations_ready.set(condition.clone());
                }
                if *routing || self.applied.is_empty() {
                    self.routes_ready.set(condition.clone());
                } else {
                    self.routes_ready.set(Condition::Succeeded);
                }
            }
        }
        self.route(routes);
        self.finished(&verdict)
    }

    fn verdict(&self, wanted: &[Target]) -> Verdict {
        let Some(latest) = self.latest_created() else {
            return Verdict::Waiting;
        };
        match &latest.state {
            revision::State::Pending => Verdict::Waiting,
            // A later change that leads all the traffic to revisions by their names goes on without it.
            revision::State::Failed(failure)
                if latest.wanted_by == self.generation || wanted.iter().any(|target| target.revision.is_none()) =>
            {
                not_ready(&latest.name, failure, false)
            }
            revision::State::Failed(_) | revision::State::Ready(_) => self.resolve(wanted),
        }
    }

    fn resolve(&self, wanted: &[Target]) -> Verdict {
        for target in wanted {
            let Some(name) = &target.revision else {
                if self.latest_ready.is_none() {
                    return match self.latest_created().and_then(|latest| Some((latest, latest.failure()?))) {
                        Some((latest, failure)) => not_ready(&latest.name, failure, false),
                        None => Verdict::Waiting,
                    };
                }
                continue;
            };
            match self.revision(name).map(|revision| &revision.state) {
                Some(revision::State::Ready(_)) => {}
                Some(revision::State::Pending) => return Verdict::Waiting,
                Some(revision::State::Failed(failure)) => return not_ready(name, failure, true),
                None => {
                    let message = format!("Revision '{name}' not found.");
                    let reason = Reason::Common("UNKNOWN");
                    return Verdict::Failed {
                        failure: Failure { code: Code::NotFound, message: message.clone(), reason },
                        condition: Condition::Failed { message, reason },
                        routing: true,
                    };
                }
            }
        }
        Verdict::Settled
    }

    /// The applied traffic at the router; what serves nothing is stopped.
    fn route(&self, routes: &Routes) {
        let mut main = Vec::new();
        let mut tags = BTreeMap::new();
        for target in &self.applied {
            let name = target.revision.as_deref().or(self.latest_ready.as_deref());
            let Some(backend) = name.and_then(|name| self.revision(name)?.backend()) else {
                continue;
            };
            if target.percent > 0 {
                main.push(Share { backend: backend.clone(), percent: target.percent });
            }
            if let Some(tag) = &target.tag {
                tags.insert(tag.clone(), backend.clone());
            }
        }
        self.scale();
        let used: Vec<_> = main.iter().map(|share| share.backend.clone()).chain(tags.values().cloned()).collect();
        routes.set(main, tags);
        for backend in self.revisions.iter().filter_map(|revision| revision.backend()) {
            if !used.iter().any(|other| Arc::ptr_eq(other, backend)) {
                backend.unrouted();
            }
        }
    }

    /// How many instances each revision has: what its template says, and its share of what the service says.
    /// <https://cloud.google.com/run/docs/configuring/min-instances>
    /// <https://cloud.google.com/run/docs/configuring/services/manual-scaling>
    fn scale(&self) {
        let scaling = &self.spec["scaling"];
        for revision in &self.revisions {
            let Some(backend) = revision.backend() else { continue };
            let of = |target: &&Target| {
                target.revision.as_deref().or(self.latest_ready.as_deref()) == Some(revision.name.as_str())
            };
            let percent: u32 = self.applied.iter().filter(of).map(|target| target.percent).sum();
            let share = |field: &str| Some((template::count(&scaling[field])? * percent as usize).div_ceil(100));
            let own = template::bounds(&revision.template);
            backend.set_bounds(match share("manualInstanceCount").filter(|_| scaling["scalingMode"] == "MANUAL") {
                Some(count) if percent > 0 => Bounds { min: count, max: count },
                Some(_) => Bounds { min: 0, ..own },
                None => {
                    let max = share("maxInstanceCount").filter(|max| *max > 0).map_or(own.max, |max| own.max.min(max));
                    Bounds { min: own.min.max(share("minInstanceCount").unwrap_or(0)).min(max), max }
                }
            });
        }
    }

    /// More than are kept: the oldest that serve nothing, and will not.
    fn take_surplus(&mut self, kept: usize) -> Vec<Revision> {
        let mut surplus = Vec::new();
        while self.revisions.len() > kept {
            let idle = self.revisions.iter().enumerate().filter(|(_, revision)| !self.needs(revision));
            let Some((oldest, _)) = idle.min_by_key(|(_, revision)| revision.created) else { break };
            surplus.push(self.revisions.remove(oldest));
        }
        surplus
    }

    fn finished(&mut self, verdict: &Verdict) -> Vec<(String, Result<(), Status>)> {
        let mut finished = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            let revision = pending.revision.as_deref().and_then(|name| self.revision(name));
            let own = revision.map(|revision| &revision.state);
            let result = match (own, verdict) {
                (Some(revision::State::Pending), _) | (None, Verdict::Waiting) => None,
                (Some(revision::State::Failed(failure)), _) => Some(Err(failure.status())),
                // Its revision came up, and a later one is on its way or failed.
                (Some(revision::State::Ready(_)), Verdict::Waiting | Verdict::Failed { routing: false, .. })
                | (_, Verdict::Settled) => Some(Ok(())),
                (_, Verdict::Failed { failure, .. }) => Some(Err(failure.status())),
            };
            match result {
                Some(result) => finished.push((pending.operation, result)),
                None => self.pending.push(pending),
            }
        }
        finished
    }
}

fn not_ready(revision: &str, failure: &Failure, routing: bool) -> Verdict {
    Verdict::Failed {
        failure: failure.clone(),
        condition: Condition::Failed {
            message: format!("Revision '{revision}' is not ready and cannot serve traffic. {}", failure.message),
            reason: failure.reason,
        },
        routing,
    }
}

/// Nothing serves any more.
pub(super) fn unroute(service: &Service) -> Vec<Arc<crate::router::Backend>> {
    service.routes.set(Vec::new(), BTreeMap::new());
    service.state().revisions.iter().filter_map(|revision| revision.backend().cloned()).collect()
}
