//! Kubernetes' protobuf, driven by the tables: `application/vnd.kubernetes.protobuf` in and out.
//!
//! [`decode_protobuf`] reads a body as [`decode_json`] reads JSON, and [`encode_protobuf`] writes one. Whoever does not know
//! what kind a body is of asks [`open_envelope`]. Custom resources have no protobuf form.
//!
//! A message says nothing of the kind of its parts, and empty lists do not exist in it: what Go would write as an empty
//! list comes back absent or null.
mod read;
pub(crate) mod wire;
mod write;

use serde_json::Value;

use super::decode::{DecodeError, Decoded, decode_node};
use super::types::{GroupVersionKind, Structure};
use super::{by_name, decode_json, parse};
use wire::{Reader, Wire};

/// What a protobuf body of Kubernetes starts with.
const MAGIC: &[u8] = b"k8s\0";

const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A message with the name of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `apps/v1`; empty if the client said none.
    pub api_version: String,
    /// `Deployment`; empty if the client said none.
    pub kind: String,
    /// The object, in the form that `content_type` names.
    pub raw: &'a [u8],
    /// Empty for protobuf, or `application/json`.
    pub content_type: String,
}

impl Envelope<'_> {
    /// Returns group, version and kind.
    #[must_use]
    pub fn kind(&self) -> GroupVersionKind {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        GroupVersionKind {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            kind: self.kind.clone().into(),
        }
    }
}

/// Takes a request body apart.
///
/// # Errors
///
/// [`DecodeError::Syntax`] if it is none of Kubernetes' protobuf bodies.
pub fn open_envelope(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let Some(message) = bytes.strip_prefix(MAGIC) else {
        return Err(DecodeError::Syntax(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".into(),
        ));
    };
    let mut envelope =
        Envelope { api_version: String::new(), kind: String::new(), raw: &[], content_type: String::new() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.field().map_err(DecodeError::Syntax)? {
        match (number, value) {
            (1, Wire::Bytes(type_meta)) => {
                let mut reader = Reader::new(type_meta);
                while let Some((number, value)) = reader.field().map_err(DecodeError::Syntax)? {
                    match (number, value) {
                        (1, Wire::Bytes(bytes)) => envelope.api_version = text(bytes),
                        (2, Wire::Bytes(bytes)) => envelope.kind = text(bytes),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => envelope.raw = raw,
            (4, Wire::Bytes(bytes)) => envelope.content_type = text(bytes),
            _ => {}
        }
    }
    Ok(envelope)
}

/// Why an object cannot be written as protobuf. Decoding rules it out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EncodeError(String);

/// Reads a request body as an object of this structure. Kind and apiVersion are those of the body, if it says any.
///
/// # Errors
///
/// [`DecodeError`]: `Syntax` for what is no such message or nests too deep, `Type` for values that are none.
pub fn decode_protobuf(structure: &Structure, bytes: &[u8]) -> Result<Decoded, DecodeError> {
    decode_envelope(structure, &open_envelope(bytes)?)
}

/// Reads the message of an envelope, as [`decode_protobuf`].
///
/// # Errors
///
/// As [`decode_protobuf`].
pub fn decode_envelope(structure: &Structure, envelope: &Envelope<'_>) -> Result<Decoded, DecodeError> {
    if envelope.content_type.starts_with("application/json") {
        return decode_json(structure, envelope.raw);
    }
    let node = read::message(structure, envelope.raw).map_err(DecodeError::Syntax)?;
    let mut decoded = decode_node(structure, node)?;
    if let Value::Object(object) = &mut decoded.value {
        for (name, text) in [("apiVersion", &envelope.api_version), ("kind", &envelope.kind)] {
            if !text.is_empty() && structure.field(name).is_some() {
                object.insert(name.to_owned(), text.as_str().into());
            }
        }
    }
    Ok(decoded)
}

/// Writes an object of this structure, in an envelope with the object's kind and apiVersion.
///
/// # Errors
///
/// [`EncodeError`] if a member's value does not fit the structure.
pub fn encode_protobuf(structure: &Structure, object: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut message = Vec::new();
    write::message(structure, object, &mut message).map_err(EncodeError)?;
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    Ok(sealed(text("apiVersion"), text("kind"), &message))
}

/// Writes a list, `{"metadata": …, "items": […]}`, whose items are of this structure.
///
/// # Errors
///
/// [`EncodeError`] if a member's value does not fit the structure.
pub fn encode_protobuf_list(
    item: &Structure,
    api_version: &str,
    kind: &str,
    list: &Value,
) -> Result<Vec<u8>, EncodeError> {
    let mut message = Vec::new();
    metadata(LIST_META, list, &mut message)?;
    for object in list.get("items").and_then(Value::as_array).into_iter().flatten() {
        let mut inner = Vec::new();
        write::message(item, object, &mut inner).map_err(EncodeError)?;
        wire::write_bytes(2, &inner, &mut message);
    }
    Ok(sealed(api_version, kind, &message))
}

/// Writes `PartialObjectMetadata`, or its list, which no table has: all of an object but its metadata is left out.
///
/// # Errors
///
/// [`EncodeError`] if the metadata does not fit its structure.
pub fn encode_protobuf_metadata(partial: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut message = Vec::new();
    match partial.get("items").and_then(Value::as_array) {
        None => metadata(OBJECT_META, partial, &mut message)?,
        Some(items) => {
            metadata(LIST_META, partial, &mut message)?;
            for item in items {
                let mut inner = Vec::new();
                metadata(OBJECT_META, item, &mut inner)?;
                wire::write_bytes(2, &inner, &mut message);
            }
        }
    }
    let text = |name: &str| partial.get(name).and_then(Value::as_str).unwrap_or_default();
    Ok(sealed(text("apiVersion"), text("kind"), &message))
}

/// Writes an object's metadata as the first field of its message.
fn metadata(structure: &str, object: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let (Some(structure), Some(metadata)) = (by_name(structure), object.get("metadata")) else {
        return Ok(());
    };
    let mut inner = Vec::new();
    write::message(structure, metadata, &mut inner).map_err(EncodeError)?;
    wire::write_bytes(1, &inner, out);
    Ok(())
}

/// Writes an event of a watch around an object in its envelope: a message behind its length in four bytes, the most
/// significant one first.
#[must_use]
pub fn encode_protobuf_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(object.len() + 8);
    wire::write_bytes(1, object, &mut raw);
    let mut frame = vec![0; 4];
    wire::write_bytes(1, kind.as_bytes(), &mut frame);
    wire::write_bytes(2, &raw, &mut frame);
    let length = u32::try_from(frame.len() - 4).expect("an object is smaller than a body may be");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Puts a message into its envelope.
fn sealed(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut type_meta = Vec::new();
    wire::write_bytes(1, api_version.as_bytes(), &mut type_meta);
    wire::write_bytes(2, kind.as_bytes(), &mut type_meta);
    let mut envelope = MAGIC.to_vec();
    wire::write_bytes(1, &type_meta, &mut envelope);
    wire::write_bytes(2, message, &mut envelope);
    // Content encoding and content type, which Kubernetes writes even when they are empty.
    wire::write_bytes(3, &[], &mut envelope);
    wire::write_bytes(4, &[], &mut envelope);
    envelope
}

/// The text of embedded JSON, from which [`parse`] makes a node.
fn embedded_json<'a>(bytes: &'a [u8], level: read::Level<'_>) -> Result<super::node::Node<'a>, String> {
    if bytes.is_empty() {
        return Ok(super::node::Node::Null);
    }
    parse::parse_at(bytes, level.depth, level.room)
}

#[cfg(test)]
mod tests;
