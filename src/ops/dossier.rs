//! Why it failed: the evidence is gathered, the rules are asked, and the last lines are shown.
use std::time::Duration;

use carrack_core::{
    Error, ErrorKind,
    cause::{Cause, Code},
    event::{Ctx, Event},
    evidence::Evidence,
    observed::{ObservedService, Readiness},
    provider::Provider,
    spec::{RevisionId, ServiceName},
};
use tokio::time::Instant;

use crate::image::{Ways, exposed_ports};

/// How many lines of a failed container are shown.
pub(super) const LAST_LINES: usize = 10;

/// How long the evidence is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long somebody waits who only looks.
const GLANCE: Duration = Duration::from_secs(3);

/// The error of a deploy with its cause, and with the last lines of the revision that it names.
pub(super) async fn explained(
    cx: &Ctx,
    provider: &dyn Provider,
    ways: &dyn Ways,
    name: &ServiceName,
    error: Error,
) -> Error {
    let failed = error
        .resource()
        .filter(|resource| resource.kind == "revision")
        .map(|resource| RevisionId(resource.name.clone()));
    let cx = &patient(cx);
    let (error, evidence) = with_last_lines(cx, provider, name, failed.as_ref(), error).await;
    let Some(mut evidence) = evidence else { return error };
    let mut cause = evidence.cause();
    if cause.as_ref().is_some_and(|cause| cause.code == Code::NotListening) {
        evidence.exposed = exposed(cx, ways, &evidence).await;
        cause = evidence.cause();
    }
    match cause {
        Some(cause) => error.with_cause(cause),
        None => error,
    }
}

/// The error of a revision that became ready and fails all the same. Its instances come and go, so that only what is
/// no part of that is a cause.
pub(super) async fn explained_later(
    cx: &Ctx,
    provider: &dyn Provider,
    name: &ServiceName,
    revision: Option<&RevisionId>,
    error: Error,
) -> Error {
    let (error, evidence) = with_last_lines(&patient(cx), provider, name, revision, error).await;
    match evidence.and_then(|evidence| evidence.cause()).filter(|cause| cause.code == Code::OutOfMemory) {
        Some(cause) => error.with_cause(cause),
        None => error,
    }
}

/// Why the newest revision of a live service failed, if it did; what is not known at once is not waited for.
pub async fn cause_of(cx: &Ctx, provider: &dyn Provider, name: &ServiceName, live: &ObservedService) -> Option<Cause> {
    let Readiness::Failed(why) = &live.readiness else { return None };
    let cx = Ctx { deadline: Some(Instant::now() + GLANCE), ..cx.clone() };
    let latest = live.latest.as_ref().filter(|latest| Some(*latest) != live.latest_ready.as_ref())?;
    provider.evidence(&cx, name, Some(latest), why).await.ok()?.cause()
}

/// Evidence is gathered also when the time for the deploy is up.
fn patient(cx: &Ctx) -> Ctx {
    Ctx { deadline: Some(Instant::now() + PATIENCE), ..cx.clone() }
}

async fn with_last_lines(
    cx: &Ctx,
    provider: &dyn Provider,
    name: &ServiceName,
    revision: Option<&RevisionId>,
    mut error: Error,
) -> (Error, Option<Evidence>) {
    if error.kind() == ErrorKind::Cancelled {
        return (error, None);
    }
    match provider.evidence(cx, name, revision, error.message()).await {
        Ok(evidence) => {
            for line in evidence.last_lines(LAST_LINES) {
                error = error.detail(line);
            }
            (error, Some(evidence))
        }
        Err(cause) => {
            cx.events.emit(Event::Warning { message: format!("the cause cannot be looked for: {cause}") });
            (error, None)
        }
    }
}

/// What the image says of its ports; nothing when that cannot be read.
async fn exposed(cx: &Ctx, ways: &dyn Ways, evidence: &Evidence) -> Vec<u16> {
    let Some(image) = &evidence.image else { return Vec::new() };
    let read = async {
        // It is asked where the cloud looks for it.
        let way = ways.push(cx, image).await?;
        exposed_ports(cx, &way, image).await
    };
    read.await.unwrap_or_else(|error| {
        tracing::debug!(%error, "the image's configuration cannot be read");
        Vec::new()
    })
}
