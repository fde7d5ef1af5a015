//! The balancers that come with the SDK: [`RoundRobin`] (the default), [`Random`], [`LeastConnections`], and
//! [`ClientIpAffinity`], which keeps a client at its backend whatever chose it. [`MeasuredBalancer`] counts what another does.
//!
//! All are proven by `quarterdeck_core::balancing_suite!`. The trait is
//! [`LoadBalancer`](quarterdeck_core::balancing::LoadBalancer), in `core`.

mod client_ip_affinity;
mod least_connections;
mod measured;
mod random;
mod rotation;
mod round_robin;

pub use client_ip_affinity::ClientIpAffinity;
pub use least_connections::LeastConnections;
pub use measured::MeasuredBalancer;
pub use random::Random;
pub use round_robin::RoundRobin;
