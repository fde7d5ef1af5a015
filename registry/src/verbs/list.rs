//! Reading collections: selectors, pages, revisions.

mod token;

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use http::{Response, StatusCode};
use quarterdeck_core::labels::Selector;
use quarterdeck_core::storage::{List, Revision, StorageError};
use serde_json::{Value, json};

use super::read::{no_stored_revision, revision, world_for};
use super::{Call, respond};
use crate::body::Body;
use crate::cache::World;
use crate::negotiate::Form;
use crate::object::Object;
use crate::resource::Resource;
use crate::selector::FieldSelector;
use crate::status::{Result, Status};
use crate::validation::FieldError;

use token::{LATEST, encode_token, read_token, token};

/// How many objects are read at a time, where they are not at hand.
const BATCH: usize = 1000;
/// About how many bytes of a list are written at a time.
const CHUNK: usize = 64 * 1024;

/// Which objects of a collection are wanted.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    labels: Selector,
    fields: FieldSelector,
    /// The one name that is wanted; empty if all are.
    name: String,
    all: bool,
}

impl Selection {
    /// Reads the selectors of a call. A name in the path of a watch selects by it.
    pub(super) fn parse(call: &Call) -> Result<Self> {
        let labels = call.query.get("labelSelector").unwrap_or_default();
        let fields = call.query.get("fieldSelector").unwrap_or_default();
        let labels_given = !labels.is_empty();
        let labels = Selector::parse(labels).map_err(|error| Status::bad_request(error.to_string()))?;
        let (group, kind) = (&call.resource.group, &call.resource.kind);
        let fields = FieldSelector::parse(fields)
            .and_then(|fields| match call.resource.custom {
                None => fields.validate(group, kind, &call.resource.fields),
                Some(_) => fields.validate_custom(call.resource.is_namespaced(), &call.resource.fields),
            })
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let is_of_one = !call.name.is_empty() && !fields.is_everything();
        if is_of_one && fields.exact_value("metadata.name") != Some(&call.name) {
            return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
        }
        let fields = fields.renamed(|field| call.resource.stored_field(field).cloned());
        let all = !labels_given && fields.is_everything() && call.name.is_empty();
        Ok(Self { labels, fields, name: call.name.clone(), all })
    }

    /// Returns whether an object is wanted.
    pub(super) fn matches(&self, object: &Object) -> bool {
        self.all
            || ((self.name.is_empty() || *self.name == *object.header.name)
                && self.labels.matches(|key| object.header.label(key))
                && self.fields.matches(|field| object.header.field(field).into()))
    }
}

/// How much is wanted, and as of when.
#[derive(Debug)]
struct Paging {
    limit: Option<usize>,
    /// The key behind which the page begins.
    after: Option<String>,
    at: At,
}

/// As of when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// As the query's resourceVersion says.
    Fresh,
    /// As of now.
    Latest,
    /// At exactly this revision.
    Exact(Revision),
}

/// Answers a GET of a collection.
pub(super) async fn list(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, true, &call.resource)?;
    let wanted = Wanted::parse(call)?;
    answer(call, form, wanted.find(call).await?)
}

/// What a call says of the page of a list that it wants.
pub(super) struct Wanted {
    selection: Selection,
    paging: Paging,
}

impl Wanted {
    /// Reads the query of a call.
    pub(super) fn parse(call: &Call) -> Result<Self> {
        call.query.integer("timeoutSeconds")?;
        Ok(Self { selection: Selection::parse(call)?, paging: paging(call)? })
    }

    /// Finds the page.
    pub(super) async fn find(&self, call: &Call) -> Result<Found> {
        let Self { selection, paging } = self;
        match paging.at {
            At::Fresh => page_in(call, selection, paging, &*world_for(call).await?).await,
            At::Latest => page_in(call, selection, paging, &*call.registry.latest().await?).await,
            At::Exact(revision) => exact_page(call, selection, paging, revision).await,
        }
    }
}

/// A page of a list.
pub(super) struct Found {
    revision: Revision,
    pub(super) objects: Vec<Arc<Object>>,
    token: Option<String>,
    remaining: Option<usize>,
}

fn page_of(call: &Call, selection: &Selection, paging: &Paging, world: &World) -> Found {
    let prefix = call.resource.key_prefix(call.namespace.as_deref());
    let mut chosen =
        world.range(&prefix, paging.after.as_deref()).filter(|(_, object)| selection.matches(object));
    let limit = paging.limit.unwrap_or(usize::MAX);
    let mut last = None;
    let mut objects = Vec::new();
    for (key, object) in chosen.by_ref().take(limit) {
        last = Some(key);
        objects.push(object.clone());
    }
    let left = if paging.limit.is_some() { chosen.count() } else { 0 };
    let token = last.filter(|_| left > 0).map(|key| token(world.revision, &prefix, key.as_str()));
    Found { revision: world.revision, objects, token, remaining: remaining(selection, left) }
}

