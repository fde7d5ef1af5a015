//! Bindings: assigning a pod to a node, once.

use http::{Response, StatusCode};
use quarterdeck_core::storage::Key;
use serde_json::{Value, json};

use super::super::options::WriteOptions;
use super::super::{Call, body, respond};
use crate::body::Body;
use crate::cache::World;
use crate::resource::{Backing, Subresource};
use crate::resources::host_ports;
use crate::status::{Result, Status};
use crate::validation::FieldError;
use crate::write::{Change, Target, metadata};

/// Answers a POST of a Binding, to `bindings` or below a pod.
pub(in super::super) async fn create_binding(call: &Call) -> Result<Response<Body>> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let registry = &call.registry;
    let resources = registry.resources();
    let pods = resources.get("", "v1", "pods").ok_or_else(Status::unknown_path)?;
    let binding = body::object_of(call, "Binding", options.validation)?.object;
    let named = binding["metadata"]["name"].as_str().unwrap_or_default();
    let name = match call.resource.backing {
        Backing::Binding => named,
        Backing::Store if named == call.name => named,
        Backing::Store | Backing::Review => {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
    };
    check(&binding)?;
    let target = Target {
        resource: pods,
        subresource: Some(Subresource::Binding),
        name,
        ..call.target(options.dry_run)
    };
    registry
        .update(
            &target,
            &Assign { binding: &binding, target: &target, now: metadata::seconds(registry.clock.now()) },
        )
        .await?;
    let success =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    respond::other(call, StatusCode::CREATED, &success)
}

/// Checks what the pod is assigned to. Upstream has no better code for it.
fn check(binding: &Value) -> Result<()> {
    let target = &binding["target"];
    let kind = target["kind"].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    if !kind.is_empty() && kind != "Node" {
        errors.push(FieldError::not_supported("target.kind", kind, &["Node", "<empty>"]).to_string());
    }
    if target["name"].as_str().unwrap_or_default().is_empty() {
        errors.push(FieldError::required("target.name", "").to_string());
    }
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(Status::server_error(one)),
        several => Err(Status::server_error(format!("[{}]", several.join(", ")))),
    }
}

/// Assigns a pod that has no node.
struct Assign<'a> {
    binding: &'a Value,
    target: &'a Target<'a>,
    now: Value,
}

impl Change for Assign<'_> {
    fn apply(&self, present: &Value) -> Result<Value> {
        let (pods, name) = (self.target.resource, self.target.name);
        let refuse = |why: String| Status::conflict_below(pods, Subresource::Binding, name, why);
        let node = self.binding["target"]["name"].as_str().unwrap_or_default();
        let uid = self.binding["metadata"]["uid"].as_str().unwrap_or_default();
        if !uid.is_empty() && present["metadata"]["uid"] != uid {
            let found = present["metadata"]["uid"].as_str().unwrap_or_default();
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}");
            return Err(Status::conflict(pods, name, why));
        }
        if !present["metadata"]["deletionTimestamp"].is_null() {
            return Err(refuse(format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        if let Some(there) = present["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
            return Err(refuse(format!("pod {name} is already assigned to node {there:?}")));
        }
        let mut pod = present.clone();
        pod["spec"]["nodeName"] = node.into();
        for (key, value) in self.binding["metadata"]["annotations"].as_object().into_iter().flatten() {
            pod["metadata"]["annotations"][key] = value.clone();
        }
        set_scheduled(&mut pod, &self.now);
        Ok(pod)
    }

    /// A binding says nothing of who owns what: the node is nobody's but the scheduler's, as upstream.
    fn decides_owners(&self) -> bool {
        true
    }

    fn replacement(&self) -> Option<&Value> {
        None
    }

    fn guard(&self, pod: &Value) -> Option<Key> {
        let has_ports = !host_ports::of(pod).is_empty();
        has_ports.then(|| host_ports::guard(pod["spec"]["nodeName"].as_str().unwrap_or_default()))
    }

    fn check(&self, pod: &Value, world: &World) -> Result<()> {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let Some((port, other)) = host_ports::taken(pod, node, self.target.resource, world) else {
            return Ok(());
        };
        let why = format!(
            "pod {} cannot be assigned to node {node:?}: host port {}/{} is taken by pod {other}",
            self.target.name, port.port, port.protocol
        );
        Err(Status::conflict(self.target.resource, self.target.name, why))
    }
}

/// Says in the pod's conditions that it has a node.
fn set_scheduled(pod: &mut Value, now: &Value) {
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    conditions.push(json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
    }));
    pod["status"]["conditions"] = conditions.into();
}
