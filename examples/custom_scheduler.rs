//! A scheduler of one's own: the node with the fewest pods, among those that a pod fits: `cargo run --example custom_scheduler`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::runtime::wait::{await_condition, conditions::is_pod_running};
use quarterdeck::ControlPlaneBuilder;
use quarterdeck::core::component::BoxError;
use quarterdeck::core::scheduling::{Decision, PodInfo, Snapshot};
use quarterdeck::prelude::*;
use quarterdeck::scheduler::filters;
use serde_json::json;

#[derive(Debug)]
struct FewestPods;

impl Scheduler for FewestPods {
    fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision {
        match filters::feasible(pod, cluster).into_iter().min_by_key(|node| node.pods().len()) {
            Some(node) => Decision::Bind(node.id()),
            None => Decision::Unschedulable(filters::refusals(pod, cluster)),
        }
    }
}

/// Runs four pods on a large and a small node. Returns how many each node got.
async fn spread(plane: ControlPlaneBuilder) -> Result<BTreeMap<String, usize>, BoxError> {
    let node = |cpu| SimulatedRuntime::builder().capacity(cpu, 64 << 30, 110).build();
    let cluster = plane.node("large", node(64_000)).node("small", node(4_000)).build()?.start().await?;
    cluster.ready().await?;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let mut counts = BTreeMap::new();
    for name in ["a", "b", "c", "d"] {
        let container = json!({"name": "main", "image": "any", "resources": {"requests": {"cpu": "500m"}}});
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [container]}});
        let pod = serde_json::from_value(pod)?;
        pods.create(&PostParams::default(), &pod).await?;
        let pod = await_condition(pods.clone(), name, is_pod_running()).await?;
        *counts.entry(pod.and_then(|pod| pod.spec?.node_name).unwrap_or_default()).or_default() += 1;
    }
    cluster.stop().await;
    Ok(counts)
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), BoxError> {
    let default = spread(ControlPlane::builder(MemoryStorage::new())).await?;
    let own = spread(ControlPlane::builder(MemoryStorage::new()).scheduler(FewestPods)).await?;

    println!("the default scheduler: {default:?}; the one with the fewest pods: {own:?}");
    assert_eq!(default, BTreeMap::from([("large".into(), 4)]), "it prefers what is least in use");
    assert_eq!(own, BTreeMap::from([("large".into(), 2), ("small".into(), 2)]));
    Ok(())
}
