//! OpenAPI v2 as protobuf: the messages of `openapi.v2`, which older clients ask for.
//!
//! A table says for each message which member of the JSON document goes into which field, and one walk follows the tables.
//! What begins with `x-` goes into the field of extensions, as YAML, of which JSON is a part.

use serde_json::{Map, Value};

use crate::schema::wire::{write_bytes, write_double, write_number};

/// A message: its fields, and the number of the field of its extensions.
struct Message {
    fields: &'static [(&'static str, u32, Kind)],
    extensions: u32,
}

/// What a field holds.
enum Kind {
    Text,
    Texts,
    Flag,
    Number,
    Double,
    /// Any value, as YAML.
    Any,
    Anys,
    /// A message inside as many others as there are numbers, each in the field of its number.
    Message(&'static [u32], &'static Message),
    /// A list of messages.
    Messages(&'static Message),
    /// An object, as a message whose field of this number repeats names with messages that are wrapped as in `Message`.
    Entries(u32, &'static [u32], &'static Message),
    /// The type of a schema.
    Type,
    /// The schema of further members, or whether there may be any.
    Additional,
    /// A list of parameters, which are of several kinds.
    Parameters,
}

use Kind::{Additional, Any, Anys, Double, Entries, Flag, Number, Parameters, Text, Texts, Type};

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Text),
        ("info", 2, Kind::Message(&[], &INFO)),
        ("paths", 8, Entries(2, &[], &PATH_ITEM)),
        ("definitions", 9, Entries(1, &[], &SCHEMA)),
    ],
    extensions: 16,
};
static INFO: Message = Message { fields: &[("title", 1, Text), ("version", 2, Text)], extensions: 7 };
static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, Kind::Message(&[], &OPERATION)),
        ("put", 3, Kind::Message(&[], &OPERATION)),
        ("post", 4, Kind::Message(&[], &OPERATION)),
        ("delete", 5, Kind::Message(&[], &OPERATION)),
        ("patch", 8, Kind::Message(&[], &OPERATION)),
        ("parameters", 9, Parameters),
    ],
    extensions: 10,
};
static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Parameters),
        ("responses", 9, Entries(1, &[1], &RESPONSE)),
        ("schemes", 10, Texts),
    ],
    extensions: 13,
};
static RESPONSE: Message = Message {
    fields: &[("description", 1, Text), ("schema", 2, Kind::Message(&[1], &SCHEMA))],
    extensions: 5,
};
static BODY_PARAMETER: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Flag),
        ("schema", 5, Kind::Message(&[], &SCHEMA)),
    ],
    extensions: 6,
};
static QUERY_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 6, Text),
        ("uniqueItems", 20, Flag),
    ],
    extensions: 23,
};
static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("uniqueItems", 19, Flag),
    ],
    extensions: 22,
};
static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("multipleOf", 6, Double),
        ("maximum", 7, Double),
        ("exclusiveMaximum", 8, Flag),
        ("minimum", 9, Double),
        ("exclusiveMinimum", 10, Flag),
        ("maxLength", 11, Number),
        ("minLength", 12, Number),
        ("pattern", 13, Text),
        ("maxItems", 14, Number),
        ("minItems", 15, Number),
        ("uniqueItems", 16, Flag),
        ("maxProperties", 17, Number),
        ("minProperties", 18, Number),
        ("required", 19, Texts),
        ("enum", 20, Anys),
        ("additionalProperties", 21, Additional),
        ("type", 22, Type),
        ("items", 23, Kind::Message(&[1], &SCHEMA)),
        ("allOf", 24, Kind::Messages(&SCHEMA)),
        ("properties", 25, Entries(1, &[], &SCHEMA)),
        ("example", 30, Any),
    ],
    extensions: 31,
};

/// Writes a document of version 2.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(&DOCUMENT, document, &mut out);
    out
}

fn write(message: &Message, value: &Value, out: &mut Vec<u8>) {
    let Value::Object(members) = value else { return };
    for (name, number, kind) in message.fields {
        if let Some(value) = members.get(*name) {
            member(kind, *number, value, out);
        }
    }
    extensions(message.extensions, members, out);
}

fn member(kind: &Kind, number: u32, value: &Value, out: &mut Vec<u8>) {
    match (kind, value) {
        (Text, Value::String(text)) => write_bytes(number, text.as_bytes(), out),
        (Flag, Value::Bool(true)) => write_number(number, 1, out),
        (Number, Value::Number(count)) => {
            write_number(number, count.as_i64().unwrap_or_default() as u64, out)
        }
        (Double, Value::Number(count)) => write_double(number, count.as_f64().unwrap_or_default(), out),
        (Any, value) => write_bytes(number, &any(value), out),
        (Texts | Anys | Kind::Messages(_) | Parameters, Value::Array(list)) => {
            list.iter().for_each(|value| repeated(kind, number, value, out));
        }
        (Kind::Message(wrapping, message), value) => {
            write_bytes(number, &wrapped(wrapping, message, value), out);
        }
        (Entries(entry, wrapping, message), Value::Object(members)) => {
            let mut inner = Vec::new();
            for (name, value) in members {
                write_bytes(*entry, &named(name, &wrapped(wrapping, message, value)), &mut inner);
            }
            write_bytes(number, &inner, out);
        }
        (Type, value) => {
            let mut inner = Vec::new();
            repeated(&Texts, 1, value, &mut inner);
            write_bytes(number, &inner, out);
        }
        (Additional, Value::Bool(allowed)) => {
            let mut inner = Vec::new();
            write_number(2, u64::from(*allowed), &mut inner);
            write_bytes(number, &inner, out);
        }
        (Additional, value) => write_bytes(number, &wrapped(&[1], &SCHEMA, value), out),
        _ => {}
    }
}

/// Writes one member of a list.
fn repeated(kind: &Kind, number: u32, value: &Value, out: &mut Vec<u8>) {
    match (kind, value) {
        (Texts, Value::String(text)) => write_bytes(number, text.as_bytes(), out),
        (Anys, value) => write_bytes(number, &any(value), out),
        (Kind::Messages(message), value) => write_bytes(number, &wrapped(&[], message, value), out),
        (Parameters, value) => {
            let (wrapping, message): (&[u32], _) = match value["in"].as_str() {
                Some("body") => (&[1, 1], &BODY_PARAMETER),
                Some("path") => (&[1, 2, 4], &PATH_PARAMETER),
                _ => (&[1, 2, 3], &QUERY_PARAMETER),
            };
            write_bytes(number, &wrapped(wrapping, message, value), out);
        }
        _ => {}
    }
}

/// A message inside others.
fn wrapped(wrapping: &[u32], message: &Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match wrapping {
        [] => write(message, value, &mut out),
        [number, inner @ ..] => write_bytes(*number, &wrapped(inner, message, value), &mut out),
    }
    out
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_bytes(1, name.as_bytes(), &mut out);
    write_bytes(2, value, &mut out);
    out
}

fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_bytes(2, value.to_string().as_bytes(), &mut out);
    out
}

fn extensions(number: u32, members: &Map<String, Value>, out: &mut Vec<u8>) {
    for (name, value) in members.iter().filter(|(name, _)| name.starts_with("x-")) {
        write_bytes(number, &named(name, &any(value)), out);
    }
}
