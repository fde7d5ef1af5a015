//! The parsed part of an object: what lists, watches and policies select by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::schema::Seq;
use crate::selector::SelectableField;
use crate::stored::Layout;

/// The parsed part of an object.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Header {
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.namespace`; empty if the object has none.
    pub namespace: Box<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.labels`, in the order of their keys.
    labels: Box<[(Box<str>, Box<str>)]>,
    /// By which fields of its own the kind is selected.
    selectable: Seq<SelectableField>,
    /// Their values, in the same order.
    fields: Box<[Box<str>]>,
}

impl Header {
    /// Returns a label's value.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let index = self.labels.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&self.labels[index].1)
    }

    /// Returns the value of a selectable field, such as `spec.nodeName`; empty if the object has none.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        match name {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            name => {
                let index = self.selectable.iter().position(|field| field.name == name);
                index.and_then(|index| self.fields.get(index)).map_or("", |value| value)
            }
        }
    }

    /// Takes the header of a parsed object.
    pub(super) fn of(layout: Layout<'_>, value: &Value) -> Self {
        let metadata = &value["metadata"];
        let text = |name: &str| metadata[name].as_str().unwrap_or_default().into();
        let labels = metadata["labels"].as_object().into_iter().flatten();
        Self {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            labels: labels
                .map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into()))
                .collect(),
            selectable: layout.fields.clone(),
            fields: layout.fields.iter().map(|field| field.value(value).as_ref().into()).collect(),
        }
    }

    /// Reads the header from an object's text, and skips the rest of it.
    pub(super) fn read(layout: Layout<'_>, text: &[u8]) -> serde_json::Result<Self> {
        let Some(sieve) = Sieve::new(layout.fields) else {
            return Ok(Self::of(layout, &serde_json::from_slice(text)?));
        };
        let mut sifted = Sifted { metadata: None, found: vec![None; sieve.len()] };
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        Part { paths: &sieve.0, is_top: true, sifted: &mut sifted }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        let metadata = sifted.metadata.ok_or_else(|| serde::de::Error::missing_field("metadata"))?;
        let mut found = sifted.found.into_iter();
        let mut value = |field: &SelectableField| {
            let paths: Vec<_> = found.by_ref().take(field.paths.len()).collect();
            let first = paths.into_iter().flatten().find(|text| !text.is_empty());
            first.map_or_else(|| field.missing.into(), Into::into)
        };
        Ok(Self {
            name: metadata.name.into(),
            namespace: metadata.namespace.into(),
            uid: metadata.uid.into(),
            labels: metadata.labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            selectable: layout.fields.clone(),
            fields: layout.fields.iter().map(&mut value).collect(),
        })
    }
}

/// What a header takes of `metadata`.
#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

/// The paths that are looked for: what is left of each, and where its text goes.
struct Sieve<'f>(Vec<(&'f str, usize)>);

impl<'f> Sieve<'f> {
    /// Returns `None` for fields below `metadata`, which is read otherwise.
    fn new(fields: &'f [SelectableField]) -> Option<Self> {
        let paths = fields.iter().flat_map(|field| field.paths.iter().map(AsRef::as_ref));
        let paths: Vec<_> = paths.enumerate().map(|(slot, path)| (path, slot)).collect();
        let is_apart = paths.iter().all(|(path, _)| !path.starts_with("metadata"));
        is_apart.then_some(Self(paths))
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// What was found.
struct Sifted<'de> {
    metadata: Option<Metadata<'de>>,
    found: Vec<Option<Cow<'de, str>>>,
}

/// A value on the way to some of the paths.
struct Part<'p, 's, 'de> {
    paths: &'p [(&'p str, usize)],
    is_top: bool,
    sifted: &'s mut Sifted<'de>,
}

impl<'de> DeserializeSeed<'de> for Part<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.is_top { deserializer.deserialize_map(self) } else { deserializer.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for Part<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            if self.is_top && name == "metadata" {
                self.sifted.metadata = Some(map.next_value()?);
                continue;
            }
            let mut paths = Vec::new();
            for (path, slot) in self.paths.iter().filter(|(path, _)| !path.is_empty()) {
                match path.strip_prefix(name.as_ref()) {
                    Some("") => paths.push(("", *slot)),
                    Some(rest) => paths.extend(rest.strip_prefix('.').map(|rest| (rest, *slot))),
                    None => {}
                }
            }
            if paths.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Part { paths: &paths, is_top: false, sifted: &mut *self.sifted })?;
            }
        }
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.end(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.end(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        self.end(Cow::Borrowed(if truth { "true" } else { "false" }));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.end(Cow::Owned(number.to_string()));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.end(Cow::Owned(number.to_string()));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        if let Some(number) = Number::from_f64(number) {
            self.end(Cow::Owned(number.to_string()));
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

impl<'de> Part<'_, '_, 'de> {
    /// Keeps the text at the end of paths.
    fn end(self, text: Cow<'de, str>) {
        for (_, slot) in self.paths.iter().filter(|(left, _)| left.is_empty()) {
            self.sifted.found[*slot] = Some(text.clone());
        }
    }
}

/// A member's name, not copied unless it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{Resource, Scope};

    fn pod() -> Value {
        json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "name": "web", "namespace": "ns", "uid": "1", "labels": {"b": "2", "a": "\"1\""},
                "ownerReferences": [{"name": "other"}],
            },
            "spec": {
                "nodeName": "n\u{e9}", "restartPolicy": "Always", "hostNetwork": true, "volumes": [{"nodeName": "x"}],
            },
            "status": {"phase": "Run\nning", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
        })
    }

    fn resource(group: &'static str, kind: &'static str, plural: &'static str) -> Resource {
        Resource::builtin(group, "v1", kind, plural, Scope::Namespaced)
    }

    #[test]
    fn a_header_read_from_text_is_the_one_of_the_parsed_object() {
        let pods = resource("", "Pod", "pods");
        let event = json!({
            "metadata": {"name": "e"}, "reason": null, "type": 7, "source": {"component": ""}, "reportingComponent": "c",
            "involvedObject": {"name": "web", "kind": {"odd": true}},
        });
        let job = json!({"metadata": {"name": "j"}, "status": {"succeeded": 2}});

        for (resource, object) in [
            (&pods, pod()),
            (&pods, json!({"metadata": {"name": "bare"}})),
            (&resource("", "Event", "events"), event),
            (&resource("batch", "Job", "jobs"), job),
            (
                &resource("", "ConfigMap", "configmaps"),
                json!({"metadata": {"name": "c"}, "data": {"k": "v"}}),
            ),
        ] {
            let read = Header::read(resource.layout(), object.to_string().as_bytes()).unwrap();

            assert_eq!(read, Header::of(resource.layout(), &object), "{object}");
        }
    }

    #[test]
    fn a_header_knows_labels_and_fields_by_name() {
        let header =
            Header::read(resource("", "Pod", "pods").layout(), pod().to_string().as_bytes()).unwrap();

        assert_eq!((header.label("a"), header.label("c")), (Some("\"1\""), None));
        assert_eq!((header.field("spec.nodeName"), header.field("status.podIPs")), ("n\u{e9}", "10.0.0.1"));
        assert_eq!((header.field("metadata.name"), header.field("spec.hostname")), ("web", ""));
    }

    #[test]
    fn text_that_is_no_object_has_no_header() {
        let pods = resource("", "Pod", "pods");

        for text in ["", "[]", "7", "{}", r#"{"metadata":{}}"#, r#"{"metadata":{"name":"a"}}}"#] {
            assert!(Header::read(pods.layout(), text.as_bytes()).is_err(), "{text}");
        }
    }
}
