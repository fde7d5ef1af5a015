//! The service proxy: makes the addresses of services work, and balances their connections.

pub mod balancers;

#[doc(inline)]
pub use balancers::{ClientIpAffinity, LeastConnections, Random, RoundRobin};
