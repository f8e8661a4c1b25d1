//! The launcher: this program again, as the first process of a container. It is a process of one thread, since
//! only such a one may make a user namespace, and it gets its orders over its stdin.
mod descendants;
pub(super) mod message;
pub(super) mod mounts;
mod privileges;
mod process;
pub(super) mod program;
mod supervise;

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::ExitCode,
};

use message::{Event, Order};
use mounts::Wanted;
pub(super) use privileges::deny_to_children;
pub(super) use supervise::{Ended, Failure, open_null, report, report_start, start, watch};

use super::namespace;

/// The hidden first argument by which the binary's main knows that it is a launcher.
pub const LAUNCHER_ARGUMENT: &str = "__container";

/// Runs one container and ends with it. To be called by main before any thread exists, when the first argument is
/// [`LAUNCHER_ARGUMENT`]. Its stdin is the socket to the server.
pub fn launcher_main() -> ExitCode {
    match take_control().and_then(|control| obey(&control)) {
        Ok(()) => ExitCode::SUCCESS,
        // Without a socket there is no way to say more: somebody typed the hidden argument.
        Err(_) => ExitCode::FAILURE,
    }
}

/// The socket, away from where a program would inherit it.
fn take_control() -> Result<OwnedFd, Failure> {
    rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3).map_err(|error| Failure::host("opening the socket", error))
}

fn obey(control: &OwnedFd) -> Result<(), Failure> {
    let control = control.as_fd();
    let done = message::receive_order(control)
        .map_err(|error| Failure::host("receiving the order", error))
        .and_then(|order| run(control, order));
    if let Err(failure) = &done {
        let event = Event::Failed { reason: failure.reason, text: failure.text.clone() };
        // The server sees in any case that this process ends.
        let _ = message::send(control, &event, &[]);
    }
    done
}

fn run(control: BorrowedFd<'_>, order: Option<(Order, Vec<OwnedFd>)>) -> Result<(), Failure> {
    namespace::keep_from_children().map_err(|error| Failure::host("closing descriptors", error))?;
    // The terminal is the server's: its Ctrl-C is for the server, which stops its containers, and no program may
    // type into it. The second stage is in the first one's session already, and may have one of its own.
    rustix::process::setsid().map_err(|error| Failure::host("leaving the terminal", error))?;
    // The server has gone when there is none.
    let Some((order, given)) = order else { return Ok(()) };
    match order {
        Order::Enclose { server, join } => namespace::enclose(control, server, join.then_some(given.as_slice())),
        Order::Init { folder, rootfs, joined, volumes, program } => {
            let place = namespace::Inside { folder: &folder, rootfs: rootfs.as_deref(), joined };
            namespace::init(control, place, Wanted::of(volumes, given), program.as_ref())
        }
        Order::Supervise { root, chroot, volumes, program } => {
            process::run(control, &root, chroot, Wanted::of(volumes, given), program.as_ref())
        }
    }
}
