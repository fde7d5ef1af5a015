//! What all parts of an agent share: the node that it is.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use kube::api::Resource;
use quarterdeck_core::client::{Context, EventType, Informer, ObjectKey, Recorder, Selector};
use quarterdeck_core::runtime::{Runtime, RuntimeInfo};

use crate::figures::Figures;

/// The name of the one runtime whose pods' addresses lead nowhere.
const SIMULATED: &str = "simulated";

/// The node, for every part of the agent.
#[derive(Debug)]
pub(crate) struct Host {
    /// The node's name.
    pub(crate) name: String,
    /// The way to the API server, and the clock.
    pub(crate) context: Context,
    /// What runs the pods.
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Tells users what happens.
    pub(crate) recorder: Recorder,
    /// The node's addresses, the main one first.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where volumes are kept; nothing is written if absent.
    pub(crate) root: Option<PathBuf>,
    /// Whether containers can be probed; whoever made the agent may leave that open.
    pub(crate) probes: Option<bool>,
    /// How pods resolve names of the cluster, if there is a way.
    pub(crate) cluster_dns: Option<ClusterDns>,
    /// The pods that are bound to the node.
    pub(crate) pods: Informer<Pod>,
    /// The services of the cluster.
    pub(crate) services: Informer<Service>,
    /// What the runtime said of itself last.
    pub(crate) info: RwLock<Option<RuntimeInfo>>,
    /// Why the runtime did not answer when it was last asked how it is, if so.
    pub(crate) problem: Arc<Mutex<Option<String>>>,
    /// What the agent counts.
    pub(crate) figures: Arc<Figures>,
}

/// Where names of the cluster's services are resolved.
#[derive(Debug, Clone)]
pub(crate) struct ClusterDns {
    /// The servers.
    pub(crate) servers: Vec<IpAddr>,
    /// The domain of the cluster, as `cluster.local`.
    pub(crate) domain: String,
}

impl Host {
    /// Selects the pods of a node.
    pub(crate) fn selector(node: &str) -> Selector {
        Selector::all().fields(format!("spec.nodeName={node}"))
    }

    /// Returns what the runtime said of itself last.
    pub(crate) fn info(&self) -> Option<RuntimeInfo> {
        self.info.read().expect("no holder panics").clone()
    }

    /// Returns the runtime's name, as in containers' ids.
    pub(crate) fn runtime_name(&self) -> String {
        self.info().map(|info| info.name).unwrap_or_default()
    }

    /// Returns whether containers can be probed: whether their addresses lead to them.
    pub(crate) fn can_probe(&self) -> bool {
        self.probes.unwrap_or_else(|| self.runtime_name() != SIMULATED)
    }

    /// Keeps why the runtime does not answer, if so.
    pub(crate) fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().expect("no holder panics") = problem;
    }

    /// Keeps what the runtime says of itself.
    pub(crate) fn set_info(&self, info: RuntimeInfo) {
        *self.info.write().expect("no holder panics") = Some(info);
    }

    /// Returns a pod of the node, if there is one of this name.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.pods.store().get(&ObjectKey::new(namespace, name))
    }

    /// Reports that something happened to a pod.
    pub(crate) fn tell(&self, pod: &Pod, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event(pod, kind, reason, message);
    }

    /// Reports that something happened to a container, which `field` (`spec.containers{name}`) names.
    pub(crate) fn tell_of_container(
        &self,
        pod: &Pod,
        field: &str,
        (kind, reason): (EventType, &str),
        message: impl Into<String>,
    ) {
        let mut about: ObjectReference = pod.object_ref(&());
        about.resource_version.clone_from(&pod.metadata.resource_version);
        about.field_path = Some(field.to_owned());
        self.recorder.event_about(about, kind, reason, message);
    }
}

/// Returns an error with everything that caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
