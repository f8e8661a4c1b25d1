//! The live service, once the cloud has finished what it was asked before.
use std::time::Duration;

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    observed::{Observed, Readiness},
    poll::{Poll, PollPolicy, poll_until},
    provider::Provider,
    spec::ServiceName,
};

/// How long somebody else's deploy is waited for.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Observes; while a deploy is under way, waits for its end: a plan made in the middle of one would be wrong.
pub async fn settled(cx: &Ctx, provider: &dyn Provider, name: &ServiceName) -> Result<Observed> {
    let observed = provider.observe(cx, name).await?;
    if !progressing(&observed) {
        return Ok(observed);
    }
    cx.events.emit(Event::Note { message: format!("waiting for a deploy of `{name}` that is under way") });
    poll_until(cx, PollPolicy::within(PATIENCE), || async {
        let observed = provider.observe(cx, name).await?;
        Ok(if progressing(&observed) { Poll::Pending } else { Poll::Ready(observed) })
    })
    .await
}

fn progressing(observed: &Observed) -> bool {
    observed.service.as_ref().is_some_and(|service| matches!(service.readiness, Readiness::Progressing(_)))
}

/// The error for a command that needs a service that is not there.
pub fn missing(provider: &dyn Provider, name: &ServiceName) -> Error {
    let place = provider.service_ref(name);
    Error::new(ErrorKind::NotFound, format!("service `{name}` does not exist in {}/{}", place.scope, place.region))
        .hint("run `carrack deploy`")
}
