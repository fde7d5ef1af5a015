//! The types that describe kinds: [`Structure`], [`Field`], [`Type`].
//!
//! Built-in kinds are constants, so that start-up costs nothing; a CustomResourceDefinition's schema makes the same types
//! at run time, behind `Arc`s.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text that is a constant for built-in kinds.
pub type Text = Cow<'static, str>;

/// A slice that is a constant for built-in kinds and shared for others.
#[derive(Clone, Debug)]
pub enum Seq<T: 'static> {
    /// Part of the program.
    Fixed(&'static [T]),
    /// Made at run time.
    Shared(Arc<[T]>),
}

impl<T> From<Vec<T>> for Seq<T> {
    fn from(items: Vec<T>) -> Self {
        Self::Shared(items.into())
    }
}

impl<T> Default for Seq<T> {
    fn default() -> Self {
        Self::Fixed(&[])
    }
}

impl<T: PartialEq> PartialEq for Seq<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T> Deref for Seq<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Fixed(slice) => slice,
            Self::Shared(slice) => slice,
        }
    }
}

/// Group, version and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// The group, empty for the core group.
    pub group: Text,
    /// The version, such as `v1`.
    pub version: Text,
    /// The kind, such as `Pod`.
    pub kind: Text,
}

impl GroupVersionKind {
    /// Makes one of constants.
    #[must_use]
    pub const fn fixed(group: &'static str, version: &'static str, kind: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), version: Cow::Borrowed(version), kind: Cow::Borrowed(kind) }
    }
}

/// An object with named members: a kind, or a part of one.
#[derive(Clone)]
pub struct Structure {
    /// The name under which OpenAPI knows it: `io.k8s.api.core.v1.PodSpec`.
    pub name: Text,
    /// Its members, sorted by JSON name.
    pub fields: Seq<Field>,
    /// The kinds that it is; none for a part of a kind.
    pub kinds: Seq<GroupVersionKind>,
    /// Whether server-side apply owns it as a whole (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// What it is besides if it is part of a custom kind.
    pub custom: Option<Arc<CustomPart>>,
}

/// What a structure that comes from a definition's schema is besides. Values of the wrong type are left to the schema's
/// validation, which tells of all of them.
#[derive(Clone, Debug, Default)]
pub struct CustomPart {
    /// Whether members that are not listed are kept.
    pub open: bool,
    /// The schema as clients are told, if this is a kind.
    pub published: Option<serde_json::Value>,
}

impl Structure {
    /// Makes one of constants; `fields` must be sorted by name.
    #[must_use]
    pub const fn fixed(
        name: &'static str,
        fields: &'static [Field],
        kinds: &'static [GroupVersionKind],
        atomic: bool,
    ) -> Self {
        Self {
            name: Cow::Borrowed(name),
            fields: Seq::Fixed(fields),
            kinds: Seq::Fixed(kinds),
            atomic,
            custom: None,
        }
    }

    /// Returns the member of this JSON name. Names differ by case, as in Kubernetes.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| field.name.as_ref().cmp(name)).ok().map(|at| &self.fields[at])
    }

    /// Returns whether members that are not listed are kept.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.custom.as_ref().is_some_and(|part| part.open)
    }

    /// Returns the last part of the name, such as `PodSpec`.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// Returns the name of the Go type, such as `v1.PodSpec`, as messages of Kubernetes spell it.
    #[must_use]
    pub fn go_type(&self) -> &str {
        let mut dots = self.name.rmatch_indices('.').map(|(at, _)| at + 1);
        let _name = dots.next();
        dots.next().map_or(&self.name, |at| &self.name[at..])
    }
}

/// By name only: structures refer to each other in circles.
impl fmt::Debug for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Structure").field(&self.name).finish()
    }
}

/// A member of a [`Structure`].
#[derive(Clone, Debug)]
pub struct Field {
    /// The JSON name.
    pub name: Text,
    /// Protobuf field numbers from the message inwards: several where protobuf nests what JSON inlines, none for what
    /// is not in protobuf (kind, apiVersion, members of custom resources).
    pub wire: Seq<u32>,
    /// What it holds.
    pub ty: Type,
    /// What is written when it is absent or empty.
    pub presence: Presence,
    /// All else.
    pub rules: Rules,
}

impl Field {
    /// Makes one of constants.
    #[must_use]
    pub const fn fixed(
        name: &'static str,
        wire: &'static [u32],
        ty: Type,
        presence: Presence,
        rules: Rules,
    ) -> Self {
        Self { name: Cow::Borrowed(name), wire: Seq::Fixed(wire), ty, presence, rules }
    }
}

