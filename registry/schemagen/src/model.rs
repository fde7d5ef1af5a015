//! Joins what the sources say into one description per structure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::Failure;
use crate::facts::{Facts, key};
use crate::openapi::{Definition, Kind, Member, Shape};
use crate::protobuf::{self, Messages, Number, plain};

/// One structure of the tables.
pub(crate) struct Structure {
    pub(crate) name: String,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) atomic: bool,
    pub(crate) fields: Vec<Field>,
}

/// One field of a [`Structure`].
pub(crate) struct Field {
    pub(crate) json: String,
    /// Field numbers from the message inwards; several where JSON inlines what protobuf nests.
    pub(crate) wire: Vec<u32>,
    pub(crate) ty: Shape,
    pub(crate) required: bool,
    /// A variant of `schema::Presence`.
    pub(crate) presence: &'static str,
    pub(crate) default: Option<Value>,
    pub(crate) topology: Topology,
    pub(crate) patch_merge: bool,
    pub(crate) patch_replace: bool,
    pub(crate) patch_retain_keys: bool,
    pub(crate) patch_key: Option<String>,
}

/// How a list or a map is owned: `schema::Topology`.
pub(crate) enum Topology {
    Unset,
    Atomic,
    Set,
    Map(Vec<String>),
}

/// Joins all definitions, and makes the lists of the kinds.
pub(crate) fn join(
    definitions: &[Definition],
    messages: &Messages,
    facts: &Facts,
) -> Result<Vec<Structure>, Failure> {
    let mut structures = Vec::new();
    for definition in definitions {
        let mut structure = structure(definition, messages, facts)?;
        structure.kinds.extend(facts.kinds(&definition.name));
        let list = structure.kinds.first().and_then(list_of(definition));
        structures.push(structure);
        structures.extend(list);
    }
    let known: BTreeSet<(String, String)> = structures
        .iter()
        .flat_map(|structure| structure.fields.iter().map(|field| (key(&structure.name), field.json.clone())))
        .collect();
    if let Some((structure, member)) = facts.mentioned().find(|mentioned| !known.contains(*mentioned)) {
        return Err(format!("facts.json speaks of {structure}.{member}, which does not exist"));
    }
    structures.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(structures)
}

fn structure(definition: &Definition, messages: &Messages, facts: &Facts) -> Result<Structure, Failure> {
    let message = protobuf::find(messages, &definition.name);
    let wires = message.map(|_| wires(&definition.name, messages)).unwrap_or_default();
    let is_kind = definition.kind.is_some() || !facts.kinds(&definition.name).is_empty();
    let type_meta = |name: &str| is_kind && (name == "kind" || name == "apiVersion");
    let mut fields = Vec::new();
    for member in &definition.members {
        let wire = wires.get(&plain(&member.json));
        if wire.is_none() && message.is_some() && !type_meta(&member.json) {
            return Err(format!("k8s-pb has no field for {}.{}", definition.name, member.json));
        }
        fields.push(field(definition, member, wire, facts)?);
    }
    for name in ["apiVersion", "kind"] {
        if is_kind && !fields.iter().any(|field| field.json == name) {
            fields.push(plain_field(name, Vec::new(), Shape::Plain("String"), "NonZero"));
        }
    }
    fields.sort_by(|a, b| a.json.cmp(&b.json));
    Ok(Structure {
        name: definition.name.clone(),
        kinds: definition.kind.clone().into_iter().collect(),
        atomic: message.is_some_and(|message| message.atomic),
        fields,
    })
}

/// Fields by plain name, with their numbers; a field of a message that JSON inlines comes with the numbers on the way.
fn wires<'a>(name: &str, messages: &'a Messages) -> BTreeMap<String, (Vec<u32>, &'a Number)> {
    let mut found = BTreeMap::new();
    let mut inner = BTreeMap::new();
    let package = name.rsplit_once('.').map_or("", |(package, _)| package);
    for field in protobuf::find(messages, name).map(|message| message.fields.as_slice()).unwrap_or_default() {
        if let Some(message) = &field.message
            && is_inlined(name, &field.name)
        {
            for (name, (path, field_inside)) in wires(&format!("{package}.{message}"), messages) {
                inner.insert(name, ([&[field.number], &path[..]].concat(), field_inside));
            }
        }
        found.insert(field.name.clone(), (vec![field.number], field));
    }
    for (name, wire) in inner {
        found.entry(name).or_insert(wire);
    }
    found
}

