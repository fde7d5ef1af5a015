//! An API server that knows users by certificates and bootstrap tokens, in process, and the controllers of certificates.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Client, Resource};
use quarterdeck_agent::certificates::{Credential, Join};
use quarterdeck_controllers::{CertificateApprovingController, CertificateSigningController};
use quarterdeck_core::client::Context;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{BoxError, Component, Stop, StopSignal, Supervisor};
use quarterdeck_core::random::Random;
use quarterdeck_registry::ApiServer;
use quarterdeck_registry::layers::authentication::BootstrapTokens;
use quarterdeck_registry::storage::MemoryStorage;
use quarterdeck_registry::tls::{Authority, ClientCertificates, PeerCertificate};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::Service as _;

const ROLES: &str = "system:certificates.k8s.io:certificatesigningrequests";

/// The token of the cluster.
pub(super) const TOKEN: &str = "abcdef.0123456789abcdef";

pub(super) struct Cluster {
    pub(super) server: ApiServer,
    pub(super) clock: Clock,
    pub(super) authority: Arc<Authority>,
    running: Vec<(StopSignal, JoinSet<()>)>,
}

impl Cluster {
    /// Starts a server whose time is tokio's, and the controllers.
    pub(super) async fn start() -> Self {
        Self::with_clock(Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap())).await
    }

    /// Starts a server and the controllers. There is a bootstrap token, and no roles are bound.
    pub(super) async fn with_clock(clock: Clock) -> Self {
        let authority = Arc::new(Authority::new(clock.now()).unwrap());
        let server = ApiServer::builder(MemoryStorage::new())
            .clock(clock.clone())
            .random(Random::seeded(1))
            .authenticator(ClientCertificates::new(authority.certificate(), clock.clone()).unwrap())
            .authenticator(BootstrapTokens::new(clock.clone()))
            .start()
            .await
            .unwrap();
        let context = Context::new(server.client(), clock.clone(), Random::seeded(2));
        let mut cluster = Self { server, clock, authority, running: Vec::new() };
        cluster.run(CertificateApprovingController::new(&context));
        cluster.run(CertificateSigningController::new(&context, cluster.authority.clone()));
        let secrets: Api<Secret> = Api::namespaced(cluster.server.client(), "kube-system");
        let (id, secret) = TOKEN.split_once('.').unwrap();
        let token = json!({
            "metadata": {"name": format!("bootstrap-token-{id}")},
            "type": "bootstrap.kubernetes.io/token",
            "stringData": {"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true"},
        });
        create(&secrets, token).await;
        cluster
    }

    /// Runs a component until it is told to stop, or the cluster is dropped.
    pub(super) fn run(&mut self, component: impl Component) {
        let (signal, stop) = Stop::channel();
        let supervisor = Supervisor::new().with(component);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let ended = supervisor.run(stop).await;
            eprintln!("{ended:?}");
        });
        self.running.push((signal, task));
    }

    /// Stops the component that was run last.
    pub(super) async fn stop_last(&mut self) {
        let (signal, task) = self.running.pop().unwrap();
        signal.stop();
        task.join_all().await;
    }

    /// Lets nodes ask for certificates, and has them approved unasked, the first one and all others.
    pub(super) async fn welcome(&self) {
        self.may_ask().await;
        self.bind(&format!("{ROLES}:nodeclient"), "system:bootstrappers").await;
        self.bind(&format!("{ROLES}:selfnodeclient"), "system:nodes").await;
    }

    /// Lets nodes have their first certificate, and no other.
    pub(super) async fn welcome_once(&self) {
        self.may_ask().await;
        self.bind(&format!("{ROLES}:nodeclient"), "system:bootstrappers").await;
    }

    /// Lets nodes ask for certificates.
    pub(super) async fn may_ask(&self) {
        self.bind("system:node-bootstrapper", "system:bootstrappers").await;
    }

    async fn bind(&self, role: &str, group: &str) {
        let bindings: Api<ClusterRoleBinding> = Api::all(self.server.client());
        let binding = json!({
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        });
        create(&bindings, binding).await;
    }

    /// A client that shows a bearer token.
    pub(super) fn with_token(&self, token: &str) -> Client {
        let bearer = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        connect(&self.server, move |request| {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        })
    }

    /// Has the token end now.
    pub(super) async fn expire_token(&self) {
        let secrets: Api<Secret> = Api::namespaced(self.server.client(), "kube-system");
        let end = json!({"stringData": {"expiration": self.clock.now().to_string()}});
        let name = format!("bootstrap-token-{}", &TOKEN[..6]);
        secrets.patch(&name, &PatchParams::default(), &Patch::Merge(end)).await.unwrap();
    }

    /// Makes clients that show a certificate, and notes which.
    pub(super) fn connector(
        &self,
        shown: &Shown,
    ) -> impl Fn(&Credential) -> Result<Client, BoxError> + Send + Sync + 'static {
        let (server, shown) = (self.server.clone(), shown.clone());
        move |credential| {
            shown.0.lock().unwrap().push(credential.clone());
            let der = CertificateDer::from_pem_slice(credential.certificate().as_bytes())?;
            let peer = PeerCertificate::new(der);
            Ok(connect(&server, move |request| {
                request.extensions_mut().insert(peer.clone());
            }))
        }
    }

    /// Prepares a node to join.
    pub(super) fn join(&self, node: &str, directory: &Path, shown: &Shown) -> Join {
        Join::new(node, directory, self.connector(shown)).clock(self.clock.clone()).random(Random::seeded(3))
    }

    pub(super) fn requests(&self) -> Api<CertificateSigningRequest> {
        Api::all(self.server.client())
    }

    /// All requests for certificates, in the order of their names.
    pub(super) async fn asked(&self) -> Vec<CertificateSigningRequest> {
        self.requests().list(&ListParams::default()).await.unwrap().items
    }

    /// Waits until somebody asks a signer for a certificate, and returns the request that nobody has decided on.
    pub(super) async fn until_asked(&self, signer: &str) -> CertificateSigningRequest {
        let is_pending = |request: &CertificateSigningRequest| {
            let is_decided = request.status.as_ref().is_some_and(|status| status.conditions.is_some());
            request.spec.signer_name == signer && !is_decided
        };
        until("a request", async || self.asked().await.into_iter().find(is_pending)).await
    }

    /// Decides on a request, as `kubectl certificate` does.
    pub(super) async fn decide(&self, name: &str, kind: &str) {
        let mut request = self.requests().get(name).await.unwrap();
        say(&mut request, kind);
        let (requests, params) = (self.requests(), PostParams::default());
        requests.replace_subresource("approval", name, &params, &request).await.unwrap();
    }

    /// Fails a request, as its signer does.
    pub(super) async fn fail(&self, name: &str) {
        let mut request = self.requests().get(name).await.unwrap();
        say(&mut request, "Failed");
        self.requests().replace_status(name, &PostParams::default(), &request).await.unwrap();
    }
}

