//! Which fields differ between two objects of a kind.

use serde_json::{Map, Value};

use super::element::{self, Element};
use super::set::{FieldSet, Node};
use super::shape::Shape;

/// What differs between an object as it was and as it is to be.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Comparison {
    /// The fields that are new or have another value.
    pub(super) written: FieldSet,
    /// The fields that are gone.
    pub(super) removed: FieldSet,
}

/// What differs at and below one field.
#[derive(Debug, Default)]
struct Difference {
    written: Node,
    removed: Node,
}

/// Compares two objects, but for the members that `skips` says so of (at the top, and within metadata).
pub(super) fn compare(
    shape: Shape<'_>,
    old: &Value,
    new: &Value,
    skips: &dyn Fn(Option<&str>, &str) -> bool,
) -> Comparison {
    let mut all = Difference::default();
    let (old, new) = (old.as_object(), new.as_object());
    each_member(old, new, |name, old, new| {
        if skips(None, name) {
            return;
        }
        let member = shape.member(name).shape;
        let mut difference = Difference::default();
        if name == "metadata" {
            let parts = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            each_member(parts.0, parts.1, |name, old, new| {
                if !skips(Some("metadata"), name) {
                    difference.add_member(name, values(member.member(name).shape, old, new));
                }
            });
        } else {
            difference = values(member, old, new);
        }
        all.add_member(name, difference);
    });
    Comparison { written: all.written.below, removed: all.removed.below }
}

/// Compares the values of one field. Nothing is different from absent, and from null, too.
fn values(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    if is_same(old, new) {
        return Difference::default();
    }
    if shape.is_list() {
        return lists(shape, old, new);
    }
    if !shape.is_object() {
        return whole(old, new);
    }
    if let Shape::Deduced = shape {
        return deduced(old, new);
    }
    objects(shape, old, new)
}

/// Whether two values are equal; 1 and 1.0 are.
fn is_same(old: Option<&Value>, new: Option<&Value>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old == new || element::compare(old, new).is_eq(),
        (old, new) => old.is_none() && new.is_none(),
    }
}

/// Compares values that are owned as a whole.
fn whole(old: Option<&Value>, new: Option<&Value>) -> Difference {
    match (old, new) {
        (Some(_), Some(_)) if is_same(old, new) => Difference::default(),
        (_, Some(_)) => Difference { written: Node::member(), ..Difference::default() },
        (Some(_), None) => Difference { removed: Node::member(), ..Difference::default() },
        (None, None) => Difference::default(),
    }
}

fn objects(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let (from, to) = (members(old), members(new));
    if from.is_none() && to.is_none() {
        return whole(old, new);
    }
    let mut difference = Difference::of_container(old, new);
    each_member(from, to, |name, old, new| {
        difference.add_member(name, values(shape.member(name).shape, old, new));
    });
    difference
}

/// Compares values whose type is what they are.
fn deduced(old: Option<&Value>, new: Option<&Value>) -> Difference {
    let is_object = |value: Option<&Value>| value.is_none_or(|value| value.is_object() || value.is_null());
    match (is_object(old), is_object(new)) {
        (true, true) => objects(Shape::Deduced, old, new),
        (false, false) => whole(old, new),
        // What was below is gone, or what is below is new; and the field itself changed in both cases.
        (true, false) => {
            let mut difference = objects(Shape::Deduced, old, None);
            difference.removed.is_member = false;
            difference.add(whole(old, new));
            difference
        }
        (false, true) => {
            let mut difference = objects(Shape::Deduced, None, new);
            difference.written.is_member = false;
            difference.add(whole(old, new));
            difference
        }
    }
}

fn lists(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let (from, to) = (elements(old), elements(new));
    if from.is_empty() && to.is_empty() {
        return whole(old, new);
    }
    let mut difference = Difference::of_container(old, new);
    let (from, to) = (index(shape, from), index(shape, to));
    let (mut from, mut to) = (from.as_slice(), to.as_slice());
    while let Some(name) = from.first().into_iter().chain(to.first()).map(|(name, _)| name).min() {
        let count = |list: &[(Element, &Value)]| list.iter().take_while(|(known, _)| known == name).count();
        let (before, after) = (from.split_at(count(from)), to.split_at(count(to)));
        (from, to) = (before.1, after.1);
        difference.add_element(name, same_name(shape.elements(), before.0, after.0));
    }
    difference
}

/// Compares the elements of one name: one on each side, unless somebody wrote duplicates, which are owned together.
fn same_name(shape: Shape<'_>, old: &[(Element, &Value)], new: &[(Element, &Value)]) -> Difference {
    match (old, new) {
        ([] | [_], [] | [_]) => {
            values(shape, old.first().map(|(_, value)| *value), new.first().map(|(_, value)| *value))
        }
        ([_, _, ..], [_, _, ..]) => {
            let same = old.iter().map(|(_, value)| value).eq(new.iter().map(|(_, value)| value));
            if same {
                Difference::default()
            } else {
                Difference { written: Node::member(), ..Difference::default() }
            }
        }
        (_, new) if old.len() > 1 => {
            let mut difference = values(shape, None, new.first().map(|(_, value)| *value));
            difference.removed.is_member = true;
            difference
        }
        (old, _) => {
            let mut difference = values(shape, old.first().map(|(_, value)| *value), None);
            difference.written.is_member = true;
            difference
        }
    }
}

/// A list's elements by name, those of one name in their order. What has no name is owned by nobody.
fn index<'v>(shape: Shape<'_>, list: &'v [Value]) -> Vec<(Element, &'v Value)> {
    let named = list.iter().filter_map(|element| Some((shape.name(element).ok()?, element)));
    let mut named: Vec<_> = named.collect();
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    named
}

fn elements(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn members(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object).filter(|members| !members.is_empty())
}

/// Visits the members of two objects by name, each once.
fn each_member<'v>(
    old: Option<&'v Map<String, Value>>,
    new: Option<&'v Map<String, Value>>,
    mut visit: impl FnMut(&str, Option<&'v Value>, Option<&'v Value>),
) {
    let mut old = old.into_iter().flatten().peekable();
    let mut new = new.into_iter().flatten().peekable();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let from = if order.is_le() { old.next() } else { None };
        let to = if order.is_ge() { new.next() } else { None };
        let Some((name, _)) = from.or(to) else { return };
        visit(name, from.map(|(_, value)| value), to.map(|(_, value)| value));
    }
}

impl Difference {
    /// What is to say of an object or list itself: only whether it came or went.
    fn of_container(old: Option<&Value>, new: Option<&Value>) -> Self {
        let mut difference = Self::default();
        difference.written.is_member = old.is_none();
        difference.removed.is_member = new.is_none();
        difference
    }

    fn add_member(&mut self, name: &str, difference: Self) {
        if !difference.written.is_empty() {
            self.written.below.insert(Element::field(name), difference.written);
        }
        if !difference.removed.is_empty() {
            self.removed.below.insert(Element::field(name), difference.removed);
        }
    }

    fn add_element(&mut self, name: &Element, difference: Self) {
        if !difference.written.is_empty() {
            self.written.below.insert(name.clone(), difference.written);
        }
        if !difference.removed.is_empty() {
            self.removed.below.insert(name.clone(), difference.removed);
        }
    }

    fn add(&mut self, other: Self) {
        self.written.add(other.written);
        self.removed.add(other.removed);
    }
}
