use clap::{Args, CommandFactory};

use crate::cli::{Cli, error::Failure, session::Session};

/// Options of `carrack completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  carrack completions bash > /etc/bash_completion.d/carrack\n  carrack completions zsh > \"${fpath[1]}/_carrack\""
)]
pub(in crate::cli) struct Options {
    /// The shell
    shell: clap_complete::Shell,
}

pub(in crate::cli) fn run(session: &Session, options: Options) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "carrack", &mut script);
    session.ui.print(String::from_utf8_lossy(&script).trim_end());
    Ok(0)
}
