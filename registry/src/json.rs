//! JSON text, many bytes at a time: what objects and events hold is mostly text without anything to escape, and to look at each of
//! its bytes by itself is a good part of what a write costs.

use serde::Serialize;
use serde_json::Value;

/// How many bytes are looked at together.
const CHUNK: usize = 32;

/// Whether a byte cannot stand in a string as it is.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Returns how many bytes from the first on can stand in a string as they are: up to a quote, a backslash or a control character.
pub(crate) fn plain(bytes: &[u8]) -> usize {
    let has_special = |chunk: &[u8; CHUNK]| chunk.iter().fold(false, |any, byte| any | is_special(*byte));
    let (chunks, _) = bytes.as_chunks::<CHUNK>();
    let start = chunks.iter().take_while(|chunk| !has_special(chunk)).count() * CHUNK;
    let rest = &bytes[start..];
    start + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}

/// Writes a string.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    if plain(text.as_bytes()) < text.len() {
        return serialize(out, text);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Writes a value, as serde_json does.
pub(crate) fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                separate(out, index);
                write(out, item);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (index, (name, member)) in members.iter().enumerate() {
                separate(out, index);
                write_text(out, name);
                out.push(b':');
                write(out, member);
            }
            out.push(b'}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => serialize(out, value),
    }
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

/// Writes whatever it is.
pub(crate) fn serialize(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("keys that are text make JSON, and memory takes it");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_plain_up_to_the_first_byte_that_is_not_wherever_that_is() {
        for special in ["\"", "\\", "\0", "\n", "\u{1f}"] {
            for before in 0..3 * CHUNK {
                for (first, behind) in [("", 0), ("x", 0), ("", 1), ("x", CHUNK), ("", CHUNK)] {
                    let text = format!("{first}{}{special}{}", "é".repeat(before), "x".repeat(behind));
                    assert_eq!(plain(text.as_bytes()), first.len() + 2 * before, "{text:?}");
                }
            }
        }
        let text = " !#$[]^~\u{7f}é\u{2028}𝄞".repeat(20);
        assert_eq!(plain(text.as_bytes()), text.len());
    }

    #[test]
    fn values_are_written_as_serde_json_writes_them() {
        let long = "x".repeat(100);
        let value = json!({
            "": null, "a\"b": [], "c": {}, "long": long, "escaped": format!("{long}\"\\\u{1}\t{long}é\u{2028}"),
            "numbers": [0, -1, u64::MAX, i64::MIN, 1.5, 1e300], "bools": [true, false], "deep": [[[{"x": ["y"]}]]],
        });
        let mut text = Vec::new();

        write(&mut text, &value);

        assert_eq!(String::from_utf8(text).unwrap(), value.to_string());
    }
}
