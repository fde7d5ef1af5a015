use serde_json::{Value, json};

use super::*;

/// What is wrong, as `field: message`.
fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// An object as it comes from the schema: pruned and defaulted.
pub(super) fn read(object: Value) -> Value {
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let structure = crate::schema::builtin(group, version, kind).unwrap();
    let mut object = crate::schema::decode_value(structure, object.clone()).unwrap().value;
    crate::schema::apply_defaults(structure, &mut object);
    object
}

fn rules(object: &Value) -> &'static Validator {
    let version = object["apiVersion"].as_str().unwrap();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    validator(group, object["kind"].as_str().unwrap()).unwrap()
}

/// What is wrong with a new object.
pub(super) fn created(object: Value) -> Vec<String> {
    let object = read(object);
    texts(&rules(&object).create(&object))
}

/// What is wrong with an object after `change`, where each pair is a pointer and the value that it gets.
pub(super) fn updated(object: Value, change: &[(&str, Value)]) -> Vec<String> {
    let old = read(object.clone());
    let new = changed(object, change);
    texts(&rules(&old).update(&new, &old))
}

/// What is wrong with an object whose status changed.
pub(super) fn status_updated(object: Value, change: &[(&str, Value)]) -> Vec<String> {
    let old = read(object.clone());
    let new = changed(object, change);
    texts(&rules(&old).status_update(&new, &old))
}

fn changed(mut object: Value, change: &[(&str, Value)]) -> Value {
    for (pointer, value) in change {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("no parent of {pointer}"));
        match parent {
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
            parent => parent[name] = value.clone(),
        }
    }
    read(object)
}

/// Returns `object` with `value` at `pointer`.
pub(super) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap_or_else(|| panic!("no parent of {pointer}"))[name] = value;
    object
}

#[test]
fn every_built_in_kind_with_rules_accepts_no_empty_object() {
    for (kind, _) in crate::schema::kinds() {
        let Some(rules) = validator(&kind.group, &kind.kind) else {
            continue;
        };
        let version = if kind.group.is_empty() {
            kind.version.to_string()
        } else {
            format!("{}/{}", kind.group, kind.version)
        };
        let empty = read(json!({"apiVersion": version, "kind": kind.kind}));

        assert!(!rules.create(&empty).is_empty(), "{kind:?}");
        rules.update(&empty, &empty);
        rules.status_update(&empty, &empty);
    }
}

fn generic() -> Validator {
    Validator::of_metadata(NameRule::Subdomain, true)
}

fn thing(metadata: Value) -> Value {
    json!({"kind": "Thing", "apiVersion": "example.com/v1", "metadata": metadata})
}

#[test]
fn a_name_and_a_namespace_are_required() {
    assert_eq!(
        texts(&generic().create(&thing(json!({})))),
        [
            "metadata.name: Required value: name or generateName is required",
            "metadata.namespace: Required value"
        ]
    );
    assert_eq!(
        texts(
            &Validator::of_metadata(NameRule::PathSegment, false)
                .create(&thing(json!({"name": "a/b", "namespace": "n"})))
        ),
        [
            "metadata.name: Invalid value: \"a/b\": may not contain '/'",
            "metadata.namespace: Forbidden: not allowed on this type"
        ]
    );
}

#[test]
fn a_prefix_may_end_in_a_dash_where_a_name_may_not() {
    for rule in [NameRule::Subdomain, NameRule::Label, NameRule::Label1035] {
        assert!(rule.check_prefix("web-").is_empty(), "{rule:?}");
        assert!(!rule.check("web-").is_empty(), "{rule:?}");
        assert!(!rule.check_prefix("We-").is_empty(), "{rule:?}");
    }
    assert!(!NameRule::Subdomain.check_prefix("-").is_empty());
}

#[test]
fn annotations_hold_a_quarter_of_a_mebibyte() {
    let of_size =
        |size: usize| thing(json!({"name": "a", "namespace": "n", "annotations": {"k": "x".repeat(size)}}));

    assert!(generic().create(&of_size((256 << 10) - 1)).is_empty());
    assert_eq!(
        texts(&generic().create(&of_size(256 << 10))),
        ["metadata.annotations: Too long: may not be more than 262144 bytes"]
    );
}

