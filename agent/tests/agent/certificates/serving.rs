//! The certificate that an agent's server shows.

use std::fs;
use std::net::SocketAddr;

use http::Request;
use http_body_util::{BodyExt as _, Empty};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::Api;
use quarterdeck_agent::certificates::ServingCertificate;
use quarterdeck_agent::runtime::SimulatedRuntime;
use quarterdeck_agent::{Agent, ServerSettings};
use quarterdeck_core::client::{Context, NodeBody, NodeConnector as _};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::random::Random;
use quarterdeck_registry::User;
use quarterdeck_registry::node_connector::TlsNodes;
use serde_json::json;
use tempfile::tempdir;
use tower::ServiceExt as _;

use super::cluster::{Cluster, Shown, TOKEN, until};
use crate::SECOND;

const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

async fn context(cluster: &Cluster, directory: &std::path::Path) -> Context {
    let shown = Shown::default();
    let join = cluster.join("node-1", directory, &shown).bootstrap(cluster.with_token(TOKEN));
    let joined = join.run().await.unwrap();
    Context::new(joined.client, cluster.clock.clone(), Random::seeded(4))
}

/// How often a serving certificate was asked for.
async fn asked(cluster: &Cluster) -> usize {
    let all = cluster.asked().await;
    all.iter().filter(|request| request.spec.signer_name == KUBELET_SERVING).count()
}

fn names() -> [String; 2] {
    ["127.0.0.1".to_owned(), "node-1".to_owned()]
}

/// TLS goes by the system's clock, and so does everything here.
#[tokio::test]
async fn the_api_server_reaches_an_agent_once_its_certificate_is_approved_and_not_before() {
    let mut cluster = Cluster::with_clock(Clock::system()).await;
    cluster.welcome().await;
    let place = tempdir().unwrap();
    let context = context(&cluster, place.path()).await;
    let serving = ServingCertificate::new(&context, "node-1", names(), place.path());
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = ServerSettings::resolving(address, serving.resolver(), cluster.authority.certificate());
    let agent = Agent::new(&context, "node-1", SimulatedRuntime::default()).serve(settings.unwrap());
    cluster.run(agent.addresses([address.ip()]));
    cluster.run(serving);
    let nodes: Api<Node> = Api::all(cluster.server.client());
    until("the node", async || {
        let node = json!(nodes.get_opt("node-1").await.unwrap()?);
        node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64()
    })
    .await;
    let connector = TlsNodes::new();
    let user = User::new("kube-apiserver-kubelet-client").group("system:masters");
    let identity = cluster.authority.client(&user).unwrap();
    connector.attach(&cluster.server, &identity, cluster.authority.roots().unwrap()).unwrap();
    let request = cluster.until_asked(KUBELET_SERVING).await;

    let refused = connector.connect("node-1").await;
    assert!(refused.is_err(), "there is no certificate yet");
    assert_eq!(request.spec.username.as_deref(), Some("system:node:node-1"));
    assert_eq!(
        request.spec.usages.as_deref(),
        Some(&["digital signature", "server auth"].map(Into::into)[..])
    );
    cluster.decide(request.metadata.name.as_deref().unwrap(), "Approved").await;

    let node = until("the agent's server", async || connector.connect("node-1").await.ok()).await;
    let body = NodeBody::new(Empty::new().map_err(|never| match never {}));
    let answer = node.oneshot(Request::get("/healthz").body(body).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(place.path().join("kubelet-server-current.pem").exists());
}

#[tokio::test(start_paused = true)]
async fn a_serving_certificate_is_kept_and_renewed_and_each_waits_for_approval() {
    let mut cluster = Cluster::start().await;
    cluster.welcome().await;
    let place = tempdir().unwrap();
    let context = context(&cluster, place.path()).await;
    let serving = |names: [String; 2]| {
        ServingCertificate::new(&context, "node-1", names, place.path()).lifetime(600 * SECOND)
    };
    let kept = || fs::read_to_string(place.path().join("kubelet-server-current.pem")).ok();
    cluster.run(serving(names()));
    let approve = async |cluster: &Cluster| {
        let name = cluster.until_asked(KUBELET_SERVING).await.metadata.name.unwrap();
        let old = kept();
        cluster.decide(&name, "Approved").await;
        until("the certificate", async || kept().filter(|kept| Some(kept) != old.as_ref())).await
    };

    let first = approve(&cluster).await;
    let begun = cluster.clock.now();
    let second = approve(&cluster).await;
    assert!(cluster.clock.now().duration_since(begun).as_secs() > 300, "not before it is time");
    assert_ne!(first, second);
    assert_eq!(asked(&cluster).await, 2);
    cluster.stop_last().await;

    // Started again, under the same names and under another.
    cluster.run(serving(names()));
    tokio::time::sleep(SECOND).await;
    assert_eq!(asked(&cluster).await, 2, "what is kept is shown");
    cluster.stop_last().await;
    cluster.run(serving(["127.0.0.2".to_owned(), "node-1".to_owned()]));
    cluster.until_asked(KUBELET_SERVING).await;
    assert_eq!(asked(&cluster).await, 3, "what is kept is for another address");
}

#[tokio::test]
async fn a_self_signed_certificate_is_shown_and_not_believed() {
    let mut cluster = Cluster::with_clock(Clock::system()).await;
    let settings =
        ServerSettings::self_signed(([127, 0, 0, 1], 0).into(), names(), cluster.authority.certificate());
    let client: Client = cluster.server.client_as(User::node("node-1"));
    let context = Context::new(client, Clock::system(), Random::seeded(4));
    let agent = Agent::new(&context, "node-1", SimulatedRuntime::default()).serve(settings.unwrap());
    cluster.run(agent.addresses([[127, 0, 0, 1].into()]));
    let nodes: Api<Node> = Api::all(cluster.server.client());
    until("the node", async || nodes.get_opt("node-1").await.unwrap()).await;
    let connector = TlsNodes::new();
    let identity = cluster.authority.client(&User::admin()).unwrap();
    connector.attach(&cluster.server, &identity, cluster.authority.roots().unwrap()).unwrap();

    let refused = connector.connect("node-1").await.err().map(|error| format!("{error:?}"));

    assert!(refused.is_some_and(|why| why.contains("InvalidCertificate")), "it is nobody's");
}
