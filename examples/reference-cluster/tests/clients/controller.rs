//! A controller made with kube-rs: a fleet has a config map for each of its ships, and leaves a wreck when it goes.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use k8s_openapi::api::events::v1::Event as ClusterEvent;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::crd::CustomResourceExt as _;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event as Report, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{self, Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher;
use kube::{Client, CustomResource, Resource as _, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

use crate::front::{Front, cluster};
use crate::soon;

const FINALIZER: &str = "example.com/wrecks";
const MANAGER: &str = "fleet-controller";

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "example.com", version = "v1", kind = "Fleet", namespaced, status = "FleetStatus")]
struct FleetSpec {
    ships: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
struct FleetStatus {
    ready: usize,
    generation: i64,
}

/// What the controller works with.
struct Harbour {
    client: Client,
    recorder: Recorder,
    /// Tells of each time that a fleet was looked at.
    looks: mpsc::Sender<()>,
}

type Outcome = Result<Action, finalizer::Error<kube::Error>>;

async fn reconcile(fleet: Arc<Fleet>, harbour: Arc<Harbour>) -> Outcome {
    let fleets: Api<Fleet> = Api::namespaced(harbour.client.clone(), &fleet.namespace().unwrap());
    finalizer(&fleets, FINALIZER, fleet, async |event| match event {
        Event::Apply(fleet) => harbour.sail(&fleet).await,
        Event::Cleanup(fleet) => harbour.sink(&fleet).await,
    })
    .await
}

impl Harbour {
    fn maps(&self, fleet: &Fleet) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &fleet.namespace().unwrap())
    }

    async fn sail(&self, fleet: &Fleet) -> kube::Result<Action> {
        for ship in &fleet.spec.ships {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": ship, "ownerReferences": [fleet.controller_owner_ref(&())]},
                "data": {"fleet": fleet.name_any()},
            });
            self.maps(fleet).patch(ship, &PatchParams::apply(MANAGER), &Patch::Apply(map)).await?;
        }
        let status = json!({
            "apiVersion": "example.com/v1", "kind": "Fleet",
            "status": {"ready": fleet.spec.ships.len(), "generation": fleet.metadata.generation},
        });
        let fleets: Api<Fleet> = Api::namespaced(self.client.clone(), &fleet.namespace().unwrap());
        fleets.patch_status(&fleet.name_any(), &PatchParams::apply(MANAGER), &Patch::Apply(status)).await?;
        self.report(fleet, "Sailed").await?;
        // Nobody may be listening any more.
        let _ = self.looks.try_send(());
        Ok(Action::requeue(Duration::from_millis(50)))
    }

    async fn sink(&self, fleet: &Fleet) -> kube::Result<Action> {
        let wreck = json!({"metadata": {"name": format!("wreck-of-{}", fleet.name_any())}});
        let wreck = serde_json::from_value(wreck).map_err(kube::Error::SerdeError)?;
        self.maps(fleet).create(&PostParams::default(), &wreck).await?;
        self.report(fleet, "Sank").await?;
        Ok(Action::await_change())
    }

    async fn report(&self, fleet: &Fleet, reason: &str) -> kube::Result<()> {
        let report = Report {
            type_: EventType::Normal,
            reason: reason.into(),
            note: Some("so it goes".into()),
            action: "Reconciling".into(),
            secondary: None,
        };
        self.recorder.publish(&report, &fleet.object_ref(&())).await
    }
}

