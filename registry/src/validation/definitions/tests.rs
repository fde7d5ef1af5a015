use serde_json::{Value, json};

use super::super::error::FieldError;
use super::DEFINITION;

fn definition() -> Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}},
            }}}],
        },
        "status": {"storedVersions": ["v1"]},
    })
}

/// What is wrong with the definition after a change, by places.
fn places(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut changed = definition();
    change(&mut changed);
    DEFINITION.create(&changed).into_iter().map(|error: FieldError| error.field).collect()
}

fn messages(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut changed = definition();
    change(&mut changed);
    DEFINITION.create(&changed).iter().map(ToString::to_string).collect()
}

#[test]
fn a_sound_definition_has_no_errors() {
    assert!(messages(|_| {}).is_empty());
}

#[test]
fn what_all_versions_share_is_told_at_the_top_and_all_else_in_its_version() {
    let column = json!([{"name": "A", "type": "text", "jsonPath": "spec"}]);
    let alone = places(|it| it["spec"]["versions"][0]["additionalPrinterColumns"] = column.clone());
    let among = places(|it| {
        let mut second = it["spec"]["versions"][0].clone();
        second["name"] = "v2".into();
        second["storage"] = false.into();
        second["additionalPrinterColumns"] = column.clone();
        it["spec"]["versions"].as_array_mut().unwrap().push(second);
    });

    let top = "spec.additionalPrinterColumns[0]";
    assert_eq!(alone, [format!("{top}.type"), format!("{top}.JSONPath")]);
    let own = "spec.versions[1].additionalPrinterColumns[0]";
    assert_eq!(among, [format!("{own}.type"), format!("{own}.JSONPath")]);
}

#[test]
fn names_scale_paths_and_selectable_fields_follow_their_rules() {
    let names = places(|it| {
        it["spec"]["names"]["shortNames"] = json!(["W"]);
        it["spec"]["names"]["listKind"] = "Widget".into();
    });
    let scale = messages(|it| {
        it["spec"]["versions"][0]["subresources"] =
            json!({"scale": {"specReplicasPath": ".status.n", "statusReplicasPath": "n"}});
    });
    let fields = messages(|it| {
        it["spec"]["versions"][0]["selectableFields"] =
            json!([{"jsonPath": ".spec.a"}, {"jsonPath": ".spec.b"}, {"jsonPath": ".spec"}]);
    });

    assert_eq!(names, ["spec.names.shortNames[0]", "spec.names.listKind"]);
    assert_eq!(
        scale,
        [
            "spec.subresources.scale.specReplicasPath: Invalid value: \".status.n\": should be a json path under .spec",
            "spec.subresources.scale.statusReplicasPath: Invalid value: \"n\": must be a simple json path starting with .",
        ]
    );
    assert_eq!(fields.len(), 2, "{fields:?}");
    assert!(fields[0].contains(".spec.b\": is an invalid path"), "{fields:?}");
    assert!(fields[1].contains("must point to a field of type string, boolean or integer"), "{fields:?}");
}

#[test]
fn what_is_stored_keeps_its_version_and_an_established_kind_its_name() {
    let (mut old, mut new) = (definition(), definition());
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    new["spec"]["names"]["kind"] = "Gadget".into();
    new["spec"]["versions"][0]["name"] = "v2".into();
    new["status"]["storedVersions"] = json!(["v1", "v2"]);

    let errors: Vec<String> = DEFINITION.update(&new, &old).iter().map(ToString::to_string).collect();

    assert_eq!(errors[0], "spec.names.kind: Invalid value: \"Gadget\": field is immutable");
    assert!(
        errors[1].starts_with("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions;")
    );
}

#[test]
fn parts_that_are_only_in_alternatives_or_not_openapi_are_refused() {
    let errors = messages(|it| {
        let spec = &mut it["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        spec["oneOf"] = json!([{"required": ["b"], "properties": {"b": {"minLength": 1}}}]);
        spec["$ref"] = "#/x".into();
        spec["uniqueItems"] = true.into();
    });

    let at = "spec.validation.openAPIV3Schema.properties[spec]";
    assert_eq!(
        errors,
        [
            format!(
                "{at}.properties[b]: Required value: because it is defined in {at}.oneOf[0].properties[b]"
            ),
            format!("{at}.$ref: Forbidden: $ref is not supported"),
            format!(
                "{at}.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            ),
        ]
    );
}
