//! What a command needs to be allowed: asked beforehand, asked for its own sake, and told after a refusal.
use std::time::Duration;

use carrack_core::{
    Error, ErrorKind, Result,
    cause::{Cause, Code, Fix, FixStep},
    event::Ctx,
    job::{JobIntent, as_service},
    observed::Observed,
    permission::{Answer, Held, Members, Need, ScopeKind, Subject, Task, Who, together},
    plan::{Intent, Plan, Verb},
    provider::Provider,
    spec::{ImageRef, ServiceSpec, WorkloadSpec},
};
use tokio::time::Instant;

/// How long an answer is waited for that nothing depends on.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the tasks need, each permission once.
pub fn needs(provider: &dyn Provider, tasks: &[Task], subject: &Subject<'_>) -> Vec<Need> {
    together(tasks.iter().map(|task| provider.permissions().needs(*task, subject)))
}

/// Asks the cloud whether everything that `tasks` need is allowed. The account and the image that the file does not
/// name are those of the live service, when that may be read.
pub async fn check(cx: &Ctx, provider: &dyn Provider, tasks: &[Task], subject: &Subject<'_>) -> Result<Vec<Held>> {
    let live = async {
        Ok::<_, Error>(match subject.job {
            true => provider.jobs().observe(cx, subject.service).await?.job.map(|live| live.spec.workload),
            false => provider.observe(cx, subject.service).await?.service.map(|live| live.spec.workload),
        })
    };
    let live = match live.await {
        Ok(live) => live,
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound) => None,
        Err(error) => return Err(error),
    };
    let spec = filled(subject.spec, live.as_ref());
    provider.held(cx, &needs(provider, tasks, &Subject { spec: &spec, ..*subject })).await
}

/// What is missing, and always needed.
pub fn missing(held: &[Held]) -> Vec<&Need> {
    let missing = held.iter().filter(|held| matches!(held.answer, Answer::No { .. }));
    missing.map(|held| &held.need).filter(|need| need.only.is_none()).collect()
}

/// With the account and the image of the live service where the file names none.
fn filled(spec: &ServiceSpec, live: Option<&WorkloadSpec>) -> ServiceSpec {
    let mut spec = spec.clone();
    if let Some(theirs) = live {
        let ours = &mut spec.workload;
        ours.service_account = ours.service_account.take().or_else(|| theirs.service_account.clone());
        ours.main.image = ours.main.image.take().or_else(|| theirs.main.image.clone());
    }
    spec
}

/// What a plan is about.
struct About<'a> {
    plan: &'a Plan,
    task: Task,
    spec: ServiceSpec,
    push: Option<&'a ImageRef>,
    changes_access: bool,
}

impl<'a> About<'a> {
    fn new(plan: &'a Plan, live: Option<&WorkloadSpec>, push: Option<&'a ImageRef>) -> Self {
        let created = plan.steps.iter().any(|step| step.verb == Verb::Create);
        let deploys = if created { Task::First } else { Task::Change };
        let (task, spec) = match &plan.intent {
            Intent::Destroy | Intent::Job(JobIntent::Destroy) => (Task::Destroy, ServiceSpec::default()),
            Intent::Restore(revision) => (Task::Rollback, revision.spec.clone()),
            Intent::Traffic(_) => (Task::Traffic, ServiceSpec::default()),
            // Without a template nobody acts as the service's account.
            Intent::Deploy(_) if plan.steps.iter().all(|step| step.verb == Verb::Route) => {
                (Task::Traffic, ServiceSpec::default())
            }
            Intent::Deploy(deploy) => (deploys, filled(&deploy.spec, live)),
            Intent::Job(JobIntent::Deploy(deploy)) => (deploys, filled(&as_service(&deploy.spec), live)),
        };
        let mut changes = plan.steps.iter().flat_map(|step| &step.changes);
        let changes_access = changes.any(|change| change.path == "service.public");
        Self { plan, task, spec, push, changes_access }
    }
    fn subject(&self) -> Subject<'_> {
        let changes_access = Some(self.changes_access);
        let job = matches!(self.plan.intent, Intent::Job(_));
        Subject { push: self.push, changes_access, job, ..Subject::new(&self.plan.target.name, &self.spec) }
    }
}

/// Before the first change: one question to everything that the plan's steps need, side by side. What cannot be asked
/// is left to the steps themselves.
pub(super) async fn require<'a>(
    cx: &Ctx,
    provider: &dyn Provider,
    plan: &'a Plan,
    observed: impl Into<Option<&'a Observed>>,
    push: Option<&'a ImageRef>,
) -> Result<()> {
    require_of(cx, provider, plan, observed.into().and_then(workload), push).await
}

fn workload(observed: &Observed) -> Option<&WorkloadSpec> {
    observed.service.as_ref().map(|live| &live.spec.workload)
}

/// The same, of whatever is live.
pub(super) async fn require_of(
    cx: &Ctx,
    provider: &dyn Provider,
    plan: &Plan,
    live: Option<&WorkloadSpec>,
    push: Option<&ImageRef>,
) -> Result<()> {
    let (about, table) = (About::new(plan, live, push), provider.permissions());
    let subject = about.subject();
    // Whether there is a repository is known to the push.
    let at_times: Vec<Need> =
        table.needs(Task::Push, &subject).into_iter().filter(|need| need.only.is_some()).collect();
    let asked = |need: &Need| {
        let later = match need.on.kind {
            // Their answers are in hand.
            ScopeKind::Secret => true,
            // Its name is not.
            ScopeKind::ServiceAccount => subject.spec.workload.service_account.is_none(),
            _ => at_times.iter().any(|known| known.permission == need.permission && known.on == need.on),
        };
        need.who == Who::Deployer && need.only.is_none() && !later
    };
    let needs: Vec<Need> = table.needs(about.task, &subject).into_iter().filter(asked).collect();
    if needs.is_empty() {
        return Ok(());
    }
    match provider.held(&glance(cx), &needs).await {
        Ok(held) => match missing(&held).as_slice() {
            [] => Ok(()),
            missing => Err(refusal(provider, &[about.task], missing)),
        },
        Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
        Err(error) => {
            tracing::debug!(%error, "whether everything is allowed cannot be asked");
            Ok(())
        }
    }
}

