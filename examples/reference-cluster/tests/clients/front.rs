//! A server behind TLS, and the clients that reach it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use http::{Request, header};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use quarterdeck::prelude::{Clock, ControlPlane, MemoryStorage, Random, User};
use quarterdeck::{Cluster, ControlPlaneBuilder};
use quarterdeck_core::component::{Component as _, Stop, StopSignal};
use quarterdeck_core::storage::Storage;
use quarterdeck_registry::ApiServer;
use quarterdeck_registry::listener::Listener;
use quarterdeck_registry::tls::{Authority, ClientCertificates, Identity, kubeconfig};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower::util::MapRequestLayer;

/// The address of loopback that no other test listens on: a port that a front leaves for a moment stays free.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

/// The authority of this program's servers, which has to be known before they are made.
pub(crate) fn authority() -> Arc<Authority> {
    static ONE: LazyLock<Arc<Authority>> =
        LazyLock::new(|| Arc::new(Authority::new(Clock::system().now()).unwrap()));
    ONE.clone()
}

/// Knows users by the certificates of that authority.
fn certificates() -> ClientCertificates {
    ClientCertificates::new(authority().certificate(), Clock::system()).unwrap()
}

/// What a server is reached through.
pub(crate) struct Front {
    authority: Arc<Authority>,
    identity: Identity,
    address: SocketAddr,
    listener: Option<(StopSignal, JoinSet<()>)>,
}

impl Front {
    /// Opens a front.
    pub(crate) async fn of(server: &ApiServer) -> Self {
        let authority = authority();
        let identity = authority.server("kube-apiserver", &[ADDRESS.to_string()]).unwrap();
        let mut front = Self { authority, identity, address: (ADDRESS, 0).into(), listener: None };
        front.open(server).await;
        front
    }

    /// Opens it for a server, where it was before.
    pub(crate) async fn open(&mut self, server: &ApiServer) {
        let config = self.authority.server_config(&self.identity, false).unwrap();
        let listener = Listener::tls(server.clone(), self.address, config).await.unwrap();
        self.address = listener.local_address().unwrap();
        let (signal, stop) = Stop::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { Box::new(listener).run(stop).await.unwrap() });
        self.listener = Some((signal, tasks));
    }

    /// Ends every connection, and takes no more.
    pub(crate) async fn close(&mut self) {
        let Some((signal, mut tasks)) = self.listener.take() else { return };
        signal.stop();
        while tasks.join_next().await.is_some() {}
    }

    /// A client of this user, made from a kubeconfig.
    pub(crate) async fn client_as(&self, user: &User) -> Client {
        Client::try_from(self.config(user).await).unwrap()
    }

    /// A client of an administrator.
    pub(crate) async fn client(&self) -> Client {
        self.client_as(&User::admin()).await
    }

    /// A client of an administrator, and what it asks for.
    pub(crate) async fn observed_client(&self) -> (Client, Requests) {
        let (sender, receiver) = mpsc::channel(1_000);
        let observe = MapRequestLayer::new(move |request: Request<Body>| {
            let accept =
                request.headers().get(header::ACCEPT).map(|value| value.to_str().unwrap().to_owned());
            sender.try_send((request.uri().to_string(), accept.unwrap_or_default())).unwrap();
            request
        });
        let builder = ClientBuilder::try_from(self.config(&User::admin()).await).unwrap();
        (builder.with_layer(&observe).build(), Requests(receiver))
    }

    async fn config(&self, user: &User) -> Config {
        let server = format!("https://{}", self.address);
        let identity = self.authority.client(user).unwrap();
        let text = kubeconfig(&server, self.authority.certificate(), &user.name, &identity);
        let kubeconfig = Kubeconfig::from_yaml(&text).unwrap();
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        // Of what is refused for now, the tests want to see the refusal.
        config.default_retry = false;
        config
    }
}

/// The requests of a client, each with what it accepts.
pub(crate) struct Requests(mpsc::Receiver<(String, String)>);

impl Requests {
    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> (String, String) {
        crate::soon("a request", self.0.recv()).await.expect("the client lives")
    }

    /// Those that were sent since the last call.
    pub(crate) fn all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.try_recv().ok()).map(|(uri, _)| uri).collect()
    }
}

/// An API server alone that knows users by their certificates.
pub(crate) async fn server(storage: Arc<dyn Storage>) -> ApiServer {
    ApiServer::builder_shared(storage).authenticator(certificates()).start().await.unwrap()
}

/// A cluster whose API server knows users by their certificates.
pub(crate) async fn cluster(with: impl FnOnce(ControlPlaneBuilder) -> ControlPlaneBuilder) -> Cluster {
    let builder = ControlPlane::builder(MemoryStorage::new()).random(Random::seeded(1));
    let builder = with(builder).api_server(|server| server.authenticator(certificates()));
    let cluster = builder.build().unwrap().start().await.unwrap();
    cluster.ready().await.unwrap();
    cluster
}
