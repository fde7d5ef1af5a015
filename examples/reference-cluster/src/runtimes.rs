//! What runs the reference cluster's containers.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use ipnet::Ipv4Net;
use quarterdeck_agent::runtime::{DockerRuntime, ProcessRuntime, SimulatedRuntime};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::runtime::{Runtime, RuntimeInfo};

use crate::cli::RuntimeKind;
use crate::error::{Failure, Result};

/// A runtime that answers.
pub(crate) struct Opened {
    /// The runtime.
    pub(crate) runtime: Arc<dyn Runtime>,
    /// What it says of itself.
    pub(crate) info: RuntimeInfo,
}

/// Opens the runtime of a node. `number` tells the nodes of this machine apart, from 1.
pub(crate) async fn open(kind: RuntimeKind, node: &str, number: u16, data: &Path) -> Result<Opened> {
    match kind {
        RuntimeKind::Simulated => {
            let network = pod_network(number)?;
            ask(SimulatedRuntime::builder().clock(Clock::system()).pod_cidr(network).build()).await
        }
        RuntimeKind::Docker => ask(docker(node, data)).await.map_err(|error| {
            Failure::new(format!("{error}; start the Docker engine, or choose --runtime process"))
        }),
        RuntimeKind::Process => ask(process(node, number, data)?).await,
        RuntimeKind::Auto => match ask(docker(node, data)).await {
            Ok(docker) => Ok(docker),
            Err(_) => ask(process(node, number, data)?).await,
        },
    }
}

/// Clusters on one engine have nodes of the same names: what they keep, and where, tells them apart.
fn docker(node: &str, data: &Path) -> DockerRuntime {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    DockerRuntime::new(format!("{node} of {}", data.display()))
}

fn process(node: &str, number: u16, data: &Path) -> Result<ProcessRuntime> {
    let network = pod_network(number)?;
    Ok(ProcessRuntime::builder(data.join(node).join("runtime")).pod_cidr(network).build())
}

/// Returns the network of a node's pods: each node of this machine has one of its own.
fn pod_network(number: u16) -> Result<Ipv4Net> {
    let [high, low] = number.to_be_bytes();
    let address = Ipv4Addr::new(10, 244_u8.saturating_add(high), low, 0);
    Ipv4Net::new(address, 24).map_err(|error| Failure::because("no network for pods", &error))
}

async fn ask(runtime: impl Runtime) -> Result<Opened> {
    let info = runtime.info().await;
    let info = info.map_err(|error| Failure::because("the container runtime does not answer", &error))?;
    Ok(Opened { runtime: Arc::new(runtime), info })
}
