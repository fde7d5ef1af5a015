//! The group `coordination.k8s.io`.

use crate::resource::{Resource, Scope};
use crate::strategy::Strategy;

pub(super) fn resources() -> Vec<Resource> {
    vec![
        Resource::builtin("coordination.k8s.io", "v1", "Lease", "leases", Scope::Namespaced)
            .strategy(LeaseStrategy),
    ]
}

/// A lease is only changed by who knows what it says now.
#[derive(Debug)]
struct LeaseStrategy;

impl Strategy for LeaseStrategy {
    fn creates_on_update(&self) -> bool {
        true
    }

    fn allows_unconditional_update(&self) -> bool {
        false
    }
}
