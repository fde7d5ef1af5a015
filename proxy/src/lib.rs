//! The service proxy: makes the addresses of services work, and balances their connections.
//!
//! Start at [`Proxy`], a [`Component`] that reads services and endpoints from the API (or from a file, or from a
//! [`ServiceTable`] that a program fills) and opens a local port for each service port. Each connection to it goes to the
//! backend that a [`LoadBalancer`] picks: one of [`balancers`], or your own. With [`Mode::Nftables`] rules of the kernel
//! lead the services' own addresses there; without, [`ProxyPorts`] tells where the local ports are.
//!
//! # Examples
//!
//! ```
//! use quarterdeck_core::balancing::{Backend, Backends};
//! use quarterdeck_core::client::ObjectKey;
//! use quarterdeck_core::component::{BoxError, Supervisor, Stop};
//! use quarterdeck_core::runtime::Protocol;
//! use quarterdeck_proxy::{Proxy, RoundRobin, ServicePortConfig, ServiceTable};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let (table, web) = (ServiceTable::new(), ObjectKey::new("default", "web"));
//! let backends = Backends::new([Backend(([10, 1, 0, 7], 8080).into())]);
//! table.set(&web, vec![ServicePortConfig { backends, ..ServicePortConfig::new(Protocol::Tcp, 80) }]);
//!
//! let proxy = Proxy::from_table(&table, RoundRobin::new());
//! let (ports, (signal, stop)) = (proxy.ports(), Stop::channel());
//! tokio::join!(Supervisor::new().with(proxy).run(stop), async {
//!     let ports = ports.wait_for(&web, |ports| !ports.is_empty()).await;
//!     println!("connect to {:?}", ports[0].proxy);
//!     signal.stop();
//! });
//! # Ok(())
//! # }
//! ```
//!
//! [`Component`]: quarterdeck_core::component::Component
//! [`LoadBalancer`]: quarterdeck_core::balancing::LoadBalancer

pub mod address;
pub mod balancers;
pub mod config;
mod endpoint;
mod figures;
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
pub use balancers::{ClientIpAffinity, LeastConnections, MeasuredBalancer, Random, RoundRobin};
#[doc(inline)]
pub use config::{ServicePortConfig, ServiceTable};
pub use mode::Mode;
pub use ports::{Health, ProxyPort, ProxyPorts};
pub use proxy::Proxy;
