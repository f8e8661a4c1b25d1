//! Undoing the newest deploy: the traffic goes back to the revision that served before, or its settings are made anew.
use std::collections::BTreeSet;

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    observed::{Observed, ObservedService, Readiness, Revision},
    plan::{Intent, Plan, ResourceRef, Share, TrafficChange, Who},
    provider::Provider,
    receipt::Stamp,
    secret::{SecretStore, SecretVersion, VersionState},
    spec::{RevisionId, SecretRef, ServiceName},
    traffic::OUR_TAGS,
};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    Outcome, Report,
    converge::converge,
    dossier::{explained, explained_later},
    observe::{missing, settled},
    permissions, verify,
};
use crate::image::{Ways, exists};

/// What is asked.
#[derive(Debug)]
pub struct Request<'a> {
    /// The cloud.
    pub provider: &'a dyn Provider,
    /// To registries.
    pub ways: &'a dyn Ways,
    /// The service.
    pub name: ServiceName,
    /// To this revision; else to the one that served before the newest.
    pub to: Option<RevisionId>,
    /// Its settings as a new revision, and not the traffic alone.
    pub config: bool,
    /// The flags that commands to type need: ` --to prod`.
    pub flags: String,
}

/// A plan, and what it goes back to.
#[derive(Debug)]
pub struct Prepared {
    /// What will be done.
    pub plan: Plan,
    /// What was seen.
    pub observed: Observed,
    /// The revision that it goes back to.
    pub revision: Revision,
}

/// Looks, chooses the revision, sees that it can serve, and plans. Writes nothing.
pub async fn prepare(cx: &Ctx, request: &Request<'_>) -> Result<Prepared> {
    let Request { provider, name, .. } = request;
    let observed = settled(cx, *provider, name).await?;
    let Some(live) = &observed.service else { return Err(missing(*provider, name)) };
    let revisions = provider.revisions(cx, name).await?;
    let revision = match &request.to {
        Some(id) => named(&revisions, id, &request.flags)?,
        None => earlier(&revisions, &request.flags)?,
    };
    require_ready(revision, &request.flags)?;
    let intent = match request.config {
        true => Intent::Restore(Box::new(revision.clone())),
        false => Intent::Traffic(all_to(revision, live)),
    };
    let plan = provider.plan(name, &intent, &observed)?;
    // One that serves is known to run.
    if !plan.is_noop() && (request.config || revision.percent == 0) {
        require_parts(cx, request, revision).await?;
    }
    cx.events.emit(Event::Planned { plan: Box::new(plan.clone()) });
    if plan.is_noop() && request.to.is_none() {
        cx.events.emit(Event::Warning { message: already(&revisions, revision, &request.flags) });
    }
    Ok(Prepared { plan, revision: revision.clone(), observed })
}

