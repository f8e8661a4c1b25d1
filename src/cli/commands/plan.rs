use std::path::PathBuf;

use carrack_core::{Error, ErrorKind, Result, event::Event};
use clap::Args;
use serde_json::json;

use crate::{
    cli::{commands::traffic::New, error::Failure, session::Session, ui::markdown},
    ops::{deploy::prepare, image, saved_plan},
};

/// Options of `carrack plan`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  carrack plan
  carrack plan --exit-code            exit 3 when something would change
  carrack plan --out plan.json        then `carrack deploy --plan plan.json`
  carrack plan --no-traffic           of a deploy that leaves the traffic as it is
  carrack plan --summary plan.md      for a comment on the change")]
pub(in crate::cli) struct Options {
    /// An image that is in a registry, instead of what the file says
    #[arg(long, value_name = "REF@DIGEST")]
    image: Option<String>,
    #[command(flatten)]
    traffic: New,
    /// Write the plan to a file, for `deploy --plan`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the plan to a file as Markdown, for a comment
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Exit with 3 when something would change
    #[arg(long)]
    exit_code: bool,
}

/// Changes are pending.
pub(in crate::cli) const PENDING: u8 = 3;

impl Options {
    /// A file has one plan in it.
    pub(in crate::cli) fn for_one(&self, session: &Session) -> Result<()> {
        let files = [("--out", &self.out), ("--summary", &self.summary)];
        match files.iter().find(|(_, path)| path.is_some() && session.is_several()) {
            Some((flag, _)) => Err(Error::new(ErrorKind::Usage, format!("`{flag}` takes the plan of one service"))
                .hint(format!("plan them one by one, each with a {flag} of its own"))),
            None => Ok(()),
        }
    }
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    let project = session.project()?;
    if options.image.is_none() {
        session.check_image(&project)?;
    }
    let connection = session.connect(&project.place).await?;
    let ways = session.ways(&connection);
    let mut request = session.request(&project, &connection, &ways, options.image)?;
    options.traffic.ask(&mut request);
    let mut prepared = prepare(&session.cx, &request).await.map_err(|error| session.located(&project, error))?;
    let open = prepared.open.take().filter(|_| !session.common.yes);
    let choice = open.as_ref().map(Error::to_string);
    match open {
        // What is written down is applied without a question.
        Some(open) if options.out.is_some() => return Err(open.into()),
        Some(open) => {
            let message = format!("a deploy asks first: {}; {}", open.message(), open.hints().join("; "));
            session.cx.events.emit(Event::Note { message });
        }
        None => {}
    }
    if let Some(path) = &options.out {
        if let Some(local) = &prepared.local {
            image::require(&session.cx, request.ways, &local.reference()).await?;
        }
        saved_plan::write(&prepared.plan, path)?;
        session
            .ui
            .say("Wrote", &format!("{}; apply it with `carrack deploy --plan {}`", path.display(), path.display()));
    }
    if let Some(path) = &options.summary {
        std::fs::write(path, markdown::plan(&prepared.plan)).map_err(|e| {
            Error::new(ErrorKind::Unclassified, format!("cannot write `{}`", path.display())).with_source(e)
        })?;
    }
    let pending = !prepared.plan.is_noop();
    let mut report = json!({ "changes": pending, "steps": prepared.plan.steps.len() });
    if let Some(choice) = choice {
        report["choice"] = choice.into();
    }
    session.report(report);
    Ok(if pending && options.exit_code { PENDING } else { 0 })
}
