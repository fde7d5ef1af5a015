//! Objects to messages, fields in the order of their numbers.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::by_name;
use super::super::decode::JSON_SCHEMA;
use super::super::scalars;
use super::super::types::{Structure, Type};
use super::wire::{write_bytes, write_double, write_number};

type Outcome<T> = Result<T, String>;

/// Writes an object of this structure as a message.
pub(super) fn message(structure: &Structure, value: &Value, out: &mut Vec<u8>) -> Outcome<()> {
    let object = value.as_object().ok_or_else(|| unfit(structure.short_name(), value))?;
    members(structure, object, &[], out)
}

/// Writes the members of a message, or, below `prefix`, of a message inside it that JSON inlines.
fn members(
    structure: &Structure,
    object: &Map<String, Value>,
    prefix: &[u32],
    out: &mut Vec<u8>,
) -> Outcome<()> {
    let depth = prefix.len();
    let present = || {
        structure.fields.iter().filter_map(|field| {
            let value = object.get(field.name.as_ref()).filter(|value| !value.is_null())?;
            (field.wire.len() > depth && field.wire.starts_with(prefix)).then_some((field, value))
        })
    };
    let numbers: BTreeSet<u32> = present().map(|(field, _)| field.wire[depth]).collect();
    for number in numbers {
        let direct =
            present().find(|(field, _)| field.wire.len() == depth + 1 && field.wire[depth] == number);
        match direct {
            Some((field, value)) => member(&field.ty, number, value, out)?,
            None => {
                let mut inner = Vec::new();
                members(structure, object, &[prefix, &[number]].concat(), &mut inner)?;
                write_bytes(number, &inner, out);
            }
        }
    }
    Ok(())
}

fn member(ty: &Type, number: u32, value: &Value, out: &mut Vec<u8>) -> Outcome<()> {
    match (ty, value) {
        (Type::List(element), Value::Array(list)) => {
            list.iter().try_for_each(|value| single(element, number, value, out))
        }
        (Type::Map(element), Value::Object(map)) => map.iter().try_for_each(|(key, value)| {
            let mut entry = Vec::new();
            write_bytes(1, key.as_bytes(), &mut entry);
            single(element, 2, value, &mut entry)?;
            write_bytes(number, &entry, out);
            Ok(())
        }),
        (ty, value) => single(ty, number, value, out),
    }
}

fn single(ty: &Type, number: u32, value: &Value, out: &mut Vec<u8>) -> Outcome<()> {
    let bad = || unfit("field", value);
    match ty {
        Type::Bool => write_number(number, u64::from(value.as_bool().ok_or_else(bad)?), out),
        Type::Int32 | Type::Int64 => write_number(number, value.as_i64().ok_or_else(bad)? as u64, out),
        Type::Double => write_double(number, value.as_f64().ok_or_else(bad)?, out),
        Type::String => write_bytes(number, value.as_str().ok_or_else(bad)?.as_bytes(), out),
        Type::Bytes => {
            let bytes = scalars::decode_base64(value.as_str().ok_or_else(bad)?).ok_or_else(bad)?;
            write_bytes(number, &bytes, out);
        }
        _ => {
            let mut inner = Vec::new();
            wrapped(ty, value, &mut inner)?;
            write_bytes(number, &inner, out);
        }
    }
    Ok(())
}

/// What is a message on the wire.
fn wrapped(ty: &Type, value: &Value, out: &mut Vec<u8>) -> Outcome<()> {
    let bad = || unfit("field", value);
    match ty {
        Type::Struct(structure) => return message(structure, value, out),
        Type::Quantity => write_bytes(1, value.as_str().ok_or_else(bad)?.as_bytes(), out),
        Type::IntOrString => match value {
            Value::String(text) => {
                write_number(1, 1, out);
                write_number(2, 0, out);
                write_bytes(3, text.as_bytes(), out);
            }
            other => {
                write_number(1, 0, out);
                write_number(2, other.as_i64().ok_or_else(bad)? as u64, out);
                write_bytes(3, &[], out);
            }
        },
        Type::Time | Type::MicroTime if value.is_null() => {}
        Type::Time | Type::MicroTime => {
            let time = value.as_str().and_then(scalars::since_epoch);
            let (seconds, nanoseconds) = time.ok_or_else(bad)?;
            write_number(1, seconds as u64, out);
            write_number(2, nanoseconds as u64, out);
        }
        Type::Any => write_bytes(1, value.to_string().as_bytes(), out),
        Type::SchemaOrBool | Type::SchemaOrList | Type::SchemaOrStrings => return schema_or(ty, value, out),
        // A list inside a map is a message of its own.
        Type::List(_) => return member(ty, 1, value, out),
        _ => return Err(bad()),
    }
    Ok(())
}

fn schema_or(ty: &Type, value: &Value, out: &mut Vec<u8>) -> Outcome<()> {
    let schema = |number, value: &Value, out: &mut Vec<u8>| {
        let structure = by_name(JSON_SCHEMA).ok_or("the table of JSON schemas is missing")?;
        let mut inner = Vec::new();
        message(structure, value, &mut inner)?;
        write_bytes(number, &inner, out);
        Ok(())
    };
    match (ty, value) {
        (Type::SchemaOrBool, Value::Bool(allows)) => write_number(1, u64::from(*allows), out),
        (Type::SchemaOrBool, value) => {
            write_number(1, 1, out);
            return schema(2, value, out);
        }
        (Type::SchemaOrStrings, Value::Array(list)) => {
            for text in list {
                write_bytes(2, text.as_str().ok_or_else(|| unfit("field", text))?.as_bytes(), out);
            }
        }
        (_, Value::Array(list)) => return list.iter().try_for_each(|value| schema(2, value, out)),
        (_, value) => return schema(1, value, out),
    }
    Ok(())
}

fn unfit(place: &str, value: &Value) -> String {
    let mut shown = value.to_string();
    if let Some((end, _)) = shown.char_indices().nth(80) {
        shown.truncate(end);
    }
    format!("{place} cannot hold {shown}")
}
