//! Jobs in memory. An execution ends at once; a job whose environment has `EXIT` fails with it at every attempt.
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::{exit_code, merge, place, resource_receipt};
use crate::{
    Error, ErrorKind, Result,
    event::Ctx,
    evidence::{Evidence, Sign},
    job::{
        Execution, ExecutionId, JobIntent, JobLine, JobLogs, JobSpec, Jobs as Trait, LiveJob, ObservedJob, Overrides,
        RunState, TaskRun, as_service, job_diff, job_ownership, service_path,
    },
    observed::{Fingerprint, Readiness},
    plan::{FORMAT, Intent, Outcome, Plan, ResourceRef, Risk, Step, Verb},
    provider::{BoxStream, LogLine},
    receipt::Receipt,
    spec::{EnvValue, ServiceName},
};

/// Jobs that live as long as this value.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: Mutex<BTreeMap<ServiceName, Stored>>,
}

#[derive(Clone, Debug)]
struct Stored {
    generation: u64,
    spec: JobSpec,
    receipt: Receipt,
    /// The oldest first.
    executions: Vec<(Execution, Vec<TaskRun>)>,
    logs: Vec<JobLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Write(Box<Write>),
    Delete,
}

#[derive(Debug, Serialize, Deserialize)]
struct Write {
    spec: JobSpec,
    receipt: Receipt,
}

