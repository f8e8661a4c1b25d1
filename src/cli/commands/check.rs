use clap::Args;
use serde_json::json;

use crate::cli::{error::Failure, session::Session};

/// Options of `carrack check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  carrack check\n  carrack check --to prod --format json")]
pub(in crate::cli) struct Options {}

/// Checks the target that `--to` names, else every one.
pub(in crate::cli) fn run(session: &mut Session, Options {}: Options) -> Result<u8, Failure> {
    let loaded = session.load()?;
    let name = loaded.service_name().to_string();
    let mut targets: Vec<Option<String>> = match &session.common.target {
        Some(_) => vec![session.project()?.target],
        None => loaded.target_names().into_iter().map(|target| Some(target.to_owned())).collect(),
    };
    if targets.is_empty() {
        targets.push(None);
    }
    for target in &targets {
        let project = session.resolve(session.load()?, target.clone())?;
        session.check_image(&project)?;
    }
    session.ui.say("Checked", &format!("{}: service `{name}` is valid", session.common.file.display()));
    session.report(json!({ "service": name, "targets": targets.into_iter().flatten().collect::<Vec<_>>() }));
    Ok(0)
}
