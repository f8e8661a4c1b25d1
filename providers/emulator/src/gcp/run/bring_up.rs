//! From a revision's template to an instance that listens.
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    condition::{Failure, Reason},
    group::{self, Plan},
    pull,
    revision::{Revision, State},
    service::Service,
    settle::settle,
    starter::Starter,
    template,
};
use crate::{
    gcp::status::{Code, Status},
    router::{
        Backend, Started, Why,
        backend::{GRACE, QUEUE, Settings},
    },
};

/// Runs beside everything else; no lock is held while it waits.
pub(super) fn spawn(service: &Arc<Service>, revision: &Revision, fail: Option<Status>) {
    let (name, template, cancelled) = (revision.name.clone(), revision.template.clone(), revision.cancelled.clone());
    let task = bring_up(service.clone(), name, template, cancelled, fail);
    service.tasks.spawn(task);
}

struct Up {
    backend: Arc<Backend>,
    started: Started,
}

async fn bring_up(
    service: Arc<Service>,
    name: String,
    template: Value,
    cancelled: CancellationToken,
    fail: Option<Status>,
) {
    let mut digests = Vec::new();
    let result = match fail {
        Some(Status { code, message, .. }) => Err(Failure { code, message, reason: Reason::Common("INTERNAL") }),
        None => first_instance(&service, &name, template, &cancelled, &mut digests).await,
    };
    let late = {
        let mut state = service.state();
        let deleted = state.deleted.is_some();
        let revision = state.revisions.iter_mut().find(|revision| revision.name == name);
        match (result, revision) {
            (Ok(up), Some(revision)) if !deleted => {
                revision.digests = digests;
                up.backend.adopt(up.started);
                revision.settle(State::Ready(up.backend));
                None
            }
            (Err(failure), Some(revision)) => {
                revision.digests = digests;
                revision.settle(State::Failed(failure));
                None
            }
            (Ok(up), _) => Some(up),
            (Err(_), None) => None,
        }
    };
    if let Some(up) = late {
        up.backend.adopt(up.started);
        up.backend.close(GRACE).await;
    }
    settle(&service);
}

async fn first_instance(
    service: &Service,
    name: &str,
    template: Value,
    cancelled: &CancellationToken,
    digests: &mut Vec<String>,
) -> Result<Up, Failure> {
    let (key, parts) = (&service.key, &service.parts);
    check(service, &template)?;
    let mut found = Vec::new();
    let pulled = pull::images(parts, &key.project, &template, &mut found).await;
    *digests = found.iter().map(|(digest, _)| digest.clone()).collect();
    pulled?;
    let runtime = parts.runtime.clone().map_err(|why| Failure {
        code: Code::FailedPrecondition,
        message: format!("The local cloud cannot run containers on this machine: {why}"),
        reason: Reason::Common("INTERNAL"),
    })?;
    let settings = Settings {
        http2: template::is_http2(&template),
        timeout: template::timeout(&template),
        concurrency: template::concurrency(&template),
        idle: parts.instance_idle,
        queue: QUEUE,
        affinity: template["sessionAffinity"] == true,
    };
    let bounds = template::bounds(&template);
    let starter = Arc::new(Starter {
        key: key.clone(),
        revision: name.to_owned(),
        plan: Plan {
            project: key.project.clone(),
            template,
            images: found.into_iter().map(|(_, image)| image).collect(),
            runtime,
            logs: parts.logs.clone(),
            secrets: parts.secrets.clone(),
            shares: parts.shares.clone(),
        },
    });
    let started = starter.bring_up(Why::Rollout, cancelled).await?;
    Ok(Up { backend: Backend::new(name.to_owned(), settings, bounds, starter), started })
}

/// What Cloud Run finds out before it starts anything, and what the local cloud does not do, which is refused and not
/// left out in silence.
fn check(service: &Service, template: &Value) -> Result<(), Failure> {
    if let Some(message) = group::unsupported(template) {
        return Err(Failure { code: Code::Unimplemented, message, reason: Reason::Common("UNKNOWN") });
    }
    group::check_secrets(&service.parts.secrets, &service.key.project, template).map_err(unreadable)
}

/// The service account cannot have a secret.
pub(super) fn unreadable(message: String) -> Failure {
    Failure { code: Code::Internal, message, reason: Reason::Common("SECRETS_ACCESS_CHECK_FAILED") }
}
