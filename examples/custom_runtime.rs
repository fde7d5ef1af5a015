//! A runtime of one's own: another runtime, that runs only images of one registry: `cargo run --example custom_runtime`.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams, runtime::wait};
use quarterdeck::core::{component::BoxError, runtime::*};
use quarterdeck::prelude::*;
use serde_json::json;
use tokio::time::Duration;

#[derive(Debug)]
struct OnlyFrom<R>(&'static str, R);
#[async_trait::async_trait]
impl<R: Runtime> Runtime for OnlyFrom<R> {
    async fn start_container(&self, pod: &PodUid, spec: &ContainerSpec) -> Result<Started, RuntimeError> {
        if !spec.image.starts_with(self.0) {
            let what = format!("image {}: this node runs images of {} only", spec.image, self.0);
            return Err(RuntimeError::Unsupported { what });
        }
        self.1.start_container(pod, spec).await
    }
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        self.1.info().await
    }
    async fn pods(&self) -> Result<Vec<PodStatus>, RuntimeError> {
        self.1.pods().await
    }
    async fn start_pod(&self, pod: &PodSandbox) -> Result<PodStatus, RuntimeError> {
        self.1.start_pod(pod).await
    }
    async fn stop_container(&self, container: &ContainerKey, grace: Duration) -> Result<(), RuntimeError> {
        self.1.stop_container(container, grace).await
    }
    async fn remove_pod(&self, pod: &PodUid) -> Result<(), RuntimeError> {
        self.1.remove_pod(pod).await
    }
    async fn events(&self) -> Result<Events, RuntimeError> {
        self.1.events().await
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), BoxError> {
    let runtime = OnlyFrom("example.org/", SimulatedRuntime::default());
    let cluster = ControlPlane::builder(MemoryStorage::new()).runtime(runtime).build()?.start().await?;
    cluster.ready().await?;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    for (name, image) in [("ours", "example.org/web:v1"), ("theirs", "example.com/web:v1")] {
        let pod =
            json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "m", "image": image}]}});
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    }
    wait::await_condition(pods.clone(), "ours", wait::conditions::is_pod_running()).await?;
    let why =
        |p: Option<&Pod>| json!(p).pointer("/status/containerStatuses/0/state/waiting/message").cloned();
    let refused = wait::await_condition(pods, "theirs", |pod: Option<&Pod>| why(pod).is_some()).await?;
    println!("ours runs; theirs waits: {:?}", why(refused.as_ref()));
    cluster.stop().await;
    Ok(())
}
