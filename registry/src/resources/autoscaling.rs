//! The group `autoscaling`: version 2 is stored, and version 1 is made of it.

mod version_1;

pub(crate) use version_1::as_checked;

use crate::resource::{Resource, Scope, Subresource};

pub(super) fn resources() -> Vec<Resource> {
    let version = |version| {
        Resource::builtin(
            "autoscaling",
            version,
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            Scope::Namespaced,
        )
        .short_names(&["hpa"])
        .categories(&["all"])
        .subresources(&[Subresource::Status])
    };
    let stored = version("v2");
    let first = version("v1").stored_as(&stored, version_1::Version1);
    vec![first, stored]
}
