//! The group `node.k8s.io`.

use crate::resource::{Resource, Scope};
use crate::strategy::Conditional;

pub(super) fn resources() -> Vec<Resource> {
    vec![
        Resource::builtin("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", Scope::Cluster)
            .strategy(Conditional),
    ]
}
