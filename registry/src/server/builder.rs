//! Assembling a server.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{Stop, StopSignal};
use quarterdeck_core::metrics::Metrics;
use quarterdeck_core::node::NodeConnector;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::{Storage, StorageError};
use tokio::task::JoinSet;
use tower::Layer;

use super::api_services::OfDefinitions;
use super::bootstrap::bootstrap;
use super::dispatch::Dispatch;
use super::housekeeping::Housekeeping;
use super::presence::Presence;
use super::{ApiServer, Background};
use crate::admission::certificates::CertificateRights;
use crate::admission::parameter_rights::ParameterRights;
use crate::admission::{self, Admission, PodSecurity};
use crate::audit::{Audit, AuditLayer, KnownOnly};
use crate::cache::{Cache, Feed, FeedError};
use crate::custom::lifecycle::Lifecycle;
use crate::figures::{self, CountedAudit, Figures};
use crate::layers::administrators::Administrators;
use crate::layers::authentication::{Authentication, Authenticator};
use crate::layers::authorization::{Authorization, Authorizer};
use crate::layers::bodies::Bodies;
use crate::layers::fairness::Fairness;
use crate::layers::gate::GateLayer;
use crate::layers::impersonation::Impersonation;
use crate::layers::node_authorizer::NodeAuthorizer;
use crate::layers::time_limit::{TimeLimit, TimeLimits};
use crate::rbac::Rbac;
use crate::rbac::escalation::Escalation;
use crate::registry::{Registry, Resources, Settings};
use crate::resource::Resource;
use crate::resources;
use crate::status::{Status, chain};
use crate::tokens::TokenIssuer;
use crate::verbs::Running;
use crate::websocket::Sockets;

/// What a server is assembled from. Everything but the store has a default.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct ApiServerBuilder {
    storage: Arc<dyn Storage>,
    clock: Clock,
    random: Option<Random>,
    resources: Vec<Resource>,
    /// Kinds that were asked for and are not there.
    unknown: Vec<String>,
    service_cidr: String,
    node_ports: (u16, u16),
    advertise: Option<SocketAddr>,
    pod_security: PodSecurity,
    admission: Vec<Arc<dyn Admission>>,
    authenticators: Vec<Box<dyn Authenticator>>,
    authorizers: Vec<Arc<dyn Authorizer>>,
    connector: Option<Arc<dyn NodeConnector>>,
    tokens: Option<Arc<dyn TokenIssuer>>,
    limits: Limits,
    audit: Option<Audit>,
    metrics: Metrics,
    without: Without,
}

/// What is left out.
#[derive(Debug, Default, Clone, Copy)]
struct Without {
    admission: bool,
    fairness: bool,
}

/// How much the server does at a time, and for how long.
#[derive(Debug, Clone, Copy)]
struct Limits {
    requests: usize,
    mutating: usize,
    time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let TimeLimit(time) = TimeLimit::default();
        Self { requests: 400, mutating: 200, time }
    }
}

