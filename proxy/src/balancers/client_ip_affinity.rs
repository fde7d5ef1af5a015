use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use quarterdeck_core::balancing::{Backend, Backends, Connection, LoadBalancer, Pick, ServicePort};
use tokio::time::Instant;

/// Keeps each client at the backend that another balancer chose for it.
///
/// A client keeps its backend until its last connection began longer ago than the service port's timeout, or until the
/// backend is not offered any more. The other balancer is asked for every connection all the same: for a client that
/// has a backend, this one alone is offered to it. So it counts these connections too.
///
/// Of each service port the latest 65,536 clients are remembered, each at most until the first pick after its timeout.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quarterdeck_core::balancing::{Backend, Backends, Connection, LoadBalancer, ServicePort};
/// use quarterdeck_proxy::{ClientIpAffinity, RoundRobin};
///
/// let balancer = ClientIpAffinity::new(RoundRobin::new(), Duration::from_secs(10_800));
/// let service = ServicePort { namespace: "default".into(), name: "web".into(), port: "".into() };
/// let backends = Backends::new([1, 2].map(|host| Backend(([10, 1, 0, host], 80).into())));
/// let pick = |client: [u8; 4]| {
///     balancer.pick(&Connection { service: &service, client: client.into() }, &backends).unwrap().backend
/// };
///
/// assert_eq!(pick([10, 0, 0, 1]), pick([10, 0, 0, 1]));
/// assert_ne!(pick([10, 0, 0, 1]), pick([10, 0, 0, 2]));
/// ```
#[derive(Debug)]
pub struct ClientIpAffinity<B> {
    inner: B,
    timeout: Option<Duration>,
    capacity: usize,
    services: Mutex<BTreeMap<ServicePort, Service>>,
}

#[derive(Debug)]
struct Service {
    /// What was set for this service port; else the balancer's.
    timeout: Option<Option<Duration>>,
    clients: BTreeMap<IpAddr, Client>,
    /// The clients in the order of their latest connection.
    latest: BTreeMap<u64, IpAddr>,
    sequence: u64,
}

#[derive(Debug)]
struct Client {
    backend: Backends,
    sequence: u64,
    seen: Instant,
}

impl<B: LoadBalancer> ClientIpAffinity<B> {
    /// Keeps the clients of every service port for `timeout`, unless [`set_timeout`](Self::set_timeout) says otherwise.
    #[must_use]
    pub fn new(inner: B, timeout: Duration) -> Self {
        Self { inner, timeout: Some(timeout), capacity: 1 << 16, services: Mutex::default() }
    }

    /// Keeps only the clients of service ports that [`set_timeout`](Self::set_timeout) names.
    #[must_use]
    pub fn where_set(inner: B) -> Self {
        Self { inner, timeout: None, capacity: 1 << 16, services: Mutex::default() }
    }

    /// Sets how many clients of a service port are remembered (default: 65,536).
    #[must_use]
    pub fn capacity(mut self, clients: usize) -> Self {
        self.capacity = clients.max(1);
        self
    }

    /// Sets for how long clients of `service` keep their backend, until it is forgotten; `None` means that they do not.
    pub fn set_timeout(&self, service: &ServicePort, timeout: Option<Duration>) {
        let mut services = self.services();
        let known = services.entry(service.clone()).or_insert_with(Service::new);
        known.timeout = Some(timeout);
        if timeout.is_none() {
            known.clients.clear();
            known.latest.clear();
        }
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<ServicePort, Service>> {
        self.services.lock().expect("no holder panics")
    }

    /// Returns the backend that the client has, alone, if it has one and that is offered.
    fn kept(&self, connection: &Connection<'_>, backends: &Backends, now: Instant) -> Kept {
        let mut services = self.services();
        let Some(service) = services.get_mut(connection.service) else {
            return if self.timeout.is_some() { Kept::Nothing } else { Kept::Never };
        };
        let Some(timeout) = service.timeout.unwrap_or(self.timeout) else { return Kept::Never };
        service.expire(timeout, now);
        let kept = service.clients.get(&connection.client).map(|client| client.backend.clone());
        match kept.filter(|kept| backends.as_slice().binary_search(&kept.as_slice()[0]).is_ok()) {
            Some(backend) => Kept::Backend(backend),
            None => Kept::Nothing,
        }
    }

    fn keep(&self, connection: &Connection<'_>, backend: Backend, now: Instant) {
        let mut services = self.services();
        let service = services.entry(connection.service.clone()).or_insert_with(Service::new);
        service.keep(connection.client, backend, now, self.capacity);
    }
}

/// What is known of a client.
enum Kept {
    /// It has this backend.
    Backend(Backends),
    /// It has none yet.
    Nothing,
    /// Clients of its service port do not keep backends.
    Never,
}

impl<B: LoadBalancer> LoadBalancer for ClientIpAffinity<B> {
    fn pick(&self, connection: &Connection<'_>, backends: &Backends) -> Option<Pick> {
        let now = Instant::now();
        let pick = match self.kept(connection, backends, now) {
            Kept::Never => return self.inner.pick(connection, backends),
            Kept::Nothing => self.inner.pick(connection, backends)?,
            Kept::Backend(backend) => self.inner.pick(connection, &backend)?,
        };
        self.keep(connection, pick.backend, now);
        Some(pick)
    }

    fn forget(&self, service: &ServicePort) {
        self.services().remove(service);
        self.inner.forget(service);
    }
}

impl Service {
    fn new() -> Self {
        Self { timeout: None, clients: BTreeMap::new(), latest: BTreeMap::new(), sequence: 0 }
    }

