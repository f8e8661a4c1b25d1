//! Deploying a job: as a service, but that nothing serves afterwards.
use std::time::Duration;

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    job::{ExecutionId, JobDeploy, JobIntent, ObservedJob, TaskRun},
    observed::{Observed, Readiness},
    plan::{Intent, Plan},
    poll::{Poll, PollPolicy, poll_until},
    provider::Provider,
    spec::ServiceName,
};
use tokio::time::Instant;

use super::{
    Outcome, Report,
    converge::converge,
    deploy::{Prepared, Request, changes_image, found_image},
    deploy_secrets::{self, Grant},
    dossier::LAST_LINES,
    image::{LocalImage, pushed_once},
    permissions,
};
use crate::image::{Tag, Ways};

/// How long somebody else's change is waited for.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How long the evidence is waited for.
const GATHERING: Duration = Duration::from_secs(20);

/// The live job, once the cloud has finished what it was asked before.
pub async fn settled(cx: &Ctx, provider: &dyn Provider, name: &ServiceName) -> Result<ObservedJob> {
    let progressing = |observed: &ObservedJob| {
        observed.job.as_ref().is_some_and(|job| matches!(job.readiness, Readiness::Progressing(_)))
    };
    let observed = provider.jobs().observe(cx, name).await?;
    if !progressing(&observed) {
        return Ok(observed);
    }
    cx.events.emit(Event::Note { message: format!("waiting for a change of `{name}` that is under way") });
    poll_until(cx, PollPolicy::within(PATIENCE), || async {
        let observed = provider.jobs().observe(cx, name).await?;
        Ok(if progressing(&observed) { Poll::Pending } else { Poll::Ready(observed) })
    })
    .await
}

/// The error for a command that needs a job that is not there.
pub fn missing(provider: &dyn Provider, name: &ServiceName) -> Error {
    let place = provider.service_ref(name);
    Error::new(ErrorKind::NotFound, format!("job `{name}` does not exist in {}/{}", place.scope, place.region))
        .hint("run `carrack deploy`")
}

/// Looks at the job and at its secrets.
pub(super) async fn observed(
    cx: &Ctx,
    provider: &dyn Provider,
    name: &ServiceName,
    deploy: &mut JobDeploy,
    options: &deploy_secrets::Options,
) -> Result<(ObservedJob, Vec<Grant>)> {
    let account = |observed: &ObservedJob| observed.job.as_ref()?.spec.workload.service_account.clone();
    let look = settled(cx, provider, name);
    deploy_secrets::checked(cx, provider, &mut deploy.spec.workload, options, look, account).await
}

/// Builds the image and looks at the job, side by side, and plans.
pub(super) async fn look(cx: &Ctx, request: &Request<'_>, deploy: &JobDeploy) -> Result<Prepared> {
    let Request { provider, name, .. } = request;
    let mut deploy = deploy.clone();
    let image = found_image(cx, request);
    let ((image, local), (job, grants)) =
        tokio::try_join!(image, observed(cx, *provider, name, &mut deploy, &request.secrets))?;
    deploy.spec.workload.main.image = image;
    let plan = provider.jobs().plan(name, &JobIntent::Deploy(Box::new(deploy)), &job)?;
    cx.events.emit(Event::Planned { plan: Box::new(plan.clone()) });
    let (observed, flags) = (no_service(&job), request.secrets.flags.clone());
    Ok(Prepared { plan, observed, job: Some(job), local, grants, open: None, flags })
}

/// A job's plan knows its own precondition.
pub(super) fn no_service(job: &ObservedJob) -> Observed {
    Observed { service: None, fingerprint: job.fingerprint.clone() }
}

