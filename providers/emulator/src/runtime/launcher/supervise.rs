//! The first process of a container: starts the program as its child, forwards signals to it, reaps what loses
//! its parent, makes connections for the server, and ends with the program or with the server.
use std::{
    io::{PipeReader, PipeWriter, Read, Write},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{CWD, Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
    process::{Pid, PidfdFlags, Signal, WaitOptions},
};

use super::message::{self, Event, Program, Reason, Request};
use super::program::{self, Surroundings};
use crate::runtime::{address, extract::Tree};

/// Why a container could not be started.
#[derive(Debug)]
pub(in crate::runtime) struct Failure {
    pub(in crate::runtime) reason: Reason,
    pub(in crate::runtime) text: String,
}

impl Failure {
    pub(in crate::runtime) fn host(what: &str, error: impl std::fmt::Display) -> Self {
        Self { reason: Reason::Host, text: format!("{what}: {error}") }
    }

    pub(in crate::runtime) fn exec(text: impl Into<String>) -> Self {
        Self { reason: Reason::Exec, text: text.into() }
    }
}

/// How the watch ended.
#[derive(Debug)]
pub(in crate::runtime) enum Ended {
    Exited(ExitStatus),
    /// Nobody listens any more.
    ServerGone,
}

/// A running program.
#[derive(Debug)]
pub(in crate::runtime) struct Running {
    pid: Pid,
    /// Names the process even when its number is used again.
    program: OwnedFd,
    status: PipeReader,
}

/// Starts `program`, whose root is `root` as this process sees it. `null` is `/dev/null`, which the root may not
/// have.
pub(in crate::runtime) fn start(program: &Program, root: &Path, null: OwnedFd) -> Result<Running, Failure> {
    let surroundings = if root == Path::new("/") { Surroundings::Root } else { Surroundings::Host };
    let tree = Tree::open(root).map_err(|error| Failure::host("opening the container's root", error))?;
    let Some((name, arguments)) = program.arguments.split_first() else {
        return Err(Failure::exec("the image names no program to start"));
    };
    let path = program.environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    let found = program::find(&tree, name, path, &program.working_dir, surroundings).map_err(Failure::exec)?;
    let working_dir = tree
        .find(program.working_dir.as_bytes())
        .ok()
        .filter(crate::runtime::extract::Place::is_folder)
        .ok_or_else(|| Failure::exec(format!("the working directory `{}` is no folder", program.working_dir)))?
        .path();
    let child = Command::new(root.join(found))
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(root.join(working_dir))
        .stdin(Stdio::from(null.try_clone().map_err(|error| Failure::host("starting the program", error))?))
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::exec(format!("cannot start `{name}`: {error}")))?;
    // The pipes must end with the program, not with this process.
    rustix::stdio::dup2_stdout(&null).map_err(|error| Failure::host("leaving the output", error))?;
    rustix::stdio::dup2_stderr(&null).map_err(|error| Failure::host("leaving the output", error))?;
    let pid = Pid::from_child(&child);
    let program = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(|error| Failure::host("watching the program", error))?;
    let (status, writer) = std::io::pipe().map_err(|error| Failure::host("watching the program", error))?;
    std::thread::Builder::new()
        .name("reaper".to_owned())
        .spawn(move || reap(pid, writer))
        .map_err(|error| Failure::host("watching the program", error))?;
    Ok(Running { pid, program, status })
}

/// Reaps every child until the program itself is one, whose status it hands on.
fn reap(program: Pid, mut status: PipeWriter) {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, found))) if pid == program => {
                // The reader is this process: it cannot have gone.
                let _ = status.write_all(&found.as_raw().to_ne_bytes());
                return;
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Serves the server's requests until the program ends or the server does.
pub(in crate::runtime) fn watch(control: BorrowedFd<'_>, mut running: Running) -> Ended {
    let mut connecting: Vec<(u64, OwnedFd)> = Vec::new();
    loop {
        let mut waiting =
            vec![PollFd::new(&running.status, PollFlags::IN), PollFd::from_borrowed_fd(control, PollFlags::IN)];
        waiting.extend(connecting.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::OUT)));
        match poll(&mut waiting, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Ended::ServerGone,
        }
        let ready: Vec<bool> = waiting.iter().map(|descriptor| !descriptor.revents().is_empty()).collect();
        drop(waiting);
        if ready[0] {
            let mut raw = [0; 4];
            return match running.status.read_exact(&mut raw) {
                Ok(()) => Ended::Exited(ExitStatus::from_raw(i32::from_ne_bytes(raw))),
                Err(_) => Ended::ServerGone,
            };
        }
        let mut answered = ready[2..].iter();
        let (done, pending) = connecting.into_iter().partition(|_| answered.next() == Some(&true));
        connecting = pending;
        if !finish(control, done) {
            return Ended::ServerGone;
        }
        if ready[1] {
            let sent = match message::receive::<Request>(control) {
                Ok(Some((Request::Terminate, _))) => signal(&running, Signal::TERM),
                Ok(Some((Request::Kill, _))) => signal(&running, Signal::KILL),
                Ok(Some((Request::Connect { id, port }, _))) => match connect(port) {
                    Ok(socket) => {
                        connecting.push((id, socket));
                        true
                    }
                    Err(error) => refuse(control, id, error),
                },
                Ok(None) | Err(_) => false,
            };
            if !sent {
                return Ended::ServerGone;
            }
        }
    }
}

fn signal(running: &Running, signal: Signal) -> bool {
    // It may have ended this moment.
    let _ = rustix::process::pidfd_send_signal(&running.program, signal);
    true
}

/// A socket on its way to `port`; poll tells when it is there.
fn connect(port: u16) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::from(address::CONTAINER), port)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Hands the sockets over, or says why there is none; false when nobody listens.
fn finish(control: BorrowedFd<'_>, sockets: Vec<(u64, OwnedFd)>) -> bool {
    sockets.into_iter().all(|(id, socket)| match rustix::net::sockopt::socket_error(&socket) {
        Ok(Ok(())) => message::send(control, &Event::Connected { id }, &[socket.as_fd()]).is_ok(),
        Ok(Err(error)) | Err(error) => refuse(control, id, error),
    })
}

fn refuse(control: BorrowedFd<'_>, id: u64, error: Errno) -> bool {
    message::send(control, &Event::Refused { id, errno: error.raw_os_error() }, &[]).is_ok()
}

/// `/dev/null`, while it can be reached.
pub(in crate::runtime) fn open_null() -> Result<OwnedFd, Failure> {
    rustix::fs::openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Failure::host("opening /dev/null", error))
}

/// Tells the server that the program runs, or that without one all was tried, and hands over what others may share.
/// The server takes it for granted that it is told one or the other.
pub(in crate::runtime) fn report_start(
    control: BorrowedFd<'_>,
    running: Option<&Running>,
    shared: &[OwnedFd],
) -> Result<(), Failure> {
    let event = Event::Started { program: running.map(|running| running.pid.as_raw_pid()) };
    message::send(control, &event, &shared.iter().map(AsFd::as_fd).collect::<Vec<_>>())
        .map_err(|error| Failure::host("handing over what containers share", error))
}

/// Tells the server how the program ended.
pub(in crate::runtime) fn report(control: BorrowedFd<'_>, status: ExitStatus) {
    let event = Event::Exited { code: status.code(), signal: status.signal() };
    // Without a server there is nobody to tell.
    let _ = message::send(control, &event, &[]);
}
