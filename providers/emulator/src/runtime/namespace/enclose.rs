//! The launcher's first stage: outside the container, in namespaces of its own.
use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use rustix::{
    mount::MountPropagationFlags,
    process::{Pid, Signal},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};

use crate::runtime::launcher::{Failure, LAUNCHER_ARGUMENT, open_null};

/// Another container's user and network namespaces.
const JOINED: [(&str, LinkNameSpaceType); 2] = [("user", LinkNameSpaceType::User), ("net", LinkNameSpaceType::Network)];
/// What each container has for itself, also beside others of its instance.
const OWN: UnshareFlags =
    UnshareFlags::NEWNS.union(UnshareFlags::NEWPID).union(UnshareFlags::NEWIPC).union(UnshareFlags::NEWUTS);

/// Makes the namespaces, or joins another container's, starts the second stage as the first process in them, and waits
/// for its end, which is the end of every process in them.
pub(in crate::runtime) fn enclose(
    control: BorrowedFd<'_>,
    server: i32,
    joined: Option<&[OwnedFd]>,
) -> Result<(), Failure> {
    end_with_parent()?;
    // The server may have ended before.
    if rustix::process::getppid().map(Pid::as_raw_pid) != Some(server) {
        return Err(Failure::host("starting a container", "the server has ended"));
    }
    match joined {
        None => make_spaces()?,
        Some(spaces) => join(spaces)?,
    }
    // A change of credentials may have reset it.
    end_with_parent()?;
    let null = open_null()?;
    let socket = control.try_clone_to_owned().map_err(|error| Failure::host("starting the first process", error))?;
    // Not by its path, which a new version may have taken meanwhile. `unshare` moves only children into the new
    // process namespace, hence a second process.
    let mut first = Command::new("/proc/self/exe")
        .arg0("carrack")
        .arg(LAUNCHER_ARGUMENT)
        .stdin(Stdio::from(socket))
        .spawn()
        .map_err(|error| Failure::host("starting the first process", error))?;
    // The pipes must end with the container, not with this process.
    for redirected in [rustix::stdio::dup2_stdin(null.as_fd()), rustix::stdio::dup2_stdout(null.as_fd())] {
        redirected.map_err(|error| Failure::host("leaving the output", error))?;
    }
    rustix::stdio::dup2_stderr(null.as_fd()).map_err(|error| Failure::host("leaving the output", error))?;
    first.wait().map_err(|error| Failure::host("waiting for the first process", error))?;
    Ok(())
}

fn make_spaces() -> Result<(), Failure> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    unshare(OWN | UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    // One uid needs no privilege; groups must be given up for it.
    // https://man7.org/linux/man-pages/man7/user_namespaces.7.html
    for (file, text) in
        [("setgroups", "deny".to_owned()), ("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))]
    {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| Failure::host(&format!("writing /proc/self/{file}"), error))?;
    }
    Ok(())
}

/// The user namespace first: it gives the right to enter the other one.
fn join(spaces: &[OwnedFd]) -> Result<(), Failure> {
    if spaces.len() != JOINED.len() {
        return Err(Failure::host("joining a container", "its namespaces did not come along"));
    }
    for (space, (_, kind)) in spaces.iter().zip(JOINED) {
        move_into_link_name_space(space.as_fd(), Some(kind))
            .map_err(|error| Failure::host("joining a container", error))?;
    }
    unshare(OWN)
}

/// What [`join`] takes, of this process.
pub(super) fn open_spaces() -> Result<Vec<OwnedFd>, Failure> {
    let open = |(name, _)| {
        fs::File::open(format!("/proc/self/ns/{name}"))
            .map(OwnedFd::from)
            .map_err(|error| Failure::host("opening the namespaces", error))
    };
    JOINED.into_iter().map(open).collect()
}

fn unshare(spaces: UnshareFlags) -> Result<(), Failure> {
    #[expect(unsafe_code, reason = "only unsharing the table of descriptors is unsafe, which this does not")]
    // SAFETY: `UnshareFlags::FILES` is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(spaces) }.map_err(|error| Failure::host("making namespaces", error))
}

/// From here on what this process mounts is seen by it and its children alone, and goes with them.
pub(in crate::runtime) fn leave_mounts() -> Result<(), Failure> {
    unshare(UnshareFlags::NEWNS)?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| Failure::host("making the mounts private", error))
}

/// The kernel kills this process when its parent ends, however that comes.
pub(super) fn end_with_parent() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::host("tying the launcher to the server", error))
}
