use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Service;
use quarterdeck_core::balancing::{Backends, LoadBalancer};
use quarterdeck_core::client::{Context, EventType, Informer, ObjectKey, Recorder};
use quarterdeck_core::component::{BoxError, Component, Stop};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::address::{AddressMap, AddressTable};
use crate::config::{ServicePortConfig, ServiceTable, api, file};
use crate::endpoint;
use crate::ports::{Health, ProxyPort, ProxyPorts};
use crate::userspace::{BindError, Scope, Settings, Userspace};

/// How long until something that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(10);

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
    settings: Settings,
    endpoint: Option<SocketAddr>,
    ports: ProxyPorts,
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
            settings: Settings::default(),
            endpoint: None,
            ports: ProxyPorts::new(),
        }
    }

    /// Names a node that is on this machine (default: all are). Services whose traffic policy is `Local` use its backends.
    #[must_use]
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.nodes.insert(name.into());
        self
    }

    /// Sets where connections to backends go (default: to the backends' own addresses).
    #[must_use]
    pub fn addresses(mut self, addresses: impl AddressMap) -> Self {
        self.addresses = Arc::new(addresses);
        self
    }

    /// Sets the addresses at which proxy ports are opened (default: 127.0.0.1).
    #[must_use]
    pub fn listen(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.settings.listen = addresses.into_iter().collect();
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
        self.endpoint = Some(address);
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

    /// Sets how many connections and UDP flows there are at most (default: 16,384). Others wait.
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
        let mut tasks = JoinSet::new();
        if let Some(address) = self.endpoint {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| format!("cannot open the proxy's endpoint {address}: {error}"))?;
            self.ports.set_endpoint(listener.local_addr()?);
            tasks.spawn(endpoint::serve(listener, self.ports.clone()));
        }
        let recorder = match &self.source {
            Source::Api(context) => Some(ServiceRecorder::new(context)),
            Source::File(_) | Source::Table => None,
        };
        let fed = feed(self.source, self.nodes, self.table.clone());
        let mut running = Running {
            userspace: Userspace::new(self.settings.clone(), self.balancer, self.addresses),
            table: self.table,
            ports: self.ports,
            listen: self.settings.listen,
            recorder,
            failed: BTreeMap::new(),
        };
        let work = async {
            tokio::select! {
                biased;
                error = fed => Err(error),
                () = running.follow() => Ok(()),
            }
        };
        let ended = stop.or(work).await;
        running.userspace.shutdown().await;
        running.ports.clear();
        tasks.shutdown().await;
        ended.unwrap_or(Ok(()))
    }
}

/// Tells users about their services.
struct ServiceRecorder {
    recorder: Recorder,
    services: Informer<Service>,
}

impl ServiceRecorder {
    fn new(context: &Context) -> Self {
        Self { recorder: context.recorder("quarterdeck-proxy"), services: context.informers.of() }
    }

    fn tell(&self, service: &ObjectKey, reason: &str) {
        if let Some(service) = self.services.store().get(service) {
            self.recorder.event(&*service, EventType::Warning, "PortUnavailable", reason);
        }
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

/// A proxy that runs.
struct Running {
    table: ServiceTable,
    userspace: Userspace,
    ports: ProxyPorts,
    listen: Vec<IpAddr>,
    recorder: Option<ServiceRecorder>,
    /// What could not be opened, by service.
    failed: BTreeMap<ObjectKey, Vec<String>>,
}

impl Running {
    /// Does what the table says, for ever.
    async fn follow(&mut self) {
        let table = self.table.clone();
        loop {
            tokio::select! {
                biased;
                changed = table.changed().next() => {
                    let Some(service) = changed else { return };
                    self.apply(&service).await;
                    table.changed().done(&service);
                }
                () = table.completed(), if self.ports.health() == Health::Starting => {}
            }
            if table.is_complete() && table.changed().is_empty() {
                self.say_health();
            }
        }
    }

    async fn apply(&mut self, service: &ObjectKey) {
        let configs = self.table.get(service);
        let errors = self.userspace.apply(service, &configs).await;
        self.note(service, &errors);
        if !errors.is_empty() {
            self.table.changed().add_after(service.clone(), RETRY);
        }
        let ports = configs.iter().map(|config| self.describe(service, config)).collect();
        self.ports.set(service, ports);
    }

    /// Tells about what could not be opened, once for each reason.
    fn note(&mut self, service: &ObjectKey, errors: &[BindError]) {
        let reasons: Vec<_> = errors.iter().map(|error| reason(error)).collect();
        let known = self.failed.remove(service).unwrap_or_default();
        for reason in reasons.iter().filter(|reason| !known.contains(reason)) {
            tracing::warn!(%service, reason, "service does not work, trying again");
            if let Some(recorder) = &self.recorder {
                recorder.tell(service, reason);
            }
        }
        if !reasons.is_empty() {
            self.failed.insert(service.clone(), reasons);
        }
    }

    fn say_health(&self) {
        self.ports.set_health(match self.failed.first_key_value() {
            Some((service, reasons)) => Health::Failing(format!("{service}: {}", reasons.join("; "))),
            None => Health::Healthy,
        });
    }

    fn describe(&self, service: &ObjectKey, config: &ServicePortConfig) -> ProxyPort {
        let local = self.userspace.local_port(service, &config.name, Scope::Internal);
        let addresses = |port| self.listen.iter().map(move |address| SocketAddr::new(*address, port));
        let of = |backends: &Backends| backends.as_slice().iter().map(|backend| backend.0).collect();
        ProxyPort {
            namespace: service.namespace.clone(),
            service: service.name.clone(),
            port_name: config.name.to_string(),
            protocol: config.protocol,
            cluster_ips: config.cluster_ips.clone(),
            external_ips: config.external_ips.clone(),
            port: config.port,
            node_port: config.node_port,
            proxy: local.into_iter().flat_map(addresses).collect(),
            backends: of(&config.backends),
        }
    }
}

/// Returns an error's message and those of its causes.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |reason, cause| format!("{reason}: {cause}"))
}
