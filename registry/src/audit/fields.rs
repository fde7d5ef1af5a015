//! JSON, written field by field. A serializer looks at each byte of a text by itself: that was a third of what an event cost.
//! Names of fields are written as they are.

use std::io::Write as _;
use std::net::IpAddr;

use serde::Serialize;

use crate::json::{serialize, write_text};

/// The fields of an object, behind its opening brace.
pub(super) struct Fields<'a>(pub(super) &'a mut Vec<u8>);

impl Fields<'_> {
    /// Writes a field of text, unless it is empty.
    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.name(name);
            write_text(self.0, value);
        }
    }

    /// Writes a member of a map of text, which may have any name and any value.
    pub(super) fn entry(&mut self, key: &str, value: &str) {
        self.key(key);
        write_text(self.0, value);
    }

    /// Writes a field that is a list of addresses, unless it is empty.
    pub(super) fn addresses(&mut self, name: &'static str, addresses: &[IpAddr]) {
        let [first, others @ ..] = addresses else { return };
        self.name(name);
        write!(self.0, "[\"{first}\"").expect("memory takes it");
        for address in others {
            write!(self.0, ",\"{address}\"").expect("memory takes it");
        }
        self.0.push(b']');
    }

    /// Writes a field that is a number.
    pub(super) fn number(&mut self, name: &'static str, number: u16) {
        self.name(name);
        write!(self.0, "{number}").expect("memory takes it");
    }

    /// Writes a field of whatever it is.
    pub(super) fn value(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        self.name(name);
        serialize(self.0, value);
    }

    /// Writes a field that is an object.
    pub(super) fn object(&mut self, name: &'static str, fields: impl FnOnce(&mut Fields<'_>)) {
        self.name(name);
        self.0.push(b'{');
        fields(&mut Fields(self.0));
        self.0.push(b'}');
    }

    /// Writes a field that is a list of text, unless it is empty.
    pub(super) fn texts(&mut self, name: &'static str, values: &[String]) {
        if values.is_empty() {
            return;
        }
        self.name(name);
        self.list(values);
    }

    /// Writes a field of any name that is a list of text.
    pub(super) fn named_texts(&mut self, name: &str, values: &[String]) {
        self.key(name);
        self.list(values);
    }

    fn list(&mut self, values: &[String]) {
        self.0.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            write_text(self.0, value);
        }
        self.0.push(b']');
    }

    fn key(&mut self, key: &str) {
        self.separate();
        write_text(self.0, key);
        self.0.push(b':');
    }

    fn separate(&mut self) {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
    }

    fn name(&mut self, name: &'static str) {
        self.0.reserve(name.len() + 4);
        self.separate();
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use serde_json::{Value, json};

    use super::Fields;

    #[test]
    fn what_is_written_is_json_whatever_the_text() {
        let texts = ["plain", "", "\"", "a\\b", "\u{1}\n\t", "\u{7f}é\u{2028}𝄞"].map(str::to_owned);
        let mut line = b"{".to_vec();
        let mut fields = Fields(&mut line);

        for (name, text) in ["0", "1", "2", "3", "4", "5"].into_iter().zip(&texts) {
            fields.text(name, text);
        }
        fields.texts("none", &[]);
        fields.texts("texts", &texts);
        fields.addresses("nowhere", &[]);
        fields.addresses("here", &[Ipv4Addr::LOCALHOST.into()]);
        fields.addresses("there", &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        fields.number("number", 429);
        fields.object("named", |named| {
            named.named_texts("a\"b", &texts[2..4]);
            named.named_texts("none", &[]);
        });
        fields.object("empty", |_| ());
        fields.object("map", |map| texts.iter().for_each(|text| map.entry(text, text)));
        fields.object("object", |object| {
            object.text("text", &texts[2]);
            object.value("value", &json!([1, null]));
        });
        line.push(b'}');

        let read: Value = serde_json::from_slice(&line).unwrap();
        let wanted = json!({
            "0": "plain", "2": "\"", "3": "a\\b", "4": "\u{1}\n\t", "5": "\u{7f}é\u{2028}𝄞", "texts": texts,
            "here": ["127.0.0.1"], "there": ["127.0.0.1", "::1"], "number": 429,
            "named": {"a\"b": texts[2..4], "none": []},
            "map": texts.iter().map(|text| (text.clone(), text.clone())).collect::<BTreeMap<_, _>>(), "empty": {},
            "object": {"text": "\"", "value": [1, null]},
        });
        assert_eq!(read, wanted);
    }
}
