//! The state file: how a command finds the local cloud that runs.
use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{BackgroundError, Paths, guard, paths, process};
use crate::addresses::Addresses;

/// What the background process says of itself once it listens.
#[derive(Clone, Serialize, Deserialize)]
pub struct State {
    pub pid: u32,
    /// RFC 3339.
    pub started: String,
    /// The build that runs: a command of another build starts it anew.
    pub build: String,
    /// What each container process carries as `CARRACK_INSTANCE`.
    pub instance: String,
    /// The token that may do all.
    pub token: String,
    /// What runs the containers; `None` when nothing can.
    pub runtime: Option<String>,
    /// How much longer every call takes, in milliseconds.
    #[serde(default)]
    pub latency_ms: u64,
    /// The socket of the engine that holds them, where one does: what it holds is to be swept there.
    #[serde(default)]
    pub engine: Option<PathBuf>,
    /// Where it writes every exchange, if it does.
    #[serde(default)]
    pub record: Option<PathBuf>,
    /// What was said of how it runs, as arguments: one of another build that takes its place runs so too.
    #[serde(default)]
    pub asked: Vec<String>,
    pub addresses: Addresses,
}

/// Without the token: states end up in logs.
impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("State")
            .field("pid", &self.pid)
            .field("started", &self.started)
            .field("build", &self.build)
            .field("instance", &self.instance)
            .field("runtime", &self.runtime)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl State {
    /// The state of the local cloud that runs now. `None` = none runs: no file, or one that its process left behind.
    pub fn read(paths: &Paths) -> Result<Option<Self>, BackgroundError> {
        let Some(state) = Self::last(paths)? else {
            return Ok(None);
        };
        // The lock file names the last holder until the next one has written its own pid: hence the second look.
        let runs = guard::holder(paths)? == Some(state.pid) && process::is_running(state.pid);
        Ok(runs.then_some(state))
    }

    /// What the file says, whether or not that process still lives.
    pub(super) fn last(paths: &Paths) -> Result<Option<Self>, BackgroundError> {
        let path = paths.state();
        if paths::is_foreign(&path) {
            return Err(BackgroundError::Foreign { path });
        }
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(paths.file_error(&path, error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| BackgroundError::Unreadable { path, source })
    }

    /// For the process that holds the [`Guard`](super::Guard), once it listens: from here on it is found.
    /// Readers see the old file or the new one, never a part; only this user may read it.
    pub fn write(&self, paths: &Paths) -> Result<(), BackgroundError> {
        let path = paths.state();
        self.replace(&paths.dir, &path).map_err(|error| paths.file_error(&path, error))
    }

    fn replace(&self, dir: &Path, path: &Path) -> io::Result<()> {
        // Its mode is 0600 from the start.
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer_pretty(file.as_file_mut(), self)?;
        let _file: File = file.persist(path)?;
        Ok(())
    }

    pub(super) fn remove(paths: &Paths) -> Result<(), BackgroundError> {
        let path = paths.state();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(paths.file_error(&path, error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{super::Guard, *};

    pub(in crate::background) fn sample(pid: u32) -> State {
        State {
            pid,
            started: "2026-01-02T03:04:05Z".to_owned(),
            build: "one".to_owned(),
            instance: "abc".to_owned(),
            token: "secret-token".to_owned(),
            runtime: None,
            latency_ms: 0,
            engine: None,
            record: None,
            asked: Vec::new(),
            addresses: Addresses {
                google: "http://127.0.0.1:1".to_owned(),
                registry: "127.0.0.1:2".to_owned(),
                console: "http://127.0.0.1:3".to_owned(),
            },
        }
    }

    #[test]
    fn is_read_while_its_process_holds_the_guard() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path()).unwrap();
        assert!(State::read(&paths).unwrap().is_none());
        let guard = Guard::acquire(&paths).unwrap();
        assert!(State::read(&paths).unwrap().is_none());
        sample(std::process::id()).write(&paths).unwrap();
        let mode = std::fs::metadata(paths.state()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let state = State::read(&paths).unwrap().unwrap();
        assert_eq!((state.token.as_str(), state.pid), ("secret-token", std::process::id()));
        drop(guard);
        assert!(!paths.state().exists(), "an orderly end takes the state file along");
    }

    #[test]
    fn a_file_left_behind_is_no_state() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path()).unwrap();
        // Our own pid is alive, but nobody holds the lock.
        sample(std::process::id()).write(&paths).unwrap();
        assert!(State::read(&paths).unwrap().is_none());
        assert_eq!(State::last(&paths).unwrap().unwrap().instance, "abc");
        // The lock is held by a process that has not written its own file yet.
        let guard = Guard::acquire(&paths).unwrap();
        sample(1).write(&paths).unwrap();
        assert!(State::read(&paths).unwrap().is_none());
        drop(guard);
        assert!(paths.state().exists(), "another process's file is not ours to remove");
    }

    #[test]
    fn another_format_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path()).unwrap();
        std::fs::write(paths.state(), "{}").unwrap();
        let text = State::read(&paths).unwrap_err().to_string();
        assert!(text.contains("remove the file"), "{text}");
    }

    #[test]
    fn the_token_is_not_in_its_debug_form() {
        assert!(!format!("{:?}", sample(1)).contains("secret-token"));
    }
}
