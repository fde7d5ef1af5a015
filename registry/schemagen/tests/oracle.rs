//! The registry's protobuf against that of the crate `k8s-pb`, whose messages prost made of Kubernetes' own definitions.
//!
//! What the registry writes of a random object, `k8s-pb` reads and writes again, and the registry reads the same object:
//! so every number and every form on the wire is as there, for what one of them does not know is lost on the way.

use proptest::prelude::*;
use prost::Message;
use quarterdeck_registry::schema::{
    self, Structure, Type, decode_protobuf, decode_value, encode_protobuf, open_envelope,
};
use serde_json::{Map, Value, json};

/// A kind, and how `k8s-pb` reads and writes its messages again.
struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    pass: fn(&[u8]) -> Result<Vec<u8>, prost::DecodeError>,
}

fn pass<M: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    M::decode(bytes).map(|message| message.encode_to_vec())
}

macro_rules! kinds {
    ($($name:literal $group:ident::$version:ident: $($kind:ident)+;)+) => {
        vec![$($(
            of::<k8s_pb::api::$group::$version::$kind>($name, stringify!($version), stringify!($kind)),
        )+)+]
    };
}

fn of<M: Message + Default>(group: &'static str, version: &'static str, kind: &'static str) -> Kind {
    Kind { group, version, kind, pass: pass::<M> }
}

fn all() -> Vec<Kind> {
    let mut kinds = kinds! {
        "" core::v1: ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod
            PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount;
        "admissionregistration.k8s.io" admissionregistration::v1: MutatingWebhookConfiguration
            ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration;
        "apps" apps::v1: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet;
        "authentication.k8s.io" authentication::v1: TokenRequest TokenReview;
        "authorization.k8s.io" authorization::v1: SubjectAccessReview SelfSubjectRulesReview;
        "autoscaling" autoscaling::v1: HorizontalPodAutoscaler Scale;
        "autoscaling" autoscaling::v2: HorizontalPodAutoscaler;
        "batch" batch::v1: CronJob Job;
        "certificates.k8s.io" certificates::v1: CertificateSigningRequest;
        "coordination.k8s.io" coordination::v1: Lease;
        "discovery.k8s.io" discovery::v1: EndpointSlice;
        "events.k8s.io" events::v1: Event;
        "flowcontrol.apiserver.k8s.io" flowcontrol::v1: FlowSchema PriorityLevelConfiguration;
        "networking.k8s.io" networking::v1: Ingress IngressClass NetworkPolicy;
        "node.k8s.io" node::v1: RuntimeClass;
        "policy" policy::v1: Eviction PodDisruptionBudget;
        "rbac.authorization.k8s.io" rbac::v1: ClusterRole ClusterRoleBinding Role RoleBinding;
        "scheduling.k8s.io" scheduling::v1: PriorityClass;
        "storage.k8s.io" storage::v1: CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment;
    };
    kinds.push(
        of::<k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
        ),
    );
    kinds
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
            Type::String => ["", "a", "a b", "\u{e9}\u{0}"][pick].into(),
            Type::Bytes => ["", "AA==", "aGk=", "aGkh"][pick].into(),
            Type::Quantity => ["0", "100m", "1536Mi", "12e6"][pick].into(),
            Type::IntOrString => [json!(0), json!(-5), json!(""), json!("25%")][pick].clone(),
            Type::Time => ["1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z"][pick % 2].into(),
            Type::MicroTime => {
                ["2020-01-02T03:04:05.000006Z", "1969-12-31T23:59:59.500000Z"][pick % 2].into()
            }
            Type::Any => [json!({}), json!({"a": [1, null]}), json!("x"), json!(1)][pick].clone(),
            Type::SchemaOrBool => [json!(true), json!(false), json!({}), json!({"type": "a"})][pick].clone(),
            Type::SchemaOrList => json!({"items": {}}),
            Type::SchemaOrStrings => json!({"type": "x"}),
            Type::Struct(structure) => self.object(structure, depth),
            Type::List(element) => (0..pick).map(|_| self.value(element, depth)).collect(),
            Type::Map(element) => {
                let keys = ["a", "", "b/c"].iter().take(pick);
                keys.map(|key| ((*key).to_owned(), self.value(element, depth))).collect()
            }
            // What custom resources alone have is not in protobuf.
            #[allow(unreachable_patterns, reason = "there may be such types")]
            _ => Value::Null,
        }
    }
}

#[test]
fn every_kind_of_the_tables_has_its_message() {
    let known: Vec<_> = all().iter().map(|kind| (kind.group, kind.version, kind.kind)).collect();
    let not_stored = [
        "APIGroup",
        "APIVersions",
        "APIService",
        "Binding",
        "ComponentStatus",
        "DeleteOptions",
        "IPAddress",
        "LocalSubjectAccessReview",
        "SelfSubjectAccessReview",
        "SelfSubjectReview",
        "ServiceCIDR",
        "Status",
    ];
    let missing: Vec<_> = schema::kinds()
        .map(|(kind, _)| kind)
        .filter(|kind| !kind.kind.ends_with("List") && !not_stored.contains(&kind.kind.as_ref()))
        .filter(|kind| !known.contains(&(kind.group.as_ref(), kind.version.as_ref(), kind.kind.as_ref())))
        .collect();

    assert!(missing.is_empty(), "{missing:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn what_the_registry_writes_is_what_kubernetes_messages_hold(
        choices in proptest::collection::vec(any::<u8>(), 0..600),
        at in any::<usize>(),
    ) {
        let kinds = all();
        let kind = &kinds[at % kinds.len()];
        let structure = schema::builtin(kind.group, kind.version, kind.kind).expect("a built-in kind");
        let object = Choices(choices.iter()).object(structure, 0);
        let object = decode_value(structure, object).expect("the object is of the kind").value;
        let written = encode_protobuf(structure, &object).expect("the object can be written");
        let envelope = open_envelope(&written).expect("it is an envelope");

        let passed = (kind.pass)(envelope.raw);

        let passed = passed.map_err(|error| TestCaseError::fail(format!("{}: {error}", kind.kind)))?;
        let again = decode_protobuf(structure, &sealed(&passed)).expect("what prost writes is read").value;
        let before = decode_protobuf(structure, &sealed(envelope.raw)).expect("what is written is read").value;
        prop_assert_eq!(without_empty_lists(again), without_empty_lists(before), "{}", kind.kind);
    }
}

/// Protobuf has no empty list.
fn without_empty_lists(value: Value) -> Value {
    match value {
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Array(list) => list.into_iter().map(without_empty_lists).collect(),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, without_empty_lists(value)));
            Value::Object(members.collect())
        }
        other => other,
    }
}

/// Puts a message into an envelope that names no kind.
fn sealed(message: &[u8]) -> Vec<u8> {
    let mut envelope = b"k8s\0\x12".to_vec();
    prost::encoding::encode_varint(message.len() as u64, &mut envelope);
    envelope.extend_from_slice(message);
    envelope
}
