//! Bodies of requests and answers, as events tell them: JSON, whatever they are.

use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use http::{HeaderMap, header};
use serde_json::Value;

use crate::schema;
use crate::verbs::yaml_to_json;

/// How many bytes of a body are told at most. Of a longer one nothing is.
const MOST: usize = 4 * 1024 * 1024;

/// A body, as it goes by. Clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Tee(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    pieces: Vec<Bytes>,
    length: usize,
}

impl Tee {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().expect("nothing panics while it holds a body")
    }

    /// Sees a piece go by.
    pub(super) fn see(&self, piece: &Bytes) {
        let mut seen = self.seen();
        seen.length += piece.len();
        if seen.length > MOST {
            seen.pieces = Vec::new();
        } else {
            seen.pieces.push(piece.clone());
        }
    }

    /// Returns what went by as JSON.
    pub(super) fn told(&self, kind: &Kind, omits_managed_fields: bool) -> Told {
        let seen = self.seen();
        if seen.length > MOST {
            return Told::TooLong;
        }
        let bytes = match seen.pieces.as_slice() {
            [] => return Told::Nothing,
            [one] => one.clone(),
            several => {
                let mut all = BytesMut::with_capacity(seen.length);
                several.iter().for_each(|piece| all.extend_from_slice(piece));
                all.freeze()
            }
        };
        drop(seen);
        match kind.value(&bytes) {
            Ok(mut value) => {
                if omits_managed_fields {
                    drop_managed_fields(&mut value);
                }
                Told::All(value)
            }
            Err(why) if why.starts_with(schema::TOO_MANY) => Told::TooLong,
            Err(_) => Told::Nothing,
        }
    }
}

/// What is told of a body.
#[derive(Debug)]
pub(super) enum Told {
    All(Value),
    /// There was none, or none that can be told.
    Nothing,
    /// It has too many bytes or values.
    TooLong,
}

/// How a body is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Kind {
    media_type: String,
    is_compressed: bool,
}

impl Kind {
    /// Reads what headers say of a body.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
        Self {
            media_type: media_type.to_ascii_lowercase(),
            is_compressed: text(header::CONTENT_ENCODING).eq_ignore_ascii_case("gzip"),
        }
    }

    /// Returns a body as JSON, if it is an object or a patch: within the limits of those that the server takes.
    fn value(&self, bytes: &[u8]) -> Result<Value, String> {
        let plain;
        let bytes = if self.is_compressed {
            let mut read = Vec::new();
            let unpacked = GzDecoder::new(bytes).take(MOST as u64).read_to_end(&mut read);
            unpacked.map_err(|error| error.to_string())?;
            plain = read;
            plain.as_slice()
        } else {
            bytes
        };
        match self.media_type.as_str() {
            "application/vnd.kubernetes.protobuf" => protobuf(bytes),
            yaml if yaml.contains("yaml") => schema::parse_json(&yaml_to_json(bytes)?),
            _ => schema::parse_json(bytes),
        }
    }
}

fn protobuf(bytes: &[u8]) -> Result<Value, String> {
    let envelope = schema::open_envelope(bytes).map_err(|error| error.to_string())?;
    let kind = envelope.kind();
    let structure = schema::builtin(&kind.group, &kind.version, &kind.kind).ok_or("an unknown kind")?;
    let mut value = schema::decode_envelope(structure, &envelope).map_err(|error| error.to_string())?.value;
    value["kind"] = envelope.kind.clone().into();
    value["apiVersion"] = envelope.api_version.clone().into();
    Ok(value)
}

/// Drops managed fields from an object, or from those of a list.
fn drop_managed_fields(value: &mut Value) {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        drop_managed_fields(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_more_values_than_a_body_may_have_is_too_long() {
        let told = |body: String| {
            let tee = Tee::default();
            tee.see(&body.into());
            tee.told(&Kind::default(), false)
        };

        assert!(matches!(told("[0]".into()), Told::All(_)));
        assert!(matches!(told("[".into()), Told::Nothing));
        for many in [format!("[{}0]", "0,".repeat(500_000)), format!("[{}0]", "{\"\":0},".repeat(300_000))] {
            assert!(matches!(told(many), Told::TooLong));
        }
    }
}
