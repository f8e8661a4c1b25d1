//! Another process by its pid.
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

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
    let leads = leads_a_group(pid);
    let Some(pid) = from_number(pid) else {
        return;
    };
    let sent = if leads { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    if let Err(error) = sent {
        tracing::debug!(?pid, ?signal, %error, "the signal could not be sent");
    }
}

fn from_number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The fields from the state on; the name before them may hold anything.
/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
#[cfg(target_os = "linux")]
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

#[cfg(target_os = "linux")]
fn is_zombie(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| state.starts_with(['Z', 'X'])))
}

/// Read rather than asked for: getpgid(2) answers 0 for a group whose leader is outside of this process namespace,
/// which rustix takes for impossible.
#[cfg(target_os = "linux")]
fn leads_a_group(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields.get(2) == Some(&pid.to_string()))
}

/// Elsewhere a zombie is taken for alive: whoever waits for its end waits a little longer.
#[cfg(not(target_os = "linux"))]
fn is_zombie(_: u32) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn leads_a_group(pid: u32) -> bool {
    from_number(pid).is_some_and(|pid| rustix::process::getpgid(Some(pid)) == Ok(pid))
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
