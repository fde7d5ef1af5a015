//! Assembling a control plane from its parts, and running it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderValue, Request};
use kube::Client;
use kube::client::Body;
use quarterdeck_agent::Agent;
use quarterdeck_controllers as controllers;
use quarterdeck_core::balancing::LoadBalancer;
use quarterdeck_core::client::{Context, MeasuredLayer, NodeMap};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{Component, Ended, Stop, StopSignal, Supervisor};
use quarterdeck_core::random::Random;
use quarterdeck_core::runtime::Runtime;
use quarterdeck_core::scheduling::Scheduler;
use quarterdeck_core::storage::Storage;
use quarterdeck_proxy::{AddressTable, Proxy};
use quarterdeck_registry::{ApiServer, ApiServerBuilder, StartError, User};
use quarterdeck_scheduler::SchedulerDriver;
use tokio::task::JoinSet;
use tower::{Layer as _, ServiceExt as _};

type Make = Box<dyn FnOnce(&Context) -> Box<dyn Component> + Send>;
type ConfigureAgent = Box<dyn Fn(&str, Agent) -> Agent + Send>;
type ConfigureProxy = Box<dyn FnOnce(Proxy) -> Proxy + Send>;
type Configure = Box<dyn FnOnce(ApiServerBuilder) -> ApiServerBuilder + Send>;

/// A control plane, assembled and not yet started.
pub struct ControlPlane {
    builder: ControlPlaneBuilder,
}

/// What a control plane is assembled from. Everything but the store has a default.
#[must_use = "a builder does nothing until it is built"]
pub struct ControlPlaneBuilder {
    storage: Arc<dyn Storage>,
    clock: Clock,
    random: Option<Random>,
    server: Vec<Configure>,
    schedulers: Vec<(String, Box<dyn Scheduler>)>,
    runs_scheduler: bool,
    runs_controllers: bool,
    controllers: Vec<(User, Make)>,
    nodes: Vec<(String, Arc<dyn Runtime>)>,
    balancer: Option<Arc<dyn LoadBalancer>>,
    agents: Option<ConfigureAgent>,
    proxy: Option<ConfigureProxy>,
    controller_options: controllers::Options,
}

/// Why a control plane cannot be built or started, or why it ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaneError {
    /// The parts do not fit together: everything that is wrong with them.
    #[error("the parts do not fit together: {}", list(.0))]
    Assembly(Vec<Problem>),
    /// The API server did not start.
    #[error("the API server did not start")]
    Server(#[from] StartError),
    /// A part ended before it was told to.
    #[error("{0}")]
    Part(Ended),
    /// The API server ended before the cluster was ready.
    #[error("the API server ended before the cluster was ready")]
    NeverReady,
}

/// What is wrong with an assembly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Two nodes have the same name.
    #[error("two nodes are called {0:?}")]
    TwoNodes(String),
    /// Two schedulers have the same name.
    #[error("two schedulers are called {0:?}")]
    TwoSchedulers(String),
    /// A scheduler was given, and none is to run.
    #[error("there is a scheduler, and `without_scheduler`: leave one out")]
    IdleScheduler,
    /// The proxy was set up, and none is to run.
    #[error("`proxy` sets up a proxy that is not there: give it a `load_balancer`")]
    NoProxy,
    /// Agents were set up, and there are none.
    #[error("`agents` sets up agents, and there is no `node`")]
    NoAgents,
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<&str> = self.builder.nodes.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ControlPlane").field("nodes", &nodes).finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Assembles a control plane over a store.
    pub fn builder(storage: impl Storage) -> ControlPlaneBuilder {
        Self::builder_shared(Arc::new(storage))
    }

    /// Assembles a control plane over a store that others hold too.
    pub fn builder_shared(storage: Arc<dyn Storage>) -> ControlPlaneBuilder {
        ControlPlaneBuilder {
            storage,
            clock: Clock::system(),
            random: None,
            server: Vec::new(),
            schedulers: Vec::new(),
            runs_scheduler: true,
            runs_controllers: true,
            controllers: Vec::new(),
            nodes: Vec::new(),
            balancer: None,
            agents: None,
            proxy: None,
            controller_options: controllers::Options::default(),
        }
    }
}

