//! Tells users what happened, as Event objects.

mod correlator;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, ObjectReference};
use kube::api::{Api, Patch, PatchParams, PostParams, Resource};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::correlator::{Action, Correlator, Note};
use super::Context;
use crate::clock::Clock;

/// Whether an event is part of normal life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// It is.
    Normal,
    /// Somebody may want to do something about it.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

/// Creates the events that one component reports. Clones are the same recorder.
///
/// An event that was reported before is counted in the object that exists; ten different messages with one reason within
/// ten minutes become one combined event; of one object at most 25 events are sent at once, then one each five minutes.
///
/// Events go through a queue of 1000 and are sent by a task that belongs to the recorder: reporting never waits. What does
/// not fit is dropped and [counted](Recorder::dropped); an API server that refuses an event is not asked again. The task
/// ends with the last clone: a component calls [`finish`](Recorder::finish) before it returns.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    component: String,
    clock: Clock,
    messages: mpsc::Sender<Message>,
    dropped: AtomicU64,
    _task: JoinSet<()>,
}

enum Message {
    Note(Box<Note>),
    Flush(oneshot::Sender<()>),
}

impl Recorder {
    const QUEUE: usize = 1000;

    pub(super) fn new(context: &Context, component: &str) -> Self {
        let (messages, received) = mpsc::channel(Self::QUEUE);
        let correlator = Correlator::new(component.to_owned(), context.random.fork(component));
        let mut task = JoinSet::new();
        task.spawn(send_all(context.client.clone(), correlator, received));
        Self(Arc::new(Inner {
            component: component.into(),
            clock: context.clock.clone(),
            messages,
            dropped: AtomicU64::new(0),
            _task: task,
        }))
    }

    /// Reports that something happened to `object`.
    ///
    /// `reason` is one word in CamelCase that a program can look for, `message` is for humans.
    pub fn event<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut about = object.object_ref(&());
        about.resource_version.clone_from(&object.meta().resource_version);
        self.event_about(about, kind, reason, message);
    }

    /// Reports that something happened to the object that `about` refers to.
    ///
    /// The event is kept in that object's namespace, or in `default` if it has none.
    pub fn event_about(
        &self,
        about: ObjectReference,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let note =
            Note { about, kind, reason: reason.into(), message: message.into(), at: self.0.clock.now() };
        if self.0.messages.try_send(Message::Note(Box::new(note))).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything reported so far was sent or given up.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.0.messages.send(Message::Flush(done)).await.is_ok() {
            // An error means that the task is gone, and with it what was to be flushed.
            let _ = flushed.await;
        }
    }

    /// Waits as [`flush`](Recorder::flush) does, for at most two seconds: for a component that is about to return.
    pub async fn finish(&self) {
        if tokio::time::timeout(FINISH, self.flush()).await.is_err() {
            tracing::debug!(component = self.0.component, "events were left unsent");
        }
    }

    /// Returns how many events were dropped because the queue was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("component", &self.0.component).finish_non_exhaustive()
    }
}

async fn send_all(client: kube::Client, mut correlator: Correlator, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        match message {
            Message::Note(note) => {
                if let Some(action) = correlator.correlate(&note) {
                    send(&client, action).await;
                }
            }
            Message::Flush(done) => {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }
}

/// How often an event is tried against an API server that does not answer, and how long apart.
const ATTEMPTS: u32 = 12;
const PAUSE: Duration = Duration::from_secs(10);

/// How long a component that stops waits for its events.
const FINISH: Duration = Duration::from_secs(2);

async fn send(client: &kube::Client, mut action: Action) {
    for _ in 0..ATTEMPTS {
        match attempt(client, &action).await {
            Ok(()) => return,
            Err(kube::Error::Api(status)) if status.is_not_found() && matches!(action, Action::Count(_)) => {
                action = action.anew();
            }
            Err(kube::Error::Api(status)) => {
                tracing::debug!(%status, "event refused");
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "event not sent, trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    tracing::warn!("event dropped: the API server does not answer");
}

async fn attempt(client: &kube::Client, action: &Action) -> kube::Result<()> {
    let event = action.event();
    let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    match action {
        Action::Create(event) => {
            events.create(&PostParams::default(), event).await?;
        }
        Action::Count(event) => {
            let name = event.metadata.name.as_deref().unwrap_or_default();
            let change = serde_json::json!({
                "count": event.count,
                "lastTimestamp": event.last_timestamp,
                "message": event.message,
            });
            events.patch(name, &PatchParams::default(), &Patch::Strategic(change)).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