/// What is wrong with a server's settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The range of service addresses is none, or has no room.
    #[error(
        "{0:?} is no range of service addresses: write a network of at least four addresses, such as 10.254.0.0/16"
    )]
    ServiceCidr(String),
    /// A kind was chosen that there is not.
    #[error("there is no kind {0:?}: write its plural with its group, such as deployments.apps")]
    UnknownKind(String),
    /// The first node port lies behind the last.
    #[error("the range of node ports {0}-{1} is empty")]
    NodePorts(u16, u16),
    /// No request could be served.
    #[error("a server that serves no request at a time, or none in any time, serves none: allow more")]
    Limits,
    /// An address that nobody can reach cannot be advertised.
    #[error(
        "{0} cannot be advertised: name an address that nodes can reach, neither unspecified nor loopback"
    )]
    Advertise(IpAddr),
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings are wrong.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The store does not answer.
    #[error("cannot read the store")]
    Storage(#[from] StorageError),
    /// What is stored cannot be followed.
    #[error("cannot follow the store")]
    Feed(#[from] FeedError),
    /// What every cluster has could not be made.
    #[error("cannot make what every cluster has")]
    Bootstrap(#[source] Status),
}

impl ApiServer {
    /// Assembles a server over a store.
    pub fn builder(storage: impl Storage) -> ApiServerBuilder {
        Self::builder_shared(Arc::new(storage))
    }

    /// Assembles a server over a store that others hold too.
    pub fn builder_shared(storage: Arc<dyn Storage>) -> ApiServerBuilder {
        ApiServerBuilder {
            storage,
            clock: Clock::system(),
            random: None,
            resources: resources::builtin(),
            unknown: Vec::new(),
            service_cidr: "10.254.0.0/16".into(),
            node_ports: (30000, 32767),
            advertise: None,
            pod_security: PodSecurity::default(),
            admission: Vec::new(),
            authenticators: Vec::new(),
            authorizers: Vec::new(),
            connector: None,
            tokens: None,
            limits: Limits::default(),
            audit: None,
            metrics: Metrics::new(),
            without: Without::default(),
        }
    }
}

impl ApiServerBuilder {
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

    /// Adds a kind (default: the built-in ones). One of the same path is replaced.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// Serves these kinds only (default: the built-in ones).
    pub fn resources(mut self, resources: impl IntoIterator<Item = Resource>) -> Self {
        self.resources = resources.into_iter().collect();
        self
    }

    /// Adds kinds, such as those of [`Resource::from_definition`] (default: the built-in ones).
    pub fn add_resources(mut self, resources: impl IntoIterator<Item = Resource>) -> Self {
        self.resources.extend(resources);
        self
    }

    /// Serves of the kinds chosen so far only these, in all their versions; each is its plural with its group:
    /// `configmaps`, `deployments.apps` (default: all). A server of few kinds is small and starts at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use quarterdeck_registry::{ApiServer, MemoryStorage};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let kinds = ["namespaces", "configmaps", "customresourcedefinitions.apiextensions.k8s.io"];
    ///
    /// let server = ApiServer::builder(MemoryStorage::new()).only(kinds).start().await?;
    ///
    /// assert_eq!(server.registry().resources().all().len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn only<'k>(mut self, kinds: impl IntoIterator<Item = &'k str>) -> Self {
        let kinds: Vec<&str> = kinds.into_iter().collect();
        let is_known =
            |kind: &&str| self.resources.iter().any(|resource| resource.qualified_plural() == **kind);
        self.unknown.extend(kinds.iter().filter(|kind| !is_known(kind)).map(|kind| (*kind).to_owned()));
        self.resources.retain(|resource| kinds.contains(&resource.qualified_plural().as_str()));
        self
    }

    /// Sets where service addresses come from (default: `10.254.0.0/16`).
    pub fn service_cidr(mut self, cidr: impl Into<String>) -> Self {
        self.service_cidr = cidr.into();
        self
    }

    /// Sets the first and the last node port (default: 30000 and 32767).
    pub fn node_ports(mut self, first: u16, last: u16) -> Self {
        self.node_ports = (first, last);
        self
    }

    /// Sets the address at which the cluster finds the server: an endpoint of the service `kubernetes`, which names all servers
    /// that live (default: the server is none of them).
    pub fn advertise_address(mut self, address: SocketAddr) -> Self {
        self.advertise = Some(address);
        self
    }

    /// Sets what pods may do where no label of their namespace says so, and what is exempt (default: everything, and
    /// nothing).
    pub fn pod_security(mut self, pod_security: PodSecurity) -> Self {
        self.pod_security = pod_security;
        self
    }

    /// Adds admission behind the built-in.
    pub fn admission(mut self, admission: impl Admission) -> Self {
        self.admission.push(Arc::new(admission));
        self
    }

    /// Leaves out the built-in admission, webhooks and policies included (default: all of it, see [`admission::builtin`]). That
    /// nobody gives away more rights than they hold or reads by a policy what they may not, and what [`admission`](Self::admission)
    /// adds, stays.
    pub fn without_admission(mut self) -> Self {
        self.without.admission = true;
        self
    }

    /// Adds a way to know users (default: only callers in process are known).
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticators.push(Box::new(authenticator));
        self
    }

    /// Adds an authorizer (default: [`Administrators`], [`NodeAuthorizer`], then [`Rbac`]; the first one added replaces them
    /// all). Without [`Rbac`] no component has a right, without [`NodeAuthorizer`] no agent: a cluster that is to go on working
    /// needs both, or an authorizer that lets them in.
    pub fn authorizer(mut self, authorizer: impl Authorizer) -> Self {
        self.authorizers.push(Arc::new(authorizer));
        self
    }

    /// Sets the way to the nodes' agents (default: none, and logs cannot be read).
    pub fn node_connector(mut self, connector: impl NodeConnector) -> Self {
        self.connector = Some(Arc::new(connector));
        self
    }

    /// Sets who makes service accounts' tokens (default: nobody).
    pub fn token_issuer(mut self, issuer: impl TokenIssuer) -> Self {
        self.tokens = Some(Arc::new(issuer));
        self
    }

    /// Sets what is told of requests, and to whom (default: nothing).
    pub fn audit(mut self, audit: Audit) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Sets how many requests that change nothing are served at a time (default: 400). Together with the number of those that
    /// do, these are the seats that [`Fairness`] shares out.
    pub fn max_requests_inflight(mut self, requests: usize) -> Self {
        self.limits.requests = requests;
        self
    }

    /// Sets how many requests that change something are served at a time (default: 200).
    pub fn max_mutating_requests_inflight(mut self, requests: usize) -> Self {
        self.limits.mutating = requests;
        self
    }

    /// Serves every request at once, however many there are, for callers that can be trusted with that (default: [`Fairness`]).
    pub fn without_fairness(mut self) -> Self {
        self.without.fairness = true;
        self
    }

    /// Sets where the server counts, a registry that no other server has (default: one of its own).
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sets how long a request may take that does not last by its nature (default: 60 seconds).
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.limits.time = limit;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// The first [`BuildError`] found.
    fn settings(&self) -> Result<Settings, BuildError> {
        if let Some(kind) = self.unknown.first() {
            return Err(BuildError::UnknownKind(kind.clone()));
        }
        let cidr: Option<ipnet::IpNet> = self.service_cidr.parse().ok();
        let cidr = cidr.filter(|cidr| cidr.max_prefix_len() - cidr.prefix_len() >= 2);
        let service_cidr = cidr.ok_or_else(|| BuildError::ServiceCidr(self.service_cidr.clone()))?;
        let (first, last) = self.node_ports;
        if first > last || first == 0 {
            return Err(BuildError::NodePorts(first, last));
        }
        if let Some(address) = self.advertise.filter(|address| is_unreachable(address.ip())) {
            return Err(BuildError::Advertise(address.ip()));
        }
        let Limits { requests, mutating, time } = self.limits;
        if requests + mutating == 0 || time.is_zero() {
            return Err(BuildError::Limits);
        }
        Ok(Settings { service_cidr: service_cidr.trunc(), node_ports: self.node_ports })
    }

    /// Starts the server: reads the store, makes what every cluster has, and follows the store from there.
    ///
    /// # Errors
    ///
    /// [`StartError`]; then nothing runs.
    pub async fn start(self) -> Result<ApiServer, StartError> {
        let settings = self.settings()?;
        let cache = Cache::new(Resources::new(self.resources));
        let feed = Feed::start(cache.clone(), self.storage.clone()).await?;
        let mut authenticators = self.authenticators;
        for authenticator in &mut authenticators {
            authenticator.start(&cache, &self.storage);
        }
        let authentication = Authentication::new(authenticators);
        let authorizers = or_default(self.authorizers);
        let authorization = Authorization::new(authorizers, cache.clone(), self.storage.clone());
        let figures = Figures::new(self.metrics);
        let mut admission = match self.without.admission {
            false => admission::builtin_counting(self.pod_security, figures.admission()),
            true => Vec::new(),
        };
        admission.extend(self.admission);
        admission.insert(0, Arc::new(Escalation::new(authorization.clone())));
        admission.insert(1, Arc::new(CertificateRights::new(authorization.clone())));
        admission.insert(2, Arc::new(ParameterRights::new(authorization.clone())));
        for admission in &admission {
            admission.start(&authorization);
        }
        let registry = Arc::new(Registry {
            storage: self.storage,
            cache,
            clock: self.clock,
            random: self.random.unwrap_or_else(Random::from_os),
            admission,
            authentication: authentication.clone(),
            authorization: authorization.clone(),
            settings,
            webhooks: Default::default(),
            long: Default::default(),
            turns: Default::default(),
            full: Default::default(),
            connector: self.connector,
            figures,
            tokens: self.tokens,
        });
        let (signal, stop) = Stop::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(feed, registry.cache.clone(), stop.clone()));
        bootstrap(&registry, self.advertise).await.map_err(StartError::Bootstrap)?;
        let presence = Mutex::new(present(&registry, self.advertise).await.map_err(StartError::Bootstrap)?);
        let Limits { requests, mutating, time } = self.limits;
        let seed = registry.random.fork("fairness").u64();
        let fairness = match self.without.fairness {
            false => Fairness::new(requests + mutating, registry.cache.clone(), seed),
            true => Fairness::off(registry.cache.clone()),
        };
        let latest = registry.latest().await.map_err(StartError::Bootstrap)?;
        fairness.learn(&latest);
        let metrics = registry.figures.metrics();
        registry.storage.tell(metrics);
        figures::watch_server(metrics, &registry.cache, &fairness);
        let audit = self.audit.map(|audit| CountedAudit::of(audit, metrics));
        tasks.spawn(fairness.clone().run(stop.clone()));
        tasks.spawn(Lifecycle::new(registry.clone()).run(stop.clone()));
        tasks.spawn(OfDefinitions(registry.clone()).run(stop.clone()));
        tasks.spawn(Housekeeping::new(registry.clone(), self.advertise).run(stop.clone()));
        let sockets = Arc::new(Sockets::default());
        let dispatch =
            Dispatch::new(registry.clone(), Running { stop: stop.clone(), sockets: sockets.clone() });
        let impersonation = GateLayer::new(Impersonation::new(authorization.clone()));
        let authorization = GateLayer::new(authorization);
        let seated = fairness.layer(authorization.layer(dispatch));
        let served = impersonation.layer(Bodies::default().layer(seated));
        let audit = AuditLayer::new(audit, registry.clock.clone());
        let known = audit.layer(TimeLimits::new(TimeLimit(time)).layer(served));
        let stack = GateLayer::new(KnownOnly::new(authentication, audit)).layer(known);
        let cache = registry.cache.clone();
        let background = Background { signal, cache, stop, tasks: Mutex::new(tasks), presence, sockets };
        Ok(ApiServer { stack, registry, background: Arc::new(background) })
    }
}

