//! Connections through the proxy itself: each service port has a local port, whose connections go to its backends.
//!
//! [`Userspace`] opens and closes local ports. `tcp` and `udp` serve them, `dial` connects to a backend, `relay` copies
//! between two connections, `socket` opens what they need.

mod buffers;
mod dial;
mod portal;
mod relay;
mod socket;
mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use quarterdeck_core::balancing::{Backends, LoadBalancer, ServicePort};
use quarterdeck_core::client::ObjectKey;
use quarterdeck_core::runtime::Protocol;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::buffers::Buffers;
use self::portal::Portal;
use crate::address::AddressMap;
use crate::balancers::ClientIpAffinity;
use crate::config::ServicePortConfig;

/// How connections are handled. All bounds are per proxy unless said otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where local ports are opened.
    pub(crate) listen: Vec<IpAddr>,
    /// Whether a local port is opened only at addresses of the families that its service has.
    pub(crate) own_families_only: bool,
    /// Where node ports are opened.
    pub(crate) node_port_addresses: Vec<IpAddr>,
    /// How long one backend may take to accept a connection.
    pub(crate) connect_timeout: Duration,
    /// How long all backends together may take.
    pub(crate) total_connect_timeout: Duration,
    /// For how long a client's UDP flow is remembered after its last datagram.
    pub(crate) udp_idle_timeout: Duration,
    /// How many UDP flows a local port has at most.
    pub(crate) udp_flows: usize,
    /// How many connections and flows there are at most.
    pub(crate) connections: usize,
    /// How long connections of a service that is gone may take to end.
    pub(crate) drain: Duration,
    /// Marks connections to backends, so that the proxy's own rules leave them alone.
    pub(crate) mark: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![Ipv4Addr::LOCALHOST.into()],
            own_families_only: false,
            node_port_addresses: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            connect_timeout: Duration::from_secs(2),
            total_connect_timeout: Duration::from_secs(10),
            udp_idle_timeout: Duration::from_secs(60),
            udp_flows: 4096,
            connections: connections_possible(),
            drain: Duration::from_secs(30),
            mark: None,
        }
    }
}

/// Returns how many connections the limit of open files allows, if each takes two and as many are left for all else.
fn connections_possible() -> usize {
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    usize::try_from(files / 4).unwrap_or(MOST_CONNECTIONS).clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS)
}

/// The bounds of what [`connections_possible`] returns.
const LEAST_CONNECTIONS: usize = 64;
const MOST_CONNECTIONS: usize = 16_384;

/// What all local ports share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    balancer: Arc<ClientIpAffinity<Arc<dyn LoadBalancer>>>,
    addresses: Arc<dyn AddressMap>,
    buffers: Buffers,
    permits: Arc<Semaphore>,
}

/// Why a local port is not open.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {what}")]
pub(crate) struct BindError {
    /// What could not be opened: "node port 30080/TCP".
    what: String,
    /// Why not.
    source: std::io::Error,
}

/// Whose connections a local port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Those to cluster addresses, and all others unless these have a local port of their own.
    Internal,
    /// Those to external addresses and node ports, if they have other backends.
    External,
}

/// Opens and closes local ports as services come, change and go.
pub(crate) struct Userspace {
    shared: Arc<Shared>,
    portals: BTreeMap<(ObjectKey, Arc<str>, Scope), Portal>,
    /// Local ports that are closed, and whose connections still end.
    draining: JoinSet<()>,
}

