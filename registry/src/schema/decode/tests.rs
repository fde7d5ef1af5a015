use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{MAX_DEPTH, apply_defaults, builtin, kinds};
use super::{Decoded, decode_json, decode_value};

fn decode(kind: &str, text: &str) -> Result<Decoded, String> {
    let structure = ["", "apps", "coordination.k8s.io"]
        .iter()
        .find_map(|group| builtin(group, "v1", kind))
        .expect("a built-in kind");
    decode_json(structure, text.as_bytes()).map_err(|e| e.to_string())
}

fn error(kind: &str, text: &str) -> String {
    decode(kind, text).expect_err("refused")
}

#[test]
fn unknown_fields_are_dropped_and_reported_with_their_path() {
    let decoded = decode(
        "Pod",
        r#"{"metadata":{"name":"a","Labels":{}},"spec":{"foo":1,"containers":[{"name":"c","foo":{"bar":1}}]},"extra":2}"#,
    )
    .unwrap();

    assert_eq!(
        decoded.strict_errors,
        [
            r#"unknown field "extra""#,
            r#"unknown field "metadata.Labels""#,
            r#"unknown field "spec.foo""#,
            r#"unknown field "spec.containers[0].foo""#
        ]
    );
    assert_eq!(decoded.value["spec"]["containers"], json!([{"name": "c", "resources": {}}]));
}

#[test]
fn of_a_field_that_stands_twice_the_last_counts_and_parts_are_merged() {
    let decoded = decode(
        "ConfigMap",
        r#"{"metadata":{"name":"a"},"metadata":{"labels":{"x":"1"}},"immutable":false,"immutable":true,"data":{"k":"1","k":"2"}}"#,
    )
    .unwrap();

    assert_eq!(
        decoded.value,
        json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "immutable": true, "data": {"k": "2"}})
    );
    assert_eq!(
        decoded.strict_errors,
        [r#"duplicate field "metadata""#, r#"duplicate field "immutable""#, r#"duplicate field "data.k""#]
    );
}

