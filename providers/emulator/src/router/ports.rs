//! Which port a name gets: always the same one, unless somebody else has it.
use std::io;

use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::server::listen;

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// The name's own port, or the next free one.
pub(crate) fn bind(name: &str) -> io::Result<TcpListener> {
    let wanted = wanted(name);
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..COUNT {
        let port = FIRST + (wanted - FIRST + step) % COUNT;
        match listen::bind(port) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
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
