//! Messages to JSON nodes, which then are checked as if a client had sent them as JSON.

use std::borrow::Cow;

use super::super::by_name;
use super::super::decode::JSON_SCHEMA;
use super::super::node::{Members, Node};
use super::super::parse::{MAX_DEPTH, OBJECT, Room};
use super::super::scalars;
use super::super::types::{Field, Structure, Type};
use super::embedded_json;
use super::wire::{Reader, Wire};

type Outcome<T> = Result<T, String>;

/// How deep in a body a reader is, and how many values the body may still hold.
#[derive(Clone, Copy)]
pub(super) struct Level<'r> {
    pub(super) depth: usize,
    pub(super) room: &'r Room,
}

impl Level<'_> {
    fn deeper(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

/// Reads a message of this structure.
pub(super) fn message<'a>(structure: &'a Structure, bytes: &'a [u8]) -> Outcome<Node<'a>> {
    structure_at(structure, bytes, Level { depth: 1, room: &Room::of_body() })
}

fn structure_at<'a>(structure: &'a Structure, bytes: &'a [u8], level: Level<'_>) -> Outcome<Node<'a>> {
    if level.depth > MAX_DEPTH {
        return Err("exceeded max depth".into());
    }
    level.room.take(if bytes.is_empty() { 1 } else { OBJECT })?;
    let mut members = Members::new();
    members_at(structure, &mut Vec::new(), bytes, level, &mut members)?;
    Ok(Node::Object(members))
}

/// Reads the members of a message, or, below `prefix`, of a message inside it that JSON inlines.
fn members_at<'a>(
    structure: &'a Structure,
    prefix: &mut Vec<u32>,
    bytes: &'a [u8],
    level: Level<'_>,
    members: &mut Members<'a>,
) -> Outcome<()> {
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.field()? {
        prefix.push(number);
        match structure.fields.iter().find(|field| field.wire.starts_with(prefix)) {
            None => {}
            Some(field) if field.wire.len() == prefix.len() => member(field, value, level, members)?,
            Some(_) => members_at(structure, prefix, payload(value)?, level, members)?,
        }
        prefix.pop();
    }
    Ok(())
}

fn member<'a>(field: &'a Field, value: Wire<'a>, level: Level<'_>, members: &mut Members<'a>) -> Outcome<()> {
    let name = field.name.as_ref();
    let at = match members.iter().position(|(known, _)| known == name) {
        Some(at) => at,
        None => {
            members.push((Cow::Borrowed(name), Node::Null));
            members.len() - 1
        }
    };
    let known = &mut members[at].1;
    match &field.ty {
        Type::List(element) => {
            if !matches!(known, Node::List(_)) {
                level.room.take(1)?;
                *known = Node::List(Vec::new());
            }
            if let Node::List(list) = known {
                elements(element, value, level.deeper(), list)?;
            }
        }
        Type::Map(element) => {
            if !matches!(known, Node::Object(_)) {
                level.room.take(OBJECT)?;
                *known = Node::Object(Vec::new());
            }
            if let Node::Object(map) = known {
                map.push(entry(element, payload(value)?, level.deeper())?);
            }
        }
        ty => {
            let node = single(ty, value, level)?;
            match ty {
                Type::Struct(_) if !matches!(known, Node::Null) => known.overlay(node),
                _ => *known = node,
            }
        }
    }
    Ok(())
}

/// Adds one element, or a packed row of numbers.
fn elements<'a>(
    element: &'a Type,
    value: Wire<'a>,
    level: Level<'_>,
    list: &mut Vec<Node<'a>>,
) -> Outcome<()> {
    match (element, value) {
        (Type::Bool | Type::Int32 | Type::Int64, Wire::Bytes(bytes)) => {
            let mut reader = Reader::new(bytes);
            while let Some(number) = reader.packed()? {
                list.push(single(element, Wire::Varint(number), level)?);
            }
        }
        (element, value) => list.push(single(element, value, level)?),
    }
    Ok(())
}

fn entry<'a>(element: &'a Type, bytes: &'a [u8], level: Level<'_>) -> Outcome<(Cow<'a, str>, Node<'a>)> {
    let (mut key, mut found) = (Cow::Borrowed(""), None);
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => key = String::from_utf8_lossy(payload(value)?),
            2 => found = Some(value),
            _ => {}
        }
    }
    // Some writers leave out a value that is empty or zero.
    let value = found.unwrap_or(match element {
        Type::Bool | Type::Int32 | Type::Int64 => Wire::Varint(0),
        Type::Double => Wire::Fixed64(0),
        _ => Wire::Bytes(&[]),
    });
    Ok((key, single(element, value, level)?))
}