/// Does what was prepared. A plan that is empty sends nothing.
pub(super) async fn apply(cx: &Ctx, provider: &dyn Provider, ways: &dyn Ways, prepared: Prepared) -> Result<Report> {
    let Prepared { plan, job, local, grants, .. } = prepared;
    let started = Instant::now();
    let workload = job.as_ref().and_then(|job| job.job.as_ref()).map(|live| &live.spec.workload);
    let asked = match &plan.intent {
        Intent::Job(JobIntent::Deploy(deploy)) => deploy.spec.workload.main.image.as_ref(),
        _ => None,
    };
    let live_image = || workload.and_then(|workload| workload.main.image.as_ref());
    let mut report = Report {
        service: plan.target.clone(),
        result: Outcome::NoChanges,
        url: None,
        revision: None,
        tag: None,
        digest: asked.or_else(live_image).and_then(|image| image.digest()).map(str::to_owned),
        probe: None,
        run: None,
        elapsed: started.elapsed(),
    };
    if plan.is_noop() {
        deploy_secrets::grant(cx, provider.secrets(), &grants).await?;
        return Ok(report);
    }
    let local = local.filter(|local| changes_image(&plan, local));
    let pushed = local.as_ref().map(LocalImage::reference);
    permissions::require_of(cx, provider, &plan, workload, pushed.as_ref()).await?;
    deploy_secrets::grant(cx, provider.secrets(), &grants).await?;
    let done = async {
        if let Some(local) = &local {
            pushed_once(cx, provider, ways, local, Tag::Wanted("latest".to_owned())).await?;
        }
        match converge(cx, provider, plan.clone()).await {
            Err(error) => Err(explained(cx, provider, &plan.target.name, error).await),
            done => done,
        }
    };
    let done = match done.await {
        Ok(done) => done,
        Err(error) => {
            return Err(permissions::explained_step_of(cx, provider, &plan, workload, pushed.as_ref(), error).await);
        }
    };
    report.result = Outcome::Deployed;
    report.run = Some(done);
    report.elapsed = started.elapsed();
    Ok(report)
}

/// What will be removed; empty when it does not exist.
pub async fn prepare_destroy(cx: &Ctx, provider: &dyn Provider, name: &ServiceName) -> Result<Plan> {
    let observed = settled(cx, provider, name).await?;
    let plan = provider.jobs().plan(name, &JobIntent::Destroy, &observed)?;
    cx.events.emit(Event::Planned { plan: Box::new(plan.clone()) });
    Ok(plan)
}

/// The error of a deploy with its cause.
async fn explained(cx: &Ctx, provider: &dyn Provider, name: &ServiceName, error: Error) -> Error {
    let about_job = error.resource().is_some_and(|resource| resource.kind == "job");
    if error.kind() == ErrorKind::Cancelled || !(about_job || error.kind() == ErrorKind::Unhealthy) {
        return error;
    }
    // Gathered also when the time for the deploy is up.
    let cx = &Ctx { deadline: Some(Instant::now() + GATHERING), ..cx.clone() };
    match provider.jobs().evidence(cx, name, None, error.message()).await {
        Ok(evidence) => match evidence.cause() {
            Some(cause) => error.with_cause(cause),
            None => error,
        },
        Err(cause) => {
            cx.events.emit(Event::Warning { message: format!("the cause cannot be looked for: {cause}") });
            error
        }
    }
}

/// The error of an execution, with the cause and the last lines of the first task that failed.
pub(super) async fn explained_run(
    cx: &Ctx,
    provider: &dyn Provider,
    name: &ServiceName,
    failed: (&ExecutionId, Option<&TaskRun>),
    mut error: Error,
) -> Error {
    let cx = &Ctx { deadline: Some(Instant::now() + GATHERING), ..cx.clone() };
    match provider.jobs().evidence(cx, name, Some(failed), error.message()).await {
        Ok(evidence) => {
            for line in evidence.last_lines(LAST_LINES) {
                error = error.detail(line);
            }
            match evidence.cause() {
                Some(cause) => error.with_cause(cause),
                None => error,
            }
        }
        Err(cause) => {
            cx.events.emit(Event::Warning { message: format!("the cause cannot be looked for: {cause}") });
            error
        }
    }
}

/// What is live, for a plan that is made again.
pub(super) async fn again(
    cx: &Ctx,
    provider: &dyn Provider,
    plan: &Plan,
    intent: &JobIntent,
) -> Result<(Observed, Plan)> {
    let observed = settled(cx, provider, &plan.target.name).await?;
    let fresh = provider.jobs().plan(&plan.target.name, intent, &observed)?;
    Ok((no_service(&observed), fresh))
}