/// Messages that protobuf nests and JSON does not: without an entry here, [`structure`] fails on the members inside.
fn is_inlined(message: &str, field: &str) -> bool {
    const INLINED: [(&str, &str); 14] = [
        ("core/v1.Volume", "volumesource"),
        ("core/v1.PersistentVolumeSpec", "persistentvolumesource"),
        ("core/v1.Probe", "handler"),
        ("core/v1.EphemeralContainer", "ephemeralcontainercommon"),
        ("core/v1.ConfigMapEnvSource", "localobjectreference"),
        ("core/v1.ConfigMapKeySelector", "localobjectreference"),
        ("core/v1.ConfigMapProjection", "localobjectreference"),
        ("core/v1.ConfigMapVolumeSource", "localobjectreference"),
        ("core/v1.SecretEnvSource", "localobjectreference"),
        ("core/v1.SecretKeySelector", "localobjectreference"),
        ("core/v1.SecretProjection", "localobjectreference"),
        ("admissionregistration/v1.RuleWithOperations", "rule"),
        ("admissionregistration/v1.NamedRuleWithOperations", "rulewithoperations"),
        ("networking/v1.IngressRule", "ingressrulevalue"),
    ];
    INLINED.contains(&(key(message).as_str(), field))
}

fn field(
    definition: &Definition,
    member: &Member,
    wire: Option<&(Vec<u32>, &Number)>,
    facts: &Facts,
) -> Result<Field, Failure> {
    let presence = presence(definition, member, facts)?;
    let mut numbers = wire.map(|(numbers, _)| numbers.clone()).unwrap_or_default();
    // A list that protobuf wraps into a message of its own has its members in that message's field 1.
    if matches!(member.ty, Shape::List(_)) && wire.is_some_and(|(_, number)| number.message.is_some()) {
        numbers.push(1);
    }
    let mut field = plain_field(&member.json, numbers, member.ty.clone(), presence);
    // k8s-openapi makes every kind's metadata required, and the names that Kubernetes lets be empty.
    field.required =
        member.required && presence != "NonZero" && !(definition.kind.is_some() && member.json == "metadata");
    field.default = facts.default(&definition.name, &member.json).cloned();
    if let Some((_, number)) = wire {
        let marker =
            |name: &str| number.markers.get(name).and_then(|values| values.first()).map(String::as_str);
        let strategy = marker("patchStrategy").unwrap_or_default();
        field.patch_merge = strategy.split(',').any(|word| word == "merge");
        field.patch_replace = strategy.split(',').any(|word| word == "replace");
        field.patch_retain_keys = strategy.split(',').any(|word| word == "retainKeys");
        field.patch_key = marker("patchMergeKey").map(str::to_owned);
        field.topology = match marker("listType").or(marker("mapType")).or(marker("structType")) {
            Some("atomic") => Topology::Atomic,
            Some("set") => Topology::Set,
            Some("map") => Topology::Map(number.markers.get("listMapKey").cloned().unwrap_or_default()),
            _ => Topology::Unset,
        };
    }
    Ok(field)
}

fn plain_field(json: &str, wire: Vec<u32>, ty: Shape, presence: &'static str) -> Field {
    Field {
        json: json.to_owned(),
        wire,
        ty,
        required: false,
        presence,
        default: None,
        topology: Topology::Unset,
        patch_merge: false,
        patch_replace: false,
        patch_retain_keys: false,
        patch_key: None,
    }
}

/// What Go writes for an absent or empty member. Kubernetes' types follow this rule of thumb; `facts.json` has the rest.
fn presence(definition: &Definition, member: &Member, facts: &Facts) -> Result<&'static str, Failure> {
    let by_rule = match &member.ty {
        _ if !member.optional => "Always",
        Shape::Plain("Bool" | "Int32" | "Int64" | "Double" | "String" | "Bytes")
        | Shape::List(_)
        | Shape::Map(_) => "NonZero",
        _ => "Given",
    };
    match facts.presence(&definition.name, &member.json) {
        None => Ok(by_rule),
        Some("given") => Ok("Given"),
        Some("always") => Ok("Always"),
        Some("null") => Ok("Nullable"),
        Some("nonzero") => Ok("NonZero"),
        Some("disabled") => Ok("Disabled"),
        Some(word) => Err(format!("facts.json knows no presence {word}")),
    }
}

/// Makes `PodList` from `Pod`.
fn list_of(definition: &Definition) -> impl Fn(&Kind) -> Option<Structure> {
    let item = definition.name.clone();
    move |kind| {
        let list = kind.list.clone()?;
        let package = item.rsplit_once('.')?.0;
        let meta = Shape::Struct("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta".into());
        let items = Shape::List(Box::new(Shape::Struct(item.clone())));
        let mut fields = vec![
            plain_field("apiVersion", Vec::new(), Shape::Plain("String"), "NonZero"),
            plain_field("items", vec![2], items, "Always"),
            plain_field("kind", Vec::new(), Shape::Plain("String"), "NonZero"),
            plain_field("metadata", vec![1], meta, "Always"),
        ];
        fields[1].required = true;
        Some(Structure {
            name: format!("{package}.{list}"),
            kinds: vec![Kind { kind: list, list: None, ..kind.clone() }],
            atomic: false,
            fields,
        })
    }
}