/// Reads a page of a world, in the version that is asked for.
async fn page_in(call: &Call, selection: &Selection, paging: &Paging, world: &World) -> Result<Found> {
    if call.resource.webhook().is_none() {
        return Ok(page_of(call, selection, paging, world));
    }
    let prefix = call.resource.key_prefix(call.namespace.as_deref());
    let all: Vec<_> = world.range(&prefix, paging.after.as_deref()).collect();
    let limit = paging.limit.unwrap_or(usize::MAX);
    let (mut objects, mut read) = (Vec::new(), 0);
    while objects.len() < limit && read < all.len() {
        // Selectors see what is asked for, which only the webhook knows.
        let wanted = if selection.all { BATCH.min(limit - objects.len()) } else { BATCH };
        let batch = all.iter().skip(read).take(wanted).map(|(_, object)| (*object).clone()).collect();
        for object in call.registry.converted(&call.resource, batch).await? {
            read += 1;
            if selection.matches(&object) {
                objects.push(object);
            }
            if objects.len() >= limit {
                break;
            }
        }
    }
    let left = all.len() - read;
    let last = read.checked_sub(1).map(|last| all[last].0);
    let token = last.filter(|_| left > 0).map(|key| token(world.revision, &prefix, key.as_str()));
    Ok(Found { revision: world.revision, objects, token, remaining: remaining(selection, left) })
}

/// Reads what was there at a revision, from the cache if that still shows it.
async fn exact_page(call: &Call, selection: &Selection, paging: &Paging, at: Revision) -> Result<Found> {
    let world = call.registry.cache.world();
    if world.revision == at {
        return page_in(call, selection, paging, &world).await;
    }
    let prefix = call.resource.key_prefix(call.namespace.as_deref());
    let limit = paging.limit.unwrap_or(usize::MAX);
    let (mut objects, mut after, mut last) = (Vec::new(), paging.after.clone(), None);
    let left = loop {
        // Under a selector many keys may be read for one object.
        let wanted = if selection.all { BATCH.min(limit - objects.len()) } else { BATCH };
        let mut list = List::prefix(prefix.as_str()).at(at).limit(wanted);
        list.after = after.map(Into::into);
        let page = call.registry.storage.list(list).await;
        let page = page.map_err(|error| exact_failure(error, paging, &prefix, at))?;
        after = page.entries.last().map(|entry| entry.key.to_string());
        let mut entries = page.entries.into_iter();
        while objects.len() < limit
            && let Some(entry) = entries.next()
        {
            let object = Object::load(&call.resource, &entry.key, entry.value, entry.modified);
            let object = Arc::new(object.map_err(|error| Status::internal(error.to_string()))?);
            let object = call.registry.converted_one(&call.resource, &object).await?;
            if selection.matches(&object) {
                objects.push(object);
            }
            last = Some(entry.key.to_string());
        }
        if page.remaining == 0 || objects.len() >= limit {
            break page.remaining + entries.len();
        }
    };
    let token = last.filter(|_| left > 0).map(|key| token(at, &prefix, &key));
    Ok(Found { revision: at, objects, token, remaining: remaining(selection, left) })
}

/// Says that history is gone, in the words for a page or for a revision. Who has read pages gets a token to go on with, if
/// what changed meanwhile does not matter.
fn exact_failure(error: StorageError, paging: &Paging, prefix: &str, at: Revision) -> Status {
    match (error, &paging.after) {
        (StorageError::Compacted(_), None) => {
            Status::expired("The resourceVersion for the provided list is too old.")
        }
        (StorageError::Compacted(_), Some(after)) => {
            let start = after.strip_prefix(prefix).unwrap_or(after);
            Status::expired(INCONSISTENT).continued(encode_token(LATEST, format!("{start}\0")))
        }
        (StorageError::Future(current), _) => Status::too_large_resource_version(at.0, current.0),
        (other, _) => other.into(),
    }
}

const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// How many objects follow; unknown under a selector.
fn remaining(selection: &Selection, left: usize) -> Option<usize> {
    (selection.all && left > 0).then_some(left)
}

