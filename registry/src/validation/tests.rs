use serde_json::{Value, json};

use super::*;

/// What is wrong, as `field: message`.
fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
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

    assert_eq!(
        texts(&generic().update(&thing(changed), &thing(deleted))),
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
        ["metadata.deletionTimestamp: Invalid value: 2001-02-03 04:05:06 +0000 UTC: field is immutable"]
    );
}

#[test]
fn a_status_lists_each_mistake_once_in_its_message_and_all_in_its_causes() {
    let error = FieldError::required(Path::root("spec").child("ports").index(0).child("name"), "");

    assert_eq!(
        aggregate("Service", "s", &[error.clone()]).0,
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
