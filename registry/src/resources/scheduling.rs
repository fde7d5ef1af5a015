//! The group `scheduling.k8s.io`.

use crate::resource::{Resource, Scope};

pub(super) fn resources() -> Vec<Resource> {
    vec![
        Resource::builtin("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", Scope::Cluster)
            .short_names(&["pc"]),
    ]
}
