//! What the proxy has open: the table of proxy ports, and whether the proxy is well.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use quarterdeck_core::client::ObjectKey;
use quarterdeck_core::health::Checked;
use serde::{Serialize, Serializer};
use tokio::sync::watch;

use quarterdeck_core::runtime::Protocol;

/// A service port, and where the proxy answers for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyPort {
    /// The service's namespace.
    pub namespace: String,
    /// The service's name.
    pub service: String,
    /// The port's name; empty if it has none.
    pub port_name: String,
    /// The protocol.
    #[serde(serialize_with = "as_text")]
    pub protocol: Protocol,
    /// The service's addresses in the cluster.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<IpAddr>,
    /// Further addresses of the service.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<IpAddr>,
    /// The port at those addresses.
    pub port: u16,
    /// The port on every address of this machine, if the service has one.
    pub node_port: Option<u16>,
    /// Where the proxy answers. Empty if that could not be opened, or is not any more.
    pub proxy: Vec<SocketAddr>,
    /// The backends, as the service has them.
    pub backends: Vec<SocketAddr>,
}

fn as_text<S: Serializer>(protocol: &Protocol, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(protocol)
}

/// The table of proxy ports of a proxy, while it runs. Clones show the same.
#[derive(Clone)]
pub struct ProxyPorts(Arc<Inner>);

struct Inner {
    services: Mutex<BTreeMap<ObjectKey, Arc<[ProxyPort]>>>,
    changed: watch::Sender<u64>,
    health: watch::Sender<Health>,
    endpoint: watch::Sender<Option<SocketAddr>>,
}

/// How a proxy is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It does not know all services yet.
    Starting,
    /// Everything is as it should be.
    Healthy,
    /// Something is not, for this reason. The proxy keeps trying.
    Failing(String),
}

impl ProxyPorts {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            services: Mutex::default(),
            changed: watch::Sender::new(0),
            health: watch::Sender::new(Health::Starting),
            endpoint: watch::Sender::new(None),
        }))
    }

    /// Returns all ports, ordered by service.
    #[must_use]
    pub fn list(&self) -> Vec<ProxyPort> {
        self.services().values().flat_map(|ports| ports.iter().cloned()).collect()
    }

    /// Returns the ports of one service.
    #[must_use]
    pub fn of(&self, service: &ObjectKey) -> Arc<[ProxyPort]> {
        self.services().get(service).cloned().unwrap_or_default()
    }

    /// Waits until the ports of `service` are as `wanted` says, and returns them.
    ///
    /// This never ends if that never happens.
    pub async fn wait_for(
        &self,
        service: &ObjectKey,
        mut wanted: impl FnMut(&[ProxyPort]) -> bool,
    ) -> Arc<[ProxyPort]> {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let ports = self.of(service);
            if wanted(&ports) {
                return ports;
            }
            // The sender lives in `self`, so that this cannot fail.
            let _ = changed.changed().await;
        }
    }

    /// Returns how the proxy is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health.borrow().clone()
    }

    /// Says why the proxy is not well, if it is not.
    pub(crate) fn checked(&self) -> Checked {
        match self.health() {
            Health::Healthy => Ok(()),
            Health::Starting => Err("not all services are known yet".to_owned()),
            Health::Failing(reason) => Err(reason),
        }
    }

    /// Waits until the proxy knows all services and everything is as it should be.
    pub async fn healthy(&self) {
        // The sender lives in `self`, so that this cannot fail.
        let _ = self.0.health.subscribe().wait_for(|health| *health == Health::Healthy).await;
    }

    /// Waits until the proxy's endpoint answers, and returns its address. This never ends if there is none.
    pub async fn endpoint(&self) -> SocketAddr {
        let mut endpoint = self.0.endpoint.subscribe();
        let address = endpoint.wait_for(Option::is_some).await.ok().and_then(|address| *address);
        address.expect("the sender lives in `self`, and was waited for")
    }

    pub(crate) fn set(&self, service: &ObjectKey, ports: Vec<ProxyPort>) {
        let mut services = self.services();
        if ports.is_empty() {
            services.remove(service);
        } else {
            services.insert(service.clone(), ports.into());
        }
        drop(services);
        self.0.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn clear(&self) {
        self.services().clear();
        self.0.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn set_health(&self, health: Health) {
        self.0.health.send_if_modified(|now| {
            let changed = *now != health;
            *now = health;
            changed
        });
    }

    pub(crate) fn set_endpoint(&self, address: SocketAddr) {
        self.0.endpoint.send_replace(Some(address));
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Arc<[ProxyPort]>>> {
        self.0.services.lock().expect("no holder panics")
    }
}

impl fmt::Debug for ProxyPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.services().iter().map(|(service, ports)| (service, ports.len()))).finish()
    }
}
