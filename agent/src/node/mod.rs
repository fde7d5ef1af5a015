//! The node's own objects: its Node and its Lease.
//!
//! [`Keeper`] creates them, adopts what is there, makes them anew when somebody deletes them, and keeps them fresh: the
//! Lease every quarter of its duration, the Node when something of it changed, and every five minutes.

mod lease;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use quarterdeck_core::client::EventType::Normal;
use quarterdeck_core::client::{Event, Selector};
use quarterdeck_core::component::Stop;
use quarterdeck_core::quantity::Quantity;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::host::{Host, chain};

/// After so long a status is written although nothing changed.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// How long to wait at first before a registration is tried again, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(7));

/// What a node is beside its machine.
#[derive(Debug, Clone)]
pub(crate) struct NodeSettings {
    /// Labels beside those that every node has.
    pub(crate) labels: BTreeMap<String, String>,
    /// What the node has, instead of or beside what its machine has.
    pub(crate) capacity: BTreeMap<String, Quantity>,
    /// The port of the agent's server, if it listens.
    pub(crate) port: Option<u16>,
    /// How often to look whether the status changed.
    pub(crate) status_interval: Duration,
    /// For how long the node is believed to live after its Lease was renewed.
    pub(crate) lease_duration: Duration,
}

/// Keeps a node's objects.
#[derive(Debug)]
pub(crate) struct Keeper {
    host: Arc<Host>,
    settings: NodeSettings,
    /// The node as the API has it, as far as is known.
    node: Option<Node>,
    reported: Option<Instant>,
}

impl Keeper {
    pub(crate) fn new(host: Arc<Host>, settings: NodeSettings) -> Self {
        Self { host, settings, node: None, reported: None }
    }

    /// Keeps the node's objects until it is time to stop.
    pub(crate) async fn run(self, mut stop: Stop) {
        let name = self.host.name.clone();
        let deleted = Arc::new(Notify::new());
        let told = deleted.clone();
        let selector = Selector::all().fields(format!("metadata.name={name}"));
        let nodes = self.host.context.informers.selected::<Node>(selector);
        let _subscription = nodes.subscribe(move |event| {
            if matches!(event, Event::Deleted(_)) {
                told.notify_one();
            }
        });
        stop.or(self.keep(&deleted)).await;
    }

    async fn keep(mut self, deleted: &Notify) {
        self.register().await;
        let mut next_status = Instant::now();
        let mut next_lease = Instant::now();
        let renew = self.settings.lease_duration / 4;
        loop {
            tokio::select! {
                biased;
                () = deleted.notified() => {
                    self.node = None;
                    self.register().await;
                }
                () = tokio::time::sleep_until(next_lease) => {
                    self.renew().await;
                    next_lease = Instant::now() + renew;
                }
                () = tokio::time::sleep_until(next_status) => {
                    self.report().await;
                    next_status = Instant::now() + self.settings.status_interval;
                }
            }
        }
    }

    fn api(&self) -> Api<Node> {
        Api::all(self.host.context.client.clone())
    }

    /// Creates the node or takes over the one that is there, as soon as the API server answers.
    async fn register(&mut self) {
        let (mut wait, longest) = RETRY;
        loop {
            match self.try_register().await {
                Ok(node) => {
                    self.node = Some(node);
                    return;
                }
                Err(error) => {
                    tracing::warn!(node = self.host.name, error = chain(&error), "cannot register the node")
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(longest);
        }
    }

    async fn try_register(&mut self) -> kube::Result<Node> {
        let mut node = Node {
            metadata: ObjectMeta {
                name: Some(self.host.name.clone()),
                labels: Some(self.labels().await),
                ..ObjectMeta::default()
            },
            ..Node::default()
        };
        node.status = Some(self.status(&node).await);
        match self.api().create(&PostParams::default(), &node).await {
            Ok(node) => {
                self.host.recorder.event(&node, Normal, "Starting", "Starting the node agent.");
                Ok(node)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.adopt().await,
            Err(error) => Err(error),
        }
    }

    /// Takes over the node that is there: its labels are brought in order, its status follows.
    async fn adopt(&mut self) -> kube::Result<Node> {
        let node = self.api().get(&self.host.name).await?;
        let wanted = self.labels().await;
        let known = node.metadata.labels.clone().unwrap_or_default();
        if wanted.iter().all(|(key, value)| known.get(key) == Some(value)) {
            return Ok(node);
        }
        let patch = json!({"metadata": {"uid": node.metadata.uid, "labels": wanted}});
        self.api().patch(&self.host.name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Returns the labels that the node must have.
    async fn labels(&self) -> BTreeMap<String, String> {
        let machine = self.host.info().map(|info| info.machine);
        let (os, arch) = machine.map_or_else(
            || ("linux".to_owned(), status::architecture().to_owned()),
            |machine| (machine.operating_system, machine.architecture),
        );
        let mut labels: BTreeMap<String, String> = [
            ("kubernetes.io/hostname", self.host.name.clone()),
            ("kubernetes.io/os", os.clone()),
            ("kubernetes.io/arch", arch.clone()),
            ("beta.kubernetes.io/os", os),
            ("beta.kubernetes.io/arch", arch),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        labels.extend(self.settings.labels.clone());
        labels
    }

    /// Writes the status, if something of it changed or it is time.
    async fn report(&mut self) {
        let Some(node) = self.node.clone() else { return self.register().await };
        let status = json!(self.status(&node).await);
        let old = json!(node.status);
        let is_due = self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY);
        if !is_due && !status::differs(&old, &status) {
            return;
        }
        let mut patch = json!({"metadata": {"uid": node.metadata.uid}, "status": status});
        // This list is merged by type: addresses that are no more have to go.
        if let Some(addresses) = patch["status"]["addresses"].as_array_mut() {
            addresses.insert(0, json!({"$patch": "replace"}));
        }
        match self
            .api()
            .patch_status(&self.host.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            Ok(node) => {
                self.tell_of_readiness(&old, &node);
                self.node = Some(node);
                self.reported = Some(Instant::now());
            }
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                self.node = None;
                self.register().await;
            }
            Err(error) => {
                tracing::warn!(node = self.host.name, error = chain(&error), "cannot write the node's status")
            }
        }
    }

    fn tell_of_readiness(&self, old: &Value, node: &Node) {
        let new = json!(node.status);
        let (old, new) = (status::condition(old, "Ready"), status::condition(&new, "Ready"));
        if old["status"] != new["status"] {
            let reason = if new["status"] == "True" { "NodeReady" } else { "NodeNotReady" };
            let message = format!("Node {} status is now: {reason}", self.host.name);
            self.host.recorder.event(node, Normal, reason, message);
        }
    }

    async fn renew(&mut self) {
        let Some(node) = &self.node else { return };
        if let Err(error) = lease::renew(&self.host, node, self.settings.lease_duration).await {
            tracing::warn!(node = self.host.name, error = chain(&error), "cannot renew the node's lease");
        }
    }
}
