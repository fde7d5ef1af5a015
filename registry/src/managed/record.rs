//! Who owns what after a create, an update or a patch.

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::element::Element;
use super::entries::{Entry, Managed, Operation, is_reset};
use super::owned::reconcile;
use super::set::{FieldSet, Node};
use super::shape::Shape;
use crate::schema::Structure;

/// What the server owns of metadata. Nobody else is told to.
const SERVERS: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// What a write may change of an object, and may thus own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything.
    All,
    /// Everything but the status, which has a path of its own.
    AllButStatus,
    /// The status, and metadata.
    Status,
}

impl Part {
    /// Returns whether a member of the object belongs to it.
    pub(super) fn has(self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::AllButStatus => name != "status",
            Self::Status => matches!(name, "status" | "metadata"),
        }
    }
}

/// Who writes, and what.
#[derive(Clone, Copy)]
pub(crate) struct Writer<'a> {
    /// The field manager.
    pub(crate) manager: &'a str,
    /// The version that is written.
    pub(crate) api_version: &'a str,
    /// The path below the object; empty for the object itself.
    pub(crate) subresource: &'a str,
    /// What of the object the write may change.
    pub(crate) part: Part,
    /// The present time, in seconds.
    pub(crate) now: &'a str,
    /// Whether a version of the kind is served. Who owns fields of another owns nothing any more.
    pub(crate) is_served: &'a (dyn Fn(&str) -> bool + Sync),
}

impl Writer<'_> {
    /// The writer's entry, with no fields yet.
    pub(super) fn entry(&self, operation: Operation) -> Entry {
        Entry {
            manager: if self.manager.is_empty() { "unknown".into() } else { self.manager.into() },
            operation,
            api_version: self.api_version.into(),
            subresource: self.subresource.into(),
            time: Some(self.now.into()),
            fields: FieldSet::default(),
        }
    }

    /// Compares two objects in what this writer may own.
    pub(super) fn compare(&self, structure: &Structure, old: &Value, new: &Value) -> Comparison {
        compare(Shape::Struct(structure), old, new, &|place, name| match place {
            None => matches!(name, "apiVersion" | "kind") || !self.part.has(name),
            Some(_) => SERVERS.contains(&name),
        })
    }

    /// Takes what nobody is told to own, and what the writer may not change, out of a set.
    pub(super) fn strip(&self, set: &mut FieldSet) {
        set.for_each(|element, node| {
            let Element::Field(name) = element else { return };
            match name.as_ref() {
                "apiVersion" | "kind" => node.is_member = false,
                "metadata" => {
                    node.is_member = false;
                    node.below.for_each(|element, node| {
                        if matches!(element, Element::Field(name) if SERVERS.contains(&&**name)) {
                            node.is_member = false;
                        }
                    });
                }
                name if !self.part.has(name) => *node = Node::default(),
                _ => {}
            }
        });
    }

    /// Drops the entries of versions that are no longer served, and brings the others in line with the kind.
    pub(super) fn bring_up_to_date(&self, structure: &Structure, managed: &mut Managed) {
        managed.entries.retain_mut(|entry| {
            if entry.api_version != self.api_version {
                return (self.is_served)(&entry.api_version);
            }
            reconcile(Shape::Struct(structure), &mut entry.fields);
            true
        });
    }

    /// Records that `old` became `new`: what changed belongs to the writer, and to nobody else.
    pub(super) fn update(&self, structure: &Structure, managed: &mut Managed, changes: Comparison) {
        self.bring_up_to_date(structure, managed);
        for entry in &mut managed.entries {
            entry.fields.subtract(&changes.written);
            entry.fields.subtract(&changes.removed);
        }
        managed.entries.retain(|entry| !entry.fields.is_empty());
        let mut own = self.entry(Operation::Update);
        own.fields = changes.written;
        own.fields.subtract(&changes.removed);
        if !own.fields.is_empty() {
            if let Some(before) = managed.take(&own) {
                own.fields.add(before.fields);
            }
            managed.entries.push(own);
        }
        managed.cap();
    }
}

/// Returns who owns what after a write that is no apply: `metadata.managedFields`, absent if nobody owns anything.
///
/// `old` is absent if the object is new. What `new` says itself counts if it can be read, unless a subresource is
/// written; an object whose owners somebody reset has none until somebody applies it.
pub(crate) fn recorded(
    structure: &Structure,
    old: Option<&Value>,
    new: &Value,
    writer: &Writer<'_>,
) -> Option<Value> {
    let given = &new["metadata"]["managedFields"];
    let Some(old) = old else {
        let mut managed = if is_reset(given) { Managed::default() } else { read(given).unwrap_or_default() };
        writer.update(
            structure,
            &mut managed,
            writer.compare(structure, &crate::schema::empty(structure), new),
        );
        return managed.encode();
    };
    let before = &old["metadata"]["managedFields"];
    let is_own = writer.subresource.is_empty() && !given.is_null() && given != before;
    if is_own && is_reset(given) {
        return None;
    }
    let base = if is_own { read(given).filter(|managed| !managed.entries.is_empty()) } else { None };
    if base.is_none() && before.is_null() {
        return None;
    }
    let changes = writer.compare(structure, old, new);
    if base.is_none() && changes == Comparison::default() {
        return Some(before.clone());
    }
    let mut managed = base.or_else(|| read(before)).unwrap_or_default();
    if managed.entries.is_empty() {
        return None;
    }
    writer.update(structure, &mut managed, changes);
    managed.encode()
}

fn read(value: &Value) -> Option<Managed> {
    Managed::decode(value).ok()
}
