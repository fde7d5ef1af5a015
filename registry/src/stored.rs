//! How a kind's objects lie in the store, when that is not how they are served.
//!
//! A kind may be served in several versions. All of them share the keys, and the objects behind those keys are of one
//! version: the stored one. Its reads are slices of the stored text; any other version is made from the same text, object by
//! object, by a [`Conversion`].

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use serde_json::Value;

use crate::conversion::ConversionWebhook;
use crate::object::Object;
use crate::resource::Resource;
use crate::schema::{self, Seq, StructureRef, Text};
use crate::selector::SelectableField;

/// Turns objects of the version that is stored into another that is served, and back.
///
/// # Contract
///
/// 1. `to_stored` after `to_served` gives the object back: what only one of the versions can say is kept in the other,
///    in an annotation if need be.
/// 2. Neither touches `kind`, `apiVersion`, nor what the server owns of `metadata`: the registry sets these.
/// 3. Both are pure: the same object always becomes the same object.
pub trait Conversion: Debug + Send + Sync + 'static {
    /// Makes the served object of the stored one.
    fn to_served(&self, object: &mut Value);

    /// Makes the stored object of the served one.
    fn to_stored(&self, object: &mut Value);
}

/// Versions that differ in nothing but their name.
#[derive(Debug, Clone, Copy)]
pub struct SameFields;

impl Conversion for SameFields {
    fn to_served(&self, _object: &mut Value) {}

    fn to_stored(&self, _object: &mut Value) {}
}

const _: Option<&dyn Conversion> = None;

/// The form of a kind's objects in the store.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The group that stands in the stored text.
    pub group: Text,
    /// The version that stands in the stored text.
    pub version: Text,
    /// The kind that stands in the stored text.
    pub kind: Text,
    /// What is kept beside the text for selectors: the fields by which any version is selected, at their paths in the stored
    /// text.
    pub fields: Seq<SelectableField>,
    /// The way to the stored form; absent if that is the one that is served.
    pub conversion: Option<Arc<dyn Conversion>>,
    /// How stored objects are completed when they are read: a custom kind may have got new defaults since they were written.
    /// Absent if they are served as they were written.
    pub upkeep: Option<Upkeep>,
    /// What converts the versions of a custom kind, if a webhook does. Then each resource has the form of its own version.
    pub(crate) webhook: Option<Arc<ConversionWebhook>>,
}

/// How stored objects of a custom kind are brought to what their kind is today.
#[derive(Debug, Clone)]
pub struct Upkeep {
    /// The structure of the stored version.
    pub structure: StructureRef,
    /// Whether what the structure does not have is dropped; not if other versions have it.
    pub prunes: bool,
}

/// What stored text begins with and is selected by, whatever the version served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub fields: &'a Seq<SelectableField>,
}

impl Resource {
    /// Keeps the objects in the store as those of another version or group of the same kind: `stored`, whose prefix
    /// and keys it shares (default: as they are served). The selectable fields of this resource name their paths in the
    /// stored form.
    ///
    /// ```
    /// use quarterdeck_registry::Resource;
    /// use quarterdeck_registry::resource::Scope;
    /// use quarterdeck_registry::stored::SameFields;
    ///
    /// let stored = Resource::builtin("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", Scope::Namespaced);
    /// let served = Resource::builtin("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", Scope::Namespaced)
    ///     .stored_as(&stored, SameFields); // in truth they differ: a conversion of their own goes here
    ///
    /// assert_eq!(served.key(Some("ns"), "web"), stored.key(Some("ns"), "web"));
    /// ```
    #[must_use]
    pub fn stored_as(mut self, stored: &Self, conversion: impl Conversion) -> Self {
        let layout = stored.layout();
        let text = |part: &str| -> Text { Cow::Owned(part.to_owned()) };
        self.stored = Some(Arc::new(Stored {
            group: text(layout.group),
            version: text(layout.version),
            kind: text(layout.kind),
            fields: layout.fields.clone(),
            conversion: Some(Arc::new(conversion)),
            upkeep: stored.stored.as_ref().and_then(|form| form.upkeep.clone()),
            webhook: None,
        }));
        self.prefix = stored.prefix.clone();
        self
    }

