//! What a pod may know of itself: fields of its object, and how much its containers may use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use quarterdeck_core::quantity::Quantity;
use quarterdeck_core::runtime::Machine;

/// What is known of a pod.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The pod.
    pub(crate) pod: &'a Pod,
    /// Its addresses.
    pub(crate) ips: &'a [IpAddr],
    /// The node's addresses.
    pub(crate) node: &'a [IpAddr],
    /// The node's machine: what a container may use that has no limit.
    pub(crate) machine: Option<&'a Machine>,
}

/// Returns the text of a field.
///
/// # Errors
///
/// That there is no such field.
pub(crate) fn field(facts: &Facts<'_>, path: &str) -> Result<String, String> {
    let Facts { pod, ips, node, .. } = facts;
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    let list = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let first = |ips: &[IpAddr]| ips.first().map(ToString::to_string).unwrap_or_default();
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(unknown(path)),
        };
        return Ok(text(map.as_ref().and_then(|map| map.get(key))));
    }
    Ok(match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" => first(node),
        "status.hostIPs" => list(node),
        "status.podIP" => first(ips),
        "status.podIPs" => list(ips),
        _ => return Err(unknown(path)),
    })
}

fn unknown(path: &str) -> String {
    format!("unsupported fieldPath: {path}")
}

/// Splits `metadata.labels['key']`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// Writes a map as lines of `key="value"`.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns how much of a resource a container asks for or may use, in units of the selector's divisor, rounded up.
///
/// # Errors
///
/// That there is no such resource, or no such quantity.
pub(crate) fn resource(
    facts: &Facts<'_>,
    container: &Container,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let path = selector.resource.as_str();
    let unsupported = || format!("unsupported container resource : {path}");
    let (list, name) = path.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.as_ref();
    let given = match list {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(unsupported()),
    };
    let parse = |text: &str| text.parse::<Quantity>().map_err(|error| format!("{text:?}: {error}"));
    let amount = match given.and_then(|given| given.get(name)) {
        Some(amount) => parse(&amount.0)?,
        None if list == "limits" => capacity(facts, name).ok_or_else(unsupported)?,
        None if matches!(name, "cpu" | "memory" | "ephemeral-storage") => Quantity::ZERO,
        None => return Err(unsupported()),
    };
    let divisor = selector.divisor.as_ref().map(|divisor| parse(&divisor.0)).transpose()?;
    let divisor = divisor.filter(|divisor| !divisor.is_zero()).unwrap_or(Quantity::from_units(1));
    if name == "cpu" {
        return Ok(ratio(amount.milli_value(), divisor.milli_value()));
    }
    Ok(ratio(amount.value(), divisor.value()))
}

fn ratio(amount: i64, divisor: i64) -> String {
    let divisor = divisor.max(1);
    (amount / divisor + i64::from(amount % divisor > 0)).to_string()
}

fn capacity(facts: &Facts<'_>, name: &str) -> Option<Quantity> {
    let machine = facts.machine?;
    let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    match name {
        "cpu" => Some(Quantity::from_milli(whole(machine.cpu))),
        "memory" => Some(Quantity::from_bytes(whole(machine.memory))),
        "ephemeral-storage" => Some(Quantity::from_bytes(whole(machine.storage))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"a/b": "c\"d", "z": ""}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn fields_of_the_pod_are_found_by_their_paths() {
        let pod = pod();
        let ips = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let facts = Facts { pod: &pod, ips: &ips, node: &[], machine: None };
        let read = |path: &str| field(&facts, path);

        assert_eq!(read("metadata.labels['a/b']").unwrap(), "c\"d");
        assert_eq!(read("metadata.labels").unwrap(), "a/b=\"c\\\"d\"\nz=\"\"");
        assert_eq!(read("status.podIPs").unwrap(), "10.0.0.1,fd00::1");
        assert_eq!(read("spec.containers").unwrap_err(), "unsupported fieldPath: spec.containers");
    }

    #[test]
    fn resources_are_rounded_up_in_units_of_the_divisor() {
        let pod = pod();
        let facts = Facts { pod: &pod, ips: &[], node: &[], machine: None };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let read = |resource_name: &str, divisor: &str| {
            let selector = json!({"resource": resource_name, "divisor": divisor});
            resource(&facts, container, &serde_json::from_value(selector).unwrap())
        };

        assert_eq!(read("limits.cpu", "0").unwrap(), "2");
        assert_eq!(read("limits.cpu", "1m").unwrap(), "1500");
        assert_eq!(read("limits.memory", "1Mi").unwrap(), "1024");
        assert_eq!(read("requests.memory", "1").unwrap(), "0");
    }
}
