//! What fields are for, in words: Kubernetes' own, out of the crate `k8s-openapi`.
//!
//! The words are in no file of this crate. They are looked up while a document is made, and stay in the compressed
//! document alone.

use std::collections::BTreeMap;

use k8s_openapi::schemars::generate::SchemaGenerator;
use k8s_openapi::schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// A kind that `k8s-openapi` knows.
struct Kind {
    name: fn() -> std::borrow::Cow<'static, str>,
    describe: fn(&mut SchemaGenerator) -> Schema,
}

const fn kind<K: JsonSchema>() -> Kind {
    Kind { name: K::schema_name, describe: SchemaGenerator::subschema_for::<K> }
}

macro_rules! kinds {
    ($($group:ident::$version:ident: $($kind:ident)+;)+) => {
        &[$($(kind::<k8s_openapi::api::$group::$version::$kind>(),)+)+]
    };
}

const KINDS: &[Kind] = kinds! {
    admissionregistration::v1: MutatingWebhookConfiguration ValidatingAdmissionPolicy
        ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration;
    apps::v1: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet;
    authentication::v1: SelfSubjectReview TokenRequest TokenReview;
    authorization::v1: LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview
        SubjectAccessReview;
    autoscaling::v1: HorizontalPodAutoscaler Scale;
    autoscaling::v2: HorizontalPodAutoscaler;
    batch::v1: CronJob Job;
    certificates::v1: CertificateSigningRequest;
    coordination::v1: Lease;
    core::v1: Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume
        PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount;
    discovery::v1: EndpointSlice;
    events::v1: Event;
    flowcontrol::v1: FlowSchema PriorityLevelConfiguration;
    networking::v1: Ingress IngressClass IPAddress NetworkPolicy ServiceCIDR;
    node::v1: RuntimeClass;
    policy::v1: Eviction PodDisruptionBudget;
    rbac::v1: ClusterRole ClusterRoleBinding Role RoleBinding;
    scheduling::v1: PriorityClass;
    storage::v1: CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment;
};

/// The kinds that lie elsewhere.
const OTHERS: &[Kind] = &[
    kind::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>(),
    kind::<k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService>(),
    kind::<k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions>(),
    kind::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta>(),
    kind::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>(),
    kind::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Status>(),
];

/// Adds what is known in words about these schemas and their properties.
pub(super) fn add(schemas: &mut Map<String, Value>) {
    let known = known(schemas);
    for (name, schema) in schemas.iter_mut() {
        let Some(described) = known.get(name.as_str()) else { continue };
        copy(described, schema);
        let Some(Value::Object(properties)) = schema.get_mut("properties") else { continue };
        for (name, property) in properties {
            copy(&described["properties"][name], property);
        }
    }
}

/// What `k8s-openapi` says of these schemas and of all that they refer to, by name.
fn known(schemas: &Map<String, Value>) -> BTreeMap<String, Value> {
    let mut generator = SchemaGenerator::default();
    for kind in KINDS.iter().chain(OTHERS).filter(|kind| schemas.contains_key((kind.name)().as_ref())) {
        (kind.describe)(&mut generator);
    }
    generator.take_definitions(true).into_iter().collect()
}

fn copy(from: &Value, to: &mut Value) {
    let (Some(description), Value::Object(to)) = (from["description"].as_str(), to) else { return };
    // Beside a plain reference other members do not count.
    if let Some(reference) = to.remove("$ref") {
        to.insert("allOf".into(), json!([{"$ref": reference}]));
    }
    to.entry("description").or_insert_with(|| description.into());
}
