//! Every exchange in a file, one line of JSON each: what a checker holds against the clouds' published schemas.
//!
//! | module | what it holds |
//! |---|---|
//! | `exchange` | one call, as both sides see it |
//! | `mask` | tokens and secrets, which no recording has |
//!
//! Of a registry's calls only what was asked and its status are kept. An orderly end has a line of its own, so that a
//! recording without it is known to be a part.
mod exchange;
mod mask;

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;

pub(crate) use self::exchange::Exchange;
use crate::requests::Outcome;

#[derive(Debug)]
pub(crate) struct Recorder {
    /// `None` once it ended or could not be written: a line that is missing must not look like a call that never was.
    file: Mutex<Option<Written>>,
}

#[derive(Debug)]
struct Written {
    file: File,
    exchanges: u64,
}

/// The last line.
#[derive(Serialize)]
struct End {
    end: String,
    exchanges: u64,
}

impl Recorder {
    /// A new file, or an empty one, that only this user may read: what has content is never overwritten, nor mixed with.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        if metadata.len() > 0 {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(Self { file: Mutex::new(Some(Written { file, exchanges: 0 })) })
    }

    /// Appends one whole line, `n` being the call's number in the list of requests.
    pub(crate) fn keep(&self, n: u64, exchange: Exchange, outcome: &Outcome) {
        let line = exchange.line(n, outcome);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(written) = file.as_mut() {
            written.exchanges += 1;
            if let Err(error) = written.file.write_all(&line) {
                tracing::error!(%error, "the recording cannot be written, and ends here");
                *file = None;
            }
        }
    }

    /// Appends the last line: no call comes after it, and as many as it says came before.
    pub(crate) fn end(&self) {
        let written = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Written { mut file, exchanges }) = written else { return };
        let end = End { end: Timestamp::now().to_string(), exchanges };
        // A text and a number: nothing in it can fail.
        let mut line = serde_json::to_vec(&end).unwrap_or_default();
        line.push(b'\n');
        if let Err(error) = file.write_all(&line) {
            tracing::error!(%error, "the end of the recording cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_its_users_alone_and_never_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("calls");
        std::fs::write(&path, "").expect("an empty file");
        Recorder::create(&path).expect("nothing is lost");
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "{}\n").expect("a line");
        assert!(Recorder::create(dir.path()).is_err());
        assert_eq!(Recorder::create(&path).expect_err("it is there").kind(), io::ErrorKind::AlreadyExists);
    }
}
