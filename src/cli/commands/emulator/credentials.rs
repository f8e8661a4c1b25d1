//! `carrack emulator key` and `carrack emulator login`: files of credentials that the local cloud takes.
use std::{
    io::Write,
    path::{Path, PathBuf},
};

use carrack_core::{Error, ErrorKind};
use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{call, faults::unreadable};
use crate::cli::{error::Failure, session::Session};

/// Options of `carrack emulator key`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack emulator key ci@local.iam.gserviceaccount.com --out key.json
  carrack emulator key ci@local.iam.gserviceaccount.com --out key.json --loopback")]
pub(super) struct Key {
    /// Whose key it is: NAME@PROJECT.iam.gserviceaccount.com
    #[arg(value_name = "ACCOUNT")]
    account: String,
    #[command(flatten)]
    file: File,
}

/// Options of `carrack emulator login`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack emulator login me@example.com --out application_default_credentials.json")]
pub(super) struct Login {
    /// Who logs in
    #[arg(value_name = "EMAIL")]
    email: String,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, Args)]
struct File {
    /// Where it is written to, for this user alone
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: PathBuf,
    /// Let it name the loopback address, which needs no proxy, as the place to get tokens from, and not Google's
    #[arg(long)]
    loopback: bool,
}

pub(super) async fn key(session: &mut Session, Key { account, file }: Key) -> Result<(), Failure> {
    write(session, "/credentials/key", &account, file).await
}

pub(super) async fn login(session: &mut Session, Login { email, file }: Login) -> Result<(), Failure> {
    write(session, "/credentials/user", &email, file).await
}

async fn write(session: &mut Session, path: &str, email: &str, file: File) -> Result<(), Failure> {
    let File { out, loopback } = file;
    let body = json!({ "email": email, "loopback": loopback });
    let answer = Zeroizing::new(call(session, "POST", path, Some(&body)).await?);
    let mut answer: Value = serde_json::from_slice(&answer).map_err(unreadable)?;
    let Value::String(text) = answer["file"].take() else {
        return Err(Error::new(ErrorKind::Internal, "the local cloud's answer has no file").into());
    };
    save(&out, &Zeroizing::new(text))
        .map_err(|e| Error::new(ErrorKind::Unavailable, format!("cannot write `{}`", out.display())).with_source(e))?;
    session.report(json!({ "file": out, "email": email }));
    session.ui.say("Wrote", &format!("`{}`, which is good for {email} in this local cloud alone", out.display()));
    Ok(())
}

/// Its mode is 0600 from the start, and it is there as a whole or not at all.
fn save(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}
