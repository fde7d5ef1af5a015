//! Following collections.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http::{Response, StatusCode};
use jiff::Timestamp;
use quarterdeck_core::component::Stop;
use quarterdeck_core::storage::Revision;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::list::Selection;
use super::{Call, respond};
use crate::body::Body;
use crate::cache::{Event, EventKind, Log, Position, Read, World};
use crate::negotiate::{Encoding, Form, Shape};
use crate::object::Object;
use crate::registry::Registry;
use crate::resource::Resource;
use crate::status::{Result, Status};
use crate::table::{self, TableOptions};
use crate::validation::FieldError;

/// How many events are written at a time.
const BATCH: usize = 256;
/// How often a watch that allows bookmarks gets one.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// The shortest life of a watch for which no timeout is asked; the longest is twice that.
const DEFAULT_TIMEOUT_SECONDS: usize = 1800;

/// Where a watch begins.
enum Start {
    /// With everything that is there, as added.
    Everything(Arc<World>),
    /// Behind a revision.
    After(Revision),
}

/// Answers a watch of a collection.
pub(super) async fn watch(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, false, &call.resource.kind);
    let form = form.or_else(|_| Form::choose(&call.headers, &call.query, true, &call.resource.kind))?;
    if form.encoding != Encoding::Json {
        return Err(Status::not_acceptable("only the following media types are accepted: application/json"));
    }
    let timeout = call.query.integer("timeoutSeconds")?.filter(|seconds| *seconds > 0);
    call.query.integer("limit")?;
    let selection = Selection::parse(call)?;
    let initial = check_options(call)?;
    let (start, end_marked) = start(call, initial).await?;
    let timeout = timeout.map_or_else(
        || DEFAULT_TIMEOUT_SECONDS + call.registry.random.below(DEFAULT_TIMEOUT_SECONDS),
        |seconds| usize::try_from(seconds).unwrap_or(usize::MAX),
    );
    let log = call.registry.cache.log(&call.resource).ok_or_else(Status::unknown_path)?;
    let (opening, position, revision) = open(call, &start, &log);
    let watcher = Watcher {
        registry: call.registry.clone(),
        resource: call.resource.clone(),
        namespace: call.namespace.clone(),
        selection,
        form,
        columns_sent: false,
        log,
        state: State::Opening { opening, end_marked },
        position,
        revision,
        bookmarks: call.query.flag("allowWatchBookmarks"),
        bookmark_due: Instant::now() + BOOKMARKS,
        ends: Instant::now() + Duration::from_secs(timeout.try_into().unwrap_or(u64::MAX >> 16)),
        stop: call.stop.clone(),
    };
    let body = Body::stream(stream::unfold(watcher, |mut watcher| async move {
        let chunk = watcher.next().await?;
        Some((chunk, watcher))
    }));
    Ok(respond::text(StatusCode::OK, form.content_type(), body))
}

/// Checks the options that only streaming lists have. Returns whether the watch begins with a marked list.
fn check_options(call: &Call) -> Result<bool> {
    let initial = call.query.non_empty("sendInitialEvents");
    let matching = call.query.non_empty("resourceVersionMatch");
    let mut errors = Vec::new();
    match (initial, matching) {
        (None, None) | (Some(_), Some("NotOlderThan")) => {}
        (None, Some(_)) => errors.push(FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )),
        (Some(_), None) => errors.push(FieldError::forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
        (Some(_), Some(other)) => {
            errors.push(FieldError::not_supported("resourceVersionMatch", other, &["NotOlderThan"]));
        }
    }
    if errors.is_empty() {
        Ok(call.query.flag("sendInitialEvents"))
    } else {
        Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors))
    }
}

