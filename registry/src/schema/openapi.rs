//! The tables as OpenAPI v3 schemas: types, names and Kubernetes' extensions, no prose.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::by_name;
use super::decode::JSON_SCHEMA;
use super::presence::zero;
use super::types::{Field, Presence, Structure, Topology, Type};

/// Returns `components.schemas` of a document about these structures: theirs, and those of all parts they refer to, by name.
#[must_use]
pub fn schemas(roots: &[&Structure]) -> Map<String, Value> {
    let mut found = Map::new();
    let mut waiting: BTreeMap<&str, &Structure> =
        roots.iter().map(|structure| (structure.name.as_ref(), *structure)).collect();
    while let Some((name, structure)) = waiting.pop_first() {
        // Structures refer to each other in circles, so the name is taken before the parts are looked at.
        if found.insert(name.to_owned(), Value::Null).is_some() {
            continue;
        }
        let mut used = Used::default();
        let schema = structure_schema(structure, &mut used);
        found.insert(name.to_owned(), schema);
        for (name, schema) in used.scalars {
            found.insert(name.to_owned(), schema);
        }
        for part in used.structures {
            if !found.contains_key(part.name.as_ref()) {
                waiting.insert(&part.name, part);
            }
        }
    }
    found
}

/// What a schema refers to.
#[derive(Default)]
struct Used<'s> {
    structures: Vec<&'s Structure>,
    scalars: BTreeMap<&'static str, Value>,
}

fn structure_schema<'s>(structure: &'s Structure, used: &mut Used<'s>) -> Value {
    if let Some(published) = structure.custom.as_ref().and_then(|part| part.published.as_ref()) {
        // Whatever the schema says of itself, of its metadata it refers to what all kinds have.
        used.structures.extend(structure.field("metadata").and_then(|field| field.ty.structure()));
        return published.clone();
    }
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    let properties: Map<String, Value> =
        structure.fields.iter().map(|field| (field.name.to_string(), field_schema(field, used))).collect();
    if !properties.is_empty() {
        schema.insert("properties".into(), properties.into());
    }
    let required: Vec<&str> = structure
        .fields
        .iter()
        .filter(|field| field.rules.required)
        .map(|field| field.name.as_ref())
        .collect();
    if !required.is_empty() {
        schema.insert("required".into(), required.into());
    }
    let kinds: Vec<Value> = structure
        .kinds
        .iter()
        .map(|kind| json!({"group": kind.group, "version": kind.version, "kind": kind.kind}))
        .collect();
    if !kinds.is_empty() {
        schema.insert("x-kubernetes-group-version-kind".into(), kinds.into());
    }
    if structure.atomic {
        schema.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    schema.into()
}

fn field_schema<'s>(field: &'s Field, used: &mut Used<'s>) -> Value {
    let mut schema = type_schema(&field.ty, used);
    let rules = &field.rules;
    let default = match &rules.default {
        Some(default) => Some(default.to_value()),
        None if field.presence == Presence::Always => element_default(&field.ty),
        None => None,
    };
    if let Some(default) = default {
        schema.insert("default".into(), default);
    }
    match (&rules.topology, &field.ty) {
        (Topology::Unset, _) => {}
        (Topology::Atomic, Type::List(_)) => {
            schema.insert("x-kubernetes-list-type".into(), "atomic".into());
        }
        (Topology::Atomic, _) => {
            schema.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        (Topology::Set, _) => {
            schema.insert("x-kubernetes-list-type".into(), "set".into());
        }
        (Topology::Map(keys), _) => {
            schema.insert("x-kubernetes-list-type".into(), "map".into());
            let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
            schema.insert("x-kubernetes-list-map-keys".into(), keys.into());
        }
    }
    let strategy = match (rules.patch_merge, rules.patch_retain_keys) {
        (true, true) => "merge,retainKeys",
        (true, false) => "merge",
        (false, true) => "retainKeys",
        (false, false) if rules.patch_replace => "replace",
        (false, false) => "",
    };
    if !strategy.is_empty() {
        schema.insert("x-kubernetes-patch-strategy".into(), strategy.into());
    }
    if let Some(key) = &rules.patch_key {
        schema.insert("x-kubernetes-patch-merge-key".into(), key.as_ref().into());
    }
    // Beside a plain reference other members do not count.
    if schema.len() > 1
        && let Some(reference) = schema.remove("$ref")
    {
        schema.insert("allOf".into(), json!([{"$ref": reference}]));
    }
    schema.into()
}

/// The empty value that Kubernetes states as default of what is no pointer.
fn element_default(ty: &Type) -> Option<Value> {
    match ty {
        Type::Struct(_) => Some(json!({})),
        Type::Bool | Type::Int32 | Type::Int64 | Type::Double | Type::String => Some(zero(ty)),
        _ => None,
    }
}

