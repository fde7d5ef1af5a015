//! Rules for quotas.

use super::super::at::{At, Errors, IMMUTABLE};
use super::super::error::Shown;
use super::super::names::NameRule;
use super::super::pods::{resource_name, resource_quantity};
use super::super::selectors::NO_OPERATOR;
use super::super::{Validator, go, metadata};

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const OPPOSITES: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
const NOT_QUOTA: &str = "must be a standard resource for quota";
const WRONG_SCOPE: &str = "unsupported scope applied to resource";

/// What a quota can limit, of names without a domain.
const RESOURCES: [&str; 19] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// What pods alone use, beside their number.
const COMPUTE: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

pub(in super::super) static RESOURCE_QUOTA: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |quota, errors| spec(&quota.child("spec"), errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let (now, before) = (new.child("spec"), old.child("spec"));
        spec(&now, errors);
        let scopes = now.child("scopes");
        let all = |scopes: &At| {
            let mut all: Vec<_> = scopes.strings().map(str::to_owned).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        if all(&scopes) != all(&before.child("scopes")) {
            scopes.invalid_shown(errors, shown(&scopes), IMMUTABLE);
        }
    },
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let status = new.child("status");
        amounts(&status.child("hard"), errors);
        amounts(&status.child("used"), errors);
    },
};

fn is_known(name: &str) -> bool {
    RESOURCES.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

fn amounts(list: &At, errors: &mut Errors) {
    for (name, amount) in list.entries() {
        resource_name(name, &amount, errors);
        if !name.contains('/') && !is_known(name) {
            amount.invalid_shown(errors, name, NOT_QUOTA);
        }
        resource_quantity(name, &amount, errors);
    }
}

fn spec(spec: &At, errors: &mut Errors) {
    let hard = spec.child("hard");
    amounts(&hard, errors);
    let scopes = spec.child("scopes");
    for scope in scopes.strings() {
        if !SCOPES.contains(&scope) {
            scopes.invalid_shown(errors, shown(&scopes), "unsupported scope");
        }
        for _ in unfit(&hard, scope) {
            scopes.invalid_shown(errors, shown(&scopes), WRONG_SCOPE);
        }
    }
    let all: Vec<_> = scopes.strings().collect();
    for _ in conflicts(&all) {
        scopes.invalid_shown(errors, shown(&scopes), "conflicting scopes");
    }
    let selector = spec.child("scopeSelector");
    if selector.is_set() {
        scope_selector(&selector, &hard, errors);
    }
}

fn shown(scopes: &At) -> Shown {
    go::strings("[]core.ResourceQuotaScope", scopes.value())
}

/// The limited resources to which a scope cannot apply.
fn unfit<'v>(hard: &At<'v, '_>, scope: &str) -> Vec<&'v str> {
    let fits = |name: &str| match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => name == "pods" || COMPUTE.contains(&name),
        _ => true,
    };
    hard.entries().map(|(name, _)| name).filter(|name| is_known(name) && !fits(name)).collect()
}

fn conflicts<'a>(scopes: &'a [&str]) -> impl Iterator<Item = [&'static str; 2]> + 'a {
    OPPOSITES.into_iter().filter(|pair| pair.iter().all(|scope| scopes.contains(scope)))
}

fn scope_selector(selector: &At, hard: &At, errors: &mut Errors) {
    let list = selector.child("matchExpressions");
    let all = || Shown(selector.value().to_string());
    let mut scopes = Vec::new();
    for requirement in list.items() {
        let (scope, operator) = (requirement.child("scopeName").str(), requirement.child("operator").str());
        let values = requirement.child("values");
        if !SCOPES.contains(&scope) {
            list.child("scopeName").invalid_shown(errors, scope, "unsupported scope");
        }
        for _ in unfit(hard, scope) {
            list.invalid_shown(errors, all(), WRONG_SCOPE);
        }
        let valued = matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if SCOPES.contains(&scope) && !valued && operator != "Exists" {
            let rule = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                        ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                        ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            list.child("operator").invalid_shown(errors, operator, rule);
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let rule = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                list.child("values").required(errors, rule);
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let rule = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                list.child("values").invalid_shown(errors, values.value(), rule);
            }
            "Exists" | "DoesNotExist" => {}
            _ => list.child("operator").invalid_shown(errors, operator, NO_OPERATOR),
        }
        scopes.push(scope);
    }
    for _ in conflicts(&scopes) {
        list.invalid_shown(errors, all(), "conflicting scopes");
    }
}
