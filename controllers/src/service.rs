//! The fields of services that controllers read, and which pods stand behind a service.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use kube::api::ObjectMeta;
use quarterdeck_core::client::{Event, Informer, ObjectKey, Store, Subscription, WorkQueue};
use serde::Deserialize;

use crate::meta::{self, lean_metadata, nullable};
use crate::pod::Pod;

/// Says of endpoints that the service has no address of its own.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// A service, as far as its endpoints go.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Service {
    #[serde(deserialize_with = "lean_metadata")]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: ServiceSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ServiceSpec {
    #[serde(deserialize_with = "nullable")]
    pub(crate) selector: BTreeMap<String, String>,
    #[serde(rename = "clusterIP")]
    pub(crate) cluster_ip: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) ip_families: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) ports: Vec<ServicePort>,
    pub(crate) publish_not_ready_addresses: bool,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ServicePort {
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) app_protocol: Option<String>,
    pub(crate) port: i32,
    pub(crate) target_port: Option<IntOrString>,
}

impl Resource for Service {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        "Service".into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        "".into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        "services".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The kinds of addresses that pods have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    fn of(address: &str) -> Self {
        if address.contains(':') { Family::V6 } else { Family::V4 }
    }
}

impl Service {
    /// Whether its endpoints are found by a selector, and not kept by somebody else.
    pub(crate) fn selects(&self) -> bool {
        !self.spec.selector.is_empty()
    }

    pub(crate) fn selects_pod(&self, pod: &Pod) -> bool {
        let labels = meta::labels(pod);
        self.selects() && self.spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    pub(crate) fn is_headless(&self) -> bool {
        self.spec.cluster_ip == "None"
    }

    /// The families of the service's addresses, its first one first.
    pub(crate) fn families(&self) -> Vec<Family> {
        let named = self.spec.ip_families.iter().filter_map(|family| match family.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        });
        let families: Vec<_> = named.collect();
        if !families.is_empty() {
            return families;
        }
        vec![if self.is_headless() { Family::V4 } else { Family::of(&self.spec.cluster_ip) }]
    }

    /// The host name that the service's name server knows the pod by.
    pub(crate) fn hostname(&self, pod: &Pod) -> Option<String> {
        let named = !pod.spec.hostname.is_empty() && pod.spec.subdomain == meta::name(self);
        named.then(|| pod.spec.hostname.clone())
    }

    /// The labels of the service's endpoints: its own, and `managed_by`, which says who keeps them.
    pub(crate) fn labels_of_endpoints(&self, managed_by: (&str, &str)) -> BTreeMap<String, String> {
        let mut labels = meta::labels(self).clone();
        labels.remove(HEADLESS);
        if self.is_headless() {
            labels.insert(HEADLESS.into(), String::new());
        }
        labels.insert(managed_by.0.into(), managed_by.1.into());
        labels
    }
}

impl ServicePort {
    pub(crate) fn protocol(&self) -> &str {
        or_tcp(&self.protocol)
    }

    /// The port of `pod` that this port leads to; `None` if the pod has none of the name.
    pub(crate) fn on(&self, pod: &Pod) -> Option<i32> {
        match &self.target_port {
            None => Some(self.port),
            Some(IntOrString::Int(port)) => Some(*port),
            Some(IntOrString::String(name)) => {
                let sidecars =
                    pod.spec.init_containers.iter().filter(|container| container.restart_policy == "Always");
                let mut ports =
                    pod.spec.containers.iter().chain(sidecars).flat_map(|container| &container.ports);
                let named = |protocol: &str| or_tcp(protocol) == self.protocol();
                ports.find(|port| port.name == *name && named(&port.protocol)).map(|port| port.container_port)
            }
        }
    }
}

fn or_tcp(protocol: &str) -> &str {
    if protocol.is_empty() { "TCP" } else { protocol }
}

/// The pod's address of a family.
pub(crate) fn address(pod: &Pod, family: Family) -> Option<&str> {
    let all = pod.status.pod_ips.iter().map(|ip| ip.ip.as_str());
    let main = pod.status.pod_ip.as_str();
    all.chain([main]).find(|address| !address.is_empty() && Family::of(address) == family)
}

pub(crate) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// Puts the keys of services into `queue` when they, or pods that they select, change.
pub(crate) fn follow(
    services: &Informer<Service>,
    pods: &Informer<Pod>,
    queue: &WorkQueue<ObjectKey>,
) -> [Subscription; 2] {
    let (of_services, of_pods, store) = (queue.clone(), queue.clone(), services.store().clone());
    [
        services.subscribe(move |event| of_services.add(ObjectKey::of(&**event.object()))),
        pods.subscribe(move |event| match event {
            Event::Added(pod) | Event::Deleted(pod) => add_selecting(&store, &of_pods, pod),
            Event::Updated { old, new } => {
                if matters(old, new) {
                    add_selecting(&store, &of_pods, new);
                    if old.metadata.labels != new.metadata.labels {
                        add_selecting(&store, &of_pods, old);
                    }
                }
            }
        }),
    ]
}

fn add_selecting(services: &Store<Service>, queue: &WorkQueue<ObjectKey>, pod: &Pod) {
    for service in services.namespace(meta::namespace(pod)) {
        if service.selects_pod(pod) {
            queue.add(ObjectKey::of(&*service));
        }
    }
}

/// Whether endpoints may look different after this change: most changes of a pod's status leave them as they are.
fn matters(old: &Arc<Pod>, new: &Arc<Pod>) -> bool {
    old.metadata.labels != new.metadata.labels
        || old.is_ready() != new.is_ready()
        || old.is_finished() != new.is_finished()
        || old.is_terminating() != new.is_terminating()
        || old.status.pod_ip != new.status.pod_ip
        || old.status.pod_ips != new.status.pod_ips
        || old.spec.node_name != new.spec.node_name
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_named_port_is_found_by_name_and_protocol() {
        let pod: Pod = from_value(json!({"spec": {"containers": [
            {"ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
            {"ports": [{"name": "dns", "containerPort": 5353}]},
        ]}}))
        .unwrap();
        let port = |protocol: &str, target: serde_json::Value| -> Option<i32> {
            let port = json!({"port": 80, "protocol": protocol, "targetPort": target});
            from_value::<ServicePort>(port).unwrap().on(&pod)
        };

        assert_eq!(port("TCP", json!("dns")), Some(5353));
        assert_eq!(port("UDP", json!("dns")), Some(53));
        assert_eq!(port("TCP", json!("web")), None);
        assert_eq!(port("TCP", json!(8080)), Some(8080));
    }

    #[test]
    fn a_pod_has_an_address_of_each_family() {
        let pod: Pod = from_value(
            json!({"status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}}),
        )
        .unwrap();

        assert_eq!(address(&pod, Family::V4), Some("10.0.0.1"));
        assert_eq!(address(&pod, Family::V6), Some("fd00::1"));
    }
}
