//! The settings of an earlier revision as a new one: its template as it was read, and nothing of the service's own.
use carrack_core::{
    Error, ErrorKind, Result,
    diff::{FieldChange, diff},
    fields::FieldValue,
    observed::{ObservedService, Revision},
    plan::{NewTraffic, ResourceRef, Step, Verb},
    receipt::{self, Receipt},
    spec::ServiceRef,
    traffic::{self, deployed},
};
use serde_json::{Map, Value};

use super::{
    plan::{Action, failed_revision},
    traffic::written,
    wire::{self, RECEIPT, from_wire},
};

/// What a revision and a template have in common:
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services.revisions#Revision>
const OF_BOTH: &[&str] = &[
    "annotations",
    "containers",
    "encryptionKey",
    "encryptionKeyRevocationAction",
    "encryptionKeyShutdownDuration",
    "executionEnvironment",
    "gpuZonalRedundancyDisabled",
    "labels",
    "maxInstanceRequestConcurrency",
    "nodeSelector",
    "scaling",
    "serviceAccount",
    "serviceMesh",
    "sessionAffinity",
    "timeout",
    "volumes",
    "vpcAccess",
    "workloadIdentityConfig",
];

/// As the live template has them: who wrote it last, and what no revision tells.
const OF_LIVE: &[&str] = &["client", "clientVersion", "healthCheckDisabled"];

/// Names that only the cloud gives:
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#RevisionTemplate>
const RESERVED: &[&str] =
    &["run.googleapis.com/", "cloud.googleapis.com/", "serving.knative.dev/", "autoscaling.knative.dev/"];

/// What is told in neutral words; the rest of a template is told by the names that it has there.
const TOLD: &[&str] = &["annotations", "revision", "client", "clientVersion"];

pub(super) fn plan_restore(
    target: &ServiceRef,
    revision: &Revision,
    live: Option<&ObservedService>,
) -> Result<Vec<Step>> {
    let Some(live) = live else {
        let text = format!("service `{}` does not exist in {}/{}", target.name, target.scope, target.region);
        return Err(Error::new(ErrorKind::NotFound, text).hint("run `carrack deploy`"));
    };
    if !revision.raw["containers"].is_array() {
        let text = format!("the settings of `{}` are not known: a plan of a rollback cannot be kept", revision.id.0);
        return Err(Error::new(ErrorKind::PlanInvalid, text).hint("run `carrack rollback --config`"));
    }
    let before = &live.raw["service"]["template"];
    let template = restored(before, &revision.raw);
    let mut after = live.raw.clone();
    after["service"]["template"] = template.clone();
    let failed = failed_revision(live);
    let new = without_receipt(before) != without_receipt(&template) || failed.is_some();
    let wanted = deployed(live, NewTraffic::All, new)?;
    let moved = traffic::diff(&live.targets, &wanted);
    let mut changes = Vec::new();
    let mut body = Map::new();
    if new {
        changes.extend(diff(&live.spec, &from_wire(&after)?));
        changes.extend(others(before, &template, changes.is_empty()));
        changes.extend(failed.clone());
        body.insert("template".to_owned(), template);
    }
    if !moved.is_empty() {
        changes.extend(moved);
        body.insert("traffic".to_owned(), written(&live.raw["service"]["traffic"], &wanted));
    }
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let receipt = new.then(|| receipt_for(revision, live)).transpose()?;
    let action = Action::Restore { body: body.into(), force: failed.is_some(), template: receipt };
    let mut step = Step::new(1, Verb::Update, ResourceRef::new("service", target.name.as_str()), &action)?;
    step.changes = changes;
    Ok(vec![step])
}

/// The revision as a template: without a name, since a revision is immutable by it. What a revision does not have
/// stays as the live template has it.
fn restored(live: &Value, revision: &Value) -> Value {
    let mut template = Map::new();
    for (key, value) in revision.as_object().into_iter().flatten() {
        if OF_BOTH.contains(&key.as_str()) {
            template.insert(key.clone(), value.clone());
        }
    }
    for (key, value) in live.as_object().into_iter().flatten() {
        if key == "revision" || OF_BOTH.contains(&key.as_str()) {
            continue;
        }
        // A field of tomorrow: as the revision has it, when it is one of a revision's.
        let then = revision.get(key).filter(|_| !OF_LIVE.contains(&key.as_str()));
        template.insert(key.clone(), then.unwrap_or(value).clone());
    }
    for table in ["annotations", "labels"] {
        if let Some(entries) = template.get_mut(table).and_then(Value::as_object_mut) {
            entries.retain(|name, _| !RESERVED.iter().any(|reserved| name.starts_with(reserved)));
        }
    }
    template.into()
}

