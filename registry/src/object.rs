//! Objects as they are stored, cached, listed and watched: the same bytes, parsed once.
//!
//! Stored JSON begins with `{"kind":…,"apiVersion":…,"metadata":{` and holds no resourceVersion, which is known only after
//! the commit. Output splices it in, and leaves kind and apiVersion out where a list's items have none.

mod header;

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use quarterdeck_core::storage::{Key, Revision};
use serde_json::{Map, Value};

pub use header::Header;

use crate::json;
use crate::resource::Resource;
use crate::stored::Layout;

/// An object of the store, encoded, with what lists and watches select by.
#[derive(Debug, Clone)]
pub struct Object {
    /// The stored text: no resourceVersion.
    bytes: Bytes,
    /// Where the fields of `metadata` begin.
    version_at: u32,
    /// The revision of the commit that wrote it.
    pub revision: Revision,
    /// The parsed part.
    pub header: Arc<Header>,
    /// The whole object, once somebody asked for it to be kept.
    parsed: OnceLock<Box<Value>>,
}

/// An object that was encoded and is not committed yet.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    bytes: Bytes,
    version_at: u32,
    header: Arc<Header>,
}

/// Why stored bytes are no object.
#[derive(Debug, thiserror::Error)]
#[error("{key} holds no object")]
pub struct NotAnObject {
    key: Key,
    #[source]
    source: serde_json::Error,
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision && self.bytes == other.bytes
    }
}

impl Draft {
    /// Encodes an object of the version that is served for the store. Its resourceVersion is left out.
    pub(crate) fn new(resource: &Resource, value: &Value) -> Self {
        Self::of_stored(resource.layout(), &resource.to_stored(value))
    }

    /// Encodes an object of the version that is stored.
    pub(crate) fn of_stored(layout: Layout<'_>, value: &Value) -> Self {
        let header = Arc::new(Header::of(layout, value));
        Self { bytes: encode(layout, value), version_at: version_at(layout), header }
    }

    /// Returns the text that goes into the store.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns whether this is an object of the kind, in its form of today.
    pub(crate) fn is_of(&self, resource: &Resource) -> bool {
        !resource.is_kept_up() && has_prologue(resource.layout(), &self.bytes)
    }

    /// Makes the object that this is once it is committed.
    pub(crate) fn committed(self, revision: Revision) -> Object {
        let Self { bytes, version_at, header } = self;
        Object { bytes, version_at, revision, header, parsed: OnceLock::new() }
    }
}

