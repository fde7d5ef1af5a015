//! A kind, as data: what the server needs to know to serve it.
//!
//! Every kind, built-in or a user's own, is one [`Resource`] value; there is no handler, route or cache per kind. What
//! cannot be said in data is a method of its [`Strategy`].

use std::borrow::Cow;
use std::sync::Arc;

use quarterdeck_core::storage::Key;
use serde_json::Value;

use crate::custom::CustomKind;
use crate::request::Verb;
use crate::schema::{Seq, StructureRef};
use crate::selector::SelectableField;
use crate::stored::Stored;
use crate::strategy::{Plain, Strategy};
use crate::table::Columns;
use crate::validation::{NameRule, Validator};

/// Whether a kind's objects live in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster.
    Cluster,
}

/// A path below an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Subresource {
    /// `status`: writes change the status only.
    Status,
    /// `scale`: the object as an `autoscaling/v1` Scale.
    Scale,
    /// `binding`: assigns a pod to a node.
    Binding,
    /// `log`: what a pod's container wrote.
    Log,
    /// `token`: makes a service account's token.
    Token,
    /// `finalize`: changes a namespace's finalizers.
    Finalize,
    /// `approval`: approves or denies a request for a certificate.
    Approval,
    /// `eviction`: deletes a pod if its disruption budget allows it.
    Eviction,
}

impl Subresource {
    /// Returns the name as it stands in paths.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Binding => "binding",
            Self::Log => "log",
            Self::Token => "token",
            Self::Finalize => "finalize",
            Self::Approval => "approval",
            Self::Eviction => "eviction",
        }
    }

    /// Returns group, version and kind of what is read and written there; `None` if that is the object itself.
    #[must_use]
    pub fn kind(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Self::Scale => Some(("autoscaling", "v1", "Scale")),
            Self::Token => Some(("authentication.k8s.io", "v1", "TokenRequest")),
            Self::Binding => Some(("", "v1", "Binding")),
            Self::Eviction => Some(("policy", "v1", "Eviction")),
            _ => None,
        }
    }

    /// Returns what can be done with it.
    #[must_use]
    pub fn verbs(self) -> &'static [Verb] {
        match self {
            Self::Status | Self::Scale | Self::Approval => &[Verb::Get, Verb::Patch, Verb::Update],
            Self::Binding | Self::Token | Self::Eviction => &[Verb::Create],
            Self::Log => &[Verb::Get],
            Self::Finalize => &[Verb::Update],
        }
    }
}

/// What stands behind a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backing {
    /// Objects in the store.
    Store,
    /// Nothing that stays: to create a Binding is to assign a pod to a node.
    Binding,
    /// Nothing that stays: to create a review is to ask about users and their rights.
    Review,
}

/// What can be done with most kinds, in the order of discovery.
const ALL_VERBS: [Verb; 8] = [
    Verb::Create,
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
    Verb::List,
    Verb::Patch,
    Verb::Update,
    Verb::Watch,
];

/// When `metadata.generation` grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Never: the server leaves it alone.
    Unmanaged,
    /// It starts at 1, and grows when anything but metadata and status changes.
    Spec,
    /// It starts at 1, and grows when anything but metadata changes.
    Content,
}

/// A kind that the server serves.
#[derive(Debug, Clone)]
pub struct Resource {
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// The version, such as `v1`.
    pub version: Cow<'static, str>,
    /// The kind, such as `Pod`.
    pub kind: Cow<'static, str>,
    /// The plural that stands in paths, such as `pods`.
    pub plural: Cow<'static, str>,
    /// The singular, such as `pod`.
    pub singular: Cow<'static, str>,
    /// Where objects live.
    pub scope: Scope,
    /// Abbreviations, such as `po`.
    pub short_names: Vec<Cow<'static, str>>,
    /// Names of sets of kinds, such as `all`.
    pub categories: Vec<Cow<'static, str>>,
    /// What every key of the kind begins with, such as `/registry/pods/`.
    pub prefix: Cow<'static, str>,
    /// The fields.
    pub structure: StructureRef,
    /// The kind's rules.
    pub strategy: Arc<dyn Strategy>,
    /// The paths below an object.
    pub subresources: Vec<Subresource>,
    /// What can be done with it.
    pub verbs: &'static [Verb],
    /// What stands behind it.
    pub backing: Backing,
    /// What objects are checked for.
    pub validator: Validator,
    /// When the generation grows.
    pub generation: Generation,
    /// The status of a new object; absent if the client may give one, or the kind has none.
    pub initial_status: Option<Value>,
    /// What a table shows.
    pub columns: Columns,
    /// By which fields lists and watches select, besides name and namespace.
    pub fields: Seq<SelectableField>,
    /// Whether a deletion is answered with the object that is gone, and not with a Status.
    pub answers_with_deleted: bool,
    /// How objects are kept in the store; absent if that is how they are served.
    pub stored: Option<Arc<Stored>>,
    /// What it is besides if a definition made it.
    pub custom: Option<Arc<CustomKind>>,
}

