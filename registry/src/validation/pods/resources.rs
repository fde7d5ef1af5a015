//! Rules for names and amounts of resources.

use quarterdeck_core::quantity::Quantity;

use super::super::at::{At, Errors, NOT_NEGATIVE};
use super::super::error::{FieldError, Shown};
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

/// Checks which of the devices that the pod of `spec` claims a container uses.
pub(super) fn claims(claims: &At, spec: &At, errors: &mut Errors) {
    let known = spec.child("resourceClaims");
    let mut all: Vec<_> = known.items().map(|claim| claim.child("name").str()).collect();
    all.retain(|name| !name.is_empty());
    all.sort_unstable();
    all.dedup();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for claim in claims.items() {
        let (name, request) = (claim.child("name").str(), claim.child("request"));
        if name.is_empty() {
            claim.required(errors, "");
            continue;
        }
        if !request.is_empty() {
            request.rule(errors, names::dns_label);
        }
        let clash = |(other, part): &(&str, &str)| {
            *other == name && (part.is_empty() || request.is_empty() || *part == request.str())
        };
        if let Some((_, part)) = seen.iter().find(|earlier| clash(earlier)) {
            let both = !part.is_empty() && !request.is_empty();
            let shown = if both { format!("{name}/{part}") } else { name.to_owned() };
            errors.push(FieldError::duplicate(&claim, &shown));
        }
        seen.push((name, request.str()));
        if !all.contains(&name) {
            let mut error = FieldError::not_found(&claim, name);
            error.message.push_str(": must be one of the names in pod.spec.resourceClaims");
            match all.is_empty() {
                true => error.message.push_str(" which is empty"),
                false => error.message.push_str(&format!(": {}", all.join(", "))),
            }
            errors.push(error);
        }
    }
}

/// Checks the devices that a pod claims for its containers.
pub(super) fn claims_of_pod(claims: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for claim in claims.items() {
        let name = claim.child("name");
        if name.is_empty() {
            name.required(errors, "");
        } else if seen.contains(&name.str()) {
            name.duplicate(errors);
        } else {
            name.rule(errors, names::dns_label);
            seen.push(name.str());
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let given = sources.iter().filter(|source| claim.child(source).is_set()).count();
        let shown = || Shown::verbatim(claim.value().to_string());
        if given > 1 {
            let rule = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
            claim.invalid_shown(errors, shown(), rule);
        } else if given == 0 {
            let rule = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
            claim.invalid_shown(errors, shown(), rule);
        }
        for source in sources {
            let source = claim.child(source);
            if source.is_set() {
                source.rule(errors, names::subdomain);
            }
        }
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
