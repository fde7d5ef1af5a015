//! What this project's components need beyond upstream's roles: roles of their own, so that upstream's stay what they are and
//! nobody else who is given one of those gets more.

use super::Subject::User;
use super::{Binding, CORE, LIST_WATCH, Role, bind, resources, role};

pub(super) const ROLES: &[Role] = &[
    // A proxy learns from pods' statuses where the ports of pods are whose addresses are only names, as those of processes
    // without root.
    role("quarterdeck:pod-addresses", &[resources(LIST_WATCH, CORE, &["pods"])]),
];

pub(super) const BINDINGS: &[Binding] = &[bind("quarterdeck:pod-addresses", &[User("system:kube-proxy")])];
