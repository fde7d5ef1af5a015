//! Serves a local port of UDP: each client has a flow of its own to a backend.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg, sendmsg,
};
use quarterdeck_core::balancing::{Backend, Backends};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::portal::{Phase, Phases, Target};
use super::socket;

/// The longest datagram there is, in bytes.
const LONGEST: usize = 65_535;

/// Which datagrams belong together: who sends them, and to which of our addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Peer {
    client: SocketAddr,
    local: Option<IpAddr>,
}

/// A client's flow.
struct Flow {
    socket: Arc<UdpSocket>,
    backend: Backend,
    /// The backends among which its own was last seen.
    offered: Backends,
    active: Arc<Activity>,
    number: u64,
    task: AbortHandle,
}

impl Flow {
    /// Sends a datagram. One that finds no room is dropped; an error says that the backend refused an earlier one.
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.active.touch();
        // Not through tokio: it does not yet know that a new socket can be written to.
        match SockRef::from(&*self.socket).send(datagram) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(error),
            Err(error) => {
                tracing::debug!(backend = %self.backend.0, %error, "datagram dropped");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}

/// When a flow's last datagram passed, in milliseconds since the socket was opened.
#[derive(Debug)]
struct Activity {
    start: Instant,
    last: AtomicU64,
}

impl Activity {
    fn new(start: Instant) -> Self {
        let activity = Self { start, last: AtomicU64::new(0) };
        activity.touch();
        activity
    }

    fn touch(&self) {
        let now = self.start.elapsed().as_millis();
        self.last.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// Passes datagrams on until the local port closes.
pub(super) async fn serve(socket: UdpSocket, target: Arc<Target>, mut phases: Phases) {
    let mut flows = Flows {
        socket: Arc::new(socket),
        target,
        start: Instant::now(),
        flows: BTreeMap::new(),
        tasks: JoinSet::new(),
        opened: 0,
    };
    tokio::select! {
        biased;
        () = phases.reached(Phase::Draining) => {}
        () = flows.run() => {}
    }
    flows.tasks.shutdown().await;
}

/// The flows of a socket.
struct Flows {
    socket: Arc<UdpSocket>,
    target: Arc<Target>,
    start: Instant,
    flows: BTreeMap<Peer, Flow>,
    /// Each passes answers to its client, and returns whose it was when it has ended.
    tasks: JoinSet<(Peer, u64)>,
    opened: u64,
}

impl Flows {
    async fn run(&mut self) {
        // This one is taken all the time: a buffer of its own does not keep others from theirs.
        let (socket, mut buffer) = (self.socket.clone(), vec![0; LONGEST].into_boxed_slice());
        loop {
            tokio::select! {
                biased;
                Some(Ok((peer, number))) = self.tasks.join_next() => self.ended(peer, number),
                received = receive(&socket, &mut buffer) => match received {
                    Ok((length, peer)) => self.pass_on(&buffer[..length], peer).await,
                    Err(error) => {
                        tracing::debug!(service = ?self.target.service, %error, "cannot receive datagrams");
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
        }
    }

    fn ended(&mut self, peer: Peer, number: u64) {
        if self.flows.get(&peer).is_some_and(|flow| flow.number == number) {
            self.flows.remove(&peer);
        }
    }

    /// Sends a datagram to its flow's backend. What cannot be sent is dropped, as UDP does.
    async fn pass_on(&mut self, datagram: &[u8], peer: Peer) {
        let offered = self.target.backends();
        if let Some(flow) = self.flows.get_mut(&peer) {
            if flow.offered != offered && offered.as_slice().binary_search(&flow.backend).is_err() {
                self.end(peer);
            } else {
                flow.offered = offered.clone();
            }
        }
        if let Some(Err(error)) = self.flows.get(&peer).map(|flow| flow.send(datagram)) {
            tracing::debug!(service = ?self.target.service, client = %peer.client, %error, "flow broke");
            self.end(peer);
        }
        if !self.flows.contains_key(&peer) {
            let opened = self.open(peer, offered).await.and_then(|flow| flow.send(datagram));
            if let Err(error) = opened {
                tracing::debug!(service = ?self.target.service, client = %peer.client, %error, "datagram dropped");
            }
        }
    }

    fn end(&mut self, peer: Peer) {
        if let Some(flow) = self.flows.remove(&peer) {
            flow.task.abort();
        }
    }

    async fn open(&mut self, peer: Peer, offered: Backends) -> io::Result<&Flow> {
        let permit = self.room()?;
        let pick = self.target.pick(peer.client, &offered);
        let pick = pick.ok_or_else(|| io::Error::other("there is no backend that is ready"))?;
        let backend = pick.backend;
        let address = self.target.address(backend);
        let socket = Arc::new(socket::connect_datagrams(address, self.target.shared.settings.mark).await?);
        let active = Arc::new(Activity::new(self.start));
        self.opened += 1;
        let answers = Answers {
            peer,
            from: socket.clone(),
            to: self.socket.clone(),
            active: active.clone(),
            target: self.target.clone(),
        };
        let number = self.opened;
        let task = self.tasks.spawn(async move {
            answers.pass().await;
            drop((pick, permit));
            (peer, number)
        });
        let flow = Flow { socket, backend, offered, active, number, task };
        Ok(self.flows.entry(peer).or_insert(flow))
    }

    /// Makes room for one more flow: of too many, the one that was silent for longest ends.
    fn room(&mut self) -> io::Result<OwnedSemaphorePermit> {
        if self.flows.len() >= self.target.shared.settings.udp_flows {
            self.end_the_most_silent();
        }
        let permits = &self.target.shared.permits;
        permits.clone().try_acquire_owned().map_err(|_| io::Error::other("there are too many connections"))
    }

    fn end_the_most_silent(&mut self) {
        let last = |flow: &Flow| flow.active.last.load(Ordering::Relaxed);
        let silent = self.flows.iter().min_by_key(|(_, flow)| last(flow)).map(|(peer, _)| *peer);
        if let Some(peer) = silent {
            self.end(peer);
        }
    }
}

/// The way back of a flow.
struct Answers {
    peer: Peer,
    from: Arc<UdpSocket>,
    to: Arc<UdpSocket>,
    active: Arc<Activity>,
    target: Arc<Target>,
}

impl Answers {
    /// Passes answers on until the flow is silent for too long, or its backend refuses datagrams.
    async fn pass(&self) {
        let idle = self.target.shared.settings.udp_idle_timeout;
        loop {
            tokio::select! {
                biased;
                end = self.answer() => if let Err(error) = end {
                    tracing::debug!(client = %self.peer.client, %error, "flow broke");
                    return;
                },
                () = tokio::time::sleep_until(self.active.last() + idle) => {
                    if self.active.last().elapsed() >= idle {
                        return;
                    }
                }
            }
        }
    }

    async fn answer(&self) -> io::Result<()> {
        self.from.readable().await?;
        let mut buffer = self.target.shared.buffers.take();
        loop {
            match self.from.try_recv(&mut buffer) {
                Ok(length) => {
                    self.active.touch();
                    send(&self.to, &buffer[..length], self.peer).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            tokio::task::consume_budget().await;
        }
    }
}

/// Waits for a datagram and returns its length and who sent it where.
async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Peer)> {
    socket.async_io(Interest::READABLE, || receive_now(socket, buffer)).await
}

fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Peer)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut space = nix::cmsg_space!(libc::in6_pktinfo);
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let local = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(from_network(info.ipi_addr.s_addr)),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    });
    let client = message.address.as_ref().and_then(client_of);
    let client = client.ok_or_else(|| io::Error::other("a datagram without a sender"))?;
    Ok((message.bytes, Peer { client, local }))
}

fn from_network(address: u32) -> IpAddr {
    IpAddr::from(address.to_ne_bytes())
}

fn client_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddr::V4((*v4).into())),
        (_, Some(v6)) => Some(SocketAddr::V6((*v6).into())),
        _ => None,
    }
}

