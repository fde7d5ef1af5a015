//! What `kubectl get` prints: Tables (`meta.k8s.io`), and objects reduced to their metadata.
//!
//! Start at [`columns`], which knows the columns of every built-in kind, and [`table()`], which makes the answer.
//! [`Columns::from_printer_columns`] makes the columns of a custom kind, [`Columns::new`] those of a kind of your own.
//! [`partial_object_metadata`] and [`partial_object_metadata_list`] leave of objects what every kind has.
//!
//! All is pure: objects and the present time in, JSON out. Whether a client gets a Table at all is decided where
//! requests are negotiated.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod cell;
mod cluster;
mod core;
mod definition;
pub mod duration;
mod events;
mod jsonpath;
mod networking;
mod pod;
mod printer;
mod storage;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use quarterdeck_core::labels::quote;
use serde_json::{Value, json};

pub use definition::ColumnDefinition;
pub use jsonpath::{JsonPath, JsonPathError};

type MakeCells = dyn Fn(&Value, Timestamp) -> Vec<Value> + Send + Sync;
type MakeConditions = fn(&Value) -> Vec<Value>;

/// The columns of one kind, and how an object fills them. Cheap to clone.
#[derive(Clone)]
pub struct Columns {
    definitions: Arc<[ColumnDefinition]>,
    cells: Arc<MakeCells>,
    conditions: MakeConditions,
}

impl Columns {
    /// Makes columns that `cells` fills: from an object and the present time, one cell per definition.
    pub fn new(
        definitions: impl IntoIterator<Item = ColumnDefinition>,
        cells: impl Fn(&Value, Timestamp) -> Vec<Value> + Send + Sync + 'static,
    ) -> Self {
        Self {
            definitions: definitions.into_iter().collect(),
            cells: Arc::new(cells),
            conditions: |_| Vec::new(),
        }
    }

    /// Makes the columns of kinds that have none of their own: name and time of creation.
    #[must_use]
    pub fn fallback() -> Self {
        use definition::{created_at, name};
        Self::new([name(), created_at()], |object, _| {
            vec![cell::name(object), cell::or(&object["metadata"]["creationTimestamp"], "<unknown>")]
        })
    }

    /// Makes the columns of a custom kind from the `additionalPrinterColumns` (an array, or null) of its definition.
    ///
    /// The name always comes first; a kind that asks for no columns gets its age.
    ///
    /// # Errors
    ///
    /// [`JsonPathError`] for the first column whose `jsonPath` cannot be read.
    pub fn from_printer_columns(additional: &Value) -> Result<Self, JsonPathError> {
        printer::columns(additional)
    }

    /// Sets what a row says about its object besides the cells (default: nothing).
    #[must_use]
    pub fn with_conditions(mut self, conditions: fn(&Value) -> Vec<Value>) -> Self {
        self.conditions = conditions;
        self
    }

    /// Returns what the columns are.
    #[must_use]
    pub fn definitions(&self) -> &[ColumnDefinition] {
        &self.definitions
    }

    /// Returns what `object` shows in the columns at `now`.
    #[must_use]
    pub fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        (self.cells)(object, now)
    }
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.definitions.iter().map(|definition| &definition.name)).finish()
    }
}

/// Returns the columns of a built-in kind, as upstream has them; of any other kind name and time of creation.
#[must_use]
pub fn columns(group: &str, kind: &str) -> Columns {
    let known = match group {
        "" => core::columns(kind),
        "apps" => apps::columns(kind),
        "batch" => batch::columns(kind),
        "autoscaling" => autoscaling::columns(kind),
        "discovery.k8s.io" | "networking.k8s.io" => networking::columns(kind),
        "events.k8s.io" => events::columns(kind),
        "storage.k8s.io" | "internal.apiserver.k8s.io" | "storagemigration.k8s.io" => storage::columns(kind),
        "admissionregistration.k8s.io" | "apiregistration.k8s.io" => admission::columns(kind),
        _ => cluster::columns(group, kind),
    };
    known.unwrap_or_else(Columns::fallback)
}

