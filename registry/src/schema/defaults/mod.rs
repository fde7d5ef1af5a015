//! Defaulting: what the server fills in where the client said nothing.
//!
//! Most defaults are values of the tables. Those that depend on other members are functions here, one per structure:
//! [`core`], [`workloads`] and [`others`]. As in Kubernetes, a structure's own rules come before those of its parts, and
//! nothing is filled into a part that is not there. What depends on the server (addresses, admission, initial status) is
//! not defaulting and not here.
mod core;
mod others;
mod workloads;

use serde_json::{Map, Value};

use super::scalars;
use super::types::{Structure, Type};

/// The members of an object.
type Object = Map<String, Value>;

/// Fills in defaults. The object must be as [`decode_json`](super::decode_json) leaves it.
pub fn apply_defaults(structure: &Structure, value: &mut Value) {
    if let Value::Object(object) = value {
        structure_defaults(structure, object);
    }
}

fn structure_defaults(structure: &Structure, object: &mut Object) {
    if structure.custom.is_none()
        && let Some(rule) = rule(&structure.name)
    {
        rule(object);
    }
    for field in structure.fields.iter() {
        let name = field.name.as_ref();
        if let Some(default) = &field.rules.default
            && object.get(name).is_none_or(|value| value.is_null() && !matches!(field.ty, Type::Nullable(_)))
        {
            object.insert(name.to_owned(), default.to_value());
        }
        if let Some(value) = object.get_mut(name) {
            type_defaults(&field.ty, value);
        }
    }
}

fn type_defaults(ty: &Type, value: &mut Value) {
    match (ty, value) {
        (Type::Struct(structure), Value::Object(object)) => structure_defaults(structure, object),
        (Type::Nullable(inner), value) => type_defaults(inner, value),
        (Type::List(element), Value::Array(list)) => {
            list.iter_mut().for_each(|value| type_defaults(element, value))
        }
        // Amounts of resources are counted in thousandths.
        (Type::Map(element), Value::Object(map)) if matches!(**element, Type::Quantity) => {
            for value in map.values_mut() {
                if let Some(rounded) = value.as_str().and_then(scalars::round_up_to_milli) {
                    *value = rounded.into();
                }
            }
        }
        (Type::Map(element), Value::Object(map)) => {
            map.values_mut().for_each(|value| type_defaults(element, value))
        }
        _ => {}
    }
}

/// The function that defaults a structure's members from each other.
fn rule(name: &str) -> Option<fn(&mut Object)> {
    let (package, name) = name.strip_prefix("io.k8s.")?.rsplit_once('.')?;
    Some(match (package, name) {
        ("api.core.v1", "Container" | "EphemeralContainer") => core::container,
        ("api.core.v1", "LimitRangeItem") => core::limit_range_item,
        ("api.core.v1", "Namespace") => core::namespace,
        ("api.core.v1", "NodeSpec") => core::node_spec,
        ("api.core.v1", "NodeStatus") => core::node_status,
        ("api.core.v1", "Pod") => core::pod,
        ("api.core.v1", "PodSpec") => core::pod_spec,
        ("api.core.v1", "PodStatus") => core::pod_status,
        ("api.core.v1", "ReplicationController") => core::replication_controller,
        ("api.core.v1", "Secret") => core::secret,
        ("api.core.v1", "Service") => core::service,
        ("api.core.v1", "Volume") => core::volume,
        ("api.apps.v1", "DaemonSetUpdateStrategy") => workloads::daemon_set_strategy,
        ("api.apps.v1", "DeploymentStrategy") => workloads::deployment_strategy,
        ("api.apps.v1", "StatefulSetSpec") => workloads::stateful_set,
        ("api.apps.v1", "StatefulSetUpdateStrategy") => workloads::stateful_set_strategy,
        ("api.autoscaling.v1", "HorizontalPodAutoscaler") => workloads::autoscaler_v1,
        ("api.autoscaling.v2", "HorizontalPodAutoscalerSpec") => workloads::autoscaler_v2,
        ("api.batch.v1", "Job") => workloads::job,
        ("api.batch.v1", "PodFailurePolicyOnPodConditionsPattern") => workloads::failure_pattern,
        ("api.flowcontrol.v1", "FlowSchemaSpec") => others::flow_schema,
        ("api.flowcontrol.v1", "QueuingConfiguration") => others::queuing,
        ("api.networking.v1", "NetworkPolicySpec") => others::network_policy,
        ("api.rbac.v1", "Subject") => others::subject,
        ("api.storage.v1", "CSIDriverSpec") => others::csi_driver,
        ("apiextensions-apiserver.pkg.apis.apiextensions.v1", "CustomResourceDefinitionSpec") => {
            others::custom_resource_definition
        }
        _ => return None,
    })
}

/// Inserts a value where there is none.
fn fill(object: &mut Object, name: &str, value: impl Into<Value>) {
    if object.get(name).is_none_or(Value::is_null) {
        object.insert(name.to_owned(), value.into());
    }
}

/// The text of a member, empty if there is none.
fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A member that is an object.
fn object<'a>(parent: &'a Object, name: &str) -> Option<&'a Object> {
    parent.get(name)?.as_object()
}

/// A member that is an object, to change.
fn object_mut<'a>(parent: &'a mut Object, name: &str) -> Option<&'a mut Object> {
    parent.get_mut(name)?.as_object_mut()
}

/// A member that is an object, made if there is none.
fn ensure_object<'a>(parent: &'a mut Object, name: &str) -> Option<&'a mut Object> {
    fill(parent, name, Object::new());
    object_mut(parent, name)
}

/// The objects of a list.
fn each<'a>(parent: &'a mut Object, name: &str) -> impl Iterator<Item = &'a mut Object> {
    parent.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests;