/// Runs the controller for as long as it is polled.
#[expect(clippy::disallowed_methods, reason = "users make controllers and recorders in this way")]
async fn control(client: Client, looks: mpsc::Sender<()>) {
    let reporter = Reporter { controller: MANAGER.into(), instance: Some("one".into()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let harbour = Harbour { client: client.clone(), recorder, looks };
    let again = |_: Arc<Fleet>, error: &finalizer::Error<kube::Error>, _: Arc<Harbour>| {
        eprintln!("tried again: {error:?}");
        Action::requeue(Duration::from_millis(100))
    };
    Controller::new(Api::<Fleet>::all(client.clone()), watcher::Config::default())
        .owns(Api::<ConfigMap>::all(client), watcher::Config::default().streaming_lists())
        .run(reconcile, again, Arc::new(harbour))
        .for_each(async |_| {})
        .await;
}

fn is_ready(ships: usize) -> impl Fn(Option<&Fleet>) -> bool {
    move |fleet: Option<&Fleet>| {
        let status = fleet.and_then(|fleet| Some((fleet.metadata.generation?, fleet.status.as_ref()?)));
        status.is_some_and(|(generation, status)| (status.ready, status.generation) == (ships, generation))
    }
}

async fn define(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &Fleet::crd()).await.unwrap();
    let established = conditions::is_crd_established();
    soon("the kind", await_condition(definitions, Fleet::crd_name(), established)).await.unwrap();
}

#[tokio::test]
async fn a_controller_makes_mends_and_cleans_up() {
    let cluster = cluster(|builder| builder).await;
    let front = Front::of(cluster.server()).await;
    let client = front.client().await;
    define(&client).await;
    let (looks, mut looked) = mpsc::channel(1_000);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(control(client.clone(), looks));
    let fleets: Api<Fleet> = Api::default_namespaced(client.clone());
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let fleet = Fleet::new("north", FleetSpec { ships: vec!["ann".into(), "bee".into()] });

    // It makes, and takes hold.
    fleets.create(&PostParams::default(), &fleet).await.unwrap();
    let ready =
        soon("two ships", await_condition(fleets.clone(), "north", is_ready(2))).await.unwrap().unwrap();
    assert_eq!(ready.finalizers(), [FINALIZER]);
    let ann = maps.get("ann").await.unwrap();
    assert_eq!(ann.owner_references()[0].uid, ready.uid().unwrap());
    assert_eq!(ann.data.unwrap()["fleet"], "north");

    // It mends what is taken from it.
    let uid = ann.metadata.uid.unwrap();
    maps.delete("ann", &DeleteParams::default()).await.unwrap();
    let is_another = |map: Option<&ConfigMap>| map.is_some_and(|map| map.uid().unwrap() != uid);
    soon("the ship is back", await_condition(maps.clone(), "ann", is_another)).await.unwrap();

    // It follows a change, and looks again by itself when nothing changes.
    let more = json!({"spec": {"ships": ["ann", "bee", "cat"]}});
    fleets.patch("north", &PatchParams::default(), &Patch::Merge(more)).await.unwrap();
    soon("three ships", await_condition(fleets.clone(), "north", is_ready(3))).await.unwrap();
    while looked.try_recv().is_ok() {}
    let before = cluster.server().revision();
    for _ in 0..4 {
        soon("another look", looked.recv()).await.unwrap();
    }
    let written = fleets.get("north").await.unwrap().resource_version().unwrap();
    assert!(written.parse::<u64>().unwrap() <= before.0, "looking again writes nothing");

    // It cleans up, and lets go.
    let uid = ready.uid().unwrap();
    let deleted = fleets.delete("north", &DeleteParams::default()).await.unwrap();
    assert!(deleted.left().unwrap().metadata.deletion_timestamp.is_some(), "the finalizer holds it");
    let gone = await_condition(fleets.clone(), "north", conditions::is_deleted(&uid));
    soon("the fleet is gone", gone).await.unwrap();
    assert!(maps.get_opt("wreck-of-north").await.unwrap().is_some(), "it was cleaned up before it went");
    let is_gone = |map: Option<&ConfigMap>| map.is_none();
    for ship in ["ann", "bee", "cat"] {
        soon("its ships go with it", await_condition(maps.clone(), ship, is_gone)).await.unwrap();
    }
    reports_are_counted(&client, &uid).await;
    tasks.shutdown().await;
    cluster.stop().await;
}

/// What the recorder reported is there in both groups, and what happened often is counted.
async fn reports_are_counted(client: &Client, uid: &str) {
    let events: Api<ClusterEvent> = Api::default_namespaced(client.clone());
    let about = ListParams::default().fields(&format!("regarding.uid={uid}"));
    let found = events.list(&about).await.unwrap().items;
    let of = |reason: &str| found.iter().find(|event| event.reason.as_deref() == Some(reason)).unwrap();
    let sailed = of("Sailed");
    assert_eq!(sailed.reporting_controller.as_deref(), Some(MANAGER));
    assert_eq!(
        sailed.regarding,
        Some(ObjectReference {
            api_version: Some("example.com/v1".into()),
            kind: Some("Fleet".into()),
            name: Some("north".into()),
            namespace: Some("default".into()),
            uid: Some(uid.into()),
            resource_version: sailed.regarding.as_ref().unwrap().resource_version.clone(),
            ..ObjectReference::default()
        })
    );
    assert!(sailed.series.as_ref().unwrap().count > 4, "{sailed:?}");
    assert_eq!(of("Sank").series, None);
    let core: Api<k8s_openapi::api::core::v1::Event> = Api::default_namespaced(client.clone());
    let same = core.get(&sailed.name_any()).await.unwrap();
    assert_eq!((same.reason.as_deref(), same.message.as_deref()), (Some("Sailed"), Some("so it goes")));
}
