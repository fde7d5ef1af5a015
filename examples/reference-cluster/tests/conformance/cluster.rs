//! The server under test: ours, over memory, with all controllers, without scheduler and agents.

use bytes::Bytes;
use http_body_util::Full;
use quarterdeck::prelude::{Clock, Cluster, ControlPlane, MemoryStorage, Random, User};
use quarterdeck_controllers::Options;
use quarterdeck_registry::tls::{ServiceAccountKey, ServiceAccountTokens};

use crate::server::Server;

/// Starts a cluster in the present runtime, whose time it follows. It ends when the guard is dropped.
pub(crate) async fn start() -> (Server, Cluster) {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().expect("a date"));
    let key = ServiceAccountKey::new().expect("a key can be made");
    let tokens = ServiceAccountTokens::new(key.clone(), clock.clone());
    let cluster = ControlPlane::builder(MemoryStorage::new())
        .clock(clock)
        .random(Random::seeded(1))
        .api_server(|server| server.authenticator(tokens).token_issuer(key))
        .controller_options(Options::default().root_ca("a certificate"))
        .without_scheduler()
        .build()
        .expect("nothing is named twice")
        .start()
        .await
        .expect("a server over memory starts");
    (Server::new::<_, Full<Bytes>, _>(cluster.server().as_user(User::admin())), cluster)
}
