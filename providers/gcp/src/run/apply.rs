//! One step, sent and waited for.
use std::time::Duration;

use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    observed::Fingerprint,
    plan::{Outcome, Plan, ResourceRef, Step},
    poll::{Poll, PollPolicy, poll_until},
    receipt::Receipt,
    spec::{RevisionId, ServiceName},
};
use serde_json::{Value, json};

use super::{
    Etags, client,
    plan::Action,
    traffic::with_tag,
    wire::{self, RECEIPT},
};
use crate::{
    CloudRun,
    operations::{self, Ended, Operation, Tells},
};

/// Of an operation whose traffic leads to no revision:
/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>.
const NOT_FOUND: i64 = 5;

/// Instances have ten seconds to end: <https://cloud.google.com/run/docs/container-contract#instance-shutdown>.
const GOING: Duration = Duration::from_secs(120);

pub(crate) async fn apply(
    provider: &CloudRun,
    cx: &Ctx,
    plan: &Plan,
    step: &Step,
    at: &Fingerprint,
) -> Result<Outcome> {
    let etags = Etags::read(at);
    let name = &plan.target.name;
    let stamp = |receipt: Receipt| json!(receipt.stamped(&cx.stamp, provider.token.principal())).to_string();
    match step.action()? {
        Action::Create { mut body, template, service } => {
            body["template"]["annotations"][RECEIPT] = stamp(template).into();
            body["annotations"][RECEIPT] = stamp(service).into();
            let started = client::create_service(provider, cx, name, &body).await?;
            let created = finish(provider, cx, started, ErrorKind::Unhealthy).await?;
            outcome(&created, None)
        }
        Action::Patch { mut body, mut mask, force, template, service } => {
            if let Some(template) = template {
                body["template"]["annotations"][RECEIPT] = stamp(template).into();
            }
            body["annotations"][RECEIPT] = stamp(service).into();
            if !mask.iter().any(|part| part == "annotations") {
                mask.push("annotations".to_owned());
            }
            if let Some(etag) = &etags.service {
                body["etag"] = json!(etag);
            }
            let started = client::patch_service(provider, cx, name, &mask, force, &body).await?;
            let updated = finish(provider, cx, started, ErrorKind::Unhealthy).await?;
            outcome(&updated, etags.policy)
        }
        Action::SetPolicy { mut policy } => {
            if let Some(etag) = &etags.policy {
                policy["etag"] = json!(etag);
            }
            let policy = client::set_policy(provider, cx, name, &policy).await?;
            let etags = Etags { policy: Etags::of(None, Some(&policy)).policy, ..etags };
            Ok(Outcome { revision: None, url: None, fingerprint: etags.fingerprint() })
        }
        Action::Restore { mut body, force, template } => {
            let mask: Vec<String> = body.as_object().into_iter().flat_map(|parts| parts.keys().cloned()).collect();
            if let Some(template) = template {
                body["template"]["annotations"][RECEIPT] = stamp(template).into();
            }
            if let Some(etag) = &etags.service {
                body["etag"] = json!(etag);
            }
            let started = client::patch_service(provider, cx, name, &mask, force, &body).await?;
            let updated = finish(provider, cx, started, ErrorKind::Unhealthy).await?;
            outcome(&updated, etags.policy)
        }
        Action::Route { mut traffic, tag } => {
            if let Some(tag) = tag {
                let Some(revision) = &etags.revision else {
                    let text = format!("no revision is ready that could have the tag `{tag}`");
                    return Err(Error::new(ErrorKind::Conflict, text).on(step.resource.clone()));
                };
                traffic = with_tag(traffic, &tag, revision);
            }
            let mut body = json!({ "traffic": traffic });
            if let Some(etag) = &etags.service {
                body["etag"] = json!(etag);
            }
            let started = client::patch_service(provider, cx, name, &["traffic".to_owned()], false, &body).await?;
            let updated = match ended(provider, cx, started, ErrorKind::Unhealthy).await? {
                Ended::Done(service) => service,
                Ended::Failed { code, error, .. } => {
                    let kind = if code == NOT_FOUND { ErrorKind::NotFound } else { error.kind() };
                    return Err(error.with_kind(kind).on(step.resource.clone()));
                }
            };
            // It made none.
            Ok(Outcome { revision: None, ..outcome(&updated, etags.policy)? })
        }
        Action::Delete => {
            match client::delete_service(provider, cx, name, etags.service.as_deref()).await? {
                Some(started) => drop(finish(provider, cx, started, ErrorKind::Unclassified).await?),
                // An earlier attempt, or somebody else: it may still be on its way out.
                None => gone(provider, cx, name).await?,
            }
            Ok(Outcome { revision: None, url: None, fingerprint: Etags::default().fingerprint() })
        }
    }
}

/// The service after the operation, or its error with the revision that it is about.
async fn finish(provider: &CloudRun, cx: &Ctx, started: Operation, otherwise: ErrorKind) -> Result<Value> {
    match ended(provider, cx, started, otherwise).await? {
        Ended::Done(service) => Ok(service),
        Ended::Failed { error, metadata, .. } => Err(about_revision(without_preface(error), &metadata)),
    }
}

async fn ended(provider: &CloudRun, cx: &Ctx, started: Operation, otherwise: ErrorKind) -> Result<Ended> {
    // That looking failed does not say that the operation did.
    operations::wait(provider, cx, client::BASE, started, Tells::WhenDone, otherwise).await.map_err(Error::uncertain)
}

/// The revision is named beside the text, and that it is not ready is what failed means.
fn without_preface(error: Error) -> Error {
    match error.message().split_once("' is not ready and cannot serve traffic. ") {
        Some((revision, text)) if revision.starts_with("Revision '") => Error::new(error.kind(), text),
        _ => error,
    }
}

/// Waits until the service is not there any more.
async fn gone(provider: &CloudRun, cx: &Ctx, name: &ServiceName) -> Result<()> {
    let policy = PollPolicy { first: Duration::ZERO, ..PollPolicy::within(GOING) };
    let gone = poll_until(cx, policy, || async {
        Ok(if client::get_service(provider, cx, name).await?.is_none() { Poll::Ready(()) } else { Poll::Pending })
    });
    gone.await.map_err(Error::uncertain)
}

fn about_revision(error: Error, service: &Value) -> Error {
    match service["latestCreatedRevision"].as_str() {
        Some(revision) if !revision.is_empty() => error.on(ResourceRef::new("revision", wire::short_name(revision))),
        _ => error,
    }
}

fn outcome(service: &Value, policy: Option<String>) -> Result<Outcome> {
    let etags = Etags { policy, ..Etags::of(Some(service), None) };
    let read: wire::Service = wire::read(service)?;
    Ok(Outcome {
        revision: (!read.latest_ready_revision.is_empty())
            .then(|| RevisionId(wire::short_name(&read.latest_ready_revision).to_owned())),
        url: (!read.uri.is_empty()).then_some(read.uri),
        fingerprint: etags.fingerprint(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_is_not_said_beside_it() {
        let told = |text: &str| without_preface(Error::new(ErrorKind::Unhealthy, text)).message().to_owned();
        assert_eq!(
            told("Revision 'a-00001-b' is not ready and cannot serve traffic. Image 'i' not found"),
            "Image 'i' not found"
        );
        assert_eq!(told("Image 'i' not found"), "Image 'i' not found");
    }
}
