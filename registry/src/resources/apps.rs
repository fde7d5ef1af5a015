//! The group `apps`.

use crate::resource::{Resource, Scope, Subresource};

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural, short| {
        Resource::builtin("apps", "v1", kind, plural, Scope::Namespaced)
            .short_names(short)
            .categories(&["all"])
            .subresources(&[Subresource::Scale, Subresource::Status])
            .counts_generations()
    };
    vec![kind("Deployment", "deployments", &["deploy"]), kind("ReplicaSet", "replicasets", &["rs"])]
}
