//! JSON patches (RFC 6902), within bounds: a short patch must not make a huge object.
//!
//! `copy` can double an object with every operation, and `add` and `copy` can nest without end.

use json_patch::PatchOperation;
use serde_json::Value;

use crate::schema::MAX_DEPTH;
use crate::status::{Result, Status};

/// How many bytes of JSON the operations of a patch may copy.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Applies a patch to an object.
///
/// # Errors
///
/// 422 for an operation that finds nothing where it looks, or leads out of bounds.
pub(super) fn apply(present: &Value, patch: &json_patch::Patch) -> Result<Value> {
    let mut object = present.clone();
    let mut copied = 0;
    for operation in patch.iter() {
        check(operation, &object, &mut copied)?;
        json_patch::patch(&mut object, std::slice::from_ref(operation))
            .map_err(|_| Status::patch_does_not_fit())?;
    }
    Ok(object)
}

/// Checks that an operation stays within bounds.
fn check(operation: &PatchOperation, object: &Value, copied: &mut usize) -> Result<()> {
    let (path, value) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value)),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
        PatchOperation::Copy(copy) => {
            let source = object.pointer(copy.from.as_str());
            *copied += source.map_or(0, |source| size(source, MAX_COPIED));
            (&copy.path, source)
        }
        PatchOperation::Move(moved) => (&moved.path, object.pointer(moved.from.as_str())),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    if *copied > MAX_COPIED {
        return Err(Status::unprocessable(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
        )));
    }
    let room = MAX_DEPTH.checked_sub(path.tokens().count());
    if room.is_none_or(|room| value.is_some_and(|value| !fits(value, room))) {
        return Err(Status::unprocessable("the patch makes an object that exceeds the maximum depth"));
    }
    Ok(())
}

/// The length of a value's JSON, counted no further than to a limit.
fn size(value: &Value, limit: usize) -> usize {
    let mut total = 0;
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        total += match value {
            Value::Null | Value::Bool(_) => 5,
            Value::Number(_) => 8,
            Value::String(text) => text.len() + 2,
            Value::Array(list) => {
                waiting.extend(list);
                list.len() + 2
            }
            Value::Object(members) => {
                waiting.extend(members.values());
                members.keys().map(|name| name.len() + 4).sum::<usize>() + 2
            }
        };
        if total > limit {
            break;
        }
    }
    total
}

/// Whether a value nests no deeper than this.
fn fits(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(list) => depth > 0 && list.iter().all(|value| fits(value, depth - 1)),
        Value::Object(members) => depth > 0 && members.values().all(|value| fits(value, depth - 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(object: &Value, operations: Value) -> Result<Value> {
        apply(object, &serde_json::from_value(operations).unwrap())
    }

    #[test]
    fn a_json_patch_whose_copies_double_is_refused_before_memory_is_full() {
        let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let object = json!({"a": ["x".repeat(100)]});

        let some = patched(&object, vec![double.clone(); 10].into()).unwrap();
        let refused = patched(&object, vec![double; 10_000].into()).unwrap_err();

        assert_eq!(some["a"].as_array().unwrap().len(), 11);
        assert_eq!(refused.code, http::StatusCode::UNPROCESSABLE_ENTITY);
        assert!(refused.message.starts_with("Unable to complete the copy"), "{refused}");
    }

    #[test]
    fn a_json_patch_that_nests_without_end_is_refused() {
        let deeper = |at: usize| json!({"op": "add", "path": "/a".repeat(at), "value": {"a": {}}});

        let refused = patched(&json!({"a": {}}), (1..10_000).map(deeper).collect()).unwrap_err();

        assert!(refused.message.contains("maximum depth"), "{refused}");
    }
}
