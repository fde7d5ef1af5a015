//! Rules for environment variables, and for the fields and resources that they can be taken from.

use quarterdeck_core::quantity::Quantity;

use super::super::at::{At, Errors};
use super::super::names;

/// The fields of a pod that a variable can hold.
const VARIABLE_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// The fields of a pod that a file of a volume can hold.
pub(super) const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The fields of a pod that have a path, of which not each can be used everywhere.
const KNOWN_FIELDS: [&str; 15] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.host",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const BYTES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// Checks the variables of a container.
pub(super) fn variables(variables: &At, errors: &mut Errors) {
    for variable in variables.items() {
        let name = variable.child("name");
        if !name.require(errors) {
            name.rule(errors, names::environment_name);
        }
        let from = variable.child("valueFrom");
        if from.is_set() {
            value_from(&from, variable.child("value").is_empty(), errors);
        }
    }
}

fn value_from(from: &At, no_value: bool, errors: &mut Errors) {
    let mut sources = 0;
    let field = from.child("fieldRef");
    if field.is_set() {
        sources += 1;
        field_reference(&field, &VARIABLE_FIELDS, errors);
    }
    let resource = from.child("resourceFieldRef");
    if resource.is_set() {
        sources += 1;
        resource_reference(&resource, false, errors);
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        let reference = from.child(name);
        if reference.is_set() {
            sources += 1;
            reference.child("name").rule(errors, names::subdomain);
            let key = reference.child("key");
            if !key.require(errors) {
                key.rule(errors, names::config_key);
            }
        }
    }
    if sources == 0 {
        let rule = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        from.invalid_shown(errors, "", rule);
    }
    if !no_value && sources != 0 {
        from.invalid_shown(errors, "", "may not be specified when `value` is not empty");
    } else if no_value && sources > 1 {
        from.invalid_shown(errors, "", "may not have more than one field specified at a time");
    }
}

/// Checks what whole config maps and secrets a container takes variables from.
pub(super) fn sources(sources: &At, errors: &mut Errors) {
    for source in sources.items() {
        let prefix = source.child("prefix");
        if !prefix.is_empty() {
            prefix.rule(errors, names::environment_name);
        }
        let mut count = 0;
        for name in ["configMapRef", "secretRef"] {
            let reference = source.child(name);
            if reference.is_set() {
                count += 1;
                let object = reference.child("name");
                if !object.require(errors) {
                    names::NameRule::Subdomain
                        .check_prefix(object.str())
                        .iter()
                        .for_each(|problem| object.invalid(errors, problem));
                }
            }
        }
        match count {
            0 => sources.invalid_shown(errors, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => sources.invalid_shown(errors, "", "may not have more than one field specified at a time"),
        }
    }
}

/// Checks a reference to one of the `allowed` fields of the pod.
pub(super) fn field_reference(reference: &At, allowed: &[&str], errors: &mut Errors) {
    let (version, path) = (reference.child("apiVersion"), reference.child("fieldPath"));
    if version.require(errors) || path.require(errors) {
        return;
    }
    let subscript = path.str().strip_suffix("']").and_then(|rest| rest.split_once("['"));
    let known = match subscript {
        _ if version.str() != "v1" => Err(format!("unsupported pod version: {}", version.str())),
        Some(("metadata.annotations" | "metadata.labels", _)) => Ok(()),
        Some(_) => Err(format!("field label does not support subscript: {}", path.str())),
        None if KNOWN_FIELDS.contains(&path.str()) => Ok(()),
        None => Err(format!("field label not supported: {}", path.str())),
    };
    if let Err(problem) = known {
        path.invalid(errors, &format!("error converting fieldPath: {problem}"));
        return;
    }
    match subscript {
        Some((map, key)) => {
            // Annotations may be spelt with upper case in their domains.
            let lowered = if map == "metadata.annotations" { key.to_lowercase() } else { key.to_owned() };
            for problem in names::qualified_name(&lowered) {
                reference.invalid_shown(errors, lowered.as_str(), &problem);
            }
        }
        // An old name of the node's field.
        None if path.str() == "spec.host" && allowed.contains(&"spec.nodeName") => {}
        None if !allowed.contains(&path.str()) => path.not_supported(errors, allowed),
        None => {}
    }
}

/// Checks a reference to a resource of a container; in a file of a volume the container must be named.
pub(super) fn resource_reference(reference: &At, in_volume: bool, errors: &mut Errors) {
    let (container, resource) = (reference.child("containerName"), reference.child("resource"));
    let huge =
        resource.str().starts_with("limits.hugepages-") || resource.str().starts_with("requests.hugepages-");
    if in_volume && container.is_empty() {
        container.required(errors, "");
    } else if resource.is_empty() {
        resource.required(errors, "");
    } else if !huge && !RESOURCES.contains(&resource.str()) {
        resource.not_supported(errors, &RESOURCES);
    }
    let divisor = reference.child("divisor");
    let Some(unit) = divisor.quantity().filter(|unit| !unit.is_zero()) else {
        return;
    };
    let unit = Quantity::to_string(&unit);
    let name = resource.str();
    let (allowed, listed): (&[&str], String) = match name.split_once('.').map_or("", |(_, kind)| kind) {
        "cpu" => (&["1m", "1"], "1m and 1 are supported with the cpu resource".to_owned()),
        kind => {
            let kind = match kind {
                "memory" => "memory",
                "ephemeral-storage" => "local ephemeral storage",
                _ if huge => "hugepages",
                _ => return,
            };
            (&BYTES, format!("{} are supported with the {kind} resource", BYTES.join(", ")))
        }
    };
    if !allowed.contains(&unit.as_str()) {
        divisor.invalid_shown(errors, name, &format!("only divisor's values {listed}"));
    }
}
