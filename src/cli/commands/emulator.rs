//! `carrack emulator …`: the local cloud itself.
mod credentials;
mod env;
mod faults;
mod identity;
mod token;

use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use carrack_core::{Error, ErrorKind};
use carrack_emulator::{
    background::{self, Guard, State, Swept},
    runtime::{self, RuntimeKind},
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::cli::{
    error::Failure,
    local::{self, build_id, ensure, paths, program, unavailable},
    session::Session,
};

/// Options of `carrack emulator`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carrack emulator start
  carrack emulator start --latency 50ms
  carrack emulator start --record calls.jsonl
  carrack emulator requests --format json
  carrack emulator faults add 503 --service run --method PATCH
  eval \"$(carrack emulator env)\"
  eval \"$(carrack emulator env --for gcloud)\"
  carrack emulator token --email ci@local.iam.gserviceaccount.com --role roles/run.developer
  carrack emulator key ci@local.iam.gserviceaccount.com --out key.json
  eval \"$(carrack emulator identity github --repository octo/hello)\"
  carrack emulator stop")]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start it in the background
    Start(Start),
    /// End it, and everything that runs in it
    Stop,
    /// Show its addresses and services
    Status,
    /// Remove every service, secret, image and log
    Reset,
    /// Print the environment that makes Carrack use it without `--local`, or gcloud use it
    Env(env::Options),
    /// Print its log
    Logs,
    /// Print the requests that it got
    Requests,
    /// Let calls go wrong on purpose
    Faults(faults::Options),
    /// Make a token of somebody who may do only so much, and print it
    Token(token::Options),
    /// Write a key file of a service account
    Key(credentials::Key),
    /// Write the file that a user's login with gcloud leaves
    Login(credentials::Login),
    /// Print what a CI gives a job to say who it is
    Identity(identity::Options),
}

#[derive(Debug, Args)]
struct Start {
    /// Stay in the foreground
    #[arg(long)]
    foreground: bool,
    /// The port of Google's APIs; else the next free one
    #[arg(long)]
    port: Option<u16>,
    /// How containers run; else the first that works here
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
    /// End by itself after this long without use
    ///
    /// Without it, after an hour.
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::settings::duration)]
    idle: Option<Duration>,
    /// Let every call take this much longer (`50ms`)
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::settings::duration)]
    latency: Option<Duration>,
    /// Let an instance stay this long without a request
    ///
    /// Without it, 15 minutes.
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::settings::duration)]
    instance_idle: Option<Duration>,
    /// Write every exchange to this new file, a line of JSON each, without tokens and the values of secrets
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    record: Option<PathBuf>,
    #[arg(long, hide = true)]
    detached: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Runtime {
    /// Own namespaces (Linux)
    Namespace,
    /// Docker or Podman, through its socket
    Docker,
    /// A plain process, not isolated
    Process,
}

impl Options {
    /// Leaves the caller's terminal and session. It forks nothing, but closes descriptors, so before any thread starts.
    pub(in crate::cli) fn detach(&self) -> std::io::Result<()> {
        match &self.command {
            Command::Start(start) if start.detached => background::detach(),
            _ => Ok(()),
        }
    }
}

/// How long containers get to end after SIGTERM when all is stopped.
const GRACE: Duration = Duration::from_secs(10);

pub(in crate::cli) async fn run(session: &mut Session, options: Options) -> Result<u8, Failure> {
    match options.command {
        Command::Start(mut start) => {
            // The background process may have another working directory one day.
            start.record = start.record.map(absolute).transpose()?;
            if start.foreground { foreground(session, start).await? } else { in_background(session, &start).await? }
        }
        Command::Stop => stop(session).await?,
        Command::Status => status(session).await?,
        Command::Reset => {
            call(session, "POST", "/reset", None).await?;
            session.report(json!({ "reset": true }));
            session.ui.say("Reset", "no services, secrets, images and logs are left");
        }
        Command::Env(options) => env::run(session, &options)?,
        Command::Logs => logs(session)?,
        Command::Requests => requests(session).await?,
        Command::Faults(options) => faults::run(session, options).await?,
        Command::Token(options) => token::run(session, options).await?,
        Command::Key(options) => credentials::key(session, options).await?,
        Command::Login(options) => credentials::login(session, options).await?,
        Command::Identity(options) => identity::run(session, options).await?,
    }
    Ok(0)
}

