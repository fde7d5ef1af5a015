//! Rules for volumes made from objects of the API: secrets, config maps, the pod's own fields, tokens.

use super::super::at::{At, Errors};
use super::super::error::Shown;
use super::super::{go, selectors};
use super::environment::{FILE_FIELDS, field_reference, resource_reference};
use super::volumes::file_path;

const DUPLICATE: &str = "conflicting duplicate paths";

pub(super) fn secret(volume: &At, errors: &mut Errors) {
    volume.child("secretName").require(errors);
    files(volume, errors);
}

pub(super) fn config_map(volume: &At, errors: &mut Errors) {
    volume.child("name").require(errors);
    files(volume, errors);
}

pub(super) fn downward_api(volume: &At, errors: &mut Errors) {
    mode(&volume.child("defaultMode"), errors);
    volume.child("items").items().for_each(|item| downward_file(&item, volume, errors));
}

pub(super) fn projected(volume: &At, errors: &mut Errors) {
    mode(&volume.child("defaultMode"), errors);
    let mut paths = Vec::new();
    for source in volume.child("sources").items() {
        let mut kinds = 0;
        for name in ["secret", "configMap"] {
            let projection = source.child(name);
            if !projection.is_set() {
                continue;
            }
            kinds += 1;
            let object = projection.child("name");
            object.require(errors);
            for item in projection.child("items").items() {
                key_to_path(&item, errors);
                let path = item.child("path");
                if !path.is_empty() {
                    unique(volume, path.str(), object.str(), &mut paths, errors);
                }
            }
        }
        let downward = source.child("downwardAPI");
        if downward.is_set() {
            kinds += 1;
            for item in downward.child("items").items() {
                downward_file(&item, &downward, errors);
                let path = item.child("path").str();
                if !path.is_empty() {
                    unique(volume, path, path, &mut paths, errors);
                }
            }
        }
        let token = source.child("serviceAccountToken");
        if token.is_set() {
            kinds += 1;
            service_account_token(&token, volume, errors);
        }
        let bundle = source.child("clusterTrustBundle");
        if bundle.is_set() {
            kinds += 1;
            trust_bundle(&bundle, errors);
            let path = bundle.child("path");
            path.require(errors);
            file_path(&path, errors);
            unique(volume, path.str(), path.str(), &mut paths, errors);
        }
        if kinds > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type");
        }
    }
}

fn service_account_token(token: &At, volume: &At, errors: &mut Errors) {
    let seconds = token.child("expirationSeconds");
    if seconds.int().is_some_and(|seconds| seconds < 600) {
        seconds.invalid(errors, "may not specify a duration less than 10 minutes");
    }
    if seconds.int().is_some_and(|seconds| seconds > 1 << 32) {
        seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
    }
    let path = volume.moved(token.child("path").value(), "path");
    if !path.require(errors) {
        file_path(&path, errors);
    }
}

/// Checks by what bundles of certificates are chosen: a name, or a signer and labels.
fn trust_bundle(bundle: &At, errors: &mut Errors) {
    let (name, signer) = (bundle.child("name"), bundle.child("signerName"));
    match (name.is_set(), signer.is_set()) {
        (true, true) => {
            let shown = Shown::verbatim(bundle.value().to_string());
            bundle.invalid_shown(errors, shown, "only one of name and signerName may be used");
        }
        (true, false) => {
            if name.is_empty() {
                name.required(errors, "must be a valid object name");
            }
            let selector = bundle.child("labelSelector");
            if selector.is_set() {
                let shown = go::label_selector(selector.value());
                selector.invalid_shown(errors, shown, "labelSelector must be unset if name is specified");
            }
        }
        (false, true) => {
            if signer.is_empty() {
                signer.required(errors, "must be a valid signer name");
            }
            selectors::label_selector(&bundle.child("labelSelector"), errors);
        }
        (false, false) => bundle.required(errors, "either name or signerName must be specified"),
    }
}

fn unique<'v>(volume: &At, path: &'v str, shown: &str, paths: &mut Vec<&'v str>, errors: &mut Errors) {
    if paths.contains(&path) {
        volume.invalid_shown(errors, shown, DUPLICATE);
    } else {
        paths.push(path);
    }
}

fn files(volume: &At, errors: &mut Errors) {
    mode(&volume.child("defaultMode"), errors);
    volume.child("items").items().for_each(|item| key_to_path(&item, errors));
}

fn key_to_path(item: &At, errors: &mut Errors) {
    item.child("key").require(errors);
    if !item.child("path").require(errors) {
        file_path(&item.child("path"), errors);
    }
    mode(&item.child("mode"), errors);
}

fn downward_file(item: &At, volume: &At, errors: &mut Errors) {
    let path = volume.moved(item.child("path").value(), "path");
    path.require(errors);
    file_path(&path, errors);
    let (field, resource) = (item.child("fieldRef"), item.child("resourceFieldRef"));
    if field.is_set() {
        field_reference(&volume.moved(field.value(), "fieldRef"), &FILE_FIELDS, errors);
        if resource.is_set() {
            let rule = "fieldRef and resourceFieldRef can not be specified simultaneously";
            volume.invalid_shown(errors, "resource", rule);
        }
    } else if resource.is_set() {
        resource_reference(&volume.moved(resource.value(), "resourceFieldRef"), true, errors);
    } else {
        volume.required(errors, "one of fieldRef and resourceFieldRef is required");
    }
    mode(&volume.moved(item.child("mode").value(), "mode"), errors);
}

fn mode(mode: &At, errors: &mut Errors) {
    if mode.int().is_some_and(|bits| !(0..=0o777).contains(&bits)) {
        mode.invalid(errors, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}