impl Resource {
    /// Makes a resource of a kind of the generated tables, with the default strategy, no subresources, and the key
    /// prefix `/registry/<plural>/`.
    ///
    /// # Panics
    ///
    /// Panics if the tables have no such kind.
    #[must_use]
    pub fn builtin(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
        scope: Scope,
    ) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase().into(),
            scope,
            short_names: Vec::new(),
            categories: Vec::new(),
            prefix: format!("/registry/{plural}/").into(),
            structure: StructureRef::Fixed(
                crate::schema::builtin(group, version, kind).expect("a built-in kind is in the tables"),
            ),
            strategy: Arc::new(Plain),
            subresources: Vec::new(),
            verbs: &ALL_VERBS,
            backing: Backing::Store,
            validator: crate::validation::validator(group, kind)
                .copied()
                .unwrap_or_else(|| Validator::of_metadata(NameRule::Subdomain, scope == Scope::Namespaced)),
            generation: Generation::Unmanaged,
            initial_status: None,
            columns: crate::table::columns(group, kind),
            fields: Seq::Fixed(crate::selector::selectable_fields(group, kind)),
            answers_with_deleted: false,
            stored: None,
            custom: None,
        }
    }

    /// Answers deletions with the object that is gone (default: with a Status).
    #[must_use]
    pub fn answers_with_deleted(mut self) -> Self {
        self.answers_with_deleted = true;
        self
    }

    /// Sets the short names (default: none).
    #[must_use]
    pub fn short_names(mut self, names: &[&'static str]) -> Self {
        self.short_names = names.iter().map(|name| Cow::Borrowed(*name)).collect();
        self
    }

    /// Sets the categories (default: none).
    #[must_use]
    pub fn categories(mut self, names: &[&'static str]) -> Self {
        self.categories = names.iter().map(|name| Cow::Borrowed(*name)).collect();
        self
    }

    /// Sets what every key begins with (default: `/registry/<plural>/`).
    #[must_use]
    pub fn prefix(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the kind's rules (default: those of the validation tables, and nothing else).
    #[must_use]
    pub fn strategy(mut self, strategy: impl Strategy) -> Self {
        self.strategy = Arc::new(strategy);
        self
    }

    /// Sets the paths below an object (default: none). With a path for it, the status belongs to the server: new objects
    /// have an empty one.
    #[must_use]
    pub fn subresources(mut self, subresources: &[Subresource]) -> Self {
        self.subresources = subresources.to_vec();
        if self.has(Subresource::Status) {
            let empty = crate::schema::decode_value(&self.structure, Value::Object(serde_json::Map::new()));
            self.initial_status = Some(empty.map(|empty| empty.value["status"].clone()).unwrap_or_default());
        }
        self
    }

    /// Lets clients give new objects a status (default: they have an empty one).
    #[must_use]
    pub fn status_at_creation(mut self) -> Self {
        self.initial_status = None;
        self
    }

    /// Lets the generation grow with everything but metadata and status (default: the server leaves it alone).
    #[must_use]
    pub fn counts_generations(mut self) -> Self {
        self.generation = Generation::Spec;
        self
    }

    /// Sets what can be done with it (default: everything).
    #[must_use]
    pub fn verbs(mut self, verbs: &'static [Verb]) -> Self {
        self.verbs = verbs;
        self
    }

    /// Sets what stands behind it (default: the store).
    #[must_use]
    pub fn backing(mut self, backing: Backing) -> Self {
        self.backing = backing;
        self
    }

    /// Returns whether objects live in namespaces.
    #[must_use]
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Returns whether the kind has this path below its objects.
    #[must_use]
    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    /// Returns whether objects can be written as protobuf: those of a user's own kinds cannot.
    #[must_use]
    pub fn has_protobuf(&self) -> bool {
        self.custom.is_none() && crate::schema::builtin(&self.group, &self.version, &self.kind).is_some()
    }

    /// Returns the kind of a list of objects: `PodList`, or what a definition calls it.
    #[must_use]
    pub fn list_kind(&self) -> Cow<'_, str> {
        match self.custom.as_ref().map(|custom| custom.list_kind.as_str()) {
            None | Some("") => format!("{}List", self.kind).into(),
            Some(name) => name.into(),
        }
    }

    /// Returns group and version as `apiVersion` writes them.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Returns the plural with its group, as messages write it: `pods`, `deployments.apps`.
    #[must_use]
    pub fn qualified_plural(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Returns the key of an object.
    #[must_use]
    pub fn key(&self, namespace: Option<&str>, name: &str) -> Key {
        match namespace {
            Some(namespace) if self.is_namespaced() => Key::new(format!("{}{namespace}/{name}", self.prefix)),
            _ => Key::new(format!("{}{name}", self.prefix)),
        }
    }

    /// Returns what the keys of a namespace's objects begin with; of all objects if `namespace` is absent.
    #[must_use]
    pub fn key_prefix(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if self.is_namespaced() => format!("{}{namespace}/", self.prefix),
            _ => self.prefix.to_string(),
        }
    }
}
