//! Rules for where a pod wants to run: affinity, tolerations, spreading.

use super::super::at::{At, Errors};
use super::super::error::FieldError;
use super::super::{go, names, selectors};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const EMPTY_KEY: &str = "can not be empty";

/// Checks which nodes and which other pods a pod wants near.
pub(super) fn affinity(affinity: &At, errors: &mut Errors) {
    let nodes = affinity.child("nodeAffinity");
    if nodes.child(REQUIRED).is_set() {
        selectors::node_selector(&nodes.child(REQUIRED), errors);
    }
    for term in nodes.child(PREFERRED).items() {
        weight(&term, errors);
        selectors::node_term(&term.child("preference"), errors);
    }
    for name in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.child(name);
        pods.child(REQUIRED).items().for_each(|term| pod_term(&term, errors));
        for term in pods.child(PREFERRED).items() {
            weight(&term, errors);
            pod_term(&term.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &At, errors: &mut Errors) {
    let weight = term.child("weight");
    let number = weight.int().unwrap_or_default();
    if !(1..=100).contains(&number) {
        weight.invalid_shown(errors, number, "must be in the range 1-100");
    }
}

fn pod_term(term: &At, errors: &mut Errors) {
    selectors::label_selector(&term.child("labelSelector"), errors);
    selectors::label_selector(&term.child("namespaceSelector"), errors);
    let namespaces = term.child("namespaces");
    for name in namespaces.strings() {
        for problem in names::dns_label(name) {
            term.child("namespace").invalid_shown(errors, name, &problem);
        }
    }
    keys_of_pod(term, errors);
    let key = term.child("topologyKey");
    if key.is_empty() {
        key.required(errors, EMPTY_KEY);
    }
    key.rule(errors, names::qualified_name);
}

const NO_SELECTOR: &str = "must not be specified when labelSelector is not set";
const TWICE: &str = "exists in both matchLabelKeys and labelSelector";

/// Checks the keys whose values are those of the pod itself.
fn keys_of_pod(term: &At, errors: &mut Errors) {
    let selector = term.child("labelSelector");
    for list in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = term.child(list);
        if !keys.is_empty() && !selector.is_set() {
            keys.forbidden(errors, NO_SELECTOR);
            continue;
        }
        keys.items().for_each(|key| key.rule(errors, names::qualified_name));
    }
    let (keys, other) = (term.child("matchLabelKeys"), term.child("mismatchLabelKeys"));
    let mut seen: Vec<&str> = selector.child("matchLabels").entries().map(|(key, _)| key).collect();
    for requirement in selector.child("matchExpressions").items() {
        let key = requirement.child("key").str();
        if let Some(at) = keys.strings().position(|own| own == key).filter(|_| seen.contains(&key)) {
            term.index(at).invalid_shown(errors, key, TWICE);
        }
        seen.push(key);
    }
    for key in keys.items().filter(|key| other.strings().any(|other| other == key.str())) {
        key.invalid(errors, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

/// Checks the keys whose values are those of the pod itself, and that the selector does not have.
fn spread_keys(constraint: &At, errors: &mut Errors) {
    let (keys, selector) = (constraint.child("matchLabelKeys"), constraint.child("labelSelector"));
    if !keys.is_empty() && !selector.is_set() {
        keys.forbidden(errors, NO_SELECTOR);
    }
    for key in keys.items() {
        key.rule(errors, names::qualified_name);
        let expressions = selector.child("matchExpressions");
        if selector.child("matchLabels").key(key.str()).is_set()
            || expressions.items().any(|requirement| requirement.child("key").str() == key.str())
        {
            key.invalid(errors, TWICE);
        }
    }
}

/// Checks which taints a pod tolerates.
pub(in super::super) fn tolerations(tolerations: &At, errors: &mut Errors) {
    for toleration in tolerations.items() {
        let (key, operator) = (toleration.child("key"), toleration.child("operator"));
        let (value, effect) = (toleration.child("value"), toleration.child("effect"));
        if !key.is_empty() {
            key.rule(errors, names::qualified_name);
        } else if operator.str() != "Exists" {
            let rule =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            operator.invalid_shown(errors, operator.str(), rule);
        }
        if toleration.child("tolerationSeconds").is_set() && effect.str() != "NoExecute" {
            let rule = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            effect.invalid_shown(errors, effect.str(), rule);
        }
        match operator.str() {
            "" | "Equal" => {
                let problems = quarterdeck_core::labels::validate_label_value(value.str());
                if !problems.is_empty() {
                    operator.invalid_shown(errors, value.str(), &problems.join(";"));
                }
            }
            "Exists" if value.is_empty() => {}
            "Exists" => {
                let fields = [
                    ("Key", go::string(key.value())),
                    ("Operator", go::string(operator.value())),
                    ("Value", go::string(value.value())),
                    ("Effect", go::string(effect.value())),
                    (
                        "TolerationSeconds",
                        go::pointer("int64", toleration.child("tolerationSeconds").value()),
                    ),
                ];
                let shown = go::structure("core.Toleration", &fields);
                operator.invalid_shown(errors, shown, "value must be empty when `operator` is 'Exists'");
            }
            _ => operator.not_supported(errors, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            taint_effect(&effect, errors);
        }
    }
}

/// Checks what a taint does to pods that do not tolerate it.
pub(in super::super) fn taint_effect(effect: &At, errors: &mut Errors) {
    effect.one_of_or_required(errors, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
}

/// Checks how evenly a pod and its like want to be spread.
pub(super) fn spread(constraints: &At, errors: &mut Errors) {
    for (index, constraint) in constraints.items().enumerate() {
        let (skew, key) = (constraint.child("maxSkew"), constraint.child("topologyKey"));
        if skew.int().unwrap_or_default() <= 0 {
            skew.invalid_shown(errors, skew.int().unwrap_or_default(), "must be greater than zero");
        }
        if key.is_empty() {
            key.required(errors, EMPTY_KEY);
        }
        let action = constraint.child("whenUnsatisfiable");
        action.one_of(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        if constraints.items().skip(index + 1).any(|other| {
            ["topologyKey", "whenUnsatisfiable"]
                .iter()
                .all(|name| other.child(name).str() == constraint.child(name).str())
        }) {
            let field = constraint.child("{topologyKey, whenUnsatisfiable}");
            errors.push(FieldError::duplicate(field, &format!("{{{}, {}}}", key.str(), action.str())));
        }
        let domains = constraint.child("minDomains");
        if domains.int().is_some_and(|domains| domains <= 0) {
            domains.invalid(errors, "must be greater than zero");
        }
        if domains.is_set() && action.str() != "DoNotSchedule" {
            let rule =
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", action.str());
            domains.invalid(errors, &rule);
        }
        for name in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            constraint.child(name).one_of_if_set(errors, &["Honor", "Ignore"]);
        }
        spread_keys(&constraint, errors);
        selectors::label_selector(&constraint.child("labelSelector"), errors);
    }
}
