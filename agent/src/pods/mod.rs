//! The pods of a node: one worker per pod, and the one that gives them their news.
//!
//! [`Pods`] follows two sources: the API (which pods are wanted here) and the runtime (what happened to containers). Each pod
//! has a worker, which does one thing after the other, so that a slow pod holds up nobody else.

mod admission;
mod conditions;
mod container;
mod health;
mod image;
mod mailbox;
mod plan;
mod probes;
mod remembered;
mod report;
mod sandbox;
mod status;
mod stray;
mod termination;
mod view;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use quarterdeck_core::client::{ObjectKey, WorkQueue};
use quarterdeck_core::component::Stop;
use quarterdeck_core::runtime::{Event, Events, PodStatus, PodUid, RuntimeError};
use tokio::task::{JoinError, JoinSet};

use self::mailbox::Mailbox;
use self::worker::Worker;
use crate::host::{Host, chain};
use crate::volumes::Volumes;

/// How long to wait before a runtime is asked again that did not answer.
const RECONNECT: Duration = Duration::from_secs(1);

/// The pods of a node.
pub(crate) struct Pods {
    host: Arc<Host>,
    workers: BTreeMap<PodUid, Employed>,
    tasks: JoinSet<PodUid>,
    /// What the runtime held before there was a worker for it.
    held: BTreeMap<PodUid, Held>,
    /// Pods whose worker is done, until the informer knows that they are gone.
    ended: BTreeMap<ObjectKey, PodUid>,
}

/// A pod that the runtime held.
struct Held {
    status: PodStatus,
    /// Something happened to it since.
    is_stale: bool,
}

/// A worker, as seen from outside.
struct Employed {
    key: ObjectKey,
    mailbox: Mailbox,
}

/// Why the runtime is not followed any more.
enum Interruption {
    Stopped,
    Disconnected,
}

impl Pods {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self {
            host,
            workers: BTreeMap::new(),
            tasks: JoinSet::new(),
            held: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    /// Runs the pods until it is time to stop; then leaves them running, or ends each within `end_within`.
    pub(crate) async fn run(mut self, mut stop: Stop, end_within: Option<Duration>) {
        let queue = WorkQueue::new();
        let told = queue.clone();
        let host = self.host.clone();
        let _subscription = host.pods.subscribe(move |event| told.add(ObjectKey::of(&**event.object())));
        let synced = async {
            host.pods.synced().await;
            host.services.synced().await;
        };
        if stop.or(synced).await.is_none() {
            if end_within.is_some() {
                self.take_all().await;
                self.finish(end_within).await;
            }
            return;
        }
        let mut is_first = true;
        while let Some((events, held)) = stop.or(self.connect()).await {
            self.take_stock(held, is_first);
            is_first = false;
            if let Interruption::Stopped = self.follow(events, &queue, &mut stop).await {
                break;
            }
        }
        self.finish(end_within).await;
    }

    /// Opens the runtime's events and lists what it holds, as soon as it answers.
    async fn connect(&mut self) -> (Events, Vec<PodStatus>) {
        loop {
            match self.try_connect().await {
                Ok(connected) => return connected,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the runtime does not answer");
                    tokio::time::sleep(RECONNECT).await;
                }
            }
        }
    }

    async fn try_connect(&self) -> Result<(Events, Vec<PodStatus>), RuntimeError> {
        self.host.set_info(self.host.runtime.info().await?);
        // The events first, so that nothing that happens after the list is missed.
        let events = self.host.runtime.events().await?;
        let held = self.host.runtime.pods().await?;
        Ok((events, held))
    }

    /// Compares what the runtime holds with what the API wants here.
    fn take_stock(&mut self, held: Vec<PodStatus>, is_first: bool) {
        for employed in self.workers.values() {
            employed.mailbox.put(|news| news.refresh = true);
        }
        let wanted: BTreeMap<PodUid, Arc<Pod>> =
            self.host.pods.store().list().into_iter().map(|pod| (uid(&pod), pod)).collect();
        if is_first {
            let keep = held.iter().map(|pod| pod.uid.clone()).chain(wanted.keys().cloned()).collect();
            Volumes::sweep(&self.host, &keep);
        }
        for pod in held {
            if self.workers.contains_key(&pod.uid) {
                continue;
            }
            if wanted.contains_key(&pod.uid) {
                if is_first {
                    self.held.insert(pod.uid.clone(), Held { status: pod, is_stale: false });
                }
            } else {
                tracing::info!(pod = %pod.uid, name = pod.name, "removing a pod that should not be here");
                self.end_stray(pod);
            }
        }
    }

