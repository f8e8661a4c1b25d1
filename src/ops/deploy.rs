//! Build, observe, plan, push, apply, verify.
use std::{path::PathBuf, sync::Arc, time::Duration};

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    job::{JobDeploy, ObservedJob},
    observed::{Observed, ObservedService, Readiness},
    permission::{Subject, Task},
    plan::{Deploy, Intent, NewTraffic, Plan, ResourceRef},
    provider::Provider,
    run::RunReport,
    spec::{ImageRef, ServiceName},
};
use tokio::time::Instant;

use super::{
    Outcome, Report, TagUrl,
    converge::converge,
    deploy_secrets::{self, Grant},
    dossier::{explained, explained_later},
    image::{Images, LocalImage, built_once, pinned, pinned_sidecars, pushed_once},
    jobs, permissions, rollout,
    traffic::{open_choice, who_serves},
    verify,
};
use crate::image::{Recipe, Tag, Ways};

/// Where the image comes from.
#[derive(Clone, Debug)]
pub enum Image {
    /// What is live stays.
    Keep,
    /// From a registry.
    Ref(ImageRef),
    /// Built here.
    Build {
        /// How.
        recipe: Recipe,
        /// The layout folder.
        layout: PathBuf,
        /// `HOST/PATH`.
        repository: String,
        /// What else is built in this run.
        images: Arc<Images>,
    },
}

/// One deploy.
#[derive(Debug)]
pub struct Request<'a> {
    /// The cloud.
    pub provider: &'a dyn Provider,
    /// To registries.
    pub ways: &'a dyn Ways,
    /// The service.
    pub name: ServiceName,
    /// What the file says.
    pub deploy: Deploy,
    /// The same, where the file is of a job.
    pub job: Option<JobDeploy>,
    /// Where the image comes from.
    pub image: Image,
    /// Whether it was said what becomes of the traffic.
    pub chosen: bool,
    /// What is done with secrets that cannot be read.
    pub secrets: deploy_secrets::Options,
}

/// A plan, and the image that it needs.
#[derive(Debug)]
pub struct Prepared {
    /// What will be done.
    pub plan: Plan,
    /// What was seen.
    pub observed: Observed,
    /// The same, of a job.
    pub job: Option<ObservedJob>,
    /// An image that the registry may lack.
    pub local: Option<LocalImage>,
    /// What the service shall be able to read.
    pub grants: Vec<Grant>,
    /// The traffic was split by hand, and nobody said what becomes of it: a refusal that names the ways on.
    pub open: Option<Error>,
    /// The flags by which another command finds the same place.
    pub flags: String,
}

/// Builds the image and looks at the service, side by side, and plans.
pub async fn prepare(cx: &Ctx, request: &Request<'_>) -> Result<Prepared> {
    let looked = match &request.job {
        Some(job) => Box::pin(jobs::look(cx, request, job)).await,
        None => Box::pin(look(cx, request)).await,
    };
    match looked {
        Err(error) => {
            let mut spec = request.deploy.spec.clone();
            let push = match &request.image {
                Image::Build { repository, .. } => Some(ImageRef(repository.clone())),
                Image::Ref(image) => {
                    spec.workload.main.image = Some(image.clone());
                    None
                }
                Image::Keep => None,
            };
            let job = request.job.is_some();
            let subject = Subject { push: push.as_ref(), job, ..Subject::new(&request.name, &spec) };
            Err(permissions::explained(cx, request.provider, Task::Plan, &subject, error).await)
        }
        prepared => prepared,
    }
}

/// The image by its digest, and the one that the registry may lack.
pub(super) async fn found_image(cx: &Ctx, request: &Request<'_>) -> Result<(Option<ImageRef>, Option<LocalImage>)> {
    match &request.image {
        Image::Keep => Ok((None, None)),
        Image::Ref(image) => Ok((Some(pinned(cx, request.ways, image).await?), None)),
        Image::Build { recipe, layout, repository, images } => {
            let local = built_once(cx, request.ways, (recipe, layout), repository, images).await?;
            Ok((Some(local.reference()), Some(local)))
        }
    }
}

async fn look(cx: &Ctx, request: &Request<'_>) -> Result<Prepared> {
    let Request { provider, name, .. } = request;
    let image = found_image(cx, request);
    let mut deploy = request.deploy.clone();
    let observed = deploy_secrets::observed(cx, *provider, name, &mut deploy.spec, &request.secrets);
    let sidecars = pinned_sidecars(cx, request.ways, &request.deploy.spec);
    let ((image, local), (observed, grants), sidecars) = tokio::try_join!(image, observed, sidecars)?;
    deploy.spec.workload.main.image = image;
    for (name, image) in sidecars {
        deploy.spec.workload.sidecars.entry(name).or_default().image = Some(image);
    }
    let live = observed.service.as_ref();
    if request.chosen {
        // Somebody said what becomes of the traffic, and that is no rollout.
        deploy.rollout = None;
    }
    // It is asked for by its own URL; who serves goes on.
    let aside = deploy.tag.is_some() && !request.chosen && live.is_some_and(ObservedService::pinned);
    // The traffic goes over in steps, where there is somebody to take it from.
    let serves = live.is_some_and(|live| !live.traffic.0.is_empty());
    if aside || (serves && deploy.rollout.is_some()) {
        deploy.traffic = NewTraffic::None;
    }
    let plan = provider.plan(name, &Intent::Deploy(Box::new(deploy)), &observed)?;
    cx.events.emit(Event::Planned { plan: Box::new(plan.clone()) });
    // A tag is a choice too.
    let chosen = request.chosen || request.deploy.tag.is_some();
    let open = open_choice(&plan, &observed).filter(|_| !chosen);
    Ok(Prepared { plan, observed, job: None, local, grants, open, flags: request.secrets.flags.clone() })
}

