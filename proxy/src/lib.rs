//! The service proxy: makes the addresses of services work, and balances their connections.

pub mod address;
pub mod balancers;
pub mod config;
mod endpoint;
mod ports;
mod proxy;
mod userspace;

#[doc(inline)]
pub use address::{AddressMap, AddressTable};
#[doc(inline)]
pub use balancers::{ClientIpAffinity, LeastConnections, Random, RoundRobin};
#[doc(inline)]
pub use config::{ServicePortConfig, ServiceTable};
pub use ports::{Health, ProxyPort, ProxyPorts};
pub use proxy::Proxy;
