//! Server-side apply: a configuration is merged into an object, and belongs to who applies it.

use serde_json::{Value, json};

use super::check::check;
use super::entries::{Entry, Managed, Operation};
use super::last_applied;
use super::merge::merge;
use super::owned::{fields_of, with_named_members};
use super::record::Writer;
use super::remove::remove;
use super::set::{FieldSet, Path};
use super::shape::Shape;
use crate::schema::Structure;
use crate::status::Status;

/// Who owns what was there before anybody applied an object that has no owners.
const BEFORE: &str = "before-first-apply";

/// An object after an apply.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied {
    /// The object, without its owners.
    pub(crate) object: Value,
    /// `metadata.managedFields`; absent if nobody owns anything.
    pub(crate) managed: Option<Value>,
}

/// Why a configuration cannot be applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failure {
    /// Others own what it changes.
    Conflicts(Vec<Conflict>),
    /// The object's own list of owners cannot be read.
    Unreadable(String),
    /// It does not fit its kind.
    Unfit(String),
}

/// A field that somebody else owns and the configuration changes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conflict {
    /// The owner as messages name it.
    owner: String,
    /// The field.
    path: Path,
}

/// Applies a configuration to an object, which is [empty](crate::schema::empty) if there is none yet.
///
/// # Errors
///
/// [`Failure`].
pub(crate) fn apply(
    structure: &Structure,
    live: &Value,
    applied: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Applied, Failure> {
    check(structure, applied).map_err(Failure::Unfit)?;
    let managed = Managed::decode(&live["metadata"]["managedFields"]).map_err(Failure::Unreadable)?;
    let mut live = live.clone();
    if let Some(metadata) = live["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    let mut run = Run { structure, live: &live, applied, writer, managed };
    run.begin();
    let outcome = run.apply(force);
    let (object, managed) = match outcome {
        Err(Failure::Conflicts(conflicts)) if writer.manager == last_applied::MANAGER => {
            run.apply_over_last_applied(conflicts)?
        }
        outcome => outcome?,
    };
    Ok(Applied { object, managed: managed.encode() })
}

struct Run<'a> {
    structure: &'a Structure,
    live: &'a Value,
    applied: &'a Value,
    writer: &'a Writer<'a>,
    managed: Managed,
}

impl Run<'_> {
    fn shape(&self) -> Shape<'_> {
        Shape::Struct(self.structure)
    }

    /// Gives an object without owners one for all that is there. Owners by versions that are gone were owners all the same.
    fn begin(&mut self) {
        let has_none = self.managed.entries.is_empty();
        self.writer.bring_up_to_date(self.structure, &mut self.managed);
        if has_none {
            let before = Writer { manager: BEFORE, ..*self.writer };
            let there = before.compare(self.structure, &crate::schema::empty(self.structure), self.live);
            before.update(self.structure, &mut self.managed, there);
        }
    }

    fn apply(&self, force: bool) -> Result<(Value, Managed), Failure> {
        let merged = merge(self.shape(), self.live, self.applied);
        let mut managed = self.managed.clone();
        let mut own = self.writer.entry(Operation::Apply);
        let last = managed.take(&own).map(|entry| entry.fields);
        own.fields = fields_of(self.shape(), self.applied);
        for name in self.structure.fields.iter().map(|field| field.name.as_ref()) {
            if !self.writer.part.has(name) {
                own.fields.prune(name);
            }
        }
        let object = self.prune(merged, &managed, &own.fields, last.as_ref());
        self.settle(&mut managed, &object, force)?;
        self.writer.strip(&mut own.fields);
        if !own.fields.is_empty() {
            managed.entries.push(own);
        }
        Ok((object, managed))
    }

    /// Takes out what the manager applied last time and not this time, and nobody else owns.
    fn prune(&self, merged: Value, others: &Managed, own: &FieldSet, last: Option<&FieldSet>) -> Value {
        let Some(last) = last.filter(|last| !last.is_empty()) else { return merged };
        let shape = self.shape();
        let all = |value: &Value| with_named_members(shape, fields_of(shape, value));
        let last = with_named_members(shape, last.clone());
        let pruned = remove(shape, &merged, &last);
        let everything = all(&merged);
        // Adds back what somebody owns …
        let mut owned = own.clone();
        for entry in &others.entries {
            owned.add(entry.fields.clone());
        }
        let mut kept = all(&pruned);
        kept.add(with_named_members(shape, owned));
        let mut gone = everything.clone();
        gone.subtract(&kept);
        let pruned = remove(shape, &merged, &gone);
        // … and what went only because it is below something that was taken out.
        let mut gone = everything;
        gone.subtract(&all(&pruned));
        remove(shape, &merged, &gone.intersection(&last))
    }

    /// Takes from others what the object says otherwise now.
    fn settle(&self, managed: &mut Managed, object: &Value, force: bool) -> Result<(), Failure> {
        let changes = self.writer.compare(self.structure, self.live, object);
        let mut conflicts: Vec<Conflict> = Vec::new();
        if !force {
            let mut others: Vec<&Entry> = managed.entries.iter().collect();
            others.sort_by_key(|e| (&e.manager, e.operation, &e.api_version, &e.subresource));
            for entry in others {
                let paths = entry.fields.intersection(&changes.written).paths();
                let owner = name_of(entry);
                conflicts.extend(paths.into_iter().map(|path| Conflict { owner: owner.clone(), path }));
            }
        }
        if !conflicts.is_empty() {
            return Err(Failure::Conflicts(conflicts));
        }
        for entry in &mut managed.entries {
            entry.fields.subtract(&changes.written);
            entry.fields.subtract(&changes.removed);
        }
        managed.entries.retain(|entry| !entry.fields.is_empty());
        Ok(())
    }

    /// Applies in spite of conflicts, if they all are about what client-side apply wrote.
    fn apply_over_last_applied(&self, conflicts: Vec<Conflict>) -> Result<(Value, Managed), Failure> {
        let allowed = last_applied::fields(self.structure, self.live, self.writer);
        let left: Vec<Conflict> = match &allowed {
            Some(allowed) => conflicts.into_iter().filter(|one| !allowed.has(&one.path.0)).collect(),
            None => conflicts,
        };
        if left.is_empty() { self.apply(true) } else { Err(Failure::Conflicts(left)) }
    }
}

