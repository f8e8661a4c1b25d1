use std::{io::Write, path::PathBuf};

use carrack_core::{
    Error, ErrorKind,
    event::Event,
    spec::{ProviderId, ServiceName},
};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    cli::{error::Failure, session::Session},
    import::{live, terraform},
    ops::import,
    registry::{LOCAL_PROJECT, LOCAL_PROVIDER, LOCAL_REGION, Place},
};

/// Options of `carrack import`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack import live shop --project my-project --region europe-west1
  carrack import live shop --local --out shop.toml")]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// From a service that runs
    Live(Live),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack import live shop --project my-project --region europe-west1
  carrack import live shop --local --out shop.toml
  carrack import live shop --project my-project --region europe-west1 --terraform")]
struct Live {
    /// The service's name
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The Google Cloud project that it runs in
    #[arg(long)]
    project: Option<String>,
    /// Its region
    #[arg(long)]
    region: Option<String>,
    /// Where the file is written; carrack.toml when it is left out
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print what Terraform has to leave alone, and write no file
    #[arg(long, conflicts_with = "out")]
    terraform: bool,
}

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    let What::Live(options) = options.what;
    let name = ServiceName::try_from(options.service)?;
    let (project, region) = match (options.project, options.region, session.common.local) {
        (Some(project), Some(region), _) => (project, region),
        (project, region, true) => {
            (project.unwrap_or_else(|| LOCAL_PROJECT.to_owned()), region.unwrap_or_else(|| LOCAL_REGION.to_owned()))
        }
        _ => {
            return Err(Error::new(ErrorKind::Usage, "which project and region the service runs in is not said")
                .hint("add `--project my-project --region europe-west1`, or `--local`")
                .into());
        }
    };
    let place = Place {
        provider: ProviderId(LOCAL_PROVIDER.to_owned()),
        scope: project.clone(),
        region: region.clone(),
        federation: None,
    };
    let connection = session.connect(&place).await?;
    let provider = &*connection.provider;
    let (adopted, observed) = import::look(&session.cx, provider, &name).await?;
    if options.terraform {
        session.data(&terraform::ignore_changes(&name, &adopted)).await;
        session.report(json!({ "service": name }));
        return Ok(0);
    }
    let target = if session.common.local { "local" } else { "prod" };
    let place = live::Place { target: target.to_owned(), provider: place.provider.0, project, region };
    let draft = import::file(provider, &name, &place, &adopted, &observed)?;
    let path = options.out.unwrap_or_else(|| session.file().to_owned());
    let written = std::fs::File::create_new(&path).and_then(|mut file| file.write_all(draft.text().as_bytes()));
    written.map_err(|e| {
        let exists = e.kind() == std::io::ErrorKind::AlreadyExists;
        let error = Error::new(ErrorKind::ConfigInvalid, format!("cannot write `{}`", path.display())).with_source(e);
        if exists { error.hint("it is there already: name another with `--out FILE`") } else { error }
    })?;
    for left in &draft.left {
        session.cx.events.emit(Event::Warning { message: format!("not in the file, and kept as it is: {left}") });
    }
    session.cx.events.flushed().await;
    session.ui.say("Wrote", &format!("{}; `carrack plan` shows no changes", path.display()));
    session.report(json!({ "file": path, "service": name, "left": draft.left }));
    Ok(0)
}
