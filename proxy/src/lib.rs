//! The service proxy: makes the addresses of services work, and balances their connections.

pub mod address;
pub mod balancers;
pub mod config;
mod endpoint;
mod mode;
mod nftables;
mod ports;
mod proxy;
mod rules;
mod running;
mod userspace;

#[doc(inline)]
pub use address::{AddressMap, AddressTable};
#[doc(inline)]
pub use balancers::{ClientIpAffinity, LeastConnections, Random, RoundRobin};
#[doc(inline)]
pub use config::{ServicePortConfig, ServiceTable};
pub use mode::Mode;
pub use ports::{Health, ProxyPort, ProxyPorts};
pub use proxy::Proxy;