/// Does what was prepared, and asks the service itself. A plan that is empty sends nothing.
pub async fn apply(cx: &Ctx, request: &Request<'_>, prepared: Prepared) -> Result<Report> {
    let Request { provider, ways, name, flags, .. } = request;
    let Prepared { plan, observed, revision } = prepared;
    let started = Instant::now();
    let live = observed.service.as_ref();
    let mut report = Report {
        service: plan.target.clone(),
        result: Outcome::NoChanges,
        url: live.and_then(|live| live.url.clone()),
        revision: live.and_then(ObservedService::serving),
        digest: revision.image.digest().map(str::to_owned),
        tag: None,
        probe: None,
        run: None,
        elapsed: started.elapsed(),
    };
    if plan.is_noop() {
        return Ok(report);
    }
    permissions::require(cx, *provider, &plan, Some(&observed), None).await?;
    // The source is that of the settings and the image, wherever the command was typed.
    let stamp = Stamp { commit: revision.deployed().and_then(|receipt| receipt.commit.clone()) };
    let done = match converge(&Ctx { stamp, ..cx.clone() }, *provider, plan.clone()).await {
        Ok(done) => done,
        Err(error) => {
            let error = if request.config { explained(cx, *provider, *ways, name, error).await } else { error };
            return Err(permissions::explained_step(cx, *provider, &plan, &observed, None, error).await);
        }
    };
    report.result = Outcome::RolledBack;
    report.url = done.url.clone().or(report.url);
    report.revision = if request.config { done.revision.clone() } else { Some(revision.id.clone()) };
    let serves = report.revision.as_ref().map_or("it", |revision| revision.0.as_str());
    let next = match &plan.intent {
        Intent::Restore(_) => format!(
            "{serves} has the settings of {} and all traffic; carrack.toml is as it was, and the next deploy makes it live again",
            revision.id.0
        ),
        _ if pinned(&plan) => format!(
            "{serves} has all traffic, by its name: the next deploy asks who serves then, or is told by `carrack deploy{flags} --all-traffic`"
        ),
        _ => format!("{serves} has all traffic, as the newest revision"),
    };
    cx.events.emit(Event::Note { message: next });
    let public = live.is_some_and(|live| live.spec.public == Some(true));
    report.probe = verified(cx, request, &report, public).await.map_err(|error| error.with_report(done.clone()))?;
    report.run = Some(done);
    report.elapsed = started.elapsed();
    Ok(report)
}

async fn verified(cx: &Ctx, request: &Request<'_>, report: &Report, public: bool) -> Result<Option<verify::Probe>> {
    let Some(url) = &report.url else { return Ok(None) };
    match verify::verify(cx, request.provider, url, public, false).await {
        Ok(probe) => Ok(probe),
        Err(error) => {
            let error = error.hint(another(&request.flags));
            Err(explained_later(cx, request.provider, &request.name, report.revision.as_ref(), error).await)
        }
    }
}

fn named<'a>(revisions: &'a [Revision], id: &RevisionId, flags: &str) -> Result<&'a Revision> {
    revisions
        .iter()
        .find(|revision| revision.id == *id)
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("revision `{}` does not exist", id.0)).hint(list(flags)))
}

/// The one that served before the newest was deployed: what that deploy recorded, else the newest that is older and
/// ready. Of a rollback it is what was rolled back to, so that the same command again is the same. Revisions are newest
/// first.
fn earlier<'a>(revisions: &'a [Revision], flags: &str) -> Result<&'a Revision> {
    let none = || Error::new(ErrorKind::NotFound, "there is no earlier revision that could serve").hint(list(flags));
    let newest = revisions.first().ok_or_else(none)?;
    let receipt = newest.deployed();
    let recorded = receipt.and_then(|receipt| receipt.restored.as_ref().or(receipt.previous.as_ref()));
    let find = |id: &RevisionId| revisions[1..].iter().find(|revision| revision.id == *id && revision.is_ready());
    let older = || revisions[1..].iter().find(|revision| revision.is_ready());
    recorded.and_then(find).or_else(older).ok_or_else(none)
}

fn require_ready(revision: &Revision, flags: &str) -> Result<()> {
    let why = match &revision.readiness {
        Readiness::Ready => return Ok(()),
        Readiness::Progressing(_) => "it is not ready yet".to_owned(),
        Readiness::Failed(why) => {
            let why = why.lines().next().unwrap_or_default().trim_end_matches('.');
            format!("it never became ready: {why}")
        }
    };
    Err(cannot_serve(revision, ErrorKind::Unhealthy, &why).hint(another(flags)))
}

fn cannot_serve(revision: &Revision, kind: ErrorKind, why: &str) -> Error {
    Error::new(kind, why).on(ResourceRef::new("revision", revision.id.0.as_str()))
}

