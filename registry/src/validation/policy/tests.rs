use serde_json::{Value, json};

use super::super::tests::{created, updated, with};

fn named(version: &str, kind: &str, namespaced: bool) -> Value {
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}});
    if namespaced {
        object["metadata"]["namespace"] = "n".into();
    }
    object
}

#[test]
fn rules_have_verbs_and_something_to_apply_to() {
    let role = named("rbac.authorization.k8s.io/v1", "Role", true);
    assert_eq!(created(with(role.clone(), "/rules", json!([{}]))).len(), 3);
    assert_eq!(
        created(with(role, "/rules", json!([{"verbs": ["get"], "nonResourceURLs": ["/x"]}]))),
        [
            "rules[0].nonResourceURLs: Invalid value: []string{\"/x\"}: namespaced rules cannot apply to non-resource URLs"
        ]
    );
}

#[test]
fn a_binding_keeps_its_role() {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "a:b", "namespace": "n"},
        "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
    });
    assert_eq!(created(binding.clone()), Vec::<String>::new());
    assert_eq!(
        updated(binding.clone(), &[("/roleRef/name", "t".into())]),
        [
            "roleRef: Invalid value: rbac.RoleRef{APIGroup:\"rbac.authorization.k8s.io\", Kind:\"Role\", Name:\"t\"}: cannot change roleRef"
        ]
    );
    assert_eq!(
        created(with(binding, "/subjects", json!([{"kind": "Robot", "name": "r"}]))),
        [
            "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\""
        ]
    );
}

#[test]
fn a_quota_limits_what_its_scopes_are_about() {
    let quota = |hard: Value, scopes: Value| {
        created(with(named("v1", "ResourceQuota", true), "/spec", json!({"hard": hard, "scopes": scopes})))
    };
    assert_eq!(
        quota(json!({"pods": "1", "count/jobs.batch": "2"}), json!(["BestEffort"])),
        Vec::<String>::new()
    );
    assert_eq!(
        quota(json!({"requests.cpu": "1"}), json!(["BestEffort"])),
        [
            "spec.scopes: Invalid value: []core.ResourceQuotaScope{\"BestEffort\"}: unsupported scope applied to resource"
        ]
    );
    assert_eq!(quota(json!({"things": "1", "pods": "500m"}), json!([])).len(), 3);
}

#[test]
fn limits_rise_from_least_to_most() {
    let range = with(
        named("v1", "LimitRange", true),
        "/spec",
        json!({"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "3"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}]}),
    );
    let errors = created(range);

    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].ends_with("default request value 2 is greater than default limit value 1"));
    assert!(errors[1].ends_with("min value 2 is greater than default value 1"));
}

#[test]
fn a_path_of_an_ingress_has_a_type_and_a_backend() {
    let ingress = |paths: Value| {
        let spec = json!({"rules": [{"host": "*.example.com", "http": {"paths": paths}}]});
        created(with(named("networking.k8s.io/v1", "Ingress", true), "/spec", spec))
    };
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    assert_eq!(
        ingress(json!([{"pathType": "Prefix", "path": "/", "backend": backend}])),
        Vec::<String>::new()
    );
    assert_eq!(
        ingress(json!([{"pathType": "Exact", "path": "a//b", "backend": {}}])),
        [
            "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must be an absolute path",
            "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must not contain '//'",
            "spec.rules[0].http.paths[0].backend: Invalid value: \"\": resource or service backend is required",
        ]
    );
}

#[test]
fn a_block_of_addresses_excepts_parts_of_itself() {
    let policy = with(
        named("networking.k8s.io/v1", "NetworkPolicy", true),
        "/spec",
        json!({"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16"]}}]}]}),
    );
    assert_eq!(
        created(policy),
        [
            "spec.egress[0].to[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`"
        ]
    );
}

#[test]
fn a_webhook_is_called_over_https() {
    let hooks = json!([{"name": "a.b.c", "clientConfig": {"url": "http://x?y=z"}, "admissionReviewVersions": ["v1"], "sideEffects": "None"}]);
    let configuration = named("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", false);
    let errors = created(with(configuration, "/webhooks", hooks));

    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].starts_with(
        "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme"
    ));
}

#[test]
fn an_api_service_is_named_after_what_it_serves() {
    let service = with(
        named("apiregistration.k8s.io/v1", "APIService", false),
        "/spec",
        json!({"group": "g.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}),
    );
    assert_eq!(
        created(service),
        [
            "metadata.name: Invalid value: \"a\": must be `spec.version+\".\"+spec.group`: \"v1.g.example.com\""
        ]
    );
}

#[test]
fn an_admission_policy_says_what_it_matches_and_what_it_checks() {
    let policy = |spec: Value| {
        let policy = named("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", false);
        created(with(policy, "/spec", spec))
    };
    let rules =
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]);

    assert_eq!(
        policy(
            json!({"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}]})
        ),
        Vec::<String>::new()
    );
    assert_eq!(
        policy(json!({"matchConstraints": {}})),
        [
            "spec.matchConstraints.resourceRules: Required value".to_owned(),
            "spec.validations: Required value: validations or auditAnnotations must be non-empty; neither were specified"
                .to_owned(),
            "spec.auditAnnotations: Required value: validations or auditAnnotations must be non-empty; neither were \
             specified"
                .to_owned(),
        ]
    );
    assert_eq!(
        policy(
            json!({"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": " ", "reason": "X"}]})
        ),
        [
            "spec.validations[0].expression: Required value: expression is not specified",
            "spec.validations[0].reason: Unsupported value: \"X\": supported values: \"Forbidden\", \"Invalid\", \
             \"RequestEntityTooLarge\", \"Unauthorized\"",
        ]
    );
}

#[test]
fn an_admission_policy_s_binding_names_the_policy_and_actions_that_go_together() {
    let binding = |spec: Value| {
        let binding = named("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", false);
        created(with(binding, "/spec", spec))
    };

    assert_eq!(
        binding(json!({"policyName": "p", "validationActions": ["Deny", "Audit"]})),
        Vec::<String>::new()
    );
    assert_eq!(
        binding(json!({})),
        ["spec.policyName: Required value", "spec.validationActions: Required value"]
    );
    assert_eq!(binding(json!({"policyName": "p", "validationActions": ["Deny", "Warn", "Deny"]})).len(), 2);
}

#[test]
fn a_ratio_fits_between_the_least_and_the_most() {
    let limits = json!([{"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "400m"}, "maxLimitRequestRatio": {"cpu": "5"}}]);
    let range = with(named("v1", "LimitRange", true), "/spec", json!({"limits": limits}));
    let errors = created(range);

    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(
        errors[0].starts_with("spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: resource.Quantity{")
    );
    assert!(errors[0].ends_with("ratio 5 is greater than max/min = 4.000000"), "{errors:#?}");
}

#[test]
fn what_cannot_be_shared_is_asked_for_as_a_whole() {
    let limits = json!([{"type": "Container", "default": {"a.b/c": "2"}, "defaultRequest": {"a.b/c": "1"}}]);
    let errors = created(with(named("v1", "LimitRange", true), "/spec", json!({"limits": limits})));

    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(
        errors[0].ends_with("default value 2 must equal to defaultRequest value 1 in a.b/c"),
        "{errors:#?}"
    );
}
