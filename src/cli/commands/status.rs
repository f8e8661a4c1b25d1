use carrack_core::{
    Error,
    cause::Cause,
    diff::FieldChange,
    fields::FieldValue,
    observed::{Observed, ObservedService, Readiness, Revision, ServiceSummary},
    permission::Task,
    provider::Provider,
    spec::UNRESOLVED,
};
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        commands::jobs,
        error::Failure,
        session::{Project, Session, explained},
        ui::short,
    },
    config::{ImageSource, Resolved},
    ops::{
        dossier::cause_of,
        drift::{Drift, drift},
        observe::missing,
        outdated::{Outdated, outdated},
        verify::{Probe, verify},
    },
};

/// How many revisions are shown that serve nothing.
const SHOWN: usize = 10;

/// Options of `carrack status`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  carrack status --to prod\n  carrack status --all\n  carrack status --probe\n  carrack status --format json"
)]
pub(in crate::cli) struct Options {
    /// Every service of the target's project and region
    #[arg(long)]
    all: bool,
    /// Ask the service itself too, as a deploy does at its end
    #[arg(long, conflicts_with = "all")]
    probe: bool,
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    let project = session.project()?;
    let connection = session.connect(&project.place).await?;
    if project.resolved.job.is_some() && !options.all {
        return jobs::status(session, &project, &*connection.provider).await;
    }
    if options.all {
        let services = match connection.provider.services(&session.cx).await {
            Ok(services) => services,
            Err(error) => {
                return Err(explained(session, &project, &*connection.provider, Task::Status, error).await.into());
            }
        };
        let secrets = services.iter().map(|service| (service.name.as_str(), &service.secrets));
        let old = outdated(&session.cx, connection.provider.secrets(), secrets).await;
        session.data(&list(&services, &old)).await;
        session.report(json!({ "services": services, "outdated": old }));
        return Ok(0);
    }
    let (provider, name, cx) = (&*connection.provider, &project.resolved.name, &session.cx);
    let (observed, revisions) = match tokio::try_join!(provider.observe(cx, name), provider.revisions(cx, name)) {
        Ok(read) => read,
        Err(error) => return Err(explained(session, &project, provider, Task::Status, error).await.into()),
    };
    let Some(live) = &observed.service else { return Err(missing(provider, name).into()) };
    let probe = match (&live.url, options.probe) {
        (Some(url), true) => verify(cx, provider, url, live.spec.public == Some(true), false).await?,
        _ => None,
    };
    let secrets = live.spec.workload.live_secrets();
    let (cause, old) =
        tokio::join!(cause_of(cx, provider, name, live), outdated(cx, provider.secrets(), [(name.as_str(), &secrets)]));
    let drifted = drifted(&project, provider, &observed, &revisions);
    let advice: Vec<String> = old.iter().map(|old| advice(old, &project, &session.flags())).collect();
    let mut lines = table(name.as_str(), live, cause.as_ref(), probe.as_ref(), &advice, &revisions);
    let at = lines.iter().position(String::is_empty).unwrap_or(lines.len());
    lines.splice(at..at, drift_lines(&drifted));
    session.data(&lines.join("\n")).await;
    session.report(json!({
        "service": provider.service_ref(name), "url": live.url, "readiness": live.readiness, "traffic": live.traffic,
        "targets": live.targets, "conditions": live.conditions, "drift": drifted.as_ref().ok(),
        "spec": live.spec, "receipt": live.receipt, "revisions": revisions,
        "probe": probe, "outdated": old,
        "cause": cause.map(|cause| json!({ "code": cause.code, "message": cause.message })),
    }));
    Ok(0)
}

fn table(
    name: &str,
    live: &ObservedService,
    cause: Option<&Cause>,
    probe: Option<&Probe>,
    outdated: &[String],
    revisions: &[Revision],
) -> Vec<String> {
    let mut lines = vec![format!("service   {name}"), format!("state     {}", words(&live.readiness))];
    // What the line above says is not said again.
    for (name, readiness) in live.conditions.iter().filter(|(_, state)| !is_ready(state) && **state != live.readiness) {
        lines.push(format!("          {name} {}", words(readiness)));
    }
    if let Some(Cause { code, message, .. }) = cause {
        lines.push(format!("cause     {message} [{code}]"));
    }
    lines.push(format!("url       {}", live.url.as_deref().unwrap_or("none")));
    if let Some(Probe { status, elapsed }) = probe {
        lines.push(format!("answer    {status} in {} ms", elapsed.as_millis().max(1)));
    }
    lines.push(format!(
        "public    {}",
        live.spec.public.map_or_else(|| "unknown".to_owned(), |public| public.to_string())
    ));
    for target in &live.targets {
        if let Some(tag) = &target.tag {
            let to = target.revision.as_ref().map_or("latest", |revision| revision.0.as_str());
            lines.push(format!("tag       {tag} {} ({to})", target.url.as_deref().unwrap_or("without a URL yet")));
        }
    }
    let serving = live.serving();
    if let Some(serving) = revisions.iter().find(|revision| Some(&revision.id) == serving.as_ref()) {
        let age = short::age(&serving.created, jiff::Timestamp::now());
        let age = age.map_or_else(String::new, |age| format!(" for {age}"));
        lines.push(format!("image     {}, in {}{age}", short::image(&serving.image.0), serving.id.0));
    }
    // What another client copied on tells neither when nor who.
    if let Some(receipt) = revisions.first().and_then(Revision::deployed) {
        lines.push(format!(
            "deployed  {} by {}",
            receipt.at,
            if receipt.by.is_empty() { "unknown" } else { &receipt.by }
        ));
        if let Some(commit) = &receipt.commit {
            lines.push(format!("commit    {commit}"));
        }
    }
    lines.extend(outdated.iter().map(|text| format!("secret    {text}")));
    let width = revisions.iter().map(|revision| revision.id.0.len()).max().unwrap_or(0).max("revision".len());
    lines.push(String::new());
    lines.push(format!("{:<width$}  traffic  created               state", "revision"));
    let shown =
        |(index, revision): &(usize, &Revision)| *index < SHOWN || revision.percent > 0 || !revision.tags.is_empty();
    let (shown, older): (Vec<_>, Vec<_>) = revisions.iter().enumerate().partition(shown);
    for (_, revision) in shown {
        let created = short::time(&revision.created);
        lines.push(format!(
            "{:<width$}  {:>6}%  {created:<20}  {}",
            revision.id.0,
            revision.percent,
            words(&revision.readiness)
        ));
    }
    if !older.is_empty() {
        lines.push(format!("and {} older ones: `carrack history`", older.len()));
    }
    lines
}

