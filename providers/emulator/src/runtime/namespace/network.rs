//! Brings `lo` up and gives it the container's address, over netlink.
//! <https://man7.org/linux/man-pages/man7/rtnetlink.7.html>
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink},
};

use crate::runtime::address;

/// `lo` is the first interface of every network namespace.
const LOOPBACK: u32 = 1;
const REQUEST_AND_ANSWER: u16 = 0x1 | 0x4;
const CREATE: u16 = 0x400 | 0x200;
const ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const HEADER_BYTES: usize = 16;

pub(super) fn bring_up() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    ask(&socket, &message(NEW_LINK, REQUEST_AND_ANSWER, &link_up()))?;
    ask(&socket, &message(NEW_ADDRESS, REQUEST_AND_ANSWER | CREATE, &address_added()))
}

/// `struct ifinfomsg`: set the flag `IFF_UP`.
fn link_up() -> Vec<u8> {
    const UP: u32 = 1;
    let mut body = vec![0; 4];
    for word in [LOOPBACK, UP, UP] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// `struct ifaddrmsg` and its attributes.
fn address_added() -> Vec<u8> {
    const INET: u8 = 2;
    const PREFIX_BITS: u8 = 32;
    const SCOPE_HOST: u8 = 254;
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let mut body = vec![INET, PREFIX_BITS, 0, SCOPE_HOST];
    body.extend(LOOPBACK.to_ne_bytes());
    for attribute in [LOCAL, ADDRESS] {
        body.extend(8_u16.to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(address::CONTAINER);
    }
    body
}

/// `struct nlmsghdr` and `body`.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn ask(socket: &OwnedFd, message: &[u8]) -> Result<(), Errno> {
    rustix::net::sendto(socket, message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 512];
    let (length, _) = rustix::net::recv(socket, &mut answer, RecvFlags::empty())?;
    outcome(&answer[..length])
}

/// The answer is an error, of number 0 if all went well.
fn outcome(answer: &[u8]) -> Result<(), Errno> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(HEADER_BYTES..HEADER_BYTES + 4).and_then(|bytes| bytes.try_into().ok());
    match (kind, code.map(i32::from_ne_bytes)) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(code)) => Err(Errno::from_raw_os_error(-code)),
        _ => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_kernels_layout() {
        assert_eq!(message(NEW_LINK, REQUEST_AND_ANSWER, &link_up()).len(), 32);
        let address = message(NEW_ADDRESS, REQUEST_AND_ANSWER | CREATE, &address_added());
        assert_eq!(address[..4], 40_u32.to_ne_bytes());
        assert_eq!(address[28..32], [169, 254, 8, 1]);
    }

    #[test]
    fn an_answer_is_an_error_number() {
        let answer = |code: i32| message(ERROR, 0, &code.to_ne_bytes());
        assert_eq!(outcome(&answer(0)), Ok(()));
        assert_eq!(outcome(&answer(-1)), Err(Errno::PERM));
        assert_eq!(outcome(&[]), Err(Errno::PROTO));
    }
}
