//! Cloud Run Admin API v2: services and their revisions, as a real deploy goes; jobs, as they really run.
//!
//! A call changes what is wanted and answers at once; `bring_up` makes it true beside it; `settle` looks at both.
//!
//! | module | what it holds |
//! |---|---|
//! | `services`, `revisions`, `policy`, `operations` | the calls of v2 |
//! | `knative` | the calls of v1, by v2's |
//! | `jobs` | jobs, executions and tasks |
//! | `store`, `service`, `revision`, `condition`, `owner` | what there is, and how it is told |
//! | `update`, `mask`, `etag`, `template`, `rules`, `resources`, `names`, `image` | a change, its defaults and its refusals |
//! | `bring_up`, `pull`, `starter`, `settle` | from a template to what serves |
//! | `group`, `probe`, `system_log` | the containers of one instance |
//! | `interfere` | somebody else's change, as a fault |
mod bring_up;
pub(crate) mod condition;
mod etag;
pub(crate) mod group;
pub(crate) mod image;
mod interfere;
pub(crate) mod jobs;
mod knative;
mod mask;
pub(crate) mod names;
mod operations;
mod owner;
mod policy;
mod probe;
pub(crate) mod pull;
mod resources;
mod revision;
mod revisions;
mod rules;
pub(crate) mod service;
mod services;
mod settle;
mod starter;
mod store;
mod system_log;
mod template;
mod update;
mod vpc;

pub(crate) use self::{
    interfere::{interfere, interfere_with_job},
    jobs::{Jobs, handle as handle_job},
    knative::{handle as handle_knative, handle_jobs as handle_knative_jobs},
    operations::handle as handle_operation,
    store::Store,
};
pub(crate) use self::{
    policy::handle as handle_policy, revisions::handle as handle_revision, services::handle as handle_service,
};

use std::{sync::Arc, time::Duration};

use super::{
    artifact_registry::Repositories, iam::Grants, logging::Logs, operations::Operations, project::Projects,
    secret_manager::Secrets,
};
use crate::{credentials::Credentials, iam::Iam, runtime::Runtime, server::activity::Activity, state::Images};

/// What a service needs of the local cloud.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) iam: Arc<Iam>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) images: Arc<dyn Images>,
    /// Or why there is none.
    pub(crate) runtime: Result<Arc<dyn Runtime>, Arc<str>>,
    pub(crate) activity: Activity,
    pub(crate) operations: Arc<Operations>,
    pub(crate) projects: Arc<Projects>,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) shares: group::Shares,
    /// How long an instance without a request stays.
    pub(crate) instance_idle: Duration,
}
