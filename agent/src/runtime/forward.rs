//! Ports of the host that lead to pods (`hostPort`), by copying what comes in.
//!
//! Rules in the kernel's firewall would be faster, but other programs' rules decide about the packets too (Docker's drop
//! forwarded ones), and they do not see connections from the host to itself. The pod sees the host as the client.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quarterdeck_core::runtime::{PodPort, Protocol, RuntimeError};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// How many connections, or flows of datagrams, one port leads at a time.
const CONNECTIONS: usize = 1024;
/// How long a flow of datagrams is remembered after the pod's last answer.
const IDLE: Duration = Duration::from_secs(60);

/// A host's port that is open, and does not lead anywhere yet.
#[derive(Debug)]
pub(crate) enum Opened {
    Tcp(std::net::TcpListener),
    Udp(std::net::UdpSocket),
}

/// Opens the host's port of a pod's port, if it asks for one.
pub(crate) fn open(port: &PodPort) -> Result<Option<Opened>, RuntimeError> {
    let Some(host_port) = port.host_port else { return Ok(None) };
    let address = SocketAddr::new(port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), host_port);
    let opened = match port.protocol {
        Protocol::Tcp => std::net::TcpListener::bind(address)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| Opened::Tcp(socket))),
        Protocol::Udp => std::net::UdpSocket::bind(address)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| Opened::Udp(socket))),
        Protocol::Sctp => return Err(RuntimeError::unsupported("a host port for SCTP")),
    };
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(RuntimeError::unsupported(
            format!("host port {host_port}/{}: only root may open it", port.protocol),
        )),
        Err(error) => {
            Err(RuntimeError::Exhausted { what: format!("host port {address}/{}: {error}", port.protocol) })
        }
    }
}

impl Opened {
    /// Leads what comes in to `target` until the future is dropped.
    pub(crate) async fn lead(self, target: SocketAddr) {
        let result = match self {
            Self::Tcp(socket) => lead_tcp(socket, target).await,
            Self::Udp(socket) => lead_udp(socket, target).await,
        };
        if let Err(error) = result {
            tracing::error!(%target, %error, "a host port does not lead to its pod any more");
        }
    }
}

async fn lead_tcp(socket: std::net::TcpListener, target: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((client, _)) => {
                connections.spawn(copy(client, target));
            }
            // A client that gave up, or too many open files: the next one may fare better.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn copy(mut client: TcpStream, target: SocketAddr) {
    // Whoever fails closes its end, and that is what the other end is told.
    if let Ok(mut pod) = TcpStream::connect(target).await {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut pod).await;
    }
}

async fn lead_udp(socket: std::net::UdpSocket, target: SocketAddr) -> io::Result<()> {
    let socket = Arc::new(UdpSocket::from_std(socket)?);
    // The sockets by which clients' datagrams go to the pod.
    let mut flows: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut answers = JoinSet::new();
    let mut datagram = vec![0; 65_536];
    loop {
        let (length, client) = tokio::select! {
            biased;
            Some(ended) = answers.join_next() => {
                if let Ok(client) = ended {
                    flows.remove(&client);
                }
                continue;
            }
            received = socket.recv_from(&mut datagram) => match received {
                Ok(received) => received,
                // An earlier answer did not arrive; this says nothing of the next datagram.
                Err(_) => continue,
            },
        };
        if !flows.contains_key(&client) {
            if flows.len() >= CONNECTIONS {
                continue;
            }
            let local: IpAddr = match target {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
            };
            let flow = Arc::new(UdpSocket::bind((local, 0)).await?);
            flow.connect(target).await?;
            answers.spawn(answer(flow.clone(), socket.clone(), client));
            flows.insert(client, flow);
        }
        if let Some(flow) = flows.get(&client) {
            // A pod that does not listen yet loses datagrams, as everywhere.
            let _ = flow.send(&datagram[..length]).await;
        }
    }
}

/// Sends a pod's answers to a client until none came for a while, and returns the client.
async fn answer(flow: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr) -> SocketAddr {
    let mut datagram = vec![0; 65_536];
    while let Ok(received) = tokio::time::timeout(IDLE, flow.recv(&mut datagram)).await {
        if let Ok(length) = received {
            let _ = socket.send_to(&datagram[..length], client).await;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn port(protocol: Protocol) -> (PodPort, SocketAddr) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port =
            PodPort { container_port: 80, host_port: Some(free.port()), host_ip: Some(free.ip()), protocol };
        (port, free)
    }

    #[tokio::test]
    async fn a_connection_to_a_host_port_reaches_the_pod_and_ends_with_it() {
        let pod = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, host) = port(Protocol::Tcp);
        let lead = open(&port).unwrap().unwrap().lead(pod.local_addr().unwrap());
        let serve = async {
            let (mut connection, _) = pod.accept().await.unwrap();
            let mut asked = [0; 4];
            connection.read_exact(&mut asked).await.unwrap();
            connection.write_all(&asked).await.unwrap();
        };
        let ask = async {
            let mut connection = TcpStream::connect(host).await.unwrap();
            connection.write_all(b"ping").await.unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.unwrap();
            answer
        };

        let answer = tokio::select! {
            biased;
            () = lead => unreachable!("it leads until it is dropped"),
            (answer, ()) = async { tokio::join!(ask, serve) } => answer,
        };

        assert_eq!(answer, "ping");
    }

    #[tokio::test]
    async fn datagrams_to_a_host_port_reach_the_pod_and_are_answered() {
        let pod = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (port, host) = port(Protocol::Udp);
        let lead = open(&port).unwrap().unwrap().lead(pod.local_addr().unwrap());
        let serve = async {
            let mut asked = [0; 16];
            let (length, from) = pod.recv_from(&mut asked).await.unwrap();
            pod.send_to(&asked[..length], from).await.unwrap();
        };
        let ask = async {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.send_to(b"ping", host).await.unwrap();
            let mut answer = [0; 16];
            let (length, from) = socket.recv_from(&mut answer).await.unwrap();
            (answer[..length].to_vec(), from)
        };

        let (answer, from) = tokio::select! {
            biased;
            () = lead => unreachable!("it leads until it is dropped"),
            (answer, ()) = async { tokio::join!(ask, serve) } => answer,
        };

        assert_eq!((answer, from), (b"ping".to_vec(), host));
    }

    #[test]
    fn a_host_port_in_use_is_exhausted() {
        let (port, host) = port(Protocol::Tcp);
        let _held = std::net::TcpListener::bind(host).unwrap();

        assert!(matches!(open(&port), Err(RuntimeError::Exhausted { .. })));
    }
}
