//! A watch under way: what it sends, and when it ends.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use quarterdeck_core::clock::moment_in;
use quarterdeck_core::component::Stop;
use quarterdeck_core::metrics::Counter;
use quarterdeck_core::storage::Revision;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep};

use super::super::list::Selection;
use super::super::{Call, respond};
use super::Start;
use crate::cache::{Event, EventKind, Log, Position, Read};
use crate::negotiate::{Encoding, Form};
use crate::object::Object;
use crate::registry::Registry;
use crate::resource::Resource;
use crate::schema;
use crate::status::{Result, Status};

/// How many events are written at a time.
const BATCH: usize = 256;
/// About how many bytes of objects are written at a time: what a watcher that does not read holds up in memory.
const BATCH_BYTES: usize = 256 * 1024;
/// How often a watch that allows bookmarks gets one.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// How long after its start the store is asked whether it has come to where a watch begins.
const PATIENCE: Duration = Duration::from_secs(3);
/// The type of the event that tells of nothing but a revision.
const BOOKMARK: &str = "BOOKMARK";
/// What a watch sends before it follows the log.
type Opening = std::vec::IntoIter<Arc<Object>>;

fn open(call: &Call, start: &Start, log: &Log) -> (Opening, Option<Position>, Revision) {
    match start {
        Start::After(revision) => (Vec::new().into_iter(), log.after(*revision).ok(), *revision),
        Start::Everything(world) => {
            let prefix = call.resource.key_prefix(call.namespace.as_deref());
            let objects: Vec<_> = world.range(&prefix, None).map(|(_, object)| object.clone()).collect();
            (objects.into_iter(), log.after(world.revision).ok(), world.revision)
        }
    }
}

enum State {
    /// What was there at the start is still being sent.
    Opening { opening: Opening, end_marked: bool },
    /// The log is followed.
    Following,
    /// The last words were said.
    Ended,
}

/// One watch.
pub(super) struct Watcher {
    registry: Arc<Registry>,
    resource: Arc<Resource>,
    namespace: Option<String>,
    selection: Selection,
    form: Form,
    /// Whether a table has said what its columns are.
    columns_sent: bool,
    log: Arc<Log>,
    state: State,
    /// Where the watch stands; absent if what it asks for is gone.
    position: Option<Position>,
    /// What the watch begins behind. The log may be about to get to there.
    after: Revision,
    /// Everything up to this revision was sent.
    revision: Revision,
    bookmarks: bool,
    ends: Instant,
    /// Whether it is open if the store was ever at the revision that the watch begins behind.
    is_doubtful: bool,
    /// Fires when a bookmark is due, a doubt is to be settled or the watch ends. It is kept, because setting an alarm costs more than an event.
    alarm: Pin<Box<Sleep>>,
    stop: Stop,
    /// Counts what is sent.
    sent: Counter,
}

/// Returns when a watch has something to do besides sending events.
fn alarm(is_doubtful: bool, bookmarks: bool, ends: Instant) -> Instant {
    match (is_doubtful, bookmarks) {
        (true, _) => ends.min(Instant::now() + PATIENCE),
        (false, true) => ends.min(Instant::now() + BOOKMARKS),
        (false, false) => ends,
    }
}

/// The next objects of what was there at the start.
fn opening_batch(opening: &mut Opening) -> Vec<Arc<Object>> {
    let (mut objects, mut bytes) = (Vec::new(), 0);
    while objects.len() < BATCH
        && bytes < BATCH_BYTES
        && let Some(object) = opening.next()
    {
        bytes += object.len();
        objects.push(object);
    }
    objects
}

impl Watcher {
    /// Begins a watch that ends after `life` at the latest.
    pub(super) fn new(
        call: &Call,
        form: Form,
        selection: Selection,
        start: &Start,
        end_marked: bool,
        life: Duration,
    ) -> Result<Self> {
        let log = call.registry.cache.log(&call.resource).ok_or_else(Status::unknown_path)?;
        let (opening, position, revision) = open(call, start, &log);
        let bookmarks = call.query.flag("allowWatchBookmarks");
        let ends = moment_in(life);
        let is_doubtful = revision > call.registry.cache.world().revision;
        let first = alarm(is_doubtful, bookmarks, ends);
        Ok(Self {
            registry: call.registry.clone(),
            resource: call.resource.clone(),
            namespace: call.namespace.clone(),
            selection,
            form,
            columns_sent: false,
            log,
            state: State::Opening { opening, end_marked },
            position,
            after: revision,
            revision,
            bookmarks,
            ends,
            is_doubtful,
            alarm: Box::pin(tokio::time::sleep_until(first)),
            stop: call.running.stop.clone(),
            sent: call.registry.figures.events_of(&call.resource),
        })
    }

