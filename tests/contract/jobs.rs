//! What every provider's jobs must hold to: plain functions, each on a job of its own.
use std::time::Duration;

use carrack_core::{
    Error, ErrorKind, Result,
    job::{
        Execution, ExecutionId, JobDeploy, JobIntent, JobLogs, JobSpec, Jobs, LiveJob, ObservedJob, Overrides,
        RunState, job_fields,
    },
    observed::Readiness,
    plan::{Plan, Verb},
    poll::{Poll, PollPolicy, poll_until},
    run::{RunReport, run},
    spec::EnvValue,
};
use futures_util::TryStreamExt;

use crate::cases::Backend;

/// How long an execution may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

impl Backend<'_> {
    fn jobs(&self) -> &dyn Jobs {
        self.provider.jobs()
    }

    fn job(&self, env: &[(&str, &str)]) -> JobDeploy {
        let mut spec = JobSpec { tasks: Some(2), retries: Some(0), ..JobSpec::default() };
        spec.workload.main.image = Some(self.images[0].clone());
        spec.workload.main.env =
            env.iter().map(|(name, value)| ((*name).to_owned(), EnvValue::Plain((*value).to_owned()))).collect();
        JobDeploy { spec, tables: vec!["env".into()], exact: Vec::new() }
    }

    async fn observe_job(&self) -> Result<ObservedJob> {
        self.jobs().observe(&self.cx, &self.name).await
    }

    async fn plan_job(&self, deploy: &JobDeploy) -> Result<Plan> {
        let intent = JobIntent::Deploy(Box::new(deploy.clone()));
        self.jobs().plan(&self.name, &intent, &self.observe_job().await?)
    }

    async fn deploy_job(&self, deploy: &JobDeploy) -> Result<RunReport> {
        run(self.provider, &self.cx, &self.plan_job(deploy).await?).await
    }

    async fn live_job(&self) -> Result<LiveJob> {
        self.observe_job().await?.job.ok_or_else(|| Error::new(ErrorKind::NotFound, "the job is gone"))
    }

    async fn ended(&self, id: &ExecutionId) -> Result<Execution> {
        poll_until(&self.cx, PollPolicy::within(PATIENCE), || async {
            let execution = self.jobs().execution(&self.cx, &self.name, id).await?;
            Ok(execution.filter(|execution| execution.state.is_end()).map_or(Poll::Pending, Poll::Ready))
        })
        .await
    }

    async fn run_job(&self, overrides: &Overrides) -> Result<Execution> {
        let started = self.jobs().run(&self.cx, &self.name, overrides).await?;
        self.ended(&started.id).await
    }
}

fn paths(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().flat_map(|step| &step.changes).map(|change| change.path.as_str()).collect()
}

