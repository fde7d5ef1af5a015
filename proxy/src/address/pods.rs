use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::ObjectMeta;
use quarterdeck_core::client::{Context, Event, Selector};
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_core::runtime::{PORT_MAP_CONDITION, PORT_MAP_SEPARATOR, PortMapping};
use serde::Deserialize;

use super::AddressTable;

/// How many ports of one pod are listened to at most.
const MOST_PORTS: usize = 256;

/// Keeps an [`AddressTable`] equal to what the statuses of pods say of their ports. Made by [`AddressTable::follow_pods`].
pub struct FollowPods {
    table: AddressTable,
    context: Context,
}

impl FollowPods {
    pub(super) fn new(table: AddressTable, context: &Context) -> Self {
        Self { table, context: context.clone() }
    }
}

impl fmt::Debug for FollowPods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowPods").field("table", &self.table).finish_non_exhaustive()
    }
}

#[async_trait]
impl Component for FollowPods {
    fn name(&self) -> String {
        "proxy addresses".into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let running = Selector::all().fields("status.phase!=Succeeded,status.phase!=Failed");
        let pods = self.context.informers.selected::<MappedPod>(running);
        let table = self.table;
        let _subscription = pods.subscribe(move |event| {
            let pod = event.object();
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            match event {
                Event::Deleted(_) => table.withdraw(uid),
                Event::Added(_) | Event::Updated { .. } => table.announce(uid, pod.ports()),
            }
        });
        stop.wait().await;
        Ok(())
    }
}

/// The fields of a pod that say where its ports are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct MappedPod {
    metadata: ObjectMeta,
    status: MappedStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct MappedStatus {
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    message: Option<String>,
}

impl MappedPod {
    /// Returns where the pod's ports are. Only loopback addresses count: elsewhere a pod is at its own address.
    fn ports(&self) -> Vec<PortMapping> {
        let conditions = self.status.conditions.iter().flatten();
        let stated =
            conditions.filter(|condition| condition.kind == PORT_MAP_CONDITION && condition.status == "True");
        let texts = stated.filter_map(|condition| condition.message.as_deref());
        let ports =
            texts.flat_map(|text| text.split(PORT_MAP_SEPARATOR)).filter_map(|port| port.parse().ok());
        ports.filter(|port: &PortMapping| port.local.ip().is_loopback()).take(MOST_PORTS).collect()
    }
}

impl Resource for MappedPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_says_in_a_condition_where_its_ports_are() {
        let text = "10.1.0.7:80/TCP at 127.0.0.1:40123, 10.1.0.7:53/UDP at 127.0.0.1:40124";
        let pod = |kind: &str, status: &str, message: &str| -> MappedPod {
            let condition = json!({"type": kind, "status": status, "message": message});
            serde_json::from_value(json!({"metadata": {}, "status": {"conditions": [condition]}})).unwrap()
        };
        let ports = |pod: MappedPod| pod.ports().iter().map(ToString::to_string).collect::<Vec<_>>();

        assert_eq!(ports(pod(PORT_MAP_CONDITION, "True", text)).join(", "), text);
        assert!(ports(pod(PORT_MAP_CONDITION, "False", text)).is_empty());
        assert!(ports(pod("Ready", "True", text)).is_empty());
        assert!(ports(pod(PORT_MAP_CONDITION, "True", "10.1.0.7:80/TCP at 8.8.8.8:80, nonsense")).is_empty());
        assert!(ports(MappedPod::default()).is_empty());
    }
}
