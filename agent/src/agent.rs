//! Assembling an agent, and running it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Service};
use quarterdeck_core::client::{Context, NodeMap};
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_core::quantity::Quantity;
use quarterdeck_core::runtime::Runtime;
use tokio::task::JoinSet;

use crate::figures::Figures;
use crate::host::{ClusterDns, Host, chain};
use crate::node::{Keeper, NodeSettings};
use crate::pods::Pods;
use crate::runtime::MeasuredRuntime;
use crate::server::{Answers, Listener, ServerSettings};

/// How long pods may take to end when the agent stops and is to take them along.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A node's agent: runs the pods that are bound to the node, and reports on both.
///
/// It talks to the API server through its [`Context`]'s client, which is the node's user (`system:node:NAME`) or somebody
/// with more rights. When it stops, pods go on running, and an agent that is started later takes them over without
/// restarting them; see [`end_pods_on_stop`](Self::end_pods_on_stop) for the other way.
///
/// # Examples
///
/// ```
/// use quarterdeck_agent::Agent;
/// use quarterdeck_agent::runtime::SimulatedRuntime;
/// use quarterdeck_core::client::{Context, NodeMap};
/// use quarterdeck_core::clock::Clock;
/// use quarterdeck_core::random::Random;
/// use quarterdeck_registry::{ApiServer, User};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let nodes = NodeMap::new();
/// let server = ApiServer::in_memory().await?;
/// let context = Context::new(server.client_as(User::node("node-1")), Clock::system(), Random::from_os());
///
/// let agent = Agent::new(&context, "node-1", SimulatedRuntime::default()).node_map(nodes);
/// # drop(agent);
/// # Ok(())
/// # }
/// ```
#[must_use = "an agent does nothing until it is run"]
pub struct Agent {
    context: Context,
    name: String,
    runtime: Arc<dyn Runtime>,
    root: Option<PathBuf>,
    addresses: Vec<IpAddr>,
    cluster_dns: Option<ClusterDns>,
    node: NodeSettings,
    serve: Option<ServerSettings>,
    nodes: Option<NodeMap>,
    ends_pods: bool,
    probes: Option<bool>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("name", &self.name)
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Makes an agent of the node called `name`, that runs pods through `runtime`.
    pub fn new(context: &Context, name: impl Into<String>, runtime: impl Runtime) -> Self {
        Self::new_shared(context, name, Arc::new(runtime))
    }

    /// Makes an agent of the node called `name`, that runs pods through a runtime that others hold too.
    pub fn new_shared(context: &Context, name: impl Into<String>, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            context: context.clone(),
            name: name.into(),
            runtime,
            root: None,
            addresses: Vec::new(),
            cluster_dns: None,
            node: NodeSettings {
                labels: BTreeMap::new(),
                capacity: BTreeMap::new(),
                port: None,
                status_interval: Duration::from_secs(10),
                lease_duration: Duration::from_secs(40),
            },
            serve: None,
            nodes: None,
            ends_pods: false,
            probes: None,
        }
    }

    /// Keeps volumes below this directory (default: none, and what volumes hold is worked out and written nowhere, which
    /// is enough for a [`SimulatedRuntime`](crate::runtime::SimulatedRuntime): its containers read nothing).
    pub fn root_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.root = Some(directory.into());
        self
    }

    /// Sets the node's addresses, the main one first (default: none, only the node's name is told).
    pub fn addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = addresses.into_iter().collect();
        self
    }

    /// Sets the name servers and the domain for pods with the DNS policy `ClusterFirst` (default: none, they resolve
    /// names as the host does).
    pub fn cluster_dns(
        mut self,
        servers: impl IntoIterator<Item = IpAddr>,
        domain: impl Into<String>,
    ) -> Self {
        self.cluster_dns = Some(ClusterDns { servers: servers.into_iter().collect(), domain: domain.into() });
        self
    }

    /// Tells of so much of a resource (default: what the runtime says of its machine). May be called for several.
    pub fn capacity(mut self, resource: impl Into<String>, amount: Quantity) -> Self {
        self.node.capacity.insert(resource.into(), amount);
        self
    }

    /// Gives the node labels (default: those that every node has: its host name, operating system and architecture).
    pub fn labels<K: Into<String>, V: Into<String>>(
        mut self,
        labels: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.node.labels.extend(labels.into_iter().map(|(key, value)| (key.into(), value.into())));
        self
    }

    /// Answers the API server over TLS (default: not at all).
    pub fn serve(mut self, settings: ServerSettings) -> Self {
        self.serve = Some(settings);
        self
    }

    /// Answers the API server in process, under the node's name in this map (default: not at all).
    pub fn node_map(mut self, nodes: NodeMap) -> Self {
        self.nodes = Some(nodes);
        self
    }

    /// Sets how often to look whether the node's status changed (default: 10 seconds).
    pub fn status_interval(mut self, interval: Duration) -> Self {
        self.node.status_interval = interval;
        self
    }

    /// Sets for how long the node is believed to live after a sign of life, which it gives four times as often
    /// (default: 40 seconds).
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.node.lease_duration = duration;
        self
    }

    /// Probes containers whose pods ask for that (default: yes, unless the runtime is a
    /// [`SimulatedRuntime`](crate::runtime::SimulatedRuntime), whose addresses lead nowhere). Without, a pod that asks for
    /// probes is refused with an event.
    pub fn probes(mut self, probes: bool) -> Self {
        self.probes = Some(probes);
        self
    }

    /// Ends the node's pods when the agent stops, within 5 seconds (default: they go on running).
    pub fn end_pods_on_stop(mut self, ends: bool) -> Self {
        self.ends_pods = ends;
        self
    }
}