/// A receipt alone is no difference between two templates, and neither is a name.
fn without_receipt(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("revision");
        if let Some(annotations) = fields.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(RECEIPT);
        }
        // The cloud leaves out what is empty.
        fields.retain(|_, value| !matches!(value, Value::Object(map) if map.is_empty()));
    }
    template
}

/// What changes and has no neutral words; containers and volumes have, as far as they are told.
fn others(before: &Value, after: &Value, untold: bool) -> Vec<FieldChange> {
    let (before, after) = (without_receipt(before), without_receipt(after));
    let keys: std::collections::BTreeSet<&String> =
        [&before, &after].into_iter().filter_map(Value::as_object).flat_map(Map::keys).collect();
    let neutral = ["containers", "volumes", "scaling", "serviceAccount", "maxInstanceRequestConcurrency"];
    let shown = |template: &Value, key: &str| {
        let value = template.get(key)?;
        Some(FieldValue::Shown(if neutral.contains(&key) { "otherwise".to_owned() } else { value.to_string() }))
    };
    keys.into_iter()
        .filter(|key| !TOLD.contains(&key.as_str()) && (untold || !neutral.contains(&key.as_str())))
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| FieldChange { path: format!("template.{key}"), from: shown(&before, key), to: shown(&after, key) })
        .collect()
}

/// Of the revision it is what was owned then; who, when and what served before are of the rollback.
fn receipt_for(revision: &Revision, live: &ObservedService) -> Result<Receipt> {
    let then = match &revision.receipt {
        Some(receipt) => Some(receipt.clone()),
        // Another client made it: what we set since is still ours.
        None => wire::receipt_of_template(&live.raw["service"]["template"])?,
    };
    let config = revision.deployed().map(|receipt| receipt.config.clone()).unwrap_or_default();
    Ok(Receipt {
        format: receipt::FORMAT,
        config,
        commit: None,
        digest: revision.image.digest().unwrap_or_default().to_owned(),
        previous: live.serving(),
        restored: Some(revision.id.clone()),
        at: String::new(),
        by: String::new(),
        owned: then.map(|receipt| receipt.owned).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_revision_becomes_a_template_and_nothing_that_is_not_its() {
        let live = json!({
            "revision": "s-00002-b", "healthCheckDisabled": true, "client": "gcloud", "ofTomorrow": 2, "oursAlone": 1,
            "labels": { "now": "1" }, "timeout": "10s", "sessionAffinity": true,
            "containers": [{ "image": "i@sha256:2" }],
        });
        let revision = json!({
            "name": "projects/p/locations/l/services/s/revisions/s-00001-a", "uid": "u", "etag": "e", "generation": "1",
            "createTime": "t", "conditions": [], "logUri": "l", "launchStage": "GA", "service": "s", "creator": "me", "client": "us",
            "ofTomorrow": 1, "containerStatuses": [{}], "observedGeneration": "1", "reconciling": false,
            "labels": { "then": "1", "serving.knative.dev/service": "s" }, "timeout": "300s",
            "annotations": { RECEIPT: "{}", "run.googleapis.com/x": "y" },
            "containers": [{ "image": "i@sha256:1", "ofTomorrow": true }], "vpcAccess": { "egress": "ALL_TRAFFIC" },
        });
        assert_eq!(
            restored(&live, &revision),
            json!({
                "annotations": { RECEIPT: "{}" }, "labels": { "then": "1" }, "timeout": "300s",
                "containers": [{ "image": "i@sha256:1", "ofTomorrow": true }], "vpcAccess": { "egress": "ALL_TRAFFIC" },
                "healthCheckDisabled": true, "client": "gcloud", "ofTomorrow": 1, "oursAlone": 1,
            })
        );
    }

    #[test]
    fn a_receipt_and_a_name_are_no_difference() {
        let one = json!({ "revision": "a", "annotations": { RECEIPT: "1" }, "timeout": "1s" });
        let other = json!({ "timeout": "1s", "scaling": {} });
        assert_eq!(without_receipt(&one), without_receipt(&other));
        assert!(others(&one, &other, true).is_empty());
        let third = json!({ "timeout": "2s", "containers": [1] });
        let paths = |untold| others(&one, &third, untold).into_iter().map(|change| change.path).collect::<Vec<_>>();
        assert_eq!(paths(false), ["template.timeout"]);
        assert_eq!(paths(true), ["template.containers", "template.timeout"]);
    }
}
