use clap::Args;

use crate::{
    cli::{error::Failure, session::Session},
    config::json_schema,
};

/// Options of `carrack schema`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  carrack schema > carrack.schema.json")]
pub(in crate::cli) struct Options {}

pub(in crate::cli) fn run(session: &Session, Options {}: Options) -> Result<u8, Failure> {
    session.ui.print(&format!("{:#}", json_schema()));
    Ok(0)
}