fn glance(cx: &Ctx) -> Ctx {
    let soon = Instant::now() + PATIENCE;
    Ctx { deadline: Some(cx.deadline.map_or(soon, |deadline| deadline.min(soon))), ..cx.clone() }
}

/// The one text of what is missing: which permission, on what, what for, and the command that grants it.
pub fn refusal(provider: &dyn Provider, tasks: &[Task], missing: &[&Need]) -> Error {
    let list: Vec<String> =
        missing.iter().map(|need| format!("`{}` on {} ({})", need.permission, need.on, need.why)).collect();
    let what = if missing.len() == 1 { "permission" } else { "permissions" };
    let doing: Vec<&str> = tasks.iter().map(|task| task.meaning()).collect();
    let text = format!("to {}, the {what} {} {} missing", doing.join(" and "), list.join(", "), verb(missing.len()));
    let member = provider.member();
    let members = Members { deployer: member.as_deref(), runtime: runtime(missing) };
    let needs: Vec<Need> = missing.iter().map(|need| (*need).clone()).collect();
    let grants = provider.permissions().grants(&needs, members).into_iter();
    let fix = grants.map(|grant| FixStep::Command(grant.command)).chain([FixStep::Again]).collect();
    let act_as = missing.iter().all(|need| need.on.kind == ScopeKind::ServiceAccount);
    let code = if act_as { Code::ActAsDenied } else { Code::PermissionMissing };
    let error = Error::new(ErrorKind::PermissionDenied, text.clone())
        .with_permission(missing.first().map(|need| need.permission.clone()))
        .with_cause(Cause { code, message: text, fix: Fix(fix) });
    let names: Vec<&str> = tasks.iter().map(|task| task.name()).collect();
    error.hint(format!(
        "or grant precisely what is needed: `carrack permissions show --for {} --as gcloud`",
        names.join(",")
    ))
}

const fn verb(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// The account that the service runs as, where a need names it.
pub fn runtime<'a>(needs: &[&'a Need]) -> Option<&'a str> {
    let account = needs.iter().find(|need| need.on.kind == ScopeKind::ServiceAccount);
    account.map(|need| need.on.name.as_str())
}

/// The cloud's refusal in the words of [`refusal`]. What the cloud says is kept below; what it does not say is asked.
pub async fn explained(cx: &Ctx, provider: &dyn Provider, task: Task, subject: &Subject<'_>, error: Error) -> Error {
    let table = provider.permissions();
    let direct = error.kind() == ErrorKind::PermissionDenied && error.why().is_none();
    if !(direct || is_behind(&error)) || is_ours(&error) {
        return error;
    }
    let needs: Vec<Need> = table.needs(task, subject).into_iter().filter(|need| need.who == Who::Deployer).collect();
    let said = table.denied(&error);
    let named = |need: &&Need| said.as_ref().is_some_and(|said| need.permission.eq_ignore_ascii_case(said));
    let held = provider.held(&glance(cx), &needs).await.unwrap_or_default();
    let mut all = missing(&held);
    if all.is_empty() {
        let is_held = |need: &Need| held.iter().any(|held| held.need == *need && held.answer == Answer::Yes);
        all.extend(needs.iter().find(|need| named(need) && !is_held(need)));
    }
    if all.is_empty() && !direct {
        return error;
    }
    if all.is_empty() {
        return error.hint(format!(
            "nothing that this needs is known to be missing: `carrack permissions check --for {task}`; what was granted a moment ago takes some minutes"
        ));
    }
    let mut told = refusal(provider, &[task], &all);
    if let Some(request) = error.request() {
        told = told.with_request(request.clone());
    }
    if let Some(report) = error.report() {
        told = told.with_report(report.clone());
    }
    // What else would do; a role is in ours.
    for hint in error.hints().iter().filter(|hint| !hint.contains(" --role=")) {
        told = told.hint(hint.clone());
    }
    told.with_source(error)
}

/// A registry says the same of an image that is not there and of one that may not be read.
fn is_behind(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Error>());
    error.kind() == ErrorKind::NotFound && cause.is_some_and(|cause| cause.kind() == ErrorKind::PermissionDenied)
}

/// Told already.
fn is_ours(error: &Error) -> bool {
    error.request().is_none() && error.permission().is_some()
}

/// The refusal of a plan's step.
pub(super) async fn explained_step(
    cx: &Ctx,
    provider: &dyn Provider,
    plan: &Plan,
    observed: &Observed,
    push: Option<&ImageRef>,
    error: Error,
) -> Error {
    explained_step_of(cx, provider, plan, workload(observed), push, error).await
}

/// The same, of whatever is live.
pub(super) async fn explained_step_of(
    cx: &Ctx,
    provider: &dyn Provider,
    plan: &Plan,
    live: Option<&WorkloadSpec>,
    push: Option<&ImageRef>,
    error: Error,
) -> Error {
    let about = About::new(plan, live, push);
    explained(cx, provider, about.task, &about.subject(), error).await
}
