//! The group `networking.k8s.io`.

use crate::resource::{Resource, Scope, Subresource};

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural, scope| {
        Resource::builtin("networking.k8s.io", "v1", kind, plural, scope).counts_generations()
    };
    vec![
        kind("Ingress", "ingresses", Scope::Namespaced)
            .short_names(&["ing"])
            .prefix("/registry/ingress/")
            .subresources(&[Subresource::Status]),
        kind("IngressClass", "ingressclasses", Scope::Cluster),
        kind("NetworkPolicy", "networkpolicies", Scope::Namespaced).short_names(&["netpol"]),
    ]
}
