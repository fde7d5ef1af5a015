//! Whether an object of a built-in kind makes sense: the rules that no schema can state, with upstream's messages.
//!
//! Start at [`Validator`]: the rules of a kind. They are pure functions over objects that the schema module has
//! pruned, type-checked and defaulted, and return every mistake found as a [`FieldError`]; [`aggregate`] makes the
//! message and the causes of a Status of them.
//!
//! What needs more than the object itself is checked elsewhere: whether an address or a port is free, whether a quota is
//! kept, whether a revision is current.

mod at;
mod cluster;
mod compare;
mod definitions;
mod drivers;
mod error;
pub(crate) mod go;
mod metadata;
mod names;
mod pods;
mod policy;
mod selectors;
mod services;
mod storage;
#[cfg(test)]
mod tests;
mod workloads;

use at::{At, Errors};
pub(crate) use definitions::{Approval, approval, is_protected};
pub use error::{Cause, FieldError, Path, Shown, aggregate};
pub use names::{NameRule, dns_label, dns1035_label, path_segment};
pub(crate) use policy::precise;
use serde_json::Value;

/// Returns what is wrong with the metadata of an object within another; it may have no name.
pub(crate) fn embedded_metadata(metadata: &Value, path: &str) -> Vec<FieldError> {
    let mut object = serde_json::json!({"metadata": metadata});
    if object["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        object["metadata"]["name"] = "fakename".into();
    }
    let namespaced = object["metadata"]["namespace"].as_str().is_some_and(|name| !name.is_empty());
    let mut errors = Vec::new();
    metadata::create(&At::root(&object), NameRule::PathSegment, namespaced, &mut errors);
    for error in &mut errors {
        error.field = error.field.replacen("metadata", path, 1);
    }
    errors
}

type Create = fn(&At, &mut Errors);
type Update = fn(new: &At, old: &At, &mut Errors);

/// The rules of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Validator {
    name: NameRule,
    namespaced: bool,
    built_in: bool,
    /// Everything but the metadata.
    create: Create,
    /// Everything, after what holds for changes of any object.
    update: Update,
    /// Everything that a change of the status is checked for.
    status: Update,
}

