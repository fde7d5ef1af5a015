//! A cluster of one node: an API server, an agent with a simulated runtime, and what tests ask of them.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, LogParams, PostParams};
use quarterdeck_agent::Agent;
use quarterdeck_agent::runtime::simulated::{SimulatedBuilder, SimulatedRuntime};
use quarterdeck_core::client::{Context, NodeMap};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{Component, Stop, StopSignal};
use quarterdeck_core::random::Random;
use quarterdeck_core::runtime::PodUid;
use quarterdeck_registry::storage::MemoryStorage;
use quarterdeck_registry::tls::ServiceAccountKey;
use quarterdeck_registry::{ApiServer, User};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

pub const NODE: &str = "node-1";

pub struct Bench {
    pub server: ApiServer,
    pub client: Client,
    pub runtime: SimulatedRuntime,
    pub clock: Clock,
    pub nodes: NodeMap,
    agent: Option<(StopSignal, JoinHandle<()>)>,
}

impl Bench {
    /// Starts an API server and describes a node; no agent runs yet.
    pub async fn idle(describe: impl FnOnce(SimulatedBuilder) -> SimulatedBuilder) -> Self {
        let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
        let nodes = NodeMap::new();
        let server = ApiServer::builder(MemoryStorage::new())
            .clock(clock.clone())
            .random(Random::seeded(1))
            .node_connector(nodes.clone())
            .token_issuer(ServiceAccountKey::new().unwrap())
            .start()
            .await
            .unwrap();
        let client = server.client();
        let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
        let account = json!({"metadata": {"name": "default"}, "automountServiceAccountToken": false});
        accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
        let runtime = describe(SimulatedRuntime::builder().clock(clock.clone())).build();
        Self { server, client, runtime, clock, nodes, agent: None }
    }

    /// Starts an API server, and an agent of a node as described.
    pub async fn new(describe: impl FnOnce(SimulatedBuilder) -> SimulatedBuilder) -> Self {
        let mut bench = Self::idle(describe).await;
        bench.start(|agent| agent);
        bench
    }

    /// Starts an agent, with the rights of its node.
    pub fn start(&mut self, change: impl FnOnce(Agent) -> Agent) {
        let client = self.server.client_as(User::node(NODE));
        let context = Context::new(client, self.clock.clone(), Random::seeded(2));
        let agent = Agent::new(&context, NODE, self.runtime.clone())
            .addresses(["192.168.1.7".parse().unwrap()])
            .node_map(self.nodes.clone());
        let agent = change(agent);
        let (signal, stop) = Stop::channel();
        let task = tokio::spawn(async move { Box::new(agent).run(stop).await.unwrap() });
        self.agent = Some((signal, task));
    }

    /// Stops the agent.
    pub async fn stop(&mut self) {
        let (signal, task) = self.agent.take().unwrap();
        signal.stop();
        task.await.unwrap();
    }

    /// Drops the agent as if its process was killed.
    pub async fn kill(&mut self) {
        let (_signal, task) = self.agent.take().unwrap();
        task.abort();
        let _ = task.await;
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    /// Creates a pod that is bound to the node: its name, and what its spec says beside a container `main`.
    pub async fn create(&self, name: &str, spec: Value) -> PodUid {
        let mut pod = json!({
            "metadata": {"name": name},
            "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "app:v1"}]},
        });
        merge(&mut pod["spec"], spec);
        let pod =
            self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        pod.metadata.uid.unwrap().into()
    }

    pub async fn status(&self, name: &str) -> Value {
        json!(self.pods().get(name).await.unwrap().status)
    }

    /// Waits until the pod's status is as `is` wants it.
    pub async fn until(&self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut status = Value::Null;
        for _ in 0..10_000 {
            status = self.status(name).await;
            if is(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the pod never got there: {status:#}");
    }

    pub async fn until_phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, |status| status["phase"] == phase).await
    }

    /// Waits until the API does not have the pod any more, and returns how long that took.
    pub async fn until_gone(&self, name: &str) -> Duration {
        let begun = tokio::time::Instant::now();
        for _ in 0..10_000 {
            if self.pods().get_opt(name).await.unwrap().is_none() {
                return begun.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the pod is still there");
    }

    pub async fn delete(&self, name: &str) {
        self.pods().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Returns the messages of events with this reason.
    pub async fn events(&self, reason: &str) -> Vec<String> {
        let events: Api<Event> = Api::default_namespaced(self.client.clone());
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let wanted = events.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
        wanted.map(|event| event.message.unwrap_or_default()).collect()
    }

    /// Waits for an event with this reason and returns its message.
    pub async fn until_event(&self, reason: &str) -> String {
        for _ in 0..10_000 {
            if let Some(message) = self.events(reason).await.into_iter().next() {
                return message;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("there is no event {reason}");
    }

    pub async fn logs(&self, name: &str, params: &LogParams) -> kube::Result<String> {
        self.pods().logs(name, params).await
    }
}

pub fn condition<'a>(status: &'a Value, name: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == name).unwrap_or(&Value::Null)
}

fn merge(target: &mut Value, source: Value) {
    for (key, value) in source.as_object().unwrap() {
        target[key] = value.clone();
    }
}
