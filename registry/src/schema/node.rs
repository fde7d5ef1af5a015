//! JSON as it stood in the text: members in their order, twice where they stood twice, numbers as written.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// How many members two objects may have together to be paired by name.
const MOST_PAIRED: usize = 64;

/// A JSON value before its structure is known.
#[derive(Clone, Debug)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    /// The number's text.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Members<'a>),
}

/// The members of an object.
pub(super) type Members<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

impl<'a> Node<'a> {
    /// Takes a value apart.
    pub(super) fn from_value(value: Value) -> Node<'static> {
        match value {
            Value::Null => Node::Null,
            Value::Bool(flag) => Node::Bool(flag),
            Value::Number(number) => Node::Number(number.to_string().into()),
            Value::String(text) => Node::String(text.into()),
            Value::Array(list) => Node::List(list.into_iter().map(Self::from_value).collect()),
            Value::Object(map) => Node::Object(
                map.into_iter().map(|(name, value)| (name.into(), Self::from_value(value))).collect(),
            ),
        }
    }

    /// Makes a value without a structure: of members that stand twice the last one counts.
    ///
    /// The error is the text of a number that is none for a machine (`1e999`).
    pub(super) fn into_value(self) -> Result<Value, String> {
        Ok(match self {
            Node::Null => Value::Null,
            Node::Bool(flag) => flag.into(),
            Node::Number(text) => Value::Number(number(&text)?),
            Node::String(text) => text.into_owned().into(),
            Node::List(list) => {
                Value::Array(list.into_iter().map(Node::into_value).collect::<Result<_, _>>()?)
            }
            Node::Object(members) => {
                let mut map = Map::new();
                for (name, node) in members {
                    map.insert(name.into_owned(), node.into_value()?);
                }
                Value::Object(map)
            }
        })
    }

    /// What Go calls the value in messages about types.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "bool",
            Node::Number(_) => "number",
            Node::String(_) => "string",
            Node::List(_) => "array",
            Node::Object(_) => "object",
        }
    }

    /// Lays a second value of the same member over the first: Go reads it into the same structure.
    pub(super) fn overlay(&mut self, second: Node<'a>) {
        match (self, second) {
            // Pairing large objects by name would take a client's byte and the server's square of it. Put one after the
            // other they read the same, only that strict validation reports their common members, too.
            (Node::Object(first), Node::Object(mut second)) if first.len() + second.len() > MOST_PAIRED => {
                first.append(&mut second);
            }
            (Node::Object(first), Node::Object(second)) => {
                for (name, node) in second {
                    match first.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => known.overlay(node),
                        None => first.push((name, node)),
                    }
                }
            }
            (first, second) => *first = second,
        }
    }
}

/// A whole number of 64 bits if it is written as one, else a floating-point number.
fn number(text: &str) -> Result<Number, String> {
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(whole.into());
    }
    text.parse::<f64>().ok().and_then(Number::from_f64).ok_or_else(|| text.to_owned())
}