impl Jobs {
    fn by_name(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Stored>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fingerprint(stored: Option<&Stored>) -> Fingerprint {
    Fingerprint(stored.map_or_else(|| "none".to_owned(), |stored| stored.generation.to_string()))
}

fn missing(job: &ServiceName) -> Error {
    Error::new(ErrorKind::NotFound, "it does not exist").on(ResourceRef::new("job", job.as_str()))
}

#[async_trait]
impl Trait for Jobs {
    async fn observe(&self, _cx: &Ctx, job: &ServiceName) -> Result<ObservedJob> {
        let jobs = self.by_name();
        let stored = jobs.get(job);
        let live = stored.map(|stored| LiveJob {
            raw: serde_json::Value::Null,
            receipt: Some(stored.receipt.clone()),
            spec: stored.spec.clone(),
            latest: stored.executions.last().map(|(execution, _)| execution.id.clone()),
            readiness: Readiness::Ready,
        });
        Ok(ObservedJob { job: live, fingerprint: fingerprint(stored) })
    }

    fn plan(&self, job: &ServiceName, intent: &JobIntent, observed: &ObservedJob) -> Result<Plan> {
        let resource = ResourceRef::new("job", job.as_str());
        let live = observed.job.as_ref();
        let mut kept = Vec::new();
        let step = match (intent, live) {
            (JobIntent::Destroy, None) => None,
            (JobIntent::Destroy, Some(_)) => {
                let mut step = Step::new(1, Verb::Delete, resource, &Action::Delete)?;
                step.risk = Risk::DataLoss;
                Some(step)
            }
            (JobIntent::Deploy(deploy), _) => {
                if live.is_none() && deploy.spec.workload.main.image.is_none() {
                    let text = "a first deploy needs an image";
                    return Err(Error::new(ErrorKind::ConfigInvalid, text).at_field("image"));
                }
                let own = job_ownership(deploy, live);
                let before = live.map(|live| live.spec.clone()).unwrap_or_default();
                let mut after = before.clone();
                let write = own.write.iter().map(|path| service_path(path)).collect();
                after.workload = merge(&as_service(&before), &as_service(&deploy.spec), &write).workload;
                for path in &own.write {
                    match path.as_str() {
                        "job.tasks" => after.tasks = deploy.spec.tasks,
                        "job.parallelism" => after.parallelism = deploy.spec.parallelism,
                        "job.retries" => after.retries = deploy.spec.retries,
                        "job.timeout" => after.timeout = deploy.spec.timeout,
                        _ => {}
                    }
                }
                let changes = job_diff(&before, &after);
                kept = own.kept;
                if changes.is_empty() {
                    None
                } else {
                    let receipt = resource_receipt(after.workload.main.image.as_ref(), None, own.receipt);
                    let verb = if live.is_some() { Verb::Update } else { Verb::Create };
                    let mut step =
                        Step::new(1, verb, resource, &Action::Write(Box::new(Write { spec: after, receipt })))?;
                    step.changes = changes;
                    Some(step)
                }
            }
        };
        Ok(Plan {
            format: FORMAT,
            target: place(job),
            intent: Intent::Job(intent.clone()),
            base: observed.fingerprint.clone(),
            steps: step.into_iter().collect(),
            kept,
        })
    }

    async fn apply(&self, cx: &Ctx, plan: &Plan, step: &Step, at: &Fingerprint) -> Result<Outcome> {
        let name = &plan.target.name;
        let mut jobs = self.by_name();
        if fingerprint(jobs.get(name)) != *at {
            return Err(Error::new(ErrorKind::Conflict, "the job was changed meanwhile").on(step.resource.clone()));
        }
        match step.action()? {
            Action::Delete => drop(jobs.remove(name)),
            Action::Write(write) => {
                let Write { spec, receipt } = *write;
                let receipt = receipt.stamped(&cx.stamp, Some("memory"));
                let stored = jobs.entry(name.clone()).or_insert_with(|| Stored {
                    generation: 0,
                    spec: JobSpec::default(),
                    receipt: receipt.clone(),
                    executions: Vec::new(),
                    logs: Vec::new(),
                });
                stored.generation += 1;
                (stored.spec, stored.receipt) = (spec, receipt);
            }
        }
        Ok(Outcome { revision: None, url: None, fingerprint: fingerprint(jobs.get(name)) })
    }

    async fn run(&self, _cx: &Ctx, job: &ServiceName, overrides: &Overrides) -> Result<Execution> {
        let mut jobs = self.by_name();
        let stored = jobs.get_mut(job).ok_or_else(|| missing(job))?;
        let now = jiff::Timestamp::now().to_string();
        let id = ExecutionId(format!("{job}-{:05}", stored.executions.len() + 1));
        let count = overrides.tasks.or(stored.spec.tasks).unwrap_or(1);
        let variable = overrides.env.get("EXIT").map(|text| EnvValue::Plain(text.clone()));
        let variable = variable.or_else(|| stored.spec.workload.main.env.get("EXIT").cloned());
        let code = variable.as_ref().and_then(exit_code).filter(|code| *code != 0);
        let state = if code.is_some() { RunState::Failed } else { RunState::Succeeded };
        let message = code.map(|code| format!("the container ended with exit code {code}"));
        let tasks = (0..count).map(|index| TaskRun {
            index,
            state,
            retried: code.and(stored.spec.retries).unwrap_or(0),
            exit_code: Some(code.unwrap_or(0)),
            signal: None,
            message: message.clone(),
            started: Some(now.clone()),
            completed: Some(now.clone()),
        });
        let tasks: Vec<TaskRun> = tasks.collect();
        stored.logs.extend(tasks.iter().map(|task| JobLine {
            execution: Some(id.clone()),
            task: Some(task.index),
            system: false,
            line: LogLine {
                at: now.clone(),
                revision: None,
                severity: "DEFAULT".to_owned(),
                text: format!("task {} {}", task.index, state.name()),
            },
        }));
        let all = |wanted: RunState| if state == wanted { count } else { 0 };
        let execution = Execution {
            id,
            state,
            message,
            tasks: count,
            running: 0,
            succeeded: all(RunState::Succeeded),
            failed: all(RunState::Failed),
            cancelled: 0,
            created: now.clone(),
            started: Some(now.clone()),
            completed: Some(now),
        };
        stored.executions.push((execution.clone(), tasks));
        Ok(execution)
    }

    async fn execution(&self, cx: &Ctx, job: &ServiceName, execution: &ExecutionId) -> Result<Option<Execution>> {
        Ok(self.executions(cx, job).await?.into_iter().find(|found| found.id == *execution))
    }

    async fn executions(&self, _cx: &Ctx, job: &ServiceName) -> Result<Vec<Execution>> {
        let jobs = self.by_name();
        let executions = jobs.get(job).into_iter().flat_map(|stored| stored.executions.iter().rev());
        Ok(executions.map(|(execution, _)| execution.clone()).collect())
    }

    async fn tasks(&self, _cx: &Ctx, job: &ServiceName, execution: &ExecutionId) -> Result<Vec<TaskRun>> {
        let jobs = self.by_name();
        let found = jobs.get(job).and_then(|stored| stored.executions.iter().find(|(found, _)| found.id == *execution));
        Ok(found.map(|(_, tasks)| tasks.clone()).unwrap_or_default())
    }

    async fn cancel(&self, cx: &Ctx, job: &ServiceName, execution: &ExecutionId) -> Result<Execution> {
        let on = |error: Error| error.on(ResourceRef::new("execution", execution.0.as_str()));
        match self.execution(cx, job, execution).await? {
            None => Err(on(Error::new(ErrorKind::NotFound, "it does not exist"))),
            Some(_) => Err(on(Error::new(ErrorKind::Conflict, "it has ended already"))),
        }
    }

    fn logs<'a>(&'a self, _cx: &'a Ctx, job: &'a ServiceName, query: JobLogs) -> BoxStream<'a, Result<JobLine>> {
        let mut lines = self.by_name().get(job).map(|stored| stored.logs.clone()).unwrap_or_default();
        lines.retain(|line| query.execution.is_none() || line.execution == query.execution);
        lines.retain(|line| query.task.is_none() || line.task == query.task);
        let skipped = lines.len().saturating_sub(query.tail.unwrap_or(usize::MAX));
        Box::pin(stream::iter(lines.into_iter().skip(skipped).map(Ok)))
    }

    async fn evidence(
        &self,
        _cx: &Ctx,
        job: &ServiceName,
        failed: Option<(&ExecutionId, Option<&TaskRun>)>,
        _said: &str,
    ) -> Result<Evidence> {
        let jobs = self.by_name();
        let Some(stored) = jobs.get(job) else { return Ok(Evidence::default()) };
        let own = |line: &&JobLine| failed.is_none_or(|(execution, _)| line.execution.as_ref() == Some(execution));
        let code = failed.and_then(|(_, task)| task?.exit_code);
        Ok(Evidence {
            signs: code.map(Sign::Exited).into_iter().collect(),
            of_task: true,
            image: stored.spec.workload.main.image.clone(),
            lines: stored.logs.iter().filter(own).map(|line| line.line.text.clone()).collect(),
            ..Evidence::default()
        })
    }
}
