use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use quarterdeck_core::balancing::{Backends, Connection, LoadBalancer, Pick, ServicePort};

use super::rotation::Rotation;

/// Gives connections to the backends in turn, each service port by itself.
///
/// Turns follow the order of the backends. When these change, the turn goes on behind the one that was last: backends that
/// stay never differ by more than one connection, however often others come and go.
///
/// Remembers one backend for each service port.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::balancing::{Backend, Backends, Connection, LoadBalancer, ServicePort};
/// use quarterdeck_proxy::RoundRobin;
///
/// let balancer = RoundRobin::default();
/// let service = ServicePort { namespace: "default".into(), name: "web".into(), port: "".into() };
/// let connection = Connection { service: &service, client: [10, 0, 0, 1].into() };
/// let backends = Backends::new([1, 2].map(|host| Backend(([10, 1, 0, host], 80).into())));
///
/// let picked: Vec<_> = (0..3).map(|_| balancer.pick(&connection, &backends).unwrap().backend).collect();
///
/// assert_eq!(picked, [backends.as_slice()[0], backends.as_slice()[1], backends.as_slice()[0]]);
/// ```
#[derive(Debug, Default)]
pub struct RoundRobin {
    services: Mutex<BTreeMap<ServicePort, Rotation>>,
}

impl RoundRobin {
    /// Makes a balancer that begins with the first backend of every service port.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<ServicePort, Rotation>> {
        self.services.lock().expect("no holder panics")
    }
}

impl LoadBalancer for RoundRobin {
    fn pick(&self, connection: &Connection<'_>, backends: &Backends) -> Option<Pick> {
        let backends = backends.as_slice();
        let mut services = self.services();
        let index = match services.get_mut(connection.service) {
            Some(rotation) => rotation.next(backends)?,
            None => services.entry(connection.service.clone()).or_default().next(backends)?,
        };
        Some(backends[index].into())
    }

    fn forget(&self, service: &ServicePort) {
        self.services().remove(service);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use quarterdeck_core::balancing::Backend;

    use super::*;

    fn backend(number: u8) -> Backend {
        Backend(([10, 0, 0, number], 80).into())
    }

    fn service() -> ServicePort {
        ServicePort { namespace: "default".into(), name: "web".into(), port: "".into() }
    }

    #[test]
    fn three_backends_share_thirty_requests_in_order() {
        let (balancer, service) = (RoundRobin::new(), service());
        let backends = Backends::new([3, 1, 2].map(backend));
        let connection = Connection { service: &service, client: [10, 9, 9, 9].into() };

        let picked: Vec<_> =
            (0..30).map(|_| balancer.pick(&connection, &backends).unwrap().backend).collect();

        let expected: Vec<_> = (0..30).map(|turn| backend(turn % 3 + 1)).collect();
        assert_eq!(picked, expected);
    }

    proptest! {
        #[test]
        fn backends_that_stay_differ_by_one_at_most(
            staying in prop::collection::btree_set(0..40_u8, 2..6),
            others in prop::collection::vec(prop::collection::btree_set(0..40_u8, 0..8), 1..200),
        ) {
            let (balancer, service) = (RoundRobin::new(), service());
            let connection = Connection { service: &service, client: [10, 9, 9, 9].into() };
            let mut counts: BTreeMap<_, u32> = staying.iter().map(|number| (backend(*number), 0)).collect();

            for others in &others {
                let backends = Backends::new(staying.iter().chain(others).copied().map(backend));
                let picked = balancer.pick(&connection, &backends).unwrap().backend;
                counts.entry(picked).and_modify(|count| *count += 1);

                let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
                prop_assert!(most - least <= 1, "{counts:?}");
            }
        }
    }
}
