//! The server under test: ours, over memory, with all controllers, without scheduler and agents.

use bytes::Bytes;
use http_body_util::Full;
use quarterdeck_core::client::Context;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{Ended, Stop, StopSignal, Supervisor};
use quarterdeck_core::random::Random;
use quarterdeck_registry::layers::policy;
use quarterdeck_registry::tls::{ServiceAccountKey, ServiceAccountTokens};
use quarterdeck_registry::{ApiServer, MemoryStorage, User};
use tokio::task::JoinSet;

use crate::server::Server;

/// What runs behind a server. Dropping it ends all of it.
#[derive(Debug)]
pub(crate) struct Parts {
    _controllers: JoinSet<Vec<Ended>>,
    _signal: StopSignal,
}

/// Starts a server and its controllers in the present runtime, whose time they follow.
pub(crate) async fn start() -> (Server, Parts) {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().expect("a date"));
    let random = Random::seeded(1);
    let key = ServiceAccountKey::new().expect("a key can be made");
    let server = ApiServer::builder(MemoryStorage::new())
        .clock(clock.clone())
        .random(random.fork("apiserver"))
        .advertise_address("192.0.2.1:6443".parse().expect("an address"))
        .authenticator(ServiceAccountTokens::new(key.clone(), clock.clone()))
        .token_issuer(key)
        .start()
        .await
        .expect("a server over memory starts");
    let context =
        Context::new(server.client_as(User::new(policy::CONTROLLERS)), clock, random.fork("controllers"));
    let options = quarterdeck_controllers::Options::default().root_ca("a certificate");
    let mut controllers = Supervisor::new();
    for controller in quarterdeck_controllers::all(&context, options) {
        controllers.push(controller);
    }
    let (signal, stop) = Stop::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(controllers.run(stop));
    let parts = Parts { _controllers: tasks, _signal: signal };
    (Server::new::<_, Full<Bytes>, _>(server.as_user(User::admin())), parts)
}