    fn expire(&mut self, timeout: Duration, now: Instant) {
        while let Some(first) = self.latest.first_entry() {
            let seen = self.clients.get(first.get()).map(|client| client.seen);
            if seen.is_some_and(|seen| now.saturating_duration_since(seen) < timeout) {
                break;
            }
            self.clients.remove(&first.remove());
        }
    }

    fn keep(&mut self, client: IpAddr, backend: Backend, now: Instant, capacity: usize) {
        self.sequence += 1;
        let sequence = self.sequence;
        match self.clients.get_mut(&client) {
            Some(known) => {
                self.latest.remove(&known.sequence);
                if known.backend.as_slice()[0] != backend {
                    known.backend = Backends::new([backend]);
                }
                (known.sequence, known.seen) = (sequence, now);
            }
            None => {
                let known = Client { backend: Backends::new([backend]), sequence, seen: now };
                self.clients.insert(client, known);
            }
        }
        self.latest.insert(sequence, client);
        if self.clients.len() > capacity
            && let Some((_, oldest)) = self.latest.pop_first()
        {
            self.clients.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::balancers::{LeastConnections, RoundRobin};

    fn service() -> ServicePort {
        ServicePort { namespace: "default".into(), name: "web".into(), port: "".into() }
    }

    fn backends(numbers: &[u8]) -> Backends {
        Backends::new(numbers.iter().map(|number| Backend(([10, 0, 0, *number], 80).into())))
    }

    fn pick(balancer: &impl LoadBalancer, client: u8, offered: &[u8]) -> u8 {
        let connection = Connection { service: &service(), client: [10, 9, 9, client].into() };
        match balancer.pick(&connection, &backends(offered)).unwrap().backend.0.ip() {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(_) => unreachable!("all are IPv4"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_keeps_its_backend_until_its_last_connection_is_older_than_the_timeout() {
        let balancer = ClientIpAffinity::new(RoundRobin::new(), Duration::from_secs(10));
        let mut picked = vec![pick(&balancer, 1, &[1, 2, 3])];

        for wait in [9, 9, 10] {
            tokio::time::advance(Duration::from_secs(wait)).await;
            picked.push(pick(&balancer, 1, &[1, 2, 3]));
        }

        assert_eq!(picked, [1, 1, 1, 2]);
    }

    #[test]
    fn a_client_whose_backend_left_gets_another_and_keeps_that() {
        let balancer = ClientIpAffinity::new(RoundRobin::new(), Duration::from_secs(10));

        let picked = [[1, 2], [2, 3], [1, 2]].map(|offered| pick(&balancer, 1, &offered));

        assert_eq!(picked, [1, 2, 2]);
    }

    #[test]
    fn clients_that_stay_leave_the_turns_of_new_ones_alone() {
        let balancer = ClientIpAffinity::new(RoundRobin::new(), Duration::from_secs(10));

        let picked: Vec<_> = (1..=6)
            .map(|client| {
                pick(&balancer, 1, &[1, 2, 3]);
                pick(&balancer, client, &[1, 2, 3])
            })
            .collect();

        assert_eq!(picked, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn connections_of_clients_that_stay_are_counted() {
        let counting = Arc::new(LeastConnections::new());
        let balancer = ClientIpAffinity::new(counting.clone(), Duration::from_secs(10));
        let (service, offered) = (service(), backends(&[1, 2]));
        let connection = Connection { service: &service, client: [10, 9, 9, 1].into() };

        let _held: Vec<_> = (0..3).map(|_| balancer.pick(&connection, &offered)).collect();

        let picked = [2, 3, 4].map(|client| pick(&balancer, client, &[1, 2]));
        assert_eq!(picked, [2, 2, 2]);
    }

    #[test]
    fn a_service_port_without_a_timeout_of_its_own_is_left_to_the_other_balancer() {
        let balancer = ClientIpAffinity::where_set(RoundRobin::new());
        assert_eq!([1, 1].map(|client| pick(&balancer, client, &[1, 2])), [1, 2]);

        balancer.set_timeout(&service(), Some(Duration::from_secs(10)));
        assert_eq!([1, 1].map(|client| pick(&balancer, client, &[1, 2])), [1, 1]);

        balancer.set_timeout(&service(), None);
        assert_eq!([1, 1].map(|client| pick(&balancer, client, &[1, 2])), [2, 1]);
    }

    #[test]
    fn the_clients_seen_longest_ago_are_forgotten_at_the_bound() {
        let balancer = ClientIpAffinity::new(RoundRobin::new(), Duration::from_secs(10)).capacity(2);
        assert_eq!([1, 2, 1, 3].map(|client| pick(&balancer, client, &[1, 2, 3])), [1, 2, 1, 3]);

        assert_eq!(balancer.services()[&service()].clients.len(), 2);
        assert_eq!(pick(&balancer, 1, &[1, 2, 3]), 1, "it was seen after the second");
        assert_eq!(balancer.services()[&service()].latest.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_whose_timeout_is_over_take_no_room() {
        let balancer = ClientIpAffinity::new(RoundRobin::new(), Duration::from_secs(10));
        for client in 0..100 {
            pick(&balancer, client, &[1, 2, 3]);
        }

        tokio::time::advance(Duration::from_secs(10)).await;
        pick(&balancer, 200, &[1, 2, 3]);

        assert_eq!(balancer.services()[&service()].clients.len(), 1);
    }
}
