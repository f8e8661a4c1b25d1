//! Ends what a plain process left behind. Its supervisor is the reaper of all below it, so whatever lost its
//! parent is the supervisor's child.
use rustix::{
    event::poll,
    fd::{AsFd, OwnedFd},
    fs::{CWD, Dir, Mode, OFlags, Timespec},
    io::Errno,
    process::{Pid, Signal, WaitOptions},
};

/// Nothing tells when a process becomes ours: how long until they are listed again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// `/proc`, opened before any `chroot`.
#[derive(Debug)]
pub(super) struct Descendants(OwnedFd);

impl Descendants {
    /// Makes this process the reaper of all below it.
    pub(super) fn adopt() -> Result<Self, Errno> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, "/proc", flags, Mode::empty()).map(Self)
    }

    /// Kills children until there are none; the children of a killed one become ours and are next. Another thread may
    /// take the status of what is killed here: nothing is waited for without a look at who else is there.
    pub(super) fn end(&self) -> Result<(), Errno> {
        loop {
            for child in self.children()? {
                match rustix::process::kill_process(child, Signal::KILL) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(error) => return Err(error),
                }
            }
            loop {
                match rustix::process::wait(WaitOptions::NOHANG) {
                    Ok(None) => break,
                    Ok(Some(_)) | Err(Errno::INTR) => {}
                    Err(Errno::CHILD) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            match poll(&mut [], Some(&PAUSE)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn children(&self) -> Result<Vec<Pid>, Errno> {
        let own = rustix::process::getpid().as_raw_pid();
        let mut children = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(pid) = name.parse().ok().and_then(Pid::from_raw) else {
                continue;
            };
            if self.parent(&name) == Some(own) {
                children.push(pid);
            }
        }
        Ok(children)
    }

    fn parent(&self, pid: &str) -> Option<i32> {
        let mut buffer = [0; 512];
        let file = rustix::fs::openat(self.0.as_fd(), format!("{pid}/stat"), OFlags::RDONLY, Mode::empty()).ok()?;
        let length = rustix::io::read(&file, &mut buffer).ok()?;
        parent_in(&buffer[..length])
    }
}

/// The fourth field; the second, the name in parentheses, may hold spaces and parentheses.
/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
fn parent_in(stat: &[u8]) -> Option<i32> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_hide_the_parent() {
        assert_eq!(parent_in(b"12 (a) S 1 (b) c) S 345 12 12 0"), Some(345));
        assert_eq!(parent_in(b"12 (a"), None);
    }
}
