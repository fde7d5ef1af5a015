//! Lists: merged by key, as sets, or replaced; and the order of what comes out.
//!
//! Members that the patch names come in the patch's order. The others keep their order and, where the old list tells,
//! their place between those.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Object, Outcome, PATCH, SET_ELEMENT_ORDER, Shape, StrategicMergeError, cleaned, go_value, merge_map,
};
use crate::schema::types::{Rules, Type};

/// Merges a field that is a list on both sides.
pub(super) fn merge_field(old: Vec<Value>, new: Vec<Value>, ty: &Type, rules: &Rules) -> Outcome<Vec<Value>> {
    if !rules.patch_merge {
        return Ok(cleaned_list(new));
    }
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    if !are_objects(&old, &new)? {
        let mut seen = BTreeSet::new();
        let mut merged = old.clone();
        merged.extend(new.iter().cloned());
        merged.retain(|value| seen.insert(value.to_string()));
        return Ok(in_order(merged, &new, &old, &Key::Itself));
    }
    let Some(key) = rules.patch_key.as_deref() else {
        let shape = Shape::of(element(ty));
        let name = shape.name();
        return Err(StrategicMergeError::Internal(format!(
            "cannot merge lists without merge key for {name}"
        )));
    };
    let (old, new) = apply_directives(old, new, key)?;
    let merged = merge_objects(old.clone(), new.clone(), key, element(ty))?;
    Ok(in_order(merged, &new, &old, &Key::Member(key)))
}

/// Merges a list whose order the patch gives.
pub(super) fn merge_ordered(
    old: Option<Vec<Value>>,
    new: Option<Vec<Value>>,
    order: &[Value],
    ty: &Type,
    rules: &Rules,
) -> Outcome<Vec<Value>> {
    let key = rules.patch_key.as_deref().map_or(Key::Itself, Key::Member);
    if let Some(new) = &new {
        check_order(new, order, &key)?;
    }
    if let Key::Member(name) = key
        && let Some(nameless) =
            order.iter().filter_map(Value::as_object).find(|item| !item.contains_key(name))
    {
        return Err(StrategicMergeError::no_merge_key(nameless, name));
    }
    let merged = match (old.clone(), new) {
        (Some(old), Some(new)) => merge_field(old, new, ty, rules)?,
        (Some(old), None) => old,
        (None, new) => cleaned_list(new.unwrap_or_default()),
    };
    Ok(in_order(merged, order, &old.unwrap_or_default(), &key))
}

/// By what members of a list are told apart.
enum Key<'k> {
    Itself,
    Member(&'k str),
}

impl Key<'_> {
    fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Itself => Some(value),
            Self::Member(name) => value.get(name),
        }
    }

    /// The first place of each member of a list.
    fn places(&self, list: &[Value]) -> Places<'_> {
        let mut by_key = BTreeMap::new();
        for (at, value) in list.iter().enumerate() {
            if let Some(key) = self.of(value) {
                by_key.entry(key.to_string()).or_insert(at);
            }
        }
        Places { key: self, by_key }
    }
}

/// Where the members of a list stand, by their key's JSON: lists may be long, and are not searched from end to end.
struct Places<'k> {
    key: &'k Key<'k>,
    by_key: BTreeMap<String, usize>,
}

impl Places<'_> {
    fn of(&self, value: &Value) -> Option<usize> {
        self.by_key.get(&self.key.of(value)?.to_string()).copied()
    }
}

impl Shape<'_> {
    fn name(&self) -> &str {
        match self {
            Shape::Structure(structure) => structure.short_name(),
            Shape::Map(_) => "map",
            Shape::Unknown => "interface",
        }
    }
}

fn element(ty: &Type) -> &Type {
    match ty {
        Type::List(element) => element,
        other => other,
    }
}

