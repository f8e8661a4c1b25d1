//! The launcher's second stage: process 1 of the container.
use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::BorrowedFd,
    path::Path,
};

use rustix::process::DumpableBehavior;

use super::{
    enclose::{end_with_parent, open_spaces},
    network, root,
};
use crate::runtime::{
    address,
    extract::make_folder,
    launcher::{
        Ended, Failure, deny_to_children, message::Program, mounts::Wanted, open_null, report, report_start, start,
        watch,
    },
};

/// Where the container runs.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime) struct Inside<'order> {
    /// The local cloud's folder: `rootfs` is relative to it.
    pub(in crate::runtime) folder: &'order Path,
    pub(in crate::runtime) rootfs: Option<&'order Path>,
    /// In another container's network.
    pub(in crate::runtime) joined: bool,
}

/// Runs one container to its end, which ends every process in it. Without a program it only tries what a container
/// needs.
pub(in crate::runtime) fn init(
    control: BorrowedFd<'_>,
    inside: Inside<'_>,
    mut volumes: Wanted,
    program: Option<&Program>,
) -> Result<(), Failure> {
    end_with_parent()?;
    let null = open_null()?;
    if !inside.joined {
        network::bring_up().map_err(|error| Failure::host("bringing the container's network up", error))?;
    }
    rustix::system::sethostname(b"localhost").map_err(|error| Failure::host("naming the container", error))?;
    let mut shared = if volumes.is_shared() { open_spaces()? } else { Vec::new() };
    shared.extend(root::enter(inside.folder, inside.rootfs, &mut volumes)?);
    volumes.mount()?;
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
    report_start(control, running.as_ref(), &shared)?;
    drop(shared);
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
