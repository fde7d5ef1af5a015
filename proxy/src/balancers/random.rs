use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use quarterdeck_core::balancing::{Backends, Connection, LoadBalancer, Pick, ServicePort};
use quarterdeck_core::random;

/// Gives each connection to any backend, all alike.
///
/// Every service port has a sequence of its own, made of the seed and its name: the same seed gives the same picks, whatever
/// happens at other service ports. A service port that was forgotten begins its sequence again.
///
/// Remembers where each service port's sequence is.
#[derive(Debug)]
pub struct Random {
    seed: u64,
    services: Mutex<BTreeMap<ServicePort, random::Random>>,
}

impl Random {
    /// Takes a seed from `random`.
    #[must_use]
    pub fn new(random: &random::Random) -> Self {
        Self::seeded(random.fork("load balancer").u64())
    }

    /// Picks the same for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, services: Mutex::default() }
    }

    fn sequence(&self, service: &ServicePort) -> random::Random {
        let ServicePort { namespace, name, port } = service;
        // No name holds a slash, so that no two service ports have one text.
        random::Random::seeded(self.seed).fork(&format!("{namespace}/{name}/{port}"))
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<ServicePort, random::Random>> {
        self.services.lock().expect("no holder panics")
    }
}

impl LoadBalancer for Random {
    fn pick(&self, connection: &Connection<'_>, backends: &Backends) -> Option<Pick> {
        let backends = backends.as_slice();
        if backends.is_empty() {
            return None;
        }
        let mut services = self.services();
        let index = match services.get(connection.service) {
            Some(sequence) => sequence.below(backends.len()),
            None => {
                let sequence = self.sequence(connection.service);
                let index = sequence.below(backends.len());
                services.insert(connection.service.clone(), sequence);
                index
            }
        };
        Some(backends[index].into())
    }

    fn forget(&self, service: &ServicePort) {
        self.services().remove(service);
    }
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::balancing::Backend;

    use super::*;

    fn thirty_of_three(balancer: &Random) -> Vec<Backend> {
        let service = ServicePort { namespace: "default".into(), name: "web".into(), port: "".into() };
        let connection = Connection { service: &service, client: [10, 9, 9, 9].into() };
        let backends = Backends::new([1, 2, 3].map(|number| Backend(([10, 0, 0, number], 80).into())));
        (0..30).map(|_| balancer.pick(&connection, &backends).unwrap().backend).collect()
    }

    #[test]
    fn one_seed_gives_one_sequence_and_another_another() {
        let picked = thirty_of_three(&Random::seeded(7));

        assert_eq!(picked, thirty_of_three(&Random::seeded(7)));
        assert_ne!(picked, thirty_of_three(&Random::seeded(8)));
    }
}