fn say(request: &mut CertificateSigningRequest, kind: &str) {
    let condition = json!({"type": kind, "status": "True", "reason": "Test", "message": "by hand"});
    let condition = serde_json::from_value(condition).unwrap();
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
}

/// The certificates that were shown, one for each client that was made.
#[derive(Clone, Default)]
pub(super) struct Shown(Arc<Mutex<Vec<Credential>>>);

impl Shown {
    pub(super) fn all(&self) -> Vec<Credential> {
        self.0.lock().unwrap().clone()
    }
}

fn connect(server: &ApiServer, show: impl Fn(&mut Request<Body>) + Send + 'static) -> Client {
    let mut server = server.clone();
    let service = tower::service_fn(move |mut request| {
        show(&mut request);
        server.call(request)
    });
    Client::new(service, "default")
}

async fn create<K>(api: &Api<K>, object: Value)
where
    K: Resource + Serialize + DeserializeOwned + Clone + std::fmt::Debug,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// Who a client is to the server.
pub(super) async fn who(client: &Client) -> kube::Result<(String, Vec<String>)> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    let user = review.status.unwrap().user_info.unwrap();
    Ok((user.username.unwrap(), user.groups.unwrap()))
}

/// Looks again until there is something, for an hour at most.
pub(super) async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..7_200 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{what} never came");
}
