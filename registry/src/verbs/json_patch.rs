//! JSON patches (RFC 6902), within bounds: a short patch must not make a huge object.
//!
//! `copy` can double an object with every operation, and `add` and `copy` can nest without end.
//!
//! Where upstream's library (`evanphx/json-patch`, version 4) goes its own way, so does this: an index below zero counts from
//! the end, `replace` adds a member that is not there, `copy` takes one for null, and so does `test`; and of the whole
//! object there is only `replace` and `test`.

use serde_json::{Map, Value};

use crate::schema::MAX_DEPTH;
use crate::status::{Result, Status};

/// How many bytes of JSON the operations of a patch may copy.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// One operation: its members as they were sent.
#[derive(Debug)]
pub(crate) struct Operation(Map<String, Value>);

impl Operation {
    /// Reads an operation. What it asks for is found out when it meets an object.
    ///
    /// # Errors
    ///
    /// In upstream's words, why it is none.
    pub(crate) fn read(value: Value) -> std::result::Result<Self, String> {
        let Value::Object(members) = value else {
            return match json_type(&value) {
                "null" => Ok(Self(Map::new())),
                found => {
                    Err(format!("json: cannot unmarshal {found} into Go value of type handlers.jsonPatchOp"))
                }
            };
        };
        for name in ["op", "path", "from"] {
            match members.get(name).map(json_type) {
                None | Some("null" | "string") => {}
                Some(found) => {
                    return Err(format!(
                        "json: cannot unmarshal {found} into Go struct field jsonPatchOp.{name} of type string"
                    ));
                }
            }
        }
        Ok(Self(members))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn value(&self) -> Value {
        self.0.get("value").cloned().unwrap_or_default()
    }

    /// Carries the operation out; absent if it finds nothing where it looks.
    fn carry_out(&self, object: &mut Value) -> Option<()> {
        let path = self.text("path")?;
        match self.text("op")? {
            "add" => place(object, path)?.add(self.value()),
            "remove" => place(object, path)?.remove().map(drop),
            "replace" if path.is_empty() => {
                let value = self.value();
                (value.is_object() || value.is_array()).then(|| *object = value)
            }
            "replace" => place(object, path)?.set(self.value()),
            "test" if path.is_empty() => (*object == self.value()).then_some(()),
            "test" => (place(object, path)?.get()? == self.value()).then_some(()),
            "copy" => {
                let value = place(object, self.text("from")?)?.get()?;
                place(object, path)?.add(value)
            }
            "move" => {
                let value = place(object, self.text("from")?)?.remove()?;
                place(object, path)?.add(value)
            }
            _ => None,
        }
    }

    /// Checks that the operation stays within bounds.
    fn check(&self, object: &mut Value, copied: &mut usize) -> Result<()> {
        let path = self.text("path").unwrap_or_default();
        let source = match self.text("op") {
            Some("add" | "replace") => self.0.get("value"),
            Some("copy" | "move") => {
                let present = self.text("from").and_then(|from| place(object, from)?.into_present());
                present.map(|present| &*present)
            }
            _ => return Ok(()),
        };
        if self.text("op") == Some("copy") {
            *copied += source.map_or(0, |source| size(source, MAX_COPIED));
        }
        if *copied > MAX_COPIED {
            return Err(Status::unprocessable(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
            )));
        }
        let room = MAX_DEPTH.checked_sub(path.matches('/').count());
        if room.is_none_or(|room| source.is_some_and(|source| !fits(source, room))) {
            return Err(Status::unprocessable("the patch makes an object that exceeds the maximum depth"));
        }
        Ok(())
    }
}

/// Applies a patch to an object.
///
/// # Errors
///
/// 422 for an operation that finds nothing where it looks, or leads out of bounds.
pub(crate) fn apply(present: &Value, patch: &[Operation]) -> Result<Value> {
    let mut object = present.clone();
    let mut copied = 0;
    for operation in patch {
        operation.check(&mut object, &mut copied)?;
        operation.carry_out(&mut object).ok_or_else(Status::patch_does_not_fit)?;
    }
    Ok(object)
}

/// What a JSON value is in Go's messages.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The end of a path: a member of an object or an element of a list, there or not.
enum Place<'v> {
    Member(&'v mut Map<String, Value>, String),
    Element(&'v mut Vec<Value>, String),
}

/// Follows a path to its last step; absent if it leads nowhere.
fn place<'v>(object: &'v mut Value, path: &str) -> Option<Place<'v>> {
    let (_, steps) = path.split_once('/')?;
    let unescaped = |step: &str| step.replace("~1", "/").replace("~0", "~");
    let (above, last) = match steps.rsplit_once('/') {
        Some((above, last)) => (Some(above), last),
        None => (None, steps),
    };
    let mut container = object;
    for step in above.into_iter().flat_map(|above| above.split('/')) {
        container = Place::of(container, unescaped(step))?.into_present()?;
    }
    Place::of(container, unescaped(last))
}

impl<'v> Place<'v> {
    fn of(container: &'v mut Value, step: String) -> Option<Self> {
        match container {
            Value::Object(members) => Some(Self::Member(members, step)),
            Value::Array(list) => Some(Self::Element(list, step)),
            _ => None,
        }
    }

    /// What is there: a member that is not counts as null, an element that is not is absent.
    fn get(self) -> Option<Value> {
        match self {
            Self::Member(members, name) => Some(members.get(&name).cloned().unwrap_or_default()),
            element @ Self::Element(..) => element.into_present().cloned(),
        }
    }

    fn set(self, value: Value) -> Option<()> {
        match self {
            Self::Member(members, name) => drop(members.insert(name, value)),
            element @ Self::Element(..) => *element.into_present()? = value,
        }
        Some(())
    }

