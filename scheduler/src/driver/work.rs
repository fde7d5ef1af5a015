//! The driver's task: takes in changes, decides, and carries out.

use std::collections::VecDeque;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use quarterdeck_core::client::{Context, EventType, ObjectKey, Recorder, Store};
use quarterdeck_core::component::{BoxError, Stop};
use quarterdeck_core::scheduling::{Decision, Node, NodeId, PodInfo, Scheduler, Symbol};
use serde_json::json;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::SchedulerDriver;
use super::actions::{self, Done};
use super::figures::{Figures, Outcome};
use super::inbox::{Change, Inbox};
use super::queue::{Hint, Queue, Until, Waiting};
use super::view::{Then, View};
use crate::digest::{WatchedNode, WatchedPod};

/// Above this many changed nodes, it is cheaper to try the pods that wait than to ask which of them might fit.
const MANY_NODES: usize = 64;
/// How long a message of an event may be, in bytes (as the API has it).
const LONGEST_MESSAGE: usize = 1024;

struct Named {
    name: Symbol,
    scheduler: Box<dyn Scheduler>,
    recorder: Recorder,
}

pub(super) struct Work {
    /// Holds the informers too: they end with it.
    context: Context,
    schedulers: Vec<Named>,
    view: View,
    queue: Queue,
    inbox: Inbox,
    actions: JoinSet<Done>,
    most_actions: usize,
    figures: Figures,
}

enum Next {
    Stop,
    Done(Result<Done, JoinError>),
    Changes(VecDeque<Change>),
    Retry,
    Decide,
}

impl Work {
    /// `recorders` are in the order of the driver's schedulers.
    pub(super) fn new(
        driver: SchedulerDriver,
        nodes: Store<WatchedNode>,
        pods: Store<WatchedPod>,
        inbox: Inbox,
        recorders: Vec<Recorder>,
    ) -> Self {
        let names = driver.schedulers.keys().map(|name| Symbol::from(name.clone()));
        let figures = Figures::new(&driver.context.metrics, names);
        let named = driver.schedulers.into_iter().zip(recorders);
        let named =
            named.map(|((name, scheduler), recorder)| Named { name: name.into(), scheduler, recorder });
        Self {
            context: driver.context,
            schedulers: named.collect(),
            view: View::new(nodes, pods),
            queue: Queue::default(),
            inbox,
            actions: JoinSet::new(),
            most_actions: driver.actions,
            figures,
        }
    }

    pub(super) async fn run(mut self, mut stop: Stop) -> Result<(), BoxError> {
        loop {
            match self.next(&mut stop).await {
                Next::Stop => break,
                Next::Done(done) => self.finish(done?),
                Next::Changes(changes) => self.take_in(changes),
                Next::Retry => self.queue.retry_due(),
                Next::Decide => {}
            }
            // After every kind of news, so that no amount of it keeps pods waiting for good.
            if self.may_decide() {
                self.decide(&stop);
            }
            self.figures.pending(self.queue.depths());
        }
        while let Some(done) = self.actions.join_next().await {
            self.finish(done?);
        }
        futures::future::join_all(self.schedulers.iter().map(|named| named.recorder.finish())).await;
        Ok(())
    }