#[test]
fn many_duplicates_of_large_objects_are_read_in_linear_time() {
    let member = |at: usize| format!(r#""data":{{"{at}":""}}"#);
    let members: Vec<String> = (0..100_000).map(member).collect();

    let decoded = decode("ConfigMap", &format!("{{{}}}", members.join(","))).unwrap();

    assert_eq!(decoded.value["data"].as_object().unwrap().len(), 100_000);
    assert_eq!(decoded.strict_errors.len(), 100);
}

#[test]
fn an_object_has_a_bounded_number_of_parts() {
    let text = format!(r#"{{"spec":{{"containers":[{}{{}}]}}}}"#, "{},".repeat(200_000));

    assert_eq!(error("Pod", &text), "object has more than 100000 parts");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_in_the_words_of_encoding_json() {
    let cases = [
        (
            r#"{"spec":{"ports":[{"port":"80"}]}}"#,
            "string into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            r#"{"spec":{"ports":[{"port":80.5}]}}"#,
            "number 80.5 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            r#"{"spec":{"ports":[{"port":8e1}]}}"#,
            "number 8e1 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            r#"{"spec":{"ports":[{"port":99999999999}]}}"#,
            "number 99999999999 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            r#"{"spec":{"ports":{"port":80}}}"#,
            "object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort",
        ),
        (
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r#"{"metadata":{"generation":"1"}}"#,
            "string into Go struct field ObjectMeta.metadata.generation of type int64",
        ),
        (r#"{"spec":true}"#, "bool into Go struct field Service.spec of type v1.ServiceSpec"),
        (r#"[]"#, "array into Go value of type v1.Service"),
        (r#"{"spec":{"ports":[{"targetPort":{}}]}}"#, "object into Go value of type int32"),
    ];

    for (text, expected) in cases {
        assert_eq!(error("Service", text), format!("json: cannot unmarshal {expected}"), "{text}");
    }
}

#[test]
fn text_that_is_no_json_is_refused_in_the_words_of_encoding_json() {
    let cases = [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
        (r#"{"a" 1}"#, "invalid character '1' after object key"),
        (r#"{"a":1 "b":2}"#, r#"invalid character '"' after object key:value pair"#),
        ("{\"a\":[1 2]}", "invalid character '2' after array element"),
        ("{\"a\":tru}", "invalid character '}' in literal true (expecting 'e')"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("{\"a\":01}", "invalid character '1' after object key:value pair"),
        ("{\"a\":1.}", "invalid character '}' after decimal point in numeric literal"),
        ("{\"a\":\"\u{1}\"}", r"invalid character '\x01' in string literal"),
        (r#"{"a":"\x"}"#, "invalid character 'x' in string escape code"),
        ("hello", "invalid character 'h' looking for beginning of value"),
    ];

    for (text, expected) in cases {
        assert_eq!(error("Pod", text), expected, "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{{\"x\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));

    assert!(decode("ConfigMap", &nested(MAX_DEPTH - 1)).is_ok());
    assert_eq!(error("ConfigMap", &nested(MAX_DEPTH)), "exceeded max depth");
    assert_eq!(error("ConfigMap", &nested(1_000_000)), "exceeded max depth");
}

#[test]
fn null_means_absent_and_is_the_empty_value_inside_lists_and_maps() {
    let decoded = decode(
        "Pod",
        r#"{"metadata":{"name":"a","labels":null,"annotations":{"k":null}},"spec":{"containers":[null],"hostNetwork":null}}"#,
    )
    .unwrap();

    assert_eq!(decoded.value["metadata"], json!({"name": "a", "annotations": {"k": ""}}));
    assert_eq!(decoded.value["spec"], json!({"containers": [{"name": "", "resources": {}}]}));
}

#[test]
fn what_go_would_not_write_is_left_out_and_what_it_always_writes_is_added() {
    let decoded = decode(
        "ReplicationController",
        r#"{"metadata":{"labels":{},"finalizers":[]},"spec":{"replicas":0,"minReadySeconds":0,"template":{"spec":{"hostNetwork":false,"nodeName":""}}}}"#,
    )
    .unwrap();

    assert_eq!(
        decoded.value,
        json!({
            "metadata": {},
            "spec": {"replicas": 0, "template": {"metadata": {}, "spec": {"containers": null}}},
            "status": {"replicas": 0},
        })
    );
}

#[test]
fn what_belongs_to_a_feature_that_is_off_is_dropped_without_a_word() {
    let decoded = decode(
        "Pod",
        r#"{"spec":{"resources":{"limits":{"cpu":"1"}},"containers":[{"name":"c","lifecycle":{"stopSignal":"SIGINT"}}]}}"#,
    )
    .unwrap();

    assert_eq!(decoded.strict_errors, Vec::<String>::new());
    assert_eq!(
        decoded.value["spec"],
        json!({"containers": [{"name": "c", "resources": {}, "lifecycle": {}}]})
    );
}

#[test]
fn quantities_times_and_bytes_get_their_canonical_form() {
    let pod = decode(
        "Pod",
        r#"{"spec":{"containers":[{"name":"c","resources":{"limits":{"memory":"1.5Gi","cpu":0.1}}}]},"status":{"startTime":"2020-01-01T02:00:00.5+02:00"}}"#,
    )
    .unwrap();
    let lease = decode("Lease", r#"{"spec":{"renewTime":"2020-01-01T00:00:00.000001Z"}}"#).unwrap();
    let secret = decode("Secret", "{\"data\":{\"a\":\"aGk=\\n\"}}").unwrap();

    assert_eq!(
        pod.value["spec"]["containers"][0]["resources"]["limits"],
        json!({"memory": "1536Mi", "cpu": "100m"})
    );
    assert_eq!(pod.value["status"]["startTime"], "2020-01-01T00:00:00Z");
    assert_eq!(lease.value["spec"]["renewTime"], "2020-01-01T00:00:00.000001Z");
    assert_eq!(secret.value["data"]["a"], "aGk=");
}

#[test]
fn times_of_all_years_of_four_digits_are_read_whatever_their_offset() {
    let time = |text: &str| {
        let pod = decode("Pod", &json!({"status": {"startTime": text}}).to_string());
        pod.map(|pod| pod.value["status"]["startTime"].as_str().unwrap().to_owned())
    };
    let micro = decode("Lease", r#"{"spec":{"renewTime":"9999-12-31T23:59:59.999999Z"}}"#).unwrap();

    for (given, read) in [
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59Z"),
        ("9999-12-31T01:00:00+24:00", "9999-12-30T01:00:00Z"),
        ("9999-12-30T22:00:00-24:00", "9999-12-31T22:00:00Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00+23:00", "0000-12-31T01:00:00Z"),
        ("2024-02-29T12:00:00+05:30", "2024-02-29T06:30:00Z"),
    ] {
        assert_eq!(time(given).as_deref(), Ok(read), "{given}");
    }
    assert_eq!(micro.value["spec"]["renewTime"], "9999-12-31T23:59:59.999999Z");
    // What no reader could read again is refused.
    for given in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01"] {
        assert!(time(given).is_err(), "{given}");
    }
}

#[test]
fn quantities_times_and_bytes_that_are_none_are_refused_in_gos_words() {
    let time = |text: &str| error("Pod", &json!({"status": {"startTime": text}}).to_string());

    assert_eq!(
        time("yesterday"),
        r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#
    );
    assert_eq!(
        time("2020-01-01 00:00:00Z"),
        r#"parsing time "2020-01-01 00:00:00Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 00:00:00Z" as "T""#
    );
    assert_eq!(time("2020-13-01T00:00:00Z"), r#"parsing time "2020-13-01T00:00:00Z": month out of range"#);
    assert_eq!(time("2020-02-30T00:00:00Z"), r#"parsing time "2020-02-30T00:00:00Z": day out of range"#);
    assert_eq!(time("2020-01-01T00:00:00Zx"), r#"parsing time "2020-01-01T00:00:00Zx": extra text: "x""#);
    assert_eq!(
        error("Lease", r#"{"spec":{"renewTime":"2020-01-01T00:00:00Z"}}"#),
        r#"parsing time "2020-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#
    );
    assert_eq!(
        error("Pod", r#"{"status":{"startTime":5}}"#),
        "json: cannot unmarshal number into Go value of type string"
    );
    assert_eq!(
        error("Node", r#"{"status":{"capacity":{"cpu":"a lot"}}}"#),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    );
    assert_eq!(error("Secret", r#"{"data":{"a":"a b"}}"#), "illegal base64 data at input byte 1");
    assert_eq!(error("Secret", r#"{"data":{"a":"aGk"}}"#), "illegal base64 data at input byte 0");
    assert_eq!(error("Secret", r#"{"data":{"a":"aGk=="}}"#), "illegal base64 data at input byte 4");
}

#[test]
fn unpaired_surrogates_and_invalid_utf_8_become_replacement_characters() {
    let structure = builtin("", "v1", "ConfigMap").unwrap();

    let decoded =
        decode_json(structure, b"{\"data\":{\"a\":\"\\ud800x\\ud83d\\ude00\",\"b\":\"\xff\"}}").unwrap();

    assert_eq!(decoded.value["data"], json!({"a": "\u{fffd}x\u{1f600}", "b": "\u{fffd}"}));
}

#[test]
fn the_schema_of_a_custom_resource_is_pruned_at_every_depth() {
    let structure = builtin("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
    let text = r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"properties":{"a":{
        "items":{"type":"string","nope":1},"additionalProperties":false,"default":{"any":[1,null]}}}}}}]}}"#;

    let decoded = decode_json(structure, text.as_bytes()).unwrap();

    let path = "spec.versions[0].schema.openAPIV3Schema.properties.a.items.nope";
    assert_eq!(decoded.strict_errors, [format!("unknown field \"{path}\"")]);
    assert_eq!(
        decoded.value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["a"],
        json!({"items": {"type": "string"}, "additionalProperties": false, "default": {"any": [1, null]}})
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("status"),
        Just("name"),
        Just("containers"),
        Just("template"),
        Just("ports"),
        Just("resources"),
        Just("limits"),
        Just("volumes"),
        Just("emptyDir"),
        Just("nonsense"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(names.clone(), inner, 0..6).prop_map(|map| {
                Value::Object(map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_any_kind_panic_and_what_is_accepted_is_stable(value in any_json()) {
        for (_, structure) in kinds().step_by(7) {
            if let Ok(mut decoded) = decode_value(structure, value.clone()) {
                apply_defaults(structure, &mut decoded.value);
                let once = decode_value(structure, decoded.value).unwrap();
                let mut twice = once.value.clone();
                apply_defaults(structure, &mut twice);
                prop_assert_eq!(&once.strict_errors, &Vec::<String>::new());
                prop_assert_eq!(&once.value, &decode_value(structure, twice).unwrap().value);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic_and_it_agrees_with_serde_json(bytes in "[\\[\\]{}\",:a-c0-9.eE+ tfn\\\\u-]{0,40}") {
        let ours = super::parse::parse(bytes.as_bytes()).map_err(|_| ()).and_then(|node| node.into_value().map_err(|_| ()));
        let theirs = serde_json::from_str::<Value>(&bytes).map_err(|_| ());
        if let (Ok(ours), Ok(theirs)) = (&ours, &theirs) {
            // Numbers beyond 64 bits and negative zero are the ones that are read differently.
            prop_assert!(ours == theirs || bytes.contains(|c: char| c.is_ascii_digit()), "{ours} {theirs}");
        } else {
            // A lone surrogate is the one thing that Go reads and serde_json does not.
            prop_assert!(ours.is_err() == theirs.is_err() || bytes.contains("\\u"));
        }
    }
}
