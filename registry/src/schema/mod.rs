//! One table of fields per kind, and all that follows from it: decoding, pruning, strict validation, defaults, strategic
//! merge and OpenAPI.
//!
//! [`builtin`] finds the table of a built-in kind. [`decode_json`] reads an object by it as Kubernetes does: unknown fields
//! are dropped and reported, values of a wrong type are refused in Go's words, and what Go would not write is left out.
//! [`decode_protobuf`] does the same with a message.
//! [`apply_defaults`] fills in what the client left to the server. [`strategic_merge`] lays a patch over an object, and
//! [`schemas`] tells clients about all this in OpenAPI.
//!
//! The tables (`generated/`) come from published crates by way of `registry/schemagen`. Rules about values (lengths, names,
//! which fields may change) are in [`validation`](crate::validation).
mod decode;
mod defaults;
mod document;
mod generated;
mod node;
mod openapi;
mod parse;
mod presence;
mod protobuf;
mod scalars;
mod strategic;
mod strict;
mod types;

pub use decode::{DecodeError, Decoded, decode_json, decode_value};
pub use defaults::apply_defaults;
pub use document::{Document, Mark};
pub use openapi::schemas;
pub use parse::MAX_DEPTH;
pub(crate) use parse::TOO_MANY;
pub(crate) use protobuf::wire;
pub use protobuf::{
    EncodeError, Envelope, decode_envelope, decode_protobuf, encode_protobuf, encode_protobuf_event,
    encode_protobuf_list, encode_protobuf_metadata, open_envelope,
};
pub use strategic::{StrategicMergeError, strategic_merge};
pub use strict::StrictJson;
pub use types::{
    CustomPart, Field, GroupVersionKind, Literal, Presence, Rules, Seq, Structure, StructureRef, Text,
    Topology, Type, TypeRef,
};

/// Returns the table of a built-in kind; the core group is the empty string.
///
/// ```
/// let pod = quarterdeck_registry::schema::builtin("", "v1", "Pod").unwrap();
/// assert_eq!(pod.name, "io.k8s.api.core.v1.Pod");
/// ```
#[must_use]
pub fn builtin(group: &str, version: &str, kind: &str) -> Option<&'static Structure> {
    let wanted = (group, version, kind);
    let at =
        generated::KINDS.binary_search_by(|(group, version, kind, _)| (*group, *version, *kind).cmp(&wanted));
    at.ok().map(|at| generated::KINDS[at].3)
}

/// Returns a built-in structure by its full name, such as `io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta`.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Structure> {
    let at = generated::NAMES.binary_search_by(|(known, _)| (*known).cmp(name));
    at.ok().map(|at| generated::NAMES[at].1)
}

/// Parses JSON text of no particular structure, within the limits of [`decode_json`]; of members that stand twice the last
/// one counts.
///
/// # Errors
///
/// What is wrong with the text, in the words of Go's encoding/json.
pub fn parse_json(bytes: &[u8]) -> Result<serde_json::Value, String> {
    parse::parse(bytes)?.into_value()
}

/// Parses what a webhook answers: as [`parse_json`] does, with room for several objects in a review.
///
/// # Errors
///
/// What is wrong with the text.
pub(crate) fn parse_review(bytes: &[u8]) -> Result<serde_json::Value, String> {
    parse::parse_review(bytes)?.into_value()
}

/// Returns an object of this structure with none of its members given: what Go writes of it.
#[must_use]
pub fn empty(structure: &Structure) -> serde_json::Value {
    serde_json::Value::Object(presence::empty(structure))
}

/// Returns every built-in kind, sorted by group, version and kind.
pub fn kinds() -> impl Iterator<Item = (GroupVersionKind, &'static Structure)> {
    generated::KINDS
        .iter()
        .map(|(group, version, kind, structure)| (GroupVersionKind::fixed(group, version, kind), *structure))
}
