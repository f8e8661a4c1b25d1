//! Why the background process could not be found, started or stopped.
use std::{error::Error, fmt, io, path::PathBuf, time::Duration};

/// Each text says the way on.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackgroundError {
    /// The state folder cannot be made or written.
    Folder { dir: PathBuf, source: io::Error },
    /// The state folder or a file in it belongs to another user.
    Foreign { path: PathBuf },
    /// The state file is not one that this version reads.
    Unreadable { path: PathBuf, source: serde_json::Error },
    /// Another process is the local cloud of this folder; its pid where it is known.
    Busy { pid: Option<u32>, dir: PathBuf },
    /// Somebody else has been starting or stopping it for too long.
    Starting { waited: Duration, dir: PathBuf },
    /// The program could not be run at all.
    Spawn { program: PathBuf, source: io::Error },
    /// It ended before it was ready.
    Ended { status: String, last_lines: Vec<String>, log: PathBuf },
    /// It did not become ready in time, and was ended.
    NotReady { waited: Duration, last_lines: Vec<String>, log: PathBuf },
    /// It is still there after SIGKILL.
    Unstoppable { pid: u32 },
}

impl fmt::Display for BackgroundError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { dir, source } => write!(
                formatter,
                "the state folder `{}` cannot be used: {source}; name another with `CARRACK_STATE_DIR`",
                dir.display()
            ),
            Self::Foreign { path } => write!(
                formatter,
                "refusing to use `{}`: it belongs to another user; name another state folder with `CARRACK_STATE_DIR`",
                path.display()
            ),
            Self::Unreadable { path, source } => write!(
                formatter,
                "the state file `{}` is not one that this version reads: {source}; stop the local cloud with the \
                 version that started it, or remove the file",
                path.display()
            ),
            Self::Busy { pid: Some(pid), dir } => write!(
                formatter,
                "the local cloud of `{}` runs already as process {pid}; stop it with `carrack emulator stop`, or name \
                 another state folder with `CARRACK_STATE_DIR`",
                dir.display()
            ),
            Self::Busy { pid: None, dir } => write!(
                formatter,
                "the local cloud of `{}` runs already; stop it with `carrack emulator stop`, or name another state \
                 folder with `CARRACK_STATE_DIR`",
                dir.display()
            ),
            Self::Starting { waited, dir } => write!(
                formatter,
                "another command has been starting or stopping the local cloud of `{}` for {} s; try again, or name \
                 another state folder with `CARRACK_STATE_DIR`",
                dir.display(),
                waited.as_secs()
            ),
            Self::Spawn { program, source } => {
                write!(formatter, "the local cloud cannot be started: `{}`: {source}", program.display())
            }
            Self::Ended { status, last_lines, log } => {
                write!(formatter, "the local cloud ended before it was ready ({status})")?;
                write_lines(formatter, last_lines, log)
            }
            Self::NotReady { waited, last_lines, log } => {
                write!(formatter, "the local cloud was not ready after {:.1} s, and was ended", waited.as_secs_f64())?;
                write_lines(formatter, last_lines, log)
            }
            Self::Unstoppable { pid } => write!(
                formatter,
                "process {pid} of the local cloud does not end, not even by SIGKILL; look at it with `ps -p {pid}`"
            ),
        }
    }
}

fn write_lines(formatter: &mut fmt::Formatter<'_>, lines: &[String], log: &std::path::Path) -> fmt::Result {
    if lines.is_empty() {
        return write!(formatter, "; it wrote nothing to `{}`", log.display());
    }
    write!(formatter, "; the last lines of `{}`:", log.display())?;
    for line in lines {
        write!(formatter, "\n  {line}")?;
    }
    Ok(())
}

impl Error for BackgroundError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Folder { source, .. } | Self::Spawn { source, .. } => Some(source),
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}