async fn start(call: &Call, initial: bool) -> Result<(Start, bool)> {
    let cache = &call.registry.cache;
    let text = call.query.non_empty("resourceVersion");
    let revision = match text {
        None | Some("0") => None,
        Some(text) => Some(Revision(text.parse().map_err(|_| {
            Status::server_error(format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        })?)),
    };
    let marked = initial && call.query.flag("allowWatchBookmarks");
    match (revision, initial) {
        (Some(revision), false) => Ok((Start::After(revision), false)),
        (Some(revision), true) => Ok((Start::Everything(cache.not_older_than(revision).await?), marked)),
        (None, _) if text == Some("0") => Ok((Start::Everything(cache.world()), marked)),
        (None, _) => Ok((Start::Everything(call.registry.latest().await?), marked)),
    }
}

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
struct Watcher {
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
    /// Everything up to this revision was sent.
    revision: Revision,
    bookmarks: bool,
    bookmark_due: Instant,
    ends: Instant,
    stop: Stop,
}

impl Watcher {
    /// Returns the next piece of the answer; `None` ends it.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match &mut self.state {
                State::Ended => return None,
                State::Opening { opening, end_marked } => {
                    let objects: Vec<_> = opening.take(BATCH).collect();
                    if objects.is_empty() {
                        let marked = *end_marked;
                        self.state = State::Following;
                        if marked {
                            return Some(self.bookmark(true));
                        }
                        continue;
                    }
                    let chunk = self.added(&objects);
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
                let line = self.line(EventKind::Added, object);
                out.extend_from_slice(&line);
            }
        }
        out.freeze()
    }

    /// Sends what the log has, or waits for more. An empty piece means: look again.
    async fn follow(&mut self) -> Option<Bytes> {
        let mut published = self.registry.cache.published();
        let seen = *published.borrow_and_update();
        let Some(position) = self.position else { return Some(self.expired()) };
        let events = match self.log.next(position, BATCH) {
            Read::Lost => return Some(self.expired()),
            Read::Events(events, next) => {
                self.position = Some(next);
                events
            }
        };
        if !events.is_empty() {
            return Some(self.events(&events));
        }
        self.revision = self.revision.max(seen);
        let bookmark = if self.bookmarks { self.bookmark_due } else { self.ends };
        tokio::select! {
            biased;
            () = self.stop.wait() => None,
            () = tokio::time::sleep_until(self.ends) => {
                self.state = State::Ended;
                self.bookmarks.then(|| self.bookmark(false))
            }
            () = tokio::time::sleep_until(bookmark) => {
                self.bookmark_due = Instant::now() + BOOKMARKS;
                Some(self.bookmark(false))
            }
            changed = published.changed() => changed.ok().map(|()| Bytes::new()),
        }
    }

    fn events(&mut self, events: &[Arc<Event>]) -> Bytes {
        let mut out = BytesMut::new();
        for event in events {
            self.revision = self.revision.max(event.object.revision);
            if let Some(line) = self.event(event) {
                out.extend_from_slice(&line);
            }
        }
        out.freeze()
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
        let shaped = match self.form.shape {
            Shape::Object => value,
            Shape::Table(version, include_object) => {
                let with_definitions = !std::mem::replace(&mut self.columns_sent, true);
                let now: Timestamp = self.registry.clock.now();
                let options = TableOptions { version, include_object, with_definitions, now };
                table::object_table(&self.resource.columns, &value, &options)
            }
            Shape::Metadata(version) | Shape::MetadataList(version) => {
                table::partial_object_metadata(&value, version)
            }
        };
        line(kind.as_str(), &shaped)
    }

    /// Says up to which revision everything was sent.
    fn bookmark(&mut self, ends_initial_events: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if ends_initial_events {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut object = json!({
            "kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata,
        });
        match self.form.shape {
            Shape::Object => {}
            Shape::Table(version, include_object) => {
                let now = self.registry.clock.now();
                let options = TableOptions { version, include_object, with_definitions: false, now };
                object = table::object_table(&self.resource.columns, &object, &options);
            }
            Shape::Metadata(version) | Shape::MetadataList(version) => {
                object = table::partial_object_metadata(&object, version);
            }
        }
        line("BOOKMARK", &object)
    }

    /// Says that what the watch asks for is gone, and ends it.
    fn expired(&mut self) -> Bytes {
        self.state = State::Ended;
        let current = self.registry.cache.world().revision;
        let status = Status::expired(format!("too old resource version: {} ({current})", self.revision));
        line("ERROR", &status.object())
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    let mut text = json!({"type": kind, "object": object}).to_string();
    text.push('\n');
    text.into()
}
