//! Rules for roles and their bindings.

use super::super::at::{At, Errors};
use super::super::compare::same;
use super::super::names::{self, NameRule};
use super::super::{Validator, go, metadata, selectors};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(in super::super) static ROLE: Validator = Validator {
    name: NameRule::PathSegment,
    namespaced: true,
    built_in: true,
    create: |role, errors| rules(role, true, errors),
    update: |new, old, errors| {
        ROLE.as_new(new, errors);
        metadata::whole(new, NameRule::PathSegment, true, errors);
        rules(new, true, errors);
        metadata::update_built_in(new, old, errors);
    },
    status: |_, _, _| {},
};

pub(in super::super) static CLUSTER_ROLE: Validator = Validator {
    name: NameRule::PathSegment,
    namespaced: false,
    built_in: true,
    create: cluster_role,
    update: |new, old, errors| {
        CLUSTER_ROLE.as_new(new, errors);
        metadata::whole(new, NameRule::PathSegment, false, errors);
        cluster_role(new, errors);
        metadata::update_built_in(new, old, errors);
    },
    status: |_, _, _| {},
};

pub(in super::super) static ROLE_BINDING: Validator = Validator {
    name: NameRule::PathSegment,
    namespaced: true,
    built_in: true,
    create: |binding, errors| self::binding(binding, true, errors),
    update: |new, old, errors| {
        ROLE_BINDING.as_new(new, errors);
        metadata::whole(new, NameRule::PathSegment, true, errors);
        binding(new, true, errors);
        binding_update(new, old, errors);
    },
    status: |_, _, _| {},
};

pub(in super::super) static CLUSTER_ROLE_BINDING: Validator = Validator {
    name: NameRule::PathSegment,
    namespaced: false,
    built_in: true,
    create: |binding, errors| self::binding(binding, false, errors),
    update: |new, old, errors| {
        CLUSTER_ROLE_BINDING.as_new(new, errors);
        metadata::whole(new, NameRule::PathSegment, false, errors);
        binding(new, false, errors);
        binding_update(new, old, errors);
    },
    status: |_, _, _| {},
};

fn cluster_role(role: &At, errors: &mut Errors) {
    rules(role, false, errors);
    let aggregation = role.child("aggregationRule");
    if !aggregation.is_set() {
        return;
    }
    let list = aggregation.child("clusterRoleSelectors");
    if list.is_empty() {
        list.required(errors, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for selector in list.items() {
        let found = errors.len();
        selectors::label_selector(&selector, errors);
        if errors.len() > found {
            // What upstream shows here is the selector that could not be made.
            selector.invalid_shown(errors, "null", "invalid label selector.");
        }
    }
}

fn rules(role: &At, namespaced: bool, errors: &mut Errors) {
    for rule in role.child("rules").items() {
        let part = |name| rule.value().get(name).and_then(serde_json::Value::as_array).map_or(0, Vec::len);
        if part("verbs") == 0 {
            rule.child("verbs").required(errors, "verbs must contain at least one value");
        }
        let paths = rule.child("nonResourceURLs");
        if !paths.is_empty() {
            if namespaced {
                paths.invalid(errors, "namespaced rules cannot apply to non-resource URLs");
            }
            if part("apiGroups") + part("resources") + part("resourceNames") > 0 {
                paths.invalid(errors, "rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if part("apiGroups") == 0 {
            rule.child("apiGroups").required(errors, "resource rules must supply at least one api group");
        }
        if part("resources") == 0 {
            rule.child("resources").required(errors, "resource rules must supply at least one resource");
        }
    }
}

fn binding(binding: &At, namespaced: bool, errors: &mut Errors) {
    let role = binding.child("roleRef");
    role.child("apiGroup").one_of(errors, &[GROUP]);
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    role.child("kind").one_of(errors, kinds);
    if !role.child("name").require(errors) {
        role.child("name").rule(errors, names::path_segment);
    }
    for subject in binding.child("subjects").items() {
        let (name, group) = (subject.child("name"), subject.child("apiGroup"));
        let missing = name.require(errors);
        match subject.child("kind").str() {
            "ServiceAccount" => {
                if !missing {
                    name.rule(errors, names::subdomain);
                }
                if !group.is_empty() {
                    group.not_supported(errors, &[""]);
                }
                if !namespaced {
                    subject.child("namespace").require(errors);
                }
            }
            kind @ ("User" | "Group") => {
                if missing {
                    let rule = format!("{} name cannot be empty", kind.to_lowercase());
                    name.invalid_shown(errors, "", &rule);
                }
                group.one_of(errors, &[GROUP]);
            }
            _ => subject.child("kind").not_supported(errors, &["ServiceAccount", "User", "Group"]),
        }
    }
}

fn binding_update(new: &At, old: &At, errors: &mut Errors) {
    metadata::update_built_in(new, old, errors);
    let role = new.child("roleRef");
    if !same(role.value(), old.child("roleRef").value()) {
        let fields = [
            ("APIGroup", go::string(role.child("apiGroup").value())),
            ("Kind", go::string(role.child("kind").value())),
            ("Name", go::string(role.child("name").value())),
        ];
        role.invalid_shown(errors, go::structure("rbac.RoleRef", &fields), "cannot change roleRef");
    }
}