impl Userspace {
    pub(crate) fn new(
        settings: Settings,
        balancer: Arc<dyn LoadBalancer>,
        addresses: Arc<dyn AddressMap>,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(settings.connections));
        let balancer = Arc::new(ClientIpAffinity::where_set(balancer));
        let shared = Shared { settings, balancer, addresses, buffers: Buffers::new(), permits };
        Self { shared: Arc::new(shared), portals: BTreeMap::new(), draining: JoinSet::new() }
    }

    /// Makes the local ports of `service` what `ports` say. Returns what could not be opened; it is tried again when this
    /// is called again.
    pub(crate) async fn apply(&mut self, service: &ObjectKey, ports: &[ServicePortConfig]) -> Vec<BindError> {
        while self.draining.try_join_next().is_some() {}
        let mut errors = Vec::new();
        let wanted: BTreeMap<_, _> = ports.iter().flat_map(portals_of).collect();
        self.close_except(service, &wanted);

        for ((name, scope), (config, backends)) in wanted {
            let port = service_port(service, &name);
            self.shared.balancer.set_timeout(&port, config.affinity);
            let key = (service.clone(), name, scope);
            let portal = match self.portals.get_mut(&key) {
                Some(portal) => portal,
                None => match Portal::open(&self.shared, port, config.protocol, self.listen_for(config)) {
                    Ok(portal) => self.portals.entry(key).or_insert(portal),
                    Err(source) => {
                        let what = format!("a local port for {}/{}", config.port, config.protocol);
                        errors.push(BindError { what, source });
                        continue;
                    }
                },
            };
            portal.set_backends(backends);
            let outside = scope == Scope::External || config.external_backends.is_none();
            if let Err(source) = portal.set_node_port(config.node_port.filter(|_| outside)).await {
                let number = config.node_port.unwrap_or_default();
                let what = format!("node port {number}/{}", config.protocol);
                errors.push(BindError { what, source });
            }
        }
        errors
    }

    /// Returns the local port of a service port, if it is open.
    pub(crate) fn local_port(&self, service: &ObjectKey, name: &Arc<str>, scope: Scope) -> Option<u16> {
        self.portals.get(&(service.clone(), name.clone(), scope)).and_then(Portal::local_port)
    }

    /// Returns where a service port is served; nowhere if it is not open.
    pub(crate) fn local_addresses(&self, service: &ObjectKey, name: &Arc<str>) -> &[SocketAddr] {
        let portal = self.portals.get(&(service.clone(), name.clone(), Scope::Internal));
        portal.map(Portal::addresses).unwrap_or_default()
    }

    fn listen_for(&self, config: &ServicePortConfig) -> Vec<IpAddr> {
        let Settings { listen, own_families_only, .. } = &self.shared.settings;
        let has = |v4| config.cluster_ips.iter().chain(&config.external_ips).any(|it| it.is_ipv4() == v4);
        // A service without addresses has node ports at most, or is looked up.
        let is_wanted = |at: &&IpAddr| !own_families_only || has(at.is_ipv4()) || !has(!at.is_ipv4());
        listen.iter().filter(is_wanted).copied().collect()
    }

    /// Closes all local ports and ends all connections. Nothing is left when this returns.
    pub(crate) async fn shutdown(mut self) {
        // All are told before any is waited for.
        self.portals.values().for_each(Portal::close);
        for portal in std::mem::take(&mut self.portals).into_values() {
            portal.closed().await;
        }
        self.draining.shutdown().await;
    }

    fn close_except(
        &mut self,
        service: &ObjectKey,
        wanted: &BTreeMap<(Arc<str>, Scope), (&ServicePortConfig, Backends)>,
    ) {
        let from = (service.clone(), Arc::from(""), Scope::Internal);
        let gone: Vec<_> = self
            .portals
            .range(from..)
            .take_while(|((of, ..), _)| of == service)
            .filter(|((_, name, scope), portal)| {
                let config = wanted.get(&(name.clone(), *scope));
                config.is_none_or(|(config, _)| {
                    config.protocol != portal.protocol() || self.listen_for(config) != portal.listens_at()
                })
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(portal) = self.portals.remove(&key) {
                self.draining.spawn(portal.drain());
            }
            let (_, name, scope) = key;
            if scope == Scope::Internal {
                self.shared.balancer.forget(&service_port(service, &name));
            }
        }
    }
}

/// Returns the local ports that a service port needs, and their backends.
fn portals_of(
    config: &ServicePortConfig,
) -> impl Iterator<Item = ((Arc<str>, Scope), (&ServicePortConfig, Backends))> {
    let portal = |scope, backends: &Backends| ((config.name.clone(), scope), (config, backends.clone()));
    let proxied = matches!(config.protocol, Protocol::Tcp | Protocol::Udp);
    let internal = Some(portal(Scope::Internal, &config.backends));
    let external = config.external_backends.as_ref().map(|backends| portal(Scope::External, backends));
    internal.into_iter().chain(external).filter(move |_| proxied)
}

fn service_port(service: &ObjectKey, name: &Arc<str>) -> ServicePort {
    ServicePort {
        namespace: service.namespace.as_str().into(),
        name: service.name.as_str().into(),
        port: name.clone(),
    }
}

#[cfg(test)]
mod tests;
