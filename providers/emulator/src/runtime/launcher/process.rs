//! The launcher of the process runtime: the root of the process where it may, a reaper of everything below it,
//! and nothing more.
use std::{os::fd::BorrowedFd, path::Path};

use rustix::{
    fd::OwnedFd,
    fs::{CWD, FileType, Mode},
};

use super::{
    descendants::Descendants,
    message::Program,
    mounts::Wanted,
    privileges,
    supervise::{self, Ended, Failure},
};

/// Runs one container to its end. Without a program it only tries what a container needs.
pub(super) fn run(
    control: BorrowedFd<'_>,
    root: &Path,
    chroot: bool,
    mut volumes: Wanted,
    program: Option<&Program>,
) -> Result<(), Failure> {
    let descendants = Descendants::adopt().map_err(|error| Failure::host("becoming a reaper", error))?;
    let null = supervise::open_null()?;
    let mut lent: Vec<OwnedFd> = Vec::new();
    if !volumes.is_empty() {
        if !chroot {
            return Err(Failure::host("mounting a volume", "without root the process runtime cannot"));
        }
        crate::runtime::namespace::leave_mounts()?;
        lent = volumes.lend(root)?;
    }
    let root = if chroot {
        rustix::process::chroot(root).map_err(|error| Failure::host("chroot", error))?;
        std::env::set_current_dir("/").map_err(|error| Failure::host("entering the root", error))?;
        make_devices();
        volumes.mount()?;
        Path::new("/")
    } else {
        root
    };
    privileges::deny_to_children()?;
    let ended = start_and_watch(control, root, null, lent, program);
    // Also when the start failed: the program may run.
    descendants.end().map_err(|error| Failure::host("ending the container's processes", error))?;
    if let Some(Ended::Exited(status)) = ended? {
        supervise::report(control, status);
    }
    Ok(())
}

/// None without a program.
fn start_and_watch(
    control: BorrowedFd<'_>,
    root: &Path,
    null: OwnedFd,
    lent: Vec<OwnedFd>,
    program: Option<&Program>,
) -> Result<Option<Ended>, Failure> {
    let running = program.map(|program| supervise::start(program, root, null)).transpose()?;
    supervise::report_start(control, running.as_ref(), &lent)?;
    drop(lent);
    Ok(running.map(|running| supervise::watch(control, running)))
}

/// Programs expect these. Best effort: not even root may make them everywhere.
/// <https://www.kernel.org/doc/Documentation/admin-guide/devices.txt>
fn make_devices() {
    if std::fs::create_dir_all("/dev").is_err() {
        return;
    }
    for (path, minor) in [("/dev/null", 3), ("/dev/zero", 5), ("/dev/full", 7), ("/dev/random", 8), ("/dev/urandom", 9)]
    {
        let device = rustix::fs::makedev(1, minor);
        let made = rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device);
        if made.is_ok() {
            // The mask may have taken bits away.
            let _ = rustix::fs::chmod(path, Mode::from_raw_mode(0o666));
        }
    }
}
