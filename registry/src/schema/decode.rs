//! Reads an object by its structure, as Kubernetes reads it into a Go structure and writes it again.
//!
//! One walk prunes unknown members (and reports them for strict validation), checks types, brings quantities, times and
//! bytes into their canonical form, and leaves out or adds what Go's writer would. Default values are
//! [another](super::apply_defaults) walk.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::node::{Members, Node};
use super::presence::{complete, zero};
use super::scalars;
use super::types::{Field, Structure, Type};
use super::{by_name, parse};

/// Strict errors are cut off here: they come from hostile input.
pub(super) const MOST_STRICT_ERRORS: usize = 100;

/// How many objects one object may consist of. `{}` in a list costs a client three bytes and the server a thousand.
const MOST_PARTS: usize = 100_000;

/// The structure of a JSON schema, which [`Type::SchemaOrBool`] and its like hold.
pub(super) const JSON_SCHEMA: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// An object as it is to be stored, and what strict field validation has against it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, pruned.
    pub value: Value,
    /// `unknown field "spec.foo"` and `duplicate field "spec.foo"`, in the order of the text. Whether they are ignored,
    /// warnings or errors is for the caller (`fieldValidation`).
    pub strict_errors: Vec<String>,
}

/// Why an object cannot be read. All of them are the client's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The text is no JSON, or nests deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("{0}")]
    Syntax(String),
    /// A value has the wrong type or form.
    #[error("{0}")]
    Type(String),
}

/// Reads JSON text as an object of this structure.
///
/// # Errors
///
/// [`DecodeError`], in the words of Go's encoding/json; of several errors the first in the text.
pub fn decode_json(structure: &Structure, bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let node = parse::parse(bytes).map_err(DecodeError::Syntax)?;
    decode_node(structure, node)
}

/// Reads JSON that was parsed already (from YAML, or the outcome of a patch) as an object of this structure.
///
/// # Errors
///
/// [`DecodeError::Type`] as [`decode_json`].
pub fn decode_value(structure: &Structure, value: Value) -> Result<Decoded, DecodeError> {
    decode_node(structure, Node::from_value(value))
}

pub(super) fn decode_node(structure: &Structure, node: Node<'_>) -> Result<Decoded, DecodeError> {
    let mut walk =
        Walk { path: Vec::new(), context: None, strict_errors: Vec::new(), first_error: None, parts: 0 };
    let value = walk.structure(structure, node);
    match walk.first_error {
        Some(error) => Err(DecodeError::Type(error)),
        None => Ok(Decoded { value, strict_errors: walk.strict_errors }),
    }
}

/// A step of the way to the value at hand.
enum Step<'s> {
    Member(Cow<'s, str>),
    Index(usize),
    Key(String),
}

/// Members with the fields that they are.
type Known<'s, 'n> = Vec<(&'s Field, String, Node<'n>)>;

/// Members of no field that stay.
type Kept<'n> = Vec<(String, Node<'n>)>;

struct Walk<'s> {
    path: Vec<Step<'s>>,
    /// The structure whose member is being read.
    context: Option<&'s Structure>,
    strict_errors: Vec<String>,
    first_error: Option<String>,
    parts: usize,
}

impl<'s> Walk<'s> {
    fn structure(&mut self, structure: &'s Structure, node: Node<'_>) -> Value {
        match node {
            Node::Object(members) => Value::Object(self.members(structure, members)),
            Node::Null if structure.custom.is_some() => Value::Null,
            Node::Null => Value::Object(self.members(structure, Members::new())),
            other if structure.custom.is_some() => self.any(other),
            other => {
                self.mismatch(other.word(), structure.go_type());
                Value::Null
            }
        }
    }

    fn members(&mut self, structure: &'s Structure, members: Members<'_>) -> Map<String, Value> {
        let mut map = Map::new();
        self.parts += 1;
        if self.parts > MOST_PARTS {
            self.first_error.get_or_insert_with(|| format!("object has more than {MOST_PARTS} parts"));
            return map;
        }
        let (known, others) = self.known(structure, members);
        for (name, node) in others {
            let value = self.any(node);
            map.insert(name, value);
        }
        for (field, name, node) in known {
            let outer = self.context.replace(structure);
            self.path.push(Step::Member(Cow::Borrowed(field.name.as_ref())));
            let value = match node {
                Node::Null if !matches!(field.ty, Type::Nullable(_)) => None,
                node => Some(self.value(&field.ty, node)),
            };
            self.path.pop();
            self.context = outer;
            if let Some(value) = value {
                map.insert(name, value);
            }
        }
        complete(structure, &mut map);
        map
    }

