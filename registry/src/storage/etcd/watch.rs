//! Watches: whole commits, in order, over lost connections.

use std::collections::VecDeque;
use std::time::Duration;

use etcd_client::proto::{PbEvent, PbWatchResponse};
use etcd_client::{Client, GetOptions, WatchOptions, WatchRequestSender, WatchResponseStream};
use futures::StreamExt as _;
use futures::stream;
use quarterdeck_core::storage::{Change, Commit, Commits, Revision, StorageError};

use super::error::Failure;
use super::keyspace::{Keyspace, from_etcd, to_etcd};
use super::members::Members;
use super::{EtcdStorage, LARGEST_ANSWER};
use crate::cache::ROOT;
use crate::status::chain;

/// How long to wait before the first attempt to go on, and before the later ones at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The type of an event that deletes a key.
const DELETE: i32 = 1;

/// Starts a watch.
pub(super) async fn watch(
    storage: &EtcdStorage,
    prefix: &str,
    after: Revision,
) -> Result<Commits, StorageError> {
    let mut watching = Watching {
        members: storage.members.clone(),
        commits: Collector { keys: storage.keys.clone(), at: after, partial: Vec::new() },
        prefix: prefix.to_owned(),
        resume_at: after,
        connection: None,
        ready: VecDeque::new(),
    };
    let mut index = storage.members.preferred();
    let first = index;
    loop {
        match watching.connect(index).await {
            Ok(connection) => {
                watching.connection = Some(connection);
                break;
            }
            Err(Ended::Lost(_)) if storage.members.after(index) != first => {
                index = storage.members.after(index)
            }
            Err(Ended::Lost(failure)) => return Err(failure.into()),
            Err(Ended::For(error)) => return Err(error),
        }
    }
    let commits = stream::unfold(Some(watching), async |watching| {
        let mut watching = watching?;
        match watching.next().await {
            Ok(commit) => Some((Ok(commit), Some(watching))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(commits.boxed())
}

/// Returns up to where etcd is compacted, given a revision that is. Only watches are told.
pub(super) async fn compacted(storage: &EtcdStorage, asked: Revision) -> Result<Revision, Failure> {
    let key = storage.keys.place(ROOT);
    let compacted = storage.members.read(move |client| {
        let key = key.clone();
        async move {
            let options = WatchOptions::new().with_start_revision(to_etcd(asked));
            let (_requests, mut responses) = client.watch_client().watch(key, Some(options)).await?.split();
            while let Some(message) = responses.message().await? {
                if message.0.compact_revision > 0 {
                    return Ok(from_etcd(message.0.compact_revision));
                }
            }
            Ok(asked)
        }
    });
    compacted.await
}

/// A watch, and how far it is.
struct Watching {
    members: Members,
    commits: Collector,
    prefix: String,
    /// No commit up to here is still to come: a new connection may begin there.
    resume_at: Revision,
    connection: Option<Connection>,
    /// What was received and not yet asked for: at most what one message holds.
    ready: VecDeque<Commit>,
}

/// A connection that serves one watch.
struct Connection {
    responses: WatchResponseStream,
    index: usize,
    /// etcd does not end a watch whose requests end, other servers of its protocol do.
    _requests: WatchRequestSender,
}

/// Why there is nothing more to come from a connection.
enum Ended {
    /// It was lost, or refused.
    Lost(Failure),
    /// The watch is over.
    For(StorageError),
}

impl Watching {
    /// Returns the next commit, however many connections that takes.
    async fn next(&mut self) -> Result<Commit, StorageError> {
        loop {
            if let Some(commit) = self.ready.pop_front() {
                return Ok(commit);
            }
            let connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.reconnect().await?,
            };
            match self.receive(connection).await {
                Ok(()) => {}
                Err(Ended::For(error)) => return Err(error),
                Err(Ended::Lost(failure)) => {
                    let error = StorageError::from(failure);
                    tracing::warn!(error = %chain(&error), after = %self.resume_at, "a watch of etcd was cut off: it goes on elsewhere");
                }
            }
        }
    }

    /// Takes a message of a connection, and keeps the connection if it is still good.
    async fn receive(&mut self, mut connection: Connection) -> Result<(), Ended> {
        let endpoint = self.members.endpoint(connection.index);
        let message = connection.responses.message().await;
        let message = message.map_err(|error| match Failure::of(endpoint, &error) {
            // Nobody can read on here: what comes next is larger than any commit that was accepted.
            Failure::AnswerTooLarge => Ended::For(StorageError::Compacted(self.resume_at)),
            failure => Ended::Lost(failure),
        })?;
        let Some(message) = message else {
            return Err(Ended::Lost(Failure::said(endpoint, "the watch ended")));
        };
        let message = message.0;
        check(endpoint, &message)?;
        let now = message.header.as_ref().map_or(0, |header| header.revision);
        if message.events.is_empty() && !message.created && !message.fragment {
            // So etcd says that everything up to now was sent.
            self.resume_at = self.resume_at.max(from_etcd(now));
        }
        self.commits.take(message, &mut self.ready).map_err(Ended::For)?;
        self.resume_at = self.resume_at.max(self.commits.at);
        self.connection = Some(connection);
        Ok(())
    }

    /// Tries one member after the other until the watch goes on, for as long as it takes.
    async fn reconnect(&mut self) -> Result<Connection, StorageError> {
        self.commits.partial.clear();
        let mut index = self.members.preferred();
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            match self.connect(index).await {
                Ok(connection) => {
                    let endpoint = self.members.endpoint(index);
                    tracing::info!(endpoint, after = %self.resume_at, "a watch of etcd goes on");
                    return Ok(connection);
                }
                Err(Ended::For(error)) => return Err(error),
                Err(Ended::Lost(failure)) => {
                    let error = StorageError::from(failure);
                    tracing::debug!(error = %chain(&error), "a watch of etcd cannot go on yet");
                }
            }
            index = self.members.after(index);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Starts the watch at a member that has seen at least as much as this watch has.
    async fn connect(&self, index: usize) -> Result<Connection, Ended> {
        let endpoint = self.members.endpoint(index);
        let opened = self.members.with_own_connection(index, |client| self.open(client)).await;
        let (now, responses, requests, created) = opened.map_err(Ended::Lost)?;
        if now < self.resume_at {
            return Err(Ended::For(StorageError::Future(now)));
        }
        match created {
            Some(created) => check(endpoint, &created)?,
            None => return Err(Ended::Lost(Failure::said(endpoint, "the watch ended at once"))),
        }
        Ok(Connection { responses, index, _requests: requests })
    }

    async fn open(&self, client: Client) -> Result<Opened, etcd_client::Error> {
        let key = self.commits.keys.place(ROOT);
        let now = client.kv_client().get(key, Some(GetOptions::new().with_count_only())).await?;
        let now = from_etcd(now.0.header.unwrap_or_default().revision);
        let (start, end) = self.commits.keys.range(&self.prefix, None).bounds();
        // It begins with what was seen already: only so does etcd say if that was compacted, and with it perhaps the trace of
        // a deletion just behind.
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(to_etcd(self.resume_at))
            .with_prev_key()
            .with_progress_notify()
            .with_fragment();
        let mut watches = client.watch_client().max_decoding_message_size(LARGEST_ANSWER);
        let (requests, mut responses) = watches.watch(start, Some(options)).await?.split();
        let created = responses.message().await?.map(|created| created.0);
        Ok((now, responses, requests, created))
    }
}

type Opened = (Revision, WatchResponseStream, WatchRequestSender, Option<PbWatchResponse>);

/// Tells whether a message ends the watch.
fn check(endpoint: &str, message: &PbWatchResponse) -> Result<(), Ended> {
    if message.compact_revision > 0 {
        return Err(Ended::For(StorageError::Compacted(from_etcd(message.compact_revision))));
    }
    if message.canceled {
        let reason = match message.cancel_reason.as_str() {
            "" => "it ended the watch and did not say why",
            reason => reason,
        };
        return Err(Ended::Lost(Failure::said(endpoint, reason)));
    }
    Ok(())
}

/// Puts events together to whole commits.
struct Collector {
    keys: Keyspace,
    /// The last commit that is whole, or where the watch began.
    at: Revision,
    /// The changes of the commit behind it, as far as they have come.
    partial: Vec<(Revision, Change)>,
}

impl Collector {
    /// Takes the events of a message, and hands out the commits that it makes whole.
    fn take(&mut self, message: PbWatchResponse, ready: &mut VecDeque<Commit>) -> Result<(), StorageError> {
        for event in message.events {
            let revision = event.kv.as_ref().map_or(Revision(0), |pair| from_etcd(pair.mod_revision));
            if revision <= self.at {
                continue;
            }
            if self.partial.first().is_some_and(|(begun, _)| *begun != revision) {
                self.finish(ready);
            }
            let change = change(&self.keys, event, revision)?;
            self.partial.extend(change.map(|change| (revision, change)));
        }
        // Only a message that goes on in the next one may end within a commit.
        if !message.fragment {
            self.finish(ready);
        }
        Ok(())
    }

    fn finish(&mut self, ready: &mut VecDeque<Commit>) {
        let Some((revision, _)) = self.partial.first() else { return };
        self.at = *revision;
        let changes = self.partial.drain(..).map(|(_, change)| change).collect();
        ready.push_back(Commit { revision: self.at, changes });
    }
}

/// Makes a change of an event; nothing of one whose key is none of the store's. What it replaced is missing only if it was
/// compacted before the event was sent.
fn change(keys: &Keyspace, event: PbEvent, revision: Revision) -> Result<Option<Change>, StorageError> {
    let gone = || StorageError::Compacted(revision);
    let pair = event.kv.ok_or_else(gone)?;
    let is_first = pair.version == 1;
    // The pair of a deletion has a key, and no more.
    let Some(entry) = keys.entry(pair) else { return Ok(None) };
    let previous = event.prev_kv.and_then(|pair| keys.entry(pair));
    match previous {
        Some(previous) if event.r#type == DELETE => Ok(Some(Change::Delete { previous })),
        previous if event.r#type != DELETE && (is_first || previous.is_some()) => {
            Ok(Some(Change::Put { entry, previous }))
        }
        _ => Err(gone()),
    }
}
