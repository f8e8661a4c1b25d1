//! Which port a name gets: always the same one, unless somebody else has it.
use std::io;

use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::server::listen;

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// The name's own port, or the next free one.
pub(crate) fn bind(name: &str) -> io::Result<TcpListener> {
    first_free(wanted(name), listen::bind)
}

fn first_free<T>(wanted: u16, bind: impl Fn(u16) -> io::Result<T>) -> io::Result<T> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..COUNT {
        match bind(FIRST + (wanted - FIRST + step) % COUNT) {
            // The second is what Windows says of the ranges that it keeps for itself.
            Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
                last = error;
            }
            other => return other,
        }
    }
    Err(last)
}

fn wanted(name: &str) -> u16 {
    let digest = Sha256::digest(name.as_bytes());
    let number = digest.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let offset = number % u32::from(COUNT);
    FIRST + u16::try_from(offset).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_does_not_help_against_everything() {
        let taken = |port| if port == FIRST { Ok(port) } else { Err(io::ErrorKind::AddrInUse.into()) };
        assert_eq!(first_free(FIRST + 3, taken).expect("after all the others"), FIRST);
        let tried = std::cell::Cell::new(0);
        let result = first_free(FIRST, |_| {
            tried.set(tried.get() + 1);
            Err::<(), _>(io::ErrorKind::OutOfMemory.into())
        });
        assert_eq!((result.expect_err("no port").kind(), tried.get()), (io::ErrorKind::OutOfMemory, 1));
    }

    #[tokio::test]
    async fn a_taken_port_gives_the_next_one() {
        let name = format!("clash-{}", std::process::id());
        let first = bind(&name).expect("a free port");
        let second = bind(&name).expect("a free port");
        let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
        assert_ne!(port(&first), port(&second));
        for listener in [&first, &second] {
            assert!((FIRST..FIRST + COUNT).contains(&port(listener)));
        }
        assert_eq!(wanted("a"), wanted("a"));
        assert_ne!(wanted("a"), wanted("b"));
    }
}