impl ControlPlaneBuilder {
    /// Sets the clock (default: the system's).
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the randomness (default: seeded by the operating system).
    pub fn random(mut self, random: Random) -> Self {
        self.random = Some(random);
        self
    }

    /// Sets up the API server further (default: as [`ApiServer::builder`] has it).
    pub fn api_server(
        mut self,
        configure: impl FnOnce(ApiServerBuilder) -> ApiServerBuilder + Send + 'static,
    ) -> Self {
        self.server.push(Box::new(configure));
        self
    }

    /// Sets the scheduler of pods that name none (default: `DefaultScheduler`).
    pub fn scheduler(self, scheduler: impl Scheduler) -> Self {
        self.named_scheduler("default-scheduler", scheduler)
    }

    /// Adds the scheduler of pods that name it in `spec.schedulerName`.
    pub fn named_scheduler(mut self, name: impl Into<String>, scheduler: impl Scheduler) -> Self {
        self.schedulers.push((name.into(), Box::new(scheduler)));
        self
    }

    /// Runs no scheduler (default: one runs).
    pub fn without_scheduler(mut self) -> Self {
        self.runs_scheduler = false;
        self
    }

    /// Runs none of the default controllers (default: all run).
    pub fn without_controllers(mut self) -> Self {
        self.runs_controllers = false;
        self
    }

    /// Sets up the default controllers further (default: as their [`Options`](controllers::Options) have it).
    pub fn controller_options(mut self, options: controllers::Options) -> Self {
        self.controller_options = options;
        self
    }

    /// Adds a controller, or any other component that talks to the API, as an administrator.
    pub fn controller<C: Component>(self, make: impl FnOnce(&Context) -> C + Send + 'static) -> Self {
        self.controller_as(User::admin(), make)
    }

    /// Adds a controller, or any other component that talks to the API, as this user: it may do what the authorizers let
    /// them.
    pub fn controller_as<C: Component>(
        mut self,
        user: User,
        make: impl FnOnce(&Context) -> C + Send + 'static,
    ) -> Self {
        self.controllers.push((user, Box::new(|context| Box::new(make(context)))));
        self
    }

    /// Adds a node whose pods this runtime runs (default: there are no nodes).
    pub fn node(self, name: impl Into<String>, runtime: impl Runtime) -> Self {
        self.node_shared(name, Arc::new(runtime))
    }

    /// Adds a node whose pods run by a runtime that others hold too.
    pub fn node_shared(mut self, name: impl Into<String>, runtime: Arc<dyn Runtime>) -> Self {
        self.nodes.push((name.into(), runtime));
        self
    }

    /// Adds the node `node-1`, whose pods this runtime runs.
    pub fn runtime(self, runtime: impl Runtime) -> Self {
        self.node("node-1", runtime)
    }

    /// Runs a service proxy that balances by this (default: there is no proxy).
    pub fn load_balancer(mut self, balancer: impl LoadBalancer) -> Self {
        self.balancer = Some(Arc::new(balancer));
        self
    }

    /// Sets up the nodes' agents further (default: as `Agent::new` has them; their pods end with the control plane). The
    /// function gets each node's name.
    pub fn agents(mut self, configure: impl Fn(&str, Agent) -> Agent + Send + 'static) -> Self {
        self.agents = Some(Box::new(configure));
        self
    }

    /// Sets up the service proxy further (default: as `Proxy::new` has it).
    pub fn proxy(mut self, configure: impl FnOnce(Proxy) -> Proxy + Send + 'static) -> Self {
        self.proxy = Some(Box::new(configure));
        self
    }

