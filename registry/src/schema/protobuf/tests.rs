use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::{Structure, Type, apply_defaults, builtin, decode_json, decode_value, kinds};
use super::{decode_protobuf, encode_protobuf, encode_protobuf_list, open_envelope};

fn decode(bytes: &[u8]) -> Result<Value, String> {
    let envelope = open_envelope(bytes).map_err(|e| e.to_string())?;
    let kind = envelope.kind();
    let structure = builtin(&kind.group, &kind.version, &kind.kind).expect("a built-in kind");
    decode_protobuf(structure, bytes).map(|decoded| decoded.value).map_err(|e| e.to_string())
}

/// An envelope around a message, both written by hand.
fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut type_meta = vec![0x0a, api_version.len() as u8];
    type_meta.extend_from_slice(api_version.as_bytes());
    type_meta.extend_from_slice(&[0x12, kind.len() as u8]);
    type_meta.extend_from_slice(kind.as_bytes());
    let mut bytes = b"k8s\0".to_vec();
    bytes.extend_from_slice(&[0x0a, type_meta.len() as u8]);
    bytes.extend_from_slice(&type_meta);
    bytes.extend_from_slice(&[0x12, message.len() as u8]);
    bytes.extend_from_slice(message);
    bytes.extend_from_slice(&[0x1a, 0, 0x22, 0]);
    bytes
}

#[test]
fn a_namespace_as_kubectl_posts_it_is_read() {
    // metadata {name "demo", generateName, namespace, selfLink, uid, resourceVersion "", generation 0,
    // creationTimestamp {}}, spec {}, status {phase ""}
    let message = [
        0x0a, 0x14, 0x0a, 0x04, b'd', b'e', b'm', b'o', 0x12, 0, 0x1a, 0, 0x22, 0, 0x2a, 0, 0x32, 0, 0x38, 0,
        0x42, 0, 0x12, 0, 0x1a, 2, 0x0a, 0,
    ];

    assert_eq!(
        decode(&envelope("v1", "Namespace", &message)).unwrap(),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}, "spec": {}, "status": {}})
    );
}

#[test]
fn special_forms_are_read() {
    // spec {ports [{name "p", port 80, targetPort {type 1, intVal 0, strVal "web"}}, {port 443, targetPort {0, 8443}}],
    // selector {"a": "b"}}
    let message = [
        0x12, 0x28, //
        0x0a, 0x10, 0x0a, 1, b'p', 0x18, 80, 0x22, 0x09, 0x08, 1, 0x10, 0, 0x1a, 3, b'w', b'e', b'b', //
        0x0a, 0x0c, 0x18, 0xbb, 3, 0x22, 0x07, 0x08, 0, 0x10, 0xfb, 0x41, 0x1a, 0, //
        0x12, 0x06, 0x0a, 1, b'a', 0x12, 1, b'b',
    ];

    let service = decode(&envelope("v1", "Service", &message)).unwrap();

    assert_eq!(
        service["spec"],
        json!({"selector": {"a": "b"}, "ports": [{"name": "p", "port": 80, "targetPort": "web"}, {"port": 443, "targetPort": 8443}]})
    );
}

#[test]
fn what_json_inlines_is_read_from_the_message_inside() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "creationTimestamp": "2020-01-02T03:04:05Z", "labels": {"a": "", "b": "c"}},
        "spec": {
            "volumes": [{"name": "v", "configMap": {"name": "m", "defaultMode": 0, "optional": false}}],
            "containers": [{"name": "c", "resources": {"limits": {"memory": "1.5Gi"}},
                "livenessProbe": {"httpGet": {"port": "web"}, "timeoutSeconds": 3},
                "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                "securityContext": {"runAsUser": -1}}],
        },
    });
    let structure = builtin("", "v1", "Pod").unwrap();
    let pod = decode_value(structure, pod).unwrap().value;

    let bytes = encode_protobuf(structure, &pod).unwrap();

    // volume {name "v", volumeSource {configMap {localObjectReference {name "m"}, defaultMode 0, optional false}}}
    let volume =
        [0x0a, 0x11, 0x0a, 1, b'v', 0x12, 0x0c, 0x9a, 0x01, 0x09, 0x0a, 3, 0x0a, 1, b'm', 0x18, 0, 0x20, 0];
    assert!(bytes.windows(volume.len()).any(|window| window == volume), "{bytes:x?}");
    assert_eq!(decode(&bytes).unwrap(), pod);
}