/// Whether its instances could still start: their secrets and their images. What cannot be asked is no reason to leave
/// the traffic where it is.
async fn require_parts(cx: &Ctx, request: &Request<'_>, revision: &Revision) -> Result<()> {
    let workload = &revision.spec.workload;
    let containers = || std::iter::once(&workload.main).chain(workload.sidecars.values());
    let secrets: BTreeSet<&SecretRef> =
        containers().flat_map(|container| container.secrets().map(|(_, secret)| secret).collect::<Vec<_>>()).collect();
    let store = request.provider.secrets();
    let secrets = join_all(secrets.into_iter().map(async |secret| gone(cx, store, secret, &request.flags).await));
    let images = join_all(containers().filter_map(|container| container.image.as_ref()).map(async |image| {
        let way = request.ways.push(cx, image).await?;
        Ok::<_, Error>(exists(cx, &way, image).await?.is_none().then(|| Gone {
            kind: ErrorKind::NotFound,
            why: format!("its image `{}` is not in the registry any more", image.0),
            hint: None,
        }))
    }));
    let (secrets, images) = tokio::join!(secrets, images);
    let mut all = Vec::new();
    for answer in secrets.into_iter().chain(images) {
        match answer {
            Ok(gone) => all.extend(gone),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                let message = format!("whether {} has all that it needs could not be asked: {error}", revision.id.0);
                cx.events.emit(Event::Note { message });
            }
        }
    }
    let Some(first) = all.first() else { return Ok(()) };
    let whys: Vec<&str> = all.iter().map(|gone| gone.why.as_str()).collect();
    let error = cannot_serve(revision, first.kind, &whys.join("; "));
    let mut error = all.iter().filter_map(|gone| gone.hint.as_ref()).fold(error, |error, hint| error.hint(hint));
    error = error.hint(another(&request.flags));
    Err(match request.config {
        true => error,
        false => error.hint(format!(
            "or send the traffic there all the same: `carrack traffic {}=100{}`",
            revision.id.0, request.flags
        )),
    })
}

/// What an instance needs and cannot have.
struct Gone {
    kind: ErrorKind,
    why: String,
    hint: Option<String>,
}

async fn gone(cx: &Ctx, store: &dyn SecretStore, secret: &SecretRef, flags: &str) -> Result<Option<Gone>> {
    let SecretRef { name, version } = secret;
    let subject = format!("version `{version}` of its secret `{name}`");
    Ok(match store.version(cx, name, version).await? {
        Some(SecretVersion { state: VersionState::Enabled, .. }) => None,
        Some(SecretVersion { state: VersionState::Disabled, id, .. }) => Some(Gone {
            kind: ErrorKind::Conflict,
            why: format!("{subject} is disabled"),
            hint: Some(format!("enable it: `carrack secrets enable {name} {id}{flags}`")),
        }),
        Some(SecretVersion { state: VersionState::Destroyed, .. }) => {
            Some(Gone { kind: ErrorKind::NotFound, why: format!("{subject} is destroyed"), hint: None })
        }
        None => Some(Gone { kind: ErrorKind::NotFound, why: format!("{subject} does not exist"), hint: None }),
    })
}

/// Everything, in one write, and our own tags go with it. The newest revision gets it as the newest, so that later
/// deploys go on.
fn all_to(revision: &Revision, live: &ObservedService) -> TrafficChange {
    let newest = live.latest.as_ref() == Some(&revision.id) && live.latest_ready.as_ref() == Some(&revision.id);
    let who = if newest { Who::Latest } else { Who::Revision(revision.id.clone()) };
    let alone = live.traffic.0.len() == 1 && live.traffic.0.contains_key(&revision.id);
    let ours = live.targets.iter().filter_map(|target| target.tag.as_ref()).filter(|tag| tag.starts_with(OUR_TAGS));
    TrafficChange {
        // Who has it all keeps it as it is written.
        shares: if alone { Vec::new() } else { vec![Share { who, percent: 100 }] },
        tags: ours.map(|tag| (tag.clone(), None)).collect(),
    }
}

fn pinned(plan: &Plan) -> bool {
    let Intent::Traffic(change) = &plan.intent else { return false };
    change.shares.iter().any(|share| matches!(share.who, Who::Revision(_)))
}

