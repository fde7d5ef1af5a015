//! What a definition comes to: the kinds that are served because of it.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quarterdeck_core::storage::Key;
use serde_json::{Value, json};

use super::kind::CustomKind;
use super::patterns::{self, Patterns};
use super::rules::Rules;
use super::scale::ScalePaths;
use super::schema::{Schema, strings, weight_of_rules};
use super::strategy::CustomStrategy;
use super::structure;
use crate::conversion::{ConversionWebhook, Form};
use crate::request::Verb;
use crate::resource::{Backing, Generation, Resource, Scope, Subresource};
use crate::schema::{GroupVersionKind, Seq, Structure, StructureRef, Text, apply_defaults, decode_value};
use crate::selector::SelectableField;
use crate::stored::{Conversion, Stored, Upkeep};
use crate::table::Columns;
use crate::validation::{NameRule, Validator};

/// What can be done with custom kinds, in the order of their discovery.
const VERBS: [Verb; 8] = [
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
    Verb::List,
    Verb::Patch,
    Verb::Create,
    Verb::Update,
    Verb::Watch,
];

/// Why a definition makes no kind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// It breaks the rules of definitions.
    #[error("the definition is invalid: {0}")]
    Invalid(String),
}

/// A definition that is established, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    /// What it was made of.
    basis: Value,
    /// The kind, in each version that is served; first the one that is stored, if it is.
    pub resources: Vec<Arc<Resource>>,
    /// The kind in the version that is stored, served or not: its objects lie in the store either way.
    pub stored: Option<Arc<Resource>>,
}

impl Definition {
    /// Compiles a definition; nothing comes of one that is not established.
    pub(crate) fn new(definition: &Value) -> Option<Self> {
        let basis = basis(definition)?;
        let versions = versions(&basis);
        let stored =
            versions.iter().find(|version| version.is_stored).map(|version| version.resource.clone());
        let served = versions.into_iter().filter(|version| version.is_served);
        Some(Self { basis, resources: served.map(|version| version.resource).collect(), stored })
    }

    /// Returns whether objects lie in the store as by another definition: nothing of them has to be read again.
    pub(crate) fn stores_as(&self, other: &Self) -> bool {
        let stored = |definition: &Self| -> Vec<Value> {
            let versions = definition.basis["spec"]["versions"].as_array().into_iter().flatten();
            let relevant = |version: &Value| {
                ["name", "served", "storage", "schema", "selectableFields"]
                    .map(|field| version[field].clone())
            };
            versions.map(|version| relevant(version).to_vec().into()).collect()
        };
        let same = |at: &[&str]| {
            let of = |basis: &Value| at.iter().fold(basis.clone(), |value, name| value[*name].clone());
            of(&self.basis) == of(&other.basis)
        };
        same(&["names", "kind"]) && same(&["spec", "conversion", "strategy"]) && stored(self) == stored(other)
    }

    /// Returns whether this is still what the definition comes to.
    pub(crate) fn is_of(&self, definition: &Value) -> bool {
        basis(definition).is_some_and(|basis| basis == self.basis)
    }
}

/// What a definition's kinds depend on; absent if it is not established.
fn basis(definition: &Value) -> Option<Value> {
    if !has_condition(definition, "Established") {
        return None;
    }
    let is_ending = !definition["metadata"]["deletionTimestamp"].is_null();
    Some(json!({
        "spec": definition["spec"], "names": definition["status"]["acceptedNames"], "ending": is_ending,
        "name": definition["metadata"]["name"],
    }))
}