#[async_trait]
impl Component for Agent {
    fn name(&self) -> String {
        format!("agent of {}", self.name)
    }

    async fn run(mut self: Box<Self>, stop: Stop) -> Result<(), BoxError> {
        let listener = match self.serve.take() {
            Some(settings) => Some(Listener::bind(settings).await?),
            None => None,
        };
        self.node.port = listener.as_ref().map(Listener::port);
        let figures = Arc::new(Figures::new(&self.context.metrics));
        figures.node(&self.name);
        let host = Arc::new(Host {
            recorder: self.context.recorder("kubelet"),
            pods: self.context.informers.selected::<Pod>(Host::selector(&self.name)),
            services: self.context.informers.of::<Service>(),
            name: self.name,
            runtime: Arc::new(MeasuredRuntime::new(self.runtime, &self.context.metrics)),
            addresses: self.addresses,
            root: self.root,
            probes: self.probes,
            cluster_dns: self.cluster_dns,
            info: RwLock::new(None),
            problem: Arc::new(Mutex::new(None)),
            figures,
            context: self.context,
        });
        match host.runtime.info().await {
            Ok(info) => host.set_info(info),
            Err(error) => host.set_problem(Some(format!("container runtime is down: {}", chain(&error)))),
        }
        let problem = host.problem.clone();
        host.context.health.ready("container-runtime", move || {
            problem.lock().expect("no holder panics").clone().map_or(Ok(()), Err)
        });
        let answers = Answers::new(host.clone());
        let _registered = self.nodes.map(|nodes| Registered::new(nodes, &host.name, &answers));
        let mut tasks = JoinSet::new();
        tasks.spawn(Keeper::new(host.clone(), self.node).run(stop.clone()));
        if let Some(listener) = listener {
            tasks.spawn(listener.run(answers, stop.clone()));
        }
        tasks.spawn(Pods::new(host.clone()).run(stop, self.ends_pods.then_some(END_WITHIN)));
        while let Some(ended) = tasks.join_next().await {
            if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
                std::panic::resume_unwind(panic);
            }
        }
        host.recorder.finish().await;
        if let Err(error) = host.runtime.close().await {
            tracing::warn!(%error, "the runtime kept what it holds besides pods");
        }
        Ok(())
    }
}

/// An agent's place in a map of nodes, for as long as this lives.
struct Registered {
    nodes: NodeMap,
    name: String,
}

impl Registered {
    fn new(nodes: NodeMap, name: &str, answers: &Answers) -> Self {
        nodes.register(name, answers.service());
        Self { nodes, name: name.to_owned() }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.nodes.unregister(&self.name);
    }
}
