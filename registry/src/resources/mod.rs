//! The built-in kinds: one file per API group, one value per kind.
//!
//! A kind is its row here, its table of fields in [`schema`](crate::schema), its columns in [`table`](crate::table), its
//! rules in [`validation`](crate::validation), and a [`Strategy`](crate::strategy::Strategy) where it needs one.

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod authentication;
mod authorization;
pub(crate) mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod discovery;
mod events;
mod flowcontrol;
pub(crate) mod host_ports;
mod namespace;
mod networking;
mod node;
mod pod;
mod policy;
mod rbac;
mod scheduling;
mod secret;
mod service;
mod storage;

use crate::resource::Resource;

/// Returns all built-in kinds.
#[must_use]
pub fn builtin() -> Vec<Resource> {
    [
        core::resources(),
        apiextensions::resources(),
        admissionregistration::resources(),
        apiregistration::resources(),
        apps::resources(),
        authentication::resources(),
        authorization::resources(),
        autoscaling::resources(),
        batch::resources(),
        certificates::resources(),
        coordination::resources(),
        discovery::resources(),
        events::resources(),
        flowcontrol::resources(),
        networking::resources(),
        node::resources(),
        policy::resources(),
        rbac::resources(),
        scheduling::resources(),
        storage::resources(),
    ]
    .concat()
}

/// Returns the kind that defines kinds.
pub(crate) fn definitions() -> Vec<Resource> {
    apiextensions::resources()
}