fn drifted(
    project: &Project,
    provider: &dyn Provider,
    observed: &Observed,
    revisions: &[Revision],
) -> Result<Drift, Error> {
    let Resolved { name, deploy, image, .. } = &project.resolved;
    let image = match image {
        Some(ImageSource::Ref(image)) => Some(image),
        _ => None,
    };
    drift(provider, name, deploy, image, observed, revisions)
}

fn drift_lines(drift: &Result<Drift, Error>) -> Vec<String> {
    let drift = match drift {
        Ok(drift) => drift,
        Err(why) => return vec![format!("drift     unknown: {why}")],
    };
    let value = |value: &Option<FieldValue>| value.as_ref().map_or_else(|| "not set".to_owned(), FieldValue::to_string);
    let file = drift.file.iter().map(|change| {
        format!("drift     {} is {}, and {} in the file", change.path, value(&change.from), value(&change.to))
    });
    let others = drift.others.iter().flat_map(|others| {
        let who = others.who.as_deref().unwrap_or("others");
        let by = format!("by {who} in {}, after {} of ours", others.revision.0, others.since.0);
        let told = move |change: &FieldChange| {
            format!("changed   {} from {} to {}, {by}", change.path, value(&change.from), value(&change.to))
        };
        others.fields.iter().map(told).collect::<Vec<_>>()
    });
    file.chain(others).collect()
}

fn is_ready(readiness: &Readiness) -> bool {
    *readiness == Readiness::Ready
}

/// What takes a newer version of a secret up.
fn advice(old: &Outdated, project: &Project, flags: &str) -> String {
    let Outdated { field, secret, version, newest, .. } = old;
    let name = field.strip_prefix("secrets.").unwrap_or(field);
    let named = project.resolved.deploy.spec.workload.secrets().find(|(path, _)| path == field);
    let what = match named.as_ref().map(|(_, secret)| secret.version.as_str()) {
        Some(UNRESOLVED) => format!("`carrack deploy{flags}` takes it up"),
        Some(pinned) => format!("the file names version `{pinned}`"),
        None => "the file does not name it".to_owned(),
    };
    format!("{name} has version {version} of `{secret}`, and {newest} is newer: {what}")
}

pub(super) fn words(readiness: &Readiness) -> String {
    match readiness {
        Readiness::Ready => "ready".to_owned(),
        Readiness::Progressing(text) => format!("progressing {text}").trim_end().to_owned(),
        // The rest is advice, over several lines.
        Readiness::Failed(text) => format!("failed: {}", text.lines().next().unwrap_or_default()),
    }
}

fn list(services: &[ServiceSummary], outdated: &[Outdated]) -> String {
    let name = services.iter().map(|service| service.name.len()).max().unwrap_or(0).max("service".len());
    let url = |service: &ServiceSummary| service.url.clone().unwrap_or_else(|| "none".to_owned());
    let width = services.iter().map(|service| url(service).len()).max().unwrap_or(0).max("url".len());
    let mut lines = vec![format!("{:<name$}  {:<width$}  by       state", "service", "url")];
    for service in services {
        let by = if service.ours { "carrack" } else { "others" };
        let old = outdated.iter().filter(|old| old.service == service.name);
        let old: Vec<&str> = old.map(|old| old.field.strip_prefix("secrets.").unwrap_or(&old.field)).collect();
        let old = if old.is_empty() { String::new() } else { format!("; old secrets: {}", old.join(", ")) };
        lines.push(format!(
            "{:<name$}  {:<width$}  {by:<7}  {}{old}",
            service.name,
            url(service),
            words(&service.readiness)
        ));
    }
    lines.join("\n")
}