    /// Returns the next piece of the answer; `None` ends it.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            match &mut self.state {
                State::Ended => return None,
                State::Opening { opening, end_marked } => {
                    let objects = opening_batch(opening);
                    if objects.is_empty() {
                        let marked = *end_marked;
                        self.state = State::Following;
                        if marked {
                            return Some(self.bookmark(true));
                        }
                        continue;
                    }
                    let chunk = match self.registry.converted(&self.resource, objects).await {
                        Ok(objects) => self.added(&objects),
                        Err(status) => return Some(self.failed(&status)),
                    };
                    if !chunk.is_empty() {
                        return Some(chunk);
                    }
                }
                State::Following => match self.follow().await {
                    Some(chunk) if chunk.is_empty() => {}
                    other => return other,
                },
            }
        }
    }

    fn added(&mut self, objects: &[Arc<Object>]) -> Bytes {
        let mut out = BytesMut::new();
        for object in objects {
            if self.selection.matches(object) {
                self.sent.inc();
                let line = self.line(EventKind::Added, object);
                out.extend_from_slice(&line);
            }
        }
        out.freeze()
    }

    /// Sends what the log has, or waits for more. An empty piece means: look again.
    async fn follow(&mut self) -> Option<Bytes> {
        // A watch that always has something to send ends in time all the same.
        if self.alarm.deadline() <= Instant::now() {
            return self.on_time().await;
        }
        let Some(position) = self.position else { return Some(self.expired()) };
        let events = match self.log.next(position, BATCH, BATCH_BYTES) {
            Read::Lost => return Some(self.expired()),
            Read::Events(events, next) => {
                self.position = Some(next);
                events
            }
        };
        if !events.is_empty() {
            return match self.converted(events).await {
                Ok(events) => Some(self.events(&events)),
                Err(status) => Some(self.failed(&status)),
            };
        }
        let log = self.log.clone();
        let mut changed = pin!(log.changed());
        // Who began to wait before looking misses nothing.
        changed.as_mut().enable();
        if self.stop.is_stopped() {
            return None;
        }
        if !log.is_read_up_to(position) {
            return Some(Bytes::new());
        }
        tokio::select! {
            biased;
            () = self.alarm.as_mut() => {}
            () = changed => {}
        }
        Some(Bytes::new())
    }

    /// Returns events with their objects in the version that is watched. What is before the watch or in another namespace is
    /// left as it is: it is not sent.
    async fn converted(&self, events: Vec<Arc<Event>>) -> Result<Vec<Arc<Event>>> {
        if self.resource.webhook().is_none() {
            return Ok(events);
        }
        let is_sent = |event: &Arc<Event>| {
            event.object.revision > self.after
                && self
                    .namespace
                    .as_deref()
                    .is_none_or(|namespace| *event.object.header.namespace == *namespace)
        };
        let mut wanted = Vec::new();
        for event in events.iter().filter(|event| is_sent(event)) {
            wanted.extend(event.previous.clone());
            // What is gone is shown as it was last.
            wanted.extend(Some(event.object.clone()).filter(|_| event.kind != EventKind::Deleted));
        }
        let mut converted = self.registry.converted(&self.resource, wanted).await?.into_iter();
        let mut shown = Vec::with_capacity(events.len());
        for event in events {
            if !is_sent(&event) {
                shown.push(event);
                continue;
            }
            let previous = event.previous.as_ref().and_then(|_| converted.next());
            let object = match (event.kind, &previous) {
                (EventKind::Deleted, Some(previous)) => Some(Arc::new(previous.at(event.object.revision))),
                _ => converted.next(),
            };
            let object = object.unwrap_or_else(|| event.object.clone());
            shown.push(Arc::new(Event::new(event.kind, object, previous)));
        }
        Ok(shown)
    }

    /// Does what the alarm is for: settles a doubt, sends a bookmark, ends the watch.
    async fn on_time(&mut self) -> Option<Bytes> {
        if self.is_doubtful && Instant::now() < self.ends {
            return Some(self.settle().await);
        }
        // In this order: the log holds all events of a world that can be seen.
        let seen = self.registry.cache.world().revision;
        if self.position.is_some_and(|position| self.log.is_read_up_to(position)) {
            self.revision = self.revision.max(seen);
        }
        if Instant::now() >= self.ends {
            self.state = State::Ended;
            return self.bookmarks.then(|| self.bookmark(false));
        }
        self.alarm.as_mut().reset(alarm(false, true, self.ends));
        Some(self.bookmark(false))
    }

    /// Ends a watch of what is still to come, and goes on with any other. Another server may have shown the revision and this
    /// one's cache be behind; but a store that is behind, too, is another than the client knew, and the client would miss
    /// everything until its revision is as great.
    async fn settle(&mut self) -> Bytes {
        if self.registry.cache.world().revision < self.after {
            let asked = tokio::time::timeout(PATIENCE, self.registry.storage.revision()).await;
            match asked {
                Ok(Ok(now)) if now < self.after => {
                    let why = format!("too large resource version: {} ({now})", self.after);
                    return self.failed(&Status::expired(why));
                }
                Ok(Ok(_)) => self.is_doubtful = false,
                // It is asked again.
                Ok(Err(_)) | Err(_) => {}
            }
        } else {
            self.is_doubtful = false;
        }
        self.alarm.as_mut().reset(alarm(self.is_doubtful, self.bookmarks, self.ends));
        Bytes::new()
    }

    fn events(&mut self, events: &[Arc<Event>]) -> Bytes {
        let mut lines = Vec::with_capacity(events.len());
        let after = self.after;
        for event in events.iter().filter(|event| event.object.revision > after) {
            self.revision = self.revision.max(event.object.revision);
            lines.extend(self.event(event));
        }
        self.sent.add(lines.len() as u64);
        match lines.len() {
            // All watches send the same bytes.
            1 => lines.swap_remove(0),
            _ => {
                let mut out = BytesMut::with_capacity(lines.iter().map(Bytes::len).sum());
                lines.iter().for_each(|line| out.extend_from_slice(line));
                out.freeze()
            }
        }
    }

    /// Writes an event as this watch sees it: what enters its selection is added, what leaves it is deleted.
    fn event(&mut self, event: &Event) -> Option<Bytes> {
        if self.namespace.as_deref().is_some_and(|namespace| {
            self.resource.is_namespaced() && *event.object.header.namespace != *namespace
        }) {
            return None;
        }
        let matches = |object: &Object| self.selection.matches(object);
        let is = event.kind != EventKind::Deleted && matches(&event.object);
        let was = event.previous.as_deref().is_some_and(matches);
        let (kind, object) = match (was, is) {
            (false, false) => return None,
            (false, true) => (EventKind::Added, event.object.clone()),
            (true, true) => (EventKind::Modified, event.object.clone()),
            (true, false) => {
                let last = event.previous.as_deref().map(|last| last.at(event.object.revision));
                (EventKind::Deleted, last.map_or_else(|| event.object.clone(), Arc::new))
            }
        };
        if kind == event.kind && self.form.is_plain() {
            return Some(event.line(&self.resource));
        }
        Some(self.line(kind, &object))
    }

    fn line(&mut self, kind: EventKind, object: &Object) -> Bytes {
        if self.form.is_plain() {
            return crate::cache::line(kind, object, &self.resource);
        }
        let value = self.resource.value_of(object);
        self.event_of(kind.as_str(), &value)
    }

    /// Writes an event about an object.
    fn event_of(&mut self, kind: &str, object: &Value) -> Bytes {
        let with_definitions = !self.columns_sent && kind != BOOKMARK;
        let now: Timestamp = self.registry.clock.now();
        let shaped = respond::shaped(&self.resource, self.form, object, now, with_definitions);
        self.columns_sent |= with_definitions;
        match shaped {
            Ok(object) => self.framed(kind, &object),
            Err(status) => self.failed(&status),
        }
    }

    /// Puts an event around an object that is written already.
    fn framed(&self, kind: &str, object: &[u8]) -> Bytes {
        if self.form.encoding == Encoding::Protobuf {
            return schema::encode_protobuf_event(kind, object).into();
        }
        let mut line = BytesMut::with_capacity(object.len() + 64);
        line.extend_from_slice(b"{\"type\":\"");
        line.extend_from_slice(kind.as_bytes());
        line.extend_from_slice(b"\",\"object\":");
        line.extend_from_slice(object);
        line.extend_from_slice(b"}\n");
        line.freeze()
    }

    /// Says what went wrong, and ends the watch.
    fn failed(&mut self, status: &Status) -> Bytes {
        self.state = State::Ended;
        let object = status.object();
        let written = match self.form.encoding {
            Encoding::Protobuf => respond::protobuf(&object).unwrap_or_default(),
            _ => object.to_string().into(),
        };
        self.framed("ERROR", &written)
    }

    /// Says up to which revision everything was sent.
    fn bookmark(&mut self, ends_initial_events: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if ends_initial_events {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({
            "kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata,
        });
        self.event_of(BOOKMARK, &object)
    }

    /// Says that what the watch asks for is gone, and ends it.
    fn expired(&mut self) -> Bytes {
        let current = self.registry.cache.world().revision;
        self.failed(&Status::expired(format!("too old resource version: {} ({current})", self.revision)))
    }
}
