//! What the server and a launcher say to each other: JSON over a `SOCK_SEQPACKET` pair whose one end is the
//! launcher's stdin, with descriptors beside it. Nothing secret is ever on a command line.
use std::{
    fmt,
    fs::File,
    io::{self, BufWriter, IoSlice, IoSliceMut, Read, Seek, Write},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    fs::MemfdFlags,
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::runtime::mount::{Lend, Mount};

/// Longest message; an [`Order`] is longer and travels in a memory file.
const MESSAGE_BYTES: usize = 16 << 10;
/// As many as one message takes: <https://man7.org/linux/man-pages/man7/unix.7.html>
const DESCRIPTORS: usize = 253;

/// What a launcher is to be. Each stage takes one from the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) enum Order {
    /// Make the namespaces and start the next stage as their first process.
    Enclose {
        /// Process id of the server; the launcher ends when this is not its parent.
        server: i32,
        /// Enter another container's user and network namespaces, which come along, instead of making new ones.
        join: bool,
    },
    /// Be the first process of the namespaces.
    Init {
        /// The local cloud's folder: `rootfs` is relative to it.
        folder: PathBuf,
        /// The image's root, relative; none = an empty one, to try whether it works.
        rootfs: Option<PathBuf>,
        /// The network is another container's, and up.
        joined: bool,
        volumes: Volumes,
        program: Option<Program>,
    },
    /// Watch over a plain process.
    Supervise {
        /// The container's root.
        root: PathBuf,
        /// Make it the root of the process, which only root may.
        chroot: bool,
        volumes: Volumes,
        program: Option<Program>,
    },
}

/// What to mount in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) struct Volumes {
    pub(in crate::runtime) mounts: Vec<Mount>,
    /// Folders that come along: one descriptor for each name.
    pub(in crate::runtime) given: Vec<String>,
    /// What to hand out to the containers that join this one, if any may.
    pub(in crate::runtime) lends: Option<Vec<Lend>>,
}

/// What to run in a container.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) struct Program {
    pub(in crate::runtime) arguments: Vec<String>,
    pub(in crate::runtime) environment: Vec<(String, String)>,
    pub(in crate::runtime) working_dir: String,
}

impl fmt::Debug for Program {
    /// Variables may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Program")
            .field("arguments", &self.arguments)
            .field("working_dir", &self.working_dir)
            .finish_non_exhaustive()
    }
}

/// Server to launcher, once the container runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) enum Request {
    /// SIGTERM to the program.
    Terminate,
    /// SIGKILL to everything.
    Kill,
    /// Connect to a port in the container's network and send the socket back.
    Connect { id: u64, port: u16 },
}

/// Launcher to server. `Started`, with what others may share, or `Failed` is the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) enum Event {
    Started {
        /// The program, and its process group, as the launcher counts processes.
        program: Option<i32>,
    },
    Failed {
        reason: Reason,
        text: String,
    },
    /// With the connected socket.
    Connected {
        id: u64,
    },
    Refused {
        id: u64,
        errno: i32,
    },
    /// The program ended, and all it left is gone or about to be.
    Exited {
        code: Option<i32>,
        signal: Option<i32>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) enum Reason {
    Image,
    Exec,
    Host,
}

/// Both ends: the server's does not block, the launcher's does.
pub(in crate::runtime) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (server, launcher) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&server, true)?;
    Ok((server, launcher))
}

/// Sends an order in a memory file, with what comes along: an environment may be longer than a message.
pub(in crate::runtime) fn send_order(socket: BorrowedFd<'_>, order: &Order, descriptors: &[OwnedFd]) -> io::Result<()> {
    let file = File::from(rustix::fs::memfd_create("order", MemfdFlags::CLOEXEC)?);
    let mut writer = BufWriter::new(&file);
    serde_json::to_writer(&mut writer, order)?;
    writer.flush()?;
    drop(writer);
    let all = [file.as_fd()].into_iter().chain(descriptors.iter().map(AsFd::as_fd));
    send_bytes(socket, b"order", &all.collect::<Vec<_>>())
}

