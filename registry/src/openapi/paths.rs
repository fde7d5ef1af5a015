//! The document of a group's version: a path for everything that can be asked, and the schemas of what is sent.

use serde_json::{Map, Value, json};

use super::operation::{Action, DELETE_OPTIONS, PATCH, Place, STATUS, list_name, reference};
use super::parameters::{self, PRETTY, Parameter, of_path};
use crate::request::Verb;
use crate::resource::{Backing, Resource, Subresource};
use crate::schema;

/// Returns where a kind's group and version are, without a slash before it.
pub(super) fn root(resource: &Resource) -> String {
    if resource.group.is_empty() {
        format!("api/{}", resource.version)
    } else {
        format!("apis/{}/{}", resource.group, resource.version)
    }
}

/// Makes the document of these kinds, which are of one group and version.
pub(super) fn document(kinds: &[&Resource]) -> Value {
    let mut paths = Map::new();
    for resource in kinds {
        add_paths(resource, &mut paths);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": paths,
        "components": {"schemas": schemas(kinds)},
    })
}

fn schemas(kinds: &[&Resource]) -> Map<String, Value> {
    let mut roots: Vec<&schema::Structure> = kinds.iter().map(|resource| &*resource.structure).collect();
    let below = kinds.iter().flat_map(|resource| resource.subresources.iter());
    let others = below.filter_map(|subresource| subresource.kind());
    roots.extend(others.filter_map(|(group, version, kind)| schema::builtin(group, version, kind)));
    let listed = kinds.iter().filter(|resource| resource.verbs.contains(&Verb::List));
    let lists: Vec<&&Resource> = listed.collect();
    roots.extend(lists.iter().filter_map(|resource| schema::by_name(&list_name(resource))));
    roots.extend([DELETE_OPTIONS, STATUS, LIST_META].iter().filter_map(|name| schema::by_name(name)));
    let mut schemas = schema::schemas(&roots);
    #[cfg(feature = "descriptions")]
    super::descriptions::add(&mut schemas);
    schemas.insert(PATCH.into(), json!({"type": "object"}));
    for resource in lists {
        let name = list_name(resource);
        if !schemas.contains_key(&name) {
            schemas.insert(name, list_schema(resource));
        }
    }
    schemas
}

const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// The schema of the lists of a kind that the tables do not know.
fn list_schema(resource: &Resource) -> Value {
    json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [reference(LIST_META)], "default": {}},
            "items": {"type": "array", "items": reference(&resource.structure.name)},
        },
        "x-kubernetes-group-version-kind": [{
            "group": resource.group, "version": resource.version, "kind": resource.list_kind(),
        }],
    })
}

fn add_paths(resource: &Resource, paths: &mut Map<String, Value>) {
    let root = format!("/{}", root(resource));
    let place = match resource.is_namespaced() {
        true => vec![of_path("namespace", "The namespace that objects are in.")],
        false => Vec::new(),
    };
    let collection = match resource.is_namespaced() {
        true => format!("{root}/namespaces/{{namespace}}/{}", resource.plural),
        false => format!("{root}/{}", resource.plural),
    };
    let of = Place { resource, subresource: None, everywhere: false };
    add(paths, &collection, &of, COLLECTION, resource.verbs, place.clone());
    if resource.is_namespaced() {
        let of = Place { everywhere: true, ..of };
        add(paths, &format!("{root}/{}", resource.plural), &of, LISTS, resource.verbs, Vec::new());
    }
    if resource.backing != Backing::Store {
        return;
    }
    let named = [place, vec![of_path("name", &format!("The name of the {}.", resource.kind))]].concat();
    let path = format!("{collection}/{{name}}");
    add(paths, &path, &of, OBJECT, resource.verbs, named.clone());
    for subresource in &resource.subresources {
        let of = Place { subresource: Some(*subresource), ..of };
        let operations = if *subresource == Subresource::Log { LOG } else { OBJECT };
        let path = format!("{path}/{}", subresource.name());
        add(paths, &path, &of, operations, subresource.verbs(), named.clone());
    }
}

/// An operation that a path has if its verb is served: the method, the action, and the parameters of its query.
type Served = (Verb, &'static str, Action, &'static [&'static [Parameter]]);

const LISTS: &[Served] = &[(Verb::List, "get", Action::List, &[parameters::LIST])];
const COLLECTION: &[Served] = &[
    (Verb::List, "get", Action::List, &[parameters::LIST]),
    (Verb::Create, "post", Action::Post, &[parameters::WRITE]),
    (Verb::DeleteCollection, "delete", Action::DeleteCollection, &[parameters::DELETE, parameters::LIST]),
];
const OBJECT: &[Served] = &[
    (Verb::Get, "get", Action::Get, &[]),
    (Verb::Update, "put", Action::Put, &[parameters::WRITE]),
    (Verb::Create, "post", Action::Post, &[parameters::WRITE]),
    (Verb::Delete, "delete", Action::Delete, &[parameters::DELETE]),
    (Verb::Patch, "patch", Action::Patch, &[parameters::PATCH]),
];
const LOG: &[Served] = &[(Verb::Get, "get", Action::Connect, &[parameters::LOG])];

/// Adds a path with those operations whose verbs are served.
fn add(
    paths: &mut Map<String, Value>,
    path: &str,
    of: &Place<'_>,
    operations: &[Served],
    verbs: &[Verb],
    mut parameters: Vec<Value>,
) {
    let served = operations.iter().filter(|(verb, ..)| verbs.contains(verb));
    // An object's path creates nothing but what is below it.
    let served = served
        .filter(|(verb, ..)| *verb != Verb::Create || of.subresource.is_some() || !path.ends_with("{name}"));
    let mut item: Map<String, Value> = served
        .map(|(_, method, action, parameters)| ((*method).to_owned(), of.operation(*action, parameters)))
        .collect();
    if item.is_empty() {
        return;
    }
    parameters.push(PRETTY.value());
    item.insert("parameters".into(), parameters.into());
    paths.insert(path.into(), Value::Object(item));
}
