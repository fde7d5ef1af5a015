use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use quarterdeck_core::balancing::{Backend, Backends, Connection, LoadBalancer, Pick, ServicePort};
use quarterdeck_core::runtime::Protocol;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Shared, socket, tcp, udp};

/// What serves a local port's connections needs to know.
pub(super) struct Target {
    pub(super) service: ServicePort,
    pub(super) protocol: Protocol,
    pub(super) shared: Arc<Shared>,
    backends: Mutex<Backends>,
}

impl Target {
    /// Returns the backends of this moment.
    pub(super) fn backends(&self) -> Backends {
        self.backends.lock().expect("no holder panics").clone()
    }

    /// Picks one of `backends` for a client.
    pub(super) fn pick(&self, client: SocketAddr, backends: &Backends) -> Option<Pick> {
        let connection = Connection { service: &self.service, client: client.ip().to_canonical() };
        self.shared.balancer.pick(&connection, backends)
    }

    /// Returns where connections to `backend` must go.
    pub(super) fn address(&self, backend: Backend) -> SocketAddr {
        self.shared.addresses.dial(self.protocol, backend)
    }
}

/// How far a local port is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It takes connections.
    Open,
    /// It takes none any more; those that exist may end.
    Draining,
    /// Connections end now.
    Closed,
}

/// Follows the phase of a local port.
#[derive(Debug, Clone)]
pub(super) struct Phases(watch::Receiver<Phase>);

impl Phases {
    /// Waits until the phase is `phase` or later.
    pub(super) async fn reached(&mut self, phase: Phase) {
        // An error means that the local port was dropped: the last of all phases.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}

/// A local port and, if there is one, the node port that does the same. Dropping it ends all its connections.
pub(crate) struct Portal {
    target: Arc<Target>,
    listen: Vec<IpAddr>,
    /// Where it is open: all have one port.
    addresses: Vec<SocketAddr>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
    node_port: Option<NodePort>,
}

struct NodePort {
    number: u16,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
}

impl Portal {
    /// Opens a local port at all of the addresses `listen`.
    pub(super) fn open(
        shared: &Arc<Shared>,
        service: ServicePort,
        protocol: Protocol,
        listen: Vec<IpAddr>,
    ) -> io::Result<Self> {
        let target =
            Arc::new(Target { service, protocol, shared: shared.clone(), backends: Mutex::default() });
        let (phase, mut tasks) = (watch::Sender::new(Phase::Open), JoinSet::new());
        let addresses = serve(&target, &listen, 0, &phase, &mut tasks)?;
        Ok(Self { target, listen, addresses, phase, tasks, node_port: None })
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(super) fn local_port(&self) -> Option<u16> {
        self.addresses.first().map(SocketAddr::port)
    }

    pub(super) fn listens_at(&self) -> &[IpAddr] {
        &self.listen
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.target.protocol
    }

    /// Offers other backends, to connections that begin after this.
    pub(super) fn set_backends(&self, backends: Backends) {
        *self.target.backends.lock().expect("no holder panics") = backends;
    }

    /// Opens the node port, or closes the one that is open if the number is another.
    pub(super) async fn set_node_port(&mut self, number: Option<u16>) -> io::Result<()> {
        if self.node_port.as_ref().map(|open| open.number) == number {
            return Ok(());
        }
        if let Some(mut open) = self.node_port.take() {
            open.phase.send_replace(Phase::Draining);
            // The local port's tasks outlive a node port's: whoever waits for these waits for those.
            self.tasks.spawn(async move { while open.tasks.join_next().await.is_some() {} });
        }
        let Some(number) = number else { return Ok(()) };
        let (phase, mut tasks) = (watch::Sender::new(Phase::Open), JoinSet::new());
        let addresses = &self.target.shared.settings.node_port_addresses;
        serve(&self.target, addresses, number, &phase, &mut tasks)?;
        self.node_port = Some(NodePort { number, phase, tasks });
        Ok(())
    }

    /// Closes the local port and lets connections end by themselves, within the time that is set for that.
    pub(super) async fn drain(self) {
        self.set_phase(Phase::Draining);
        self.closed().await;
    }

    /// Ends all connections, soon.
    pub(super) fn close(&self) {
        self.set_phase(Phase::Closed);
    }

    /// Waits until all tasks have ended.
    pub(super) async fn closed(mut self) {
        while self.tasks.join_next().await.is_some() {}
        if let Some(mut node_port) = self.node_port.take() {
            while node_port.tasks.join_next().await.is_some() {}
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
        if let Some(node_port) = &self.node_port {
            node_port.phase.send_replace(phase);
        }
    }
}

/// Opens `port` (any that is free, if 0) on all of `addresses` and serves it. Returns where it is open.
fn serve(
    target: &Arc<Target>,
    addresses: &[IpAddr],
    port: u16,
    phase: &watch::Sender<Phase>,
    tasks: &mut JoinSet<()>,
) -> io::Result<Vec<SocketAddr>> {
    let phases = || Phases(phase.subscribe());
    match target.protocol {
        Protocol::Tcp => {
            let listeners = socket::bind_all(addresses, port, socket::listen)?;
            let at = listeners.iter().map(|(at, _)| *at).collect();
            for (_, listener) in listeners {
                tasks.spawn(tcp::serve(listener, target.clone(), phases()));
            }
            Ok(at)
        }
        Protocol::Udp => {
            let sockets = socket::bind_all(addresses, port, socket::datagrams)?;
            let at = sockets.iter().map(|(at, _)| *at).collect();
            for (_, socket) in sockets {
                tasks.spawn(udp::serve(socket, target.clone(), phases()));
            }
            Ok(at)
        }
        Protocol::Sctp => Err(io::Error::new(io::ErrorKind::Unsupported, "SCTP is not proxied")),
    }
}