/// Returns the default authorizers if there are no others.
fn or_default(authorizers: Vec<Arc<dyn Authorizer>>) -> Vec<Arc<dyn Authorizer>> {
    if authorizers.is_empty() {
        return vec![Arc::new(Administrators), Arc::new(NodeAuthorizer::new()), Arc::new(Rbac::new())];
    }
    authorizers
}

/// Follows the store until the server stops, or that cannot be done any more.
async fn follow(feed: Feed, cache: Cache, stop: Stop) {
    if let Err(error) = feed.run(stop).await {
        cache.set_fed(false);
        tracing::error!(error = %chain(&error), "the watch cache stopped: reads fail or grow old, and watches show nothing, until the server is started again");
    }
}

/// Has others told that the server lives, if it has an address.
async fn present(
    registry: &Arc<Registry>,
    advertise: Option<SocketAddr>,
) -> crate::status::Result<Option<(StopSignal, JoinSet<()>)>> {
    let Some(address) = advertise else { return Ok(None) };
    let (signal, stop) = Stop::channel();
    let mut task = JoinSet::new();
    task.spawn(Presence::start(registry.clone(), address).await?.run(stop));
    Ok(Some((signal, task)))
}

/// Whether an address makes no sense in Endpoints.
fn is_unreachable(address: IpAddr) -> bool {
    address.is_unspecified() || address.is_loopback()
}