    /// Returns what stored text begins with and is selected by.
    pub(crate) fn layout(&self) -> Layout<'_> {
        match &self.stored {
            None => {
                Layout { group: &self.group, version: &self.version, kind: &self.kind, fields: &self.fields }
            }
            Some(form) => {
                Layout { group: &form.group, version: &form.version, kind: &form.kind, fields: &form.fields }
            }
        }
    }

    /// Returns whether stored text can be served as it is.
    #[must_use]
    pub fn is_stored_form(&self) -> bool {
        self.conversion().is_none()
    }

    fn conversion(&self) -> Option<&dyn Conversion> {
        self.stored.as_ref().and_then(|form| form.conversion.as_deref())
    }

    /// Parses a stored object, with its resourceVersion, in the version that this resource serves.
    #[must_use]
    pub fn value_of(&self, object: &Object) -> Value {
        let mut value = object.value();
        if let Some(conversion) = self.conversion() {
            conversion.to_served(&mut value);
            value["kind"] = self.kind.as_ref().into();
            value["apiVersion"] = self.api_version().into();
        }
        value
    }

    /// Appends an object as it is answered alone.
    pub(crate) fn write_single(&self, object: &Object, out: &mut BytesMut) {
        if self.is_stored_form() {
            object.write_single(out);
        } else {
            write_value(&self.value_of(object), out);
        }
    }

    /// Appends an object as a list's item.
    pub(crate) fn write_item(&self, object: &Object, out: &mut BytesMut) {
        if self.is_stored_form() && self.custom.is_some() {
            object.write_single(out);
        } else if self.is_stored_form() {
            object.write_item(out);
        } else {
            write_value(&self.item_of(object), out);
        }
    }

    /// Parses a stored object as it stands in a list: without kind and apiVersion, unless the kind is a custom one.
    pub(crate) fn item_of(&self, object: &Object) -> Value {
        let mut value = self.value_of(object);
        if self.custom.is_some() {
            return value;
        }
        if let Some(fields) = value.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        value
    }

    /// Returns an object in the form in which it is stored. Kind and apiVersion are the store's to write.
    pub(crate) fn to_stored<'v>(&self, value: &'v Value) -> Cow<'v, Value> {
        match self.conversion() {
            None => Cow::Borrowed(value),
            Some(conversion) => {
                let mut value = value.clone();
                conversion.to_stored(&mut value);
                Cow::Owned(value)
            }
        }
    }

    /// Returns an object of another version of the same kind as this version shows it.
    pub(crate) fn converted_from(&self, other: &Self, value: &Value) -> Value {
        let mut value = other.to_stored(value).into_owned();
        if let Some(conversion) = self.conversion() {
            conversion.to_served(&mut value);
        }
        value["kind"] = self.kind.as_ref().into();
        value["apiVersion"] = self.api_version().into();
        value
    }

    /// Completes an object that was stored before its kind was what it is today.
    pub(crate) fn keep_up(&self, value: Value) -> Value {
        let Some(upkeep) = self.stored.as_ref().and_then(|form| form.upkeep.as_ref()) else { return value };
        let mut value = match upkeep.prunes.then(|| schema::decode_value(&upkeep.structure, value.clone())) {
            Some(Ok(decoded)) => decoded.value,
            // What cannot be read by today's structure is shown as it is: its next writer is told.
            Some(Err(_)) | None => value,
        };
        schema::apply_defaults(&upkeep.structure, &mut value);
        crate::custom::numbers::make_whole(&mut value);
        value
    }

    /// Returns whether stored objects are completed when they are read.
    pub(crate) fn is_kept_up(&self) -> bool {
        self.stored.as_ref().is_some_and(|form| form.upkeep.is_some())
    }

    /// Returns under which name the value of a selectable field is kept beside the stored text.
    pub(crate) fn stored_field(&self, name: &str) -> Option<&Text> {
        let field = self.fields.iter().find(|field| field.name == name)?;
        let kept = self.stored.as_ref()?.fields.iter().find(|kept| kept.paths == field.paths);
        kept.map(|kept| &kept.name)
    }
}

fn write_value(value: &Value, out: &mut BytesMut) {
    serde_json::to_writer(out.writer(), value).expect("a JSON value can be written to memory");
}
