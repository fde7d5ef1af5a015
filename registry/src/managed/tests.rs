//! Properties of ownership, whoever writes what in which order.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::element::Element;
use super::entries::{Managed, Operation};
use super::owned::fields_of;
use super::set::FieldSet;
use super::shape::Shape;
use super::{Applied, Failure, Part, Writer, apply, fields_v1, recorded};
use crate::schema::{self, Structure};

const MANAGERS: [&str; 3] = ["m", "n", "o"];

fn structure() -> &'static Structure {
    schema::builtin("apps", "v1", "Deployment").unwrap()
}

fn writer<'a>(manager: &'a str) -> Writer<'a> {
    Writer {
        manager,
        api_version: "apps/v1",
        subresource: "",
        part: Part::AllButStatus,
        now: "2026-01-01T00:00:00Z",
        is_served: &|_| false,
    }
}

fn texts() -> impl Strategy<Value = Value> {
    btree_map("[abc]", "[xy]", 1..3).prop_map(|map| json!(map))
}

/// Environment or ports: lists by key, each key once.
fn keyed(key: &'static str, value: &'static str) -> impl Strategy<Value = Value> {
    btree_map("[pqr]", "[xy]", 1..3).prop_map(move |map| {
        map.into_iter().map(|(name, text)| json!({key: name, value: text})).collect::<Value>()
    })
}

fn ports() -> impl Strategy<Value = Value> {
    btree_map((80..82, any::<bool>()), "[xy]", 1..3).prop_map(|map| {
        let port = |((number, is_udp), name): ((i32, bool), String)| match is_udp {
            true => json!({"containerPort": number, "protocol": "UDP", "name": name}),
            false => json!({"containerPort": number, "name": name}),
        };
        map.into_iter().map(port).collect::<Value>()
    })
}

fn container() -> impl Strategy<Value = Value> {
    let args = vec("[xy]", 1..3);
    (option::of("[ij]"), option::of(args), option::of(keyed("name", "value")), option::of(ports())).prop_map(
        |(image, args, env, ports)| {
            set_of(&[
                ("image", json!(image)),
                ("args", json!(args)),
                ("env", json!(env)),
                ("ports", json!(ports)),
            ])
        },
    )
}

