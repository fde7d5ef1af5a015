//! Rules for webhooks that admission asks, and for API servers that requests are handed to.

use quarterdeck_core::labels::{quote, validate_label_key};

use super::super::at::{At, Errors};
use super::super::error::FieldError;
use super::super::names::{self, NameRule};
use super::super::{Validator, go, metadata, selectors};

const VERSIONS: &str = "v1, v1beta1";
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const FORM: &str = "; desired format: https://host[/path]";

pub(in super::super) static VALIDATING_WEBHOOKS: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: |configuration, errors| hooks(configuration, false, &HARMLESS, errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        hooks(new, false, effects_beside(old), errors);
    },
    status: |_, _, _| {},
};

pub(in super::super) static MUTATING_WEBHOOKS: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: |configuration, errors| hooks(configuration, true, &HARMLESS, errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        hooks(new, true, effects_beside(old), errors);
    },
    status: |_, _, _| {},
};

/// The side effects that webhooks may have: none, or none under a dry run.
const HARMLESS: [&str; 2] = ["None", "NoneOnDryRun"];
/// Those that webhooks may have had before v1 of the API.
const ANY: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];

/// The side effects that the webhooks of a stored configuration may get: as upstream, one that was stored with others before they
/// were refused can still be changed.
fn effects_beside(old: &At) -> &'static [&'static str] {
    let is_harmless = |hook: At| HARMLESS.contains(&hook.child("sideEffects").str());
    if old.child("webhooks").items().all(is_harmless) { &HARMLESS } else { &ANY }
}

fn hooks(configuration: &At, mutating: bool, allowed: &[&str], errors: &mut Errors) {
    let mut seen = Vec::new();
    for hook in configuration.child("webhooks").items() {
        full_name(&hook.child("name"), errors);
        hook.child("rules").items().for_each(|rule| self::rule(&rule, errors));
        hook.child("failurePolicy").one_of_if_set(errors, &["Fail", "Ignore"]);
        hook.child("matchPolicy").one_of_if_set(errors, &["Equivalent", "Exact"]);
        let effects = hook.child("sideEffects");
        if effects.is_set() {
            effects.one_of(errors, allowed);
        } else {
            effects.required(errors, &format!("must specify one of {}", allowed.join(", ")));
        }
        let timeout = hook.child("timeoutSeconds");
        if timeout.int().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
            timeout.invalid(errors, "the timeout value must be between 1 and 30 seconds");
        }
        selectors::label_selector(&hook.child("namespaceSelector"), errors);
        selectors::label_selector(&hook.child("objectSelector"), errors);
        if mutating {
            hook.child("reinvocationPolicy").one_of_if_set(errors, &["IfNeeded", "Never"]);
        }
        client(&hook.child("clientConfig"), errors);
        conditions(&hook.child("matchConditions"), errors);
        versions(&hook.child("admissionReviewVersions"), errors);
        let name = hook.child("name");
        if seen.contains(&name.str()) {
            name.duplicate(errors);
        }
        seen.push(name.str());
    }
}

/// What conditions know.
const KNOWN: [&str; 5] = ["authorizer", "namespaceObject", "object", "oldObject", "request"];
const MOST_CONDITIONS: usize = 64;

fn conditions(conditions: &At, errors: &mut Errors) {
    if conditions.len() > MOST_CONDITIONS {
        errors.push(FieldError::too_many(conditions, conditions.len(), MOST_CONDITIONS));
    }
    for (index, condition) in conditions.items().enumerate() {
        let (name, text) = (condition.child("name"), condition.child("expression"));
        if text.str().trim().is_empty() {
            text.required(errors, "");
        } else {
            compiles(&text, &KNOWN, errors);
        }
        if !name.require(errors) {
            name.rule(errors, validate_label_key);
            if conditions.items().take(index).any(|other| other.child("name").str() == name.str()) {
                name.duplicate(errors);
            }
        }
    }
}

/// Checks that an expression about these variables can be evaluated.
pub(super) fn compiles(text: &At, known: &[&str], errors: &mut Errors) {
    if let Some(problem) = crate::admission::expressions::check(text.str().trim(), known) {
        text.invalid(errors, &problem);
    }
}

fn full_name(name: &At, errors: &mut Errors) {
    if name.require(errors) {
        return;
    }
    let problems = names::subdomain(name.str());
    if !problems.is_empty() {
        name.invalid(errors, &problems.join(","));
    } else if name.str().split('.').count() < 3 {
        name.invalid(errors, "should be a domain with at least three segments separated by dots");
    }
}

fn versions(versions: &At, errors: &mut Errors) {
    if versions.is_empty() {
        versions.required(errors, &format!("must specify one of {VERSIONS}"));
        return;
    }
    known_versions(versions, errors);
}

/// Checks versions of reviews, of which there are some.
pub(in super::super) fn known_versions(versions: &At, errors: &mut Errors) {
    for (index, version) in versions.items().enumerate() {
        if versions.strings().take(index).any(|earlier| earlier == version.str()) {
            version.invalid(errors, "duplicate version");
            continue;
        }
        version.rule(errors, names::dns1035_label);
    }
    if !versions.strings().any(|version| matches!(version, "v1" | "v1beta1")) {
        versions.invalid(errors, &format!("must include at least one of {VERSIONS}"));
    }
}