    /// Checks the assembly.
    ///
    /// # Errors
    ///
    /// [`PlaneError::Assembly`] with every problem found.
    pub fn build(self) -> Result<ControlPlane, PlaneError> {
        let mut problems: Vec<Problem> =
            twice(self.nodes.iter().map(|(name, _)| name)).into_iter().map(Problem::TwoNodes).collect();
        let schedulers = twice(self.schedulers.iter().map(|(name, _)| name));
        problems.extend(schedulers.into_iter().map(Problem::TwoSchedulers));
        problems.extend(
            [
                (!self.runs_scheduler && !self.schedulers.is_empty()).then_some(Problem::IdleScheduler),
                (self.proxy.is_some() && self.balancer.is_none()).then_some(Problem::NoProxy),
                (self.agents.is_some() && self.nodes.is_empty()).then_some(Problem::NoAgents),
            ]
            .into_iter()
            .flatten(),
        );
        if problems.is_empty() {
            Ok(ControlPlane { builder: self })
        } else {
            Err(PlaneError::Assembly(problems))
        }
    }
}

/// Returns the names that occur more than once.
fn twice<'a>(names: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).cloned().collect()
}

/// A control plane that runs. Dropping it ends it without ceremony; [`stop`](Cluster::stop) lets its parts tidy up.
pub struct Cluster {
    server: ApiServer,
    signal: StopSignal,
    parts: JoinSet<Vec<Ended>>,
    /// How the parts ended, if they did.
    last: Option<Vec<Ended>>,
    nodes: usize,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("server", &self.server).finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Starts the control plane in tasks of the present runtime.
    ///
    /// # Errors
    ///
    /// [`PlaneError::Server`] if the API server does not start.
    pub async fn start(self) -> Result<Cluster, PlaneError> {
        let builder = self.builder;
        let random = builder.random.clone().unwrap_or_else(Random::from_os);
        let map = NodeMap::new();
        let mut server = ApiServer::builder_shared(builder.storage.clone())
            .clock(builder.clock.clone())
            .random(random.fork("registry"))
            .node_connector(map.clone());
        for configure in builder.server {
            server = configure(server);
        }
        let server = server.start().await?;
        let parts = Parts { server: &server, clock: builder.clock, random, map };
        let mut supervisor = Supervisor::new();
        if builder.runs_controllers {
            let context = parts.controllers();
            for controller in controllers::all(&context, builder.controller_options) {
                supervisor.push(controller);
            }
        }
        for (user, make) in builder.controllers {
            supervisor.push(make(&parts.context_of(user)));
        }
        if builder.runs_scheduler {
            supervisor.push(Box::new(parts.scheduler(builder.schedulers)));
        }
        let nodes = builder.nodes.len();
        let addresses = AddressTable::new();
        for (name, runtime) in builder.nodes {
            if builder.balancer.is_some() {
                supervisor.push(Box::new(addresses.follow(runtime.clone())));
            }
            let agent = parts.agent(&name, runtime);
            let configured = match &builder.agents {
                Some(configure) => configure(&name, agent),
                None => agent,
            };
            supervisor.push(Box::new(configured));
        }
        if let Some(balancer) = builder.balancer {
            let proxy = parts.proxy(balancer).addresses(addresses);
            let configured = match builder.proxy {
                Some(configure) => configure(proxy),
                None => proxy,
            };
            supervisor.push(Box::new(configured));
        }
        let (signal, stop) = Stop::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(supervisor.run(stop));
        Ok(Cluster { server, signal, parts: tasks, last: None, nodes })
    }

    /// Runs the control plane until `shutdown` completes.
    ///
    /// # Errors
    ///
    /// [`PlaneError`] if it does not start, or if a part ends before it is told to; then the others are stopped.
    pub async fn run_until(self, shutdown: impl Future) -> Result<(), PlaneError> {
        let mut cluster = self.start().await?;
        let ended_first = tokio::select! {
            biased;
            () = cluster.ended() => true,
            _ = shutdown => false,
        };
        let ended = cluster.stop().await;
        match ended.into_iter().next() {
            Some(first) if ended_first => Err(PlaneError::Part(first)),
            _ => Ok(()),
        }
    }
}

