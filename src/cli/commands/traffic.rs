use std::collections::BTreeMap;

use carrack_core::{
    Error, Result,
    observed::TrafficTarget,
    permission::Task,
    plan::NewTraffic,
    provider::Provider,
    spec::{RevisionId, ServiceName},
};
use clap::Args;

use crate::{
    cli::{
        error::Failure,
        session::{Session, explained},
        ui::table,
    },
    ops::{
        deploy::Request,
        traffic::{self, LATEST, Report, Wanted},
    },
    registry::capabilities,
};

/// Options of `carrack traffic`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack traffic
  carrack traffic latest=100
  carrack traffic latest=90 hello-00003-abc=10
  carrack traffic --tag blue=hello-00003-abc
  carrack traffic blue=100 --remove-tag blue")]
pub(in crate::cli) struct Options {
    /// Who gets how much, 100 in all: a revision, a tag, or `latest`; without any it is shown
    #[arg(value_name = "WHO=PERCENT", value_parser = share)]
    shares: Vec<(String, u8)>,
    /// Give a revision, or `latest`, a tag, and by it a URL of its own
    #[arg(long = "tag", value_name = "NAME=REVISION", value_parser = tag)]
    set: Vec<(String, String)>,
    /// Take a tag away
    #[arg(long = "remove-tag", value_name = "NAME")]
    remove: Vec<String>,
}

/// What becomes of the traffic when a revision is new.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct New {
    /// Give the newest revision all traffic, also where it was split by hand
    #[arg(long)]
    all_traffic: bool,
    /// Leave the traffic where it is: the new revision gets none
    #[arg(long, conflicts_with = "all_traffic")]
    pub(in crate::cli) no_traffic: bool,
    /// Give the new revision a tag, and by it a URL of its own
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
}

impl New {
    pub(in crate::cli) fn ask(&self, request: &mut Request<'_>) {
        request.chosen = self.all_traffic || self.no_traffic;
        request.deploy.traffic = if self.no_traffic { NewTraffic::None } else { NewTraffic::All };
        request.deploy.tag.clone_from(&self.tag);
    }
}

/// Asks whether all traffic shall go to the newest revision, where somebody had sent it elsewhere.
pub(in crate::cli) async fn chosen(session: &Session, open: Error) -> Result<bool, Failure> {
    if session.common.yes {
        return Ok(true);
    }
    if !session.ui.can_ask() {
        return Err(open.into());
    }
    Ok(session.asked(format!("{}: send all of it to the newest revision?", open.message())).await?)
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    let Options { shares, set, remove } = options;
    let wanted = Wanted { shares, set, remove };
    let project = session.project()?;
    wanted.check(&capabilities(&project.place.provider)?)?;
    let connection = session.connect(&project.place).await?;
    let (provider, name, cx) = (&*connection.provider, &project.resolved.name, &session.cx);
    let (task, done) = match wanted.is_empty() {
        true => (Task::Status, traffic::look(cx, provider, name).await),
        false => (Task::Traffic, change(session, provider, name, &wanted).await),
    };
    let report = match done {
        Ok(report) => report,
        Err(error) => return Err(explained(session, &project, provider, task, error).await.into()),
    };
    session.data(&shown(&report)).await;
    session.report(report);
    Ok(0)
}

async fn change(session: &Session, provider: &dyn Provider, name: &ServiceName, wanted: &Wanted) -> Result<Report> {
    let prepared = traffic::prepare(&session.cx, provider, name, wanted).await?;
    traffic::apply(&session.cx, provider, prepared).await
}

/// Who gets how much, then tags, each with the revision that it is now.
fn shown(report: &Report) -> String {
    let latest = report.latest.as_ref();
    let revision = |target: &TrafficTarget| match (&target.revision, latest) {
        (Some(revision), _) if !target.latest => revision.0.clone(),
        (_, Some(RevisionId(latest))) => format!("{LATEST} ({latest})"),
        _ => LATEST.to_owned(),
    };
    let mut lines = vec![
        format!("service  {}", report.service.name),
        format!("url      {}", report.url.as_deref().unwrap_or("none")),
        String::new(),
    ];
    let mut shares: BTreeMap<String, u32> = BTreeMap::new();
    for target in report.targets.iter().filter(|target| target.percent > 0) {
        *shares.entry(revision(target)).or_default() += u32::from(target.percent);
    }
    let mut shares: Vec<_> = shares.into_iter().collect();
    shares.sort_by_key(|(_, percent)| std::cmp::Reverse(*percent));
    let mut rows = vec![["traffic", "revision", "tag", "url"].map(str::to_owned)];
    rows.extend(shares.into_iter().map(|(to, percent)| [format!("{percent:>6}%"), to, String::new(), String::new()]));
    let mut tags: Vec<&TrafficTarget> = report.targets.iter().filter(|target| target.tag.is_some()).collect();
    tags.sort_by(|a, b| a.tag.cmp(&b.tag));
    rows.extend(tags.into_iter().map(|target| {
        let url = target.url.clone().unwrap_or_default();
        [String::new(), revision(target), target.tag.clone().unwrap_or_default(), url]
    }));
    lines.extend(table(&rows, ""));
    lines.join("\n")
}

fn share(text: &str) -> Result<(String, u8), String> {
    let wrong = || format!("`{text}` is not WHO=PERCENT, such as `latest=100`");
    let (who, percent) = text.rsplit_once('=').filter(|(who, _)| !who.is_empty()).ok_or_else(wrong)?;
    match percent.trim_end_matches('%').parse::<u8>() {
        Ok(percent) if percent <= 100 => Ok((who.to_owned(), percent)),
        _ => Err(format!("`{percent}` is no percentage from 0 to 100")),
    }
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((tag, who)) if !tag.is_empty() && !who.is_empty() => Ok((tag.to_owned(), who.to_owned())),
        _ => Err(format!("`{text}` is not NAME=REVISION, such as `blue=hello-00003-abc`")),
    }
}
