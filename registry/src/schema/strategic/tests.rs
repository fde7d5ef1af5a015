use proptest::prelude::*;
use serde_json::{Value, json};

use super::{StrategicMergeError, strategic_merge};
use crate::schema::{Structure, builtin};

fn deployment() -> &'static Structure {
    builtin("apps", "v1", "Deployment").expect("a built-in kind")
}

/// A deployment with this pod spec, patched with that.
fn patch_pod(spec: Value, patch: Value) -> Result<Value, StrategicMergeError> {
    let wrap = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    let merged = strategic_merge(wrap(spec), wrap(patch), deployment())?;
    Ok(merged["spec"]["template"]["spec"].clone())
}

fn patch_metadata(metadata: Value, patch: Value) -> Result<Value, StrategicMergeError> {
    let merged = strategic_merge(json!({"metadata": metadata}), json!({"metadata": patch}), deployment())?;
    Ok(merged["metadata"].clone())
}

#[test]
fn containers_and_their_environment_merge_by_name_and_new_members_come_before_old() {
    let old = json!({"containers": [
        {"name": "c", "image": "i", "args": ["one", "two"], "env": [{"name": "E", "value": "1"}, {"name": "F", "value": "2"}]},
        {"name": "d", "image": "j"},
    ]});
    let patch = json!({"containers": [
        {"name": "c", "args": ["three"], "env": [{"name": "E", "value": "changed"}, {"name": "G", "value": "3"}]},
        {"name": "z", "image": "new"},
    ]});

    assert_eq!(
        patch_pod(old, patch).unwrap()["containers"],
        json!([
            {"name": "c", "image": "i", "args": ["three"],
                "env": [{"name": "E", "value": "changed"}, {"name": "G", "value": "3"}, {"name": "F", "value": "2"}]},
            {"name": "z", "image": "new"},
            {"name": "d", "image": "j"},
        ])
    );
}

#[test]
fn a_member_is_deleted_and_a_list_replaced_by_directive() {
    let old = json!({"containers": [{"name": "c"}, {"name": "d"}]});

    let deleted = patch_pod(old.clone(), json!({"containers": [{"name": "d", "$patch": "delete"}]})).unwrap();
    let replaced =
        patch_pod(old, json!({"containers": [{"name": "only", "image": "k"}, {"$patch": "replace"}]}))
            .unwrap();

    assert_eq!(deleted["containers"], json!([{"name": "c"}]));
    assert_eq!(replaced["containers"], json!([{"name": "only", "image": "k"}]));
}

#[test]
fn a_map_is_replaced_or_emptied_by_directive_and_null_deletes() {
    let old = json!({"annotations": {"a": "b"}, "labels": {"c": "d"}});

    let replaced =
        patch_metadata(old.clone(), json!({"annotations": {"$patch": "replace", "x": "y"}})).unwrap();
    let deleted = patch_metadata(old.clone(), json!({"annotations": {"$patch": "delete"}})).unwrap();
    let nulled =
        patch_metadata(old, json!({"annotations": {"a": null, "e": "f"}, "labels": null, "name": null}));

    assert_eq!(replaced["annotations"], json!({"x": "y"}));
    assert_eq!(deleted["annotations"], json!({}));
    assert_eq!(nulled.unwrap(), json!({"annotations": {"e": "f"}}));
}

#[test]
fn directives_that_are_none_and_members_without_their_key_are_refused() {
    let old = json!({"containers": [{"name": "c"}]});
    let internal = |message: &str| Err(StrategicMergeError::Internal(message.into()));

    assert_eq!(
        patch_metadata(json!({"annotations": {}}), json!({"annotations": {"$patch": "merge", "q": "r"}})),
        internal("unknown patch type: merge in map: map[$patch:merge q:r]")
    );
    assert_eq!(
        patch_pod(old.clone(), json!({"containers": [{"image": "nameless"}]})),
        internal("map: map[image:nameless] does not contain declared merge key: name")
    );
    assert_eq!(
        patch_pod(old.clone(), json!({"containers": [{"name": "c", "$patch": "merge"}]})),
        internal("merging lists cannot yet be specified in the patch")
    );
    assert_eq!(
        patch_pod(old, json!({"containers": ["c"]})),
        internal("list element types are not identical: [[map[name:c]] [c]]")
    );
    assert_eq!(
        strategic_merge(json!({}), json!([]), deployment()),
        Err(StrategicMergeError::BadRequest(
            "json: cannot unmarshal array into Go value of type map[string]interface {}".into()
        ))
    );
}

#[test]
fn lists_without_a_strategy_are_replaced_as_a_whole() {
    let old = json!({"tolerations": [{"key": "k1"}]});

    let merged = patch_pod(old, json!({"tolerations": [{"key": "k2", "effect": null}]})).unwrap();

    assert_eq!(merged["tolerations"], json!([{"key": "k2"}]));
}

