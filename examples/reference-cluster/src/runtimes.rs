//! What runs the reference cluster's containers.

use std::path::Path;
use std::sync::Arc;

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
        RuntimeKind::Simulated => ask(SimulatedRuntime::new(Clock::system())).await,
        RuntimeKind::Docker => ask(DockerRuntime::new(node)).await.map_err(|error| {
            Failure::new(format!("{error}; start the Docker engine, or choose --runtime process"))
        }),
        RuntimeKind::Process => ask(process(node, number, data)?).await,
        RuntimeKind::Auto => match ask(DockerRuntime::new(node)).await {
            Ok(docker) => Ok(docker),
            Err(_) => ask(process(node, number, data)?).await,
        },
    }
}

fn process(node: &str, number: u16, data: &Path) -> Result<ProcessRuntime> {
    let [high, low] = number.to_be_bytes();
    let network = format!("10.{}.{low}.0/24", 244_u8.saturating_add(high));
    let network = network.parse().map_err(|_| Failure::new(format!("{network} is no network for pods")))?;
    Ok(ProcessRuntime::builder(data.join(node).join("runtime")).pod_cidr(network).build())
}

async fn ask(runtime: impl Runtime) -> Result<Opened> {
    let info = runtime.info().await;
    let info = info.map_err(|error| Failure::because("the container runtime does not answer", &error))?;
    Ok(Opened { runtime: Arc::new(runtime), info })
}
