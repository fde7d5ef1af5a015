//! What expressions are about: a schema, whose bounds say what an object may come to, or the values at hand.

use std::ptr;

use serde_json::Value;

use super::super::schema::{Additional, Schema};

/// How many elements a list or a map may have that states no bound: as many as fit into a request.
const MOST_ITEMS: u64 = 1 << 20;
/// How long a text may be that states no bound.
pub(super) const LONGEST: u64 = 3 << 20;
/// How long the keys of a map are taken to be, before there are any.
const KEY: u64 = 64;

/// What an expression is about: part of a schema, or values.
pub(crate) trait Ground: Clone {
    /// Whether these are the values themselves: then copies are counted too, which no schema foretells.
    const EXACT: bool;
    /// The member of this name; absent if nothing is known of it.
    ///
    /// # Errors
    ///
    /// That there can be no such member.
    fn member(&self, name: &str) -> Result<Option<Self>, String>;
    /// The elements of a list, or the values of a map.
    fn elements(&self) -> Option<Self>;
    /// How many elements or bytes there are at most.
    fn size(&self) -> u64;
    /// What a macro goes through: the elements of a list, and how long the keys of a map may be.
    fn iterated(&self) -> (Option<Self>, Option<u64>);
    /// How many elements and bytes there are altogether, at any depth.
    fn weight(&self) -> u64;
    /// The texts that this may be, if these are the values themselves and each is a text.
    fn texts(&self) -> Option<Vec<&str>> {
        None
    }
    /// Either of the two.
    #[must_use]
    fn or(self, other: Self) -> Self;
}

/// Parts of a schema: a value fits one of them.
#[derive(Clone)]
pub(crate) struct Shape<'s>(Vec<Node<'s>>);

/// A part of a schema.
#[derive(Clone, Copy)]
struct Node<'s> {
    schema: &'s Schema,
    /// Whether it has kind, apiVersion and metadata.
    is_object: bool,
}

impl<'s> Shape<'s> {
    pub(crate) fn of(schema: &'s Schema, is_object: bool) -> Self {
        Self(vec![Node { schema, is_object }])
    }

    fn below(schema: &'s Schema) -> Self {
        Self::of(schema, schema.embedded)
    }

    /// How many elements or bytes a value of the schema may have.
    pub(crate) fn size_of(schema: &Schema) -> u64 {
        let checks = &schema.checks;
        let bound = |bound: Option<usize>, most: u64| bound.map_or(most, |bound| (bound as u64).min(most));
        match schema.kind.as_str() {
            "array" => bound(checks.max_items, MOST_ITEMS),
            "object" if schema.properties.is_empty() => bound(checks.max_properties, MOST_ITEMS),
            "string" => match (&*checks.format, checks.values.is_empty()) {
                (_, false) => 64,
                ("date" | "date-time" | "duration" | "uuid" | "ipv4" | "ipv6", _) => 64,
                _ => bound(checks.max_length, LONGEST),
            },
            "integer" | "number" | "boolean" => 1,
            _ if schema.int_or_string => bound(checks.max_length, LONGEST),
            "object" => schema.properties.len() as u64,
            _ => LONGEST,
        }
    }
}

impl<'s> Node<'s> {
    fn member(self, name: &str) -> Result<Option<Shape<'s>>, String> {
        let schema = self.schema;
        if self.is_object && matches!(name, "apiVersion" | "kind" | "metadata") {
            return Ok(None);
        }
        if let Some(schema) = schema.properties.get(name) {
            return Ok(Some(Shape::below(schema)));
        }
        match &schema.additional {
            Additional::Of(schema) => Ok(Some(Shape::below(schema))),
            Additional::Any => Ok(None),
            // Names that are no identifiers are written otherwise in expressions.
            Additional::Absent if schema.kind == "object" && !schema.preserves && !name.contains("__") => {
                Err(format!("undefined field '{name}'"))
            }
            Additional::Absent => Ok(None),
        }
    }

    /// Absent if nothing is known of them.
    fn elements(self) -> Option<Shape<'s>> {
        let below = match &self.schema.additional {
            Additional::Of(schema) => Some(&**schema),
            _ => None,
        };
        self.schema.items.as_deref().or(below).map(Shape::below)
    }
}