impl Cluster {
    /// Returns a client of the API server, in process, as an administrator.
    #[must_use]
    pub fn client(&self) -> Client {
        self.server.client()
    }

    /// Returns the API server.
    #[must_use]
    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// Waits until the cluster can take pods: its namespaces have their service accounts, and its nodes are ready.
    ///
    /// # Errors
    ///
    /// [`PlaneError::NeverReady`] if the API server ends before that.
    pub async fn ready(&self) -> Result<(), PlaneError> {
        use k8s_openapi::api::core::v1::{Node, ServiceAccount};
        use kube::Api;
        use kube::runtime::wait::await_condition;

        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.client());
        let exists = |account: Option<&ServiceAccount>| account.is_some();
        let never = |_| PlaneError::NeverReady;
        await_condition(accounts, "default", exists).await.map_err(never)?;
        let nodes: Api<Node> = Api::all(self.client());
        let mut known = self.server.registry().cache.published();
        loop {
            let list =
                nodes.list(&kube::api::ListParams::default()).await.map_err(|_| PlaneError::NeverReady)?;
            if list.items.iter().filter(|node| is_ready(node)).count() >= self.nodes {
                return Ok(());
            }
            known.changed().await.map_err(|_| PlaneError::NeverReady)?;
        }
    }

    /// Waits until a part ends by itself, and the others have been stopped for it.
    pub async fn ended(&mut self) {
        if self.last.is_none() {
            self.last = self.parts.join_next().await.and_then(Result::ok);
        }
    }

    /// Stops every part and waits for it. Returns how each ended.
    pub async fn stop(mut self) -> Vec<Ended> {
        self.signal.stop();
        self.ended().await;
        self.server.shutdown().await;
        self.last.take().unwrap_or_default()
    }
}

fn is_ready(node: &k8s_openapi::api::core::v1::Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Says of a request by which program it was sent: the accounts' names do not say so.
fn named(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("kube-controller-manager"));
    request
}

/// What the parts of one cluster share.
struct Parts<'a> {
    server: &'a ApiServer,
    clock: Clock,
    random: Random,
    map: NodeMap,
}

impl Parts<'_> {
    fn context_of(&self, user: User) -> Context {
        self.context(user, &MeasuredLayer::new(self.server.metrics(), "in-process"))
    }

    fn context(&self, user: User, measured: &MeasuredLayer) -> Context {
        let random = self.random.fork(&user.name);
        let client = Client::new(measured.layer(self.server.as_user(user)), "default");
        let context = Context::new(client, self.clock.clone(), random);
        let measured = measured.clone();
        context.health.ready("api-server", move || measured.checked());
        context.with_metrics(self.server.metrics().clone())
    }

    /// Returns the context of the default controllers, each of which acts as its own service account. Nobody needs a token for
    /// that in process, and no account has to be there.
    fn controllers(&self) -> Context {
        let measured = MeasuredLayer::new(self.server.metrics(), "in-process");
        let context = self.context(User::controllers(), &measured);
        let server = self.server.clone();
        context.with_accounts(move |account| {
            let server = server.as_user(User::service_account("kube-system", account)).map_request(named);
            Client::new(measured.layer(server), "default")
        })
    }

    fn scheduler(&self, schedulers: Vec<(String, Box<dyn Scheduler>)>) -> SchedulerDriver {
        let mut driver = SchedulerDriver::new(&self.context_of(User::scheduler()));
        for (name, scheduler) in schedulers {
            driver = driver.scheduler(&name, scheduler);
        }
        driver
    }

    fn agent(&self, name: &str, runtime: Arc<dyn Runtime>) -> Agent {
        let context = self.context_of(User::node(name));
        Agent::new_shared(&context, name, runtime).node_map(self.map.clone()).end_pods_on_stop(true)
    }

    fn proxy(&self, balancer: Arc<dyn LoadBalancer>) -> Proxy {
        Proxy::new(&self.context_of(User::proxy()), balancer)
    }
}
