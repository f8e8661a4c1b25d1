//! The local cloud behind `--local`: found, or started in the background.
use std::{ffi::OsString, sync::Arc, time::Duration};

use carrack_core::{Error, ErrorKind, Result, event::Ctx};
use carrack_emulator::background::{self, Ensured, Paths, Start, State};
use carrack_http::{
    Client, ClientOptions, Endpoint, Request, Response, Token, TokenCache, client::kind_of, token::FixedToken,
};
use object::Object;
use serde_json::Value;

use super::session::Session;
use crate::registry::Access;

/// Tells one build from another: a background process of another build is replaced, one of a copy is not.
pub(super) fn build_id() -> Result<String> {
    let program = program()?;
    let unreadable = |e| Error::new(ErrorKind::Internal, format!("cannot read `{}`", program.display())).with_source(e);
    let file = std::fs::File::open(&program).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let headers = object::ReadCache::new(file);
    let elf = object::read::elf::ElfFile64::<object::Endianness, _>::parse(&headers);
    // The linker's own hash of the content, where it writes one.
    let id = elf.ok().and_then(|elf| elf.build_id().ok().flatten().map(<[u8]>::to_vec)).unwrap_or_default();
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{length}-{id}", env!("CARGO_PKG_VERSION")))
}

pub(super) fn program() -> Result<std::path::PathBuf> {
    std::env::current_exe()
        .map_err(|e| Error::new(ErrorKind::Internal, "the program's own path is not known").with_source(e))
}

pub(super) fn paths(session: &Session) -> Result<Paths> {
    Paths::new(session.environment.state_dir()?).map_err(unavailable)
}

/// Every failure of the local cloud's set-up is of this kind.
pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, error.to_string())
}

/// Starts it unless it runs; says so.
pub(super) async fn ensure(session: &Session, mut arguments: Vec<OsString>) -> Result<State> {
    let (paths, ui) = (paths(session)?, session.ui.about_all());
    let build = build_id()?;
    if let Some(old) = State::read(&paths).map_err(unavailable)?.filter(|old| old.build != build) {
        let kept = kept(&old, &arguments)?;
        arguments.extend(kept);
    }
    let start = Start { program: program()?, arguments, build, wait: Duration::from_secs(20) };
    let ensured = background::ensure(&paths, &start).await.map_err(unavailable)?;
    let place = |state: &State| format!("the local cloud at {}", state.addresses.google);
    let state = match ensured {
        Ensured::Running(state) => state,
        Ensured::Started(state) => {
            ui.say("Started", &format!("{}; stop it with `carrack emulator stop`", place(&state)));
            state
        }
        Ensured::Replaced { state, .. } => {
            ui.say("Restarted", &format!("{}; stop it with `carrack emulator stop`", place(&state)));
            ui.say("Note", "it was of another build: the services that ran in it are gone");
            state
        }
    };
    match state.runtime.as_deref() {
        Some(runtime) if runtime.starts_with("process") => {
            ui.say("Note", "containers run as plain processes here, not isolated");
        }
        Some(_) => {}
        None => ui.say("Note", "this machine can run no containers; everything but running works"),
    }
    Ok(state)
}

/// How one of another build was started, which takes its place unless `given` says otherwise. A recording is of one
/// local cloud from its start to its end, so that whoever wanted it ends it.
fn kept(old: &State, given: &[OsString]) -> Result<Vec<OsString>> {
    let google = &old.addresses.google;
    if let Some(record) = &old.record {
        let text =
            format!("a local cloud of another build runs at {google}, and its recording is `{}`", record.display());
        return Err(Error::new(ErrorKind::Unavailable, text).hint("end both first: `carrack emulator stop`"));
    }
    let option = |argument: &str| argument.split('=').next().unwrap_or_default().to_owned();
    let told: Vec<_> = given.iter().map(|argument| option(&argument.to_string_lossy())).collect();
    Ok(old.asked.iter().filter(|argument| !told.contains(&option(argument))).map(OsString::from).collect())
}

/// Access for a provider.
pub(super) async fn access(session: &Session) -> Result<Access> {
    let state =
        ensure(session, vec!["emulator".into(), "start".into(), "--foreground".into(), "--detached".into()]).await?;
    Ok(Access::Endpoint { endpoint: Endpoint::parse(&state.addresses.google)?, token: state.token })
}

/// What the console says of a call that it refuses.
fn said(response: &Response) -> Error {
    let answer: Value = response.json().unwrap_or_default();
    let text =
        answer["error"].as_str().map_or_else(|| format!("the local cloud answered {}", response.status), str::to_owned);
    // What the console does not take, somebody typed.
    let kind = if response.status == 400 { ErrorKind::Usage } else { kind_of(response.status) };
    Error::new(kind, text)
}

/// One call to the console face of the local cloud.
pub(super) async fn console(
    cx: &Ctx,
    state: &State,
    method: &'static str,
    path: &str,
    body: Option<&Value>,
) -> Result<Vec<u8>> {
    let http = Client::new(ClientOptions::default())?;
    let token = TokenCache::new(Arc::new(FixedToken { token: Token::new(&state.token, None), principal: None }));
    let method = reqwest::Method::from_bytes(method.as_bytes())
        .map_err(|e| Error::new(ErrorKind::Internal, "no such method").with_source(e))?;
    let request = Request::new(method, format!("{}{path}", state.addresses.console)).bearer(&token);
    let request = match body {
        Some(body) => request.json(body)?,
        None => request,
    };
    let request = request.classify(said);
    Ok(http.send(cx, request).await?.body.to_vec())
}