    fn into_present(self) -> Option<&'v mut Value> {
        match self {
            Self::Member(members, name) => members.get_mut(&name),
            Self::Element(list, step) => {
                let at = index(&step, list.len())?;
                list.get_mut(at)
            }
        }
    }

    fn add(self, value: Value) -> Option<()> {
        match self {
            Self::Member(members, name) => drop(members.insert(name, value)),
            Self::Element(list, step) if step == "-" => list.push(value),
            Self::Element(list, step) => {
                let at = index(&step, list.len() + 1)?;
                list.insert(at, value);
            }
        }
        Some(())
    }

    fn remove(self) -> Option<Value> {
        match self {
            Self::Member(members, name) => members.remove(&name),
            Self::Element(list, step) => {
                let at = index(&step, list.len())?;
                Some(list.remove(at))
            }
        }
    }
}

/// Reads an index below a length; one below zero counts from the end.
fn index(step: &str, length: usize) -> Option<usize> {
    let given: i64 = step.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let at = if given < 0 { given + length } else { given };
    usize::try_from(at).ok().filter(|_| at < length)
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
        let Value::Array(operations) = operations else { panic!("a patch is a list") };
        let operations: Vec<_> = operations.into_iter().map(|one| Operation::read(one).unwrap()).collect();
        apply(object, &operations)
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

    #[test]
    fn operations_find_their_place_as_upstream_finds_it() {
        let object = json!({"l": [1, 2, 3], "m": {"a/b": 1, "c~d": 2}, "n": null});
        let of = |operation: Value| patched(&object, json!([operation])).ok();
        let list = |operation: Value| of(operation).map(|object| object["l"].clone());

        assert_eq!(list(json!({"op": "add", "path": "/l/-1", "value": 4})), Some(json!([1, 2, 3, 4])));
        assert_eq!(list(json!({"op": "add", "path": "/l/3", "value": 4})), Some(json!([1, 2, 3, 4])));
        assert_eq!(list(json!({"op": "add", "path": "/l/4", "value": 4})), None);
        assert_eq!(list(json!({"op": "remove", "path": "/l/-1"})), Some(json!([1, 2])));
        assert_eq!(list(json!({"op": "remove", "path": "/l/-"})), None);
        assert_eq!(list(json!({"op": "replace", "path": "/l/-3", "value": 0})), Some(json!([0, 2, 3])));
        assert_eq!(list(json!({"op": "move", "from": "/l/0", "path": "/l/2"})), Some(json!([2, 3, 1])));
        assert_eq!(list(json!({"op": "replace", "path": "/l/3", "value": 0})), None);
        assert_eq!(of(json!({"op": "add", "path": "/m/x"})).unwrap()["m"]["x"], Value::Null);
        assert_eq!(of(json!({"op": "replace", "path": "/m/x", "value": 1})).unwrap()["m"]["x"], 1);
        let copied = of(json!({"op": "copy", "from": "/none", "path": "/m/x"})).unwrap();
        assert!(copied["m"].as_object().unwrap()["x"].is_null());
        assert_eq!(of(json!({"op": "move", "from": "/none", "path": "/m/x"})), None);
        assert_eq!(of(json!({"op": "replace", "path": "", "value": {"a": 1}})), Some(json!({"a": 1})));
        assert_eq!(of(json!({"op": "remove", "path": "/m/a~1b"})).unwrap()["m"], json!({"c~d": 2}));
        assert_eq!(of(json!({"op": "remove", "path": "/m/c~0d"})).unwrap()["m"], json!({"a/b": 1}));
        assert_eq!(of(json!({"op": "add", "path": "/n/x", "value": 1})), None);
    }

    #[test]
    fn a_test_for_null_passes_on_what_is_not_there() {
        let object = json!({"l": [1], "n": null, "o": {"a": 1, "b": [1, {"c": "d"}]}});
        let passes = |path: &str, value: Value| {
            patched(&object, json!([{"op": "test", "path": path, "value": value}])).is_ok()
        };

        assert!(passes("/none", Value::Null) && passes("/n", Value::Null));
        assert!(!passes("/none/below", Value::Null) && !passes("/l/1", Value::Null));
        assert!(passes("/o", json!({"b": [1, {"c": "d"}], "a": 1})));
        assert!(passes("", object.clone()) && !passes("", json!({})));
        assert!(
            !passes("/o", json!({"a": 1})) && !passes("/l/0", json!(1.5)) && !passes("/l/0", Value::Null)
        );
    }

    #[test]
    fn an_operation_that_is_none_is_refused_where_it_is_read_or_where_it_is_carried_out() {
        let refused = |operation: Value| Operation::read(operation).unwrap_err();
        let fails = |operation: Value| patched(&json!({"a": 1}), json!([operation])).unwrap_err().message;

        assert_eq!(
            refused(json!(1)),
            "json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"
        );
        assert_eq!(
            refused(json!({"op": "add", "path": ["a"]})),
            "json: cannot unmarshal array into Go struct field jsonPatchOp.path of type string"
        );
        for operation in [
            json!({"op": "twist", "path": "/a"}),
            json!({"path": "/a", "value": 1}),
            json!({"op": "add", "value": 1}),
            json!({"op": "move", "path": "/b"}),
            json!({"op": "replace", "path": "", "value": 1}),
            json!({"op": "add", "path": "", "value": {}}),
            json!({"op": "add", "path": "b", "value": 1}),
            Value::Null,
        ] {
            let why = fails(operation);
            assert_eq!(why, "the server rejected our request due to an error in our request");
        }
    }
}
