//! Another process by its pid.
use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group, test_kill_process};

/// Whether a process of this pid runs; one that has ended and was not waited for does not.
pub(super) fn is_running(pid: u32) -> bool {
    let exists = match from_number(pid).map(test_kill_process) {
        Some(Ok(())) => true,
        // It is there and not ours: root's, in this user's folder.
        Some(Err(error)) => error == rustix::io::Errno::PERM,
        None => false,
    };
    exists && !is_zombie(pid)
}

/// To the whole group when the process leads one; else it shares it with whoever started it, and only it is meant.
pub(super) fn signal(pid: u32, signal: Signal) {
    let Some(pid) = from_number(pid) else {
        return;
    };
    let sent = match getpgid(Some(pid)) {
        Ok(group) if group == pid => kill_process_group(pid, signal),
        _ => kill_process(pid, signal),
    };
    if let Err(error) = sent {
        tracing::debug!(?pid, ?signal, %error, "the signal could not be sent");
    }
}

fn from_number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>: the state follows the name, which may hold anything.
#[cfg(target_os = "linux")]
fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])))
}

/// Elsewhere a zombie is taken for alive: whoever waits for its end waits a little longer.
#[cfg(not(target_os = "linux"))]
fn is_zombie(_: u32) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_runs_until_it_has_ended() {
        assert!(is_running(std::process::id()));
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        assert!(is_running(pid));
        // It shares our group, so it alone is meant.
        signal(pid, Signal::KILL);
        child.wait().unwrap();
        assert!(!is_running(pid));
        assert!(!is_running(0) && !is_running(u32::MAX));
    }
}