/// Returns the rules of a built-in kind; nothing for kinds that have none beside those on metadata.
///
/// `group` is empty for the core group.
pub fn validator(group: &str, kind: &str) -> Option<&'static Validator> {
    Some(match (group, kind) {
        ("", "ConfigMap") => &cluster::CONFIG_MAP,
        ("", "Endpoints") => &services::ENDPOINTS,
        ("", "Event") => &cluster::CORE_EVENT,
        ("", "Namespace") => &cluster::NAMESPACE,
        ("", "Node") => &cluster::NODE,
        ("", "PersistentVolume") => &storage::PERSISTENT_VOLUME,
        ("", "PersistentVolumeClaim") => &storage::PERSISTENT_VOLUME_CLAIM,
        ("", "LimitRange") => &policy::LIMIT_RANGE,
        ("", "Pod") => &pods::POD,
        ("", "PodTemplate") => &pods::POD_TEMPLATE,
        ("", "ReplicationController") => &workloads::REPLICATION_CONTROLLER,
        ("", "ResourceQuota") => &policy::RESOURCE_QUOTA,
        ("", "Secret") => &cluster::SECRET,
        ("", "Service") => &services::SERVICE,
        ("", "ServiceAccount") => &cluster::SERVICE_ACCOUNT,
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => &policy::MUTATING_WEBHOOKS,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => &policy::ADMISSION_POLICY,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            &policy::ADMISSION_POLICY_BINDING
        }
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => &policy::VALIDATING_WEBHOOKS,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &definitions::DEFINITION,
        ("apiregistration.k8s.io", "APIService") => &policy::API_SERVICE,
        ("apps", "ControllerRevision") => &workloads::CONTROLLER_REVISION,
        ("apps", "DaemonSet") => &workloads::DAEMON_SET,
        ("apps", "Deployment") => &workloads::DEPLOYMENT,
        ("apps", "ReplicaSet") => &workloads::REPLICA_SET,
        ("apps", "StatefulSet") => &workloads::STATEFUL_SET,
        ("autoscaling", "HorizontalPodAutoscaler") => &workloads::AUTOSCALER,
        ("batch", "CronJob") => &workloads::CRON_JOB,
        ("batch", "Job") => &workloads::JOB,
        ("certificates.k8s.io", "CertificateSigningRequest") => &policy::SIGNING_REQUEST,
        ("coordination.k8s.io", "Lease") => &cluster::LEASE,
        ("discovery.k8s.io", "EndpointSlice") => &services::ENDPOINT_SLICE,
        ("events.k8s.io", "Event") => &cluster::EVENT,
        ("networking.k8s.io", "Ingress") => &policy::INGRESS,
        ("networking.k8s.io", "IngressClass") => &policy::INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => &policy::NETWORK_POLICY,
        ("node.k8s.io", "RuntimeClass") => &cluster::RUNTIME_CLASS,
        ("policy", "PodDisruptionBudget") => &workloads::DISRUPTION_BUDGET,
        ("rbac.authorization.k8s.io", "ClusterRole") => &policy::CLUSTER_ROLE,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => &policy::CLUSTER_ROLE_BINDING,
        ("rbac.authorization.k8s.io", "Role") => &policy::ROLE,
        ("rbac.authorization.k8s.io", "RoleBinding") => &policy::ROLE_BINDING,
        ("scheduling.k8s.io", "PriorityClass") => &cluster::PRIORITY_CLASS,
        ("storage.k8s.io", "CSIDriver") => &drivers::DRIVER,
        ("storage.k8s.io", "CSINode") => &drivers::NODE,
        ("storage.k8s.io", "CSIStorageCapacity") => &drivers::CAPACITY,
        ("storage.k8s.io", "VolumeAttachment") => &drivers::ATTACHMENT,
        ("storage.k8s.io", "StorageClass") => &storage::STORAGE_CLASS,
        _ => return None,
    })
}

impl Validator {
    /// Returns the rules that hold for objects of any kind, custom ones too: those on metadata.
    pub const fn of_metadata(name: NameRule, namespaced: bool) -> Self {
        // As for built-in kinds, what is wrong with a change of the metadata is reported twice.
        let (create, update): (Create, Update) = (|_, _| {}, metadata::update);
        Self { name, namespaced, built_in: false, create, update, status: update }
    }

    /// Returns how objects of this kind may be named.
    pub fn name_rule(&self) -> NameRule {
        self.name
    }

    /// Returns what is wrong with a new object. Its name and namespace are filled in.
    pub fn create(&self, object: &Value) -> Vec<FieldError> {
        let (object, mut errors) = (At::root(object), Vec::new());
        metadata::create(&object, self.name, self.namespaced, &mut errors);
        if self.built_in {
            metadata::standard_finalizers(&object, &mut errors);
        }
        (self.create)(&object, &mut errors);
        errors
    }

    /// Checks the successor of an object as if it were new: what upstream does for some kinds before it compares, so that what is
    /// wrong with their fields is reported twice.
    fn as_new(&self, object: &At, errors: &mut Errors) {
        metadata::whole(object, self.name, self.namespaced, errors);
        (self.create)(object, errors);
    }

    /// Returns what is wrong with `new` as the successor of `old`. What a client may omit (uid, times) may be missing.
    pub fn update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let (new, old, mut errors) = (At::root(new), At::root(old), Vec::new());
        metadata::update(&new, &old, &mut errors);
        (self.update)(&new, &old, &mut errors);
        errors
    }

    /// Returns what is wrong with `new` as the successor of `old` when only the status may differ.
    pub fn status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let (new, old, mut errors) = (At::root(new), At::root(old), Vec::new());
        metadata::update(&new, &old, &mut errors);
        (self.status)(&new, &old, &mut errors);
        errors
    }
}