/// An object of the members that are not null.
fn set_of(members: &[(&str, Value)]) -> Value {
    let given = members.iter().filter(|(_, value)| !value.is_null());
    Value::Object(given.map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn containers() -> impl Strategy<Value = Value> {
    btree_map("[cd]", container(), 1..3).prop_map(|containers| {
        let named = containers.into_iter().map(|(name, mut container)| {
            container["name"] = name.into();
            container
        });
        named.collect::<Value>()
    })
}

/// What somebody wants of a deployment.
fn configuration() -> impl Strategy<Value = Value> {
    let finalizers = option::of(proptest::sample::subsequence(vec!["e/f", "e/g", "e/h"], 1..3));
    let spec = (option::of(0..3), option::of(texts()), option::of(containers()), option::of(texts()));
    (option::of(texts()), finalizers, spec).prop_map(
        |(labels, finalizers, (replicas, selector, containers, nodes))| {
            let pod = set_of(&[("containers", json!(containers)), ("nodeSelector", json!(nodes))]);
            let has_pod = pod.as_object().is_some_and(|pod| !pod.is_empty());
            let spec = set_of(&[
                ("replicas", json!(replicas)),
                ("selector", selector.map_or(Value::Null, |labels| json!({"matchLabels": labels}))),
                ("template", if has_pod { json!({"spec": pod}) } else { Value::Null }),
            ]);
            let metadata =
                set_of(&[("name", json!("a")), ("labels", json!(labels)), ("finalizers", json!(finalizers))]);
            let has_spec = spec.as_object().is_some_and(|spec| !spec.is_empty());
            set_of(&[
                ("kind", json!("Deployment")),
                ("apiVersion", json!("apps/v1")),
                ("metadata", metadata),
                ("spec", if has_spec { spec } else { Value::Null }),
            ])
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    Apply(&'static str, Value, bool),
    Update(&'static str, Value),
}

fn step() -> impl Strategy<Value = Step> {
    let manager = || proptest::sample::select(MANAGERS.to_vec());
    prop_oneof![
        (manager(), configuration(), any::<bool>()).prop_map(|(m, c, force)| Step::Apply(m, c, force)),
        (manager(), configuration()).prop_map(|(m, c)| Step::Update(m, c)),
    ]
}

fn decoded(object: Value) -> Value {
    schema::decode_value(structure(), object).unwrap().value
}

fn with_owners(mut object: Value, managed: Option<Value>) -> Value {
    object["metadata"]["managedFields"] = managed.unwrap_or_else(|| json!([]));
    decoded(object)
}

fn owners(object: &Value) -> Managed {
    Managed::decode(&object["metadata"]["managedFields"]).unwrap()
}

fn applied(live: &Value, manager: &str, configuration: &Value, force: bool) -> Result<Value, Failure> {
    let Applied { object, managed } = apply(structure(), live, configuration, &writer(manager), force)?;
    Ok(with_owners(object, managed))
}

/// The fields of the applied set that hold a value themselves: with nothing below them.
fn leaves(set: &FieldSet) -> Vec<Vec<Element>> {
    let paths = set.paths();
    let is_inner =
        |path: &[Element]| paths.iter().any(|other| other.0.len() > path.len() && other.0.starts_with(path));
    let leaf = |path: &&super::set::Path| !is_inner(&path.0);
    paths.iter().filter(leaf).map(|path| path.0.clone()).collect()
}

/// Finds the value of a field.
fn find<'v>(mut value: &'v Value, path: &[Element]) -> Option<&'v Value> {
    let mut shape = Shape::Struct(structure());
    for element in path {
        (value, shape) = match element {
            Element::Field(name) => (value.get(name.as_ref())?, shape.member(name).shape),
            _ => {
                let named = |item: &&Value| shape.name(item).is_ok_and(|name| name == *element);
                (value.as_array()?.iter().find(named)?, shape.elements())
            }
        };
    }
    Some(value)
}

/// Whether a field is a container, which goes with its last element though somebody owns it.
fn is_container(path: &[Element]) -> bool {
    let mut shape = Shape::Struct(structure());
    for element in path {
        shape = match element {
            Element::Field(name) => shape.member(name).shape,
            _ => shape.elements(),
        };
    }
    shape.is_object() || shape.is_list()
}

fn check_owned_fields_exist(object: &Value) {
    for entry in owners(object).entries {
        for path in entry.fields.paths().into_iter().filter(|path| !is_container(&path.0)) {
            assert!(
                find(object, &path.0).is_some(),
                "{} owns {path}, which is not there: {object:#}",
                entry.manager
            );
        }
    }
}

fn check_applied(before: &Value, after: &Value, manager: &str, configuration: &Value) {
    let is_own =
        |entry: &&super::entries::Entry| entry.manager == manager && entry.operation == Operation::Apply;
    let mut wanted = fields_of(Shape::Struct(structure()), configuration);
    writer(manager).strip(&mut wanted);
    let managed = owners(after);
    let own = managed.entries.iter().find(is_own).map(|entry| entry.fields.clone()).unwrap_or_default();
    assert_eq!(own, wanted, "who applies owns what is applied");
    for path in leaves(&wanted) {
        assert_eq!(find(after, &path), find(configuration, &path), "what is applied is there");
    }
    for entry in managed.entries.iter().filter(|entry| !is_own(entry)) {
        for path in leaves(&entry.fields).into_iter().filter(|path| !is_container(path)) {
            assert_eq!(
                find(after, &path),
                find(before, &path),
                "{} owns what it did not write",
                entry.manager
            );
        }
    }
    for entry in owners(before).entries.iter().filter(|entry| !is_own(entry)) {
        for path in leaves(&entry.fields).into_iter().filter(|path| holds(&entry.fields, path)) {
            let is_kept = find(after, &path).is_some();
            assert!(is_kept, "an apply removed {path:?}, which {} owns", entry.manager);
        }
    }
}

/// Whether somebody owns a field and the elements of lists that it is in: who changed a container that another made
/// does not keep it.
fn holds(fields: &FieldSet, path: &[Element]) -> bool {
    let is_element = |end: &usize| !matches!(path[end - 1], Element::Field(_));
    !is_container(path) && (1..=path.len()).filter(is_element).all(|end| fields.has(&path[..end]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn ownership_holds_whoever_writes(steps in vec(step(), 1..8)) {
        let mut object = schema::empty(structure());
        for step in steps {
            match step {
                Step::Apply(manager, configuration, force) => {
                    let Ok(after) = applied(&object, manager, &configuration, force) else {
                        prop_assert!(!force, "a forced apply has no conflicts");
                        continue;
                    };
                    check_applied(&object, &after, manager, &configuration);
                    let again = applied(&after, manager, &configuration, false);
                    prop_assert_eq!(again.as_ref(), Ok(&after), "an apply is idempotent");
                    object = after;
                }
                Step::Update(manager, new) => {
                    let new = decoded(new);
                    let is_new = object["metadata"]["managedFields"].is_null();
                    let old = (!is_new).then_some(&object);
                    let managed = recorded(structure(), old, &new, &writer(manager));
                    object = with_owners(new, managed);
                }
            }
            check_owned_fields_exist(&object);
        }
    }

    #[test]
    fn a_set_of_fields_survives_being_written(configuration in configuration()) {
        let set = fields_of(Shape::Struct(structure()), &configuration);

        prop_assert_eq!(fields_v1::decode(&fields_v1::encode(&set)), Ok(set));
    }

    #[test]
    fn hostile_sets_and_elements_never_panic(value in hostile(), name in ".{0,16}") {
        let _ = fields_v1::decode(&value).map(|set| fields_v1::decode(&fields_v1::encode(&set)));
        let _ = Element::decode(&name).map(|element| element.encode());
        let _ = Managed::decode(&json!([{"operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": value}]));
    }

    #[test]
    fn hostile_configurations_never_panic(value in hostile()) {
        let live = schema::empty(structure());
        let _ = apply(structure(), &live, &value, &writer("m"), true);
        let _ = apply(structure(), &live, &json!({"metadata": value, "spec": value}), &writer("m"), true);
        let _ = recorded(structure(), Some(&live), &json!({"metadata": {"managedFields": value}, "spec": value}), &writer("m"));
    }
}

/// JSON of any form, with names that mean something.
fn hostile() -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        Just(".".to_owned()),
        Just("f:spec".to_owned()),
        Just("k:{\"name\":\"c\"}".to_owned()),
        Just("k:{".to_owned()),
        Just("v:[1]".to_owned()),
        Just("i:-1".to_owned()),
        Just("containers".to_owned()),
        Just("template".to_owned()),
        "[fkvix]:.{0,4}",
        ".{0,4}",
    ];
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,4}".prop_map(Value::from),
    ];
    scalar.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            btree_map(names.clone(), inner, 0..5).prop_map(|map| json!(map)),
        ]
    })
}