/// An owner as messages name it.
fn name_of(entry: &Entry) -> String {
    let mut name = quarterdeck_core::labels::quote(&entry.manager);
    if !entry.subresource.is_empty() {
        name.push_str(&format!(" with subresource {}", quarterdeck_core::labels::quote(&entry.subresource)));
    }
    if entry.operation == Operation::Update {
        name.push_str(&format!(" using {}", entry.api_version));
    }
    name
}

/// Says what conflicts, in upstream's words.
pub(crate) fn conflict_status(conflicts: &[Conflict]) -> Status {
    let message = match conflicts {
        [only] => format!("Apply failed with 1 conflict: conflict with {}: {}", only.owner, only.path),
        all => {
            let mut lines = Vec::with_capacity(all.len() + 1);
            for of_one in all.chunk_by(|one, other| one.owner == other.owner) {
                lines.push(format!("conflicts with {}:", of_one[0].owner));
                lines.extend(of_one.iter().map(|conflict| format!("- {}", conflict.path)));
            }
            format!("Apply failed with {} conflicts: {}", all.len(), lines.join("\n"))
        }
    };
    let status = Status::new(http::StatusCode::CONFLICT, "Conflict", message);
    conflicts.iter().fold(status, |status, conflict| {
        status.cause(json!({
            "reason": "FieldManagerConflict",
            "message": format!("conflict with {}", conflict.owner),
            "field": conflict.path.to_string(),
        }))
    })
}
