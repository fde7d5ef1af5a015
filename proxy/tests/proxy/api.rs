//! Services and endpoints from a real API server, in process.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{Endpoints, Event, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use quarterdeck_core::client::{Context, ObjectKey};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::random::Random;
use quarterdeck_core::runtime::{PortMapping, Protocol};
use quarterdeck_proxy::{AddressTable, Proxy, ProxyPort, RoundRobin, ServiceTable};
use quarterdeck_registry::{ApiServer, User};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Echoes, Running, answers, in_time};

/// A cluster that has an API server and a proxy, and pods whose addresses are names for echoes.
struct Cluster {
    server: ApiServer,
    proxy: Running,
    echoes: Echoes,
}

impl Cluster {
    async fn start() -> Self {
        let server = ApiServer::in_memory().await.unwrap();
        let (echoes, addresses) = (Echoes::tcp(3).await, AddressTable::new());
        let mappings = echoes.at.iter().enumerate().map(|(number, local)| PortMapping {
            protocol: Protocol::Tcp,
            pod: SocketAddr::new(pod(number).parse().unwrap(), 8080),
            local: *local,
        });
        addresses.announce("echoes", mappings);
        // The proxy may do what its own user may.
        let client = server.client_as(User::proxy());
        let context = Context::new(client, Clock::system(), Random::seeded(1));
        let proxy = Proxy::new(&context, RoundRobin::new()).addresses(addresses);
        let proxy = Running::start(ServiceTable::new(), proxy);
        in_time(proxy.ports.healthy()).await;
        Self { server, proxy, echoes }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.server.client(), "default")
    }

    async fn create_service(&self, spec: Value) -> Service {
        let service = json!({"metadata": {"name": "web"}, "spec": spec});
        let service = serde_json::from_value(service).unwrap();
        self.api().create(&PostParams::default(), &service).await.unwrap()
    }

    async fn create_slice(&self, name: &str, pods: &[usize]) {
        let endpoints: Vec<_> = pods.iter().map(|number| json!({"addresses": [pod(*number)]})).collect();
        let slice = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints,
        });
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        self.api().create(&PostParams::default(), &slice).await.unwrap();
    }

    /// Waits until the service has so many backends, and returns where the proxy answers for it.
    async fn web(&self, backends: usize) -> SocketAddr {
        let wanted = |ports: &[ProxyPort]| ports.iter().any(|port| port.backends.len() == backends);
        in_time(self.proxy.ports.wait_for(&key(), wanted)).await[0].proxy[0]
    }

    async fn stop(self) {
        self.proxy.stop().await;
        self.server.shutdown().await;
    }
}

fn pod(number: usize) -> String {
    format!("10.1.0.{}", number + 1)
}

fn key() -> ObjectKey {
    ObjectKey::new("default", "web")
}

#[tokio::test]
async fn the_proxy_follows_services_and_slices() {
    let cluster = Cluster::start().await;
    let service = cluster.create_service(json!({"ports": [{"port": 80, "targetPort": 8080}]})).await;
    cluster.create_slice("web-1", &[0, 1]).await;

    let web = cluster.web(2).await;
    assert_eq!(answers(web, 4).await, [0, 1, 0, 1]);
    let shown = cluster.proxy.ports.of(&key());
    let address = service.spec.unwrap().cluster_ip.unwrap();
    assert_eq!((shown[0].cluster_ips[0].to_string(), shown[0].port), (address, 80));

    cluster.create_slice("web-2", &[2]).await;
    assert_eq!(cluster.web(3).await, web, "the proxy port stays");
    assert_eq!(answers(web, 3).await, [2, 0, 1]);

    cluster.api::<EndpointSlice>().delete("web-1", &DeleteParams::default()).await.unwrap();
    cluster.web(1).await;
    assert_eq!(answers(web, 2).await, [2, 2]);

    cluster.api::<Service>().delete("web", &DeleteParams::default()).await.unwrap();
    in_time(cluster.proxy.ports.wait_for(&key(), <[ProxyPort]>::is_empty)).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_service_that_has_only_endpoints_works_until_it_has_slices() {
    let cluster = Cluster::start().await;
    cluster.create_service(json!({"ports": [{"port": 80, "targetPort": 8080}]})).await;
    let endpoints = json!({
        "metadata": {"name": "web"},
        "subsets": [{"addresses": [{"ip": pod(0)}, {"ip": pod(1)}], "ports": [{"port": 8080}]}],
    });
    let endpoints: Endpoints = serde_json::from_value(endpoints).unwrap();
    cluster.api().create(&PostParams::default(), &endpoints).await.unwrap();

    assert_eq!(answers(cluster.web(2).await, 2).await, [0, 1]);

    cluster.create_slice("web-1", &[2]).await;
    assert_eq!(answers(cluster.web(1).await, 2).await, [2, 2]);
    cluster.stop().await;
}

#[tokio::test]
async fn a_service_that_becomes_headless_or_another_proxys_is_left_alone() {
    let cluster = Cluster::start().await;
    cluster.create_service(json!({"ports": [{"port": 80}]})).await;
    cluster.create_slice("web-1", &[0]).await;
    cluster.web(1).await;

    let labels = json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": "mesh"}}});
    let params = PatchParams::default();
    cluster.api::<Service>().patch("web", &params, &Patch::Merge(labels)).await.unwrap();

    in_time(cluster.proxy.ports.wait_for(&key(), <[ProxyPort]>::is_empty)).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_port_that_is_taken_is_an_event_of_the_service() {
    let cluster = Cluster::start().await;
    let taken = taken_node_port().await;
    let number = taken.local_addr().unwrap().port();

    cluster.create_service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": number}]})).await;

    let told = async {
        loop {
            let events = cluster.api::<Event>().list(&Default::default()).await.unwrap();
            if let Some(event) = events.items.into_iter().next() {
                return event;
            }
            tokio::task::yield_now().await;
        }
    };
    let event = in_time(told).await;
    assert_eq!((event.reason.as_deref(), event.type_.as_deref()), (Some("PortUnavailable"), Some("Warning")));
    assert!(event.message.unwrap().starts_with(&format!("cannot open node port {number}/TCP: ")));
    assert_eq!(event.involved_object.name.as_deref(), Some("web"));
    assert!(event.involved_object.uid.is_some());
    assert_eq!(cluster.echoes.at.len(), 3);
    cluster.stop().await;
}

/// Takes a port of the range that node ports come from.
async fn taken_node_port() -> TcpListener {
    for number in 30_000..32_768 {
        if let Ok(listener) = TcpListener::bind(("0.0.0.0", number)).await {
            return listener;
        }
    }
    panic!("all node ports are taken");
}
