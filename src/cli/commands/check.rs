use clap::Args;
use serde_json::json;

use crate::cli::{error::Failure, session::Session};

/// Options of `carrack check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  carrack check
  carrack check --to prod --format json
  carrack check -f api/carrack.toml -f web/carrack.toml")]
pub(in crate::cli) struct Options {}

/// Checks the targets that `--to` names, else every one.
pub(in crate::cli) fn run(session: &mut Session, Options {}: Options) -> Result<u8, Failure> {
    let loaded = session.load()?;
    let name = loaded.service_name().to_string();
    let kind = if loaded.is_job() { "job" } else { "service" };
    let named = session.common.target.clone();
    let mut targets: Vec<Option<String>> = if named.is_empty() {
        loaded.target_names().into_iter().map(|target| Some(target.to_owned())).collect()
    } else {
        named.into_iter().map(Some).collect()
    };
    if targets.is_empty() {
        targets.push(None);
    }
    for target in &targets {
        let loaded = session.load()?;
        let target = match target {
            Some(target) => session.choose(&loaded, Some(target))?,
            None => None,
        };
        let project = session.resolve(loaded, target)?;
        session.check_image(&project)?;
    }
    session.ui.say("Checked", &format!("{}: {kind} `{name}` is valid", session.file().display()));
    session.report(json!({ kind: name, "targets": targets.into_iter().flatten().collect::<Vec<_>>() }));
    Ok(0)
}
