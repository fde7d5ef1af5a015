//! Rules for config maps, secrets and service accounts.

use serde_json::Value;

use super::super::at::{At, Errors};
use super::super::compare::same;
use super::super::error::FieldError;
use super::super::names::{self, NameRule};
use super::super::{Validator, metadata};

/// What the data of one object may hold.
const MAX_DATA: usize = 1 << 20;

const LOCKED: &str = "field is immutable when `immutable` is set";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

pub(in super::super) static CONFIG_MAP: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: config_map,
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        locked(new, old, &["data", "binaryData"], errors);
        metadata::whole(new, NameRule::Subdomain, true, errors);
        config_map(new, errors);
    },
    status: |_, _, _| {},
};

pub(in super::super) static SECRET: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: secret,
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        new.child("type").immutable(errors, &old.child("type"));
        locked(new, old, &["data"], errors);
        metadata::whole(new, NameRule::Subdomain, true, errors);
        secret(new, errors);
    },
    status: |_, _, _| {},
};

pub(in super::super) static SERVICE_ACCOUNT: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |_, _| {},
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        metadata::whole(new, NameRule::Subdomain, true, errors);
    },
    status: |_, _, _| {},
};

/// Checks that what is marked immutable stays as it is.
fn locked(new: &At, old: &At, fields: &[&str], errors: &mut Errors) {
    if !old.child("immutable").is_true() {
        return;
    }
    if !new.child("immutable").is_true() {
        new.child("immutable").forbidden(errors, LOCKED);
    }
    for field in fields {
        if !same(new.child(field).value(), old.child(field).value()) {
            new.child(field).forbidden(errors, LOCKED);
        }
    }
}

fn config_map(map: &At, errors: &mut Errors) {
    let (data, binary) = (map.child("data"), map.child("binaryData"));
    let mut size = 0;
    for (key, value) in data.entries() {
        keys(key, &value, errors);
        if binary.key(key).is_set() {
            value.invalid_shown(errors, key, "duplicate of key present in binaryData");
        }
        size += value.str().len();
    }
    for (key, value) in binary.entries() {
        keys(key, &value, errors);
        size += decoded_len(value.str());
    }
    if size > MAX_DATA {
        // The path of the object as a whole, as upstream writes it.
        errors.push(FieldError::too_long("[]", MAX_DATA));
    }
}

fn keys(key: &str, at: &At, errors: &mut Errors) {
    names::config_key(key).iter().for_each(|problem| at.invalid_shown(errors, key, problem));
}

/// Returns how many bytes a text in base64 stands for.
fn decoded_len(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

fn secret(secret: &At, errors: &mut Errors) {
    let data = secret.child("data");
    let mut size = 0;
    for (key, value) in data.entries() {
        keys(key, &value, errors);
        size += decoded_len(value.str());
    }
    if size > MAX_DATA {
        errors.push(FieldError::too_long(data, MAX_DATA));
    }
    let required: &[&str] = match secret.child("type").str() {
        "kubernetes.io/service-account-token" => {
            let meta = secret.child("metadata");
            let annotations = meta.child("annotations");
            let name = annotations.key(ACCOUNT_NAME);
            if name.is_empty() {
                name.required(errors, "");
            }
            &[]
        }
        "kubernetes.io/dockercfg" => {
            json(&data.key(".dockercfg"), errors);
            &[]
        }
        "kubernetes.io/dockerconfigjson" => {
            json(&data.key(".dockerconfigjson"), errors);
            &[]
        }
        "kubernetes.io/basic-auth" if !data.key("username").is_set() && !data.key("password").is_set() => {
            &["username", "password"]
        }
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    };
    let empty_counts = secret.child("type").str() == "kubernetes.io/ssh-auth";
    for key in required {
        let value = data.key(key);
        if !value.is_set() || (empty_counts && value.is_empty()) {
            value.required(errors, "");
        }
    }
}

/// Checks that a value of a secret is there and is a JSON object.
fn json(value: &At, errors: &mut Errors) {
    use base64::Engine;

    if !value.is_set() {
        value.required(errors, "");
        return;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.str()).unwrap_or_default();
    let problem = match crate::schema::parse_json(&bytes) {
        Err(problem) => problem,
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(other) => {
            let kind = match other {
                Value::Array(_) => "array",
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                _ => "string",
            };
            format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
        }
    };
    value.invalid_shown(errors, "<secret contents redacted>", &problem);
}
