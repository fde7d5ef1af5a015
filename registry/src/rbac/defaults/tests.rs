use std::collections::BTreeSet;

use super::{Role, Rule, Subject, bindings, roles};

/// Returns the rules that a cluster role has once it is aggregated.
fn granted(name: &str) -> Vec<&'static Rule> {
    let own = roles().find(|role| role.namespace.is_none() && role.name == name).expect("a default role");
    let parts = roles().filter(|part| own.aggregates.iter().any(|key| part.labels.contains(&(*key, "true"))));
    own.rules.iter().chain(parts.flat_map(|part| granted(part.name))).collect()
}

fn allows(name: &str, verb: &str, group: &str, resource: &str) -> bool {
    let has = |list: &[&str], wanted| list.contains(&wanted) || list.contains(&"*");
    granted(name)
        .iter()
        .any(|rule| has(rule.verbs, verb) && has(rule.groups, group) && has(rule.resources, resource))
}

fn rules() -> impl Iterator<Item = (&'static Role, &'static Rule)> {
    roles().flat_map(|role| role.rules.iter().map(move |rule| (role, rule)))
}

#[test]
fn a_name_is_taken_once_in_its_namespace() {
    let (mut of_roles, mut of_bindings) = (BTreeSet::new(), BTreeSet::new());

    for role in roles() {
        assert!(of_roles.insert((role.namespace, role.name)), "two roles {:?} {}", role.namespace, role.name);
    }
    for binding in bindings() {
        let new = of_bindings.insert((binding.namespace, binding.name));
        assert!(new, "two bindings {:?} {}", binding.namespace, binding.name);
    }
}

#[test]
fn every_binding_gives_a_role_that_exists() {
    for binding in bindings() {
        let found = roles().any(|role| (role.namespace, role.name) == (binding.namespace, binding.role));
        assert!(found, "{} gives {:?} {}", binding.name, binding.namespace, binding.role);
    }
}

#[test]
fn every_role_of_a_namespace_is_given_to_somebody() {
    for role in roles().filter(|role| role.namespace.is_some()) {
        let bound =
            bindings().find(|binding| (binding.namespace, binding.role) == (role.namespace, role.name));
        assert!(bound.is_some_and(|binding| !binding.subjects.is_empty()), "nobody has {}", role.name);
    }
}

#[test]
fn every_controller_has_its_role_by_the_service_account_of_its_name() {
    let controllers = roles().filter(|role| role.namespace.is_none());
    let controllers =
        controllers.filter_map(|role| Some((role, role.name.strip_prefix("system:controller:")?)));

    for (role, controller) in controllers {
        let binding = bindings().find(|binding| binding.namespace.is_none() && binding.role == role.name);
        let subjects = binding.map(|binding| binding.subjects);
        assert!(
            matches!(subjects, Some([Subject::ServiceAccount(account)]) if *account == controller),
            "{controller}: {subjects:?}"
        );
    }
}

#[test]
fn what_goes_beyond_upstream_is_named_so_and_only_reads() {
    let own = roles().filter(|role| role.namespace.is_none() && !role.name.starts_with("system:"));
    let own: Vec<_> = own.map(|role| role.name).collect();

    assert_eq!(own, ["cluster-admin", "admin", "edit", "view", "quarterdeck:pod-addresses"]);
    for rule in granted("quarterdeck:pod-addresses") {
        assert!(rule.verbs.iter().all(|verb| ["list", "watch"].contains(verb)), "{rule:?}");
    }
}

#[test]
fn aggregates_and_labels_meet() {
    let selected: BTreeSet<_> = roles().flat_map(|role| role.aggregates).collect();
    let offered: BTreeSet<_> = roles().flat_map(|role| role.labels).map(|(key, _)| key).collect();

    assert_eq!(selected, offered);
    for part in ["admin", "edit", "view"] {
        let key = format!("rbac.authorization.k8s.io/aggregate-to-{part}");
        let whole = roles().find(|role| role.name == part).expect("a default role");
        let own = roles().find(|role| role.name == format!("system:aggregate-to-{part}")).expect("its part");
        assert_eq!(whole.aggregates, [&key]);
        assert_eq!(own.labels, [(key.as_str(), "true")]);
        assert!(whole.rules.is_empty(), "{part} has its rules by aggregation alone");
    }
}

