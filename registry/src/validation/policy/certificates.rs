//! Rules for requests to sign certificates.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quarterdeck_core::certificates::decode_request;

use super::super::at::{At, Errors, IMMUTABLE};
use super::super::error::{FieldError, Shown};
use super::super::names::{self, NameRule};
use super::super::{Validator, metadata};

const SIGNER_FORM: &str = "must be a fully qualified domain and path of the form 'example.com/signer-name'";

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

pub(in super::super) static SIGNING_REQUEST: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: |request, errors| {
        spec(&request.child("spec"), errors);
        conditions(&request.child("status"), errors);
    },
    update: metadata::update_built_in,
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let (status, before) = (new.child("status"), old.child("status"));
        conditions(&status, errors);
        let certificate = status.child("certificate");
        if !before.child("certificate").is_empty()
            && certificate.value() != before.child("certificate").value()
        {
            certificate.invalid_shown(errors, Shown("<certificate data>".to_owned()), IMMUTABLE);
        }
    },
};

fn spec(spec: &At, errors: &mut Errors) {
    let request = spec.child("request");
    let text = STANDARD.decode(request.str()).unwrap_or_default();
    if let Err(error) = decode_request(&text) {
        let shown =
            if request.is_empty() { "[]byte(nil)".to_owned() } else { format!("{:?}", request.str()) };
        request.invalid_shown(errors, Shown(shown), &error.to_string());
    }
    let usages = spec.child("usages");
    if usages.is_empty() {
        usages.required(errors, "usages must be provided");
    }
    for (index, usage) in usages.items().enumerate() {
        usage.one_of(errors, &USAGES);
        if usages.strings().take(index).any(|earlier| earlier == usage.str()) {
            usage.duplicate(errors);
        }
    }
    let signer = spec.child("signerName");
    if signer.str() == "kubernetes.io/legacy-unknown" {
        signer.invalid(errors, "the legacy signerName is not allowed via this API version");
    } else if signer.is_empty() {
        signer.required(errors, "signerName must be provided");
    } else {
        signer_name(&signer, errors);
    }
    let seconds = spec.child("expirationSeconds");
    if seconds.int().is_some_and(|seconds| seconds < 600) {
        seconds.invalid(errors, "may not specify a duration less than 600 seconds (10 minutes)");
    }
}

fn signer_name(signer: &At, errors: &mut Errors) {
    let Some((domain, path)) = signer.str().split_once('/').filter(|(_, path)| !path.contains('/')) else {
        signer.invalid(errors, SIGNER_FORM);
        return;
    };
    let problems = names::subdomain(domain);
    problems.iter().for_each(|problem| signer.invalid_shown(errors, domain, problem));
    if problems.is_empty() && !domain.contains('.') {
        signer.invalid_shown(
            errors,
            domain,
            "should be a domain with at least two segments separated by dots",
        );
    }
    names::subdomain(path).iter().for_each(|problem| signer.invalid_shown(errors, path, problem));
}

fn conditions(status: &At, errors: &mut Errors) {
    let list = status.child("conditions");
    let mut seen = Vec::new();
    for condition in list.items() {
        let (kind, state) = (condition.child("type"), condition.child("status"));
        kind.require(errors);
        let decision = matches!(kind.str(), "Approved" | "Denied" | "Failed");
        let states: &[&str] = if decision { &["True"] } else { &["False", "True", "Unknown"] };
        if !state.require(errors) {
            state.one_of(errors, states);
        }
        let opposite = match kind.str() {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !opposite.is_empty() && seen.contains(&opposite) {
            kind.invalid(errors, "Approved and Denied conditions are mutually exclusive");
        }
        if seen.contains(&kind.str()) {
            errors.push(FieldError::duplicate(kind, kind.str()));
        }
        seen.push(kind.str());
    }
}
