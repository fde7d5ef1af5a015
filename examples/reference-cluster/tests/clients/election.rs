//! Leaders, elected by a Lease: by this project's elector, by a crate for kube-rs, and by both among each other.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::Api;
use kube::runtime::wait::await_condition;
use kube_lease_manager::LeaseManagerBuilder;
use quarterdeck::prelude::{Clock, MemoryStorage, Random, Stop, User};
use quarterdeck_core::client::{Context, LeaseElector, LeaseSettings};
use quarterdeck_registry::ApiServer;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::front::{Front, server};
use crate::soon;

fn elector(client: Client, clock: &Clock, settings: LeaseSettings) -> LeaseElector {
    LeaseElector::new(&Context::new(client, clock.clone(), Random::seeded(1)), settings)
}

/// Leads until it is stopped, and says when it began.
async fn lead(elector: LeaseElector, stop: Stop, began: mpsc::Sender<Instant>) {
    let work = async |mut stop: Stop| {
        began.send(Instant::now()).await.unwrap();
        stop.wait().await;
    };
    elector.run(stop, work).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_the_leader_dies_another_leads_after_the_lease_s_duration() {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let server = ApiServer::builder(MemoryStorage::new()).clock(clock.clone()).start().await.unwrap();
    let leases: Api<Lease> = Api::namespaced(server.client(), "kube-system");
    let (_signal, stop) = Stop::channel();
    let (began, mut begins) = mpsc::channel(2);
    let candidate = |identity: &str| {
        let client = server.client_as(User::new("system:kube-scheduler"));
        let elector = elector(client, &clock, LeaseSettings::new("kube-system", "scheduler", identity));
        lead(elector, stop.clone(), began.clone())
    };
    let (mut one, mut two) = (JoinSet::new(), JoinSet::new());

    one.spawn(candidate("one"));
    begins.recv().await.unwrap();
    two.spawn(candidate("two"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let held = leases.get("scheduler").await.unwrap().spec.unwrap();
    assert!(begins.try_recv().is_err(), "one leads at a time");
    one.shutdown().await;
    let died = Instant::now();
    let followed = begins.recv().await.unwrap() - died;
    let taken = leases.get("scheduler").await.unwrap().spec.unwrap();

    assert_eq!(held.holder_identity.as_deref(), Some("one"));
    assert_eq!(held.acquire_time.unwrap().0.to_string(), "2026-01-01T00:00:00Z");
    // The lease was renewed up to two seconds before, lasts 15, and is looked at every 2 to 4.4.
    assert!((13..=19).contains(&followed.as_secs()), "{followed:?}");
    assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("two"), Some(1)));
}

/// Starts a candidate of the crate for kube-rs. Its task is the whole candidate: when it is aborted, the candidate is dead.
async fn foreign(client: Client, identity: &str) -> (tokio::sync::watch::Receiver<bool>, JoinSet<()>) {
    let manager = LeaseManagerBuilder::new(client, "harbour").with_identity(identity);
    let manager = manager.with_duration(2).with_grace(1).with_field_manager(identity).build().await.unwrap();
    let (leads, task) = manager.watch().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ends_with_this = AbortOnDrop(task.abort_handle());
        let _ = task.await;
    });
    (leads, tasks)
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn is_held_by(client: &Client, identity: &str) -> i32 {
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let holds = |lease: Option<&Lease>| {
        let holder = lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref());
        holder == Some(identity)
    };
    let lease = soon(&format!("{identity} holds the lease"), await_condition(leases, "harbour", holds)).await;
    lease.unwrap().unwrap().spec.unwrap().lease_transitions.unwrap_or_default()
}

#[tokio::test]
async fn leaders_of_different_makes_follow_one_another() {
    let server = server(Arc::new(MemoryStorage::new())).await;
    let front = Front::of(&server).await;
    let client = front.client().await;
    let (mut first_leads, mut first) = foreign(client.clone(), "first").await;
    soon("the first leads", first_leads.wait_for(|leads| *leads)).await.unwrap();
    is_held_by(&client, "first").await;
    let (mut second_leads, mut second) = foreign(client.clone(), "second").await;

    // A leader of the same make follows.
    first.shutdown().await;
    soon("the second leads", second_leads.wait_for(|leads| *leads)).await.unwrap();
    let before = is_held_by(&client, "second").await;

    // Then one of ours.
    let settings = LeaseSettings::new("default", "harbour", "ours");
    let settings =
        settings.times(Duration::from_secs(2), Duration::from_millis(1500), Duration::from_millis(200));
    let ours = elector(client.clone(), &Clock::system(), settings);
    let (_signal, stop) = Stop::channel();
    let (began, mut begins) = mpsc::channel(1);
    let mut own = JoinSet::new();
    own.spawn(lead(ours, stop, began));
    second.shutdown().await;
    soon("ours leads", begins.recv()).await.unwrap();
    let after = is_held_by(&client, "ours").await;

    // And after it one of theirs again.
    let (mut third_leads, _third) = foreign(client.clone(), "third").await;
    assert!(!*third_leads.borrow(), "ours leads");
    own.shutdown().await;
    soon("the third leads", third_leads.wait_for(|leads| *leads)).await.unwrap();
    is_held_by(&client, "third").await;

    assert_eq!(after, before + 1, "every change of the leader is counted");
}