#[test]
fn a_rule_is_of_resources_or_of_paths() {
    for (role, rule) in rules() {
        let of_resources = !rule.groups.is_empty() && !rule.resources.is_empty() && rule.urls.is_empty();
        let of_paths = rule.groups.is_empty()
            && rule.resources.is_empty()
            && rule.names.is_empty()
            && !rule.urls.is_empty()
            && role.namespace.is_none();
        assert!(!rule.verbs.is_empty() && (of_resources || of_paths), "{}: {rule:?}", role.name);
    }
}

#[test]
fn the_lists_of_a_rule_are_sorted_and_say_nothing_twice() {
    for (role, rule) in rules() {
        for list in [rule.verbs, rule.groups, rule.resources, rule.names, rule.urls] {
            assert!(list.is_sorted_by(|one, next| one < next), "{}: {list:?}", role.name);
        }
    }
}

#[test]
fn roles_and_bindings_of_a_namespace_are_in_reserved_ones() {
    let namespaces = roles().map(|role| role.namespace).chain(bindings().map(|binding| binding.namespace));

    for namespace in namespaces.flatten() {
        assert!(namespace.starts_with("kube-"), "{namespace}");
    }
}

#[test]
fn view_only_reads_and_reads_no_secret() {
    assert!(allows("view", "list", "apps", "deployments"));
    for rule in granted("view") {
        assert!(rule.verbs.iter().all(|verb| ["get", "list", "watch"].contains(verb)), "{rule:?}");
        assert!(!rule.resources.contains(&"secrets"), "{rule:?}");
        assert!(!rule.resources.contains(&"*") && !rule.groups.contains(&"*"), "{rule:?}");
    }
}

#[test]
fn edit_writes_workloads_and_no_roles_or_quotas() {
    assert!(allows("edit", "create", "apps", "deployments"));
    assert!(allows("edit", "get", "", "secrets"));
    assert!(allows("edit", "get", "", "pods"), "it has what view has");
    assert!(!allows("edit", "create", "rbac.authorization.k8s.io", "roles"));
    assert!(!allows("edit", "update", "", "resourcequotas"));
}

#[test]
fn admin_has_what_edit_has_and_gives_roles_in_its_namespace_alone() {
    assert!(allows("admin", "create", "apps", "deployments"));
    assert!(allows("admin", "create", "rbac.authorization.k8s.io", "rolebindings"));
    assert!(!allows("admin", "create", "rbac.authorization.k8s.io", "clusterroles"));
    assert!(!allows("admin", "update", "", "resourcequotas"));
}

#[test]
fn who_is_not_authenticated_sees_health_and_version_alone() {
    let open = bindings().filter(|binding| {
        let to_all = |subject: &Subject| matches!(subject, Subject::Group("system:unauthenticated"));
        binding.subjects.iter().any(to_all)
    });
    let open: Vec<_> = open.map(|binding| binding.role).collect();

    assert_eq!(open, ["system:public-info-viewer"]);
    let urls: Vec<_> = granted(open[0]).iter().flat_map(|rule| rule.urls).copied().collect();
    assert_eq!(urls, ["/healthz", "/livez", "/readyz", "/version", "/version/"]);
}

#[test]
fn only_the_masters_group_has_every_right() {
    let all = |rule: &Rule| rule.verbs == ["*"] && rule.groups == ["*"] && rule.resources == ["*"];
    let mighty: Vec<_> = rules().filter(|(_, rule)| all(rule)).map(|(role, _)| role.name).collect();
    assert_eq!(mighty, ["cluster-admin"]);

    let given: Vec<_> = bindings().filter(|binding| binding.role == "cluster-admin").collect();
    assert!(matches!(given[..], [binding] if matches!(binding.subjects, [Subject::Group("system:masters")])));
}

#[test]
fn the_role_of_nodes_is_bound_to_nobody() {
    let binding = bindings().find(|binding| binding.name == "system:node").expect("the binding exists");

    assert!(binding.subjects.is_empty(), "{:?}", binding.subjects);
    assert!(allows("system:node", "update", "", "nodes/status"));
}