impl Start {
    /// What was said of how it runs, as arguments.
    fn asked(&self) -> Vec<String> {
        let runtime = self.runtime.and_then(|runtime| runtime.to_possible_value());
        [
            self.port.map(|port| format!("--port={port}")),
            runtime.map(|runtime| format!("--runtime={}", runtime.get_name())),
            self.idle.map(|idle| format!("--idle={}s", idle.as_secs())),
            self.latency.map(|latency| format!("--latency={}ms", latency.as_millis())),
            self.instance_idle.map(|idle| format!("{INSTANCE_IDLE_FLAG}{}ms", idle.as_millis())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Idle instances may be kept this long: <https://cloud.google.com/run/docs/about-instance-autoscaling#idle-instances>
const INSTANCE_IDLE: Duration = Duration::from_secs(15 * 60);
const INSTANCE_IDLE_FLAG: &str = "--instance-idle=";

/// Without use, if nothing else is asked for.
const IDLE: Duration = Duration::from_secs(60 * 60);

async fn in_background(session: &mut Session, start: &Start) -> Result<(), Failure> {
    let mut arguments: Vec<OsString> = ["emulator", "start", "--foreground", "--detached"].map(OsString::from).to_vec();
    arguments.extend(start.asked().into_iter().map(OsString::from));
    if let Some(record) = &start.record {
        let mut argument = OsString::from("--record=");
        argument.push(record);
        arguments.push(argument);
    }
    let state = ensure(session, arguments).await?;
    other_than_asked(start, &state)?;
    session.ui.data(&state.addresses.google);
    session.report(shown(&state));
    Ok(())
}

fn absolute(path: PathBuf) -> Result<PathBuf, Error> {
    std::path::absolute(&path).map_err(|e| {
        Error::new(ErrorKind::Unavailable, format!("cannot record to `{}`", path.display())).with_source(e)
    })
}

/// One that runs already is not changed by flags.
fn other_than_asked(start: &Start, state: &State) -> Result<(), Error> {
    let runtime = start.runtime.and_then(|runtime| Some(runtime.to_possible_value()?.get_name().to_owned()));
    let same_runtime =
        runtime.as_ref().is_none_or(|asked| state.runtime.as_ref().is_some_and(|runs| runs.starts_with(asked)));
    let same_port = start.port.is_none_or(|port| state.addresses.google.ends_with(&format!(":{port}")));
    let same_latency = start.latency.is_none_or(|latency| u128::from(state.latency_ms) == latency.as_millis());
    let same_record = start.record.is_none() || start.record == state.record;
    let idle = start.instance_idle.map(|idle| format!("{INSTANCE_IDLE_FLAG}{}ms", idle.as_millis()));
    let same_idle = idle.is_none_or(|idle| state.asked.contains(&idle));
    if same_runtime && same_port && same_latency && same_idle && same_record {
        return Ok(());
    }
    let runs = state.runtime.as_deref().unwrap_or("none");
    let text = format!("a local cloud with other settings runs at {} (runtime: {runs})", state.addresses.google);
    Err(Error::new(ErrorKind::Unavailable, text).hint("end it first: `carrack emulator stop`"))
}

/// The process itself: listens until it is asked to end.
async fn foreground(session: &Session, start: Start) -> Result<(), Failure> {
    let paths = paths(session)?;
    let mut guard = Guard::acquire(&paths).map_err(unavailable)?;
    if let Some(killed) = guard.leftover() {
        sweep(session, killed, GRACE).await;
    }
    let token = format!("local-{}", random()?);
    let instance = random()?;
    let latency = start.latency.unwrap_or_default();
    let running = carrack_emulator::serve(carrack_emulator::Options {
        state_dir: paths.dir.join("emulator"),
        runtime: start.runtime.map(|runtime| match runtime {
            Runtime::Namespace => RuntimeKind::Namespace,
            Runtime::Docker => RuntimeKind::Docker,
            Runtime::Process => RuntimeKind::Process,
        }),
        engines: session.environment.engines(),
        port: start.port,
        idle: Some(start.idle.unwrap_or(IDLE)),
        launcher: program()?,
        instance: instance.clone(),
        token: token.clone(),
        latency,
        instance_idle: start.instance_idle.unwrap_or(INSTANCE_IDLE),
        record: start.record.clone(),
    })
    .await
    .map_err(unavailable)?;
    let certificate = env::certificate(&paths);
    std::fs::write(&certificate, running.certificate())
        .map_err(|e| unavailable(e).hint(format!("`{}` must be writable", certificate.display())))?;
    let runtime = match running.runtime() {
        Ok(kind) => Some(kind.to_string()),
        Err(why) => {
            session.ui.say("Note", &format!("this machine can run no containers: {why}"));
            None
        }
    };
    let asked = start.asked();
    let state = State {
        asked,
        pid: std::process::id(),
        started: jiff::Timestamp::now().to_string(),
        build: build_id()?,
        instance,
        token,
        runtime,
        latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        engine: running.engine().map(Path::to_owned),
        record: start.record,
        addresses: running.addresses().clone(),
    };
    if let Err(why) = env::renew_token(&paths.dir, &state.token) {
        session.ui.say("Note", &format!("gcloud's token is not renewed: {why}"));
    }
    state.write(&paths).map_err(unavailable)?;
    session.ui.say(
        "Listening",
        &format!("{} (runtime: {})", state.addresses.google, state.runtime.as_deref().unwrap_or("none")),
    );
    tokio::select! {
        () = running.stopped() => {}
        () = session.cx.cancel.cancelled() => {}
    }
    env::forget_token(&paths.dir, &state.token);
    if let Err(why) = running.shutdown().await {
        note_left(session, &state, &why);
        guard.keep_state();
    }
    drop(guard);
    Ok(())
}

/// Ends what a local cloud left behind: processes, and what is in the engine that it used.
async fn sweep(session: &Session, state: &State, grace: Duration) -> Swept {
    let processes = runtime::sweep(&state.instance, grace);
    let Some(engine) = &state.engine else { return Swept { ended: processes, incomplete: false } };
    match runtime::sweep_engine(engine, &state.instance).await {
        Ok(containers) => Swept { ended: processes + containers, incomplete: false },
        Err(why) => {
            note_left(session, state, &why);
            Swept { ended: processes, incomplete: true }
        }
    }
}

fn note_left(session: &Session, state: &State, why: &str) {
    let engine = state.engine.as_deref().unwrap_or(Path::new("")).display();
    let list = format!("docker ps --all --filter label=dev.carrack.instance={}", state.instance);
    let text = format!("the engine at `{engine}` may still have containers: {why}; list them with `{list}`");
    session.ui.say("Note", &text);
}

/// 128 random bits as text.
fn random() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::new(ErrorKind::Internal, format!("no random numbers: {e}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn stop(session: &mut Session) -> Result<(), Failure> {
    let paths = paths(session)?;
    let sweep = async |state: &State, grace: Duration| {
        // One that was killed did not do so.
        env::forget_token(&paths.dir, &state.token);
        sweep(session, state, grace.min(GRACE)).await
    };
    let stopped = background::stop(&paths, sweep).await.map_err(unavailable)?;
    session.ui.say("Stopped", if stopped { "the local cloud" } else { "nothing: no local cloud runs" });
    session.report(json!({ "stopped": stopped }));
    Ok(())
}

async fn status(session: &mut Session) -> Result<(), Failure> {
    let Some(state) = State::read(&paths(session)?).map_err(unavailable)? else {
        session.ui.data("no local cloud runs; start it with `carrack emulator start`");
        session.report(json!({ "running": false }));
        return Ok(());
    };
    let mut value = shown(&state);
    let answer: Value = serde_json::from_slice(&call(session, "GET", "/status", None).await?).unwrap_or_default();
    value["services"] = answer["services"].clone();
    let mut text = format!(
        "google    {}\nregistry  {}\nconsole   {}\nruntime   {}\npid       {}",
        state.addresses.google,
        state.addresses.registry,
        state.addresses.console,
        state.runtime.as_deref().unwrap_or("none"),
        state.pid
    );
    if let Some(engine) = &state.engine {
        text += &format!("\nengine    {}", engine.display());
    }
    if let Some(record) = &state.record {
        text += &format!("\nrecord    {}", record.display());
    }
    for service in answer["services"].as_array().into_iter().flatten() {
        let part = |name: &str| service[name].as_str().unwrap_or_default().to_owned();
        text += &format!("\nservice   {} {}", part("name"), part("url"));
    }
    session.ui.data(&text);
    session.report(value);
    Ok(())
}

/// Without the token.
fn shown(state: &State) -> Value {
    json!({
        "running": true, "pid": state.pid, "runtime": state.runtime, "engine": state.engine, "started": state.started,
        "latency_ms": state.latency_ms, "record": state.record, "addresses": state.addresses,
    })
}

fn logs(session: &Session) -> Result<(), Failure> {
    let path: PathBuf = paths(session)?.log();
    let text = std::fs::read(&path).map_err(|e| {
        Error::new(ErrorKind::NotFound, format!("there is no log at `{}`", path.display()))
            .with_source(e)
            .hint("start it with `carrack emulator start`")
    })?;
    let _ = std::io::stdout().write_all(&text);
    Ok(())
}

async fn requests(session: &Session) -> Result<(), Failure> {
    let list: Vec<Value> = serde_json::from_slice(&call(session, "GET", "/requests", None).await?).map_err(|e| {
        Error::new(ErrorKind::Internal, "the local cloud's list of requests cannot be read").with_source(e)
    })?;
    for request in list {
        if session.json() {
            session.ui.value(&request);
        } else {
            let part = |name: &str| request[name].as_str().map_or_else(|| request[name].to_string(), str::to_owned);
            let status = if request["status"].is_null() { "---".to_owned() } else { part("status") };
            let fault = request["fault"].as_str().map(|fault| format!("  ({fault})")).unwrap_or_default();
            session.ui.print(&format!("{status} {:<6} {}{}{fault}", part("method"), part("host"), part("path")));
        }
    }
    Ok(())
}

fn running(session: &Session) -> Result<State, Error> {
    State::read(&paths(session)?).map_err(unavailable)?.ok_or_else(|| {
        Error::new(ErrorKind::Unavailable, "no local cloud runs").hint("start it with `carrack emulator start`")
    })
}

/// A call to the console face.
async fn call(session: &Session, method: &'static str, path: &str, body: Option<&Value>) -> Result<Vec<u8>, Error> {
    let state = running(session)?;
    local::console(&session.cx, &state, method, path, body).await
}
