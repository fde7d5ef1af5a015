//! What runs the reference cluster's containers.

use std::path::Path;
use std::sync::Arc;

use quarterdeck_agent::runtime::{DockerRuntime, ProcessRuntime, SimulatedRuntime};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::runtime::{Runtime, RuntimeInfo};

use crate::cli::RuntimeKind;
use crate::error::{Failure, Result};
use crate::pod_network;

/// A runtime that answers.
pub(crate) struct Opened {
    /// The runtime.
    pub(crate) runtime: Arc<dyn Runtime>,
    /// What it says of itself.
    pub(crate) info: RuntimeInfo,
}

/// Opens the runtime of a node, which keeps what it has to remember below `data`.
pub(crate) async fn open(kind: RuntimeKind, node: &str, data: &Path) -> Result<Opened> {
    match kind {
        RuntimeKind::Simulated => {
            let network = pod_network::of_node(node)?;
            ask(SimulatedRuntime::builder().clock(Clock::system()).pod_cidr(network).build()).await
        }
        RuntimeKind::Docker => ask(docker(node, data)).await.map_err(|error| {
            Failure::new(format!("{error}; start the Docker engine, or choose --runtime process"))
        }),
        RuntimeKind::Process => ask(process(node, data)?).await,
        RuntimeKind::Auto => match ask(docker(node, data)).await {
            Ok(docker) => Ok(docker),
            Err(_) => ask(process(node, data)?).await,
        },
    }
}

/// Clusters on one engine have nodes of the same names: what they keep, and where, tells them apart.
fn docker(node: &str, data: &Path) -> DockerRuntime {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    DockerRuntime::new(format!("{node} of {}", data.display()))
}

fn process(node: &str, data: &Path) -> Result<ProcessRuntime> {
    let network = pod_network::claim(node, data)?;
    Ok(ProcessRuntime::builder(data.join(node).join("runtime")).pod_cidr(network).build())
}

async fn ask(runtime: impl Runtime) -> Result<Opened> {
    let info = runtime.info().await;
    let info = info.map_err(|error| Failure::because("the container runtime does not answer", &error))?;
    Ok(Opened { runtime: Arc::new(runtime), info })
}
