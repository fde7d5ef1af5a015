//! What the server owns in `metadata`.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Target;
use crate::resource::{Generation, Resource, Subresource};
use crate::status::{Result, Status};

/// Upstream's limit on generated names: room for five random characters in 63.
const GENERATED_BASE: usize = 58;

/// Returns a time as metadata holds it: whole seconds, UTC.
pub(crate) fn seconds(now: Timestamp) -> Value {
    Timestamp::from_second(now.as_second()).expect("a time without its fraction is a time").to_string().into()
}

/// Returns `metadata`, made if it is absent.
pub(super) fn of(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    object["metadata"].as_object_mut().expect("it was just made an object")
}

/// Sets what the server owns in a new object's metadata, but for its name.
pub(super) fn prepare_new(object: &mut Value, resource: &Resource, uid: String, now: Timestamp) {
    let metadata = of(object);
    for gone in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(gone);
    }
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), seconds(now));
    if resource.generation != Generation::Unmanaged {
        metadata.insert("generation".into(), 1.into());
    }
}

/// Returns a name made of a base and random characters.
pub(super) fn generate(base: &str, suffix: &str) -> String {
    let mut end = base.len().min(GENERATED_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

/// Checks that an object is the one that the path names, and fills in its namespace.
///
/// # Errors
///
/// 400 if it is another.
pub(crate) fn check_identity(object: &mut Value, target: &Target<'_>) -> Result<()> {
    check_name(object, target)?;
    let metadata = of(object);
    let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    match target.namespace {
        Some(expected) if namespace.is_empty() => {
            metadata.insert("namespace".into(), expected.into());
        }
        Some(expected) if namespace != expected => {
            return Err(Status::bad_request(format!(
                "the namespace of the object ({namespace}) does not match the namespace on the request ({expected})"
            )));
        }
        None => drop(metadata.remove("namespace")),
        Some(_) => {}
    }
    Ok(())
}

/// Checks that an object has the name of the path.
///
/// # Errors
///
/// 400 if it has another, or none.
pub(super) fn check_name(object: &Value, target: &Target<'_>) -> Result<()> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            target.name
        )));
    }
    if name != target.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    Ok(())
}

/// Restores what an update may not touch, silently as upstream does.
pub(super) fn restore(new: &mut Value, old: &Value, target: &Target<'_>) {
    let resource = target.resource;
    let metadata = of(new);
    let before = old["metadata"].as_object();
    let before = |field: &str| before.and_then(|metadata| metadata.get(field)).cloned();
    for owned in ["creationTimestamp", "generation", "resourceVersion"] {
        put(metadata, owned, before(owned));
    }
    if let Some(deleted) = before("deletionTimestamp") {
        metadata.insert("deletionTimestamp".into(), deleted);
    }
    // What differs is refused.
    for kept in ["uid", "deletionGracePeriodSeconds"] {
        if metadata.get(kept).is_none_or(|given| given == "") {
            put(metadata, kept, before(kept));
        }
    }
    metadata.remove("selfLink");
    let (old, new) = (old.as_object(), new.as_object_mut());
    let (Some(old), Some(new)) = (old, new) else { return };
    match target.subresource {
        Some(Subresource::Status | Subresource::Approval) => {
            // As upstream: what a status write says of metadata counts, for controllers keep annotations with it.
            let (status, metadata) = (new.remove("status"), new.remove("metadata"));
            *new = old.clone();
            put(new, "status", status);
            // Not so for custom kinds: nothing but their status changes.
            if resource.custom.is_none() {
                put(new, "metadata", metadata);
            }
        }
        Some(Subresource::Finalize) => {
            let finalizers = new.get("spec").and_then(|spec| spec.get("finalizers")).cloned();
            let metadata = new.get("metadata").cloned();
            *new = old.clone();
            put(new, "metadata", metadata);
            if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
                put(spec, "finalizers", finalizers);
            }
        }
        // A binding also says in the status that the pod is scheduled.
        Some(Subresource::Binding) => {}
        _ if resource.has(Subresource::Status) => put(new, "status", old.get("status").cloned()),
        _ => {}
    }
}

/// Sets a field, or removes it.
pub(super) fn put(map: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    match value {
        Some(value) => {
            map.insert(field.into(), value);
        }
        None => {
            map.remove(field);
        }
    }
}

/// Makes integers of the whole floats of a custom object that passed its checks: some of them tell the two apart.
pub(super) fn settle_numbers(object: &mut Value, resource: &Resource) {
    if resource.custom.is_some() {
        crate::custom::numbers::make_whole(object);
    }
}

/// Counts a generation if anything but metadata and status changed.
pub(super) fn count_generation(new: &mut Value, old: &Value, resource: &Resource) {
    let counts_status = match resource.generation {
        Generation::Unmanaged => return,
        Generation::Spec => false,
        Generation::Content => true,
    };
    if counted(new, counts_status).ne(counted(old, counts_status)) {
        bump_generation(new);
    }
}

/// The members of an object whose changes count.
fn counted(object: &Value, counts_status: bool) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten().filter(move |(name, _)| match name.as_str() {
        "metadata" => false,
        "status" => counts_status,
        _ => true,
    })
}

/// Counts a generation.
pub(super) fn bump_generation(object: &mut Value) {
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
    of(object).insert("generation".into(), generation.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_name_never_exceeds_a_label() {
        assert_eq!(generate("web-", "x2b4k"), "web-x2b4k");
        assert_eq!(generate(&"a".repeat(80), "x2b4k").len(), 63);
    }
}