    /// The members that the structure has, each once, and those that it keeps besides; the others are reported.
    fn known<'n>(&mut self, structure: &'s Structure, members: Members<'n>) -> (Known<'s, 'n>, Kept<'n>) {
        let mut known: Known<'s, 'n> = Vec::with_capacity(members.len());
        let mut kept = Vec::new();
        for (name, node) in members {
            let Some(field) = structure.field(&name) else {
                if structure.is_open() {
                    kept.push((name.into_owned(), node));
                    continue;
                }
                self.strict("unknown", Step::Member(Cow::Owned(name.into_owned())));
                continue;
            };
            match known.iter_mut().find(|(other, _, _)| std::ptr::eq(*other, field)) {
                None => known.push((field, name.into_owned(), node)),
                Some((_, _, first)) => {
                    match field.ty {
                        Type::Struct(_) | Type::Map(_) => first.overlay(node),
                        _ => *first = node,
                    }
                    self.strict("duplicate", Step::Member(Cow::Borrowed(field.name.as_ref())));
                }
            }
        }
        (known, kept)
    }

    /// Whether values of the wrong type are left to the schema's validation.
    fn is_lenient(&self) -> bool {
        self.context.is_some_and(|structure| structure.custom.is_some())
    }

    fn value(&mut self, ty: &'s Type, node: Node<'_>) -> Value {
        match (ty, node) {
            (Type::Any, node) => self.any(node),
            (Type::Struct(structure), node) => self.structure(structure, node),
            (Type::Nullable(_), Node::Null) => Value::Null,
            (Type::Nullable(inner), node) => self.value(inner, node),
            (_, Node::Null) if self.is_lenient() => Value::Null,
            (ty, Node::Null) => zero(ty),
            (Type::List(element), Node::List(list)) => self.list(element, list),
            (Type::Map(element), Node::Object(members)) => self.map(element, members),
            (Type::Bool, Node::Bool(flag)) => flag.into(),
            (Type::String, Node::String(text)) => text.into_owned().into(),
            (Type::Int32, Node::Number(text)) => self.whole::<i32>(&text, "int32"),
            (Type::Int64, Node::Number(text)) => self.whole::<i64>(&text, "int64"),
            (Type::Double, Node::Number(text)) => self.any(Node::Number(text)),
            (Type::Bytes, Node::String(text)) => self.formed(scalars::base64(&text)),
            (Type::Quantity, Node::String(text) | Node::Number(text)) => {
                self.formed(scalars::quantity(&text))
            }
            (Type::Quantity, _) => self.formed(scalars::quantity("true")),
            (Type::Time, Node::String(text)) => self.formed(scalars::time(&text, 0)),
            (Type::MicroTime, Node::String(text)) => self.formed(scalars::time(&text, 6)),
            (Type::Time | Type::MicroTime, other) => self.bare_mismatch(other.word(), "string"),
            (Type::IntOrString, Node::String(text)) => text.into_owned().into(),
            (Type::IntOrString, Node::Number(text)) => match text.parse::<i32>() {
                Ok(number) => number.into(),
                Err(_) => self.bare_mismatch(&format!("number {text}"), "int32"),
            },
            (Type::IntOrString, other) => self.bare_mismatch(other.word(), "int32"),
            (Type::SchemaOrBool | Type::SchemaOrList | Type::SchemaOrStrings, node) => {
                self.schema_or(ty, node)
            }
            (_, other) if self.is_lenient() => self.any(other),
            (ty, other) => {
                self.mismatch(other.word(), &go_type(ty));
                Value::Null
            }
        }
    }

    fn list(&mut self, element: &'s Type, list: Vec<Node<'_>>) -> Value {
        let mut values = Vec::with_capacity(list.len());
        for (at, node) in list.into_iter().enumerate() {
            self.path.push(Step::Index(at));
            values.push(self.value(element, node));
            self.path.pop();
        }
        Value::Array(values)
    }

    fn map(&mut self, element: &'s Type, members: Members<'_>) -> Value {
        let mut map = Map::new();
        let drops_nulls = self.is_lenient() && !matches!(element, Type::Nullable(_));
        for (name, node) in members {
            if drops_nulls && matches!(node, Node::Null) {
                continue;
            }
            self.path.push(Step::Key(name.into_owned()));
            let value = self.value(element, node);
            if let Some(Step::Key(name)) = self.path.pop()
                && map.insert(name.clone(), value).is_some()
            {
                self.strict("duplicate", Step::Key(name));
            }
        }
        Value::Object(map)
    }

    fn any(&mut self, node: Node<'_>) -> Value {
        node.into_value().unwrap_or_else(|number| self.bare_mismatch(&format!("number {number}"), "float64"))
    }

    fn whole<T: std::str::FromStr + Into<Value>>(&mut self, text: &str, go_type: &str) -> Value {
        match text.parse::<T>() {
            Ok(number) => number.into(),
            Err(_) => {
                self.mismatch(&format!("number {text}"), go_type);
                Value::Null
            }
        }
    }

    fn schema_or(&mut self, ty: &'s Type, node: Node<'_>) -> Value {
        match (ty, node) {
            (Type::SchemaOrBool, Node::Bool(flag)) => flag.into(),
            (Type::SchemaOrList | Type::SchemaOrStrings, Node::List(list)) => {
                const STRING: &Type = &Type::String;
                let strings = matches!(ty, Type::SchemaOrStrings);
                let mut values = Vec::with_capacity(list.len());
                for (at, node) in list.into_iter().enumerate() {
                    self.path.push(Step::Index(at));
                    values.push(if strings { self.value(STRING, node) } else { self.schema(node) });
                    self.path.pop();
                }
                Value::Array(values)
            }
            (_, node @ Node::Object(_)) => self.schema(node),
            (Type::SchemaOrBool, _) => self.formed(Err("boolean or JSON schema expected".into())),
            (_, other) => self.bare_mismatch(other.word(), "v1.JSONSchemaProps"),
        }
    }

    fn schema(&mut self, node: Node<'_>) -> Value {
        match by_name(JSON_SCHEMA) {
            Some(structure) => self.structure(structure, node),
            None => self.any(node),
        }
    }

    fn formed(&mut self, outcome: Result<String, String>) -> Value {
        match outcome {
            Ok(text) => text.into(),
            Err(error) => {
                self.first_error.get_or_insert(error);
                Value::Null
            }
        }
    }

    /// A value of the wrong type, told with the way to it.
    fn mismatch(&mut self, found: &str, wanted: &str) {
        let members: Vec<&str> = self
            .path
            .iter()
            .filter_map(|step| match step {
                Step::Member(name) => Some(name.as_ref()),
                Step::Index(_) | Step::Key(_) => None,
            })
            .collect();
        let place = match self.context {
            Some(structure) => format!("struct field {}.{}", structure.short_name(), members.join(".")),
            None => "value".to_owned(),
        };
        self.first_error.get_or_insert_with(|| {
            format!("json: cannot unmarshal {found} into Go {place} of type {wanted}")
        });
    }

    /// The same for types that read themselves and do not know where they are.
    fn bare_mismatch(&mut self, found: &str, wanted: &str) -> Value {
        self.formed(Err(format!("json: cannot unmarshal {found} into Go value of type {wanted}")))
    }

    fn strict(&mut self, what: &str, last: Step<'s>) {
        if self.strict_errors.len() >= MOST_STRICT_ERRORS {
            return;
        }
        self.path.push(last);
        let mut path = String::new();
        for step in &self.path {
            let name = match step {
                Step::Member(name) => name.as_ref(),
                Step::Key(name) => name,
                Step::Index(at) => {
                    path.push_str(&format!("[{at}]"));
                    continue;
                }
            };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
        self.path.pop();
        self.strict_errors.push(format!("{what} field {path:?}"));
    }
}

/// The Go name of a type.
fn go_type(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".into(),
        Type::Int32 => "int32".into(),
        Type::Int64 => "int64".into(),
        Type::Double => "float64".into(),
        Type::String => "string".into(),
        Type::Bytes => "[]uint8".into(),
        Type::Quantity => "resource.Quantity".into(),
        Type::IntOrString => "intstr.IntOrString".into(),
        Type::Time => "v1.Time".into(),
        Type::MicroTime => "v1.MicroTime".into(),
        Type::Any => "interface {}".into(),
        Type::SchemaOrBool => "v1.JSONSchemaPropsOrBool".into(),
        Type::SchemaOrList => "v1.JSONSchemaPropsOrArray".into(),
        Type::SchemaOrStrings => "v1.JSONSchemaPropsOrStringArray".into(),
        Type::Struct(structure) => structure.go_type().to_owned(),
        Type::List(element) => format!("[]{}", go_type(element)),
        Type::Map(element) => format!("map[string]{}", go_type(element)),
        Type::Nullable(inner) => go_type(inner),
    }
}

#[cfg(test)]
mod tests;