/// The whole way, from the file to a service that answers.
pub async fn deploy(cx: &Ctx, request: &Request<'_>) -> Result<Report> {
    let started = Instant::now();
    let mut prepared = Box::pin(prepare(cx, request)).await?;
    if let Some(open) = prepared.open.take() {
        return Err(open);
    }
    let mut report = Box::pin(apply(cx, request.provider, request.ways, prepared)).await?;
    report.elapsed = started.elapsed();
    Ok(report)
}

/// Does what was prepared. A plan that is empty sends nothing.
pub async fn apply(cx: &Ctx, provider: &dyn Provider, ways: &dyn Ways, prepared: Prepared) -> Result<Report> {
    if let Intent::Job(_) = &prepared.plan.intent {
        // Boxed, as every part of this is that is not always needed: together they are more than a small stack holds.
        return Box::pin(jobs::apply(cx, provider, ways, prepared)).await;
    }
    if let Intent::Deploy(deploy) = &prepared.plan.intent
        && let (Some(rollout), NewTraffic::None) = (deploy.rollout.clone(), deploy.traffic)
    {
        // On the heap: who deploys without steps needs no stack for them.
        return Box::pin(rollout::rollout(cx, provider, ways, prepared, rollout)).await;
    }
    let started = Instant::now();
    let Prepared { plan, observed, grants, .. } = &prepared;
    let name = &plan.target.name;
    let live = observed.service.as_ref();
    let mut report = before(&prepared);
    if plan.is_noop() {
        deploy_secrets::grant(cx, provider.secrets(), grants).await?;
        if let Some(live) = live {
            if let Err(error) = unchanged(cx, live) {
                return Err(explained(cx, provider, ways, name, error).await);
            }
            let reached = reached(&mut report, plan, live);
            report.probe = verified(cx, provider, &report, reached, live.spec.public == Some(true), false).await?;
        }
        report.elapsed = started.elapsed();
        return Ok(report);
    }
    let (public, opened) = (is_public(plan, observed), opens(plan, observed));
    let done = write(cx, provider, ways, &prepared).await?;
    report.result = Outcome::Deployed;
    report.url = done.url.clone().or(report.url);
    // A change of traffic alone makes none: then the newest there is has it all.
    let newest = live.and_then(|live| live.latest_ready.clone()).filter(|_| takes_all(plan));
    report.revision = done.revision.clone().or(newest).or(report.revision);
    let probe = async {
        let mut reached = Reached::Service;
        if let Intent::Deploy(deploy) = &plan.intent
            && (deploy.traffic == NewTraffic::None || deploy.tag.is_some())
            && let Some(live) = provider.observe(cx, name).await?.service
        {
            reached = self::reached(&mut report, plan, &live);
        }
        verified(cx, provider, &report, reached, public, opened).await
    };
    report.probe = probe.await.map_err(|error| error.with_report(done.clone()))?;
    report.run = Some(done);
    report.elapsed = started.elapsed();
    Ok(report)
}

/// Where the newest revision is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// It has traffic.
    Service,
    /// It has none, and a tag.
    Tag(String),
    /// It has neither.
    Nowhere,
}

/// Where the newest revision of a live service is reached; the report is told its name and its tag.
fn reached(report: &mut Report, plan: &Plan, live: &ObservedService) -> Reached {
    let Intent::Deploy(deploy) = &plan.intent else { return Reached::Service };
    let tag = deploy.tag.as_ref().map(|name| {
        let target = live.targets.iter().find(|target| target.tag.as_ref() == Some(name));
        TagUrl { name: name.clone(), url: target.and_then(|target| target.url.clone()) }
    });
    report.tag.clone_from(&tag);
    if deploy.traffic == NewTraffic::All
        || live.latest_ready.as_ref().is_none_or(|new| live.traffic.0.contains_key(new))
    {
        return Reached::Service;
    }
    report.revision.clone_from(&live.latest_ready);
    tag.and_then(|tag| tag.url).map_or(Reached::Nowhere, Reached::Tag)
}

/// The report of a deploy that has done nothing yet.
pub(super) fn before(Prepared { plan, observed, .. }: &Prepared) -> Report {
    let live = observed.service.as_ref();
    Report {
        service: plan.target.clone(),
        result: Outcome::NoChanges,
        url: live.and_then(|live| live.url.clone()),
        revision: live
            .and_then(|live| live.traffic.0.iter().max_by_key(|(_, percent)| **percent))
            .map(|(id, _)| id.clone()),
        digest: image_of(plan, observed),
        tag: None,
        probe: None,
        run: None,
        elapsed: Duration::ZERO,
    }
}