fn cleaned_list(list: Vec<Value>) -> Vec<Value> {
    match cleaned(Value::Array(list)) {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

/// Whether the lists hold objects; lists of lists and mixed lists are refused.
fn are_objects(old: &[Value], new: &[Value]) -> Outcome<bool> {
    let mut all = old.iter().chain(new);
    let Some(first) = all.next() else { return Ok(false) };
    if first.is_array() {
        return Err(StrategicMergeError::Unprocessable("lists of lists are not supported".into()));
    }
    let kind = std::mem::discriminant(first);
    if all.any(|value| std::mem::discriminant(value) != kind) {
        let lists = format!("[{} {}]", go_value(&old.to_vec().into()), go_value(&new.to_vec().into()));
        return Err(StrategicMergeError::Internal(format!("list element types are not identical: {lists}")));
    }
    Ok(first.is_object())
}

/// Carries out the members `$patch: delete` and `$patch: replace`, and takes them out of the patch.
fn apply_directives(mut old: Vec<Value>, new: Vec<Value>, key: &str) -> Outcome<(Vec<Value>, Vec<Value>)> {
    let mut plain = Vec::new();
    let mut deleted = BTreeSet::new();
    let mut replace = false;
    for value in new {
        let Some(item) = value.as_object().filter(|item| item.contains_key(PATCH)) else {
            plain.push(value);
            continue;
        };
        match item.get(PATCH).and_then(Value::as_str) {
            Some("delete") => {
                let wanted = item.get(key).ok_or_else(|| StrategicMergeError::no_merge_key(item, key))?;
                deleted.insert(wanted.to_string());
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(StrategicMergeError::Internal(
                    "merging lists cannot yet be specified in the patch".into(),
                ));
            }
            _ => return Err(StrategicMergeError::unknown_patch_type(&item[PATCH], item)),
        }
    }
    old.retain(|known| known.get(key).is_none_or(|value| !deleted.contains(&value.to_string())));
    Ok(if replace { (cleaned_list(plain), Vec::new()) } else { (old, plain) })
}

fn merge_objects(mut old: Vec<Value>, new: Vec<Value>, key: &str, element: &Type) -> Outcome<Vec<Value>> {
    let mut places = Key::Member(key).places(&old).by_key;
    for value in new {
        let Value::Object(item) = value else { continue };
        let wanted = item.get(key).ok_or_else(|| StrategicMergeError::no_merge_key(&item, key))?.to_string();
        match places.get(&wanted) {
            Some(&at) => {
                let known: Object = old[at].as_object_mut().map(std::mem::take).unwrap_or_default();
                old[at] = merge_map(known, item, Shape::of(element))?.into();
            }
            None => {
                places.insert(wanted, old.len());
                old.push(cleaned(Value::Object(item)));
            }
        }
    }
    Ok(old)
}

/// The members that the patch names in the patch's order, and the others at their places.
fn in_order(merged: Vec<Value>, patch_order: &[Value], old_order: &[Value], key: &Key<'_>) -> Vec<Value> {
    let (in_patch, in_old) = (key.places(patch_order), key.places(old_order));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|value| in_patch.of(value).is_some());
    named.sort_by_cached_key(|value| in_patch.of(value));
    others.sort_by_cached_key(|value| in_old.of(value));
    let mut ordered = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(next), Some(other)) = (named.peek(), others.peek()) {
        let other_first = match (in_old.of(other), in_old.of(next)) {
            (Some(other), Some(next)) => other < next,
            _ => false,
        };
        ordered.extend(if other_first { others.next() } else { named.next() });
    }
    ordered.extend(named.chain(others));
    ordered
}

/// The patch's members must stand in the order that it gives itself.
fn check_order(new: &[Value], order: &[Value], key: &Key<'_>) -> Outcome<()> {
    let mut places = order.iter();
    for value in new {
        if value.get(PATCH).is_some() {
            continue;
        }
        let wanted = key.of(value);
        if !places.any(|place| key.of(place) == wanted) && !order.is_empty() {
            return Err(StrategicMergeError::Internal(format!(
                "The order in patch list:\n{}\n doesn't match {SET_ELEMENT_ORDER} list:\n{}\n",
                go_value(&new.to_vec().into()),
                go_value(&order.to_vec().into())
            )));
        }
    }
    Ok(())
}
