//! The group `discovery.k8s.io`.

use crate::resource::{Resource, Scope};

pub(super) fn resources() -> Vec<Resource> {
    vec![
        Resource::builtin("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", Scope::Namespaced)
            .counts_generations(),
    ]
}