/// Whether a definition's condition is true.
pub(crate) fn has_condition(definition: &Value, kind: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// Says what is wrong with the authorities by which a definition's conversion webhook is to be known, if something is; with what
/// stands there instead.
pub(crate) fn wrong_bundle(definition: &Value) -> Option<(Vec<u8>, String)> {
    let conversion = &definition["spec"]["conversion"];
    let bundle = conversion["webhook"]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
    if conversion["strategy"] != "Webhook" || bundle.is_empty() {
        return None;
    }
    let bytes = STANDARD.decode(bundle).unwrap_or_default();
    let why = certificates(&bytes).err()?;
    Some((bytes, format!("unable to load root certificates: {why}")))
}

/// Checks that bytes hold certificates. Without TLS nobody calls webhooks.
#[cfg(feature = "tls")]
fn certificates(pem: &[u8]) -> Result<(), String> {
    match crate::tls::roots(&String::from_utf8_lossy(pem)) {
        Ok(roots) if roots.is_empty() => Err("unable to parse bytes as PEM block".into()),
        Ok(_) => Ok(()),
        Err(error) => {
            let source = std::error::Error::source(&error);
            Err(source.map_or_else(|| error.to_string(), ToString::to_string))
        }
    }
}

#[cfg(not(feature = "tls"))]
fn certificates(_pem: &[u8]) -> Result<(), String> {
    Ok(())
}

impl Resource {
    /// Makes the resources of a CustomResourceDefinition (`apiextensions.k8s.io/v1`), one for each version that it serves:
    /// kinds compiled in by a program, such as those of kube-rs' `CustomResource` derive, need no definition in the cluster.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`] if an API server would not take the definition.
    ///
    /// # Examples
    ///
    /// ```
    /// use quarterdeck_registry::Resource;
    ///
    /// let definition = serde_json::json!({
    ///     "metadata": {"name": "widgets.example.com"},
    ///     "spec": {
    ///         "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
    ///         "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
    ///     },
    /// });
    ///
    /// let resources = Resource::from_definition(&definition)?;
    ///
    /// assert_eq!(resources[0].plural, "widgets");
    /// # Ok::<(), quarterdeck_registry::custom::DefinitionError>(())
    /// ```
    pub fn from_definition(definition: &Value) -> Result<Vec<Self>, DefinitionError> {
        let kind = crate::resources::definitions().pop();
        let kind = kind.ok_or_else(|| DefinitionError::Invalid("definitions are not built in".into()))?;
        let decoded = decode_value(&kind.structure, definition.clone());
        let mut definition = decoded.map_err(|error| DefinitionError::Invalid(error.to_string()))?.value;
        apply_defaults(&kind.structure, &mut definition);
        let stored = super::lifecycle::storage_version(&definition);
        definition["status"]["storedVersions"] = stored.into_iter().collect::<Vec<_>>().into();
        let errors = kind.validator.create(&definition);
        if let Some(error) = errors.first() {
            return Err(DefinitionError::Invalid(error.to_string()));
        }
        let basis =
            json!({"spec": definition["spec"], "names": definition["spec"]["names"], "ending": false});
        let served = versions(&basis).into_iter().filter(|version| version.is_served);
        Ok(served.map(|version| Arc::unwrap_or_clone(version.resource)).collect())
    }
}

/// A version of a kind.
struct Version {
    is_served: bool,
    is_stored: bool,
    resource: Arc<Resource>,
}

/// Makes a resource for each version that is served or stored, the stored one first.
fn versions(basis: &Value) -> Vec<Version> {
    let spec = &basis["spec"];
    let versions = || spec["versions"].as_array().into_iter().flatten();
    let Some(storage) = versions().find(|version| version["storage"] == true) else { return Vec::new() };
    let schema_of = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
    let schemas_differ = versions().any(|version| schema_of(version) != schema_of(storage));
    let mut patterns = Patterns::default();
    let webhook = webhook(basis, storage);
    let store = Store {
        version: storage["name"].as_str().unwrap_or_default().to_owned(),
        structure: Arc::new(table(basis, storage, &Schema::new(&schema_of(storage)))),
        fields: fields_of_all(spec),
        schemas_differ,
        webhook,
    };
    let mut made: Vec<Version> = versions()
        .map(|version| (version, version["served"] == true, version["storage"] == true))
        .filter(|(_, is_served, is_stored)| *is_served || *is_stored)
        .map(|(version, is_served, is_stored)| {
            let resource = Arc::new(resource(basis, version, &store, &mut patterns));
            Version { is_served, is_stored, resource }
        })
        .collect();
    made.sort_by_key(|version| !version.is_stored);
    made
}

/// What the versions of a kind have in common in the store.
struct Store {
    version: String,
    structure: Arc<Structure>,
    fields: Seq<SelectableField>,
    /// Whether what one version keeps another may prune.
    schemas_differ: bool,
    /// What converts the versions, if a webhook does.
    webhook: Option<Arc<ConversionWebhook>>,
}

/// The webhook that converts the versions of a kind, if its definition names one.
fn webhook(basis: &Value, storage: &Value) -> Option<Arc<ConversionWebhook>> {
    let (spec, names) = (&basis["spec"], &basis["names"]);
    if spec["conversion"]["strategy"] != "Webhook" {
        return None;
    }
    let form = |version: &Value| Form {
        version: text(version, "name"),
        structure: StructureRef::Shared(Arc::new(table(
            basis,
            version,
            &Schema::new(&version["schema"]["openAPIV3Schema"]),
        ))),
        fields: selectable(version).collect::<Vec<_>>().into(),
    };
    let forms = spec["versions"].as_array().into_iter().flatten().map(form).collect();
    let configuration = spec["conversion"]["webhook"].clone();
    let (group, kind, storage) = (text(spec, "group"), text(names, "kind"), text(storage, "name"));
    Some(Arc::new(ConversionWebhook::new(configuration, group, kind, storage, forms)))
}

fn text(value: &Value, name: &str) -> Cow<'static, str> {
    Cow::Owned(value[name].as_str().unwrap_or_default().to_owned())
}

