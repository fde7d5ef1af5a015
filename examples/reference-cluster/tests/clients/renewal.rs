//! A node's connections when its certificate is renewed.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http_body_util::BodyExt as _;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, PostParams};
use kube::client::Body;
use kube::config::AuthInfo;
use kube::{Client, Config};
use quarterdeck::prelude::{Clock, MemoryStorage, Random};
use quarterdeck_agent::certificates::{Credential, Join};
use quarterdeck_controllers::{CertificateApprovingController, CertificateSigningController};
use quarterdeck_core::client::Context;
use quarterdeck_core::component::{BoxError, Component, Stop, StopSignal};
use quarterdeck_registry::listener::Listener;
use quarterdeck_registry::tls::Authority;
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{front, soon};

/// Signers give no certificate for less.
const LIFE: Duration = Duration::from_secs(600);
/// By how much the node's clock is ahead: each certificate is due at once, and this much short of its end.
const AHEAD: Duration = Duration::from_secs(588);

/// Passes connections on, and knows which are open.
#[derive(Clone, Default)]
struct Relay(Arc<Mutex<(usize, BTreeSet<usize>)>>);

impl Relay {
    /// Passes on to `server` from an address that is returned.
    async fn open(&self, tasks: &mut JoinSet<()>, server: SocketAddr) -> SocketAddr {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let relay = self.clone();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut from, _)) = socket.accept().await {
                let (relay, number) = (relay.clone(), relay.count());
                open.spawn(async move {
                    let mut to = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut from, &mut to).await;
                    relay.0.lock().unwrap().1.remove(&number);
                });
            }
        });
        address
    }

    fn count(&self) -> usize {
        let mut known = self.0.lock().unwrap();
        known.0 += 1;
        let number = known.0;
        known.1.insert(number);
        number
    }

    /// The number of the latest connection.
    fn latest(&self) -> usize {
        self.0.lock().unwrap().0
    }

    /// How many connections are open that are no later than this one.
    fn open_until(&self, number: usize) -> usize {
        self.0.lock().unwrap().1.range(..=number).count()
    }
}

/// What runs until it is dropped.
struct Running(Vec<StopSignal>, JoinSet<()>);

impl Running {
    fn run(&mut self, component: impl Component) {
        let (signal, stop) = Stop::channel();
        self.0.push(signal);
        self.1.spawn(async move { Box::new(component).run(stop).await.unwrap() });
    }
}

/// Makes clients of a server that show a certificate.
fn connector(
    server: SocketAddr,
    authority: &Authority,
) -> impl Fn(&Credential) -> Result<Client, BoxError> + Send + Sync + 'static {
    let trusted = pem(authority.certificate());
    move |credential| {
        let mut config = Config::new(format!("https://{server}").parse()?);
        config.root_cert = Some(vec![trusted.clone()]);
        config.auth_info = AuthInfo {
            client_certificate_data: Some(STANDARD.encode(credential.certificate())),
            client_key_data: Some(STANDARD.encode(credential.key()).into()),
            ..AuthInfo::default()
        };
        Ok(Client::try_from(config)?)
    }
}

/// Reads a certificate.
fn pem(text: &str) -> Vec<u8> {
    let lines: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(lines).unwrap()
}

#[tokio::test]
async fn connections_that_showed_the_old_certificate_end_before_it_does_and_nothing_else_notices() {
    let (clock, relay) = (Clock::system(), Relay::default());
    let authority = front::authority();
    let server = front::server(Arc::new(MemoryStorage::new())).await;
    let mut running = Running(Vec::new(), JoinSet::new());
    let own = authority.server("kube-apiserver", &["127.0.0.1".to_owned()]).unwrap();
    let config = authority.server_config(&own, false).unwrap();
    let listener = Listener::tls(server.clone(), (Ipv4Addr::LOCALHOST, 0).into(), config).await.unwrap();
    let address = relay.open(&mut running.1, listener.local_address().unwrap()).await;
    running.run(listener);
    let context = Context::new(server.client(), clock.clone(), Random::seeded(1));
    running.run(CertificateApprovingController::new(&context));
    running.run(CertificateSigningController::new(&context, authority.clone()));
    let role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "renew"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}],
    }))
    .unwrap();
    Api::all(server.client()).create(&PostParams::default(), &binding).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let ahead = Clock::following_tokio(clock.now() + AHEAD);
    let join = Join::new("node-1", place.path(), connector(address, &authority)).clock(ahead).lifetime(LIFE);

    let joined = soon("a certificate", join.bootstrap(server.client()).run()).await.unwrap();
    let who = async || {
        let reviews: Api<SelfSubjectReview> = Api::all(joined.client.clone());
        let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.unwrap();
        review.status.unwrap().user_info.unwrap().username.unwrap()
    };
    assert_eq!(who().await, "system:node:node-1");
    let watch = Request::get("/api/v1/services?watch=true&timeoutSeconds=300").body(Body::empty()).unwrap();
    let watch = joined.client.send(watch).await.unwrap();
    assert_eq!(who().await, "system:node:node-1");
    running.run(joined.rotation);
    let ended = soon("the end of the watch", watch.into_body().collect()).await;
    assert!(ended.is_ok(), "it ends as if the server had ended it: {ended:?}");
    let old = relay.latest();
    assert_eq!(who().await, "system:node:node-1");

    assert!(relay.latest() > old, "the new certificate is shown on a new connection");
    soon("the end of the old connections", async {
        while relay.open_until(old) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(who().await, "system:node:node-1");
    server.shutdown().await;
}
