//! Lays an applied configuration over an object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::Element;
use super::shape::Shape;

/// Merges what is applied into what is there. Both must have passed [`check`](super::check::check).
pub(super) fn merge(shape: Shape<'_>, live: &Value, applied: &Value) -> Value {
    if shape.is_list() {
        return lists(shape, live, applied);
    }
    if !shape.is_object() {
        return applied.clone();
    }
    match (live, applied) {
        // An object whose type is what it holds gives way to anything else.
        (Value::Object(_), other)
            if matches!(shape, Shape::Deduced) && !other.is_object() && !other.is_null() =>
        {
            other.clone()
        }
        (Value::Object(live), Value::Object(applied)) => objects(shape, live, applied),
        (Value::Object(live), _) if !live.is_empty() => Value::Object(live.clone()),
        (_, applied) => applied.clone(),
    }
}

fn objects(shape: Shape<'_>, live: &Map<String, Value>, applied: &Map<String, Value>) -> Value {
    let mut merged = live.clone();
    for (name, value) in applied {
        let value = match live.get(name) {
            Some(present) => merge(shape.member(name).shape, present, value),
            None => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    Value::Object(merged)
}

/// Merges lists. The applied order holds among what was applied; what was there before keeps its place
/// before the next element that both have.
fn lists(shape: Shape<'_>, live: &Value, applied: &Value) -> Value {
    let list = |value: &'_ Value| value.as_array().filter(|list| !list.is_empty()).is_some();
    match (list(live), list(applied)) {
        (false, _) => return applied.clone(),
        (true, false) => return live.clone(),
        (true, true) => {}
    }
    let (live, applied) = (Named::new(shape, live), Named::new(shape, applied));
    Value::Array(Interleaved { shape, live: &live, applied: &applied }.run())
}

/// A list whose elements are known by name. What has no name cannot be matched, and stays where it is.
struct Named<'v> {
    list: Vec<(Option<Element>, &'v Value)>,
    /// Positions by name; of duplicates none, for they are not merged.
    places: BTreeMap<Element, Option<usize>>,
}

impl<'v> Named<'v> {
    fn new(shape: Shape<'_>, value: &'v Value) -> Self {
        let list: Vec<_> = value
            .as_array()
            .into_iter()
            .flatten()
            .map(|element| (shape.name(element).ok(), element))
            .collect();
        let mut places = BTreeMap::new();
        for (at, (name, _)) in list.iter().enumerate() {
            let Some(name) = name else { continue };
            places.entry(name.clone()).and_modify(|place| *place = None).or_insert(Some(at));
        }
        Self { list, places }
    }

    fn has(&self, name: Option<&Element>) -> bool {
        name.is_some_and(|name| self.places.contains_key(name))
    }

    fn only(&self, name: Option<&Element>) -> Option<&'v Value> {
        let place = name.and_then(|name| *self.places.get(name)?)?;
        Some(self.list[place].1)
    }
}

struct Interleaved<'a, 's> {
    shape: Shape<'s>,
    live: &'a Named<'a>,
    applied: &'a Named<'a>,
}

impl Interleaved<'_, '_> {
    fn run(&self) -> Vec<Value> {
        let (live, applied) = (self.live, self.applied);
        let mut out = Vec::with_capacity(live.list.len().max(applied.list.len()));
        let mut shared =
            applied.list.iter().filter_map(|(name, _)| name.as_ref()).filter(|name| live.has(Some(*name)));
        let mut next_shared = shared.next();
        let mut merged = std::collections::BTreeSet::new();
        let (mut at, mut from) = (0, 0);
        while at < live.list.len() || from < applied.list.len() {
            if let (Some((name, _)), Some((applied_name, _))) = (live.list.get(at), applied.list.get(from)) {
                if name.is_some() && name == applied_name {
                    merged.insert(name.as_ref());
                    out.push(self.merged(name.as_ref()));
                    (at, from) = (at + 1, from + 1);
                    next_shared = shared.next();
                    continue;
                }
                // Both have it, but something else comes first in the applied order.
                if applied.has(name.as_ref()) && next_shared.is_some() && next_shared != name.as_ref() {
                    at += 1;
                    continue;
                }
            }
            if let Some((name, value)) = live.list.get(at) {
                if !applied.has(name.as_ref()) {
                    out.push((*value).clone());
                    at += 1;
                    continue;
                }
                if merged.contains(&name.as_ref()) {
                    at += 1;
                }
            }
            if let Some((name, _)) = applied.list.get(from) {
                merged.insert(name.as_ref());
                out.push(self.merged_at(name.as_ref(), from));
                from += 1;
                if next_shared.is_some() && next_shared == name.as_ref() {
                    next_shared = shared.next();
                }
            }
        }
        out
    }

    /// The applied element of a name, merged into the one that is there.
    fn merged(&self, name: Option<&Element>) -> Value {
        match (self.live.only(name), self.applied.only(name)) {
            (Some(live), Some(applied)) => merge(self.shape.elements(), live, applied),
            (_, Some(value)) | (Some(value), None) => value.clone(),
            (None, None) => Value::Null,
        }
    }

    fn merged_at(&self, name: Option<&Element>, at: usize) -> Value {
        match self.live.only(name) {
            Some(live) => merge(self.shape.elements(), live, self.applied.list[at].1),
            None => self.applied.list[at].1.clone(),
        }
    }
}
