//! Why it failed: the evidence is gathered, the rules are asked, and the last lines are shown.
use std::time::Duration;

use carrack_core::{
    Error, ErrorKind,
    event::{Ctx, Event},
    provider::Provider,
    spec::{RevisionId, ServiceName},
};
use tokio::time::Instant;

/// How many lines of a failed container are shown.
const LAST_LINES: usize = 10;

/// How long the evidence is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The error with its cause, and with the container's last lines. `revision` is the one that is meant when the error
/// names none.
pub(super) async fn explained(
    cx: &Ctx,
    provider: &dyn Provider,
    name: &ServiceName,
    revision: Option<&RevisionId>,
    mut error: Error,
) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        return error;
    }
    let named = error
        .resource()
        .filter(|resource| resource.kind == "revision")
        .map(|resource| RevisionId(resource.name.clone()));
    let revision = named.as_ref().or(revision);
    // Also when the time for the deploy is up.
    let deadline = Some(Instant::now() + PATIENCE);
    let cx = &Ctx { deadline, ..cx.clone() };
    match provider.evidence(cx, name, revision, error.message()).await {
        Ok(evidence) => {
            for line in evidence.last_lines(LAST_LINES) {
                error = error.detail(line);
            }
            match evidence.cause() {
                Some(cause) => error.with_cause(cause),
                None => error,
            }
        }
        Err(cause) => {
            cx.events.emit(Event::Warning { message: format!("the cause cannot be looked for: {cause}") });
            error
        }
    }
}
