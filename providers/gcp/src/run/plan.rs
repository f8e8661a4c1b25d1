//! From observed to steps. Pure.
use std::collections::BTreeSet;

use carrack_core::{
    Error, ErrorKind, Result,
    diff::{FieldChange, diff},
    fields::{FieldPath, FieldValue, fields, keyed_table},
    observed::{Observed, ObservedService, TrafficTarget},
    ownership::ownership,
    plan::{Deploy, FORMAT, Intent, NewTraffic, Plan, ResourceRef, Risk, Step, Verb},
    receipt::{self, Receipt},
    spec::{ServiceRef, ServiceSpec},
    traffic::{self, deployed, is_at_newest, nobody_serves},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    edit::{edit, empty},
    network,
    passed::{self, Passed},
    restore::plan_restore,
    schema::Root,
    traffic::{check_tag, plan_change, route, written},
    unnamed::{SERVICE_FIELDS, filled_in, unnamed},
    wire::from_wire,
};

/// What one step sends. Receipts are unstamped until it is sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Create {
        body: Value,
        template: Receipt,
        service: Receipt,
    },
    Patch {
        body: Value,
        mask: Vec<String>,
        force: bool,
        template: Option<Receipt>,
        service: Receipt,
    },
    SetPolicy {
        policy: Value,
    },
    /// Leaves the service's own annotations alone.
    Restore {
        body: Value,
        force: bool,
        template: Option<Receipt>,
    },
    /// `tag` is for the newest revision, which a step before may have made.
    Route {
        traffic: Value,
        tag: Option<String>,
    },
    Delete,
}

/// The fields that are the service's and not the revision's, beside the entries of its labels and annotations.
const OF_SERVICE: [&str; 7] = [
    "service.public",
    "service.invoker_check",
    "service.ingress",
    "service.description",
    "service.default_url",
    "service.audiences",
    "scaling.instances",
];

fn of_service(path: &str) -> bool {
    OF_SERVICE.contains(&path) || matches!(keyed_table(path), Some("labels" | "annotations"))
}

pub(crate) fn plan(target: ServiceRef, intent: &Intent, observed: &Observed) -> Result<Plan> {
    let live = observed.service.as_ref();
    let (steps, kept) = match intent {
        Intent::Deploy(deploy) => plan_deploy(&target, deploy, live)?,
        Intent::Traffic(change) => (plan_change(&target, change, live)?, Vec::new()),
        Intent::Restore(revision) => (plan_restore(&target, revision, live)?, Vec::new()),
        Intent::Destroy => (plan_destroy(&target, live)?, Vec::new()),
        Intent::Job(_) => return Err(Error::new(ErrorKind::Internal, "a job is no service")),
    };
    Ok(Plan { format: FORMAT, target, intent: intent.clone(), base: observed.fingerprint.clone(), steps, kept })
}

