//! A custom kind's schema as a table of fields: what decoding, pruning, defaults, apply and OpenAPI go by.

use std::sync::Arc;

use serde_json::{Value, json};

use super::schema::{Additional, List, Schema};
use crate::schema::{
    CustomPart, Field, GroupVersionKind, Literal, Presence, Rules, Seq, Structure, StructureRef, Topology,
    Type, TypeRef, by_name,
};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Makes the table of a kind.
pub(crate) fn kind(schema: &Schema, written: &Value, id: &GroupVersionKind) -> Structure {
    let name = full_name(id);
    let mut structure = structure(schema, &name, true);
    structure.kinds = Seq::Shared([id.clone()].into());
    let open = structure.is_open();
    structure.custom = Some(Arc::new(CustomPart { open, published: Some(published(written, id)) }));
    structure
}

/// Drops what a schema does not have from a value of it.
pub(crate) fn prune(schema: &Schema, value: Value) -> Value {
    let element = type_of(schema, "value");
    let holder = Structure {
        name: "holder".into(),
        fields: vec![field("value", element, Rules::PLAIN)].into(),
        kinds: Seq::default(),
        atomic: false,
        custom: Some(Arc::default()),
    };
    match crate::schema::decode_value(&holder, json!({"value": value})) {
        Ok(mut decoded) => decoded.value["value"].take(),
        Err(_) => Value::Null,
    }
}

/// The name under which OpenAPI knows a custom kind: `com.example.v1.Widget`.
fn full_name(id: &GroupVersionKind) -> String {
    let mut parts: Vec<&str> = id.group.split('.').collect();
    parts.reverse();
    format!("{}.{}.{}", parts.join("."), id.version, id.kind)
}

/// The schema as clients are told: with what every object has.
fn published(written: &Value, id: &GroupVersionKind) -> Value {
    let mut schema = written.clone();
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    let about =
        |field: &str, what: &str| json!({"type": "string", "description": format!("{field}: {what}")});
    schema["properties"]["apiVersion"] = about("apiVersion", "the group and version of this object's schema");
    schema["properties"]["kind"] = about("kind", "what this object is");
    schema["properties"]["metadata"] =
        json!({"allOf": [{"$ref": format!("#/components/schemas/{OBJECT_META}")}]});
    schema["x-kubernetes-group-version-kind"] =
        json!([{"group": id.group, "version": id.version, "kind": id.kind}]);
    schema
}

fn structure(schema: &Schema, name: &str, is_object: bool) -> Structure {
    let mut fields: Vec<Field> = schema
        .properties
        .iter()
        .filter(|(member, _)| !is_object || !is_meta(member))
        .map(|(member, schema)| {
            let rules = Rules {
                default: schema.default.clone().map(Literal::Json),
                topology: topology(schema),
                ..Rules::PLAIN
            };
            field(member, type_of(schema, &format!("{name}.{member}")), rules)
        })
        .collect();
    if is_object {
        fields.push(field("apiVersion", Type::String, Rules::PLAIN));
        fields.push(field("kind", Type::String, Rules::PLAIN));
        fields.extend(by_name(OBJECT_META).map(|meta| field("metadata", Type::of(meta), Rules::PLAIN)));
    }
    for field in &mut fields {
        field.rules.required = schema.checks.required.iter().any(|name| *name == field.name);
    }
    fields.sort_by(|one, other| one.name.cmp(&other.name));
    Structure {
        name: name.to_owned().into(),
        fields: Seq::Shared(fields.into()),
        kinds: Seq::default(),
        atomic: schema.atomic_map,
        custom: Some(Arc::new(CustomPart { open: schema.preserves, published: None })),
    }
}

fn field(name: &str, ty: Type, rules: Rules) -> Field {
    Field { name: name.to_owned().into(), wire: Seq::default(), ty, presence: Presence::Given, rules }
}

/// Whether a member belongs to every object and not to the schema.
fn is_meta(member: &str) -> bool {
    matches!(member, "apiVersion" | "kind" | "metadata")
}

fn type_of(schema: &Schema, name: &str) -> Type {
    let ty = match (schema.kind.as_str(), &schema.additional, &schema.items) {
        // Values of simple types are kept as they are given: the schema's validation tells what is wrong with them.
        ("object", _, _) if schema.embedded => shared(structure(schema, name, true)),
        ("object", Additional::Of(element), _) if schema.properties.is_empty() => {
            Type::Map(TypeRef::Shared(Arc::new(type_of(element, name))))
        }
        ("object", Additional::Any, _) if schema.properties.is_empty() => {
            Type::Map(TypeRef::Fixed(&Type::Any))
        }
        ("object", _, _) => shared(structure(schema, name, false)),
        ("array", _, Some(items)) => Type::List(TypeRef::Shared(Arc::new(type_of(items, name)))),
        // Without a type, but with members that are known.
        ("", _, _) if schema.preserves && !schema.properties.is_empty() => {
            shared(structure(schema, name, false))
        }
        _ => Type::Any,
    };
    if schema.nullable { Type::Nullable(TypeRef::Shared(Arc::new(ty))) } else { ty }
}

fn shared(structure: Structure) -> Type {
    Type::Struct(StructureRef::Shared(Arc::new(structure)))
}

fn topology(schema: &Schema) -> Topology {
    match (&*schema.kind, &schema.list) {
        ("array", List::Set) => Topology::Set,
        ("array", List::Map(keys)) => {
            Topology::Map(Seq::Shared(keys.iter().map(|key| key.clone().into()).collect()))
        }
        ("array", List::Atomic) => Topology::Atomic,
        _ if schema.atomic_map => Topology::Atomic,
        _ => Topology::Unset,
    }
}
