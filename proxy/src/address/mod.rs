//! Where to connect for a backend: usually its address, but for pods whose addresses are only names, somewhere else.
//!
//! Start at [`AddressMap`]. [`AddressTable`] is the map for runtimes that tell where a pod's ports really are
//! ([`PodStatus::port_map`]).

mod pods;
mod runtime;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use quarterdeck_core::balancing::Backend;
use quarterdeck_core::client::Context;
#[cfg(doc)]
use quarterdeck_core::runtime::PodStatus;
use quarterdeck_core::runtime::{PortMapping, Protocol, Runtime};

pub use pods::FollowPods;
pub use runtime::FollowRuntime;

/// Tells where connections to a backend must go on this machine.
pub trait AddressMap: Debug + Send + Sync + 'static {
    /// Returns the address to connect to. It is asked for every connection, and answers at once.
    fn dial(&self, protocol: Protocol, backend: Backend) -> SocketAddr;
}

const _: Option<&dyn AddressMap> = None; // object safety is API: losing it must not compile

impl<M: AddressMap + ?Sized> AddressMap for Arc<M> {
    fn dial(&self, protocol: Protocol, backend: Backend) -> SocketAddr {
        (**self).dial(protocol, backend)
    }
}

/// The ports that are elsewhere, by who announced them. What nobody announced is at its own address. Clones share one table.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::balancing::Backend;
/// use quarterdeck_core::runtime::{PortMapping, Protocol};
/// use quarterdeck_proxy::{AddressMap, AddressTable};
///
/// let table = AddressTable::new();
/// let (pod, local) = (([10, 1, 0, 7], 80).into(), ([127, 0, 0, 1], 40_123).into());
///
/// table.announce("pod-uid", [PortMapping { protocol: Protocol::Tcp, pod, local }]);
///
/// assert_eq!(table.dial(Protocol::Tcp, Backend(pod)), local);
/// assert_eq!(table.dial(Protocol::Udp, Backend(pod)), pod);
/// ```
#[derive(Debug, Clone, Default)]
pub struct AddressTable(Arc<RwLock<Ports>>);

#[derive(Debug, Default)]
struct Ports {
    announced: BTreeMap<String, Vec<PortMapping>>,
    places: BTreeMap<(Protocol, SocketAddr), SocketAddr>,
}

impl AddressTable {
    /// Makes a table by which every backend is at its own address.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a component that announces what the pods of `runtime` say of their ports, while it runs.
    #[must_use]
    pub fn follow(&self, runtime: Arc<dyn Runtime>) -> FollowRuntime {
        FollowRuntime::new(self.clone(), runtime)
    }

    /// Returns a component that announces what the statuses of pods say of their ports
    /// ([`PORT_MAP_CONDITION`](quarterdeck_core::runtime::PORT_MAP_CONDITION)), while it runs: for a proxy whose agent is
    /// another process of the same machine.
    #[must_use]
    pub fn follow_pods(&self, context: &Context) -> FollowPods {
        FollowPods::new(self.clone(), context)
    }

    /// Replaces all that `owner` (a pod's uid, say) announced before. An owner without ports takes no room.
    pub fn announce(&self, owner: &str, ports: impl IntoIterator<Item = PortMapping>) {
        let ports: Vec<_> = ports.into_iter().collect();
        let mut table = self.0.write().expect("no holder panics");
        for port in table.announced.remove(owner).unwrap_or_default() {
            let key = (port.protocol, port.pod);
            if table.places.get(&key) == Some(&port.local) {
                table.places.remove(&key);
            }
        }
        table.places.extend(ports.iter().map(|port| ((port.protocol, port.pod), port.local)));
        if !ports.is_empty() {
            table.announced.insert(owner.into(), ports);
        }
    }

    /// Forgets all that `owner` announced.
    pub fn withdraw(&self, owner: &str) {
        self.announce(owner, []);
    }
}

impl AddressMap for AddressTable {
    fn dial(&self, protocol: Protocol, backend: Backend) -> SocketAddr {
        let table = self.0.read().expect("no holder panics");
        table.places.get(&(protocol, backend.0)).copied().unwrap_or(backend.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(local: u16) -> PortMapping {
        PortMapping {
            protocol: Protocol::Tcp,
            pod: ([10, 1, 0, 7], 80).into(),
            local: ([127, 0, 0, 1], local).into(),
        }
    }

    #[test]
    fn an_address_that_a_second_pod_took_over_stays_when_the_first_withdraws() {
        let (table, pod) = (AddressTable::new(), Backend(mapping(0).pod));
        table.announce("first", [mapping(1)]);
        table.announce("second", [mapping(2)]);

        table.withdraw("first");
        assert_eq!(table.dial(Protocol::Tcp, pod), mapping(2).local);

        table.withdraw("second");
        assert_eq!(table.dial(Protocol::Tcp, pod), pod.0);
        assert!(table.0.read().unwrap().announced.is_empty());
    }
}
