//! What is known of the value that an expression comes to.

use std::fmt;
use std::ptr;
use std::sync::Arc;

use serde_json::Value;

/// How many references and elements are followed, one in the other: schemas may lead in circles, and variables be
/// made of variables.
const DEEPEST: usize = 32;

/// A schema of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema<'d> {
    /// Empty if it is part of another.
    name: &'d str,
    schema: &'d Value,
    /// What references lead to.
    components: &'d Value,
}

/// The type of a value.
#[derive(Debug, Clone)]
pub(super) enum Type<'d> {
    /// It may be anything, or it is of a type that nothing is said of.
    Unknown,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    List(Arc<Type<'d>>),
    /// What its values are: its keys are texts.
    Map(Arc<Type<'d>>),
    /// An object whose fields a schema names.
    Object(Schema<'d>),
    /// The policy's variables, which whoever goes through an expression knows.
    Variables,
    /// A part of a question to authorizers, by the name of its type.
    Question(&'static str),
}

/// Types whose values operators take for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Bool,
    Number,
    Text,
    Bytes,
    List,
    Members,
}

impl<'d> Schema<'d> {
    pub(super) fn new(name: &'d str, schema: &'d Value, components: &'d Value) -> Self {
        Self { name, schema, components }
    }

    /// The type of the values of this schema.
    pub(super) fn ty(self) -> Type<'d> {
        self.ty_within(DEEPEST)
    }

    fn ty_within(self, left: usize) -> Type<'d> {
        let Some(left) = left.checked_sub(1) else { return Type::Unknown };
        if let Some(reference) = self.reference() {
            return self.referred(reference).map_or(Type::Unknown, |schema| schema.ty_within(left));
        }
        if self.says("x-kubernetes-int-or-string") {
            return Type::Unknown;
        }
        match self.schema["type"].as_str() {
            Some("boolean") => Type::Bool,
            Some("integer") => Type::Int,
            Some("number") => Type::Double,
            Some("string") => match self.schema["format"].as_str() {
                // The language has types of its own for those, and policies see texts.
                Some("byte" | "date" | "date-time" | "duration" | "int-or-string") => Type::Unknown,
                _ => Type::Text,
            },
            Some("array") => Type::List(Arc::new(self.part("items").ty_within(left))),
            Some("object") if self.has_fields() => Type::Object(self),
            Some("object") if self.schema["additionalProperties"].is_object() => {
                Type::Map(Arc::new(self.part("additionalProperties").ty_within(left)))
            }
            _ => Type::Unknown,
        }
    }

    fn part(self, name: &str) -> Self {
        Self { name: "", schema: &self.schema[name], ..self }
    }

    fn says(self, extension: &str) -> bool {
        self.schema[extension] == true
    }

    fn has_fields(self) -> bool {
        self.schema["properties"].as_object().is_some_and(|fields| !fields.is_empty())
    }

    /// What this schema only refers to: beside a default or the like, the reference is the one of all parts.
    fn reference(self) -> Option<&'d str> {
        let within = || match self.schema["allOf"].as_array().map(Vec::as_slice) {
            Some([one]) if self.schema["type"].is_null() => one["$ref"].as_str(),
            _ => None,
        };
        self.schema["$ref"].as_str().or_else(within)
    }

    fn referred(self, reference: &str) -> Option<Self> {
        let name = reference.strip_prefix("#/components/schemas/")?;
        let (name, schema) = self.components.as_object()?.get_key_value(name)?;
        Some(Self { name, schema, ..self })
    }

    /// The type of a field; absent if there can be none.
    fn field(self, name: &str) -> Option<Type<'d>> {
        if let Some((_, schema)) =
            self.schema["properties"].as_object().and_then(|fields| fields.get_key_value(name))
        {
            return Some(Self { name: "", schema, ..self }.ty());
        }
        let more = &self.schema["additionalProperties"];
        let is_open = self.says("x-kubernetes-preserve-unknown-fields") || !more.is_null() && *more != false;
        // Names that are no identifiers are written otherwise in expressions.
        let is_escaped = name.contains("__");
        let is_object = self.says("x-kubernetes-embedded-resource")
            || self.schema["x-kubernetes-group-version-kind"].is_array();
        let is_common = is_object && matches!(name, "apiVersion" | "kind" | "metadata");
        (is_open || is_escaped || is_common).then_some(Type::Unknown)
    }
}

