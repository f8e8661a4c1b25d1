use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use carrack_core::{
    Error, ErrorKind, Result,
    secret::{LATEST, SecretValue},
};
use clap::Args;
use serde_json::{Value, json};

use super::Where;
use crate::cli::{error::Failure, session::Session};

/// Options of `carrack secrets get`.
#[derive(Debug, Args)]
#[command(
    after_help = "Standard output gets the value's bytes as they are. A terminal gets them only with `--show`, and
`--format json` only with `--show`, as `value_base64`.

Examples:
  carrack secrets get db-password > password.txt
  carrack secrets get db-password 3 --out password.txt
  carrack secrets get db-password --show
  carrack secrets get db-password --show --format json"
)]
pub(super) struct Options {
    /// The secret, or whole: `projects/PROJECT/secrets/NAME`
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    /// The version: a number, an alias or `latest`
    #[arg(value_name = "VERSION", default_value = LATEST)]
    version: String,
    /// Write the value to this file, which only its owner may read
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Show the value on the terminal, or in JSON
    #[arg(long, conflicts_with = "out")]
    show: bool,
}

pub(super) async fn run(session: &mut Session, place: &Where, options: Options) -> Result<u8, Failure> {
    let Options { name, version, out, show } = options;
    if out.is_none() && !show {
        let place = match (session.json(), session.ui.shows_out()) {
            (true, _) => Some("into JSON"),
            (false, true) => Some("on a terminal"),
            (false, false) => None,
        };
        if let Some(place) = place {
            return Err(Error::new(ErrorKind::Usage, format!("refusing to write the value of a secret {place}"))
                .hint(format!("pipe it, or write it to a file: `carrack secrets get {name} --out FILE`"))
                .hint("or add `--show`")
                .into());
        }
    }
    // A file that cannot be written is known before the value is.
    let out = out.as_deref().map(target).transpose()?;
    let connection = place.connect(session).await?;
    let (number, value) = connection.provider.secrets().get(&session.cx, &name, &version).await?;
    let count = value.expose().len();
    let mut report = json!({ "secret": name, "version": number, "bytes": count });
    match &out {
        Some(path) => {
            write(path, &value)?;
            session.ui.say("Wrote", &format!("version {number} of secret `{name}` to `{}`", path.display()));
            report["file"] = json!(path);
        }
        None if session.json() => report["value_base64"] = Value::String(STANDARD.encode(value.expose())),
        None => {
            session.cx.events.flushed().await;
            session.ui.bytes(value.expose());
        }
    }
    session.report(report);
    Ok(0)
}

/// The file behind links; a device or a pipe is none.
fn target(path: &Path) -> Result<PathBuf> {
    let refused = |text: &str| Error::new(ErrorKind::Usage, format!("`{}` {text}", path.display()));
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(found) = fs::symlink_metadata(&path)
        && !found.is_file()
    {
        return Err(refused("is no regular file").hint("leave `--out` out: the value goes to standard output"));
    }
    if !folder(&path).is_dir() {
        return Err(refused("is in a folder that does not exist"));
    }
    Ok(path)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// All of it or nothing, with mode 0600 from the first byte on, whatever was there before.
fn write(path: &Path, value: &SecretValue) -> Result<()> {
    let unwritable =
        |e: std::io::Error| Error::new(ErrorKind::Usage, format!("cannot write `{}`", path.display())).with_source(e);
    let mut file = tempfile::NamedTempFile::new_in(folder(path)).map_err(unwritable)?;
    file.write_all(value.expose()).and_then(|()| file.as_file().sync_all()).map_err(unwritable)?;
    file.persist(path).map_err(|e| unwritable(e.error)).map(drop)
}
