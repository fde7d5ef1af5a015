//! Nodes: keys with their values, and directories of them.

use quarterdeck_core::storage::{Entry, List, Page, Revision, Storage, StorageError};
use serde::Serialize;

use super::question::Question;
use super::{Event, Failure, Found};

/// How many bytes of keys and values an answer has at most.
pub(super) const MOST: usize = 64 << 20;
/// How many entries are read at a time.
const BATCH: usize = 500;
/// How many directories lie in each other at most; what lies deeper is shown under its whole name.
const DEPTH: usize = 32;
/// How often a read begins anew that was overtaken by compaction.
const ATTEMPTS: usize = 3;

/// A node of the tree.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    /// Absent for the root.
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dir: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<Node>,
    #[serde(skip_serializing_if = "is_none")]
    modified_index: u64,
    #[serde(skip_serializing_if = "is_none")]
    created_index: u64,
}

fn is_none(index: &u64) -> bool {
    *index == 0
}

impl Node {
    /// A key with its value.
    pub(super) fn of(entry: &Entry) -> Self {
        let value = String::from_utf8_lossy(&entry.value).into_owned();
        Self { value: Some(value), ..Self::without_value(entry.key.as_str(), entry.modified, entry.created) }
    }

    /// A key that is gone.
    pub(super) fn without_value(key: &str, modified: Revision, created: Revision) -> Self {
        let (modified_index, created_index) = (modified.0, created.0);
        Self {
            key: key.to_owned(),
            value: None,
            dir: false,
            nodes: Vec::new(),
            modified_index,
            created_index,
        }
    }

    /// A directory whose first key is this one.
    fn directory(key: &str, first: &Entry) -> Self {
        Self { dir: true, ..Self::without_value(key, first.created, first.created) }
    }

    /// Adds an entry that lies behind all that are there already; `depth` says how deep.
    fn add(&mut self, entry: &Entry, depth: usize) {
        let start = self.key.len() + 1;
        let below = entry.key.as_str().get(start..).unwrap_or_default();
        match below.find('/').filter(|_| depth < DEPTH) {
            None => self.nodes.push(Self::of(entry)),
            Some(end) => {
                let key = &entry.key.as_str()[..start + end];
                if self.nodes.last().is_none_or(|last| !last.dir || last.key != key) {
                    self.nodes.push(Self::directory(key, entry));
                }
                if let Some(last) = self.nodes.last_mut() {
                    last.add(entry, depth + 1);
                }
            }
        }
    }
}

/// Whether a key is hidden below another: etcd does not list names that begin with an underscore.
pub(super) fn is_hidden(key: &str, below: &str) -> bool {
    key.get(below.len()..).is_some_and(|rest| rest.contains("/_"))
}

/// Reads a key or a directory.
pub(super) async fn read(storage: &dyn Storage, question: &Question) -> Result<Found, Failure> {
    let mut attempts = 1;
    loop {
        match try_read(storage, question).await {
            // What was read first is too old by now.
            Err(Unread::Store(StorageError::Compacted(_))) if attempts < ATTEMPTS => attempts += 1,
            Err(Unread::Store(error)) => return Err(error.into()),
            Err(Unread::Refused(failure)) => return Err(failure),
            Ok(found) => return Ok(found),
        }
    }
}

enum Unread {
    Store(StorageError),
    Refused(Failure),
}

impl From<StorageError> for Unread {
    fn from(error: StorageError) -> Self {
        Self::Store(error)
    }
}

async fn try_read(storage: &dyn Storage, question: &Question) -> Result<Found, Unread> {
    let key = &question.key;
    // Of all that begins with a key, itself comes first.
    let first = storage.list(List::prefix(key).limit(1)).await?;
    let index = first.revision;
    let found = |node| Found { event: Event { action: "get", node, prev_node: None }, index };
    if let Some(entry) = first.entries.first().filter(|entry| entry.key.as_str() == key) {
        return Ok(found(Node::of(entry)));
    }
    let mut directory = Node { dir: true, ..Node::without_value(key, Revision(0), Revision(0)) };
    let (prefix, mut after, mut bytes) = (format!("{key}/"), None::<String>, 0);
    loop {
        let wanted = if question.recursive { BATCH } else { 1 };
        let mut list = List::prefix(&prefix).at(index).limit(wanted);
        list.after = after.take().map(Into::into);
        let Page { entries, remaining, .. } = storage.list(list).await?;
        for entry in &entries {
            if directory.created_index == 0 && !key.is_empty() {
                (directory.created_index, directory.modified_index) = (entry.created.0, entry.created.0);
            }
            after = Some(entry.key.to_string());
            if question.recursive {
                if !is_hidden(entry.key.as_str(), key) {
                    bytes += entry.key.as_str().len() + entry.value.len();
                    directory.add(entry, 0);
                }
                continue;
            }
            let below = &entry.key.as_str()[prefix.len()..];
            let child = below.split('/').next().unwrap_or_default();
            let is_directory = child.len() < below.len();
            if is_directory {
                // What lies in it has nothing to tell: on to what follows.
                after = Some(format!("{prefix}{child}/{}", char::MAX));
            }
            if !child.starts_with('_') {
                let name = format!("{prefix}{child}");
                let node = if is_directory { Node::directory(&name, entry) } else { Node::of(entry) };
                bytes += name.len() + node.value.as_ref().map_or(0, String::len);
                directory.nodes.push(node);
            }
        }
        if bytes > MOST {
            let cause = "there is too much to show at once: ask for a part of it, or without \"recursive\"";
            return Err(Unread::Refused(Failure::invalid(cause)));
        }
        if remaining == 0 {
            break;
        }
    }
    if directory.created_index == 0 && !key.is_empty() {
        return Err(Unread::Refused(Failure::not_found(key, index)));
    }
    Ok(found(directory))
}
