//! Jobs of the Cloud Run Admin API v2: <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs>.
//!
//! A job holds its containers one level deeper than a service does. In the `shape` of a service they are read and
//! written by the same code, so that whatever a service's container can be, a job's can be too.
mod apply;
mod client;
mod edit;
mod evidence;
mod executions;
mod plan;
mod shape;
mod wire;

use async_trait::async_trait;
use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    evidence::Evidence,
    job::{Execution, ExecutionId, JobIntent, JobLine, JobLogs, Jobs, ObservedJob, Overrides, TaskRun},
    observed::Fingerprint,
    plan::{Outcome, Plan, ResourceRef, Step},
    provider::{BoxStream, Provider as _},
    spec::ServiceName,
};

use super::Etags;
use crate::{CloudRun, logging};

#[async_trait]
impl Jobs for CloudRun {
    async fn observe(&self, cx: &Ctx, job: &ServiceName) -> Result<ObservedJob> {
        let raw = client::get(self, cx, job).await?;
        let fingerprint = Etags::of(raw.as_ref(), None).fingerprint();
        Ok(ObservedJob { job: raw.map(wire::observed).transpose()?, fingerprint })
    }
    fn plan(&self, job: &ServiceName, intent: &JobIntent, observed: &ObservedJob) -> Result<Plan> {
        plan::plan(self.service_ref(job), intent, observed)
    }
    async fn apply(&self, cx: &Ctx, plan: &Plan, step: &Step, at: &Fingerprint) -> Result<Outcome> {
        apply::apply(self, cx, plan, step, at).await
    }
    async fn run(&self, cx: &Ctx, job: &ServiceName, overrides: &Overrides) -> Result<Execution> {
        executions::run(self, cx, job, overrides).await
    }
    async fn execution(&self, cx: &Ctx, job: &ServiceName, execution: &ExecutionId) -> Result<Option<Execution>> {
        client::execution(self, cx, job, execution).await?.map(|raw| wire::execution(&raw)).transpose()
    }
    async fn executions(&self, cx: &Ctx, job: &ServiceName) -> Result<Vec<Execution>> {
        let raw = client::executions(self, cx, job).await?;
        let mut list = raw.iter().map(wire::execution).collect::<Result<Vec<_>>>()?;
        list.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| b.id.cmp(&a.id)));
        Ok(list)
    }
    async fn tasks(&self, cx: &Ctx, job: &ServiceName, execution: &ExecutionId) -> Result<Vec<TaskRun>> {
        let raw = client::tasks(self, cx, job, execution).await?;
        let mut list = raw.iter().map(wire::task).collect::<Result<Vec<_>>>()?;
        list.sort_by_key(|task| task.index);
        Ok(list)
    }
    async fn cancel(&self, cx: &Ctx, job: &ServiceName, execution: &ExecutionId) -> Result<Execution> {
        executions::cancel(self, cx, job, execution).await
    }
    fn logs<'a>(&'a self, cx: &'a Ctx, job: &'a ServiceName, query: JobLogs) -> BoxStream<'a, Result<JobLine>> {
        logging::job_lines(self, cx, job, query)
    }
    async fn evidence(
        &self,
        cx: &Ctx,
        job: &ServiceName,
        failed: Option<(&ExecutionId, Option<&TaskRun>)>,
        said: &str,
    ) -> Result<Evidence> {
        evidence::evidence(self, cx, job, failed, said).await
    }
}

/// There is no job to do it with.
fn missing(provider: &CloudRun, job: &ServiceName) -> Error {
    let place = provider.service_ref(job);
    let text = format!("it does not exist in {}/{}", place.scope, place.region);
    Error::new(ErrorKind::NotFound, text).on(ResourceRef::new("job", job.as_str()))
}