pub(super) fn rule(rule: &At, errors: &mut Errors) {
    let operations = rule.child("operations");
    operations.require(errors);
    if operations.len() > 1 && operations.strings().any(|operation| operation == "*") {
        let shown = go::strings("[]admissionregistration.OperationType", operations.value());
        operations.invalid_shown(errors, shown, "if '*' is present, must not specify other operations");
    }
    operations.items().for_each(|operation| operation.one_of(errors, &OPERATIONS));
    for (name, others) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = rule.child(name);
        list.require(errors);
        if list.len() > 1 && list.strings().any(|item| item == "*") {
            list.invalid(errors, &format!("if '*' is present, must not specify other {others}"));
        }
        for item in list.items().filter(|item| name == "apiVersions" && item.is_empty()) {
            item.required(errors, "");
        }
    }
    resources(&rule.child("resources"), errors);
    rule.child("scope").one_of_if_set(errors, &["*", "Cluster", "Namespaced"]);
}

fn resources(resources: &At, errors: &mut Errors) {
    resources.require(errors);
    let (mut with_all_parts, mut of_all) = (Vec::new(), Vec::new());
    for resource in resources.items() {
        let text = resource.str();
        if text.is_empty() {
            resource.required(errors, "");
            continue;
        }
        let (name, part) = text.split_once('/').map_or((text, None), |(name, part)| (name, Some(part)));
        match part {
            Some("*") if name != "*" => with_all_parts.push(name),
            Some(part) if name == "*" && part != "*" => of_all.push(part),
            _ => {}
        }
        if part.is_some_and(|part| part != "*" && with_all_parts.contains(&name)) {
            let problem = format!("if '{name}/*' is present, must not specify {text}");
            resource.invalid_shown(errors, text, &problem);
        }
        if name != "*" && part.is_some_and(|part| of_all.contains(&part)) {
            let problem = format!("if '*/{}' is present, must not specify {text}", part.unwrap_or_default());
            resource.invalid_shown(errors, text, &problem);
        }
    }
    let has = |wanted: &str| resources.strings().any(|resource| resource == wanted);
    if resources.len() > 1 && has("*/*") {
        resources.invalid(errors, "if '*/*' is present, must not specify other resources");
    }
    let plain = resources.strings().filter(|resource| !resource.contains('/')).count();
    if has("*") && plain > 1 {
        let rule = "if '*' is present, must not specify other resources without subresources";
        resources.invalid(errors, rule);
    }
}

/// Checks where a webhook is.
pub(in super::super) fn client(client: &At, errors: &mut Errors) {
    let (url, service) = (client.child("url"), client.child("service"));
    match (url.is_set(), service.is_set()) {
        (true, false) => self::url(&url, errors),
        (false, true) => {
            let name = service.child("name");
            for (field, what) in [(&name, "name"), (&service.child("namespace"), "namespace")] {
                if field.is_empty() {
                    field.required(errors, &format!("service {what} is required"));
                }
            }
            port(&service.child("port"), errors);
            let path = service.child("path");
            if !path.is_empty() && !path.str().starts_with('/') {
                path.invalid(errors, "must start with a '/'");
            }
        }
        _ => client.required(errors, "exactly one of url or service is required"),
    }
}

fn url(url: &At, errors: &mut Errors) {
    let Ok(parsed) = url.str().parse::<http::Uri>() else {
        url.required(errors, &format!("url must be a valid URL: parse {}{FORM}", quote(url.str())));
        return;
    };
    let scheme = parsed.scheme_str().unwrap_or_default();
    if scheme != "https" {
        url.invalid_shown(errors, scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let authority = parsed.authority().map_or("", |authority| authority.as_str());
    if parsed.host().unwrap_or_default().is_empty() {
        url.invalid_shown(errors, "", &format!("host must be specified{FORM}"));
    }
    if let Some((user, _)) = authority.split_once('@') {
        url.invalid_shown(errors, user, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = url.str().split_once('#') {
        url.invalid_shown(errors, fragment, "fragments are not permitted in the URL");
    }
    if let Some(query) = parsed.query().filter(|query| !query.is_empty()) {
        url.invalid_shown(errors, query, "query parameters are not permitted in the URL");
    }
}

fn port(port: &At, errors: &mut Errors) {
    if let Some(number) = port.int()
        && !(1..=65535).contains(&number)
    {
        port.invalid(errors, "port is not valid: must be between 1 and 65535, inclusive");
    }
}

pub(in super::super) static API_SERVICE: Validator = Validator {
    name: NameRule::PathSegment,
    namespaced: false,
    built_in: true,
    create: api_service,
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        api_service(new, errors);
    },
    status: metadata::update_built_in,
};

fn api_service(service: &At, errors: &mut Errors) {
    let (meta, spec) = (service.child("metadata"), service.child("spec"));
    let (group, version, name) = (spec.child("group"), spec.child("version"), meta.child("name"));
    let expected = format!("{}.{}", version.str(), group.str());
    if name.str() != expected && !name.is_empty() {
        let rule = format!("must be `spec.version+\".\"+spec.group`: {}", quote(&expected));
        name.invalid(errors, &rule);
    }
    if !group.is_empty() {
        group.rule(errors, names::subdomain);
    }
    version.rule(errors, names::dns1035_label);
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let number = spec.child(field).int().unwrap_or_default();
        if !(1..=most).contains(&number) {
            let rule = format!("must be positive and less than {most}");
            spec.child(field).invalid_shown(errors, number, &rule);
        }
    }
    let (target, bundle, insecure) =
        (spec.child("service"), spec.child("caBundle"), spec.child("insecureSkipTLSVerify"));
    if !target.is_set() {
        if !bundle.is_empty() {
            let bytes = format!("{} bytes", bundle.str().len() * 3 / 4);
            errors.push(FieldError::invalid(bundle, &bytes, "local APIServices may not have a caBundle"));
        }
        if insecure.is_true() {
            insecure.invalid(errors, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    target.child("namespace").require(errors);
    target.child("name").require(errors);
    port(&target.child("port"), errors);
    if insecure.is_true() && !bundle.is_empty() {
        insecure.invalid(errors, "may not be true if caBundle is present");
    }
}