fn texts(value: &Value) -> Vec<Cow<'static, str>> {
    strings(value).into_iter().map(Cow::Owned).collect()
}

fn id(basis: &Value, version: &Value) -> GroupVersionKind {
    let (spec, names) = (&basis["spec"], &basis["names"]);
    GroupVersionKind { group: text(spec, "group"), version: text(version, "name"), kind: text(names, "kind") }
}

fn table(basis: &Value, version: &Value, schema: &Schema) -> Structure {
    structure::kind(schema, &version["schema"]["openAPIV3Schema"], &id(basis, version))
}

fn resource(basis: &Value, version: &Value, store: &Store, patterns: &mut Patterns) -> Resource {
    let (spec, names) = (&basis["spec"], &basis["names"]);
    let GroupVersionKind { group, version: name, kind } = id(basis, version);
    let written = &version["schema"]["openAPIV3Schema"];
    let schema = Schema::with(written, patterns);
    let is_stored = name == store.version;
    let structure =
        if is_stored { store.structure.clone() } else { Arc::new(table(basis, version, &schema)) };
    let scope = if spec["scope"] == "Cluster" { Scope::Cluster } else { Scope::Namespaced };
    let has_status = version["subresources"]["status"].is_object();
    let custom = Arc::new(CustomKind {
        rules: Rules::new(written),
        scale: ScalePaths::of(version),
        definition: basis["name"]
            .as_str()
            .map(|name| Key::new(format!("{}{name}", super::lifecycle::PREFIX))),
        list_kind: text(names, "listKind").into_owned(),
        deprecation: deprecation(&group, &name, &kind, version),
        is_ending: basis["ending"] == true,
        weight: weight_of_rules(written) + patterns::count(written),
        schema,
    });
    let mut subresources = Vec::new();
    subresources.extend(has_status.then_some(Subresource::Status));
    subresources.extend(custom.scale.is_some().then_some(Subresource::Scale));
    Resource {
        prefix: format!("/registry/{group}/{}/", text(names, "plural")).into(),
        answers_with_deleted: false,
        stored: Some(Arc::new(stored(store, version, (&group, &kind), &structure))),
        group,
        version: name,
        kind,
        plural: text(names, "plural"),
        singular: text(names, "singular"),
        scope,
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        structure: StructureRef::Shared(structure),
        strategy: Arc::new(CustomStrategy(custom.clone())),
        subresources,
        verbs: &VERBS,
        backing: Backing::Store,
        validator: Validator::of_metadata(NameRule::Subdomain, scope == Scope::Namespaced),
        generation: if has_status { Generation::Spec } else { Generation::Content },
        initial_status: has_status.then_some(Value::Null),
        columns: Columns::from_printer_columns(&version["additionalPrinterColumns"])
            .unwrap_or_else(|_| Columns::fallback()),
        fields: selectable(version).collect::<Vec<_>>().into(),
        custom: Some(custom),
    }
}

