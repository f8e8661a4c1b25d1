//! `plan --out FILE` and `deploy --plan FILE`: what was looked at is what is applied.
use std::path::Path;

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    job::JobIntent,
    plan::{FORMAT, Intent, Plan},
    provider::Provider,
};

use super::{deploy::Prepared, deploy_secrets, jobs, observe::settled};

/// Writes a plan for [`read`].
pub fn write(plan: &Plan, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(plan)
        .map_err(|e| Error::new(ErrorKind::Internal, "encoding the plan failed").with_source(e))?;
    std::fs::write(path, text + "\n")
        .map_err(|e| Error::new(ErrorKind::Unclassified, format!("cannot write `{}`", path.display())).with_source(e))
}

/// Reads a plan that [`write`] wrote.
pub fn read(path: &Path) -> Result<Plan> {
    let invalid =
        |message: String| Error::new(ErrorKind::PlanInvalid, message).hint("make it anew: `carrack plan --out FILE`");
    let text = std::fs::read_to_string(path)
        .map_err(|e| invalid(format!("cannot read `{}`", path.display())).with_source(e))?;
    let plan: Plan = serde_json::from_str(&text)
        .map_err(|e| invalid(format!("`{}` is not a plan of this version", path.display())).with_source(e))?;
    if plan.format != FORMAT {
        return Err(invalid(format!("`{}` has format {}, this version reads {FORMAT}", path.display(), plan.format)));
    }
    Ok(plan)
}

/// Looks again; the plan is good only while planning again gives the same steps.
pub async fn prepare(
    cx: &Ctx,
    provider: &dyn Provider,
    saved: Plan,
    secrets: &deploy_secrets::Options,
) -> Result<Prepared> {
    let name = &saved.target.name;
    if let Intent::Job(intent) = &saved.intent {
        let (job, grants) = match intent {
            JobIntent::Deploy(deploy) => jobs::observed(cx, provider, name, &mut deploy.clone(), secrets).await?,
            JobIntent::Destroy => (jobs::settled(cx, provider, name).await?, Vec::new()),
        };
        let plan = same(cx, &saved, provider.jobs().plan(name, intent, &job)?)?;
        let (observed, flags) = (jobs::no_service(&job), secrets.flags.clone());
        return Ok(Prepared { plan, observed, job: Some(job), local: None, grants, open: None, flags });
    }
    let (observed, grants) = match &saved.intent {
        // Versions are numbers already: a newer one changes nothing.
        Intent::Deploy(deploy) => {
            deploy_secrets::observed(cx, provider, name, &mut deploy.spec.clone(), secrets).await?
        }
        Intent::Traffic(_) | Intent::Restore(_) | Intent::Destroy | Intent::Job(_) => {
            (settled(cx, provider, name).await?, Vec::new())
        }
    };
    let plan = same(cx, &saved, provider.plan(name, &saved.intent, &observed)?)?;
    // Whoever made it saw what becomes of the traffic.
    Ok(Prepared { plan, observed, job: None, local: None, grants, open: None, flags: secrets.flags.clone() })
}

/// The plan of now, while it does what the saved one does.
fn same(cx: &Ctx, saved: &Plan, fresh: Plan) -> Result<Plan> {
    cx.events.emit(Event::Planned { plan: Box::new(fresh.clone()) });
    // The plan was already carried out: nothing is left to do, and nothing is wrong.
    if !fresh.is_noop() && !fresh.same_steps(saved) {
        return Err(Error::new(
            ErrorKind::PlanStale,
            format!("the {} changed after the plan was made; what would be done now is above", saved.intent.kind()),
        )
        .hint("look at it, then make the plan anew: `carrack plan --out FILE`"));
    }
    Ok(fresh)
}
