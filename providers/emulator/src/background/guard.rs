//! The lock that one process holds for as long as it is the local cloud.
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use super::{BackgroundError, Paths, State};

/// A reader holds the lock for an instant to see whether it is free; that must not look like a second process.
const PROBE_GRACE: Duration = Duration::from_millis(250);
const PROBE_INTERVAL: Duration = Duration::from_millis(5);

/// Held for the life of the foreground process; dropping it takes the state file along. To be dropped last: whoever
/// waits for the end takes the process for gone then.
#[derive(Debug)]
pub struct Guard {
    /// The lock is the open file's.
    file: File,
    paths: Paths,
    leftover: Option<State>,
    keeps_state: bool,
}

impl Guard {
    /// Blocks for at most a quarter of a second. Fails with [`BackgroundError::Busy`] when another process holds it.
    pub fn acquire(paths: &Paths) -> Result<Self, BackgroundError> {
        let path = paths.lock();
        let mut file = open(&path).map_err(|error| paths.file_error(&path, error))?;
        let until = Instant::now() + PROBE_GRACE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(PROBE_INTERVAL),
                Err(TryLockError::WouldBlock) => {
                    return Err(BackgroundError::Busy { pid: read_pid(&mut file), dir: paths.dir.clone() });
                }
                Err(TryLockError::Error(error)) => return Err(paths.folder_error(error)),
            }
        }
        write_pid(&mut file).map_err(|error| paths.folder_error(error))?;
        // One that cannot be read names nothing to sweep, and is replaced.
        let leftover = State::last(paths).unwrap_or_default();
        Ok(Self { file, paths: paths.clone(), leftover, keeps_state: false })
    }

    /// What a process that was killed left behind: its containers are to be swept by its instance.
    pub fn leftover(&self) -> Option<&State> {
        self.leftover.as_ref()
    }

    /// Leaves the state file behind, as a process that was killed does: something is to be swept.
    pub fn keep_state(&mut self) {
        self.keeps_state = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let ours = |state: State| state.pid == std::process::id();
        if !self.keeps_state
            && State::last(&self.paths).ok().flatten().is_some_and(ours)
            && let Err(error) = State::remove(&self.paths)
        {
            tracing::warn!(%error, "the state file stays behind");
        }
        release(&self.file);
    }
}

/// The process that holds the guard; `None` when nobody does.
pub(super) fn holder(paths: &Paths) -> Result<Option<u32>, BackgroundError> {
    let path = paths.lock();
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(paths.file_error(&path, error)),
    };
    match file.try_lock_shared() {
        Ok(()) => {
            release(&file);
            Ok(None)
        }
        Err(TryLockError::WouldBlock) => Ok(read_pid(&mut file)),
        Err(TryLockError::Error(error)) => Err(paths.folder_error(error)),
    }
}

/// Held by whoever starts or stops the local cloud, so that two commands at once do not.
#[derive(Debug)]
pub(super) struct StartLock {
    file: File,
}

impl Drop for StartLock {
    fn drop(&mut self) {
        release(&self.file);
    }
}

impl StartLock {
    pub(super) async fn acquire(paths: &Paths, wait: Duration) -> Result<Self, BackgroundError> {
        let path = paths.start_lock();
        let file = open(&path).map_err(|error| paths.file_error(&path, error))?;
        let until = Instant::now() + wait;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file }),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(BackgroundError::Starting { waited: wait, dir: paths.dir.clone() });
                }
                Err(TryLockError::Error(error)) => return Err(paths.folder_error(error)),
            }
        }
    }
}

/// Closing would not do at once: a child that is between fork and exec just then has the same open file.
fn release(file: &File) {
    if let Err(error) = file.unlock() {
        tracing::debug!(%error, "a lock goes with its file only");
    }
}

/// The file is never removed: a second process could then lock another file of the same name.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    write!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{super::state::tests::sample, *};

    #[test]
    fn a_second_start_is_told_the_first_ones_pid() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path()).unwrap();
        assert_eq!(holder(&paths).unwrap(), None);
        let guard = Guard::acquire(&paths).unwrap();
        assert_eq!(holder(&paths).unwrap(), Some(std::process::id()));
        let error = Guard::acquire(&paths).unwrap_err();
        assert!(matches!(error, BackgroundError::Busy { pid: Some(pid), .. } if pid == std::process::id()));
        assert!(error.to_string().contains("carrack emulator stop"), "{error}");
        drop(guard);
        assert_eq!(holder(&paths).unwrap(), None);
        assert!(Guard::acquire(&paths).is_ok());
    }

    #[test]
    fn looking_does_not_hinder_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path()).unwrap();
        drop(Guard::acquire(&paths).unwrap());
        let probe = File::open(paths.lock()).unwrap();
        probe.lock_shared().unwrap();
        let waiting = std::thread::spawn({
            let paths = paths.clone();
            move || Guard::acquire(&paths).is_ok()
        });
        drop(probe);
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn what_a_killed_process_left_is_handed_on() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path()).unwrap();
        sample(1).write(&paths).unwrap();
        let guard = Guard::acquire(&paths).unwrap();
        assert_eq!(guard.leftover().map(|state| state.instance.as_str()), Some("abc"));
    }
}
