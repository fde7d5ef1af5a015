use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quarterdeck_core::balancing::LoadBalancer;
use quarterdeck_core::client::Context;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_core::health::Health;
use quarterdeck_core::metrics::Metrics;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::address::{AddressMap, AddressTable};
use crate::balancers::MeasuredBalancer;
use crate::config::{ServiceTable, api, file};
use crate::figures::Figures;
use crate::mode::Mode;
use crate::ports::ProxyPorts;
use crate::rules::Rules;
use crate::running::{Running, ServiceRecorder};
use crate::userspace::{Settings, Userspace};
use crate::{endpoint, nftables};

/// Makes the services of a cluster work on one machine.
///
/// For each service port it opens a local port and passes connections on to the backend that the balancer picks. Where
/// these ports are, [`ports`](Proxy::ports) and the [`endpoint`](Proxy::endpoint) tell.
pub struct Proxy {
    source: Source,
    nodes: BTreeSet<String>,
    table: ServiceTable,
    balancer: Arc<dyn LoadBalancer>,
    addresses: Arc<dyn AddressMap>,
    mode: Mode,
    settings: Settings,
    listen: Option<Vec<IpAddr>>,
    rules_interval: Duration,
    endpoint: Option<Endpoint>,
    ports: ProxyPorts,
    metrics: Metrics,
    health: Health,
}

/// Where the table of proxy ports is shown.
enum Endpoint {
    Address(SocketAddr),
    Socket(std::net::TcpListener),
}

impl Endpoint {
    async fn open(self) -> Result<TcpListener, BoxError> {
        match self {
            Self::Address(address) => TcpListener::bind(address).await.map_err(|error| {
                format!("cannot listen on {address}: choose another endpoint, or stop what uses it: {error}")
                    .into()
            }),
            Self::Socket(socket) => {
                socket.set_nonblocking(true)?;
                Ok(TcpListener::from_std(socket)?)
            }
        }
    }
}

/// Where services come from.
enum Source {
    Api(Box<Context>),
    File(PathBuf),
    /// Somebody else fills the table.
    Table,
}

impl Proxy {
    /// Makes a proxy for the services that the API has.
    #[must_use]
    pub fn new(context: &Context, balancer: impl LoadBalancer) -> Self {
        Self::of(Source::Api(Box::new(context.clone())), ServiceTable::new(), balancer)
            .metrics(context.metrics.clone())
            .health(context.health.clone())
    }

    /// Makes a proxy for the services of a file: Service, EndpointSlice and Endpoints objects or lists of them, in documents
    /// of YAML or JSON. The file is read again when it changes.
    #[must_use]
    pub fn from_file(file: impl Into<PathBuf>, balancer: impl LoadBalancer) -> Self {
        Self::of(Source::File(file.into()), ServiceTable::new(), balancer)
    }

    /// Makes a proxy for the services of a table that somebody else fills.
    #[must_use]
    pub fn from_table(table: &ServiceTable, balancer: impl LoadBalancer) -> Self {
        Self::of(Source::Table, table.clone(), balancer)
    }

    fn of(source: Source, table: ServiceTable, balancer: impl LoadBalancer) -> Self {
        Self {
            source,
            nodes: BTreeSet::new(),
            table,
            balancer: Arc::new(balancer),
            addresses: Arc::new(AddressTable::new()),
            mode: Mode::Userspace,
            settings: Settings::default(),
            listen: None,
            rules_interval: Duration::from_secs(5),
            endpoint: None,
            ports: ProxyPorts::new(),
            metrics: Metrics::new(),
            health: Health::new(),
        }
    }

    /// Counts in this registry (default: the context's, or one of its own).
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Says here whether it is well, as the check `service-ports` (default: the context's health, or none that anybody sees).
    #[must_use]
    pub fn health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// Names a node that is on this machine (default: all are). Services whose traffic policy is `Local` use its backends.
    #[must_use]
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.nodes.insert(name.into());
        self
    }

