//! Rules for storage drivers, for what they say of nodes, and for the volumes that they attach.

use super::at::{At, Errors, IMMUTABLE, NOT_NEGATIVE};
use super::compare::same;
use super::error::{FieldError, Shown};
use super::names::{self, NameRule};
use super::pods::csi_driver_name;
use super::storage::inline_volume;
use super::{Validator, metadata, selectors};

const MAX_NODE_ID: usize = 256;
const MAX_ATTACHMENT: usize = 256 << 10;
const MAX_PROBLEM: usize = 1024;

pub(super) static DRIVER: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: |driver, errors| driver_spec(&driver.child("spec"), errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let (spec, before) = (new.child("spec"), old.child("spec"));
        driver_spec(&spec, errors);
        let attach = spec.moved(spec.child("attachRequired").value(), ATTACH);
        attach.immutable(errors, &before.child("attachRequired"));
        spec.child("volumeLifecycleModes").immutable(errors, &before.child("volumeLifecycleModes"));
    },
    status: |_, _, _| {},
};

/// What errors call the field `attachRequired`.
const ATTACH: &str = "attachedRequired";

fn driver_spec(spec: &At, errors: &mut Errors) {
    for (name, shown) in [
        ("attachRequired", ATTACH),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if !spec.child(name).is_set() {
            spec.child(shown).required(errors, "");
        }
    }
    spec.child("fsGroupPolicy").one_of_if_set(errors, &["File", "None", "ReadWriteOnceWithFSType"]);
    let requests = spec.child("tokenRequests");
    for (index, request) in requests.items().enumerate() {
        let (audience, seconds) = (request.child("audience"), request.child("expirationSeconds"));
        if requests.items().take(index).any(|other| other.child("audience").str() == audience.str()) {
            errors.push(FieldError::duplicate(audience, audience.str()));
            continue;
        }
        if seconds.int().is_some_and(|seconds| seconds < 600) {
            seconds.invalid(errors, "may not specify a duration less than 10 minutes");
        }
        if seconds.int().is_some_and(|seconds| seconds > 1 << 32) {
            seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
        }
    }
    let modes = spec.child("volumeLifecycleModes");
    for mode in modes.strings().filter(|mode| !matches!(*mode, "Persistent" | "Ephemeral")) {
        errors.push(FieldError::not_supported(modes, mode, &["Persistent", "Ephemeral"]));
    }
    let period = spec.child("nodeAllocatableUpdatePeriodSeconds");
    if period.int().is_some_and(|seconds| seconds < 10) {
        period.invalid(errors, "must be greater than or equal to 10 seconds");
    }
}

pub(super) static NODE: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: |node, errors| node_drivers(&node.child("spec").child("drivers"), errors),
    update: |new, old, errors| {
        metadata::whole(new, NameRule::Subdomain, false, errors);
        let (spec, before) = (new.child("spec"), old.child("spec"));
        let (drivers, known) = (spec.child("drivers"), before.child("drivers"));
        node_drivers(&drivers, errors);
        for was in known.items() {
            let changed = |driver: &At| {
                driver.child("name").str() == was.child("name").str() && !same(driver.value(), was.value())
            };
            for driver in drivers.items().filter(|driver| changed(driver)) {
                drivers.invalid_shown(errors, Shown::verbatim(driver.value().to_string()), IMMUTABLE);
            }
        }
    },
    status: |_, _, _| {},
};

fn node_drivers(drivers: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for driver in drivers.items() {
        let (name, id) = (driver.child("name"), driver.child("nodeID"));
        csi_driver_name(&name, errors);
        id.require(errors);
        if id.str().len() > MAX_NODE_ID {
            id.invalid(errors, &format!("must be {MAX_NODE_ID} characters or less"));
        }
        driver.child("allocatable").child("count").not_negative(errors);
        if seen.contains(&name.str()) {
            errors.push(FieldError::duplicate(name, name.str()));
        }
        seen.push(name.str());
        let keys = driver.child("topologyKeys");
        for (index, key) in keys.strings().enumerate() {
            if key.is_empty() {
                driver.required(errors, "");
            }
            if keys.strings().take(index).any(|other| other == key) {
                errors.push(FieldError::duplicate(driver, key));
            }
            names::qualified_name(key).iter().for_each(|problem| driver.invalid_shown(errors, key, problem));
        }
    }
}

pub(super) static CAPACITY: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |capacity, errors| {
        selectors::label_selector(&capacity.child("nodeTopology"), errors);
        capacity.child("storageClassName").rule(errors, names::subdomain);
        let amount = capacity.child("capacity");
        if let Some(quantity) = amount.quantity().filter(|quantity| quantity.is_negative()) {
            amount.invalid_shown(errors, &quantity.to_string(), NOT_NEGATIVE);
        }
    },
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        for name in ["nodeTopology", "storageClassName"] {
            if !same(new.child(name).value(), old.child(name).value()) {
                new.child(name).invalid(errors, IMMUTABLE);
            }
        }
    },
    status: |_, _, _| {},
};

pub(super) static ATTACHMENT: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: |attachment, errors| {
        self::attachment(attachment, errors);
        csi_driver_name(&attachment.child("spec").child("attacher"), errors);
        let source = attachment.child("spec").child("source").child("persistentVolumeName").value();
        if !source.is_null() {
            At::named(source, "spec.source.persistentVolumeName").rule(errors, names::subdomain);
        }
    },
    update: |new, old, errors| {
        metadata::whole(new, NameRule::Subdomain, false, errors);
        attachment(new, errors);
        let spec = new.child("spec");
        if !same(spec.value(), old.child("spec").value()) {
            spec.invalid_shown(errors, Shown::verbatim(spec.value().to_string()), IMMUTABLE);
        }
    },
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        attachment_status(&new.child("status"), errors);
    },
};

fn attachment(attachment: &At, errors: &mut Errors) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let spec = attachment.child("spec");
    spec.child("attacher").require(errors);
    let source = spec.child("source");
    let (inline, volume) = (source.child("inlineVolumeSpec"), source.child("persistentVolumeName"));
    match (inline.is_set(), volume.is_set()) {
        (false, false) => source.required(errors, ONE),
        (true, true) => source.forbidden(errors, ONE),
        (false, true) if volume.is_empty() => {
            volume.required(errors, "must specify non empty persistentVolumeName");
        }
        (false, true) => {}
        (true, false) => inline_volume(&inline, errors),
    }
    spec.child("nodeName").rule(errors, names::subdomain);
    attachment_status(&attachment.child("status"), errors);
}

fn attachment_status(status: &At, errors: &mut Errors) {
    let metadata = status.child("attachmentMetadata");
    let size: usize = metadata.entries().map(|(key, value)| key.len() + value.str().len()).sum();
    if size > MAX_ATTACHMENT {
        errors.push(FieldError::too_long(metadata, MAX_ATTACHMENT));
    }
    for name in ["attachError", "detachError"] {
        let problem = status.child(name);
        let message = problem.child("message");
        if message.str().len() > MAX_PROBLEM {
            errors.push(FieldError::too_long(message, MAX_ATTACHMENT));
        }
        let code = problem.child("errorCode");
        if code.int().is_some_and(|code| code < 0) {
            code.in_range(errors, 0, i64::from(i32::MAX));
        }
    }
}