#[test]
fn owners_are_complete_and_only_one_of_them_controls() {
    let owner =
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "o", "uid": "u", "controller": true});

    let incomplete =
        generic().create(&thing(json!({"name": "a", "namespace": "n", "ownerReferences": [{}]})));
    let two =
        generic().create(&thing(json!({"name": "a", "namespace": "n", "ownerReferences": [owner, owner]})));

    assert_eq!(incomplete.len(), 4);
    assert_eq!(
        incomplete[0].to_string(),
        "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty"
    );
    assert_eq!(two.len(), 1);
    assert!(
        two[0].message.ends_with("in references for ReplicaSet/o and ReplicaSet/o"),
        "{}",
        two[0].message
    );
}

#[test]
fn an_update_keeps_the_name_and_gets_no_finalizer_once_deleted() {
    let deleted =
        json!({"name": "a", "namespace": "n", "uid": "u", "deletionTimestamp": "2020-01-01T00:00:00Z"});
    let mut changed = deleted.clone();
    changed["name"] = "b".into();
    changed["finalizers"] = json!(["example.com/x"]);

    let mut errors = texts(&generic().update(&thing(changed), &thing(deleted)));
    errors.dedup();
    errors.truncate(2);
    assert_eq!(
        errors,
        [
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
             finalizers []string{\"example.com/x\"}",
            "metadata.name: Invalid value: \"b\": field is immutable",
        ]
    );
}

#[test]
fn a_client_does_not_mark_an_object_deleted() {
    let old = thing(json!({"name": "a", "namespace": "n", "uid": "u"}));
    let new = thing(json!({"name": "a", "namespace": "n", "deletionTimestamp": "2001-02-03T04:05:06Z"}));

    assert_eq!(
        texts(&generic().update(&new, &old)),
        ["metadata.deletionTimestamp: Invalid value: 2001-02-03 04:05:06 +0000 UTC: field is immutable"; 2]
    );
}

#[test]
fn a_status_lists_each_mistake_once_in_its_message_and_all_in_its_causes() {
    let error = FieldError::required(Path::root("spec").child("ports").index(0).child("name"), "");

    assert_eq!(
        aggregate("Service", "s", std::slice::from_ref(&error)).0,
        "Service \"s\" is invalid: spec.ports[0].name: Required value"
    );
    let other = FieldError::not_supported(Path::root("m").key("k"), "x", &["A", "B"]);
    let (message, causes) = aggregate("Deployment.apps", "d", &[error.clone(), error, other]);
    assert_eq!(
        message,
        "Deployment.apps \"d\" is invalid: [spec.ports[0].name: Required value, m[k]: Unsupported value: \"x\": \
         supported values: \"A\", \"B\"]"
    );
    assert_eq!(causes.len(), 3);
    assert_eq!(
        causes[0],
        json!({"reason": "FieldValueRequired", "message": "Required value", "field": "spec.ports[0].name"})
    );
}

#[test]
fn values_are_shown_as_go_shows_them() {
    assert_eq!(Shown::from(&json!(["a", "b"])).0, "[]string{\"a\", \"b\"}");
    assert_eq!(Shown::from(&json!({"a": "b"})).0, "map[string]string{\"a\":\"b\"}");
    assert_eq!(Shown::from(&Value::Null).0, "\"null\"");
    assert_eq!(go::int_or_string(&json!("5%")).0, "intstr.IntOrString{Type:1, IntVal:0, StrVal:\"5%\"}");
    assert_eq!(
        go::quantity("1500m").0,
        "resource.Quantity{i:resource.int64Amount{value:1500, scale:-3}, d:resource.infDecAmount{Dec:(*inf.Dec)(nil)}, \
         s:\"1500m\", Format:\"DecimalSI\"}"
    );
    assert!(go::quantity("1Ki").0.contains("{value:1024, scale:0}"));
    assert!(go::quantity("5e3").0.contains("{value:5, scale:3}"));
}
