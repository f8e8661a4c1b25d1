//! A carrack.toml from a running service, of which the first plan is empty: that is tried before it is written.
use std::path::Path;

use carrack_core::{
    Error, ErrorKind, Result,
    adopted::Adopted,
    capability::check,
    event::Ctx,
    observed::Observed,
    permission::{Subject, Task},
    plan::Intent,
    provider::Provider,
    spec::{ServiceName, ServiceSpec},
};

use super::{
    observe::{missing, settled},
    permissions,
};
use crate::{
    config::{Diagnostics, Loaded, Source, load},
    import::live::{Draft, Place, draft},
    registry,
};

/// The live service as a file would have it, and what was seen.
pub async fn look(cx: &Ctx, provider: &dyn Provider, name: &ServiceName) -> Result<(Adopted, Observed)> {
    let observed = match settled(cx, provider, name).await {
        Ok(observed) => observed,
        Err(error) => {
            let spec = ServiceSpec::default();
            return Err(permissions::explained(cx, provider, Task::Status, &Subject::new(name, &spec), error).await);
        }
    };
    match &observed.service {
        Some(live) => Ok((registry::adopt(&provider.id(), live)?, observed)),
        None => Err(missing(provider, name).hint("name the project and region that it runs in")),
    }
}

/// A file that is valid, and whose plan is empty. What a file cannot have is left out of it, and said.
pub fn file(
    provider: &dyn Provider,
    name: &ServiceName,
    place: &Place,
    adopted: &Adopted,
    observed: &Observed,
) -> Result<Draft> {
    let mut draft = draft(name, place, adopted);
    let deploy = loop {
        let wrong = match read(&draft) {
            Ok(loaded) => {
                let deploy = loaded.resolve(Some(&place.target)).map_err(unexpected)?.deploy;
                let mut refused = check(provider.capabilities(), &deploy.spec);
                refused.extend(registry::refusals(&provider.id(), &deploy));
                if refused.is_empty() {
                    break deploy;
                }
                Diagnostics(refused.iter().flat_map(|error| loaded.locate(Some(&place.target), error).0).collect())
            }
            Err(wrong) => wrong,
        };
        let first = &wrong.0[0];
        if !draft.leave_out(first.line, &first.message) {
            return Err(unexpected(wrong));
        }
    };
    let plan = provider.plan(name, &Intent::Deploy(Box::new(deploy)), observed)?;
    let changed = plan.steps.iter().flat_map(|step| &step.changes).map(|change| format!("`{}`", change.path));
    let changed: Vec<String> = changed.collect();
    if !plan.is_noop() {
        let text = format!("the file would change what runs: {}", changed.join(", "));
        return Err(Error::new(ErrorKind::Internal, text));
    }
    Ok(draft)
}

fn read(draft: &Draft) -> Result<Loaded, Diagnostics> {
    load(Source { path: Path::new("carrack.toml").to_owned(), text: draft.text() }, &|_| None)
}

fn unexpected(wrong: Diagnostics) -> Error {
    Error::new(ErrorKind::Internal, "the service cannot be written as a file").with_source(wrong)
}
