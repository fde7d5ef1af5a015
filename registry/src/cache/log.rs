//! The recent events of one kind, which watchers read at their own pace.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use bytes::{BufMut, Bytes, BytesMut};
use quarterdeck_core::storage::Revision;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::object::Object;
use crate::resource::Resource;

/// How many events a log keeps at most. A watcher that falls further behind is cut off.
const CAPACITY: usize = 65_536;
/// How many bytes of objects a log keeps at most.
const CAPACITY_BYTES: usize = 64 << 20;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It came to be.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

impl EventKind {
    /// Returns the word in a watch's events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The object as it is now; for a deletion, its last state at the deletion's revision.
    pub object: Arc<Object>,
    /// The object as it was before; absent for a new one.
    pub previous: Option<Arc<Object>>,
    /// The event as a line of JSON, made when the first watcher asks and shared by all.
    line: OnceLock<Bytes>,
    /// The same for watchers of other versions than the stored one, by apiVersion.
    converted: Mutex<Vec<(String, Bytes)>>,
}

impl Event {
    /// Makes an event.
    #[must_use]
    pub fn new(kind: EventKind, object: Arc<Object>, previous: Option<Arc<Object>>) -> Self {
        Self { kind, object, previous, line: OnceLock::new(), converted: Mutex::default() }
    }

    /// Returns the event as a line of JSON, with the object in the version that `resource` serves.
    #[must_use]
    pub fn line(&self, resource: &Resource) -> Bytes {
        if resource.is_stored_form() {
            return self.line.get_or_init(|| line(self.kind, &self.object, resource)).clone();
        }
        let api_version = resource.api_version();
        let mut converted = self.converted.lock().expect("nothing panics while it holds the lines");
        if let Some((_, line)) = converted.iter().find(|(version, _)| *version == api_version) {
            return line.clone();
        }
        let line = line(self.kind, &self.object, resource);
        converted.push((api_version, line.clone()));
        line
    }

    fn weight(&self) -> usize {
        self.object.len()
    }
}

/// Writes an event as a line of JSON, with the object in the version that `resource` serves.
#[must_use]
pub fn line(kind: EventKind, object: &Object, resource: &Resource) -> Bytes {
    let mut out = BytesMut::with_capacity(object.len() + 96);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_str().as_bytes());
    out.put_slice(b"\",\"object\":");
    resource.write_single(object, &mut out);
    out.put_slice(b"}\n");
    out.freeze()
}

/// The recent events of one kind.
#[derive(Debug, Default)]
pub struct Log {
    events: RwLock<Events>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Events {
    events: VecDeque<Arc<Event>>,
    /// The number of the first event kept; events are numbered from 0.
    first: u64,
    /// Events up to this revision may be gone.
    forgotten: Revision,
    bytes: usize,
}

/// Where a watcher stands in a log: the number of the next event that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position(u64);

/// What a watcher reads.
#[derive(Debug)]
pub enum Read {
    /// The next events, at most as many as asked for, and where to go on.
    Events(Vec<Arc<Event>>, Position),
    /// The watcher is too far behind: the next event is gone.
    Lost,
}

impl Log {
    /// Returns the revision of the last event, or the one up to which events are gone if that is later.
    #[must_use]
    pub fn last(&self) -> Revision {
        let log = self.read();
        log.events.back().map_or(log.forgotten, |event| event.object.revision.max(log.forgotten))
    }

    /// Returns the position behind `revision`, or the oldest revision that a watch can start from if that is later.
    ///
    /// # Errors
    ///
    /// The revision up to which events are gone.
    pub fn after(&self, revision: Revision) -> Result<Position, Revision> {
        let log = self.read();
        if revision < log.forgotten {
            return Err(log.forgotten);
        }
        let skipped = log.events.partition_point(|event| event.object.revision <= revision);
        Ok(Position(log.first + skipped as u64))
    }

    /// Reads at most `limit` events from a position on, and no more of them once they hold `bytes`.
    #[must_use]
    pub fn next(&self, position: Position, limit: usize, bytes: usize) -> Read {
        let log = self.read();
        let Some(skipped) = position.0.checked_sub(log.first) else { return Read::Lost };
        let skipped = usize::try_from(skipped).expect("a position lies within the log");
        let (mut events, mut read) = (Vec::new(), 0);
        for event in log.events.range(skipped.min(log.events.len())..).take(limit) {
            events.push(event.clone());
            read += event.weight();
            if read >= bytes {
                break;
            }
        }
        let next = Position(position.0 + events.len() as u64);
        Read::Events(events, next)
    }

    /// Returns whether nothing lies behind a position.
    #[must_use]
    pub fn is_read_up_to(&self, position: Position) -> bool {
        let log = self.read();
        position.0 == log.first + log.events.len() as u64
    }

    /// Returns what waits until there is more to read, or something else that watchers look for. They are woken in the order
    /// in which they began to wait.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Wakes all watchers.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Appends an event. Its watchers are to be woken once the world that it belongs to can be seen.
    pub(super) fn push(&self, event: Event) {
        let mut log = self.write();
        log.bytes += event.weight();
        log.events.push_back(Arc::new(event));
        while log.events.len() > CAPACITY || (log.bytes > CAPACITY_BYTES && log.events.len() > 1) {
            log.forget_first();
        }
    }

    /// Drops the events up to a revision.
    pub(super) fn forget(&self, revision: Revision) {
        let mut log = self.write();
        while log.events.front().is_some_and(|event| event.object.revision <= revision) {
            log.forget_first();
        }
        log.forgotten = log.forgotten.max(revision);
    }

    /// Drops everything, and cuts off all watchers: what happened up to `revision` was not seen.
    pub(super) fn reset(&self, revision: Revision) {
        let mut log = self.write();
        *log = Events {
            first: log.first + log.events.len() as u64 + 1,
            forgotten: revision,
            ..Events::default()
        };
    }

    /// Ends the log: its kind is gone, and its watchers are cut off.
    pub(super) fn close(&self) {
        self.reset(Revision(u64::MAX));
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Events> {
        self.events.read().expect("nothing panics while it holds the log")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Events> {
        self.events.write().expect("nothing panics while it holds the log")
    }
}

impl Events {
    fn forget_first(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.first += 1;
            self.bytes -= event.weight();
            self.forgotten = self.forgotten.max(event.object.revision);
        }
    }
}
