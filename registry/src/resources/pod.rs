//! Pods: they are given time to end.

use serde_json::{Value, json};

use crate::strategy::{Deletion, Strategy, StrategyContext};

/// For how many seconds a pod may go on that says nothing.
const DEFAULT_GRACE: i64 = 30;

#[derive(Debug)]
pub(super) struct PodStrategy;

impl Strategy for PodStrategy {
    fn prepare_for_create(&self, pod: &mut Value, _context: &StrategyContext<'_>) {
        pod["status"] = json!({"phase": "Pending", "qosClass": qos_class(pod)});
        if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
            pod["status"]["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "lastProbeTime": null, "lastTransitionTime": null,
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
    }

    fn prepare_for_status_update(&self, pod: &mut Value, old: &Value, _context: &StrategyContext<'_>) {
        // Old agents would lose them.
        let owners = &old["metadata"]["ownerReferences"];
        if let Some(metadata) = pod["metadata"].as_object_mut() {
            match owners {
                Value::Null => drop(metadata.remove("ownerReferences")),
                owners => drop(metadata.insert("ownerReferences".into(), owners.clone())),
            }
        }
        if pod["status"]["qosClass"].is_null() && !old["status"]["qosClass"].is_null() {
            pod["status"]["qosClass"] = old["status"]["qosClass"].clone();
        }
        if let Some(status) = pod.get_mut("status") {
            agree_on_address(status);
        }
    }

    fn deletion(&self, pod: &Value, grace_period: Option<i64>) -> Deletion {
        let is_assigned = pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
        let is_finished = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if !is_assigned || is_finished {
            return Deletion::Graceful { seconds: 0 };
        }
        let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(DEFAULT_GRACE);
        let seconds = match grace_period.unwrap_or(own) {
            negative if negative < 0 => 1,
            seconds => seconds,
        };
        Deletion::Graceful { seconds }
    }
}

/// The first of a pod's addresses is its address. Where a client says otherwise, the one address counts: older clients
/// know no other.
fn agree_on_address(status: &mut Value) {
    let address = status["podIP"].as_str().filter(|address| !address.is_empty()).map(str::to_owned);
    let first = status["podIPs"][0]["ip"].as_str().map(str::to_owned);
    match (address, first) {
        (Some(address), first) if first.as_ref() != Some(&address) => {
            status["podIPs"] = json!([{"ip": address}]);
        }
        (None, Some(first)) => status["podIP"] = first.into(),
        _ => {}
    }
}

/// Returns the class of service that a pod's requests and limits give it (`k8s.io/component-helpers` `qos`).
fn qos_class(pod: &Value) -> &'static str {
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let lists = ["containers", "initContainers"];
    let containers = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        let resources = &container["resources"];
        for name in COUNTED {
            let given = |kind: &str| resources[kind][name].as_str().filter(|value| *value != "0");
            let (request, limit) = (given("requests"), given("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(resources: Value) -> &'static str {
        qos_class(&json!({"spec": {"containers": [{"resources": resources}]}}))
    }

    #[test]
    fn a_pods_one_address_and_the_first_of_its_addresses_are_the_same() {
        let agreed = |mut status: Value| {
            agree_on_address(&mut status);
            status
        };

        let one = agreed(json!({"podIP": "10.0.0.1"}));
        let other = agreed(json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.2"}]}));
        let several = agreed(json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}));

        assert_eq!(one["podIPs"], json!([{"ip": "10.0.0.1"}]));
        assert_eq!(other["podIPs"], json!([{"ip": "10.0.0.1"}]));
        assert_eq!(several["podIP"], "10.0.0.1");
        assert_eq!(agreed(json!({"phase": "Pending"})), json!({"phase": "Pending"}));
    }

    #[test]
    fn the_class_of_service_follows_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});

        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(class(json!({"requests": both, "limits": both})), "Guaranteed");
    }
}