/// Sends an answer from the address that the client had called: it would not take it from another.
async fn send(socket: &UdpSocket, datagram: &[u8], peer: Peer) {
    if let Err(error) = socket.async_io(Interest::WRITABLE, || send_now(socket, datagram, peer)).await {
        tracing::debug!(client = %peer.client, %error, "answer dropped");
    }
}

fn send_now(socket: &UdpSocket, datagram: &[u8], peer: Peer) -> io::Result<usize> {
    let (descriptor, parts) = (socket.as_raw_fd(), [IoSlice::new(datagram)]);
    let flags = MsgFlags::MSG_DONTWAIT;
    let sent = match (peer.client, peer.local) {
        (SocketAddr::V4(client), Some(IpAddr::V4(local))) => {
            let source = libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: source,
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let client = SockaddrIn::from(client);
            sendmsg(descriptor, &parts, &[ControlMessage::Ipv4PacketInfo(&info)], flags, Some(&client))
        }
        (SocketAddr::V6(client), Some(IpAddr::V6(local))) => {
            let source = libc::in6_addr { s6_addr: local.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: source, ipi6_ifindex: 0 };
            let client = SockaddrIn6::from(client);
            sendmsg(descriptor, &parts, &[ControlMessage::Ipv6PacketInfo(&info)], flags, Some(&client))
        }
        (SocketAddr::V4(client), _) => {
            sendmsg(descriptor, &parts, &[], flags, Some(&SockaddrIn::from(client)))
        }
        (SocketAddr::V6(client), _) => {
            sendmsg(descriptor, &parts, &[], flags, Some(&SockaddrIn6::from(client)))
        }
    };
    Ok(sent?)
}
