//! The server's end of a launcher's socket.
use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::Interest,
    net::{TcpStream, UnixDatagram},
    sync::oneshot,
};

use super::launcher::message::{self, Event, Request};

type Answer = oneshot::Sender<io::Result<OwnedFd>>;

#[derive(Debug)]
pub(super) struct Control {
    /// It keeps the bounds of messages like a datagram socket, and unlike one it tells when the other end closes:
    /// tokio's type is used for its readiness alone.
    socket: UnixDatagram,
    next: AtomicU64,
    /// Connections that were asked for; none when the container has ended.
    waiting: Mutex<Option<HashMap<u64, Answer>>>,
}

impl Control {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = UnixDatagram::from_std(socket.into())?;
        Ok(Self { socket, next: AtomicU64::new(0), waiting: Mutex::new(Some(HashMap::new())) })
    }

    /// The next event that is not the answer to [`Control::connect`], and what came with it; none when the launcher
    /// has gone.
    pub(super) async fn event(&self) -> Option<(Event, Vec<OwnedFd>)> {
        loop {
            let received =
                self.socket.async_io(Interest::READABLE, || message::receive::<Event>(self.socket.as_fd())).await;
            match received {
                Ok(Some((Event::Connected { id }, sockets))) => {
                    self.answer(
                        id,
                        sockets.into_iter().next().ok_or_else(|| io::Error::other("no socket came with the answer")),
                    );
                }
                Ok(Some((Event::Refused { id, errno }, _))) => {
                    self.answer(id, Err(io::Error::from_raw_os_error(errno)));
                }
                Ok(Some(event)) => return Some(event),
                Ok(None) | Err(_) => {
                    *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    return None;
                }
            }
        }
    }

    /// Sends a request; an error means that the container has ended.
    pub(super) async fn ask(&self, request: &Request) -> io::Result<()> {
        let send = || message::send(self.socket.as_fd(), request, &[]);
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    /// The same where nobody can wait.
    pub(super) fn ask_now(&self, request: &Request) -> io::Result<()> {
        message::send(self.socket.as_fd(), request, &[])
    }

    /// A connection to `port` inside the container.
    pub(super) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut().ok_or_else(ended)?.insert(id, sender);
        let _forget = Forget { control: self, id };
        self.ask(&Request::Connect { id, port }).await.map_err(|_| ended())?;
        let socket = answer.await.map_err(|_| ended())??;
        let stream = std::net::TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }

    fn answer(&self, id: u64, answer: io::Result<OwnedFd>) {
        if let Some(sender) = self.take(id) {
            // Whoever asked may have given up.
            let _ = sender.send(answer);
        }
    }

    fn take(&self, id: u64) -> Option<Answer> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.remove(&id)
    }
}

/// Takes the entry away when the caller no longer waits.
struct Forget<'control> {
    control: &'control Control,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        drop(self.control.take(self.id));
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "the container has ended")
}
