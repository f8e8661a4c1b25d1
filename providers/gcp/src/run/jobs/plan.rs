//! From observed to steps. Pure.
use carrack_core::{
    Error, ErrorKind, Result,
    diff::FieldChange,
    fields::{FieldPath, FieldValue},
    job::{JobDeploy, JobIntent, JobSpec, LiveJob, ObservedJob, job_diff, job_ownership},
    observed::Readiness,
    plan::{FORMAT, Intent, Plan, ResourceRef, Risk, Step, Verb},
    receipt::{self, Receipt},
    spec::ServiceRef,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    edit::{edit, empty},
    shape,
    wire::from_wire,
};
use crate::run::unnamed::unnamed;

/// What one step sends. The receipt is unstamped until it is sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Create { body: Value, receipt: Receipt },
    Replace { body: Value, receipt: Receipt },
    Delete,
}

/// What the cloud writes itself, and is not sent back:
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs#Job>.
const OUTPUT: [&str; 18] = [
    "name",
    "uid",
    "generation",
    "observedGeneration",
    "createTime",
    "updateTime",
    "deleteTime",
    "expireTime",
    "creator",
    "lastModifier",
    "terminalCondition",
    "conditions",
    "executionCount",
    "latestCreatedExecution",
    "reconciling",
    "satisfiesPzs",
    "satisfiesPzi",
    "etag",
];

/// What an execution's template has, and the job's own fields tell; what a client writes of itself.
const OF_EXECUTION: [&str; 5] = ["template", "taskCount", "parallelism", "client", "clientVersion"];

pub(super) fn plan(target: ServiceRef, intent: &JobIntent, observed: &ObservedJob) -> Result<Plan> {
    let live = observed.job.as_ref();
    let (step, kept) = match intent {
        JobIntent::Deploy(deploy) => plan_deploy(&target, deploy, live)?,
        JobIntent::Destroy => (plan_destroy(&target, live)?, Vec::new()),
    };
    let base = observed.fingerprint.clone();
    let steps = step.into_iter().collect();
    Ok(Plan { format: FORMAT, target, intent: Intent::Job(intent.clone()), base, steps, kept })
}

fn plan_deploy(
    target: &ServiceRef,
    deploy: &JobDeploy,
    live: Option<&LiveJob>,
) -> Result<(Option<Step>, Vec<FieldPath>)> {
    let own = job_ownership(deploy, live);
    let before = live.map_or_else(empty, |live| live.raw.clone());
    let after = edit(&before, &deploy.spec, &own.write)?;
    let old_spec = live.map_or_else(JobSpec::default, |live| live.spec.clone());
    let new_spec = from_wire(&after)?;
    let mut changes = job_diff(&old_spec, &new_spec);
    changes.retain(|change| own.write.contains(&change.path));
    let receipt = receipt_of(deploy, own.receipt, &new_spec);
    let body = sent(&after);
    let step = match live {
        None if deploy.spec.workload.main.image.is_none() => {
            return Err(Error::new(ErrorKind::ConfigInvalid, "a first deploy needs an image")
                .at_field("image")
                .hint("add an [image] section, or pass `--image REF@DIGEST`"));
        }
        None => Some(step(target, Verb::Create, changes, &Action::Create { body, receipt })?),
        Some(live) => {
            let failed = failed(live);
            let differs = before != after || failed.is_some();
            changes.extend(failed);
            let action = Action::Replace { body, receipt };
            differs.then(|| step(target, Verb::Update, changes, &action)).transpose()?
        }
    };
    let mut kept = own.kept;
    kept.extend(live.map(|live| others(&live.raw)).unwrap_or_default());
    Ok((step, kept))
}

fn step(target: &ServiceRef, verb: Verb, changes: Vec<FieldChange>, action: &Action) -> Result<Step> {
    let mut step = Step::new(1, verb, resource(target), action)?;
    step.changes = changes;
    Ok(step)
}

fn resource(target: &ServiceRef) -> ResourceRef {
    ResourceRef::new("job", target.name.as_str())
}

/// A job that could not be made ready is sent once more, whatever the file says: its cause may be gone.
fn failed(live: &LiveJob) -> Option<FieldChange> {
    let Readiness::Failed(_) = &live.readiness else { return None };
    let shown = |text: &str| Some(FieldValue::Shown(text.to_owned()));
    Some(FieldChange { path: "job".into(), from: shown("not ready"), to: shown("once more") })
}

/// The whole job, but for what the cloud writes itself.
fn sent(job: &Value) -> Value {
    let mut body = shape::as_object(job);
    body.retain(|field, _| !OUTPUT.contains(&field.as_str()));
    Value::Object(body)
}

/// Every live field without a key in carrack.toml, by its place in a job.
fn others(job: &Value) -> Vec<FieldPath> {
    let shaped = shape::service(job);
    let of_job = unnamed(&shaped["service"]).into_iter().filter(|path| !OUTPUT.contains(&path.as_str()));
    let deeper = of_job.map(|path| match path.strip_prefix("template.") {
        Some(rest) => format!("template.template.{rest}"),
        None => path,
    });
    let execution = shape::as_object(&job["template"]);
    let empty = |value: &Value| value.is_null() || value == &json!({}) || value == &json!("");
    let execution = execution.iter().filter(|(key, value)| !OF_EXECUTION.contains(&key.as_str()) && !empty(value));
    deeper.chain(execution.map(|(key, _)| format!("template.{key}"))).collect()
}

fn receipt_of(deploy: &JobDeploy, owned: Vec<FieldPath>, with_image: &JobSpec) -> Receipt {
    let mut config = deploy.spec.clone();
    config.workload.main.image = None;
    let config = Sha256::digest(json!(config).to_string()).iter().map(|byte| format!("{byte:02x}")).collect();
    let image = with_image.workload.main.image.as_ref();
    Receipt {
        format: receipt::FORMAT,
        config,
        commit: None,
        digest: image.and_then(|image| image.digest()).unwrap_or_default().to_owned(),
        previous: None,
        restored: None,
        at: String::new(),
        by: String::new(),
        owned,
    }
}

fn plan_destroy(target: &ServiceRef, live: Option<&LiveJob>) -> Result<Option<Step>> {
    let Some(live) = live else { return Ok(None) };
    if live.receipt.is_none() {
        return Err(Error::new(ErrorKind::Conflict, "refusing to destroy a job that Carrack did not deploy")
            .on(resource(target))
            .hint(format!(
                "to remove it all the same: gcloud run jobs delete {} --project {} --region {}",
                target.name, target.scope, target.region
            )));
    }
    let mut step = Step::new(1, Verb::Delete, resource(target), &Action::Delete)?;
    step.risk = Risk::DataLoss;
    Ok(Some(step))
}