fn single<'a>(ty: &'a Type, value: Wire<'a>, level: Level<'_>) -> Outcome<Node<'a>> {
    if !matches!(ty, Type::Struct(_)) {
        level.room.take(1)?;
    }
    match (ty, value) {
        (Type::Bool, Wire::Varint(number)) => Ok(Node::Bool(number != 0)),
        // Numbers of 32 bits are extended to 64 with their sign.
        (Type::Int32, Wire::Varint(number)) => Ok(Node::Number((number as i32).to_string().into())),
        (Type::Int64, Wire::Varint(number)) => Ok(Node::Number((number as i64).to_string().into())),
        (Type::Double, Wire::Fixed64(bits)) => {
            let number =
                serde_json::Number::from_f64(f64::from_bits(bits)).ok_or("json: unsupported value")?;
            Ok(Node::Number(number.to_string().into()))
        }
        (Type::String, value) => Ok(Node::String(String::from_utf8_lossy(payload(value)?))),
        (Type::Bytes, value) => Ok(Node::String(scalars::encode_base64(payload(value)?).into())),
        (Type::Quantity, value) => {
            let text = first_bytes(payload(value)?)?;
            Ok(Node::String(if text.is_empty() { "0".into() } else { String::from_utf8_lossy(text) }))
        }
        (Type::IntOrString, value) => int_or_string(payload(value)?),
        (Type::Time, value) => time(payload(value)?, 0),
        (Type::MicroTime, value) => time(payload(value)?, 6),
        (Type::Any, value) => embedded_json(first_bytes(payload(value)?)?, level.deeper()),
        (Type::SchemaOrBool | Type::SchemaOrList | Type::SchemaOrStrings, value) => {
            schema_or(ty, payload(value)?, level.deeper())
        }
        (Type::Struct(structure), value) => structure_at(structure, payload(value)?, level.deeper()),
        // A list inside a map is a message of its own.
        (Type::List(element), value) => {
            let mut list = Vec::new();
            let mut reader = Reader::new(payload(value)?);
            while let Some((number, value)) = reader.field()? {
                if number == 1 {
                    elements(element, value, level.deeper(), &mut list)?;
                }
            }
            Ok(Node::List(list))
        }
        (Type::Map(_), _) => Err("proto: a map inside a list or a map".into()),
        (_, value) => Err(format!("proto: wrong wireType = {}", wire_type(value))),
    }
}

fn payload(value: Wire<'_>) -> Outcome<&[u8]> {
    match value {
        Wire::Bytes(bytes) => Ok(bytes),
        other => Err(format!("proto: wrong wireType = {}", wire_type(other))),
    }
}

fn wire_type(value: Wire<'_>) -> u8 {
    match value {
        Wire::Varint(_) => 0,
        Wire::Fixed64(_) => 1,
        Wire::Bytes(_) => 2,
        Wire::Fixed32 => 5,
    }
}

/// Field 1 of a message that wraps bytes or a text.
fn first_bytes(bytes: &[u8]) -> Outcome<&[u8]> {
    let mut found: &[u8] = &[];
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.field()? {
        if number == 1 {
            found = payload(value)?;
        }
    }
    Ok(found)
}

fn int_or_string(bytes: &[u8]) -> Outcome<Node<'_>> {
    let (mut is_text, mut number, mut text) = (false, 0_i32, Cow::Borrowed(""));
    let mut reader = Reader::new(bytes);
    while let Some((field, value)) = reader.field()? {
        match (field, value) {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value as i32,
            (3, value) => text = String::from_utf8_lossy(payload(value)?),
            _ => {}
        }
    }
    Ok(if is_text { Node::String(text) } else { Node::Number(number.to_string().into()) })
}

/// A time; the message of the zero time is empty, and JSON's form of it null.
fn time(bytes: &[u8], digits: usize) -> Outcome<Node<'_>> {
    if bytes.is_empty() {
        return Ok(Node::Null);
    }
    let (mut seconds, mut nanoseconds) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((field, value)) = reader.field()? {
        match (field, value) {
            (1, Wire::Varint(value)) => seconds = value as i64,
            (2, Wire::Varint(value)) => nanoseconds = value as i32,
            _ => {}
        }
    }
    let time = scalars::from_epoch(seconds, nanoseconds).ok_or("time out of range")?;
    Ok(Node::String(scalars::format_time(time, digits).into()))
}

fn schema_or<'a>(ty: &Type, bytes: &'a [u8], level: Level<'_>) -> Outcome<Node<'a>> {
    let schema = |value: Wire<'a>| match by_name(JSON_SCHEMA) {
        Some(structure) => structure_at(structure, payload(value)?, level.deeper()),
        None => Err("the table of JSON schemas is missing".to_owned()),
    };
    let (mut node, mut list) = (None, Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((field, value)) = reader.field()? {
        match (ty, field, value) {
            (Type::SchemaOrBool, 1, Wire::Varint(allows)) => {
                node.get_or_insert(Node::Bool(allows != 0));
            }
            (Type::SchemaOrBool, 2, value) => node = Some(schema(value)?),
            (Type::SchemaOrList | Type::SchemaOrStrings, 1, value) => node = Some(schema(value)?),
            (Type::SchemaOrList, 2, value) => list.push(schema(value)?),
            (Type::SchemaOrStrings, 2, value) => {
                level.room.take(1)?;
                list.push(Node::String(String::from_utf8_lossy(payload(value)?)));
            }
            _ => {}
        }
    }
    Ok(match (ty, node) {
        (_, Some(node)) => node,
        (Type::SchemaOrBool, None) => Node::Bool(false),
        (_, None) => Node::List(list),
    })
}