/// Nothing to do is told by what there is.
fn already(revisions: &[Revision], revision: &Revision, flags: &str) -> String {
    let newest = revisions.first().map_or("", |newest| newest.id.0.as_str());
    let at = revisions.iter().position(|other| other.id == revision.id).unwrap_or(0);
    let further = revisions[at..].iter().skip(1).find(|older| older.is_ready());
    let further = further.map_or_else(String::new, |further| {
        format!("; further back: `carrack rollback --to-revision {}{flags}`", further.id.0)
    });
    match revisions.first().and_then(Revision::deployed).and_then(|receipt| receipt.restored.as_ref()) {
        Some(restored) => format!("{newest} has the settings of {} already{further}", restored.0),
        None => format!("{} serves already, and {newest}, which is newer, does not{further}", revision.id.0),
    }
}

fn list(flags: &str) -> String {
    format!("see which there are: `carrack history{flags}`")
}

fn another(flags: &str) -> String {
    format!(
        "go back to another one: `carrack rollback --to-revision REVISION{flags}`; `carrack history{flags}` lists them"
    )
}

#[cfg(test)]
mod tests {
    use carrack_core::{
        receipt::Receipt,
        spec::{ImageRef, ServiceSpec},
    };

    use super::*;

    /// `3<1` served after 1; `4=1` has the settings of 1; `!3` never became ready; `2?` is another client's.
    fn revision(text: &str) -> Revision {
        let (failed, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let (text, others) = text.strip_suffix('?').map_or((text, false), |rest| (rest, true));
        let id = |text: &str| RevisionId(text.to_owned());
        let (name, previous, restored) = match (text.split_once('<'), text.split_once('=')) {
            (Some((name, previous)), _) => (name, Some(id(previous)), None),
            (None, Some((name, restored))) => (name, Some(id("before")), Some(id(restored))),
            (None, None) => (text, None, None),
        };
        let receipt = Receipt {
            format: 1,
            config: String::new(),
            commit: None,
            digest: String::new(),
            previous,
            restored,
            at: "now".into(),
            by: String::new(),
            owned: Vec::new(),
        };
        Revision {
            id: id(name),
            image: ImageRef("i".into()),
            percent: 0,
            readiness: if failed { Readiness::Failed("why.\nmore".into()) } else { Readiness::Ready },
            created: String::new(),
            creator: None,
            tags: Default::default(),
            receipt: (!others).then_some(receipt),
            spec: ServiceSpec::default(),
            raw: serde_json::Value::Null,
        }
    }

    fn chosen(texts: &[&str]) -> String {
        let revisions: Vec<Revision> = texts.iter().map(|text| revision(text)).collect();
        match earlier(&revisions, "") {
            Ok(revision) => revision.id.0.clone(),
            Err(error) => error.kind().exit_code().to_string(),
        }
    }

    #[test]
    fn the_newest_deploy_is_undone() {
        for (revisions, expected) in [
            (&["3<2", "2<1", "1"][..], "2"),
            // What served before was no newest one: it had been rolled back to.
            (&["3<1", "2<1", "1"], "1"),
            // It never served: what did goes on.
            (&["!3<2", "2<1", "1"], "2"),
            // What served before is gone, or cannot serve.
            (&["3<2", "1"], "1"),
            (&["3<2", "!2<1", "1"], "1"),
            // Others tell nothing.
            (&["3?", "2", "1"], "2"),
            (&["3?", "!2", "1"], "1"),
            // The same command again.
            (&["4=1", "3<2", "2<1", "1"], "1"),
            (&["1"], "30"),
            (&["2<1", "!1"], "30"),
            (&[], "30"),
        ] {
            assert_eq!(chosen(revisions), expected, "{revisions:?}");
        }
    }

    #[test]
    fn what_never_became_ready_is_refused_with_its_reason() {
        let error = require_ready(&revision("!3"), " --local").expect_err("it is not ready");
        assert_eq!(
            (error.kind(), error.to_string()),
            (ErrorKind::Unhealthy, "revision `3`: it never became ready: why".into())
        );
    }
}
