//! What the engine says happens.
//!
//! One task reads the engine's events and passes them on, so that a reader that is slow or gone does not hold up the engine, which
//! forgets what it cannot deliver.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures::StreamExt;
use jiff::Timestamp;
use quarterdeck_core::runtime::{ContainerState, Event, EventKind, Exit, ExitReason, RuntimeError};

use super::Node;
use super::labels::{NODE, Tag};
use super::status;

/// How long to wait for an engine that is gone, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Passes on what happens from `since` on, as long as the runtime is there.
pub(super) async fn pump(node: Arc<Node>, mut since: String) {
    loop {
        let error = listen(&node, &since).await;
        tracing::warn!(node = node.engine.node, %error, "the engine's events were interrupted");
        node.listening.send_replace(false);
        node.engine.forget(None);
        node.hub.interrupt();
        let mut pause = PAUSE.0;
        since = loop {
            tokio::time::sleep(pause).await;
            match now(&node).await {
                Ok(now) => break now,
                Err(_) => pause = (pause * 2).min(PAUSE.1),
            }
        };
        node.listening.send_replace(true);
    }
}

/// Returns the time of the engine's clock, as it wants times: in seconds, with nanoseconds.
pub(super) async fn now(node: &Node) -> Result<String, RuntimeError> {
    let now = node.engine.info().await?.system_time.unwrap_or_default();
    let now: Timestamp =
        now.parse().map_err(|_| RuntimeError::unavailable(format!("the engine says that it is {now:?}")))?;
    Ok(format!("{}.{:09}", now.as_second(), now.subsec_nanosecond()))
}

/// Passes on what happens until that ends, and returns why.
async fn listen(node: &Node, since: &str) -> String {
    let filters = [
        ("type", vec!["container".to_owned()]),
        ("event", ["start", "die", "destroy"].map(str::to_owned).to_vec()),
        ("label", vec![format!("{NODE}={}", node.engine.node)]),
    ];
    let options = EventsOptions {
        since: Some(since.to_owned()),
        filters: Some(filters.into_iter().map(|(name, values)| (name.to_owned(), values)).collect()),
        ..EventsOptions::default()
    };
    let mut events = std::pin::pin!(node.engine.docker.events(Some(options)));
    while let Some(message) = events.next().await {
        match message {
            Ok(message) => pass_on(node, message).await,
            Err(error) => return error.to_string(),
        }
    }
    "the engine closed the connection".to_owned()
}

async fn pass_on(node: &Node, message: EventMessage) {
    let (Some(action), Some(actor)) = (message.action, message.actor) else { return };
    let (Some(id), Some(attributes)) = (actor.id, actor.attributes) else { return };
    let Some(tag) = Tag::read(&attributes) else { return };
    node.engine.forget(Some(&id));
    let kind = match (action.as_str(), tag.key()) {
        ("start", Some(key)) => EventKind::Started { name: key.name, attempt: key.attempt },
        ("die", Some(key)) => {
            let code = attributes.get("exitCode").and_then(|code| code.parse().ok());
            let at = message.time_nano.map(i128::from).and_then(|at| Timestamp::from_nanosecond(at).ok());
            let exit = exit(node, &id, code, at.unwrap_or_default()).await;
            EventKind::Exited { name: key.name, attempt: key.attempt, exit }
        }
        ("start", None) => return,
        ("die", None) => {
            node.kill_all(&tag.uid).await;
            EventKind::PodChanged
        }
        _ => EventKind::PodChanged,
    };
    node.hub.publish(&Event { pod: tag.uid, kind });
}

/// Returns how a container ended: as the engine tells it, or, if it is gone by now, as the event did.
async fn exit(node: &Node, id: &str, exit_code: Option<i32>, finished_at: Timestamp) -> Exit {
    let seen = node.engine.inspect(id).await.ok().flatten();
    match seen.as_deref().map(status::state) {
        Some(ContainerState::Exited(exit)) => exit,
        _ => Exit {
            exit_code,
            signal: None,
            started_at: None,
            finished_at,
            reason: ExitReason::of_code(exit_code),
            message: String::new(),
        },
    }
}
