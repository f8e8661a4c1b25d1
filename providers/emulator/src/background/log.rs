//! The background process's output.
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Above this an earlier log is put aside at the next start, so that it does not grow for ever.
const KEEP_BYTES: u64 = 4 * 1024 * 1024;
const TAIL_BYTES: u64 = 16 * 1024;
const TAIL_LINES: usize = 20;

/// The log, opened to be added to, and where this run begins in it. What an earlier run wrote stays: it may say
/// why that run ended.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > KEEP_BYTES) {
        std::fs::rename(path, path.with_extension("log.old"))?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let begin = file.metadata()?.len();
    Ok((file, begin))
}

/// The last lines that were written after `begin`.
pub(super) fn last_lines(path: &Path, begin: u64) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(begin.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // The log only explains another error.
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn gives_the_last_lines_of_this_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("emulator.log");
        std::fs::write(&path, "earlier\n").unwrap();
        let (mut file, begin) = open(&path).unwrap();
        assert!(last_lines(&path, begin).is_empty());
        for number in 0..30 {
            writeln!(file, "line {number}").unwrap();
        }
        let lines = last_lines(&path, begin);
        assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "line 10", "line 29"));
        assert!(last_lines(&dir.path().join("none"), 0).is_empty());
    }

    #[test]
    fn a_long_log_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("emulator.log");
        File::create(&path).unwrap().set_len(KEEP_BYTES + 1).unwrap();
        assert_eq!(open(&path).unwrap().1, 0);
        assert!(dir.path().join("emulator.log.old").exists());
    }
}
