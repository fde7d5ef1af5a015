//! What pods use.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Amounts, add, amounts};
use crate::clock::later;
use crate::quantity::Quantity;

/// Resources that quotas count both as they are called and as requests.
const COMPUTE: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
const HUGE_PAGES: &str = "hugepages-";
const REQUESTS: &str = "requests.";
const LIMITS: &str = "limits.";

/// Returns what a pod requests: the sum of what its containers do, or what starting it takes if that is more, and its overhead.
#[must_use]
pub fn pod_requests(pod: &Value) -> Amounts {
    let mut requests = total(pod, "requests");
    add(&mut requests, &amounts(&pod["spec"]["overhead"]));
    requests
}

/// Returns what a pod is limited to, counted as [`pod_requests`] does. The overhead counts for what has a limit.
#[must_use]
pub fn pod_limits(pod: &Value) -> Amounts {
    let mut limits = total(pod, "limits");
    for (name, overhead) in amounts(&pod["spec"]["overhead"]) {
        if let Some(limit) = limits.get_mut(&name).filter(|limit| !limit.is_zero()) {
            *limit += overhead;
        }
    }
    limits
}

fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    pod["spec"][list].as_array().into_iter().flatten()
}

fn total(pod: &Value, kind: &str) -> Amounts {
    let mut running = Amounts::new();
    for container in containers(pod, "containers") {
        add(&mut running, &amounts(&container["resources"][kind]));
    }
    let (mut starting, mut sidecars) = (Amounts::new(), Amounts::new());
    for container in containers(pod, "initContainers") {
        let mut own = amounts(&container["resources"][kind]);
        if container["restartPolicy"] == "Always" {
            // It goes on beside the containers, and beside all that start after it.
            add(&mut running, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut starting, own);
    }
    raise(&mut running, starting);
    running
}

fn raise(most: &mut Amounts, amounts: Amounts) {
    for (name, amount) in amounts {
        let known = most.entry(name).or_insert(amount);
        if amount > *known {
            *known = amount;
        }
    }
}

/// Adds what a pod uses.
pub(super) fn charge(pod: &Value, now: Timestamp, usage: &mut Amounts) {
    if is_over(pod, now) {
        return;
    }
    usage.insert("pods".into(), Quantity::from_units(1));
    add(usage, &counted(&pod_requests(pod), &pod_limits(pod)));
}

/// Names requests and limits as quotas do.
fn counted(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut counted = Amounts::new();
    for (name, amount) in requests {
        let is_compute = COMPUTE.contains(&name.as_str()) || name.starts_with(HUGE_PAGES);
        if is_compute {
            counted.insert(name.clone(), *amount);
        }
        if is_compute || name.contains('/') {
            counted.insert(format!("{REQUESTS}{name}"), *amount);
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| COMPUTE.contains(&name.as_str())) {
        counted.insert(format!("{LIMITS}{name}"), *amount);
    }
    counted
}

/// Whether a pod uses nothing any more: it is finished, or its time to end is over and as long again (as upstream).
fn is_over(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) {
        return true;
    }
    let metadata = &pod["metadata"];
    let deleted = metadata["deletionTimestamp"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let grace = metadata["deletionGracePeriodSeconds"].as_i64();
    match (deleted, grace) {
        (Some(deleted), Some(grace)) => now > later(deleted, SignedDuration::from_secs(grace)),
        _ => false,
    }
}

/// Whether pods can use a resource.
pub(super) fn uses(resource: &str) -> bool {
    let bare = resource.strip_prefix(REQUESTS).or_else(|| resource.strip_prefix(LIMITS)).unwrap_or(resource);
    let extended = resource.strip_prefix(REQUESTS).is_some_and(|name| name.contains('/'));
    resource == "pods"
        || COMPUTE.contains(&bare)
        || (bare.starts_with(HUGE_PAGES) && !resource.starts_with(LIMITS))
        || (extended && !resource.contains(super::CLASS_SUFFIX))
}

/// Returns of which of the resources that a quota limits some containers say nothing, and which containers: under a quota
/// of processors or memory, every container has to.
#[must_use]
pub fn unspecified<'a>(
    pod: &Value,
    limited: impl IntoIterator<Item = &'a str>,
) -> BTreeMap<&'a str, BTreeSet<String>> {
    const TOLD: [&str; 6] =
        ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
    let limited: Vec<&str> = limited.into_iter().filter(|name| TOLD.contains(name)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for container in containers(pod, "containers").chain(containers(pod, "initContainers")) {
        let resources = &container["resources"];
        let told = counted(&amounts(&resources["requests"]), &amounts(&resources["limits"]));
        for name in limited.iter().filter(|name| !told.contains_key(**name)) {
            let container = container["name"].as_str().unwrap_or_default().to_owned();
            missing.entry(name).or_default().insert(container);
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}})
    }

    fn sidecar(name: &str, cpu: &str) -> Value {
        let mut container = container(name, cpu);
        container["restartPolicy"] = "Always".into();
        container
    }

    fn cpu(amounts: &Amounts) -> i64 {
        amounts["cpu"].milli_value()
    }

    #[test]
    fn a_pod_requests_what_its_containers_do_or_what_starting_it_takes() {
        let of = |init: Vec<Value>| json!({"spec": {"containers": [container("a", "100m"), container("b", "200m")], "initContainers": init}});

        assert_eq!(cpu(&pod_requests(&of(vec![]))), 300);
        assert_eq!(cpu(&pod_requests(&of(vec![container("i", "500m")]))), 500);
        assert_eq!(cpu(&pod_requests(&of(vec![container("i", "200m"), container("j", "200m")]))), 300);
        assert_eq!(cpu(&pod_requests(&of(vec![sidecar("s", "50m")]))), 350);
        assert_eq!(cpu(&pod_requests(&of(vec![sidecar("s", "50m"), container("i", "400m")]))), 450);
    }

    #[test]
    fn overhead_adds_to_requests_and_to_limits_that_there_are() {
        let overhead = json!({"cpu": "10m", "memory": "1Mi"});
        let pod = json!({"spec": {"containers": [container("a", "100m")], "overhead": overhead}});

        assert_eq!((cpu(&pod_requests(&pod)), pod_requests(&pod).len()), (110, 2));
        assert_eq!((cpu(&pod_limits(&pod)), pod_limits(&pod).len()), (110, 1));
    }

    #[test]
    fn a_finished_pod_and_one_whose_time_is_over_count_as_objects_only() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let usage = |pod: Value| super::super::usage("", "pods", &pod, now).len();
        let spec = json!({"containers": [container("a", "100m")]});
        let deleted = |grace: i64| {
            json!({"spec": spec, "metadata": {
                "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": grace,
            }})
        };

        assert_eq!(usage(json!({"spec": spec})), 5);
        assert_eq!(usage(json!({"spec": spec, "status": {"phase": "Succeeded"}})), 1);
        assert_eq!((usage(deleted(60)), usage(deleted(10))), (5, 1));
    }

    #[test]
    fn requests_of_devices_and_huge_pages_are_counted_under_the_names_of_quotas() {
        let requests = json!({"hugepages-2Mi": "4Mi", "example.com/gpu": "1", "memory": "1Gi"});
        let pod = json!({"spec": {"containers": [{"name": "a", "resources": {"requests": requests}}]}});

        let usage = super::super::usage("", "pods", &pod, Timestamp::UNIX_EPOCH);

        let names: Vec<&str> = usage.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "count/pods",
                "hugepages-2Mi",
                "memory",
                "pods",
                "requests.example.com/gpu",
                "requests.hugepages-2Mi",
                "requests.memory",
            ]
        );
    }

    #[test]
    fn containers_that_say_nothing_of_a_limited_resource_are_named() {
        let pod = json!({"spec": {"containers": [container("a", "1"), {"name": "b"}], "initContainers": [{"name": "c"}]}});

        let missing = unspecified(&pod, ["requests.cpu", "pods", "limits.memory"]);

        assert_eq!(missing["requests.cpu"], ["b".to_owned(), "c".to_owned()].into());
        assert_eq!(missing["limits.memory"].len(), 3);
        assert!(!missing.contains_key("pods"));
    }
}
