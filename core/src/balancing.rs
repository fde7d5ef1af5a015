//! Choosing a backend: the trait that decides which endpoint of a service gets a connection.
//!
//! Start at [`LoadBalancer`]. The defaults (`RoundRobin`, `Random`, `LeastConnections`, and ClientIP affinity as a wrapper
//! around any of them) live in `proxy`.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A port of a service, the unit that connections are balanced for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    /// The service's namespace.
    pub namespace: Arc<str>,
    /// The service's name.
    pub name: Arc<str>,
    /// The port's name; empty if the service has one port without a name.
    pub port: Arc<str>,
}

/// A connection (TCP) or a client's flow of datagrams (UDP) that needs a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The service port that the client called.
    pub service: &'a ServicePort,
    /// The client's address.
    pub client: IpAddr,
}

/// An endpoint that can serve a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend(pub SocketAddr);

/// The ready backends of one service port, ordered by address, without duplicates.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Backends(Arc<[Backend]>);

impl Backends {
    /// Orders the backends and drops duplicates.
    #[must_use]
    pub fn new(backends: impl IntoIterator<Item = Backend>) -> Self {
        let mut backends: Vec<_> = backends.into_iter().collect();
        backends.sort_unstable();
        backends.dedup();
        Self(backends.into())
    }

    /// Returns the backends in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Backend] {
        &self.0
    }
}

/// A choice, and whatever must be told when the connection ends: the guard is dropped then.
pub struct Pick {
    /// The backend that gets the connection.
    pub backend: Backend,
    /// Dropped when the connection ends. Balancers that count connections put their counter here.
    pub guard: Option<Box<dyn Send>>,
}

impl Debug for Pick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pick").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl From<Backend> for Pick {
    fn from(backend: Backend) -> Self {
        Self { backend, guard: None }
    }
}

/// Decides which backend gets a connection.
///
/// # Contract
///
/// 1. A pick is one of the given backends. It is `None` only if there are none.
/// 2. A pick needs nothing but its arguments and what earlier picks left behind: the caller may change the backends between
///    any two calls, in any way, without telling.
/// 3. Every backend gets connections in the long run, as long as it is offered: a series of picks for enough different
///    clients leaves none out.
/// 4. Service ports do not disturb each other: picks for one do not change what another's would be.
/// 5. `pick` does not block, and may be called from several threads at once.
/// 6. What a guard counted is given back when it is dropped, also if its backend is gone by then.
/// 7. What is remembered of service ports and clients is bounded, and [`forget`](LoadBalancer::forget) drops all of a service port.
pub trait LoadBalancer: Debug + Send + Sync + 'static {
    /// Picks a backend for `connection`.
    fn pick(&self, connection: &Connection<'_>, backends: &Backends) -> Option<Pick>;

    /// Forgets everything about a service port that is gone.
    fn forget(&self, service: &ServicePort) {
        let _ = service;
    }
}

const _: Option<&dyn LoadBalancer> = None; // object safety is API: losing it must not compile

impl<B: LoadBalancer + ?Sized> LoadBalancer for Arc<B> {
    fn pick(&self, connection: &Connection<'_>, backends: &Backends) -> Option<Pick> {
        (**self).pick(connection, backends)
    }

    fn forget(&self, service: &ServicePort) {
        (**self).forget(service);
    }
}