fn element_schema<'s>(element: &'s Type, used: &mut Used<'s>) -> Value {
    let mut schema = type_schema(element, used);
    if let Some(default) = element_default(element) {
        if let Some(reference) = schema.remove("$ref") {
            schema.insert("allOf".into(), json!([{"$ref": reference}]));
        }
        schema.insert("default".into(), default);
    }
    schema.into()
}

fn type_schema<'s>(ty: &'s Type, used: &mut Used<'s>) -> Map<String, Value> {
    let schema = match ty {
        Type::Bool => json!({"type": "boolean"}),
        Type::Int32 => json!({"type": "integer", "format": "int32"}),
        Type::Int64 => json!({"type": "integer", "format": "int64"}),
        Type::Double => json!({"type": "number", "format": "double"}),
        Type::String => json!({"type": "string"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Any => json!({"x-kubernetes-preserve-unknown-fields": true}),
        Type::List(element) => json!({"type": "array", "items": element_schema(element, used)}),
        Type::Map(element) => {
            json!({"type": "object", "additionalProperties": element_schema(element, used)})
        }
        Type::Nullable(inner) => {
            let mut schema = type_schema(inner, used);
            schema.insert("nullable".into(), true.into());
            return schema;
        }
        Type::Struct(structure) => {
            used.structures.push(structure);
            reference(&structure.name)
        }
        Type::Quantity | Type::IntOrString | Type::Time | Type::MicroTime => {
            let (name, schema) = scalar(ty);
            used.scalars.insert(name, schema);
            reference(name)
        }
        Type::SchemaOrBool | Type::SchemaOrList | Type::SchemaOrStrings => {
            used.structures.extend(by_name(JSON_SCHEMA));
            let (name, schema) = scalar(ty);
            used.scalars.insert(name, schema);
            reference(name)
        }
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// Types that have a name of their own and no members.
fn scalar(ty: &Type) -> (&'static str, Value) {
    let schema = reference(JSON_SCHEMA);
    match ty {
        Type::Quantity => (
            "io.k8s.apimachinery.pkg.api.resource.Quantity",
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        ),
        Type::IntOrString => (
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        ),
        Type::MicroTime => (
            "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
            json!({"type": "string", "format": "date-time"}),
        ),
        Type::SchemaOrBool => (
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
            json!({"oneOf": [schema, {"type": "boolean"}]}),
        ),
        Type::SchemaOrList => (
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
            json!({"oneOf": [schema, {"type": "array", "items": schema}]}),
        ),
        Type::SchemaOrStrings => (
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
            json!({"oneOf": [schema, {"type": "array", "items": {"type": "string"}}]}),
        ),
        _ => ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", json!({"type": "string", "format": "date-time"})),
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

#[cfg(test)]
mod tests {
    use super::super::{builtin, kinds};
    use super::*;

    fn of(group: &str, kind: &str) -> Map<String, Value> {
        schemas(&[builtin(group, "v1", kind).expect("a built-in kind")])
    }

    /// All values under the name `$ref`.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            _ => {}
        }
    }

    #[test]
    fn a_kind_names_its_group_version_and_kind_and_refers_to_its_parts() {
        let schemas = of("apps", "Deployment");

        let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
        assert_eq!(
            deployment["x-kubernetes-group-version-kind"],
            json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
        );
        assert_eq!(
            deployment["properties"]["spec"],
            json!({"default": {}, "allOf": [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}]})
        );
        assert_eq!(schemas["io.k8s.api.apps.v1.DeploymentSpec"]["required"], json!(["selector", "template"]));
        assert_eq!(
            schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"]["x-kubernetes-patch-strategy"],
            "retainKeys"
        );
    }

    #[test]
    fn lists_say_how_they_are_merged() {
        let schemas = of("", "Pod");

        assert_eq!(
            schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"],
            json!({
                "type": "array",
                "items": {"default": {}, "allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}]},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name",
            })
        );
        assert_eq!(
            schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"],
            json!({"type": "string", "default": "TCP"})
        );
        assert_eq!(schemas["io.k8s.api.core.v1.LocalObjectReference"]["x-kubernetes-map-type"], "atomic");
        assert_eq!(
            schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]["finalizers"]["x-kubernetes-list-type"],
            "set"
        );
    }

    #[test]
    fn quantities_times_and_int_or_strings_are_schemas_of_their_own() {
        let schemas = of("", "Pod");

        assert_eq!(
            schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"],
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        );
        assert_eq!(
            schemas["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["limits"],
            json!({"type": "object", "additionalProperties":
                {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"}})
        );
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let roots: Vec<&Structure> = kinds().map(|(_, structure)| structure).collect();

        let schemas = schemas(&roots);

        let mut found = Vec::new();
        references(&Value::Object(schemas.clone()), &mut found);
        assert!(schemas.len() > 400 && found.len() > 400);
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").expect("a reference to a schema");
            assert!(schemas.contains_key(name), "{name} is missing");
            assert!(schemas[name].is_object(), "{name} is no schema");
        }
    }
}
