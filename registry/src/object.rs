//! Objects as they are stored, cached, listed and watched: the same bytes, parsed once.
//!
//! Stored JSON begins with `{"kind":…,"apiVersion":…,"metadata":{` and holds no resourceVersion, which is known only after
//! the commit. Output splices it in, and leaves kind and apiVersion out where a list's items have none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use quarterdeck_core::storage::{Key, Revision};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::resource::Resource;

/// An object of the store, encoded, with what lists and watches select by.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The stored text: no resourceVersion.
    bytes: Bytes,
    /// Where the text behind `apiVersion` begins.
    items_at: usize,
    /// Where the fields of `metadata` begin.
    version_at: usize,
    /// The revision of the commit that wrote it.
    pub revision: Revision,
    /// The parsed part.
    pub header: Header,
}

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
    /// The values of the kind's selectable fields, in the kind's order.
    fields: Box<[Box<str>]>,
}

/// Why stored bytes are no object.
#[derive(Debug, thiserror::Error)]
#[error("{key} holds no object")]
pub struct NotAnObject {
    key: Key,
    #[source]
    source: serde_json::Error,
}

impl Header {
    /// Returns a label's value.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let index = self.labels.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&self.labels[index].1)
    }

    /// Returns the value of a selectable field of `resource`; empty if the object has none.
    #[must_use]
    pub fn field(&self, resource: &Resource, name: &str) -> &str {
        match name {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            name => {
                let index = resource.fields.iter().position(|field| field.name == name);
                index.and_then(|index| self.fields.get(index)).map_or("", |value| value)
            }
        }
    }

    fn of(resource: &Resource, value: &Value) -> Self {
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
            fields: resource.fields.iter().map(|field| field.value(value).as_ref().into()).collect(),
        }
    }
}

/// What [`Header`] takes of the text of a kind without selectable fields of its own.
#[derive(Deserialize)]
struct Light<'a> {
    #[serde(borrow)]
    metadata: LightMetadata<'a>,
}

#[derive(Deserialize)]
struct LightMetadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

impl Object {
    /// Encodes an object for the store. Its resourceVersion is left out.
    #[must_use]
    pub fn encode(resource: &Resource, value: &Value) -> Bytes {
        let mut text = Vec::with_capacity(1024);
        text.extend_from_slice(prologue(resource).as_bytes());
        let empty = Map::new();
        let metadata = value["metadata"].as_object().unwrap_or(&empty);
        let mut separator = "";
        for (name, field) in metadata.iter().filter(|(name, _)| *name != "resourceVersion") {
            write_field(&mut text, separator, name, field);
            separator = ",";
        }
        text.push(b'}');
        for (name, field) in value.as_object().into_iter().flatten() {
            if !matches!(name.as_str(), "kind" | "apiVersion" | "metadata") {
                write_field(&mut text, ",", name, field);
            }
        }
        text.push(b'}');
        text.into()
    }

    /// Makes the object of what was just encoded, without parsing it again.
    #[must_use]
    pub fn encoded(resource: &Resource, value: &Value, bytes: Bytes, revision: Revision) -> Self {
        Self::with_header(resource, bytes, revision, Header::of(resource, value))
    }

    /// Reads what is in the store. Text that somebody else wrote in another order is encoded anew.
    ///
    /// # Errors
    ///
    /// [`NotAnObject`] if the bytes are not a JSON object with a name.
    pub fn load(
        resource: &Resource,
        key: &Key,
        bytes: Bytes,
        revision: Revision,
    ) -> Result<Self, NotAnObject> {
        let broken = |source| NotAnObject { key: key.clone(), source };
        if !bytes.starts_with(prologue(resource).as_bytes()) {
            let value: Value = serde_json::from_slice(&bytes).map_err(broken)?;
            let bytes = Self::encode(resource, &value);
            return Ok(Self::encoded(resource, &value, bytes, revision));
        }
        let header = if resource.fields.is_empty() {
            let light: Light<'_> = serde_json::from_slice(&bytes).map_err(broken)?;
            Header {
                name: light.metadata.name.into(),
                namespace: light.metadata.namespace.into(),
                uid: light.metadata.uid.into(),
                labels: light.metadata.labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
                fields: Box::default(),
            }
        } else {
            Header::of(resource, &serde_json::from_slice(&bytes).map_err(broken)?)
        };
        Ok(Self::with_header(resource, bytes, revision, header))
    }

    fn with_header(resource: &Resource, bytes: Bytes, revision: Revision, header: Header) -> Self {
        let version_at = prologue(resource).len();
        let items_at = version_at - METADATA.len();
        Self { bytes, items_at, version_at, revision, header }
    }

    /// Returns the same object at another revision: a deletion's event carries the last state at the deletion's revision.
    #[must_use]
    pub fn at(&self, revision: Revision) -> Self {
        Self { revision, ..self.clone() }
    }

    /// Returns how many bytes the text takes in the store.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether the text is empty, which it never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the object as it is answered alone.
    pub fn write_single(&self, out: &mut BytesMut) {
        out.reserve(self.bytes.len() + 48);
        out.put_slice(&self.bytes[..self.version_at]);
        self.write_from_version(out);
    }

    /// Appends the object as a list's item: without kind and apiVersion.
    pub fn write_item(&self, out: &mut BytesMut) {
        out.reserve(self.bytes.len() + 48);
        out.put_u8(b'{');
        out.put_slice(&self.bytes[self.items_at..self.version_at]);
        self.write_from_version(out);
    }

    fn write_from_version(&self, out: &mut BytesMut) {
        write!(out.writer(), "\"resourceVersion\":\"{}\",", self.revision)
            .expect("writing to memory does not fail");
        out.put_slice(&self.bytes[self.version_at..]);
    }

    /// Returns the object as it is answered alone.
    #[must_use]
    pub fn single(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.write_single(&mut out);
        out.freeze()
    }

    /// Parses the object, with its resourceVersion.
    ///
    /// # Panics
    ///
    /// Never: the text was parsed before it came here.
    #[must_use]
    pub fn value(&self) -> Value {
        let mut value: Value =
            serde_json::from_slice(&self.bytes).expect("an object's text was parsed before");
        value["metadata"]["resourceVersion"] = self.revision.to_string().into();
        value
    }
}

const METADATA: &str = "\"metadata\":{";

fn prologue(resource: &Resource) -> String {
    format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",{METADATA}", resource.kind, resource.api_version())
}

fn write_field(text: &mut Vec<u8>, separator: &str, name: &str, field: &impl Serialize) {
    text.extend_from_slice(separator.as_bytes());
    serde_json::to_writer(&mut *text, name).expect("writing to memory does not fail");
    text.push(b':');
    serde_json::to_writer(text, field).expect("a JSON value can be written");
}
