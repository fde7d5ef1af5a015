//! The cluster as the driver sees it: what it watches, and what it has decided but not yet seen done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quarterdeck_core::client::{ObjectKey, Store};
use quarterdeck_core::scheduling::{PodInfo, Snapshot, Symbol};

use super::queue::Waiting;
use crate::digest::{Unscheduled, WatchedNode, WatchedPod};

/// The cluster, and the pods that are assumed to be where they are about to be bound.
#[derive(Debug)]
pub(super) struct View {
    pub(super) cluster: Snapshot,
    nodes: Store<WatchedNode>,
    pods: Store<WatchedPod>,
    assumed: BTreeMap<Symbol, Waiting>,
    news: News,
}

/// What changed since it was last asked.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Nodes that may have more room than before, or be open to more pods.
    pub(super) nodes: BTreeSet<Symbol>,
    /// Whether anything changed.
    pub(super) any: bool,
}

/// What to do with a pod that changed.
pub(super) enum Then {
    /// It waits for a node.
    Offer(Arc<PodInfo>),
    /// It waits for none, or no longer.
    Withdraw(Symbol),
    /// It is being bound.
    Leave,
}

impl View {
    pub(super) fn new(nodes: Store<WatchedNode>, pods: Store<WatchedPod>) -> Self {
        Self { cluster: Snapshot::new(), nodes, pods, assumed: BTreeMap::new(), news: News::default() }
    }

    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Returns what the pod's status says of why it is not scheduled.
    pub(super) fn unscheduled(&self, pod: &PodInfo) -> Option<Unscheduled> {
        self.pods.get(&ObjectKey::new(pod.namespace(), pod.name()))?.unscheduled.clone()
    }

    pub(super) fn node_changed(&mut self, key: &ObjectKey) {
        match self.nodes.get(key) {
            Some(node) => {
                let known = self.cluster.named(&key.name);
                // Heartbeats and the like change nothing here.
                if known.is_some_and(|known| *known.info() == *node.info) {
                    return;
                }
                self.cluster.set_node(node.info.clone());
                self.news.nodes.insert(node.info.name.clone());
            }
            None => self.cluster.remove_node(&key.name),
        }
        self.news.any = true;
    }

    pub(super) fn pod_changed(&mut self, key: &ObjectKey) -> Then {
        let name = Symbol::from(key.to_string());
        let Some(pod) = self.pods.get(key).filter(|pod| !pod.finished) else {
            self.assumed.remove(&name);
            self.lift(&name);
            return Then::Withdraw(name);
        };
        if let Some(node) = &pod.info.node {
            self.assumed.remove(&name);
            self.place(&pod.info, node);
            return Then::Withdraw(name);
        }
        if self.assumed.get(&name).is_some_and(|assumed| assumed.pod.uid == pod.info.uid) {
            return Then::Leave;
        }
        self.assumed.remove(&name);
        self.lift(&name);
        if pod.info.terminating || pod.gated { Then::Withdraw(name) } else { Then::Offer(pod.info.clone()) }
    }

    /// Takes a pod to be on a node from now on.
    pub(super) fn assume(&mut self, waiting: Waiting, node: Symbol) {
        self.cluster.place(waiting.pod.clone(), node);
        self.assumed.insert(waiting.pod.key.clone(), waiting);
    }

    /// Takes back what was assumed about a pod, if it still is.
    pub(super) fn forget(&mut self, pod: &PodInfo) -> Option<Waiting> {
        if self.assumed.get(&pod.key)?.pod.uid != pod.uid {
            return None;
        }
        self.lift(&pod.key);
        self.assumed.remove(&pod.key)
    }

    fn place(&mut self, pod: &Arc<PodInfo>, node: &Symbol) {
        match self.cluster.pod(pod.key.as_str()) {
            Some((known, on)) if known == pod && on == node => return,
            Some((known, on)) if on != node || needs(known) != needs(pod) => {
                self.news.nodes.insert(on.clone());
            }
            Some(_) | None => {}
        }
        self.cluster.place(pod.clone(), node.clone());
        self.news.any = true;
    }

    fn lift(&mut self, name: &Symbol) {
        if let Some((_, node)) = self.cluster.pod(name.as_str()) {
            self.news.nodes.insert(node.clone());
            self.news.any = true;
            self.cluster.remove_pod(name.as_str());
        }
    }
}

/// Returns what of a pod decides where others can go.
fn needs(pod: &PodInfo) -> impl PartialEq + '_ {
    (&pod.requests, &pod.host_ports, &pod.labels, pod.terminating)
}
