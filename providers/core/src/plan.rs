//! Typed steps from observed to desired. A plan holds references to secrets, never values.
use serde::{Deserialize, Serialize};

pub use crate::traffic::{NewTraffic, Share, TrafficChange, Who};
use crate::{
    Error, ErrorKind, Result,
    diff::FieldChange,
    fields::FieldPath,
    job::JobIntent,
    observed::{Fingerprint, Revision},
    rollout::Rollout,
    spec::{RevisionId, ServiceRef, ServiceSpec},
};

/// The format of a saved plan that this version reads and writes.
pub const FORMAT: u32 = 1;

/// Everything that a user can ask a provider to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// Make it so.
    Deploy(Box<Deploy>),
    /// Send the traffic, or a tag, elsewhere; no setting changes and no revision is made.
    Traffic(TrafficChange),
    /// Make the settings those of this revision again, as a new one that gets all traffic. What is the service's own
    /// stays as it is.
    Restore(Box<Revision>),
    /// Remove the service.
    Destroy,
    /// Something of a job: its plans are made by [`Jobs`](crate::job::Jobs).
    Job(JobIntent),
}

impl Intent {
    /// What it is about, for people.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Job(_) => "job",
            _ => "service",
        }
    }
}

/// What a deploy asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deploy {
    /// The fields that the file sets.
    pub spec: ServiceSpec,
    /// The keyed tables that stand in the file (`env`, `labels`).
    pub tables: Vec<FieldPath>,
    /// The keyed tables that the file makes authoritative.
    pub exact: Vec<FieldPath>,
    /// What becomes of the traffic.
    #[serde(default)]
    pub traffic: NewTraffic,
    /// A tag for the newest revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// What only this cloud knows, in its own JSON; `None` when the target has no such section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<serde_json::Value>,
    /// How traffic goes over to a revision that is made without it; `None` is no part of this deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

impl Deploy {
    /// All traffic to the newest revision, and no tag.
    pub fn new(spec: ServiceSpec, tables: Vec<FieldPath>, exact: Vec<FieldPath>) -> Self {
        Self { spec, tables, exact, traffic: NewTraffic::default(), tag: None, cloud: None, rollout: None }
    }
}

/// What will be done, made by [`Provider::plan`](crate::provider::Provider::plan).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The version of this record's form.
    pub format: u32,
    /// Where.
    pub target: ServiceRef,
    /// Why: a plan can be made again from it.
    pub intent: Intent,
    /// What was observed.
    pub base: Fingerprint,
    /// In this order.
    pub steps: Vec<Step>,
    /// Live fields that stay although the file does not name them.
    pub kept: Vec<FieldPath>,
}

impl Plan {
    /// Nothing to do.
    pub fn is_noop(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether both plans do the same, whatever they were based on.
    pub fn same_steps(&self, other: &Self) -> bool {
        let shape = |plan: &Self| -> Vec<_> {
            plan.steps.iter().map(|step| (step.verb, step.resource.clone(), step.changes.clone())).collect()
        };
        shape(self) == shape(other)
    }

    /// The worst risk of any step.
    pub fn risk(&self) -> Risk {
        self.steps.iter().map(|step| step.risk).max().unwrap_or(Risk::None)
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its place in the plan, from 1.
    pub id: StepId,
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub resource: ResourceRef,
    /// Field by field.
    pub changes: Vec<FieldChange>,
    /// What it may cost.
    pub risk: Risk,
    /// Whole resources, with values that no plan shows: never written out. A saved plan is made again before use.
    #[serde(skip)]
    action: serde_json::Value,
}

impl Step {
    /// A step whose `action` only the provider that made it understands.
    pub fn new<A: Serialize>(id: u16, verb: Verb, resource: ResourceRef, action: &A) -> Result<Self> {
        let action = serde_json::to_value(action)
            .map_err(|e| Error::new(ErrorKind::Internal, "encoding a plan step failed").with_source(e))?;
        Ok(Self { id: StepId(id), verb, resource, changes: Vec::new(), risk: Risk::None, action })
    }

    /// The provider's own part.
    pub fn action<A: for<'de> Deserialize<'de>>(&self) -> Result<A> {
        A::deserialize(&self.action).map_err(|e| {
            Error::new(ErrorKind::PlanInvalid, "this plan was not made by this version of Carrack").with_source(e)
        })
    }
}

/// A step's place in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u16);

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Makes it.
    Create,
    /// Changes it in place.
    Update,
    /// Sends traffic elsewhere.
    Route,
    /// Removes it.
    Delete,
}

/// What a step may cost; a risk of downtime or worse is confirmed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Nothing.
    None,
    /// Requests fail for a while.
    Downtime,
    /// Something is gone for good.
    DataLoss,
}

/// A cloud resource, for people: `service hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRef {
    /// What it is: `service`, `repository`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl ResourceRef {
    /// A resource of a kind.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }
}

/// What a step brought about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The new revision, when one was made.
    pub revision: Option<RevisionId>,
    /// Where the service answers.
    pub url: Option<String>,
    /// The version after the step, for the next one.
    pub fingerprint: Fingerprint,
}
