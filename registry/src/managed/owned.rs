//! Which fields an object has: what somebody owns who applies it.

use serde_json::Value;

use super::element::Element;
use super::set::{FieldSet, Node};
use super::shape::Shape;

/// Returns the fields of an object.
pub(super) fn fields_of(shape: Shape<'_>, object: &Value) -> FieldSet {
    node(shape, object).below
}

fn node(shape: Shape<'_>, value: &Value) -> Node {
    match value {
        Value::Object(members) if shape.is_object() => {
            let mut all = Node::default();
            for (name, value) in members {
                let member = shape.member(name);
                let mut below = node(member.shape, value);
                // A structure's member is there for what it holds, unless it holds nothing.
                let is_empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                below.is_member |= !member.is_named || is_empty;
                all.below.insert(Element::field(name), below);
            }
            all
        }
        Value::Array(list) if shape.is_list() => Node { is_member: false, below: elements(shape, list) },
        Value::Null if shape.is_object() || shape.is_list() => Node::default(),
        _ => Node::member(),
    }
}

fn elements(shape: Shape<'_>, list: &[Value]) -> FieldSet {
    let named = list.iter().filter_map(|element| Some((shape.name(element).ok()?, element)));
    let mut named: Vec<(Element, &Value)> = named.collect();
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut set = FieldSet::default();
    for same in named.chunk_by(|(one, _), (other, _)| one == other) {
        let [(name, value), ..] = same else { continue };
        // Duplicates are owned together, whatever they hold.
        let below = if same.len() == 1 { node(shape.elements(), value).below } else { FieldSet::default() };
        set.insert(name.clone(), Node { is_member: true, below });
    }
    set
}

/// Adds the members of structures above the set's fields: who owns a field owns those as far as removal goes.
pub(super) fn with_named_members(shape: Shape<'_>, mut set: FieldSet) -> FieldSet {
    set.for_each(|element, node| {
        let below = std::mem::take(&mut node.below);
        match element {
            Element::Field(name) => {
                let member = shape.member(name);
                node.is_member |= member.is_named && !below.is_empty();
                node.below = with_named_members(member.shape, below);
            }
            _ => node.below = with_named_members(shape.elements(), below),
        }
    });
    set
}

/// Brings a set in line with a kind whose lists or objects became owned as a whole since it was written.
pub(super) fn reconcile(shape: Shape<'_>, set: &mut FieldSet) {
    set.for_each(|element, node| {
        let below = match element {
            Element::Field(name) => shape.member(name).shape,
            _ => shape.elements(),
        };
        match below {
            Shape::Whole if !node.below.is_empty() => *node = Node::member(),
            Shape::Whole | Shape::Deduced => {}
            below => reconcile(below, &mut node.below),
        }
    });
}