pub(crate) async fn a_missing_job_is_no_error(backend: &Backend<'_>) -> Result<()> {
    let (jobs, cx, name) = (backend.jobs(), &backend.cx, &backend.name);
    let observed = backend.observe_job().await?;
    assert!(observed.job.is_none());
    assert!(jobs.plan(name, &JobIntent::Destroy, &observed)?.is_noop());
    assert!(jobs.executions(cx, name).await?.is_empty());
    let nobody = ExecutionId(format!("{name}-nobody"));
    assert_eq!(jobs.execution(cx, name, &nobody).await?, None);
    assert!(jobs.tasks(cx, name, &nobody).await?.is_empty());
    for error in [
        jobs.run(cx, name, &Overrides::default()).await.expect_err("there is no job"),
        jobs.run(cx, name, &Overrides { tasks: Some(2), ..Overrides::default() }).await.expect_err("there is no job"),
        jobs.cancel(cx, name, &nobody).await.expect_err("there is no execution"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    Ok(())
}

pub(crate) async fn a_first_job_without_an_image_is_refused(backend: &Backend<'_>) -> Result<()> {
    let mut deploy = backend.job(&[]);
    deploy.spec.workload.main.image = None;
    let error = backend.plan_job(&deploy).await.expect_err("no image");
    assert_eq!((error.kind(), error.field()), (ErrorKind::ConfigInvalid, Some("image")));
    Ok(())
}

pub(crate) async fn a_job_is_as_the_file_says_and_a_second_plan_is_empty(backend: &Backend<'_>) -> Result<()> {
    let deploy = backend.job(&[("A", "1")]);
    let plan = backend.plan_job(&deploy).await?;
    assert_eq!(plan.steps[0].verb, Verb::Create);
    assert!(backend.observe_job().await?.job.is_none(), "a plan writes nothing");
    backend.deploy_job(&deploy).await?;
    let live = backend.live_job().await?;
    let live_fields = job_fields(&live.spec);
    for (path, value) in job_fields(&deploy.spec) {
        assert_eq!(live_fields.get(&path), Some(&value), "{path}");
    }
    assert_eq!((live.readiness, live.latest), (Readiness::Ready, None));
    let receipt = live.receipt.expect("a receipt");
    assert_eq!(receipt.owned, job_fields(&deploy.spec).into_keys().collect::<Vec<_>>());
    assert_eq!(Some(receipt.digest.as_str()), backend.images[0].digest());
    assert!(!receipt.at.is_empty());
    assert!(backend.plan_job(&deploy).await?.is_noop());
    Ok(())
}

pub(crate) async fn a_jobs_entry_goes_with_the_file_and_what_is_unnamed_stays(backend: &Backend<'_>) -> Result<()> {
    backend.deploy_job(&backend.job(&[("A", "1"), ("B", "2")])).await?;
    let mut next = backend.job(&[("B", "3")]);
    (next.spec.tasks, next.spec.workload.main.image) = (None, None);
    let plan = backend.plan_job(&next).await?;
    assert_eq!(paths(&plan), ["env.A", "env.B"]);
    assert!(plan.kept.iter().any(|path| path == "job.tasks"), "{:?}", plan.kept);
    run(backend.provider, &backend.cx, &plan).await?;
    let live = backend.live_job().await?.spec;
    assert_eq!((live.tasks, live.workload.main.image), (Some(2), Some(backend.images[0].clone())));
    assert_eq!(live.workload.main.env.into_keys().collect::<Vec<_>>(), ["B"]);
    Ok(())
}

pub(crate) async fn a_stale_plan_of_a_job_is_a_conflict(backend: &Backend<'_>) -> Result<()> {
    backend.deploy_job(&backend.job(&[])).await?;
    let stale = backend.plan_job(&backend.job(&[("A", "1")])).await?;
    backend.deploy_job(&backend.job(&[("A", "2")])).await?;
    let error = run(backend.provider, &backend.cx, &stale).await.expect_err("it is stale");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let value = backend.live_job().await?.spec.workload.main.env.remove("A");
    assert_eq!(value, Some(EnvValue::Plain("2".to_owned())));
    Ok(())
}

pub(crate) async fn a_run_is_told_task_by_task(backend: &Backend<'_>) -> Result<()> {
    backend.deploy_job(&backend.job(&[])).await?;
    let first = backend.run_job(&Overrides::default()).await?;
    assert_eq!((first.state, first.tasks, first.succeeded, first.failed), (RunState::Succeeded, 2, 2, 0));
    let tasks = backend.jobs().tasks(&backend.cx, &backend.name, &first.id).await?;
    let shown: Vec<_> = tasks.iter().map(|task| (task.index, task.state, task.exit_code, task.retried)).collect();
    assert_eq!(shown, [(0, RunState::Succeeded, Some(0), 0), (1, RunState::Succeeded, Some(0), 0)]);
    let second = backend.run_job(&Overrides { tasks: Some(1), ..Overrides::default() }).await?;
    assert_eq!(second.tasks, 1);
    let listed = backend.jobs().executions(&backend.cx, &backend.name).await?;
    assert_eq!(listed.iter().map(|execution| &execution.id).collect::<Vec<_>>(), [&second.id, &first.id]);
    assert_eq!(backend.live_job().await?.latest, Some(second.id));
    assert_eq!(backend.live_job().await?.spec.tasks, Some(2), "a run changes no job");
    Ok(())
}

pub(crate) async fn a_task_that_fails_leaves_its_exit_code_and_evidence(backend: &Backend<'_>) -> Result<()> {
    let mut deploy = backend.job(&[("EXIT", "3")]);
    deploy.spec.retries = Some(1);
    backend.deploy_job(&deploy).await?;
    let failed = backend.run_job(&Overrides { tasks: Some(1), ..Overrides::default() }).await?;
    assert_eq!((failed.state, failed.failed), (RunState::Failed, 1));
    let tasks = backend.jobs().tasks(&backend.cx, &backend.name, &failed.id).await?;
    assert_eq!((tasks[0].exit_code, tasks[0].retried, tasks[0].state), (Some(3), 1, RunState::Failed));
    let about = Some((&failed.id, Some(&tasks[0])));
    let evidence = backend.jobs().evidence(&backend.cx, &backend.name, about, "").await?;
    let cause = evidence.cause().expect("a cause");
    assert_eq!(cause.code, carrack_core::cause::Code::TaskFailed);
    assert!(cause.message.contains("exit code 3"), "{}", cause.message);
    let passes = Overrides { env: [("EXIT".to_owned(), "0".to_owned())].into(), ..Overrides::default() };
    assert_eq!(backend.run_job(&passes).await?.state, RunState::Succeeded);
    Ok(())
}

pub(crate) async fn an_execution_that_ended_is_not_cancelled(backend: &Backend<'_>) -> Result<()> {
    backend.deploy_job(&backend.job(&[])).await?;
    let ended = backend.run_job(&Overrides::default()).await?;
    let error = backend.jobs().cancel(&backend.cx, &backend.name, &ended.id).await.expect_err("it has ended");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    Ok(())
}

pub(crate) async fn the_log_of_a_job_is_of_one_execution_and_one_task(backend: &Backend<'_>) -> Result<()> {
    backend.deploy_job(&backend.job(&[])).await?;
    let ids = [backend.run_job(&Overrides::default()).await?.id, backend.run_job(&Overrides::default()).await?.id];
    let lines = async |query: JobLogs| -> Result<Vec<_>> {
        backend.jobs().logs(&backend.cx, &backend.name, query).try_collect().await
    };
    let of_second = lines(JobLogs { execution: Some(ids[1].clone()), ..JobLogs::default() }).await?;
    assert!(!of_second.is_empty() && of_second.iter().all(|line| line.execution.as_ref() == Some(&ids[1])));
    let of_task = lines(JobLogs { execution: Some(ids[0].clone()), task: Some(1), ..JobLogs::default() }).await?;
    assert!(!of_task.is_empty() && of_task.iter().all(|line| line.task == Some(1)), "{of_task:?}");
    let all = lines(JobLogs::default()).await?;
    assert!(all.len() > of_second.len());
    Ok(())
}

pub(crate) async fn a_job_is_removed(backend: &Backend<'_>) -> Result<()> {
    backend.deploy_job(&backend.job(&[])).await?;
    let plan = backend.jobs().plan(&backend.name, &JobIntent::Destroy, &backend.observe_job().await?)?;
    assert_eq!(plan.steps[0].verb, Verb::Delete);
    run(backend.provider, &backend.cx, &plan).await?;
    assert!(backend.observe_job().await?.job.is_none());
    Ok(())
}
