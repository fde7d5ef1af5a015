//! A node's status.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quarterdeck_core::quantity::Quantity;
use quarterdeck_core::runtime::RuntimeInfo;
use serde_json::Value;

use super::Keeper;
use crate::host::chain;

/// The version of Kubernetes whose agent this one stands in for, and its own name.
const VERSION: &str = "v1.33.0-quarterdeck";

impl Keeper {
    /// Returns the status that the node has now.
    pub(super) async fn status(&self, node: &Node) -> NodeStatus {
        let asked = self.host.runtime.info().await;
        if let Ok(info) = &asked {
            self.host.set_info(info.clone());
        }
        let problem = asked.err().map(|error| format!("container runtime is down: {}", chain(&error)));
        self.host.set_problem(problem.clone());
        let info = self.host.info();
        let capacity = self.capacity(info.as_ref());
        NodeStatus {
            addresses: Some(self.addresses()),
            allocatable: Some(capacity.clone()),
            capacity: Some(capacity),
            conditions: Some(self.conditions(node, problem.as_deref())),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(self.settings.port.unwrap_or(0)) }),
            }),
            node_info: info.map(system_info),
            ..NodeStatus::default()
        }
    }

    fn addresses(&self) -> Vec<NodeAddress> {
        let internal = self.host.addresses.iter().map(|ip| ("InternalIP", ip.to_string()));
        let all = internal.chain([("Hostname", self.host.name.clone())]);
        all.map(|(kind, address)| NodeAddress { type_: kind.to_owned(), address }).collect()
    }

    fn capacity(&self, info: Option<&RuntimeInfo>) -> BTreeMap<String, ApiQuantity> {
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let mut capacity = BTreeMap::new();
        if let Some(RuntimeInfo { machine, .. }) = info {
            capacity.extend(
                [
                    ("cpu", Quantity::from_milli(whole(machine.cpu))),
                    ("memory", Quantity::from_bytes(whole(machine.memory))),
                    ("pods", Quantity::from_units(whole(machine.pods))),
                    ("ephemeral-storage", Quantity::from_bytes(whole(machine.storage))),
                ]
                .map(|(name, amount)| (name.to_owned(), amount)),
            );
        }
        capacity.extend(self.settings.capacity.clone());
        capacity.into_iter().map(|(name, amount)| (name, ApiQuantity(amount.to_string()))).collect()
    }

    fn conditions(&self, node: &Node, problem: Option<&str>) -> Vec<NodeCondition> {
        let now = self.host.context.clock.now();
        let old = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let ready = match problem {
            None => ("True", "KubeletReady", "kubelet is posting ready status"),
            Some(problem) => ("False", "KubeletNotReady", problem),
        };
        [
            (
                "MemoryPressure",
                ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ),
            ("DiskPressure", ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure")),
            ("PIDPressure", ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available")),
            ("Ready", ready),
        ]
        .into_iter()
        .map(|(name, (status, reason, message))| {
            let same = old.iter().find(|known| known.type_ == name && known.status == status);
            let since = same.and_then(|known| known.last_transition_time.clone());
            NodeCondition {
                type_: name.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: Some(since.unwrap_or(Time(now))),
            }
        })
        .collect()
    }
}

fn system_info(info: RuntimeInfo) -> NodeSystemInfo {
    let RuntimeInfo { name, version, machine, .. } = info;
    NodeSystemInfo {
        architecture: machine.architecture,
        boot_id: machine.boot_id,
        container_runtime_version: format!("{name}://{version}"),
        kernel_version: machine.kernel_version,
        kube_proxy_version: String::new(),
        kubelet_version: VERSION.to_owned(),
        machine_id: machine.machine_id.clone(),
        operating_system: machine.operating_system,
        os_image: machine.os_image,
        system_uuid: machine.machine_id,
        ..NodeSystemInfo::default()
    }
}

/// Returns this program's architecture, as Kubernetes names it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Returns a condition of a status.
pub(super) fn condition<'a>(status: &'a Value, name: &str) -> &'a Value {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == name).unwrap_or(&Value::Null)
}

/// Returns whether a status says anything new, the time of its heartbeats aside.
pub(super) fn differs(old: &Value, new: &Value) -> bool {
    let fields = ["addresses", "allocatable", "capacity", "daemonEndpoints", "nodeInfo"];
    let same_fields = fields.iter().all(|field| old[field] == new[field]);
    let same_conditions = new["conditions"].as_array().into_iter().flatten().all(|new| {
        let old = condition(old, new["type"].as_str().unwrap_or_default());
        ["status", "reason", "message"].iter().all(|field| old[field] == new[field])
    });
    !(same_fields && same_conditions)
}
