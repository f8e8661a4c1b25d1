//! Removing a service that Carrack deployed.
use carrack_core::{
    Result,
    event::{Ctx, Event},
    plan::{Intent, Plan},
    provider::Provider,
    spec::ServiceName,
};
use tokio::time::Instant;

use super::{Outcome, Report, converge::converge, observe::settled, permissions};

/// What will be removed; empty when it does not exist.
pub async fn prepare(cx: &Ctx, provider: &dyn Provider, name: &ServiceName) -> Result<Plan> {
    let observed = settled(cx, provider, name).await?;
    let plan = provider.plan(name, &Intent::Destroy, &observed)?;
    cx.events.emit(Event::Planned { plan: Box::new(plan.clone()) });
    Ok(plan)
}

/// Removes it.
pub async fn apply(cx: &Ctx, provider: &dyn Provider, plan: &Plan) -> Result<Report> {
    let started = Instant::now();
    if !plan.is_noop() {
        permissions::require(cx, provider, plan, None, None).await?;
    }
    let done = converge(cx, provider, plan.clone()).await?;
    Ok(Report {
        service: plan.target.clone(),
        result: if plan.is_noop() { Outcome::NoChanges } else { Outcome::Destroyed },
        url: None,
        revision: None,
        digest: None,
        tag: None,
        probe: None,
        run: Some(done),
        elapsed: started.elapsed(),
    })
}
