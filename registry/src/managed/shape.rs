//! How the values of a type are owned and merged: as a whole, member by member, or element by element.

use serde_json::Value;

use super::element::Element;
use crate::schema::{Literal, Seq, Structure, Text, Topology, Type};

/// A type with what its place says of merging.
#[derive(Debug, Clone, Copy)]
pub(super) struct Typed<'s> {
    pub(super) ty: &'s Type,
    topology: &'s Topology,
    /// Whether [`Type::Any`] is taken apart by what it holds. Custom resources do so with what their schema preserves;
    /// the built-in kinds' free JSON is owned as a whole.
    deduces: bool,
}

/// How values are owned.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'s> {
    /// As a whole.
    Whole,
    /// Each known member by itself.
    Struct(&'s Structure),
    /// Each member by itself; all are of this type.
    Map(Typed<'s>),
    /// A list whose elements are their own names.
    Set,
    /// A list whose elements are told apart by these of their members.
    Keyed(Typed<'s>, &'s [Text]),
    /// Objects member by member, all else as a whole.
    Deduced,
}

/// A member's shape, and whether it is one that the structure names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'s> {
    pub(super) shape: Shape<'s>,
    pub(super) is_named: bool,
}

/// Lists and maps within lists and maps have nothing that says how they merge.
static UNSET: Topology = Topology::Unset;

impl<'s> Typed<'s> {
    /// Returns the type of a structure's member.
    pub(super) fn member(structure: &'s Structure, name: &str) -> Option<Self> {
        let field = structure.field(name)?;
        let deduces = matches!(structure.fields, Seq::Shared(_));
        Some(Self { ty: &field.ty, topology: &field.rules.topology, deduces })
    }

    /// Returns the type of what a list or a map of this type holds.
    pub(super) fn element(self, ty: &'s Type) -> Self {
        Self { ty, topology: &UNSET, ..self }
    }

    /// Returns the type that this one is if it is not null: in the same place.
    pub(super) fn inner(self, ty: &'s Type) -> Self {
        Self { ty, ..self }
    }

    pub(super) fn shape(self) -> Shape<'s> {
        match (self.ty, self.topology) {
            (Type::Nullable(inner), _) => self.inner(inner).shape(),
            (Type::Any, _) if self.deduces => Shape::Deduced,
            (_, Topology::Atomic) => Shape::Whole,
            (Type::Struct(structure), _) if structure.atomic => Shape::Whole,
            (Type::Struct(structure), _) => Shape::Struct(structure),
            (Type::Map(element), _) => Shape::Map(self.element(element)),
            (Type::List(_), Topology::Set) => Shape::Set,
            (Type::List(element), Topology::Map(keys)) => Shape::Keyed(self.element(element), keys),
            _ => Shape::Whole,
        }
    }
}

impl<'s> Shape<'s> {
    /// Returns the shape of a member of objects of this shape.
    pub(super) fn member(self, name: &str) -> Member<'s> {
        let unnamed = |shape| Member { shape, is_named: false };
        match self {
            Self::Struct(structure) => match Typed::member(structure, name) {
                Some(typed) => Member { shape: typed.shape(), is_named: true },
                None => unnamed(Shape::Deduced),
            },
            Self::Map(element) => unnamed(element.shape()),
            _ => unnamed(Shape::Deduced),
        }
    }

    /// Returns the shape of the elements of lists of this shape.
    pub(super) fn elements(self) -> Shape<'s> {
        match self {
            Self::Keyed(element, _) => element.shape(),
            _ => Shape::Whole,
        }
    }

    /// Returns whether objects of this shape are owned member by member.
    pub(super) fn is_object(self) -> bool {
        matches!(self, Self::Struct(_) | Self::Map(_) | Self::Deduced)
    }

    /// Returns whether lists of this shape are owned element by element.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Set | Self::Keyed(..))
    }

    /// Returns what tells an element of a list of this shape from the others.
    ///
    /// # Errors
    ///
    /// Why nothing does, in upstream's words.
    pub(super) fn name(self, element: &Value) -> Result<Element, String> {
        match self {
            Self::Keyed(ty, keys) => keyed(ty, keys, element),
            _ => match element {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".into())
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null".into())
                }
                scalar => Ok(Element::Value(scalar.clone())),
            },
        }
    }
}

fn keyed(ty: Typed<'_>, names: &[Text], element: &Value) -> Result<Element, String> {
    let members = match element {
        Value::Object(members) => members,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let mut keys = Vec::with_capacity(names.len());
    for name in names {
        let value = match members.get(name.as_ref()) {
            Some(value) => value.clone(),
            None => default(ty, name).map(Literal::to_value).ok_or_else(|| {
                format!(
                    "associative list with keys has an element that omits key field {name:?} (and doesn't have \
                     default value)"
                )
            })?,
        };
        keys.push((name.as_ref().into(), value));
    }
    keys.sort_by(|(one, _): &(Box<str>, Value), (other, _)| one.cmp(other));
    Ok(Element::Key(keys.into()))
}

/// The value that a key has where it is left out.
fn default<'s>(ty: Typed<'s>, name: &str) -> Option<&'s Literal> {
    ty.ty.structure()?.field(name)?.rules.default.as_ref()
}