impl Ground for Shape<'_> {
    const EXACT: bool = false;

    fn member(&self, name: &str) -> Result<Option<Self>, String> {
        let (mut found, mut problem) = (Vec::new(), None);
        for node in &self.0 {
            match node.member(name) {
                Ok(Some(member)) => found.push(member),
                Ok(None) => return Ok(None),
                Err(why) => problem = Some(why),
            }
        }
        match (found.into_iter().reduce(Self::or), problem) {
            (None, Some(problem)) => Err(problem),
            (found, _) => Ok(found),
        }
    }

    fn elements(&self) -> Option<Self> {
        let parts: Option<Vec<Self>> = self.0.iter().map(|node| node.elements()).collect();
        parts?.into_iter().reduce(Self::or)
    }

    fn size(&self) -> u64 {
        self.0.iter().map(|node| Self::size_of(node.schema)).max().unwrap_or_default()
    }

    fn iterated(&self) -> (Option<Self>, Option<u64>) {
        let (maps, lists): (Vec<_>, Vec<_>) = self.0.iter().partition(|node| node.schema.kind == "object");
        let key = (!maps.is_empty()).then_some(KEY);
        if lists.is_empty() { (None, key) } else { (Self(lists).elements(), key) }
    }

    fn weight(&self) -> u64 {
        self.size()
    }

    fn or(mut self, other: Self) -> Self {
        for node in other.0 {
            if !self.0.iter().any(|known| ptr::eq(known.schema, node.schema)) {
                self.0.push(node);
            }
        }
        self
    }
}

/// The values that a part of an expression may stand for.
#[derive(Clone)]
pub(crate) struct Values<'v>(Vec<&'v Value>);

impl<'v> Values<'v> {
    pub(crate) fn of(value: &'v Value) -> Self {
        Self(vec![value])
    }
}

impl Ground for Values<'_> {
    const EXACT: bool = true;

    fn member(&self, name: &str) -> Result<Option<Self>, String> {
        let members: Vec<_> = self.0.iter().filter_map(|value| value.get(name)).collect();
        if members.is_empty() && name.contains("__") {
            // A name that is no identifier: however it is written, it is one of these.
            return Ok(self.elements());
        }
        Ok(Some(Self(members)))
    }

    fn elements(&self) -> Option<Self> {
        let lists = self.0.iter().filter_map(|value| value.as_array()).flatten();
        let maps = self.0.iter().filter_map(|value| value.as_object()).flat_map(|members| members.values());
        Some(Self(lists.chain(maps).collect()))
    }

    fn size(&self) -> u64 {
        let size = |value: &&Value| match value {
            Value::Array(items) => items.len(),
            Value::Object(members) => members.len(),
            Value::String(text) => text.len(),
            _ => 1,
        };
        self.0.iter().map(size).max().unwrap_or_default() as u64
    }

    fn iterated(&self) -> (Option<Self>, Option<u64>) {
        let lists = self.0.iter().filter_map(|value| value.as_array()).flatten();
        let keys = self.0.iter().filter_map(|value| value.as_object()).flat_map(|members| members.keys());
        (Some(Self(lists.collect())), keys.map(|key| key.len() as u64).max())
    }

    fn weight(&self) -> u64 {
        self.0.iter().map(|value| weight(value)).max().unwrap_or_default()
    }

    fn texts(&self) -> Option<Vec<&str>> {
        self.0.iter().map(|value| value.as_str()).collect()
    }

    fn or(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self.0.sort_by_key(|value| ptr::from_ref(*value));
        self.0.dedup_by_key(|value| ptr::from_ref(*value));
        self
    }
}

/// How many elements and bytes a value has.
fn weight(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(weight).sum::<u64>() + 1,
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.len() as u64 + weight(value)).sum::<u64>() + 1
        }
        Value::String(text) => text.len() as u64 + 1,
        _ => 1,
    }
}