    /// Hands out news until it is time to stop or the runtime has to be connected again.
    async fn follow(
        &mut self,
        mut events: Events,
        queue: &WorkQueue<ObjectKey>,
        stop: &mut Stop,
    ) -> Interruption {
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return Interruption::Stopped,
                Some(ended) = self.tasks.join_next() => self.forget(ended),
                event = events.next() => match event {
                    Some(Ok(event)) => self.deliver(event),
                    Some(Err(error)) => {
                        tracing::debug!(error = chain(&error), "the runtime's events were interrupted");
                        return Interruption::Disconnected;
                    }
                    None => return Interruption::Disconnected,
                },
                Some(key) = queue.next() => {
                    self.look(&key);
                    queue.done(&key);
                }
            }
        }
    }

    /// Begins to end whatever the runtime holds: the agent stops before it knows what is wanted.
    async fn take_all(&mut self) {
        match self.host.runtime.pods().await {
            Ok(held) => held.into_iter().for_each(|pod| self.end_stray(pod)),
            Err(error) => {
                tracing::warn!(error = chain(&error), "the runtime does not answer: what it runs goes on")
            }
        }
    }

    fn end_stray(&mut self, pod: PodStatus) {
        let mailbox = Mailbox::default();
        let key = ObjectKey::new(&pod.namespace, &pod.name);
        self.workers.insert(pod.uid.clone(), Employed { key, mailbox: mailbox.clone() });
        self.tasks.spawn(stray::remove(self.host.clone(), pod, mailbox));
    }

    fn forget(&mut self, ended: Result<PodUid, JoinError>) {
        match ended {
            Ok(uid) => {
                if let Some(employed) = self.workers.remove(&uid) {
                    let left = self.host.pods.store().get(&employed.key);
                    if left.is_some_and(|pod| self::uid(&pod) == uid) {
                        self.ended.insert(employed.key, uid);
                    }
                }
            }
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    fn deliver(&mut self, event: Event) {
        if let Some(employed) = self.workers.get(&event.pod) {
            employed.mailbox.put(|news| news.events.push(event));
        } else if let Some(held) = self.held.get_mut(&event.pod) {
            held.is_stale = true;
        }
    }

    /// Looks at what the API has under a name, and tells whom it concerns.
    fn look(&mut self, key: &ObjectKey) {
        let pod = self.host.pods.store().get(key);
        let present = pod.as_ref().map(|pod| uid(pod));
        for (uid, employed) in &self.workers {
            if employed.key == *key && present.as_ref() != Some(uid) {
                employed.mailbox.put(|news| news.is_gone = true);
            }
        }
        if self.ended.get(key).is_some_and(|ended| present.as_ref() != Some(ended)) {
            self.ended.remove(key);
        }
        let Some(pod) = pod else { return };
        let uid = uid(&pod);
        if self.ended.contains_key(key) {
            return;
        }
        if let Some(employed) = self.workers.get(&uid) {
            employed.mailbox.put(|news| news.pod = Some(pod));
            return;
        }
        let mailbox = Mailbox::default();
        self.workers.insert(uid.clone(), Employed { key: key.clone(), mailbox: mailbox.clone() });
        let held = self.held.remove(&uid);
        if held.as_ref().is_some_and(|held| held.is_stale) {
            mailbox.put(|news| news.refresh = true);
        }
        let status = held.map(|held| held.status);
        self.tasks.spawn(Worker::new(self.host.clone(), mailbox, pod, status).run());
    }

    async fn finish(mut self, end_within: Option<Duration>) {
        if let Some(within) = end_within {
            for employed in self.workers.values() {
                employed.mailbox.put(|news| news.end_within = Some(within));
            }
            while self.tasks.join_next().await.is_some() {}
        }
        self.tasks.shutdown().await;
    }
}

fn uid(pod: &Pod) -> PodUid {
    PodUid::new(pod.metadata.uid.clone().unwrap_or_default())
}
