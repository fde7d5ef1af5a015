//! What is wrong with a field, in the words of the API: causes of a Status, and the Status' message.

use std::fmt::{self, Display};

use quarterdeck_core::labels::quote;
use serde_json::{Map, Value};

/// What kind of mistake a [`FieldError`] names: the `reason` of a cause in a Status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// `FieldValueRequired`: the field is missing or empty.
    Required,
    /// `FieldValueInvalid`: the value breaks a rule.
    Invalid,
    /// `FieldValueNotSupported`: the value is none of the known ones.
    NotSupported,
    /// `FieldValueDuplicate`: the value must be unique and is not.
    Duplicate,
    /// `FieldValueForbidden`: the value would be fine elsewhere, not here.
    Forbidden,
    /// `FieldValueTooLong`: the text has too many bytes.
    TooLong,
    /// `FieldValueTooMany`: the list has too many items.
    TooMany,
    /// `FieldValueTypeInvalid`: the value has a type that the schema does not have there.
    TypeInvalid,
    /// `FieldValueNotFound`: the value names something that is not there.
    NotFound,
    /// `InternalError`: the server's own fault.
    Internal,
}

impl Cause {
    /// Returns the reason as it stands in a Status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotFound => "FieldValueNotFound",
            Self::Internal => "InternalError",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }
}

/// One thing that is wrong with one field of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// What kind of mistake it is.
    pub reason: Cause,
    /// Where: `spec.containers[0].image`.
    pub field: String,
    /// What: `Invalid value: "x": must be …`.
    pub message: String,
}

impl FieldError {
    /// A value is missing. `detail` may be empty.
    pub fn required(field: impl Display, detail: &str) -> Self {
        Self::new(Cause::Required, field, None, detail)
    }

    /// `value` breaks the rule that `detail` states.
    pub fn invalid(field: impl Display, value: impl Into<Shown>, detail: &str) -> Self {
        Self::new(Cause::Invalid, field, Some(value.into()), detail)
    }

    /// `value` is none of `supported`, which are named in the given order.
    pub fn not_supported(field: impl Display, value: impl Into<Shown>, supported: &[&str]) -> Self {
        let supported: Vec<_> = supported.iter().map(|value| quote(value)).collect();
        let detail = match supported.as_slice() {
            [] => String::new(),
            supported => format!("supported values: {}", supported.join(", ")),
        };
        Self::new(Cause::NotSupported, field, Some(value.into()), &detail)
    }

    /// `value` stands elsewhere already.
    pub fn duplicate(field: impl Display, value: impl Into<Shown>) -> Self {
        Self::new(Cause::Duplicate, field, Some(value.into()), "")
    }

    /// The field may not be set, or not to this, for the reason that `detail` states.
    pub fn forbidden(field: impl Display, detail: &str) -> Self {
        Self::new(Cause::Forbidden, field, None, detail)
    }

    /// The text has more than `limit` bytes.
    pub fn too_long(field: impl Display, limit: usize) -> Self {
        Self::new(Cause::TooLong, field, None, &format!("may not be more than {limit} bytes"))
    }

    /// The list has `count` items, more than `limit`.
    pub fn too_many(field: impl Display, count: usize, limit: usize) -> Self {
        let count = Shown(count.to_string());
        Self::new(Cause::TooMany, field, Some(count), &format!("must have at most {limit} items"))
    }

    /// The value has a type other than the schema's.
    pub fn type_invalid(field: impl Display, value: impl Into<Shown>, detail: &str) -> Self {
        Self::new(Cause::TypeInvalid, field, Some(value.into()), detail)
    }

    /// `value` names something that does not exist.
    pub fn not_found(field: impl Display, value: impl Into<Shown>) -> Self {
        Self::new(Cause::NotFound, field, Some(value.into()), "")
    }

    /// The server failed while it looked at the field.
    pub fn internal(field: impl Display, detail: &str) -> Self {
        Self::new(Cause::Internal, field, None, detail)
    }

    fn new(reason: Cause, field: impl Display, value: Option<Shown>, detail: &str) -> Self {
        let mut message = reason.title().to_owned();
        for part in [value.as_ref().map_or("", |shown| &shown.0), detail] {
            if !part.is_empty() {
                message.push_str(": ");
                message.push_str(part);
            }
        }
        Self { reason, field: field.to_string(), message }
    }

    /// Returns the cause as it stands in a Status.
    pub fn to_cause(&self) -> Value {
        let mut cause = Map::new();
        for (name, text) in
            [("reason", self.reason.as_str()), ("message", &self.message), ("field", &self.field)]
        {
            cause.insert(name.to_owned(), text.into());
        }
        Value::Object(cause)
    }
}

impl Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Returns message and causes of the Status that refuses an object.
///
/// `kind` has its group behind it (`Deployment.apps`, `Pod`). A mistake that was found twice is a cause twice, and stands
/// in the message once.
pub fn aggregate(kind: &str, name: &str, errors: &[FieldError]) -> (String, Vec<Value>) {
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let what = match texts.as_slice() {
        [] => String::new(),
        [one] => format!(": {one}"),
        several => format!(": [{}]", several.join(", ")),
    };
    (format!("{kind} {} is invalid{what}", quote(name)), errors.iter().map(FieldError::to_cause).collect())
}

/// A value as it is shown in a message: strings quoted, numbers and booleans plain, the rest as Go writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(pub(super) String);

impl Shown {
    /// Shows this text as it stands.
    pub fn verbatim(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        Self(quote(text))
    }
}

impl From<&String> for Shown {
    fn from(text: &String) -> Self {
        Self(quote(text))
    }
}

impl From<i64> for Shown {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

impl From<bool> for Shown {
    fn from(value: bool) -> Self {
        Self(value.to_string())
    }
}

impl From<&Value> for Shown {
    /// A missing value is shown as `"null"`.
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self(quote("null")),
            Value::String(text) => Self(quote(text)),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                super::go::strings("[]string", value)
            }
            Value::Object(fields) if fields.values().all(Value::is_string) => super::go::string_map(value),
            other => Self(other.to_string()),
        }
    }
}

/// Where a field is, for those who report mistakes without walking an object: `spec.ports[0].nodePort`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(String);

impl Path {
    /// Starts at a field of the object itself.
    pub fn root(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// A field of this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An item of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
