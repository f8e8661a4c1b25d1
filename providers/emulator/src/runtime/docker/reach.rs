//! Connections to a container's ports, refused while nothing listens there.
//!
//! Where the engine runs containers on this very machine and its bridge is this machine's, the container's own
//! address is connected to: the kernel refuses what nobody listens on, and a program that listens on loopback alone.
//! Elsewhere (an engine without root, one in a virtual machine) there is only the published port, and a forwarder in
//! front of it that accepts in any case. Then the container's table of listening sockets says whether to connect at
//! all, by the process id that the engine gives; and where that process is not of this machine, a forwarder that
//! finds nobody closes the connection at once, which is waited for before the first connection counts.
use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bollard::models::ContainerInspectResponse;
use tokio::{net::TcpStream, time::timeout};

/// A container that lives answers at once.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a forwarder may take to find out that nobody listens.
const DOUBT: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(in crate::runtime) struct Reach {
    way: Way,
    /// Ports that were found to be listened on, where that takes time to find out.
    proven: Mutex<HashSet<u16>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// The container's own address.
    Direct(IpAddr),
    /// The container's ports and those of 127.0.0.1.
    Published {
        ports: HashMap<u16, u16>,
        /// A process of the container, where it is one of this machine.
        process: Option<i64>,
    },
}

impl Reach {
    /// From what the engine says of a container that was started.
    pub(in crate::runtime) fn of(container: &ContainerInspectResponse) -> Self {
        let id = container.id.as_deref().unwrap_or_default();
        let process = container.state.as_ref().and_then(|state| state.pid).filter(|&pid| is_here(pid, id));
        let network = container.network_settings.as_ref();
        let endpoints = network.and_then(|network| network.networks.as_ref()).into_iter().flat_map(HashMap::values);
        let direct = endpoints.into_iter().find_map(|endpoint| {
            let gateway: IpAddr = endpoint.gateway.as_ref()?.parse().ok()?;
            let address: IpAddr = endpoint.ip_address.as_ref()?.parse().ok()?;
            (process.is_some() && is_ours(gateway)).then_some(address)
        });
        let way = match direct {
            Some(address) => Way::Direct(address),
            None => Way::Published { ports: published(container), process },
        };
        Self { way, proven: Mutex::default() }
    }

    pub(in crate::runtime) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let (address, outside, process) = match &self.way {
            Way::Direct(address) => return connect(*address, port).await,
            Way::Published { ports, process } => {
                let outside = ports.get(&port).copied().ok_or_else(refused)?;
                (IpAddr::from(Ipv4Addr::LOCALHOST), outside, process)
            }
        };
        if let Some(process) = process {
            if !is_listened_on(*process, port) {
                return Err(refused());
            }
            return connect(address, outside).await;
        }
        let stream = connect(address, outside).await?;
        if !self.proven().contains(&port) {
            let mut byte = [0];
            // Silence until then is a program that waits to be spoken to.
            if let Ok(Ok(0) | Err(_)) = timeout(DOUBT, stream.peek(&mut byte)).await {
                return Err(refused());
            }
            self.proven().insert(port);
        }
        Ok(stream)
    }

    /// The ways there are where the container's address cannot be reached, with the process of this machine known or
    /// not.
    #[cfg(all(test, feature = "engine-tests"))]
    pub(in crate::runtime) fn published(container: &ContainerInspectResponse) -> [Self; 2] {
        let process = container.state.as_ref().and_then(|state| state.pid);
        [process, None].map(|process| Self {
            way: Way::Published { ports: published(container), process },
            proven: Mutex::default(),
        })
    }

    fn proven(&self) -> std::sync::MutexGuard<'_, HashSet<u16>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(address: IpAddr, port: u16) -> io::Result<TcpStream> {
    timeout(CONNECT, TcpStream::connect((address, port))).await.unwrap_or_else(|_| Err(refused()))
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "nothing listens on this port of the container")
}

fn published(container: &ContainerInspectResponse) -> HashMap<u16, u16> {
    let ports = container.network_settings.as_ref().and_then(|network| network.ports.as_ref());
    let pair = |(inside, outside): (&String, &Option<Vec<bollard::models::PortBinding>>)| {
        let inside = inside.strip_suffix("/tcp")?.parse().ok()?;
        Some((inside, outside.as_ref()?.first()?.host_port.as_ref()?.parse().ok()?))
    };
    ports.into_iter().flatten().filter_map(pair).collect()
}

/// Whether a process is of this machine, and of the container: an engine in a virtual machine counts others.
fn is_here(process: i64, container: &str) -> bool {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    process > 0 && !container.is_empty() && ["cgroup", "mountinfo"].iter().any(|file| read(file).contains(container))
}

/// Whether an address is one of this machine's: only such a one can be bound.
fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Looks into the container's network.
/// <https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html>
fn is_listened_on(process: i64, port: u16) -> bool {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{process}/net/{file}")).unwrap_or_default();
    ["tcp", "tcp6"].iter().any(|file| listens(&read(file), port))
}

/// Whether a table has a listening socket of `port` on more than loopback.
fn listens(table: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(local), Some(&LISTEN)) = (fields.get(1), fields.get(3)) else { return false };
        local.split_once(':').is_some_and(|(address, found)| {
            u16::from_str_radix(found, 16) == Ok(port)
                && !address_of(address).is_none_or(|address| is_loopback(&address))
        })
    })
}

/// Written as numbers of four bytes in this machine's order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let words = hex.as_bytes().chunks(8).map(|word| {
        let number = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(number.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<[u8; 4]>>>()?.concat();
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn is_loopback(address: &IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   2: 0200A8C0:1F92 0100A8C0:C000 01 00000000:00000000 00:00000000 00000000     0
";
    const TABLE_6: &str = "  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A
   2: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A
";

    #[test]
    #[cfg(target_endian = "little")]
    fn loopback_alone_is_not_listened_on() {
        for table in [TABLE, TABLE_6] {
            assert!(!listens(table, 8080), "on loopback");
            assert!(listens(table, 8081), "on every address");
            assert!(!listens(table, 8082), "a connection, or loopback again");
            assert!(!listens(table, 8083), "not at all");
        }
        assert!(!listens("", 8080));
    }

    /// As behind a forwarder that accepts whether or not somebody listens.
    #[tokio::test]
    async fn a_forwarder_that_hangs_up_is_a_refusal() {
        let forwarder = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = HashMap::from([(8080, forwarder.local_addr().unwrap().port())]);
        let reach = Reach { way: Way::Published { ports, process: None }, proven: Mutex::default() };
        let (refusal, ()) = tokio::join!(reach.connect(8080), async { drop(forwarder.accept().await.unwrap()) });
        assert_eq!(refusal.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let (stream, held) = tokio::join!(reach.connect(8080), forwarder.accept());
        assert!(stream.is_ok() && held.is_ok());
        assert!(reach.proven().contains(&8080));
        assert!(reach.connect(8081).await.is_err(), "a port that is not published");
    }

    #[test]
    fn only_an_address_of_this_machine_is_ours() {
        assert!(is_ours(IpAddr::from(Ipv4Addr::LOCALHOST)));
        assert!(!is_ours("192.0.2.200".parse().unwrap()));
        assert!(!is_here(i64::from(std::process::id()), "no such container"));
        assert!(!is_here(0, "x"));
    }
}
