//! Rules for names and amounts of resources.

use quarterdeck_core::quantity::Quantity;

use super::super::at::{At, Errors, NOT_NEGATIVE};
use super::super::{go, names};

/// What is counted, so that a fraction makes no sense.
const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// What a name without a domain can be, beside huge pages.
const STANDARD: [&str; 11] = [
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "storage",
];

/// Checks what a container asks for and what it may use at most.
pub(super) fn requirements(resources: &At, errors: &mut Errors) {
    let (limits, requests) = (resources.child("limits"), resources.child("requests"));
    list(&limits, errors);
    for (name, request) in requests.entries() {
        container_resource(name, &request, errors);
        let Some(asked) = request.quantity() else {
            continue;
        };
        let may_differ = !must_be_equal(name);
        match limits.key(name).quantity() {
            Some(limit) if asked != limit && !may_differ => {
                let rule = format!("must be equal to {name} limit of {limit}");
                requests.invalid_shown(errors, &asked.to_string(), &rule);
            }
            Some(limit) if asked > limit => {
                let rule = format!("must be less than or equal to {name} limit of {limit}");
                requests.invalid_shown(errors, &asked.to_string(), &rule);
            }
            None if !may_differ => {
                limits.required(errors, "Limit must be set for non overcommitable resources")
            }
            _ => {}
        }
    }
    let uses =
        |kind: fn(&str) -> bool| limits.entries().chain(requests.entries()).any(|(name, _)| kind(name));
    if uses(is_huge_page) && !uses(|name| matches!(name, "cpu" | "memory")) {
        resources.forbidden(errors, "HugePages require cpu or memory");
    }
}

/// Checks a list of resources of a container, or of the overhead of a pod.
pub(in super::super) fn list(resources: &At, errors: &mut Errors) {
    for (name, amount) in resources.entries() {
        container_resource(name, &amount, errors);
    }
}

fn container_resource(name: &str, amount: &At, errors: &mut Errors) {
    let found = errors.len();
    resource_name(name, amount, errors);
    if errors.len() == found || !name.contains('/') {
        standard_for_containers(name, amount, errors);
    }
    resource_quantity(name, amount, errors);
    let page = name.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok());
    if let (Some(page), Some(amount_of)) = (page, amount.quantity())
        && page.value() > 0
        && amount_of.value() % page.value() != 0
    {
        let rule = format!("{amount_of} is not positive integer multiple of {name}");
        amount.invalid_shown(errors, &amount_of.to_string(), &rule);
    }
}

/// Checks that `name` is the name of some resource.
pub(in super::super) fn resource_name(name: &str, at: &At, errors: &mut Errors) {
    let problems = names::qualified_name(name);
    if problems.is_empty() && !name.contains('/') && !is_standard(name) {
        at.invalid_shown(errors, name, "must be a standard resource type or fully qualified");
    }
    problems.iter().for_each(|problem| at.invalid_shown(errors, name, problem));
}

/// Checks that `name` is the name of a resource that containers can have.
pub(in super::super) fn standard_for_containers(name: &str, at: &At, errors: &mut Errors) {
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_page(name) {
            at.invalid_shown(errors, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        at.invalid_shown(errors, name, "doesn't follow extended resource name standard");
    }
}

/// Checks that an amount is not negative, and whole if the resource is counted.
pub(in super::super) fn resource_quantity(name: &str, at: &At, errors: &mut Errors) {
    let Some(quantity) = at.quantity() else {
        return;
    };
    if quantity.is_negative() {
        at.invalid_shown(errors, &quantity.to_string(), NOT_NEGATIVE);
    }
    if !quantity.is_integer() && (COUNTED.contains(&name) || is_extended(name)) {
        at.invalid_shown(errors, go::quantity(&quantity.to_string()), "must be an integer");
    }
}

fn is_standard(name: &str) -> bool {
    let huge = is_huge_page(name) || name.starts_with("requests.hugepages-");
    huge || STANDARD.contains(&name) || COUNTED.contains(&name)
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Returns whether as much of a resource must be asked for as may be used: nothing else can have it meanwhile.
pub(in super::super) fn must_be_equal(name: &str) -> bool {
    !is_native(name) || is_huge_page(name)
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    let quota = format!("requests.{name}");
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&quota).is_empty()
}
