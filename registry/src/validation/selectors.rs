//! Rules for selectors of labels, and whether a selector matches the labels of a template.

use quarterdeck_core::labels::Selector;
use serde_json::Value;

use super::at::{At, Errors};
use super::{metadata, names};

const NEEDS_VALUES: &str = "must be specified when `operator` is 'In' or 'NotIn'";
const NO_VALUES: &str = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
pub(super) const NO_OPERATOR: &str = "not a valid selector operator";

/// Checks a label selector. One that is missing is fine.
pub(super) fn label_selector(selector: &At, errors: &mut Errors) {
    metadata::labels(&selector.child("matchLabels"), errors);
    for requirement in selector.child("matchExpressions").items() {
        let (operator, values) = (requirement.child("operator"), requirement.child("values"));
        match operator.str() {
            "In" | "NotIn" if values.is_empty() => values.required(errors, NEEDS_VALUES),
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => values.forbidden(errors, NO_VALUES),
            "Exists" | "DoesNotExist" => {}
            _ => operator.invalid_shown(errors, operator.str(), NO_OPERATOR),
        }
        requirement.child("key").rule(errors, names::qualified_name);
        for value in values.items() {
            value.rule(errors, quarterdeck_core::labels::validate_label_value);
        }
    }
}

/// Returns whether a label selector neither matches labels nor has expressions.
pub(super) fn is_empty(selector: &At) -> bool {
    selector.child("matchLabels").len() + selector.child("matchExpressions").len() == 0
}

/// Returns whether a label selector can be read as one; a missing one can.
pub(super) fn is_readable(selector: &At) -> bool {
    Selector::from_label_selector(Some(selector.value()).filter(|selector| !selector.is_null())).is_ok()
}

/// Returns whether a label selector, if it is valid, matches `labels`.
pub(super) fn matches(selector: &At, labels: &At) -> bool {
    match Selector::from_label_selector(Some(selector.value()).filter(|selector| !selector.is_null())) {
        Ok(selector) => selector.matches(|key| labels.value().get(key).and_then(Value::as_str)),
        Err(_) => false,
    }
}

/// Checks what a node must be like: one requirement on its labels.
pub(super) fn node_requirement(requirement: &At, errors: &mut Errors) {
    let (operator, values) = (requirement.child("operator"), requirement.child("values"));
    match operator.str() {
        "In" | "NotIn" if values.is_empty() => values.required(errors, NEEDS_VALUES),
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !values.is_empty() => values.forbidden(errors, NO_VALUES),
        "Exists" | "DoesNotExist" => {}
        "Gt" | "Lt" if values.len() != 1 => {
            values.required(errors, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "Gt" | "Lt" => {}
        _ => operator.invalid_shown(errors, operator.str(), NO_OPERATOR),
    }
    requirement.child("key").rule(errors, names::qualified_name);
}

/// Checks what a node must be: one requirement on its fields, of which only the name can be asked for.
pub(super) fn node_field(requirement: &At, errors: &mut Errors) {
    let (operator, values) = (requirement.child("operator"), requirement.child("values"));
    match operator.str() {
        "In" | "NotIn" if values.len() != 1 => {
            let rule = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            values.required(errors, rule);
        }
        "In" | "NotIn" => {}
        _ => operator.invalid_shown(errors, operator.str(), NO_OPERATOR),
    }
    let key = requirement.child("key");
    if key.str() != "metadata.name" {
        key.invalid_shown(errors, key.str(), "not a valid field selector key");
        return;
    }
    for value in values.items() {
        value.rule(errors, names::subdomain);
    }
}

/// Checks one term of a node selector.
pub(super) fn node_term(term: &At, errors: &mut Errors) {
    term.child("matchExpressions").items().for_each(|requirement| node_requirement(&requirement, errors));
    term.child("matchFields").items().for_each(|requirement| node_field(&requirement, errors));
}

/// Checks a node selector: at least one term.
pub(super) fn node_selector(selector: &At, errors: &mut Errors) {
    let terms = selector.child("nodeSelectorTerms");
    if terms.is_empty() {
        terms.required(errors, "must have at least one node selector term");
    }
    for term in terms.items() {
        for requirement in term.child("matchExpressions").items() {
            node_requirement(&requirement, errors);
            // What is preferred may be impossible; what is required may not.
            for value in requirement.child("values").items() {
                value.rule(errors, quarterdeck_core::labels::validate_label_value);
            }
        }
        term.child("matchFields").items().for_each(|requirement| node_field(&requirement, errors));
    }
}