/// Which of the two equal versions of `meta.k8s.io` a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetaVersion {
    /// `v1`.
    #[default]
    V1,
    /// `v1beta1`.
    V1Beta1,
}

impl MetaVersion {
    /// Returns the version of this name, as a media type's parameter `v` has it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        }
    }

    /// Returns group and version as `apiVersion` writes them.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// How much of its object a row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata, as a PartialObjectMetadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

/// The query parameter `includeObject` has a value that is not one of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', \
     or empty",
    quote(value)
)]
pub struct IncludeObjectError {
    value: String,
}

impl IncludeObject {
    /// Reads the query parameter `includeObject`; empty means the default.
    ///
    /// # Errors
    ///
    /// [`IncludeObjectError`] for an unknown value: a bad request, with upstream's text.
    pub fn parse(value: &str) -> Result<Self, IncludeObjectError> {
        match value {
            "None" => Ok(Self::None),
            "" | "Metadata" => Ok(Self::Metadata),
            "Object" => Ok(Self::Object),
            _ => Err(IncludeObjectError { value: value.to_owned() }),
        }
    }
}

/// How a table is to look.
#[derive(Debug, Clone, Copy)]
pub struct TableOptions {
    /// The version of the Table, and of the PartialObjectMetadata in its rows.
    pub version: MetaVersion,
    /// What rows carry of their objects.
    pub include_object: IncludeObject,
    /// Whether the table says what its columns are. In a watch only the first does.
    pub with_definitions: bool,
    /// The present time, which ages are counted to.
    pub now: Timestamp,
}

/// Makes a Table with a row for each of `objects`, in their order.
///
/// `metadata` is that of the list: `resourceVersion`, and `continue` and `remainingItemCount` if there is more; for a
/// single object its own `resourceVersion`, see [`object_table`]. Objects need their `kind` and `apiVersion` only for
/// [`IncludeObject::Object`].
pub fn table<'a>(
    columns: &Columns,
    metadata: Value,
    objects: impl IntoIterator<Item = &'a Value>,
    options: &TableOptions,
) -> Value {
    let rows: Vec<Value> = objects.into_iter().map(|object| row(columns, object, options)).collect();
    let definitions = options.with_definitions.then(|| columns.definitions());
    json!({
        "kind": "Table",
        "apiVersion": options.version.api_version(),
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

/// Makes the Table of a single object, as GET, a write or an event of a watch answers it.
#[must_use]
pub fn object_table(columns: &Columns, object: &Value, options: &TableOptions) -> Value {
    let metadata = match object["metadata"]["resourceVersion"].as_str() {
        Some(revision) => json!({"resourceVersion": revision}),
        None => json!({}),
    };
    table(columns, metadata, [object], options)
}

fn row(columns: &Columns, object: &Value, options: &TableOptions) -> Value {
    let object_of_row = match options.include_object {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => partial_object_metadata(object, options.version),
        IncludeObject::Object => object.clone(),
    };
    let mut row = json!({"cells": columns.cells(object, options.now), "object": object_of_row});
    let conditions = (columns.conditions)(object);
    if !conditions.is_empty() {
        row["conditions"] = conditions.into();
    }
    row
}

/// Makes the PartialObjectMetadata of an object: its metadata and nothing else.
#[must_use]
pub fn partial_object_metadata(object: &Value, version: MetaVersion) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": version.api_version(),
        "metadata": object["metadata"],
    })
}

/// Makes the PartialObjectMetadataList of a list with this metadata.
pub fn partial_object_metadata_list<'a>(
    metadata: Value,
    objects: impl IntoIterator<Item = &'a Value>,
    version: MetaVersion,
) -> Value {
    let items: Vec<Value> =
        objects.into_iter().map(|object| partial_object_metadata(object, version)).collect();
    json!({
        "kind": "PartialObjectMetadataList",
        "apiVersion": version.api_version(),
        "metadata": metadata,
        "items": items,
    })
}
