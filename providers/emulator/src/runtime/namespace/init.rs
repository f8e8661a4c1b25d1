//! The launcher's second stage: process 1 of the container.
use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::BorrowedFd,
    path::Path,
};

use rustix::process::DumpableBehavior;

use super::{enclose::end_with_parent, network, root};
use crate::runtime::{
    address,
    extract::make_folder,
    launcher::{Ended, Failure, deny_to_children, message::Program, open_null, report, report_start, start, watch},
};

/// Runs one container to its end, which ends every process in it. Without a program it only tries what a container
/// needs.
pub(in crate::runtime) fn init(
    control: BorrowedFd<'_>,
    folder: &Path,
    rootfs: Option<&Path>,
    program: Option<&Program>,
) -> Result<(), Failure> {
    end_with_parent()?;
    let null = open_null()?;
    network::bring_up().map_err(|error| Failure::host("bringing the container's network up", error))?;
    rustix::system::sethostname(b"localhost").map_err(|error| Failure::host("naming the container", error))?;
    root::enter(folder, rootfs)?;
    // What the program must not reach: this process, and the capabilities that it keeps.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| Failure::host("hiding the first process", error))?;
    deny_to_children()?;
    let running = match program {
        None => {
            try_network().map_err(|error| Failure::host("connecting inside the container", error))?;
            None
        }
        Some(program) => {
            make_folder(Path::new("/"), &program.working_dir)
                .map_err(|error| Failure::host("making the working directory", error))?;
            Some(start(program, Path::new("/"), null)?)
        }
    };
    report_start(control, running.as_ref());
    if let Some(running) = running
        && let Ended::Exited(status) = watch(control, running)
    {
        report(control, status);
    }
    Ok(())
}

fn try_network() -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    TcpStream::connect((Ipv4Addr::from(address::CONTAINER), listener.local_addr()?.port())).map(drop)
}