fn plan_deploy(
    target: &ServiceRef,
    deploy: &Deploy,
    live: Option<&ObservedService>,
) -> Result<(Vec<Step>, Vec<FieldPath>)> {
    let spec = &*network::whole(&deploy.spec, target);
    if let Some(tag) = &deploy.tag {
        check_tag(tag, &target.name)?;
    }
    let own = ownership(spec, &deploy.tables, &deploy.exact, live);
    let before = live.map_or_else(empty, |live| live.raw.clone());
    let mut after = edit(&before, spec, &own.write)?;
    let passed = Passed::new(Root::Service, deploy.cloud.as_ref(), live.and_then(|live| live.receipt.as_ref()))?;
    passed.edit(&mut after["service"])?;
    let owned = passed.receipt(own.receipt);
    if before["policy"].is_null() && before["policy"] != after["policy"] {
        return Err(Error::new(
            ErrorKind::PermissionDenied,
            "refusing to change public access: the access policy may not be read, which needs the permission `run.services.getIamPolicy`",
        )
        .at_field("service.public")
        .hint("or remove `public` from [service] to leave it as it is"));
    }
    let old_spec = live.map_or_else(ServiceSpec::default, |live| live.spec.clone());
    let changes = diff(&old_spec, &from_wire(&after)?);
    let (policy_changes, mut changes): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .filter(|change| own.write.contains(&change.path))
        .partition(|change| change.path == "service.public" && before["policy"] != after["policy"]);
    let none = Value::Null;
    changes.extend(passed.changes(if live.is_some() { &before["service"] } else { &none }, &after["service"]));
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    let mut steps = Vec::new();
    let tag = deploy.tag.as_deref();
    match live {
        None => {
            if deploy.traffic == NewTraffic::None {
                return Err(nobody_serves());
            }
            if spec.workload.main.image.is_none() {
                return Err(Error::new(ErrorKind::ConfigInvalid, "a first deploy needs an image")
                    .at_field("image")
                    .hint("add an [image] section, or pass `--image REF@DIGEST`"));
            }
            let (template, service) = receipts(deploy, &owned, None, spec);
            let action = Action::Create { body: after["service"].clone(), template, service };
            steps.push(step(1, Verb::Create, resource(target), changes, &action)?);
            let all = [TrafficTarget::latest(100)];
            steps.extend(tag.map(|tag| route(2, target, None, &all, all.to_vec(), Some(tag))).transpose()?.flatten());
        }
        Some(live) => {
            let failed = failed_revision(live);
            let new_revision = before["service"]["template"] != after["service"]["template"] || failed.is_some();
            if new_revision {
                // A revision is immutable by name, so the next one may not carry the name of the last:
                // https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#RevisionTemplate
                if let Some(template) = after["service"]["template"].as_object_mut() {
                    template.remove("revision");
                }
                changes.extend(failed);
            }
            let wanted = deployed(live, deploy.traffic, new_revision)?;
            let moved = traffic::diff(&live.targets, &wanted);
            if new_revision && !moved.is_empty() {
                changes.extend(moved);
                after["service"]["traffic"] = written(&before["service"]["traffic"], &wanted);
            }
            let mask: Vec<String> = SERVICE_FIELDS
                .iter()
                .copied()
                .chain(passed.parts())
                .filter(|part| {
                    before["service"][*part] != after["service"][*part] || (*part == "template" && new_revision)
                })
                .map(str::to_owned)
                .collect::<BTreeSet<String>>()
                .into_iter()
                .collect();
            if !mask.is_empty() {
                let body: serde_json::Map<String, Value> = mask
                    .iter()
                    .chain(&["annotations".to_owned()])
                    .filter_map(|part| Some((part.clone(), after["service"].get(part)?.clone())))
                    .collect();
                let image_spec = from_wire(&after)?;
                let (template, service) = receipts(deploy, &owned, Some(live), &image_spec);
                let template = mask.iter().any(|part| part == "template").then_some(template);
                let force = failed_revision(live).is_some();
                let action = Action::Patch { body: body.into(), mask, force, template, service };
                steps.push(step(1, Verb::Update, resource(target), changes, &action)?);
            }
            // In the write that makes the revision, or in one of its own. The new one's name is known after it only.
            let (from, newest) = match new_revision {
                true => (&wanted, tag),
                false => (&live.targets, tag.filter(|_| !is_at_newest(Some(live), tag))),
            };
            let id = if steps.is_empty() { 1 } else { 2 };
            steps.extend(route(id, target, Some(live), from, wanted.clone(), newest)?);
        }
    }
    if !policy_changes.is_empty() {
        let id = u16::try_from(steps.len() + 1).unwrap_or(u16::MAX);
        let name = ResourceRef::new("access policy", target.name.as_str());
        steps.push(step(
            id,
            Verb::Update,
            name,
            policy_changes,
            &Action::SetPolicy { policy: after["policy"].clone() },
        )?);
    }
    let known = fields(&old_spec);
    let mut kept = own.kept;
    kept.retain(|path| known.get(path).is_none_or(|value| !filled_in(path, value)));
    kept.extend(live.map(|live| unnamed(&passed.others(&live.raw["service"]))).unwrap_or_default());
    Ok((steps, kept))
}

fn step(id: u16, verb: Verb, resource: ResourceRef, changes: Vec<FieldChange>, action: &Action) -> Result<Step> {
    let mut step = Step::new(id, verb, resource, action)?;
    step.changes = changes;
    Ok(step)
}

fn resource(target: &ServiceRef) -> ResourceRef {
    ResourceRef::new("service", target.name.as_str())
}

/// A newest revision that never became ready is made again, whatever the file says: its cause may be gone.
pub(super) fn failed_revision(live: &ObservedService) -> Option<FieldChange> {
    use carrack_core::observed::Readiness;
    let Readiness::Failed(_) = &live.readiness else { return None };
    if live.latest == live.latest_ready {
        return None;
    }
    let failed = live.latest.as_ref().map(|revision| FieldValue::Shown(format!("{} (failed)", revision.0)));
    Some(FieldChange { path: "revision".into(), from: failed, to: Some(FieldValue::Shown("a new one".into())) })
}

/// Two receipts: of the fields that live on the template, and of those on the service.
fn receipts(
    deploy: &Deploy,
    owned: &[FieldPath],
    live: Option<&ObservedService>,
    with_image: &ServiceSpec,
) -> (Receipt, Receipt) {
    let mut config = deploy.spec.clone();
    config.workload.main.image = None;
    let config = match &deploy.cloud {
        Some(cloud) => json!([config, cloud]),
        None => json!(config),
    };
    let config = Sha256::digest(config.to_string()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let image = with_image.workload.main.image.as_ref();
    let receipt = Receipt {
        format: receipt::FORMAT,
        config,
        commit: None,
        digest: image.and_then(|image| image.digest()).unwrap_or_default().to_owned(),
        previous: live.and_then(ObservedService::serving),
        restored: None,
        at: String::new(),
        by: String::new(),
        owned: Vec::new(),
    };
    let (service, template) = owned.iter().cloned().partition(|path| of_service(path) || passed::of_service(path));
    (Receipt { owned: template, ..receipt.clone() }, Receipt { owned: service, ..receipt })
}

fn plan_destroy(target: &ServiceRef, live: Option<&ObservedService>) -> Result<Vec<Step>> {
    let Some(live) = live else { return Ok(Vec::new()) };
    if live.receipt.is_none() {
        return Err(Error::new(ErrorKind::Conflict, "refusing to destroy a service that Carrack did not deploy")
            .on(resource(target))
            .hint(format!(
                "to remove it all the same: gcloud run services delete {} --project {} --region {}",
                target.name, target.scope, target.region
            )));
    }
    let mut step = Step::new(1, Verb::Delete, resource(target), &Action::Delete)?;
    step.risk = Risk::DataLoss;
    Ok(vec![step])
}
