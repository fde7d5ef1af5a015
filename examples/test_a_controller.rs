//! Testing a controller made with kube-rs, in virtual time, against a whole cluster with simulated nodes.
//!
//! The controller gives every deployment labelled `exposed: "true"` a service, and takes it along when the deployment
//! goes. The test needs no binaries, no ports and no waiting: `cargo test --example test_a_controller`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::wait::await_condition;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use quarterdeck::prelude::*;
use serde_json::json;

/// Makes the service of a deployment, unless it is there.
async fn reconcile(deployment: Arc<Deployment>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let namespace = deployment.namespace().unwrap_or_default();
    let services: Api<Service> = Api::namespaced(Client::clone(&client), &namespace);
    let name = deployment.name_any();
    if services.get_opt(&name).await?.is_none() {
        let service = json!({
            "metadata": {"name": name, "ownerReferences": [deployment.controller_owner_ref(&())]},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
        });
        let service = serde_json::from_value(service).map_err(kube::Error::SerdeError)?;
        services.create(&PostParams::default(), &service).await?;
    }
    Ok(Action::await_change())
}

/// Has what failed tried again.
fn retry(_: Arc<Deployment>, error: &kube::Error, _: Arc<Client>) -> Action {
    eprintln!("{error}");
    Action::requeue(Duration::from_secs(5))
}

/// Runs the controller for as long as its watches live.
#[expect(clippy::disallowed_methods, reason = "users make controllers in this way")]
async fn control(client: Client) {
    let exposed = watcher::Config::default().labels("exposed=true");
    Controller::new(Api::<Deployment>::all(client.clone()), exposed)
        .owns(Api::<Service>::all(client.clone()), watcher::Config::default())
        .run(reconcile, retry, Arc::new(client))
        .for_each(async |_| {})
        .await;
}

/// Creates a deployment in a cluster with the controller, sees its service get the pods' addresses, and deletes it.
async fn scenario(clock: Clock) -> Result<(), Box<dyn Error>> {
    let node = SimulatedRuntime::new(clock.clone());
    let plane = ControlPlane::builder(MemoryStorage::new()).clock(clock).node("node-1", node);
    let cluster = plane.build()?.start().await?;
    cluster.ready().await?;
    let mut controller = tokio::task::JoinSet::new();
    controller.spawn(control(cluster.client()));
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let services: Api<Service> = Api::default_namespaced(cluster.client());
    let endpoints: Api<Endpoints> = Api::default_namespaced(cluster.client());

    let deployment = json!({
        "metadata": {"name": "web", "labels": {"exposed": "true"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "any"}]},
        }},
    });
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
    await_condition(endpoints, "web", |endpoints: Option<&Endpoints>| addresses(endpoints) == 2).await?;

    deployments.delete("web", &DeleteParams::background()).await?;
    await_condition(services, "web", |service: Option<&Service>| service.is_none()).await?;

    controller.shutdown().await;
    cluster.stop().await;
    Ok(())
}

/// Counts the addresses of pods that are ready.
fn addresses(endpoints: Option<&Endpoints>) -> usize {
    let subsets = endpoints.and_then(|endpoints| endpoints.subsets.as_ref()).into_iter().flatten();
    subsets.map(|subset| subset.addresses.as_ref().map_or(0, Vec::len)).sum()
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    scenario(Clock::system()).await?;
    println!("the deployment got a service, the service got the addresses of its pods, and went with it");
    Ok(())
}

#[cfg(test)]
#[tokio::test(start_paused = true)]
async fn a_service_comes_and_goes_with_its_deployment() {
    let start = "2026-01-01T00:00:00Z".parse().unwrap();
    scenario(Clock::following_tokio(start)).await.unwrap();
}
