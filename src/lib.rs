//! An SDK for building Kubernetes-style control planes: assemble one from parts, embed it, swap any part, or start a whole
//! cluster inside a test.
//!
//! [`ControlPlane`] puts the parts together. Each part is a crate of its own, re-exported here, and works alone:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`core`] | the four traits (`Storage`, `Scheduler`, `Runtime`, `LoadBalancer`), their contracts and suites |
//! | [`registry`] | the API server, a tower service, and its stores |
//! | [`scheduler`] | the default scheduler, and the driver around any scheduler |
//! | [`controllers`] | the default controllers |
//! | [`agent`] | the node agent and its runtimes |
//! | [`proxy`] | the service proxy and its load balancers |
//!
//! # Examples
//!
//! A control plane, from its parts to its end:
//!
//! ```
//! use quarterdeck::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plane = ControlPlane::builder(MemoryStorage::new())
//!     .scheduler(DefaultScheduler::new(Random::from_os()))
//!     .node("node-1", SimulatedRuntime::new(Clock::system()))
//!     .node("node-2", SimulatedRuntime::new(Clock::system()))
//!     .load_balancer(RoundRobin::new())
//!     .build()?;
//!
//! // A program waits for `tokio::signal::ctrl_c()` here.
//! let shutdown = tokio::time::sleep(std::time::Duration::from_secs(60));
//! plane.run_until(shutdown).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A cluster that goes on beside its caller, and a client that sees a pod run in it:
//!
//! ```
//! use k8s_openapi::api::core::v1::Pod;
//! use kube::api::{Api, PostParams};
//! use quarterdeck::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plane = ControlPlane::builder(MemoryStorage::new())
//!     .node("node-1", SimulatedRuntime::new(Clock::system()))
//!     .build()?;
//! let cluster = plane.start().await?;
//! let pods: Api<Pod> = Api::default_namespaced(cluster.client());
//!
//! let pod = serde_json::from_value(serde_json::json!({
//!     "metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "any"}]},
//! }))?;
//! cluster.ready().await?;
//! pods.create(&PostParams::default(), &pod).await?;
//! kube::runtime::wait::await_condition(pods, "web", kube::runtime::wait::conditions::is_pod_running()).await?;
//!
//! cluster.stop().await;
//! # Ok(())
//! # }
//! ```

mod plane;

/// The examples of the guides, so that they are compiled.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../docs/embed.md")]
    mod embed {}
    #[doc = include_str!("../docs/swap-parts.md")]
    mod swap_parts {}
    #[doc = include_str!("../docs/security.md")]
    mod security {}
    #[doc = include_str!("../docs/observability.md")]
    mod observability {}
    #[doc = include_str!("../README.md")]
    mod readme {}
}

pub use quarterdeck_agent as agent;
pub use quarterdeck_controllers as controllers;
pub use quarterdeck_core as core;
pub use quarterdeck_proxy as proxy;
pub use quarterdeck_registry as registry;
pub use quarterdeck_scheduler as scheduler;

pub use plane::{Cluster, ControlPlane, ControlPlaneBuilder, PlaneError, Problem};

/// What most assemblies name.
pub mod prelude {
    pub use quarterdeck_agent::runtime::SimulatedRuntime;
    pub use quarterdeck_core::balancing::LoadBalancer;
    pub use quarterdeck_core::clock::Clock;
    pub use quarterdeck_core::component::{Component, Stop};
    pub use quarterdeck_core::random::Random;
    pub use quarterdeck_core::runtime::Runtime;
    pub use quarterdeck_core::scheduling::Scheduler;
    pub use quarterdeck_core::storage::Storage;
    pub use quarterdeck_proxy::RoundRobin;
    pub use quarterdeck_registry::{ApiServer, MemoryStorage, User};
    pub use quarterdeck_scheduler::DefaultScheduler;

    pub use crate::{Cluster, ControlPlane};
}
