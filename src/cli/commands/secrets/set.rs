use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use carrack_core::{
    Error, ErrorKind, Result,
    event::Event,
    secret::{NewSecret, SecretValue},
};
use clap::Args;
use zeroize::Zeroizing;

use super::{Where, invalid};
use crate::{
    cli::{error::Failure, session::Session},
    config,
    ops::secrets,
};

/// Options of `carrack secrets set`.
#[derive(Debug, Args)]
#[command(after_help = "The value is read from standard input, from a file, or typed at a terminal; never from the
command line, which others can see. It is kept byte for byte, a line break at its end too.

Examples:
  printf %s \"$PASSWORD\" | carrack secrets set db-password
  carrack secrets set tls-key --from-file key.pem
  carrack secrets set db-password --label team=shop --replica europe-west1 --replica europe-west4")]
pub(super) struct Options {
    /// The secret, or whole: `projects/PROJECT/secrets/NAME`
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    /// `-` for standard input. A value does not go here.
    // Also one that begins as a flag does: what clap does not know it repeats.
    #[arg(value_name = "-", hide = true, allow_hyphen_values = true)]
    source: Option<std::ffi::OsString>,
    /// Read the value from this file; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "source")]
    from_file: Option<PathBuf>,
    /// Give the secret this label; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Keep it in this location, not where the cloud chooses; repeatable, and only when it is made
    #[arg(long = "replica", value_name = "LOCATION")]
    replicas: Vec<String>,
}

pub(super) async fn run(session: &mut Session, place: &Where, options: Options) -> Result<u8, Failure> {
    let new = wanted(&options)?;
    let source = source(&options)?;
    let connection = place.connect(session).await?;
    let store = connection.provider.secrets();
    store.check_name(&options.name)?;
    let value = read(session, &source, &options.name, store.longest()).await?;
    secrets::check_value(store, &value)?;
    remark(session, &value);
    let written = secrets::set(&session.cx, store, &options.name, &value, &new).await?;
    let (name, version) = (&written.secret, &written.version);
    session.cx.events.flushed().await;
    if written.created {
        session.ui.say("Created", &format!("secret `{name}`"));
    }
    let (verb, text) = match written.changed {
        true => ("Added", format!("version {version} of secret `{name}`, {}", bytes(written.bytes))),
        false => ("Done", format!("secret `{name}` has this value already, as version {version}")),
    };
    session.ui.say(verb, &text);
    session.data(version).await;
    session.report(written);
    Ok(0)
}

fn wanted(options: &Options) -> Result<NewSecret> {
    let mut pairs = Vec::new();
    for label in &options.labels {
        let (key, value) = label.split_once('=').ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("`{label}` is no label")).hint("write `--label KEY=VALUE`")
        })?;
        config::label_key(key).and_then(|()| config::label_value(value)).map_err(invalid)?;
        pairs.push((key.to_owned(), value.to_owned()));
    }
    let mut locations: Vec<String> = Vec::new();
    for location in &options.replicas {
        config::region(location).map_err(invalid)?;
        if !locations.contains(location) {
            locations.push(location.clone());
        }
    }
    Ok(NewSecret { labels: secrets::labels(&pairs)?, locations })
}

/// Where the value comes from.
enum Source {
    /// A pipe, or a terminal that somebody types at.
    Input,
    File(PathBuf),
}

fn source(options: &Options) -> Result<Source> {
    match (&options.source, &options.from_file) {
        (Some(source), _) if source != "-" => {
            // What it says is not repeated: it may be the value.
            Err(Error::new(ErrorKind::Usage, "refusing to take a value from the command line, which others can see")
                .hint(format!("pipe it: `printf %s \"$VALUE\" | carrack secrets set {}`", options.name))
                .hint("or name a file: `--from-file FILE`; flags are in `carrack secrets set --help`"))
        }
        (_, Some(file)) if file != Path::new("-") => Ok(Source::File(file.clone())),
        (Some(_), _) | (None, _) => Ok(Source::Input),
    }
}

async fn read(session: &Session, source: &Source, name: &str, longest: usize) -> Result<SecretValue> {
    let path = match source {
        Source::Input if session.ui.types_in() => {
            session.cx.events.flushed().await;
            let value = session.ui.hidden(&session.cx, &format!("Value of secret `{name}` (not shown): ")).await?;
            session.ui.say("Read", &bytes(value.expose().len()));
            return Ok(value);
        }
        Source::Input => None,
        Source::File(path) => Some(path.clone()),
    };
    let what = path.as_ref().map_or_else(|| "standard input".to_owned(), |path| format!("`{}`", path.display()));
    let reading = tokio::task::spawn_blocking(move || match path {
        Some(path) => bounded(File::open(path)?, longest),
        None => bounded(std::io::stdin().lock(), longest),
    });
    let unreadable = |e: std::io::Error| Error::new(ErrorKind::Usage, format!("cannot read {what}")).with_source(e);
    // Standard input may never end.
    let read = carrack_core::poll::bounded(&session.cx, &format!("reading {what}"), reading).await?;
    let read = read.map_err(|e| Error::new(ErrorKind::Internal, "reading failed").with_source(e))?;
    Ok(SecretValue::new(read.map_err(unreadable)?))
}

/// Everything, or one byte more than may be; in memory of that size from the start, so that no copy is left behind.
fn bounded(from: impl Read, longest: usize) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut value = Zeroizing::new(Vec::with_capacity(longest + 1));
    let most = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut value)?;
    Ok(value)
}

/// Says what may not be meant.
fn remark(session: &Session, value: &SecretValue) {
    let note = |message: &str| session.cx.events.emit(Event::Note { message: message.to_owned() });
    let value = value.expose();
    if let Some((b'\n', line)) = value.split_last()
        && !line.is_empty()
        && !line.contains(&b'\n')
        && std::str::from_utf8(line).is_ok()
    {
        note("the value ends with a line break, which is part of it; `printf %s` writes none");
    }
    if value.contains(&0) {
        note("the value has a zero byte: mount it as a file, no environment variable can hold it");
    }
}

fn bytes(count: usize) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}