/// Reads limit, continue, resourceVersion and resourceVersionMatch, and checks how they go together.
fn paging(call: &Call) -> Result<Paging> {
    let limit = call.query.integer("limit")?.filter(|limit| *limit > 0);
    let version = call.query.non_empty("resourceVersion");
    let continued = call.query.non_empty("continue");
    // As upstream, whose cache has no pages; it keeps all kinds but events.
    let is_whole = version == Some("0") && continued.is_none() && call.resource.kind != "Event";
    let limit = limit.filter(|_| !is_whole).map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let matching = call.query.non_empty("resourceVersionMatch");
    let initial = call.query.non_empty("sendInitialEvents").is_some();
    check_match(matching, version, continued, initial)?;
    if let Some(text) = continued {
        if version.is_some_and(|version| version != "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let token = read_token(text)?;
        let prefix = call.resource.key_prefix(call.namespace.as_deref());
        let start = token.start.trim_start_matches('/').trim_end_matches('\0');
        // A revision below zero is the one that means the latest.
        let at = u64::try_from(token.rv).map_or(At::Latest, |revision| At::Exact(Revision(revision)));
        return Ok(Paging { limit, after: Some(format!("{prefix}{start}")), at });
    }
    let number = version.filter(|version| *version != "0").and_then(|version| version.parse().ok());
    let is_stored = limit.is_some() || matching == Some("Exact");
    if is_stored && version.is_some_and(|version| version != "0") && number.is_none() {
        return Err(no_stored_revision(&revision(version.unwrap_or_default()).err().unwrap_or_default()));
    }
    let at = match (matching, number) {
        (Some("Exact"), Some(number)) => At::Exact(Revision(number)),
        (None, Some(number)) if limit.is_some() => At::Exact(Revision(number)),
        _ => At::Fresh,
    };
    Ok(Paging { limit, after: None, at })
}

/// Checks `resourceVersionMatch` of a list, and that nothing is asked that watches alone have.
fn check_match(
    matching: Option<&str>,
    version: Option<&str>,
    continued: Option<&str>,
    initial: bool,
) -> Result<()> {
    let mut errors = matching.map(|matching| match_errors(matching, version, continued)).unwrap_or_default();
    if initial {
        let detail = "sendInitialEvents is forbidden for list";
        errors.push(FieldError::forbidden("sendInitialEvents", detail));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)) }
}

fn match_errors(matching: &str, version: Option<&str>, continued: Option<&str>) -> Vec<FieldError> {
    let field = "resourceVersionMatch";
    let mut errors = Vec::new();
    if version.is_none() {
        errors.push(FieldError::forbidden(
            field,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    if continued.is_some() {
        errors.push(FieldError::forbidden(
            field,
            "resourceVersionMatch is forbidden when continue is provided",
        ));
    }
    if !matches!(matching, "Exact" | "NotOlderThan") {
        errors.push(FieldError::not_supported(field, matching, &["Exact", "NotOlderThan", ""]));
    }
    if matching == "Exact" && version == Some("0") {
        errors.push(FieldError::forbidden(
            field,
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ));
    }
    errors
}

/// Answers with a page.
pub(super) fn answer(call: &Call, form: Form, page: Found) -> Result<Response<Body>> {
    let Found { revision, token, remaining, .. } = &page;
    let metadata =
        respond::list_metadata(&call.resource, form.shape, revision.0, token.as_deref(), *remaining);
    if !form.is_plain() {
        let items: Vec<Value> = page.objects.iter().map(|object| call.resource.item_of(object)).collect();
        let text = respond::shaped_list(call, form, metadata, &items, call.registry.clock.now())?;
        return Ok(respond::text(StatusCode::OK, form.content_type(), Body::full(text)));
    }
    let head = json!({
        "kind": call.resource.list_kind(), "apiVersion": call.resource.api_version(),
        "metadata": metadata,
    });
    let size: usize = page.objects.iter().map(|object| object.written_len()).sum();
    let body =
        Body::pieces(stream::iter(Chunks::new(&head, call.resource.clone(), page.objects)), size as u64);
    Ok(respond::text(StatusCode::OK, form.content_type(), body))
}

/// A list's text, made a piece at a time from the objects' own bytes.
struct Chunks {
    head: Option<String>,
    resource: Arc<Resource>,
    objects: std::vec::IntoIter<Arc<Object>>,
    is_first: bool,
    is_done: bool,
}

impl Chunks {
    fn new(head: &Value, resource: Arc<Resource>, objects: Vec<Arc<Object>>) -> Self {
        let mut head = head.to_string();
        head.pop();
        head.push_str(",\"items\":[");
        Self { head: Some(head), resource, objects: objects.into_iter(), is_first: true, is_done: false }
    }
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.is_done {
            return None;
        }
        // First the size, so that the text is written into one piece of memory that is large enough.
        let head = self.head.take().unwrap_or_default();
        let (mut size, mut count) = (head.len() + 2, 0);
        for object in self.objects.as_slice() {
            if size >= CHUNK {
                break;
            }
            size += object.written_len();
            count += 1;
        }
        let mut out = BytesMut::with_capacity(size);
        out.put_slice(head.as_bytes());
        for object in self.objects.by_ref().take(count) {
            if !std::mem::take(&mut self.is_first) {
                out.put_u8(b',');
            }
            self.resource.write_item(&object, &mut out);
        }
        if self.objects.as_slice().is_empty() {
            out.put_slice(b"]}");
            self.is_done = true;
        }
        Some(out.freeze())
    }
}
