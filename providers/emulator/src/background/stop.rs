//! Ending the local cloud so that nothing of it stays.
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustix::process::Signal;

use super::{
    BackgroundError, Paths, State,
    guard::{self, StartLock},
    process,
};

const POLL_INTERVAL: Duration = Duration::from_millis(10);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Containers have ten seconds after SIGTERM.
/// <https://cloud.google.com/run/docs/container-contract#instance-shutdown>
const ASKED_GRACE: Duration = Duration::from_secs(15);
const TERMINATED_GRACE: Duration = Duration::from_secs(12);
const KILLED_GRACE: Duration = Duration::from_secs(5);
const EXIT_GRACE: Duration = Duration::from_secs(2);
/// What is left then has had its SIGTERM already.
const SWEEP_GRACE: Duration = Duration::from_secs(2);
const START_LOCK_WAIT: Duration = Duration::from_secs(60);

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// So much was ended.
    pub ended: usize,
    /// Something may be left, which only the state's instance and engine find.
    pub incomplete: bool,
}

/// Ends the local cloud of this folder and all that it started. `sweep(state, grace)` ends everything that
/// carries its instance; it is called also when the local cloud itself was killed before, and by the next stop or
/// start again when something may be left. Idempotent; `false` = none ran and nothing was left.
pub async fn stop(paths: &Paths, sweep: impl AsyncFn(&State, Duration) -> Swept) -> Result<bool, BackgroundError> {
    let _lock = StartLock::acquire(paths, START_LOCK_WAIT).await?;
    let mut ran = false;
    if let Some(state) = State::read(paths)? {
        end(paths, &state).await?;
        sweep_and_remove(paths, &state, &sweep).await?;
        return Ok(true);
    }
    // The lock without a state: one that is just starting in the foreground, and cannot be asked yet.
    if let Some(pid) = guard::holder(paths)? {
        end_by_signal(paths, pid).await?;
        ran = true;
    }
    let swept = match State::last(paths)? {
        Some(state) => sweep_and_remove(paths, &state, &sweep).await?,
        None => Swept::default(),
    };
    Ok(ran || swept.ended > 0)
}

async fn sweep_and_remove(
    paths: &Paths,
    state: &State,
    sweep: &impl AsyncFn(&State, Duration) -> Swept,
) -> Result<Swept, BackgroundError> {
    let swept = sweep(state, SWEEP_GRACE).await;
    if swept.incomplete {
        // The process itself may have removed it.
        state.write(paths)?;
    } else {
        State::remove(paths)?;
    }
    Ok(swept)
}

/// Ends the process: asked by its console, then by SIGTERM, then by SIGKILL. The state file may stay behind.
pub(super) async fn end(paths: &Paths, state: &State) -> Result<(), BackgroundError> {
    match ask(state).await {
        Ok(()) if gone(paths, state.pid, ASKED_GRACE).await? => return Ok(()),
        Ok(()) => tracing::warn!(pid = state.pid, "the local cloud was asked to stop and did not"),
        Err(error) => {
            tracing::debug!(pid = state.pid, %error, "the local cloud could not be asked to stop")
        }
    }
    end_by_signal(paths, state.pid).await
}

async fn end_by_signal(paths: &Paths, pid: u32) -> Result<(), BackgroundError> {
    for (with, grace) in [(Signal::TERM, TERMINATED_GRACE), (Signal::KILL, KILLED_GRACE)] {
        process::signal(pid, with);
        if gone(paths, pid, grace).await? {
            return Ok(());
        }
    }
    Err(BackgroundError::Unstoppable { pid })
}

/// Whether the process lets go of the lock in time. Then waits a little for its end, since its ports are free only
/// then; what lives on without the lock may be another process with the same pid, so it is left alone.
async fn gone(paths: &Paths, pid: u32, wait: Duration) -> Result<bool, BackgroundError> {
    let mut until = Instant::now() + wait;
    while guard::holder(paths)? == Some(pid) {
        if Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    until = Instant::now() + EXIT_GRACE;
    while process::is_running(pid) && Instant::now() < until {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(true)
}

async fn ask(state: &State) -> Result<(), String> {
    let request = http::Request::post(format!("{}/stop", state.addresses.console))
        .header(http::header::AUTHORIZATION, format!("Bearer {}", state.token))
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(HttpConnector::new());
    let answer = tokio::time::timeout(ASK_TIMEOUT, client.request(request))
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
}
