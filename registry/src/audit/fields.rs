//! JSON, written field by field. A serializer looks at each byte of a text by itself: that was a third of what an event cost.
//! Names of fields are written as they are.

use serde::Serialize;

use crate::json::{serialize, write_text};

/// The name of a field, as it is written behind another field. It is one text, for little else is written so often.
macro_rules! name {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(super) use name;

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

    /// Writes a field of text that has nothing to escape.
    pub(super) fn plain(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
    }

    /// Writes a member of a map of text, which may have any name and any value.
    pub(super) fn entry(&mut self, key: &str, value: &str) {
        self.key(key);
        write_text(self.0, value);
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
        if !self.is_at_first() {
            self.0.push(b',');
        }
        write_text(self.0, key);
        self.0.push(b':');
    }

    fn name(&mut self, name: &'static str) {
        let comma = usize::from(self.is_at_first());
        self.0.extend_from_slice(&name.as_bytes()[comma..]);
    }

    fn is_at_first(&self) -> bool {
        self.0.last() == Some(&b'{')
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::Fields;

    #[test]
    fn what_is_written_is_json_whatever_the_text() {
        let texts = ["plain", "", "\"", "a\\b", "\u{1}\n\t", "\u{7f}é\u{2028}𝄞"].map(str::to_owned);
        let mut line = b"{".to_vec();
        let mut fields = Fields(&mut line);

        let names = [name!("0"), name!("1"), name!("2"), name!("3"), name!("4"), name!("5")];
        for (name, text) in names.into_iter().zip(&texts) {
            fields.text(name, text);
        }
        fields.plain(name!("plain"), "as it is");
        fields.texts(name!("none"), &[]);
        fields.texts(name!("texts"), &texts);
        fields.object(name!("named"), |named| {
            named.named_texts("a\"b", &texts[2..4]);
            named.named_texts("none", &[]);
        });
        fields.object(name!("empty"), |_| ());
        fields.object(name!("map"), |map| texts.iter().for_each(|text| map.entry(text, text)));
        fields.object(name!("object"), |object| {
            object.text(name!("text"), &texts[2]);
            object.value(name!("value"), &json!([1, null]));
        });
        line.push(b'}');

        let read: Value = serde_json::from_slice(&line).unwrap();
        let wanted = json!({
            "0": "plain", "2": "\"", "3": "a\\b", "4": "\u{1}\n\t", "5": "\u{7f}é\u{2028}𝄞", "texts": texts,
            "plain": "as it is",
            "named": {"a\"b": texts[2..4], "none": []},
            "map": texts.iter().map(|text| (text.clone(), text.clone())).collect::<BTreeMap<_, _>>(), "empty": {},
            "object": {"text": "\"", "value": [1, null]},
        });
        assert_eq!(read, wanted);
    }
}