impl Object {
    /// Reads what is in the store. Text that somebody else wrote in another order, or that lacks what objects of the kind
    /// have today, is encoded anew.
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
        if let Some(webhook) = resource.webhook() {
            let value: Value = serde_json::from_slice(&bytes).map_err(broken)?;
            // Where versions are more than names, each object stays what it is.
            if let Some(draft) = webhook.read(value) {
                return Ok(draft.committed(revision));
            }
        }
        let layout = resource.layout();
        if resource.is_kept_up() || !has_prologue(layout, &bytes) {
            let value: Value = serde_json::from_slice(&bytes).map_err(broken)?;
            let mut draft = Draft::of_stored(layout, &resource.keep_up(value));
            if draft.bytes == bytes {
                // The store's copy is enough.
                draft.bytes = bytes;
            }
            return Ok(draft.committed(revision));
        }
        let header = Header::read(layout, &bytes).map_err(broken)?;
        let draft = Draft { bytes, version_at: version_at(layout), header: Arc::new(header) };
        Ok(draft.committed(revision))
    }

    /// Returns the same object at another revision: a deletion's event carries the last state at the deletion's revision.
    #[must_use]
    pub fn at(&self, revision: Revision) -> Self {
        Self {
            bytes: self.bytes.clone(),
            version_at: self.version_at,
            revision,
            header: self.header.clone(),
            parsed: OnceLock::new(),
        }
    }

    /// Returns the `apiVersion` that the text begins with.
    pub(crate) fn api_version(&self) -> &str {
        const NAME: &[u8] = b"\"apiVersion\":\"";
        let before = &self.bytes[..self.version_at().min(self.bytes.len())];
        let found = before.windows(NAME.len()).position(|window| window == NAME);
        let value = found.map_or(&before[..0], |at| &before[at + NAME.len()..]);
        let end = value.iter().position(|byte| *byte == b'"').unwrap_or(0);
        std::str::from_utf8(&value[..end]).unwrap_or_default()
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

    /// Returns how many bytes the text takes in an answer, at most.
    #[must_use]
    pub fn written_len(&self) -> usize {
        self.bytes.len() + SPLICED
    }

    /// Returns whether the stored text has some words in it, wherever.
    #[cfg(feature = "tls")]
    pub(crate) fn mentions(&self, words: &[u8]) -> bool {
        self.bytes.windows(words.len()).any(|text| text == words)
    }

    /// Appends the object as it is answered alone.
    pub fn write_single(&self, out: &mut BytesMut) {
        out.reserve(self.written_len());
        out.put_slice(&self.bytes[..self.version_at()]);
        self.write_from_version(out);
    }

    /// Appends the object as a list's item: without kind and apiVersion.
    pub fn write_item(&self, out: &mut BytesMut) {
        out.reserve(self.written_len());
        out.put_u8(b'{');
        out.put_slice(METADATA.as_bytes());
        self.write_from_version(out);
    }

    fn write_from_version(&self, out: &mut BytesMut) {
        const DIGITS: usize = 20;
        let (mut digits, mut first, mut rest) = ([0; DIGITS], DIGITS, self.revision.0);
        loop {
            first -= 1;
            digits[first] = b'0' + u8::try_from(rest % 10).expect("a digit is a byte");
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        out.put_slice(b"\"resourceVersion\":\"");
        out.put_slice(&digits[first..]);
        out.put_slice(b"\",");
        out.put_slice(&self.bytes[self.version_at()..]);
    }

    fn version_at(&self) -> usize {
        self.version_at as usize
    }

    /// Returns the object as it is answered alone.
    #[must_use]
    pub fn single(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.write_single(&mut out);
        out.freeze()
    }

    /// Parses the object, with its resourceVersion, in the version that is stored: [`Resource::value_of`] gives the one that
    /// is served.
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

    /// Returns the parsed object, with its resourceVersion, and keeps it for the next who asks: for objects that many
    /// requests look into, such as namespaces.
    #[must_use]
    pub fn parsed(&self) -> &Value {
        self.parsed.get_or_init(|| Box::new(self.value()))
    }
}

const METADATA: &str = "\"metadata\":{";
/// How many bytes the splice of a resourceVersion takes at most.
const SPLICED: usize = 48;

/// What the text of a kind's objects begins with, in parts.
fn prologue(layout: Layout<'_>) -> [&str; 8] {
    let Layout { group, version, kind, .. } = layout;
    let separator = if group.is_empty() { "" } else { "/" };
    ["{\"kind\":\"", kind, "\",\"apiVersion\":\"", group, separator, version, "\",", METADATA]
}

/// Where the fields of `metadata` begin.
fn version_at(layout: Layout<'_>) -> u32 {
    let length: usize = prologue(layout).iter().map(|part| part.len()).sum();
    u32::try_from(length).expect("names of kinds are short")
}

fn has_prologue(layout: Layout<'_>, text: &[u8]) -> bool {
    let rest = prologue(layout).iter().try_fold(text, |text, part| text.strip_prefix(part.as_bytes()));
    rest.is_some()
}

fn encode(layout: Layout<'_>, value: &Value) -> Bytes {
    let mut text = Vec::with_capacity(4096);
    for part in prologue(layout) {
        text.extend_from_slice(part.as_bytes());
    }
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
    // The text stays for long: what the vector has to spare would stay with it.
    Bytes::copy_from_slice(&text)
}

fn write_field(text: &mut Vec<u8>, separator: &str, name: &str, field: &Value) {
    text.extend_from_slice(separator.as_bytes());
    json::write_text(text, name);
    text.push(b':');
    json::write(text, field);
}