    async fn next(&mut self, stop: &mut Stop) -> Next {
        let may_decide = self.may_decide();
        let retry = self.queue.next_retry();
        let due = async {
            match retry {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.wait() => Next::Stop,
            Some(done) = self.actions.join_next() => Next::Done(done),
            changes = self.inbox.take() => Next::Changes(changes),
            () = due => Next::Retry,
            () = tokio::task::yield_now(), if may_decide => Next::Decide,
        }
    }

    fn may_decide(&self) -> bool {
        self.queue.has_ready() && self.actions.len() < self.most_actions
    }

    fn take_in(&mut self, changes: VecDeque<Change>) {
        for change in changes {
            match change {
                Change::Node(key) => self.view.node_changed(&key),
                Change::Pod(key) => self.pod_changed(&key),
            }
        }
        self.retry_early();
    }

    fn pod_changed(&mut self, key: &ObjectKey) {
        match self.view.pod_changed(key) {
            Then::Offer(pod) if self.schedulers.iter().any(|named| named.name == pod.scheduler) => {
                self.queue.offer(pod);
            }
            Then::Offer(pod) => drop(self.queue.remove(&pod.key)),
            Then::Withdraw(key) => drop(self.queue.remove(&key)),
            Then::Leave => {}
        }
    }

    /// Tries pods again that what happened may help.
    fn retry_early(&mut self) {
        let news = self.view.take_news();
        if news.any {
            self.queue.retry_early(Until::Change, &Hint::Anything, |_| true);
        }
        if news.nodes.len() > MANY_NODES {
            self.queue.retry_early(Until::Room, &Hint::Anything, |_| true);
            return;
        }
        let changed = news.nodes.iter().filter_map(|name| self.view.cluster.named(name.as_str()));
        let changed: Arc<[NodeId]> = changed.map(Node::id).collect();
        if changed.is_empty() {
            return;
        }
        let (schedulers, cluster) = (&self.schedulers, &self.view.cluster);
        self.queue.retry_early(Until::Room, &Hint::Nodes(changed.clone()), |pod| {
            let named = schedulers.iter().find(|named| named.name == pod.scheduler);
            named.is_some_and(|named| {
                let mut nodes = changed.iter().filter_map(|id| cluster.node(*id));
                nodes.any(|node| named.scheduler.might_fit(pod, node))
            })
        });
    }

    /// Decides about the pod that is next.
    fn decide(&mut self, stop: &Stop) {
        let Some(mut waiting) = self.queue.pop() else { return };
        let Some(named) = self.schedulers.iter_mut().find(|named| named.name == waiting.pod.scheduler) else {
            return;
        };
        let cluster = &self.view.cluster;
        if let Some(Hint::Nodes(nodes)) = &waiting.hint {
            // Another pod may have taken the room in the meantime.
            let mut changed = nodes.iter().filter_map(|id| cluster.node(*id));
            if !changed.any(|node| named.scheduler.might_fit(&waiting.pod, node)) {
                self.queue.put_back_unhelped(waiting);
                return;
            }
        }
        let began = Instant::now();
        let decision = named.scheduler.schedule(&waiting.pod, cluster);
        self.figures.decided(began.elapsed());
        if let Decision::Bind(_) = decision {
            self.figures.binds(&waiting, began);
        } else {
            self.figures.attempted(&waiting.pod.scheduler, Outcome::Unschedulable, began.elapsed());
        }
        match decision {
            Decision::Bind(node) => self.bind(waiting, node, stop),
            Decision::Preempt { node, victims } => self.preempt(waiting, node, &victims),
            Decision::Wait => self.queue.put_back(waiting, Until::Change),
            Decision::Unschedulable(refusals) => {
                let message = refusals.to_string();
                if waiting.hint.is_none() {
                    self.report(&mut waiting, message, None);
                    self.queue.put_back(waiting, Until::Room);
                } else {
                    // A retry that was not due is worth a word only if it has something new to say.
                    if waiting.reported.as_ref() != Some(&message) {
                        self.report(&mut waiting, message, None);
                    }
                    self.queue.put_back_unhelped(waiting);
                }
            }
        }
    }

    fn bind(&mut self, waiting: Waiting, node: NodeId, stop: &Stop) {
        let Some(node) = self.view.cluster.node(node).map(|node| node.name().clone()) else {
            tracing::error!(pod = %waiting.pod.key, scheduler = %waiting.pod.scheduler, "bound to a node that is not there");
            self.figures.bound(&waiting.pod, Outcome::Error);
            self.queue.put_back(waiting, Until::Time);
            return;
        };
        let pod = waiting.pod.clone();
        self.view.assume(waiting, node.clone());
        self.actions.spawn(actions::bind(self.context.client.clone(), pod, node, stop.clone()));
    }

    fn preempt(&mut self, mut waiting: Waiting, node: NodeId, victims: &[Symbol]) {
        let pod = waiting.pod.clone();
        let found = self.view.cluster.node(node).map(|node| {
            let lesser =
                |victim: &&Arc<PodInfo>| victims.contains(&victim.key) && victim.priority < pod.priority;
            (node.name().clone(), node.pods().iter().filter(lesser).cloned().collect::<Vec<_>>())
        });
        let Some((node, victims)) =
            found.filter(|(_, found)| !found.is_empty() && found.len() == victims.len())
        else {
            tracing::error!(pod = %pod.key, scheduler = %pod.scheduler, "preempts what is not there or not less important");
            self.queue.put_back(waiting, Until::Time);
            return;
        };
        self.figures.preempted(victims.len());
        let message = format!("waiting for {} pod(s) of lower priority to leave {node}", victims.len());
        self.report(&mut waiting, message, Some(&node));
        self.queue.put_back(waiting, Until::Room);
        self.actions.spawn(actions::evict(self.context.client.clone(), pod, node, victims));
    }

    /// Tells users why a pod has no node: by an event, and by the pod's status unless that says so already.
    fn report(&mut self, waiting: &mut Waiting, message: String, nominate: Option<&Symbol>) {
        let pod = &waiting.pod;
        self.event(pod, pod, EventType::Warning, "FailedScheduling", &message);

        let told = self.view.unscheduled(pod);
        let is_told =
            told.as_ref().is_some_and(|told| told.reason == "Unschedulable" && told.message == message);
        let is_nominated = nominate.is_none() || pod.nominated.as_ref() == nominate;
        if !is_told || !is_nominated {
            let mut condition = json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": &message,
            });
            if told.is_none() {
                condition["lastTransitionTime"] =
                    json!(self.context.clock.now().strftime("%FT%TZ").to_string());
            }
            let mut status = json!({ "conditions": [condition] });
            if let Some(node) = nominate {
                status["nominatedNodeName"] = node.as_str().into();
            }
            self.actions.spawn(actions::report(self.context.client.clone(), pod.clone(), status));
        }
        waiting.reported = Some(message);
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Bound { pod, node } => {
                self.figures.bound(&pod, Outcome::Scheduled);
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.event(&pod, &pod, EventType::Normal, "Scheduled", &message);
            }
            Done::NotBound { pod, why } => {
                self.figures.bound(&pod, Outcome::Error);
                // Whoever is gone or has found a node meanwhile needs no more telling.
                let Some(waiting) = self.view.forget(&pod) else { return };
                if let Some(why) = why {
                    let message = format!("binding rejected: {why}");
                    self.event(&pod, &pod, EventType::Warning, "FailedScheduling", &message);
                }
                self.queue.put_back(waiting, Until::Time);
                // What was heard of the pod while it was being bound was left for now.
                self.pod_changed(&ObjectKey::new(pod.namespace(), pod.name()));
                self.retry_early();
            }
            Done::Evicted { pod, node, victims } => {
                let message = format!("Preempted by pod {} on node {node}", pod.uid);
                for victim in &victims {
                    self.event(victim, &pod, EventType::Normal, "Preempted", &message);
                }
            }
            Done::Reported => {}
        }
    }

    /// Records an event about a pod, in the name of the scheduler of `by`.
    fn event(&self, about: &PodInfo, by: &PodInfo, kind: EventType, reason: &str, message: &str) {
        let Some(named) = self.schedulers.iter().find(|named| named.name == by.scheduler) else { return };
        let object = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(about.namespace().into()),
            name: Some(about.name().into()),
            uid: Some(about.uid.to_string()),
            ..ObjectReference::default()
        };
        named.recorder.event_about(object, kind, reason, shortened(message));
    }
}

fn shortened(message: &str) -> String {
    const END: &str = " ...";
    if message.len() <= LONGEST_MESSAGE {
        return message.into();
    }
    let cut = message.floor_char_boundary(LONGEST_MESSAGE - END.len());
    format!("{}{END}", &message[..cut])
}