/// How the objects of a version lie in the store.
fn stored(
    store: &Store,
    version: &Value,
    (group, kind): (&Text, &Text),
    structure: &Arc<Structure>,
) -> Stored {
    let is_stored = version["name"] == store.version.as_str();
    let (group, kind, webhook) = (group.clone(), kind.clone(), store.webhook.clone());
    if webhook.is_some() {
        // Before anybody sees an object it is of the version that is served.
        let upkeep = Some(Upkeep { structure: StructureRef::Shared(structure.clone()), prunes: true });
        let fields = selectable(version).collect::<Vec<_>>().into();
        return Stored {
            group,
            version: text(version, "name"),
            kind,
            fields,
            conversion: None,
            upkeep,
            webhook,
        };
    }
    Stored {
        group,
        version: store.version.clone().into(),
        kind,
        fields: store.fields.clone(),
        conversion: conversion(structure, store, is_stored),
        upkeep: Some(Upkeep {
            structure: StructureRef::Shared(store.structure.clone()),
            prunes: !store.schemas_differ,
        }),
        webhook,
    }
}

/// What a deprecated version warns of.
fn deprecation(group: &str, version: &str, kind: &str, definition: &Value) -> Option<String> {
    (definition["deprecated"] == true).then(|| {
        let own = definition["deprecationWarning"].as_str().map(str::to_owned);
        own.unwrap_or_else(|| format!("{group}/{version} {kind} is deprecated"))
    })
}

/// The fields by which a version is selected: the paths of its definition, without the dot in front.
fn selectable(version: &Value) -> impl Iterator<Item = SelectableField> + '_ {
    let fields = version["selectableFields"].as_array().into_iter().flatten();
    fields.filter_map(|field| {
        let path = field["jsonPath"].as_str()?.strip_prefix('.')?;
        Some(SelectableField::at(path.to_owned()))
    })
}

/// The fields by which any version is selected.
fn fields_of_all(spec: &Value) -> Seq<SelectableField> {
    let mut all: Vec<SelectableField> = Vec::new();
    for version in spec["versions"].as_array().into_iter().flatten() {
        for field in selectable(version) {
            if !all.contains(&field) {
                all.push(field);
            }
        }
    }
    all.into()
}

/// The way from what is stored to what is served. The stored version needs none, unless other versions may have written
/// what it does not know.
fn conversion(structure: &Arc<Structure>, store: &Store, is_stored: bool) -> Option<Arc<dyn Conversion>> {
    if is_stored && !store.schemas_differ {
        return None;
    }
    Some(Arc::new(Pruned {
        structure: StructureRef::Shared(structure.clone()),
        needed: store.schemas_differ,
    }))
}

/// Versions that differ in their schemas only: each shows of an object what it knows.
#[derive(Debug)]
struct Pruned {
    structure: StructureRef,
    needed: bool,
}

impl Conversion for Pruned {
    fn to_served(&self, object: &mut Value) {
        if self.needed
            && let Ok(decoded) = decode_value(&self.structure, object.clone())
        {
            *object = decoded.value;
        }
    }

    fn to_stored(&self, _object: &mut Value) {}
}
