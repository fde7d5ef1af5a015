//! Waiting for a change.

use std::time::Duration;

use futures::StreamExt as _;
use quarterdeck_core::storage::{Change, Commit, Revision, Storage, StorageError};

use super::node::{Node, is_hidden};
use super::question::Question;
use super::{Event, Failure, Found};

/// How long a wait lasts at most: as etcd's.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits for the first change of a key, or of what lies below it if the question is recursive. Returns nothing if there was none
/// for five minutes.
pub(super) async fn wait(storage: &dyn Storage, question: &Question) -> Result<Option<Found>, Failure> {
    let now = storage.revision().await?;
    let first = question.wait_index.unwrap_or(Revision(now.0 + 1));
    // A change that is still to come may have any index.
    let after = Revision((first.0 - 1).min(now.0));
    let cleared = |error| match error {
        StorageError::Compacted(compacted) => Failure::cleared(compacted, first),
        other => other.into(),
    };
    let mut commits = storage.watch(&question.key, after).await.map_err(cleared)?;
    let changed = async {
        while let Some(commit) = commits.next().await {
            let commit = commit.map_err(cleared)?;
            let change = commit.changes.iter().find(|change| concerns(change, question));
            if let Some(change) = change.filter(|_| commit.revision >= first) {
                return Ok(Some(Found { event: event(&commit, change), index: now }));
            }
        }
        Ok(None)
    };
    tokio::time::timeout(PATIENCE, changed).await.unwrap_or(Ok(None))
}

fn concerns(change: &Change, question: &Question) -> bool {
    let key = change.key().as_str();
    match key.strip_prefix(question.key.as_str()) {
        Some("") => true,
        Some(below) => question.recursive && below.starts_with('/') && !is_hidden(key, &question.key),
        None => false,
    }
}

fn event(commit: &Commit, change: &Change) -> Event {
    match change {
        Change::Put { entry, previous: None } => {
            Event { action: "create", node: Node::of(entry), prev_node: None }
        }
        Change::Put { entry, previous: Some(previous) } => {
            Event { action: "set", node: Node::of(entry), prev_node: Some(Node::of(previous)) }
        }
        Change::Delete { previous } => {
            let key = previous.key.as_str();
            let node = Node::without_value(key, commit.revision, previous.created);
            Event { action: "delete", node, prev_node: Some(Node::of(previous)) }
        }
    }
}
