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
    fs::File,
    io::{self, BufRead, BufReader, Read},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::models::ContainerInspectResponse;
use tokio::{net::TcpStream, task::spawn_blocking, time::timeout};

/// A container that lives answers at once.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a forwarder may take to find out that nobody listens.
const DOUBT: Duration = Duration::from_millis(300);
/// The table of sockets begins with those that listen, so what comes later is of no use; a program with many
/// connections would make it long. The table of mounts is some KiB.
const TABLE_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(in crate::runtime) struct Reach {
    way: Way,
    /// Ports that were found to be listened on, where that takes time to find out.
    proven: Mutex<HashSet<u16>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// The container's own address.
    Direct { address: IpAddr, process: Process },
    /// The container's ports and those of 127.0.0.1.
    Published { ports: HashMap<u16, u16>, process: Option<Process> },
}

/// A container's first process, where it is one of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    id: i64,
    container: Arc<str>,
}

impl Reach {
    /// From what the engine says of a container that was started.
    pub(in crate::runtime) fn of(container: &ContainerInspectResponse) -> Self {
        let id = container.id.as_deref().unwrap_or_default();
        let pid = container.state.as_ref().and_then(|state| state.pid);
        let process = pid.map(|pid| Process { id: pid, container: id.into() }).filter(Process::is_here);
        let network = container.network_settings.as_ref();
        let endpoints = network.and_then(|network| network.networks.as_ref()).into_iter().flat_map(HashMap::values);
        let direct = endpoints.into_iter().find_map(|endpoint| {
            let gateway: IpAddr = endpoint.gateway.as_ref()?.parse().ok()?;
            let address: IpAddr = endpoint.ip_address.as_ref()?.parse().ok()?;
            is_ours(gateway).then_some(address)
        });
        let way = match direct.zip(process.clone()) {
            Some((address, process)) => Way::Direct { address, process },
            None => Way::Published { ports: published(container), process },
        };
        Self { way, proven: Mutex::default() }
    }

    pub(in crate::runtime) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let (address, outside, process) = match &self.way {
            Way::Direct { address, process } => return process.keep(connect(*address, port).await?).await,
            Way::Published { ports, process } => {
                let outside = ports.get(&port).copied().ok_or_else(refused)?;
                (IpAddr::from(Ipv4Addr::LOCALHOST), outside, process)
            }
        };
        if let Some(process) = process {
            if !process.listens_on(port).await {
                return Err(refused());
            }
            return process.keep(connect(address, outside).await?).await;
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
        let id = container.state.as_ref().and_then(|state| state.pid);
        let process = id.map(|id| Process { id, container: container.id.as_deref().unwrap_or_default().into() });
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

impl Process {
    /// Whether it is of this machine, and of the container: an engine in a virtual machine counts others, and an ended
    /// one's number may be another's.
    fn is_here(&self) -> bool {
        let Self { id, container } = self;
        let mentions = |file: &str| lines(&format!("/proc/{id}/{file}")).any(|line| line.contains(&**container));
        *id > 0 && !container.is_empty() && ["cgroup", "mountinfo"].into_iter().any(mentions)
    }

    /// A connection that was made while the container lived: after its end another one gets its address, and its
    /// ports.
    async fn keep(&self, stream: TcpStream) -> io::Result<TcpStream> {
        let process = self.clone();
        match spawn_blocking(move || process.is_here()).await {
            Ok(true) => Ok(stream),
            Ok(false) | Err(_) => Err(refused()),
        }
    }

    /// Looks into the container's network.
    /// <https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html>
    async fn listens_on(&self, port: u16) -> bool {
        let id = self.id;
        let look = move || ["tcp", "tcp6"].iter().any(|file| listens(lines(&format!("/proc/{id}/net/{file}")), port));
        spawn_blocking(look).await.unwrap_or(false)
    }
}

/// Of one of the kernel's tables, as far as it is read at all; none when it cannot be read.
fn lines(path: &str) -> impl Iterator<Item = String> {
    let file = File::open(path).ok().map(|file| BufReader::new(file.take(TABLE_BYTES)));
    file.into_iter().flat_map(BufRead::lines).map_while(Result::ok)
}

/// Whether an address is one of this machine's: only such a one can be bound.
fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Whether a table has a listening socket of `port` on more than loopback.
fn listens(table: impl Iterator<Item = String>, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let mut table = table.skip(1);
    table.any(|line| {
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
        let listens = |table: &str, port| listens(table.lines().map(str::to_owned), port);
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

    /// A re-used address, or port: somebody accepts, and the container's process is not there any more.
    #[tokio::test]
    async fn a_connection_to_another_container_is_not_kept() {
        let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = other.local_addr().unwrap().port();
        let own = i64::from(std::process::id());
        // Every process mentions a part of its own root's mount.
        for (container, kept) in [("no such container", false), (" / ", true)] {
            let process = Process { id: own, container: container.into() };
            let way = Way::Direct { address: Ipv4Addr::LOCALHOST.into(), process };
            let reach = Reach { way, proven: Mutex::default() };
            assert_eq!(reach.connect(port).await.is_ok(), kept, "{container}");
        }
    }

    #[test]
    fn only_an_address_of_this_machine_is_ours() {
        assert!(is_ours(IpAddr::from(Ipv4Addr::LOCALHOST)));
        assert!(!is_ours("192.0.2.200".parse().unwrap()));
        let process = |id, container: &str| Process { id, container: container.into() };
        assert!(!process(i64::from(std::process::id()), "no such container").is_here());
        assert!(!process(0, "x").is_here());
    }
}
