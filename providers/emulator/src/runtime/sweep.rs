//! Ends what a local cloud left behind, found by a variable in its environment.
use std::{
    collections::HashSet,
    fs,
    os::fd::OwnedFd,
    os::unix::ffi::OsStrExt,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal},
};

use super::{command::INSTANCE_VARIABLE, launcher::LAUNCHER_ARGUMENT, memory};

/// How long a killed process may take to be gone.
const KILLED: Duration = Duration::from_secs(5);

/// A process of a local cloud.
pub(super) struct Found {
    pub(super) pid: Pid,
    /// Names the process even when its number is used again.
    pub(super) descriptor: OwnedFd,
    pub(super) launcher: bool,
}

/// Ends every process that carries `CARRACK_INSTANCE=<instance>`: SIGTERM, then SIGKILL after `grace`. Returns how
/// many there were. A launcher gets no SIGTERM: it ends with its container.
pub fn sweep(instance: &str, grace: Duration) -> usize {
    let mut seen = HashSet::new();
    let mut ended = find(instance);
    seen.extend(ended.iter().map(|found| found.pid));
    for found in ended.iter().filter(|found| !found.launcher) {
        // It may have ended this moment.
        let _ = rustix::process::pidfd_send_signal(&found.descriptor, Signal::TERM);
    }
    wait_for(&mut ended, grace);
    // Look again: what was found may have started more.
    let deadline = Instant::now() + KILLED;
    loop {
        let mut left = find(instance);
        if left.is_empty() || Instant::now() >= deadline {
            memory::remove_left(instance);
            return seen.len();
        }
        seen.extend(left.iter().map(|found| found.pid));
        for found in &left {
            let _ = rustix::process::pidfd_send_signal(&found.descriptor, Signal::KILL);
        }
        wait_for(&mut left, deadline.saturating_duration_since(Instant::now()));
    }
}

/// Waits until all have ended, or the time is over.
pub(super) fn wait_for(running: &mut Vec<Found>, time: Duration) {
    let deadline = Instant::now() + time;
    while !running.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(timeout) = Timespec::try_from(left) else {
            return;
        };
        let mut waiting: Vec<PollFd<'_>> =
            running.iter().map(|found| PollFd::new(&found.descriptor, PollFlags::IN)).collect();
        match poll(&mut waiting, Some(&timeout)) {
            Ok(0) => return,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let ended: Vec<bool> = waiting.iter().map(|descriptor| !descriptor.revents().is_empty()).collect();
        drop(waiting);
        let mut ended = ended.into_iter();
        running.retain(|_| ended.next() != Some(true));
    }
}

/// Every process that carries the variable, this one aside.
pub(super) fn find(instance: &str) -> Vec<Found> {
    let own = rustix::process::getpid();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse().ok().and_then(Pid::from_raw)
    });
    pids.filter(|&pid| pid != own).filter_map(|pid| look(pid, instance)).collect()
}

fn look(pid: Pid, instance: &str) -> Option<Found> {
    // Opened first: what is read below is then of this process, or of one that ended.
    let descriptor = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let folder = std::path::PathBuf::from(format!("/proc/{}", pid.as_raw_pid()));
    let environment = fs::read(folder.join("environ")).ok()?;
    if !carries(&environment, instance) {
        return None;
    }
    let arguments = fs::read(folder.join("cmdline")).ok()?;
    let launcher = arguments.split(|&byte| byte == 0).nth(1) == Some(LAUNCHER_ARGUMENT.as_bytes());
    Some(Found { pid, descriptor, launcher })
}

fn carries(environment: &[u8], instance: &str) -> bool {
    let variable = format!("{INSTANCE_VARIABLE}={instance}");
    environment.split(|&byte| byte == 0).any(|line| line == std::ffi::OsStr::new(&variable).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    use super::*;

    #[test]
    fn only_the_whole_value_counts() {
        assert!(carries(b"A=1\0CARRACK_INSTANCE=one\0", "one"));
        assert!(!carries(b"A=1\0CARRACK_INSTANCE=one-more\0", "one"));
        assert!(!carries(b"XCARRACK_INSTANCE=one\0", "one"));
    }

    #[test]
    fn what_carries_the_variable_ends_and_nothing_else() {
        let instance = uuid::Uuid::new_v4().to_string();
        let sleep = |instance: &str| {
            let mut command = Command::new("sleep");
            command.arg("1000").env(INSTANCE_VARIABLE, instance).spawn().unwrap()
        };
        let (mut ours, mut other) = (sleep(&instance), sleep("another"));
        assert_eq!(sweep(&instance, Duration::from_secs(5)), 1);
        assert_eq!(ours.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(sweep(&instance, Duration::ZERO), 0);
    }
}