/// Asks whether it is allowed, grants, pushes, and carries the plan out.
pub(super) async fn write(
    cx: &Ctx,
    provider: &dyn Provider,
    ways: &dyn Ways,
    Prepared { plan, observed, local, grants, .. }: &Prepared,
) -> Result<RunReport> {
    let local = local.as_ref().filter(|local| changes_image(plan, local));
    let pushed = local.map(LocalImage::reference);
    permissions::require(cx, provider, plan, Some(observed), pushed.as_ref()).await?;
    deploy_secrets::grant(cx, provider.secrets(), grants).await?;
    let done = async {
        if let Some(local) = local {
            pushed_once(cx, provider, ways, local, Tag::Wanted("latest".to_owned())).await?;
        }
        match converge(cx, provider, plan.clone()).await {
            Err(error) => Err(explained(cx, provider, ways, &plan.target.name, error).await),
            done => done,
        }
    };
    match done.await {
        Ok(done) => Ok(done),
        Err(error) => Err(permissions::explained_step(cx, provider, plan, observed, pushed.as_ref(), error).await),
    }
}

/// Asks the service itself, or the newest revision where it has no traffic.
pub(super) async fn verified(
    cx: &Ctx,
    provider: &dyn Provider,
    report: &Report,
    reached: Reached,
    public: bool,
    opened: bool,
) -> Result<Option<verify::Probe>> {
    let Some(service) = &report.url else { return Ok(None) };
    let revision = report.revision.as_ref().map_or("the newest revision", |revision| revision.0.as_str());
    let url = match &reached {
        Reached::Service => service,
        Reached::Tag(url) => url,
        Reached::Nowhere => {
            let message = format!("not probed: {revision} has no traffic, and no URL of its own without `--tag NAME`");
            cx.events.emit(Event::Note { message });
            return Ok(None);
        }
    };
    match verify::verify_at(cx, provider, url, service, public, opened).await {
        Ok(probe) => Ok(probe),
        Err(error) => {
            let error = error.hint(match reached {
                Reached::Service => {
                    format!("{revision} has the traffic: mend it, or deploy an earlier image with `--image REF@DIGEST`")
                }
                _ => format!("{revision} has no traffic: who served before goes on"),
            });
            Err(explained_later(cx, provider, &report.service.name, report.revision.as_ref(), error).await)
        }
    }
}

/// Nothing to do is no success when what is live does not serve.
fn unchanged(cx: &Ctx, live: &ObservedService) -> Result<()> {
    if let Readiness::Failed(why) = &live.readiness {
        let text = format!("there is nothing to change, but the service is not ready: {why}");
        let error = Error::new(ErrorKind::Unhealthy, text);
        return Err(match live.latest.as_ref().filter(|latest| Some(*latest) != live.latest_ready.as_ref()) {
            Some(latest) => error.on(ResourceRef::new("revision", latest.0.clone())),
            None => error,
        });
    }
    if live.latest_ready.as_ref().is_some_and(|latest| !live.traffic.0.contains_key(latest)) {
        let message = format!("the newest revision gets no traffic: {}", who_serves(live));
        cx.events.emit(Event::Warning { message });
    }
    Ok(())
}

fn takes_all(plan: &Plan) -> bool {
    matches!(&plan.intent, Intent::Deploy(deploy) if deploy.traffic == NewTraffic::All)
}

pub(super) fn changes_image(plan: &Plan, local: &LocalImage) -> bool {
    let reference = local.reference().0;
    plan.steps.iter().flat_map(|step| &step.changes).any(|change| {
        change.path == "image" && change.to.as_ref().is_some_and(|to| to.to_string() == reference)
            || matches!(change.path.as_str(), "revision" | "job")
    })
}

fn image_of(plan: &Plan, observed: &Observed) -> Option<String> {
    let asked = match &plan.intent {
        Intent::Deploy(deploy) => deploy.spec.workload.main.image.as_ref(),
        Intent::Restore(revision) => Some(&revision.image),
        Intent::Traffic(_) | Intent::Destroy | Intent::Job(_) => None,
    };
    let live = || observed.service.as_ref()?.spec.workload.main.image.as_ref();
    asked.or_else(live)?.digest().map(str::to_owned)
}

/// Whether anyone may call it only from now on.
pub(super) fn opens(plan: &Plan, observed: &Observed) -> bool {
    let mut changes = plan.steps.iter().flat_map(|step| &step.changes);
    is_public(plan, observed) && changes.any(|change| change.path == "service.public")
}

/// As the file says, else as it is live; a new service is private.
pub(super) fn is_public(plan: &Plan, observed: &Observed) -> bool {
    let asked = match &plan.intent {
        Intent::Deploy(deploy) => deploy.spec.public,
        Intent::Traffic(_) | Intent::Restore(_) | Intent::Destroy | Intent::Job(_) => None,
    };
    asked.or_else(|| observed.service.as_ref()?.spec.public).unwrap_or(false)
}
