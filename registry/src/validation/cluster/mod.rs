//! Rules for the plain kinds of the core: namespaces, nodes, configuration, events, leases, priorities.

mod configuration;
mod events;
mod nodes;
#[cfg(test)]
mod tests;

pub(super) use configuration::{CONFIG_MAP, SECRET, SERVICE_ACCOUNT};
pub(super) use events::{CORE_EVENT, EVENT};
pub(super) use nodes::NODE;

use super::at::{At, Errors};
use super::names::{self, NameRule};
use super::{Validator, metadata, pods};

/// The highest priority that is not the system's.
const MAX_PRIORITY: i64 = 1_000_000_000;

pub(super) static NAMESPACE: Validator = Validator {
    name: NameRule::Label,
    namespaced: false,
    built_in: true,
    create: |namespace, errors| {
        let spec = namespace.child("spec");
        let all = spec.child("finalizers");
        all.items().for_each(|one| finalizer(&spec.moved(one.value(), "finalizers"), errors));
    },
    update: |new, old, errors| {
        metadata::whole(new, NameRule::Label, false, errors);
        metadata::update_built_in(new, old, errors);
        // Only the path that sets them can bring others.
        new.child("spec").child("finalizers").items().for_each(|one| finalizer(&one, errors));
    },
    status: namespace_status,
};

fn finalizer(finalizer: &At, errors: &mut Errors) {
    finalizer.rule(errors, names::qualified_name);
    let name = finalizer.str();
    if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
        finalizer.invalid(errors, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

fn namespace_status(new: &At, old: &At, errors: &mut Errors) {
    metadata::update_built_in(new, old, errors);
    let status = new.child("status");
    let phase = status.child("phase");
    let (wanted, rule) = if old.child("metadata").child("deletionTimestamp").is_set() {
        ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty")
    } else {
        ("Active", "may only be 'Active' if `deletionTimestamp` is empty")
    };
    if phase.str() != wanted {
        status.child("Phase").invalid_shown(errors, phase.str(), rule);
    }
}

pub(super) static LEASE: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |lease, errors| lease_spec(&lease.child("spec"), errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        lease_spec(&new.child("spec"), errors);
    },
    status: |_, _, _| {},
};

fn lease_spec(spec: &At, errors: &mut Errors) {
    let seconds = spec.child("leaseDurationSeconds");
    if seconds.int().is_some_and(|seconds| seconds <= 0) {
        seconds.invalid(errors, "must be greater than 0");
    }
    spec.child("leaseTransitions").not_negative(errors);
    let (strategy, holder) = (spec.child("strategy"), spec.child("preferredHolder"));
    if strategy.str().contains('/') {
        strategy.rule(errors, names::qualified_name);
    } else {
        strategy.one_of_if_set(errors, &["OldestEmulationVersion"]);
    }
    if !holder.is_empty() && strategy.is_empty() {
        holder.forbidden(errors, "may only be specified if `strategy` is defined");
    }
}

pub(super) static PRIORITY_CLASS: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: priority_class,
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        if new.child("value").int().unwrap_or_default() != old.child("value").int().unwrap_or_default() {
            new.child("value").forbidden(errors, "may not be changed in an update.");
        }
        new.child("preemptionPolicy").immutable(errors, &old.child("preemptionPolicy"));
    },
    status: |_, _, _| {},
};

fn priority_class(class: &At, errors: &mut Errors) {
    let value = class.child("value").int().unwrap_or_default();
    let meta = class.child("metadata");
    let name = meta.child("name");
    if name.str().starts_with("system-") {
        let known = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
        let problem = match known.iter().find(|(known, _)| *known == name.str()) {
            None => Some(format!("{} is not a known system priority class", name.str())),
            Some((known, number)) if value != *number => {
                Some(format!("value of {known} PriorityClass must be {number}"))
            }
            Some((known, _)) if class.child("globalDefault").is_true() => {
                Some(format!("globalDefault of {known} PriorityClass must be false"))
            }
            Some(_) => None,
        };
        if let Some(problem) = problem {
            let rule = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
            );
            name.forbidden(errors, &rule);
        }
    } else if value > MAX_PRIORITY {
        let rule = format!("maximum allowed value of a user defined priority is {MAX_PRIORITY}");
        class.child("value").forbidden(errors, &rule);
    }
    if class.child("preemptionPolicy").is_set() {
        class.child("preemptionPolicy").one_of_or_required(errors, &["PreemptLowerPriority", "Never"]);
    }
}

pub(super) static RUNTIME_CLASS: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: |class, errors| {
        class.child("handler").rule(errors, names::dns_label);
        let overhead = class.child("overhead");
        let fixed = overhead.child("podFixed");
        pods::resource_list(&overhead.moved(fixed.value(), "limits"), errors);
        let scheduling = class.child("scheduling");
        metadata::labels(&scheduling.child("nodeSelector"), errors);
        pods::tolerations(&scheduling.child("tolerations"), errors);
    },
    update: |new, old, errors| {
        RUNTIME_CLASS.as_new(new, errors);
        metadata::update_built_in(new, old, errors);
        new.child("handler").immutable(errors, &old.child("handler"));
    },
    status: |_, _, _| {},
};
