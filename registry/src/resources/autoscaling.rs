//! The group `autoscaling`.

use crate::resource::{Resource, Scope, Subresource};

pub(super) fn resources() -> Vec<Resource> {
    vec![
        Resource::builtin(
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            Scope::Namespaced,
        )
        .short_names(&["hpa"])
        .categories(&["all"])
        .subresources(&[Subresource::Status]),
    ]
}