/// The next order and what comes along; none when the server has gone.
pub(in crate::runtime) fn receive_order(socket: BorrowedFd<'_>) -> io::Result<Option<(Order, Vec<OwnedFd>)>> {
    let Some((_, mut descriptors)) = receive_bytes(socket)? else {
        return Ok(None);
    };
    if descriptors.is_empty() {
        return Err(io::Error::other("an order without its file"));
    }
    let mut file = File::from(descriptors.remove(0));
    file.rewind()?;
    let length = file.metadata()?.len().try_into().unwrap_or(0);
    // Its whole size at once: what grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(length));
    file.read_to_string(&mut text)?;
    Ok(Some((serde_json::from_str(&text)?, descriptors)))
}

/// Sends one message, with descriptors if there are any.
pub(in crate::runtime) fn send<M: Serialize>(
    socket: BorrowedFd<'_>,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_bytes(socket, &serde_json::to_vec(message)?, descriptors)
}

/// The next message and what came with it; none when the other end has gone.
pub(in crate::runtime) fn receive<M: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let Some((bytes, descriptors)) = receive_bytes(socket)? else {
        return Ok(None);
    };
    Ok(Some((serde_json::from_slice(&bytes)?, descriptors)))
}

fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > DESCRIPTORS {
        let count = descriptors.len();
        return Err(io::Error::other(format!("one message takes {DESCRIPTORS} descriptors, and these are {count}")));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("no room for so many descriptors"));
    }
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL))?;
    Ok(())
}

fn receive_bytes(socket: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut receive = || {
        rustix::io::retry_on_intr(|| {
            let parts = &mut [IoSliceMut::new(&mut bytes)];
            recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })
    };
    let received = match receive() {
        // The other end closed with a message unread. It comes once, before what that end still sent.
        Err(Errno::CONNRESET) => receive()?,
        other => other?,
    };
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::other("a message is too long"));
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok(Some((bytes, descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_may_be_longer_than_a_message() {
        let (server, launcher) = pair().unwrap();
        let program = Program {
            arguments: vec!["/app".to_owned()],
            environment: vec![("LONG".to_owned(), "x".repeat(1 << 20))],
            working_dir: "/".to_owned(),
        };
        let order = Order::Supervise {
            root: PathBuf::from("/r"),
            chroot: false,
            volumes: Volumes::default(),
            program: Some(program),
        };
        let (reader, _writer) = std::io::pipe().unwrap();
        send_order(server.as_fd(), &order, &[reader.into()]).unwrap();
        let (received, descriptors) = receive_order(launcher.as_fd()).unwrap().unwrap();
        assert_eq!((received, descriptors.len()), (order, 1));
        drop(server);
        assert!(receive_order(launcher.as_fd()).unwrap().is_none());
    }

    #[test]
    fn the_last_words_are_heard_whatever_was_not_read() {
        let (server, launcher) = pair().unwrap();
        send(server.as_fd(), &Request::Terminate, &[]).unwrap();
        let started = Event::Started { program: Some(7) };
        send(launcher.as_fd(), &started, &[]).unwrap();
        drop(launcher);
        assert_eq!(receive::<Event>(server.as_fd()).unwrap().unwrap().0, started);
        assert!(receive::<Event>(server.as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_descriptor_travels_with_its_message() {
        let (server, launcher) = pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        send(launcher.as_fd(), &Event::Connected { id: 7 }, &[reader.as_fd()]).unwrap();
        drop(reader);
        let (event, descriptors) = receive::<Event>(server.as_fd()).unwrap().unwrap();
        assert_eq!(event, Event::Connected { id: 7 });
        (&writer).write_all(b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        File::from(descriptors.into_iter().next().unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }
}
