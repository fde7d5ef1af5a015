//! Rules for ingresses and their classes.

use std::net::IpAddr;

use super::super::at::{At, Errors};
use super::super::error::{FieldError, Shown};
use super::super::names::{self, NameRule};
use super::super::services::load_balancer_status;
use super::super::{Validator, metadata};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const MAX_CONTROLLER: usize = 250;
const ABSOLUTE: &str = "must be an absolute path";

pub(in super::super) static INGRESS: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |ingress, errors| {
        let spec = ingress.child("spec");
        self::spec(&spec, errors);
        let meta = ingress.child("metadata");
        let class = meta.child("annotations").value()[CLASS_ANNOTATION].as_str();
        let named = spec.child("ingressClassName");
        if let Some(class) = class
            && named.is_set()
            && named.str() != class
        {
            let at = ingress.child("annotations");
            let rule = "must match `ingressClassName` when both are specified";
            at.child(CLASS_ANNOTATION).invalid_shown(errors, class, rule);
        }
    },
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        metadata::whole(new, NameRule::Subdomain, true, errors);
        spec(&new.child("spec"), errors);
    },
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let status = new.child("status");
        load_balancer_status(&status.child("loadBalancer"), errors);
    },
};

fn spec(spec: &At, errors: &mut Errors) {
    let (backend_at, rules) = (spec.child("defaultBackend"), spec.child("rules"));
    if rules.is_empty() && !backend_at.is_set() {
        let shown = Shown("[]networking.IngressRule(nil)".to_owned());
        spec.invalid_shown(errors, shown, "either `defaultBackend` or `rules` must be specified");
    }
    if backend_at.is_set() {
        backend(&backend_at, errors);
    }
    for rule in rules.items() {
        let (host, http) = (rule.child("host"), rule.child("http"));
        if !host.is_empty() {
            if host.str().parse::<IpAddr>().is_ok() {
                host.invalid(errors, "must be a DNS name, not an IP address");
            }
            host_name(&host, errors);
        }
        if http.is_set() {
            http.child("paths").require(errors);
            http.child("paths").items().for_each(|path| self::path(&path, errors));
        }
    }
    for tls in spec.child("tls").items() {
        tls.child("hosts").items().for_each(|host| host_name(&host, errors));
        if !tls.child("secretName").is_empty() {
            tls.child("secretName").rule(errors, names::subdomain);
        }
    }
    if spec.child("ingressClassName").is_set() {
        spec.child("ingressClassName").rule(errors, names::subdomain);
    }
}

fn host_name(host: &At, errors: &mut Errors) {
    host.rule(errors, if host.str().contains('*') { names::wildcard_subdomain } else { names::subdomain });
}

fn path(path: &At, errors: &mut Errors) {
    let (kind, text) = (path.child("pathType"), path.child("path"));
    match kind.str() {
        _ if !kind.is_set() => {
            kind.required(errors, "pathType must be specified");
            return;
        }
        "Exact" | "Prefix" => {
            if !text.str().starts_with('/') {
                text.invalid_shown(errors, text.str(), ABSOLUTE);
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| text.str().contains(**part))
            {
                text.invalid(errors, &format!("must not contain '{part}'"));
            }
            for end in ["/..", "/."].iter().filter(|end| text.str().ends_with(**end)) {
                text.invalid(errors, &format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.str().starts_with('/') {
                text.invalid(errors, ABSOLUTE);
            }
        }
        _ => kind.not_supported(errors, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(&path.child("backend"), errors);
}

fn backend(backend: &At, errors: &mut Errors) {
    let (resource, service) = (backend.child("resource"), backend.child("service"));
    match (resource.is_set(), service.is_set()) {
        (true, true) => backend.invalid_shown(errors, "", "cannot set both resource and service backends"),
        (true, false) => typed_reference(&resource, errors),
        (false, true) => {
            if !service.child("name").require(errors) {
                service.child("name").rule(errors, names::dns1035_label);
            }
            let port = service.child("port");
            let (name, number) = (port.child("name"), port.child("number"));
            match (!name.is_empty(), number.int().unwrap_or_default() != 0) {
                (true, true) => backend.invalid_shown(errors, "", "cannot set both port name & port number"),
                (true, false) => name.rule(errors, names::port_name),
                (false, true) => number.in_range(errors, 1, 65535),
                (false, false) => backend.required(errors, "port name or number is required"),
            }
        }
        (false, false) => backend.invalid_shown(errors, "", "resource or service backend is required"),
    }
}

fn typed_reference(reference: &At, errors: &mut Errors) {
    if !reference.child("apiGroup").is_empty() {
        reference.child("apiGroup").rule(errors, names::subdomain);
    }
    for name in ["kind", "name"] {
        let part = reference.child(name);
        if part.is_empty() {
            part.required(errors, &format!("{name} is required"));
        } else {
            part.rule(errors, names::path_segment);
        }
    }
}

pub(in super::super) static INGRESS_CLASS: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: |class, errors| class_spec(&class.child("spec"), errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let (spec, before) = (new.child("spec"), old.child("spec"));
        spec.child("controller").immutable(errors, &before.child("controller"));
        metadata::whole(new, NameRule::Subdomain, false, errors);
        class_spec(&spec, errors);
    },
    status: |_, _, _| {},
};

fn class_spec(spec: &At, errors: &mut Errors) {
    let controller = spec.child("controller");
    if controller.str().len() > MAX_CONTROLLER {
        errors.push(FieldError::too_long(controller, MAX_CONTROLLER));
    }
    if !controller.require(errors) {
        for (part, problem) in names::domain_prefixed_path(controller.str()) {
            controller.invalid_shown(errors, &part, &problem);
        }
    }
    let parameters = spec.child("parameters");
    if !parameters.is_set() {
        return;
    }
    if !parameters.child("apiGroup").is_empty() {
        parameters.child("apiGroup").rule(errors, names::subdomain);
    }
    for name in ["kind", "name"] {
        let part = parameters.child(name);
        if part.is_empty() {
            part.required(errors, &format!("{name} is required"));
        } else {
            part.rule(errors, names::path_segment);
        }
    }
    let (scope, namespace) = (parameters.child("scope"), parameters.child("namespace"));
    scope.one_of_or_required(errors, &["Cluster", "Namespace"]);
    match (scope.str(), namespace.is_set()) {
        ("Namespace", false) => namespace.required(errors, "`parameters.scope` is set to 'Namespace'"),
        ("Namespace", true) => namespace.rule(errors, names::dns_label),
        ("Cluster", true) => namespace.forbidden(errors, "`parameters.scope` is set to 'Cluster'"),
        _ => {}
    }
}
