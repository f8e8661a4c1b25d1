//! One step, sent and waited for.
use std::time::Duration;

use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    observed::Fingerprint,
    plan::{Outcome, Plan, Step},
    poll::{Poll, PollPolicy, poll_until},
    receipt::Receipt,
    spec::ServiceName,
};
use serde_json::{Value, json};

use super::{client, plan::Action};
use crate::{
    CloudRun,
    operations::{self, Ended, Operation, Tells},
    run::{Etags, client::BASE, wire::RECEIPT},
};

/// Its executions end first: <https://cloud.google.com/run/docs/managing/jobs#delete>.
const GOING: Duration = Duration::from_secs(120);

pub(super) async fn apply(
    provider: &CloudRun,
    cx: &Ctx,
    plan: &Plan,
    step: &Step,
    at: &Fingerprint,
) -> Result<Outcome> {
    let etag = Etags::read(at).service;
    let name = &plan.target.name;
    let stamp = |receipt: Receipt| json!(receipt.stamped(&cx.stamp, provider.token.principal())).to_string();
    let job = match step.action()? {
        Action::Create { mut body, receipt } => {
            body["annotations"][RECEIPT] = stamp(receipt).into();
            finish(provider, cx, step, client::create(provider, cx, name, &body).await?).await?
        }
        Action::Replace { mut body, receipt } => {
            body["annotations"][RECEIPT] = stamp(receipt).into();
            if let Some(etag) = etag {
                body["etag"] = json!(etag);
            }
            finish(provider, cx, step, client::patch(provider, cx, name, &body).await?).await?
        }
        Action::Delete => {
            match client::delete(provider, cx, name, etag.as_deref()).await? {
                Some(started) => drop(finish(provider, cx, step, started).await?),
                None => gone(provider, cx, name).await?,
            }
            Value::Null
        }
    };
    let fingerprint = Etags::of(Some(&job), None).fingerprint();
    Ok(Outcome { revision: None, url: None, fingerprint })
}

/// The job after the operation.
async fn finish(provider: &CloudRun, cx: &Ctx, step: &Step, started: Operation) -> Result<Value> {
    // That looking failed does not say that the operation did.
    let ended = operations::wait(provider, cx, BASE, started, Tells::WhenDone, ErrorKind::Unhealthy).await;
    match ended.map_err(Error::uncertain)? {
        Ended::Done(job) => Ok(job),
        Ended::Failed { error, .. } => Err(error.on(step.resource.clone())),
    }
}

/// Waits until the job is not there any more.
async fn gone(provider: &CloudRun, cx: &Ctx, name: &ServiceName) -> Result<()> {
    let policy = PollPolicy { first: Duration::ZERO, ..PollPolicy::within(GOING) };
    let gone = poll_until(cx, policy, || async {
        Ok(if client::get(provider, cx, name).await?.is_none() { Poll::Ready(()) } else { Poll::Pending })
    });
    gone.await.map_err(Error::uncertain)
}
