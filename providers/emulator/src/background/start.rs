//! Starting the local cloud in the background, or finding the one that runs.
use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{BackgroundError, Paths, State, guard::StartLock, log, process, stop};

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// What another command may need before it lets go of the start: stopping the old process, then its own wait.
const START_LOCK_EXTRA: Duration = Duration::from_secs(30);

/// How to start it.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program and its arguments: runs in the foreground, calls [`detach`](super::detach) first, takes the
    /// [`Guard`](super::Guard), and writes its [`State`] when it listens.
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// The build that is wanted; another one that runs is replaced.
    pub build: String,
    /// How long it may take until it is ready.
    pub wait: Duration,
}

/// What [`ensure`] found or did.
#[derive(Clone, Debug)]
pub enum Ensured {
    Running(State),
    Started(State),
    /// One of another build ran and was stopped; what was deployed to it is gone.
    Replaced {
        state: State,
        old: Box<State>,
    },
}

impl Ensured {
    /// The local cloud that runs now.
    pub fn state(&self) -> &State {
        match self {
            Self::Running(state) | Self::Started(state) | Self::Replaced { state, .. } => state,
        }
    }
}

/// Gives the local cloud of this folder, of the wanted build, starting it when needed. Idempotent; of two callers
/// at once one starts it and both get it. Fails with the last lines of the log when it ends early.
pub async fn ensure(paths: &Paths, start: &Start) -> Result<Ensured, BackgroundError> {
    // The common case, without the lock.
    if let Some(state) = State::read(paths)?.filter(|state| state.build == start.build) {
        return Ok(Ensured::Running(state));
    }
    let _lock = StartLock::acquire(paths, start.wait + START_LOCK_EXTRA).await?;
    let old = match State::read(paths)? {
        Some(state) if state.build == start.build => return Ok(Ensured::Running(state)),
        Some(state) => {
            stop::end(paths, &state).await?;
            Some(state)
        }
        None => None,
    };
    let state = launch(paths, start).await?;
    Ok(match old {
        Some(old) => Ensured::Replaced { state, old: Box::new(old) },
        None => Ensured::Started(state),
    })
}

async fn launch(paths: &Paths, start: &Start) -> Result<State, BackgroundError> {
    let log_path = paths.log();
    let (output, begin) = log::open(&log_path).map_err(|error| paths.file_error(&log_path, error))?;
    let errors = output.try_clone().map_err(|error| paths.folder_error(error))?;
    // No process group here: a group leader may not call setsid.
    let mut child = Command::new(&start.program)
        .args(&start.arguments)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|source| BackgroundError::Spawn { program: start.program.clone(), source })?;
    let until = Instant::now() + start.wait;
    loop {
        let ended = child.try_wait().map_err(|error| paths.folder_error(error))?;
        // After the look at the child: one that was ready and ended since is still found to be gone.
        if let Some(state) = State::read(paths)? {
            return Ok(state);
        }
        if let Some(status) = ended {
            return Err(BackgroundError::Ended {
                status: status.to_string(),
                last_lines: log::last_lines(&log_path, begin),
                log: log_path,
            });
        }
        if Instant::now() >= until {
            kill(&mut child);
            return Err(BackgroundError::NotReady {
                waited: start.wait,
                last_lines: log::last_lines(&log_path, begin),
                log: log_path,
            });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// With the group, when it came so far as to have its own.
fn kill(child: &mut Child) {
    process::signal(child.id(), rustix::process::Signal::KILL);
    if let Err(error) = child.wait() {
        tracing::debug!(%error, "the process that was not ready could not be waited for");
    }
}