impl Type<'_> {
    /// What operators take it for; absent if that is not known, or null, which much may be.
    pub(super) fn class(&self) -> Option<Class> {
        Some(match self {
            Self::Bool => Class::Bool,
            Self::Int | Self::Uint | Self::Double => Class::Number,
            Self::Text => Class::Text,
            Self::Bytes => Class::Bytes,
            Self::List(_) => Class::List,
            Self::Map(_) | Self::Object(_) | Self::Variables => Class::Members,
            Self::Unknown | Self::Null | Self::Question(_) => return None,
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(one), Self::List(two)) | (Self::Map(one), Self::Map(two)) => one.is_same(two),
            (Self::Object(one), Self::Object(two)) => ptr::eq(one.schema, two.schema),
            (Self::Bool, Self::Bool)
            | (Self::Int, Self::Int)
            | (Self::Uint, Self::Uint)
            | (Self::Double, Self::Double)
            | (Self::Text, Self::Text)
            | (Self::Bytes, Self::Bytes)
            | (Self::Null, Self::Null) => true,
            (Self::Question(one), Self::Question(two)) => one == two,
            _ => false,
        }
    }
}

impl<'d> Type<'d> {
    /// The type of a list, or of anything if it nests too deep.
    pub(super) fn list(element: Self) -> Self {
        if element.depth() < DEEPEST { Self::List(Arc::new(element)) } else { Self::Unknown }
    }

    /// The type of a map from texts, or of anything if it nests too deep.
    pub(super) fn map(value: Self) -> Self {
        if value.depth() < DEEPEST { Self::Map(Arc::new(value)) } else { Self::Unknown }
    }

    fn depth(&self) -> usize {
        match self {
            Self::List(within) | Self::Map(within) => 1 + within.depth(),
            _ => 0,
        }
    }

    /// The type of a value that is of either type.
    pub(super) fn or(self, other: &Self) -> Self {
        if self.is_same(other) { self } else { Self::Unknown }
    }

    /// The type of a field.
    ///
    /// # Errors
    ///
    /// That there can be none.
    pub(super) fn field(&self, name: &str) -> Result<Self, String> {
        let field = match self {
            Self::Object(schema) => schema.field(name),
            Self::Map(value) => Some((**value).clone()),
            Self::Variables => None,
            Self::Question(super::known::AUTHORIZER) if name == "requestResource" => {
                Some(Self::Question(super::known::RESOURCE))
            }
            Self::Unknown | Self::Null => Some(Self::Unknown),
            _ => return Err(format!("type '{self}' does not support field selection")),
        };
        field.ok_or_else(|| format!("undefined field '{name}'"))
    }

    /// The type of what a macro goes through: the elements of a list, the names in all else.
    pub(super) fn iterated(&self) -> Option<Self> {
        match self {
            Self::List(element) => Some((**element).clone()),
            Self::Map(_) | Self::Object(_) | Self::Variables => Some(Self::Text),
            Self::Unknown | Self::Null => Some(Self::Unknown),
            _ => None,
        }
    }

    /// The type of what an index leads to, but for the fields of objects.
    pub(super) fn element(&self) -> Self {
        match self {
            Self::List(element) | Self::Map(element) => (**element).clone(),
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::Text => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Map(value) => write!(f, "map(string, {value})"),
            Self::Object(Schema { name: "", .. }) => f.write_str("object"),
            Self::Object(schema) => f.write_str(schema.name),
            Self::Variables => f.write_str("kubernetes.variables"),
            Self::Question(name) => f.write_str(name),
        }
    }
}
