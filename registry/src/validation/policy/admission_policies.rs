//! Rules for admission policies and their bindings.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::at::{At, Errors};
use super::super::names::{self, NameRule};
use super::super::{Validator, metadata, selectors};
use super::webhooks::{compiles, rule};
use crate::admission::expressions::AUTHORIZER;

const NOTHING: &str = "validations or auditAnnotations must be non-empty; neither were specified";
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
const MAX_ANNOTATIONS: usize = 20;
/// What conditions know; the last if there are parameters.
const WITH_PARAMS: [&str; 6] = [AUTHORIZER, "namespaceObject", "object", "oldObject", "request", "params"];
/// What all other expressions know; messages do not know the first, and the last is known if there are parameters.
const WITH_ALL: [&str; 7] =
    [AUTHORIZER, "namespaceObject", "object", "oldObject", "request", "variables", "params"];

pub(in super::super) static ADMISSION_POLICY: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: |policy, errors| spec(&policy.child("spec"), errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        spec(&new.child("spec"), errors);
    },
    status: metadata::update_built_in,
};

pub(in super::super) static ADMISSION_POLICY_BINDING: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: |binding, errors| binding_spec(&binding.child("spec"), errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        binding_spec(&new.child("spec"), errors);
    },
    status: |_, _, _| {},
};

fn spec(spec: &At, errors: &mut Errors) {
    spec.child("failurePolicy").one_of_or_required(errors, &["Fail", "Ignore"]);
    let kind = spec.child("paramKind");
    if kind.is_set() {
        param_kind(&kind, errors);
    }
    let constraints = spec.child("matchConstraints");
    if constraints.is_set() {
        match_resources(&constraints, errors);
        constraints.child("resourceRules").require(errors);
    } else {
        constraints.required(errors, "");
    }
    let known: &[&str] = if kind.is_set() { &WITH_PARAMS } else { &WITH_PARAMS[..5] };
    named_expressions(&spec.child("matchConditions"), known, errors);
    // Variables are known to those behind them; of all, it is known what they are called.
    let known: &[&str] = if kind.is_set() { &WITH_ALL } else { &WITH_ALL[..6] };
    named_expressions(&spec.child("variables"), known, errors);
    let (validations, annotations) = (spec.child("validations"), spec.child("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        validations.required(errors, NOTHING);
        annotations.required(errors, NOTHING);
    }
    validations.items().for_each(|one| validation(&one, known, errors));
    if annotations.len() > MAX_ANNOTATIONS {
        annotations.invalid(errors, &format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations"));
    }
    for (index, annotation) in annotations.items().enumerate() {
        let key = annotation.child("key");
        expression(&annotation.child("valueExpression"), "valueExpression", known, errors);
        if !key.require(errors)
            && annotations.items().take(index).any(|other| other.child("key").str() == key.str())
        {
            key.duplicate(errors);
        }
    }
}

fn param_kind(kind: &At, errors: &mut Errors) {
    let (version, name) = (kind.child("apiVersion"), kind.child("kind"));
    if !version.require(errors) && version.str().matches('/').count() > 1 {
        let problem = format!("unexpected GroupVersion string: {}", version.str());
        version.invalid(errors, &problem);
    }
    if !name.require(errors) {
        for problem in names::dns1035_label(&name.str().to_lowercase()) {
            name.invalid(errors, &format!("may have mixed case, but should otherwise match: {problem}"));
        }
    }
}

fn match_resources(resources: &At, errors: &mut Errors) {
    resources.child("matchPolicy").one_of_or_required(errors, &["Equivalent", "Exact"]);
    for name in ["namespaceSelector", "objectSelector"] {
        let selector = resources.child(name);
        if selector.is_set() {
            selectors::label_selector(&selector, errors);
        } else {
            selector.required(errors, "");
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        resources.child(list).items().for_each(|one| rule(&one, errors));
    }
}

/// Checks match conditions and variables, which both have a name that is theirs alone.
fn named_expressions(list: &At, known: &[&str], errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for item in list.items() {
        let name = item.child("name");
        expression(&item.child("expression"), "expression", known, errors);
        if !name.require(errors) && !names.insert(name.str().to_owned()) {
            name.duplicate(errors);
        }
    }
}

fn expression(text: &At, what: &str, known: &[&str], errors: &mut Errors) {
    if text.str().trim().is_empty() {
        text.required(errors, &format!("{what} is not specified"));
    } else {
        compiles(text, known, errors);
    }
}

fn validation(validation: &At, known: &[&str], errors: &mut Errors) {
    let (text, message) = (validation.child("expression"), validation.child("message"));
    expression(&text, "expression", known, errors);
    let of_message = validation.child("messageExpression");
    if !of_message.is_empty() && of_message.str().trim().is_empty() {
        of_message.invalid(errors, "must be non-empty if specified");
    } else if !of_message.is_empty() {
        compiles(&of_message, &known[1..], errors);
    }
    if !message.is_empty() && message.str().trim().is_empty() {
        message.invalid(errors, "message must be non-empty if specified");
    } else if message.str().trim().contains('\n') {
        message.invalid(errors, "message must not contain line breaks");
    } else if message.is_empty() && text.str().trim().contains('\n') {
        message.required(errors, "message must be specified if expression contains line breaks");
    }
    validation.child("reason").one_of_if_set(errors, &REASONS);
}

fn binding_spec(spec: &At, errors: &mut Errors) {
    let policy = spec.child("policyName");
    if !policy.require(errors) {
        policy.rule(errors, names::subdomain);
    }
    let reference = spec.child("paramRef");
    if reference.is_set() {
        param_ref(&reference, errors);
    }
    let resources = spec.child("matchResources");
    if resources.is_set() {
        match_resources(&resources, errors);
    }
    let actions = spec.child("validationActions");
    actions.require(errors);
    for (index, action) in actions.items().enumerate() {
        action.one_of(errors, &["Audit", "Deny", "Warn"]);
        if actions.strings().take(index).any(|other| other == action.str()) {
            action.duplicate(errors);
        }
    }
    let has = |wanted: &str| actions.strings().any(|action| action == wanted);
    if has("Deny") && has("Warn") {
        let rule = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                    response and headers serves no purpose)";
        actions.invalid(errors, rule);
    }
}

fn param_ref(reference: &At, errors: &mut Errors) {
    let (name, selector) = (reference.child("name"), reference.child("selector"));
    match (name.is_empty(), selector.is_set()) {
        (true, false) => name.required(errors, "one of name or selector must be specified"),
        (false, true) => name.forbidden(errors, "name and selector are mutually exclusive"),
        (false, false) => name.rule(errors, names::path_segment),
        (true, true) => selectors::label_selector(&selector, errors),
    }
    let action = reference.child("parameterNotFoundAction");
    match action.value() {
        Value::Null => action.required(errors, ""),
        _ => action.one_of(errors, &["Allow", "Deny"]),
    }
}
