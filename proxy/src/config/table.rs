use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quarterdeck_core::balancing::Backends;
use quarterdeck_core::client::{ObjectKey, WorkQueue};
use quarterdeck_core::runtime::Protocol;
use tokio::sync::watch;

/// A port of a service, as the proxy needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePortConfig {
    /// The port's name, unique in its service; empty if it has none.
    pub name: Arc<str>,
    /// The protocol. Service ports of other protocols than TCP and UDP are not proxied.
    pub protocol: Protocol,
    /// The port at the service's addresses.
    pub port: u16,
    /// The service's addresses in the cluster.
    pub cluster_ips: Vec<IpAddr>,
    /// Further addresses: external ones, and those of load balancers.
    pub external_ips: Vec<IpAddr>,
    /// The port on every address of the node, if it has one.
    pub node_port: Option<u16>,
    /// For how long a client keeps its backend after its last connection, if it does.
    pub affinity: Option<Duration>,
    /// The backends that serve connections now.
    pub backends: Backends,
    /// The backends for connections to `external_ips` and `node_port`, if they are others.
    pub external_backends: Option<Backends>,
}

impl ServicePortConfig {
    /// Makes a service port without a name, addresses or backends.
    #[must_use]
    pub fn new(protocol: Protocol, port: u16) -> Self {
        Self {
            name: "".into(),
            protocol,
            port,
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            node_port: None,
            affinity: None,
            backends: Backends::default(),
            external_backends: None,
        }
    }
}

/// What is to be proxied: the ports of each service. Clones share one table.
///
/// A source (the API, a file, a program of its own) sets services here, and one proxy takes note. A service that changes
/// several times before the proxy gets to it is looked at once.
#[derive(Clone, Default)]
pub struct ServiceTable(Arc<Inner>);

#[derive(Default)]
struct Inner {
    services: Mutex<BTreeMap<ObjectKey, Arc<[ServicePortConfig]>>>,
    changed: WorkQueue<ObjectKey>,
    complete: watch::Sender<bool>,
}

impl ServiceTable {
    /// Makes a table without services.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the ports of `service`. No ports are as good as no service.
    pub fn set(&self, service: &ObjectKey, ports: Vec<ServicePortConfig>) {
        let mut services = self.lock();
        let changed = match services.entry(service.clone()) {
            Entry::Occupied(known) if ports.is_empty() => {
                known.remove();
                true
            }
            Entry::Occupied(known) if **known.get() == *ports => false,
            Entry::Occupied(mut known) => {
                known.insert(ports.into());
                true
            }
            Entry::Vacant(_) if ports.is_empty() => false,
            Entry::Vacant(new) => {
                new.insert(ports.into());
                true
            }
        };
        drop(services);
        if changed {
            self.0.changed.add(service.clone());
        }
    }

    /// Removes `service`.
    pub fn remove(&self, service: &ObjectKey) {
        self.set(service, Vec::new());
    }

    /// Says that all services that exist were set. Before, the proxy leaves rules alone that an earlier run of it left.
    pub fn set_complete(&self) {
        self.0.complete.send_replace(true);
    }

    /// Returns whether all services that exist were set.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        *self.0.complete.borrow()
    }

    /// Returns the ports of `service`; none if it is not known.
    #[must_use]
    pub fn get(&self, service: &ObjectKey) -> Arc<[ServicePortConfig]> {
        self.lock().get(service).cloned().unwrap_or_default()
    }

    /// Returns the services that have ports, in order.
    #[must_use]
    pub fn services(&self) -> Vec<ObjectKey> {
        self.lock().keys().cloned().collect()
    }

    pub(crate) async fn completed(&self) {
        // The sender lives in `self`, so that this cannot fail.
        let _ = self.0.complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// Names the services that changed, each once for all its changes since it was last named.
    pub(crate) fn changed(&self) -> &WorkQueue<ObjectKey> {
        &self.0.changed
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Arc<[ServicePortConfig]>>> {
        self.0.services.lock().expect("no holder panics")
    }
}

impl fmt::Debug for ServiceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.lock().iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_changes_is_named_and_once() {
        let (table, web, dns) = (ServiceTable::new(), ObjectKey::new("a", "web"), ObjectKey::new("a", "dns"));
        let port = ServicePortConfig::new(Protocol::Tcp, 80);
        table.set(&web, vec![port.clone()]);
        table.set(&web, vec![port.clone(), ServicePortConfig { name: "b".into(), ..port.clone() }]);
        table.remove(&dns);

        assert_eq!(table.changed().next().await, Some(web.clone()));
        table.changed().done(&web);
        assert!(table.changed().is_empty());

        table.set(&web, table.get(&web).to_vec());
        assert!(table.changed().is_empty(), "nothing is new");

        table.remove(&web);
        assert_eq!(table.changed().len(), 1);
        assert_eq!(table.services(), []);
    }
}