    /// Sets how clients get to the proxy (default: [`Mode::Userspace`]).
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets where connections to backends go (default: to the backends' own addresses).
    #[must_use]
    pub fn addresses(mut self, addresses: impl AddressMap) -> Self {
        self.addresses = Arc::new(addresses);
        self
    }

    /// Sets the addresses at which proxy ports are opened (default: 127.0.0.1; with rules, every address of this machine,
    /// because that is where these lead to).
    #[must_use]
    pub fn listen(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.listen = Some(addresses.into_iter().collect());
        self
    }

    /// Sets how often rules are compared with what they should be (default: every 5 seconds). This is cheap as long as
    /// nobody changes any.
    #[must_use]
    pub fn rules_interval(mut self, interval: Duration) -> Self {
        self.rules_interval = interval;
        self
    }

    /// Sets the addresses at which node ports are opened (default: every address of this machine).
    #[must_use]
    pub fn node_port_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.settings.node_port_addresses = addresses.into_iter().collect();
        self
    }

    /// Answers `GET /proxy/ports` and `GET /healthz` at `address` (default: nowhere). Choose one of the loopback interface:
    /// nobody is asked who they are.
    #[must_use]
    pub fn endpoint(mut self, address: SocketAddr) -> Self {
        self.endpoint = Some(Endpoint::Address(address));
        self
    }

    /// Does what [`endpoint`](Proxy::endpoint) does, on a socket that is bound: then nothing can go wrong later.
    #[must_use]
    pub fn endpoint_on(mut self, socket: std::net::TcpListener) -> Self {
        self.endpoint = Some(Endpoint::Socket(socket));
        self
    }

    /// Sets how long one backend may take to accept a connection before another is tried (default: 2 seconds).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets for how long a client of a UDP service keeps its flow after its last datagram (default: 60 seconds).
    #[must_use]
    pub fn udp_idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.udp_idle_timeout = timeout;
        self
    }

    /// Sets how long connections of a service that is gone may take to end (default: 30 seconds).
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain = timeout;
        self
    }

    /// Sets how many connections and UDP flows there are at most (default: a quarter of the files that this process may have
    /// open, up to 16,384). Connections above that wait; datagrams of clients above that are dropped.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.connections = connections;
        self
    }

    /// Returns the table of proxy ports, which this proxy keeps current while it runs.
    #[must_use]
    pub fn ports(&self) -> ProxyPorts {
        self.ports.clone()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("balancer", &self.balancer)
            .field("mode", &self.mode)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Component for Proxy {
    fn name(&self) -> String {
        "proxy".into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let mut settings = self.settings;
        let rules = match &self.mode {
            Mode::Userspace => None,
            Mode::Nftables { table } => {
                settings.mark = Some(nftables::MARK);
                settings.own_families_only = self.listen.is_none();
                settings.listen = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
                Some(Rules::new(table, self.rules_interval)?)
            }
        };
        settings.listen = self.listen.unwrap_or(settings.listen);
        let mut tasks = JoinSet::new();
        if let Some(endpoint) = self.endpoint {
            let listener = endpoint.open().await?;
            self.ports.set_endpoint(listener.local_addr()?);
            tasks.spawn(endpoint::serve(listener, self.ports.clone()));
        }
        let recorder = match &self.source {
            Source::Api(context) => Some(ServiceRecorder::new(context)),
            Source::File(_) | Source::Table => None,
        };
        let clock = match &self.source {
            Source::Api(context) => context.clock.clone(),
            Source::File(_) | Source::Table => Clock::system(),
        };
        let figures = Figures::new(&self.metrics, clock);
        let ports = self.ports.clone();
        self.health.ready("service-ports", move || ports.checked());
        let fed = feed(self.source, self.nodes, self.table.clone());
        let balancer = Arc::new(MeasuredBalancer::new(self.balancer, &self.metrics));
        let userspace = Userspace::new(settings, balancer, self.addresses);
        let mut running = Running::new(self.table, userspace, rules, self.ports, recorder, figures);
        let work = async {
            tokio::select! {
                biased;
                error = fed => error,
                error = running.follow() => error,
            }
        };
        let ended = stop.or(work).await;
        running.shutdown().await;
        tasks.shutdown().await;
        ended.map_or(Ok(()), Err)
    }
}

/// Fills the table, for ever, or returns why it cannot.
async fn feed(source: Source, nodes: BTreeSet<String>, table: ServiceTable) -> BoxError {
    match source {
        Source::Api(context) => match api::follow(*context, nodes, table).await {
            None => "the queue of services was shut down".into(),
        },
        Source::File(file) => match file::follow(&file, &nodes, &table).await {
            Err(error) => error.into(),
        },
        Source::Table => std::future::pending().await,
    }
}

/// Returns an error's message and those of its causes.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |reason, cause| format!("{reason}: {cause}"))
}
