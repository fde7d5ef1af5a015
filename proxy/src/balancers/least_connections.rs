use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use quarterdeck_core::balancing::{Backend, Backends, Connection, LoadBalancer, Pick, ServicePort};

use super::rotation::Rotation;

/// Gives a connection to a backend that has the fewest; of several with as few, to each in turn.
///
/// Connections are counted for each service port by itself. A backend that leaves with connections open and comes back
/// before they end is known to have them.
///
/// Remembers, for each service port, the backends that were last offered and those that have connections.
#[derive(Debug, Default)]
pub struct LeastConnections {
    services: Mutex<BTreeMap<ServicePort, Service>>,
}

#[derive(Debug, Default)]
struct Service {
    offered: Backends,
    /// Of each offered backend, at the same index.
    counts: Vec<Arc<AtomicUsize>>,
    /// Of backends that left with connections open.
    left: BTreeMap<Backend, Arc<AtomicUsize>>,
    rotation: Rotation,
}

/// A connection that is counted. Dropped, it is not any more.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LeastConnections {
    /// Makes a balancer that has seen no connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<ServicePort, Service>> {
        self.services.lock().expect("no holder panics")
    }
}

impl LoadBalancer for LeastConnections {
    fn pick(&self, connection: &Connection<'_>, backends: &Backends) -> Option<Pick> {
        let mut services = self.services();
        match services.get_mut(connection.service) {
            Some(service) => service.pick(backends),
            None => services.entry(connection.service.clone()).or_default().pick(backends),
        }
    }

    fn forget(&self, service: &ServicePort) {
        self.services().remove(service);
    }
}

impl Service {
    fn pick(&mut self, backends: &Backends) -> Option<Pick> {
        if self.offered != *backends {
            self.adopt(backends);
        }
        // Counts go down meanwhile, in other threads: each is read once.
        let counts: Vec<usize> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let least = counts.iter().min()?;
        let offered = backends.as_slice();
        let (indices, candidates): (Vec<usize>, Vec<Backend>) = counts
            .iter()
            .zip(offered)
            .enumerate()
            .filter(|(_, (count, _))| *count == least)
            .map(|(index, (_, backend))| (index, *backend))
            .unzip();
        let index = indices[self.rotation.next(&candidates)?];
        let guard = Counted::new(&self.counts[index]);
        Some(Pick { backend: offered[index], guard: Some(Box::new(guard)) })
    }

    fn adopt(&mut self, backends: &Backends) {
        let known = self.offered.as_slice().iter().copied().zip(self.counts.drain(..));
        self.left.extend(known);
        self.counts =
            backends.as_slice().iter().map(|backend| self.left.remove(backend).unwrap_or_default()).collect();
        self.left.retain(|_, count| Arc::strong_count(count) > 1);
        self.offered = backends.clone();
    }
}