#[test]
fn a_value_that_a_map_leaves_out_is_empty() {
    // data {"a"}, binaryData {"b"}
    let message = [0x12, 3, 0x0a, 1, b'a', 0x1a, 3, 0x0a, 1, b'b'];

    let map = decode(&envelope("v1", "ConfigMap", &message)).unwrap();

    assert_eq!((&map["data"], &map["binaryData"]), (&json!({"a": ""}), &json!({"b": ""})));
}

#[test]
fn an_envelope_may_hold_json() {
    let mut bytes = envelope("v1", "ConfigMap", br#"{"data":{"a":"b"}}"#);
    bytes.truncate(bytes.len() - 2);
    bytes.extend_from_slice(&[0x22, 16]);
    bytes.extend_from_slice(b"application/json");

    assert_eq!(decode(&bytes).unwrap(), json!({"metadata": {}, "data": {"a": "b"}}));
}

#[test]
fn a_list_is_written_as_the_message_of_its_kind() {
    let structure = builtin("", "v1", "ConfigMap").unwrap();
    let list = json!({"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}}, {"metadata": {}, "data": {"k": "v"}}]});

    let bytes = encode_protobuf_list(structure, "v1", "ConfigMapList", &list).unwrap();

    let mut expected = list;
    expected["apiVersion"] = "v1".into();
    expected["kind"] = "ConfigMapList".into();
    assert_eq!(decode(&bytes).unwrap(), expected);
}

#[test]
fn what_is_no_message_is_refused() {
    let message = |bytes: &[u8]| decode(&envelope("v1", "Pod", bytes)).unwrap_err();

    assert_eq!(
        open_envelope(b"{}").unwrap_err().to_string(),
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    );
    assert_eq!(message(&[0x0a]), "unexpected EOF");
    assert_eq!(message(&[0x0a, 5, 0]), "unexpected EOF");
    assert_eq!(message(&[0x0b]), "proto: illegal wireType 3");
    assert_eq!(message(&[0x02, 0]), "proto: illegal tag 0 (wire type 2)");
    assert_eq!(message(&[0x08, 1]), "proto: wrong wireType = 0");
    assert_eq!(message(&[0xff; 11]), "proto: integer overflow");
}

#[test]
fn nesting_is_bounded() {
    let structure = builtin("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
    let schema = |depth: usize| {
        let mut schema = json!({"type": "string"});
        for _ in 0..depth {
            schema = json!({"not": schema});
        }
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}})
    };

    let fits = encode_protobuf(structure, &schema(100)).unwrap();
    let too_deep = encode_protobuf(structure, &schema(120)).unwrap();

    assert!(decode(&fits).is_ok());
    assert_eq!(decode(&too_deep).unwrap_err(), "exceeded max depth");
}

/// Choices that a random object is made by; none left means the smallest.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, limit: u8) -> u8 {
        self.0.next().map_or(0, |byte| byte % limit)
    }

    fn object(&mut self, structure: &Structure, depth: usize) -> Value {
        let mut object = Map::new();
        for field in structure.fields.iter().filter(|field| !field.wire.is_empty()) {
            if depth < 7 && self.below(3) == 1 {
                object.insert(field.name.to_string(), self.value(&field.ty, depth + 1));
            }
        }
        object.into()
    }

    fn value(&mut self, ty: &Type, depth: usize) -> Value {
        let pick = usize::from(self.below(4));
        match ty {
            Type::Bool => (pick > 1).into(),
            Type::Int32 => [0, 1, -1, i32::MAX][pick].into(),
            Type::Int64 => [0, 300, i64::MIN, i64::MAX][pick].into(),
            Type::Double => [0.0, 1.5, -2.25, 1e300][pick].into(),
            Type::String => ["", "a", "a b", "é\u{0}"][pick].into(),
            Type::Bytes => ["", "AA==", "aGk=", "aGkh"][pick].into(),
            Type::Quantity => ["0", "100m", "1536Mi", "12e6"][pick].into(),
            Type::IntOrString => [json!(0), json!(-5), json!(""), json!("25%")][pick].clone(),
            Type::Time => [
                "1970-01-01T00:00:00Z",
                "2020-01-02T03:04:05Z",
                "1969-12-31T23:59:59Z",
                "9999-12-31T23:59:59Z",
            ][pick]
                .into(),
            Type::MicroTime => [
                "1970-01-01T00:00:00.000000Z",
                "2020-01-02T03:04:05.000006Z",
                "1969-12-31T23:59:59.500000Z",
                "0000-01-01T00:00:00.000001Z",
            ][pick]
                .into(),
            Type::Any => [json!({}), json!({"a": [1, null]}), json!("x"), json!(1)][pick].clone(),
            Type::SchemaOrBool => {
                [json!(true), json!(false), json!({}), json!({"type": "object"})][pick].clone()
            }
            Type::SchemaOrList => {
                [json!({}), json!([{"type": "string"}, {}]), json!({"items": {}}), json!({"type": "a"})][pick]
                    .clone()
            }
            // Only custom kinds have it, and those have no protobuf.
            Type::Nullable(inner) => self.value(inner, depth),
            Type::SchemaOrStrings => {
                [json!({}), json!(["a", ""]), json!({"type": "x"}), json!(["b"])][pick].clone()
            }
            Type::Struct(structure) => self.object(structure, depth),
            Type::List(element) => (0..pick).map(|_| self.value(element, depth)).collect::<Vec<_>>().into(),
            Type::Map(element) => ["a", "", "b/c"]
                .iter()
                .take(pick)
                .map(|key| ((*key).to_owned(), self.value(element, depth)))
                .collect::<Map<_, _>>()
                .into(),
        }
    }
}

