//! The scopes of quotas.

use serde_json::Value;

/// Returns whether an object of a kind is in a scope. `requirement` says more of it: an operator and values, or null.
#[must_use]
pub fn is_in_scope(group: &str, plural: &str, object: &Value, scope: &str, requirement: &Value) -> bool {
    let spec = &object["spec"];
    match (group, plural, scope) {
        ("", "pods", "Terminating") => ends_by_itself(spec),
        ("", "pods", "NotTerminating") => !ends_by_itself(spec),
        ("", "pods", "BestEffort") => is_best_effort(spec),
        ("", "pods", "NotBestEffort") => !is_best_effort(spec),
        ("", "pods", "PriorityClass") => matches(spec["priorityClassName"].as_str(), requirement),
        ("", "pods", "CrossNamespacePodAffinity") => looks_elsewhere(&spec["affinity"]),
        ("", "persistentvolumeclaims", "VolumeAttributesClass") => {
            matches(spec["volumeAttributesClassName"].as_str(), requirement)
        }
        // Scopes are of pods and claims; a quota with one counts nothing else.
        _ => false,
    }
}

fn ends_by_itself(spec: &Value) -> bool {
    spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

fn is_best_effort(spec: &Value) -> bool {
    let lists = ["containers", "initContainers"];
    let mut containers = lists.iter().filter_map(|list| spec[list].as_array()).flatten();
    !containers.any(|container| {
        ["requests", "limits"].iter().any(|kind| {
            let amounts = super::amounts(&container["resources"][kind]);
            ["cpu", "memory"].iter().any(|name| amounts.get(*name).is_some_and(|amount| !amount.is_zero()))
        })
    })
}

/// Whether a class is one that a requirement asks for.
fn matches(class: Option<&str>, requirement: &Value) -> bool {
    let class = class.filter(|class| !class.is_empty());
    let values = requirement["values"].as_array().map_or(&[][..], Vec::as_slice);
    let listed = class.is_some_and(|class| values.iter().any(|value| value == class));
    match requirement["operator"].as_str() {
        Some("In") => listed,
        Some("NotIn") => !listed,
        Some("DoesNotExist") => class.is_none(),
        _ => class.is_some(),
    }
}

/// Whether an affinity is to pods of other namespaces.
fn looks_elsewhere(affinity: &Value) -> bool {
    let elsewhere = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|names| !names.is_empty())
            || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let list = |name: &str| affinity[kind][name].as_array().map_or(&[][..], Vec::as_slice);
        list("requiredDuringSchedulingIgnoredDuringExecution").iter().any(elsewhere)
            || list("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| elsewhere(&weighted["podAffinityTerm"]))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::covers;
    use super::*;

    #[test]
    fn pods_are_in_scopes_by_their_spec() {
        let plain = json!({"spec": {"containers": [{"name": "c"}]}});
        let ending = json!({"spec": {"activeDeadlineSeconds": 5, "containers": [
            {"name": "c", "resources": {"requests": {"cpu": "1"}}},
        ]}});
        let is = |pod: &Value, scope: &str| is_in_scope("", "pods", pod, scope, &Value::Null);

        assert_eq!((is(&plain, "BestEffort"), is(&plain, "NotBestEffort")), (true, false));
        assert_eq!((is(&plain, "Terminating"), is(&plain, "NotTerminating")), (false, true));
        assert_eq!((is(&ending, "BestEffort"), is(&ending, "Terminating")), (false, true));
        assert!(!is_in_scope("", "services", &plain, "BestEffort", &Value::Null));
    }

    #[test]
    fn a_quota_for_a_priority_class_counts_pods_of_that_class_alone() {
        let quota = |operator: &str, values: Value| {
            let requirement = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
            json!({"spec": {"scopeSelector": {"matchExpressions": [requirement]}}})
        };
        let pod = |class: Value| json!({"spec": {"priorityClassName": class}});
        let covered = |quota: &Value, class: Value| covers(quota, "", "pods", &pod(class));

        assert!(covered(&quota("In", json!(["high"])), json!("high")));
        assert!(!covered(&quota("In", json!(["high"])), Value::Null));
        assert!(covered(&quota("NotIn", json!(["high"])), Value::Null));
        assert!(covered(&quota("Exists", Value::Null), json!("low")));
        assert!(!covered(&quota("DoesNotExist", Value::Null), json!("low")));
    }

    #[test]
    fn an_affinity_to_other_namespaces_is_a_scope() {
        let pod = json!({"spec": {"affinity": {"podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": {"namespaceSelector": {}}}],
        }}}});

        assert!(is_in_scope("", "pods", &pod, "CrossNamespacePodAffinity", &Value::Null));
        assert!(!is_in_scope("", "pods", &json!({}), "CrossNamespacePodAffinity", &Value::Null));
    }
}
