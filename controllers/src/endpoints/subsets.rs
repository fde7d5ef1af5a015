//! Addresses grouped by the ports that they have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};

use crate::pod::Pod;
use crate::service::{Service, address, reference};

/// One object names at most so many addresses.
const CAPACITY: usize = 1000;

/// A port, in the order of the list: by name, then number and protocol.
type Port = (String, i32, String, Option<String>);

/// An address and its pod's uid.
type Place = (String, String);

/// The addresses of one service's pods.
#[derive(Debug, Default)]
pub(super) struct Subsets(BTreeMap<Place, Backend>);

#[derive(Debug)]
struct Backend {
    address: EndpointAddress,
    ready: bool,
    ports: Vec<Port>,
}

impl Subsets {
    /// Adds a pod that the service selects, if it can be reached.
    pub(super) fn add(&mut self, service: &Service, pod: &Pod) {
        let family = service.families()[0];
        let Some(ip) = address(pod, family) else { return };
        if !pod.is_active() {
            return;
        }
        let mut ports: Vec<Port> = service
            .spec
            .ports
            .iter()
            .filter_map(|port| {
                let number = port.on(pod)?;
                Some((port.name.clone(), number, port.protocol().to_owned(), port.app_protocol.clone()))
            })
            .collect();
        if ports.is_empty() && !(service.is_headless() && service.spec.ports.is_empty()) {
            return;
        }
        ports.sort();
        ports.dedup();
        let address = EndpointAddress {
            ip: ip.into(),
            hostname: service.hostname(pod),
            node_name: Some(pod.spec.node_name.clone()).filter(|name| !name.is_empty()),
            target_ref: Some(reference(pod)),
        };
        let place = (ip.to_owned(), pod.metadata.uid.clone().unwrap_or_default());
        let ready = pod.is_ready() || service.spec.publish_not_ready_addresses;
        self.0.insert(place, Backend { address, ready, ports });
    }

    /// Returns the groups, each address in one, and whether some addresses had to be left out; those of pods that are not
    /// ready are left out first.
    pub(super) fn into_list(self) -> (Vec<EndpointSubset>, bool) {
        let ready = self.0.values().filter(|backend| backend.ready).count();
        let truncated = self.0.len() > CAPACITY;
        let mut room = [CAPACITY.saturating_sub(ready), CAPACITY];
        let mut groups: BTreeMap<Vec<Port>, [Vec<EndpointAddress>; 2]> = BTreeMap::new();
        for backend in self.0.into_values() {
            let kind = usize::from(backend.ready);
            if room[kind] > 0 {
                room[kind] -= 1;
                groups.entry(backend.ports).or_default()[kind].push(backend.address);
            }
        }
        let subsets = groups.into_iter().map(|(ports, [waiting, ready])| {
            let ports = ports.into_iter().map(|(name, port, protocol, app_protocol)| EndpointPort {
                name: Some(name).filter(|name| !name.is_empty()),
                port,
                protocol: Some(protocol),
                app_protocol,
            });
            EndpointSubset {
                addresses: some(ready),
                not_ready_addresses: some(waiting),
                ports: some(ports.collect()),
            }
        });
        (subsets.collect(), truncated)
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    fn pod(name: &str, ip: &str, ready: bool, port: i32) -> Pod {
        from_value(json!({
            "metadata": {"name": name, "uid": name},
            "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "web", "containerPort": port}]}]},
            "status": {
                "phase": "Running",
                "podIP": ip,
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            },
        }))
        .unwrap()
    }

    fn service(spec: Value) -> Service {
        from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap()
    }

    fn list(service: &Service, pods: &[Pod]) -> Value {
        let mut subsets = Subsets::default();
        for pod in pods {
            subsets.add(service, pod);
        }
        to_value(subsets.into_list().0).unwrap()
    }

    #[test]
    fn addresses_with_the_same_ports_share_a_subset() {
        let service = service(json!({"ports": [{"port": 80, "targetPort": "web"}]}));

        let list = list(
            &service,
            &[pod("c", "10.0.0.3", true, 9), pod("b", "10.0.0.2", false, 8), pod("a", "10.0.0.1", true, 8)],
        );

        assert_eq!(list[0]["ports"], json!([{"port": 8, "protocol": "TCP"}]));
        assert_eq!(list[0]["addresses"][0]["ip"], "10.0.0.1");
        assert_eq!(list[0]["notReadyAddresses"][0]["ip"], "10.0.0.2");
        assert_eq!(list[1]["addresses"][0]["targetRef"]["name"], "c");
    }

    #[test]
    fn a_service_may_publish_pods_that_are_not_ready() {
        let service =
            service(json!({"ports": [{"port": 80, "targetPort": "web"}], "publishNotReadyAddresses": true}));

        let list = list(&service, &[pod("a", "10.0.0.1", false, 8)]);

        assert_eq!(list[0]["addresses"][0]["ip"], "10.0.0.1");
    }

    #[test]
    fn only_a_headless_service_needs_no_ports() {
        let pods = [pod("a", "10.0.0.1", true, 8)];

        assert_eq!(list(&service(json!({"clusterIP": "None"})), &pods)[0]["ports"], Value::Null);
        assert_eq!(list(&service(json!({"clusterIP": "10.9.0.1"})), &pods), json!([]));
        let other = service(json!({"clusterIP": "None", "ports": [{"port": 80, "targetPort": "other"}]}));
        assert_eq!(list(&other, &pods), json!([]));
    }

    #[test]
    fn pods_without_address_finished_or_leaving_are_not_listed() {
        let service = service(json!({"ports": [{"port": 80}]}));
        let mut leaving = pod("a", "10.0.0.1", true, 8);
        leaving.metadata.deletion_timestamp = from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let mut finished = pod("b", "10.0.0.2", true, 8);
        finished.status.phase = "Failed".into();

        assert_eq!(list(&service, &[leaving, finished, pod("c", "", true, 8)]), json!([]));
    }

    #[test]
    fn the_thousand_first_places_are_for_ready_pods() {
        let service = service(json!({"ports": [{"port": 80}]}));
        let mut subsets = Subsets::default();
        for index in 0..1200 {
            subsets.add(
                &service,
                &pod(&index.to_string(), &format!("10.0.{}.{}", index / 250, index % 250), index >= 300, 8),
            );
        }

        let (list, truncated) = subsets.into_list();

        assert!(truncated);
        assert_eq!(list[0].addresses.as_ref().unwrap().len(), 900);
        assert_eq!(list[0].not_ready_addresses.as_ref().unwrap().len(), 100);
    }
}
