//! The built-in kinds: one file per API group, one value per kind.
//!
//! A kind is its row here, its table of fields in [`schema`](crate::schema), its columns in [`table`](crate::table), its
//! rules in [`validation`](crate::validation), and a [`Strategy`](crate::strategy::Strategy) where it needs one.

mod apiextensions;
mod apps;
mod coordination;
mod core;
mod discovery;
pub(crate) mod host_ports;
mod namespace;
mod pod;
mod scheduling;
mod secret;
mod service;

use crate::resource::Resource;

/// Returns all built-in kinds.
#[must_use]
pub fn builtin() -> Vec<Resource> {
    [
        core::resources(),
        apiextensions::resources(),
        apps::resources(),
        coordination::resources(),
        discovery::resources(),
        scheduling::resources(),
    ]
    .concat()
}

/// Returns the kind that defines kinds.
pub(crate) fn definitions() -> Vec<Resource> {
    apiextensions::resources()
}
