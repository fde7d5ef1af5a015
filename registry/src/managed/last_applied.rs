//! The way from client-side apply to server-side apply, which `kubectl` goes without being asked.
//!
//! Client-side apply keeps what it applied in an annotation. When the manager `kubectl` applies by the server for the first
//! time, fields that the annotation has are no conflict, and while the annotation stays it is kept up to date, so that the
//! way back is open.

use serde_json::Value;

use super::compare::compare;
use super::owned::fields_of;
use super::record::Writer;
use super::set::FieldSet;
use super::shape::Shape;
use crate::schema::{self, Structure};

/// The manager that kubectl applies as unless it is told another.
pub(super) const MANAGER: &str = "kubectl";

/// Where client-side apply keeps what it applied.
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// How large all annotations together may be.
const MOST_BYTES: usize = 256 * 1024;

/// Returns the fields that client-side apply wrote and nobody changed since; absent if it wrote none that can be told.
pub(super) fn fields(structure: &Structure, live: &Value, writer: &Writer<'_>) -> Option<FieldSet> {
    let text = live["metadata"]["annotations"][ANNOTATION].as_str().filter(|text| !text.is_empty())?;
    let last = schema::parse_json(text.as_bytes()).ok()?;
    if last["apiVersion"] != writer.api_version || super::check::check(structure, &last).is_err() {
        return None;
    }
    let shape = Shape::Struct(structure);
    let mut fields = fields_of(shape, &last);
    let since = compare(shape, &last, live, &|_, _| false);
    fields.subtract(&since.written);
    fields.subtract(&since.removed);
    Some(fields)
}

/// Keeps the annotation up to date with what is applied now, if there is one and `kubectl` applies.
pub(crate) fn refresh(object: &mut Value, applied: &Value, manager: &str) {
    let present = object["metadata"]["annotations"][ANNOTATION].as_str().unwrap_or_default();
    if manager != MANAGER || present.is_empty() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) = applied["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
        if annotations.is_empty()
            && let Some(metadata) = applied["metadata"].as_object_mut()
        {
            metadata.remove("annotations");
        }
    }
    let text = format!("{applied}\n");
    let Some(annotations) = object["metadata"]["annotations"].as_object_mut() else { return };
    annotations.insert(ANNOTATION.into(), text.into());
    let size: usize =
        annotations.iter().map(|(name, value)| name.len() + value.as_str().unwrap_or_default().len()).sum();
    if size > MOST_BYTES {
        annotations.remove(ANNOTATION);
    }
}
