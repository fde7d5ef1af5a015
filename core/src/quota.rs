//! What objects count for in quotas: how much of which resource, and under which quotas.
//!
//! The API server charges a new object's [`usage`] to the quotas that [`cover`](covers) it; a controller adds up what is
//! there. Both must count alike, so the counting is here: pure functions over objects as JSON.
//!
//! The sums of a pod's containers, [`pod_requests`] and [`pod_limits`], are also what limits for whole pods hold for.

mod pods;
mod scopes;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::quantity::Quantity;
pub use pods::{pod_limits, pod_requests, unspecified};
pub use scopes::is_in_scope;

/// How much of each resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// Resources of the core group that quotas also call by their plural alone.
const ALIASES: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";

/// Reads amounts of resources, such as a container's requests. What is no quantity is left out.
#[must_use]
pub fn amounts(value: &Value) -> Amounts {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?))).collect()
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Adds amounts to a sum.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match sum.get_mut(name) {
            Some(known) => *known += *amount,
            None => {
                sum.insert(name.clone(), *amount);
            }
        }
    }
}

/// Returns the name by which quotas count objects of a kind: `count/deployments.apps`.
#[must_use]
pub fn count_name(group: &str, plural: &str) -> String {
    if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") }
}

/// Returns what an object uses.
#[must_use]
pub fn usage(group: &str, plural: &str, object: &Value, now: Timestamp) -> Amounts {
    let one = Quantity::from_units(1);
    let mut usage = Amounts::from([(count_name(group, plural), one)]);
    match (group, plural) {
        ("", "pods") => pods::charge(object, now, &mut usage),
        ("", "services") => charge_service(object, &mut usage),
        ("", "persistentvolumeclaims") => charge_claim(object, &mut usage),
        ("", plural) if ALIASES.contains(&plural) => {
            usage.insert(plural.to_owned(), one);
        }
        _ => {}
    }
    usage
}

/// Returns whether objects of a kind can use a resource of a quota.
#[must_use]
pub fn uses(group: &str, plural: &str, resource: &str) -> bool {
    let specific = match (group, plural) {
        ("", "pods") => pods::uses(resource),
        ("", "services") => {
            matches!(resource, "services" | "services.loadbalancers" | "services.nodeports")
        }
        ("", "persistentvolumeclaims") => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
                || resource.split_once(CLASS_SUFFIX).is_some_and(|(_, counted)| {
                    matches!(counted, "persistentvolumeclaims" | "requests.storage")
                })
        }
        ("", plural) => ALIASES.contains(&plural) && resource == plural,
        _ => false,
    };
    specific || resource == count_name(group, plural)
}

/// Returns whether an object of a kind counts under a quota's scopes.
#[must_use]
pub fn covers(quota: &Value, group: &str, plural: &str, object: &Value) -> bool {
    let spec = &quota["spec"];
    let mut plain = spec["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    plain.all(|scope| is_in_scope(group, plural, object, scope, &Value::Null))
        && selected.all(|requirement| {
            let scope = requirement["scopeName"].as_str().unwrap_or_default();
            is_in_scope(group, plural, object, scope, requirement)
        })
}

fn charge_service(service: &Value, usage: &mut Amounts) {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let all = i64::try_from(ports.len()).unwrap_or(i64::MAX);
    let (node_ports, balancers) = match spec["type"].as_str() {
        Some("NodePort") => (all, 0),
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == false => {
            let taken = ports.iter().filter(|port| port["nodePort"].as_i64().is_some_and(|port| port != 0));
            (i64::try_from(taken.count()).unwrap_or(i64::MAX), 1)
        }
        Some("LoadBalancer") => (all, 1),
        _ => (0, 0),
    };
    for (name, count) in
        [("services", 1), ("services.nodeports", node_ports), ("services.loadbalancers", balancers)]
    {
        usage.insert(name.into(), Quantity::from_units(count));
    }
}

fn charge_claim(claim: &Value, usage: &mut Amounts) {
    let one = Quantity::from_units(1);
    let older = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    let class = older.or(claim["spec"]["storageClassName"].as_str()).unwrap_or_default();
    let mut count = |name: &str, amount: Quantity| {
        if !class.is_empty() {
            usage.insert(format!("{class}{CLASS_SUFFIX}{name}"), amount);
        }
        usage.insert(name.into(), amount);
    };
    count("persistentvolumeclaims", one);
    if let Some(storage) = quantity(&claim["spec"]["resources"]["requests"]["storage"]) {
        // A claim that shrinks in its spec still holds what it has.
        let held = quantity(&claim["status"]["allocatedResources"]["storage"]);
        count("requests.storage", held.filter(|held| *held > storage).unwrap_or(storage));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(usage: &Amounts) -> Vec<String> {
        usage.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
    }

    fn used(plural: &str, object: Value) -> Vec<String> {
        shown(&usage("", plural, &object, Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn services_count_their_kinds_and_node_ports() {
        let ports = json!([{"port": 1, "nodePort": 30001}, {"port": 2}]);
        let of = |spec: Value| used("services", json!({"spec": spec}));

        assert_eq!(
            of(json!({"type": "ClusterIP", "ports": ports})),
            ["count/services=1", "services=1", "services.loadbalancers=0", "services.nodeports=0"]
        );
        assert_eq!(of(json!({"type": "NodePort", "ports": ports}))[3], "services.nodeports=2");
        let balanced =
            json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports});
        assert_eq!(of(balanced)[2..], ["services.loadbalancers=1", "services.nodeports=1"]);
    }

    #[test]
    fn claims_count_in_all_and_for_their_class() {
        let claim =
            json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}});

        assert_eq!(
            used("persistentvolumeclaims", claim),
            [
                "count/persistentvolumeclaims=1",
                "fast.storageclass.storage.k8s.io/persistentvolumeclaims=1",
                "fast.storageclass.storage.k8s.io/requests.storage=1Gi",
                "persistentvolumeclaims=1",
                "requests.storage=1Gi",
            ]
        );
    }

    #[test]
    fn other_kinds_count_by_number_and_some_by_an_older_name() {
        assert_eq!(used("secrets", json!({})), ["count/secrets=1", "secrets=1"]);
        assert_eq!(used("podtemplates", json!({})), ["count/podtemplates=1"]);
        let sets = usage("apps", "statefulsets", &json!({}), Timestamp::UNIX_EPOCH);
        assert_eq!(shown(&sets), ["count/statefulsets.apps=1"]);
    }

    #[test]
    fn a_kind_uses_what_its_objects_are_charged_for() {
        let cases = [
            ("", "pods", "requests.cpu", true),
            ("", "pods", "requests.example.com/gpu", true),
            ("", "pods", "services", false),
            ("", "services", "services.nodeports", true),
            ("", "secrets", "secrets", true),
            ("", "podtemplates", "podtemplates", false),
            ("apps", "deployments", "count/deployments.apps", true),
            ("", "persistentvolumeclaims", "a.storageclass.storage.k8s.io/requests.storage", true),
            ("", "persistentvolumeclaims", "requests.cpu", false),
        ];

        for (group, plural, resource, expected) in cases {
            assert_eq!(uses(group, plural, resource), expected, "{plural} {resource}");
        }
    }
}