/// What a member holds.
#[derive(Clone, Debug)]
pub enum Type {
    /// A truth value.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A floating-point number.
    Double,
    /// A text.
    String,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A resource quantity such as `100m` or `1.5Gi`, kept in canonical form.
    Quantity,
    /// A 32-bit number or a text.
    IntOrString,
    /// A time in seconds, RFC 3339.
    Time,
    /// A time in microseconds, RFC 3339 with six digits.
    MicroTime,
    /// Any JSON.
    Any,
    /// A JSON schema or a truth value, as in `additionalProperties`.
    SchemaOrBool,
    /// A JSON schema or a list of them, as in `items`.
    SchemaOrList,
    /// A JSON schema or a list of texts, as in `dependencies`.
    SchemaOrStrings,
    /// An object with known members.
    Struct(StructureRef),
    /// A list.
    List(TypeRef),
    /// An object whose keys are free.
    Map(TypeRef),
    /// Something of a custom kind that may be null, and then stays so.
    Nullable(TypeRef),
}

impl Type {
    /// Refers to a constant structure.
    #[must_use]
    pub const fn of(structure: &'static Structure) -> Self {
        Self::Struct(StructureRef::Fixed(structure))
    }

    /// Makes a list of a constant type.
    #[must_use]
    pub const fn list(element: &'static Type) -> Self {
        Self::List(TypeRef::Fixed(element))
    }

    /// Makes a map to a constant type.
    #[must_use]
    pub const fn map(element: &'static Type) -> Self {
        Self::Map(TypeRef::Fixed(element))
    }

    /// Returns the structure, if it is one.
    #[must_use]
    pub fn structure(&self) -> Option<&Structure> {
        match self {
            Self::Struct(structure) => Some(structure),
            Self::Nullable(inner) => inner.structure(),
            _ => None,
        }
    }
}

/// A reference to a structure.
#[derive(Clone, Debug)]
pub enum StructureRef {
    /// To a constant.
    Fixed(&'static Structure),
    /// To one made at run time.
    Shared(Arc<Structure>),
}

impl Deref for StructureRef {
    type Target = Structure;

    fn deref(&self) -> &Structure {
        match self {
            Self::Fixed(structure) => structure,
            Self::Shared(structure) => structure,
        }
    }
}

/// A reference to the type of a list's or a map's elements.
#[derive(Clone, Debug)]
pub enum TypeRef {
    /// To a constant.
    Fixed(&'static Type),
    /// To one made at run time.
    Shared(Arc<Type>),
}

impl Deref for TypeRef {
    type Target = Type;

    fn deref(&self) -> &Type {
        match self {
            Self::Fixed(ty) => ty,
            Self::Shared(ty) => ty,
        }
    }
}

/// What is written for a member that is absent or empty. Kubernetes' objects pass through Go structures, which forget
/// the difference between absent and empty for most members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Kept as the client gave it; absent stays absent.
    Given,
    /// Left out when false, zero, or empty.
    NonZero,
    /// Always written: empty, zero, or (lists, maps, times) null when the client gave none.
    Always,
    /// Null when the client gave none.
    Nullable,
    /// Known and dropped: it belongs to a feature that is off.
    Disabled,
}

/// How a list or a map is merged by server-side apply.
#[derive(Clone, Debug)]
pub enum Topology {
    /// Not stated: lists are atomic, maps are merged.
    Unset,
    /// Replaced as a whole.
    Atomic,
    /// A list whose members are their own keys.
    Set,
    /// A list of objects with these keys.
    Map(Seq<Text>),
}

/// The less common properties of a [`Field`].
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether the published schema lists the member as required.
    pub required: bool,
    /// The value that it gets when absent, whatever the other members are.
    pub default: Option<Literal>,
    /// How server-side apply merges it.
    pub topology: Topology,
    /// Strategic merge: whether a list is merged instead of replaced.
    pub patch_merge: bool,
    /// Strategic merge: whether an object is replaced instead of merged.
    pub patch_replace: bool,
    /// Strategic merge: whether `$retainKeys` is expected, because one of several members may be set.
    pub patch_retain_keys: bool,
    /// Strategic merge: the key by which the members of a list of objects are matched.
    pub patch_key: Option<Text>,
}

impl Rules {
    /// No property at all.
    pub const PLAIN: Self = Self {
        required: false,
        default: None,
        topology: Topology::Unset,
        patch_merge: false,
        patch_replace: false,
        patch_retain_keys: false,
        patch_key: None,
    };
}

/// A default value.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text.
    String(Text),
    /// `{}`.
    EmptyObject,
    /// Any other value, of a custom resource's schema.
    Json(Arc<serde_json::Value>),
}

impl Literal {
    /// Returns the value as JSON.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        match self {
            Self::Bool(flag) => (*flag).into(),
            Self::Int(number) => (*number).into(),
            Self::String(text) => text.as_ref().into(),
            Self::EmptyObject => serde_json::Value::Object(serde_json::Map::new()),
            Self::Json(value) => value.as_ref().clone(),
        }
    }
}