/// Protobuf has no empty list.
fn without_empty_lists(value: Value) -> Value {
    match value {
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Array(list) => list.into_iter().map(without_empty_lists).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| (name, without_empty_lists(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(choices in proptest::collection::vec(any::<u8>(), 0..400), at in any::<usize>()) {
        let all: Vec<_> = kinds().collect();
        let (kind, structure) = &all[at % all.len()];
        let object = Choices(choices.iter()).object(structure, 0);
        let mut object = decode_value(structure, object).unwrap().value;
        let api_version = if kind.group.is_empty() { kind.version.to_string() } else { format!("{}/{}", kind.group, kind.version) };
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.kind.as_ref().into();

        let bytes = encode_protobuf(structure, &object).unwrap();

        prop_assert_eq!(without_empty_lists(decode(&bytes).unwrap()), without_empty_lists(object.clone()));
        prop_assert_eq!(decode_json(structure, object.to_string().as_bytes()).unwrap().value, object);
    }

    #[test]
    fn no_bytes_make_any_kind_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4), choices in proptest::collection::vec(any::<u8>(), 0..200)) {
        let structure = builtin("", "v1", "Pod").unwrap();
        let object = decode_value(structure, Choices(choices.iter()).object(structure, 0)).unwrap().value;
        let mut real = encode_protobuf(structure, &object).unwrap();
        for (at, byte) in flips {
            let at = at % real.len();
            real[at] = byte;
        }
        for bytes in [&real, &bytes, &envelope("v1", "Pod", &bytes[..bytes.len().min(100)])] {
            if let Ok(mut decoded) = decode_protobuf(structure, bytes) {
                apply_defaults(structure, &mut decoded.value);
                prop_assert!(encode_protobuf(structure, &decoded.value).is_ok());
            }
        }
    }
}
