//! A load balancer of one's own: a client always gets the same backend: `cargo run --example custom_balancer`.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use k8s_openapi::api::core::v1::{Endpoints, Service};
use kube::api::{Api, PostParams};
use quarterdeck::core::{balancing::*, client::ObjectKey, component::BoxError, runtime::*};
use quarterdeck::prelude::*;
use quarterdeck::proxy::{AddressTable, ProxyPort};
use serde_json::{from_value, json};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug)]
struct ByClient;
impl LoadBalancer for ByClient {
    fn pick(&self, connection: &Connection<'_>, backends: &Backends) -> Option<Pick> {
        let hash = BuildHasherDefault::<DefaultHasher>::default();
        let weight = |backend: &&Backend| hash.hash_one((connection.client, backend));
        backends.as_slice().iter().max_by_key(weight).map(|backend| (*backend).into())
    }
}

/// Calls a service of two backends, a and b, four times. Returns who was reached.
async fn reached(balancer: impl LoadBalancer) -> Result<String, BoxError> {
    let (a, b) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let addresses = AddressTable::new();
    for (n, server) in [(1, &a), (2, &b)] {
        let (pod, local) = (([10, 1, 0, n], 80).into(), server.local_addr()?);
        addresses.announce(&n.to_string(), [PortMapping { protocol: Protocol::Tcp, pod, local }]);
    }
    let (tell, ports) = tokio::sync::oneshot::channel();
    let plane = ControlPlane::builder(MemoryStorage::new()).load_balancer(balancer).proxy(|proxy| {
        let _ = tell.send(proxy.ports());
        proxy.addresses(addresses)
    });
    let cluster = plane.build()?.start().await?;
    let web = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}, "subsets": [
        {"addresses": [{"ip": "10.1.0.1"}, {"ip": "10.1.0.2"}], "ports": [{"port": 80}]}]});
    let (client, new) = (cluster.client(), PostParams::default());
    Api::<Service>::default_namespaced(client.clone()).create(&new, &from_value(web.clone())?).await?;
    Api::<Endpoints>::default_namespaced(client).create(&new, &from_value(web)?).await?;
    let is_known = |ports: &[ProxyPort]| ports.iter().any(|port| port.backends.len() == 2);
    let ports = ports.await?.wait_for(&ObjectKey::new("default", "web"), is_known).await;
    let mut reached = String::new();
    for _ in 0..4 {
        let _client = TcpStream::connect(ports[0].proxy[0]).await?;
        reached.push(tokio::select! { biased; _ = a.accept() => 'a', _ = b.accept() => 'b' });
    }
    cluster.stop().await;
    Ok(reached)
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), BoxError> {
    let (turns, own) = (reached(RoundRobin::new()).await?, reached(ByClient).await?);
    println!("round robin reached {turns}, by client {own}");
    assert!(turns == "abab" && ["aaaa", "bbbb"].contains(&own.as_str()));
    Ok(())
}