#[test]
fn keys_that_are_not_to_be_retained_go() {
    let old = json!({"volumes": [{"name": "v", "emptyDir": {}}]});

    let merged = patch_pod(
        old.clone(),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "m"}}]}),
    );
    let refused = patch_pod(
        old,
        json!({"volumes": [{"name": "v", "$retainKeys": ["name"], "configMap": {"name": "m"}}]}),
    );

    assert_eq!(merged.unwrap()["volumes"], json!([{"name": "v", "configMap": {"name": "m"}}]));
    assert_eq!(refused, Err(StrategicMergeError::BadRequest("invalid patch format of retainKeys".into())));
}

#[test]
fn primitive_lists_merge_as_sets_and_members_are_deleted_and_ordered_by_directive() {
    let old = json!({"finalizers": ["a", "b"]});

    let merged = patch_metadata(old.clone(), json!({"finalizers": ["c", "a"]})).unwrap();
    let deleted = patch_metadata(old.clone(), json!({"$deleteFromPrimitiveList/finalizers": ["a"]})).unwrap();
    let ordered = patch_metadata(old.clone(), json!({"$setElementOrder/finalizers": ["b", "a"]})).unwrap();
    let all = patch_metadata(
        old,
        json!({"finalizers": ["c"], "$setElementOrder/finalizers": ["c", "b"], "$deleteFromPrimitiveList/finalizers": ["a"]}),
    );

    assert_eq!(merged, json!({"finalizers": ["c", "a", "b"]}));
    assert_eq!(deleted, json!({"finalizers": ["b"]}));
    assert_eq!(ordered, json!({"finalizers": ["b", "a"]}));
    assert_eq!(all.unwrap(), json!({"finalizers": ["c", "b"]}));
}

#[test]
fn the_order_of_a_list_of_objects_is_set_and_others_keep_their_place() {
    let old = json!({"containers": [{"name": "a"}, {"name": "server"}, {"name": "b"}]});
    let patch = json!({
        "$setElementOrder/containers": [{"name": "a"}, {"name": "new"}, {"name": "b"}],
        "containers": [{"name": "new", "image": "i"}, {"name": "b", "image": "j"}],
    });

    let merged = patch_pod(old.clone(), patch).unwrap();
    let refused = patch_pod(
        old,
        json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "c"}]}),
    );

    assert_eq!(
        merged["containers"],
        json!([{"name": "a"}, {"name": "new", "image": "i"}, {"name": "server"}, {"name": "b", "image": "j"}])
    );
    assert_eq!(
        refused,
        Err(StrategicMergeError::Internal(
            "The order in patch list:\n[map[name:c]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n"
                .into()
        ))
    );
}

#[test]
fn long_lists_are_merged_without_pairing_each_with_each() {
    let containers =
        |offset: usize| (0..20_000).map(|at| json!({"name": (at + offset).to_string()})).collect::<Value>();

    let merged =
        patch_pod(json!({"containers": containers(0)}), json!({"containers": containers(10_000)})).unwrap();

    assert_eq!(merged["containers"].as_array().unwrap().len(), 30_000);
}

#[test]
fn directives_in_what_meets_nothing_leave_no_trace() {
    let patch = json!({"volumes": [
        {"name": "v", "$retainKeys": ["name"], "projected": {"$patch": "replace", "defaultMode": null}},
        {"name": "gone", "$patch": "delete"},
    ]});

    assert_eq!(patch_pod(json!({}), patch).unwrap(), json!({"volumes": [{"name": "v", "projected": {}}]}));
}

fn any_patch() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("template"),
        Just("containers"),
        Just("name"),
        Just("finalizers"),
        Just("$patch"),
        Just("$retainKeys"),
        Just("$setElementOrder/containers"),
        Just("$setElementOrder"),
        Just("$deleteFromPrimitiveList/finalizers"),
        Just("$deleteFromPrimitiveList"),
        Just("labels"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!("replace")),
        Just(json!("delete")),
        Just(json!("a")),
        Just(json!(1)),
    ];
    leaf.prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..5).prop_map(|map| {
                Value::Object(map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_patch_makes_the_merge_panic(target in any_patch(), patch in any_patch()) {
        let _ = strategic_merge(target, patch, deployment());
    }

    #[test]
    fn an_empty_patch_changes_nothing(target in any_patch()) {
        if target.is_object() {
            prop_assert_eq!(strategic_merge(target.clone(), json!({}), deployment()).unwrap(), target);
        }
    }
}

#[test]
fn a_member_that_is_replaced_is_not_merged() {
    let budget = builtin("policy", "v1", "PodDisruptionBudget").expect("a built-in kind");
    let selects = |labels: Value| json!({"spec": {"selector": {"matchLabels": labels}, "minAvailable": 1}});

    let merged = strategic_merge(
        selects(json!({"a": "1"})),
        json!({"spec": {"selector": {"matchLabels": {"b": "2"}}}}),
        budget,
    );

    assert_eq!(merged.unwrap(), selects(json!({"b": "2"})));
}
