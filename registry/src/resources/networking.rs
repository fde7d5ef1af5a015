//! The group `networking.k8s.io`.

use serde_json::Value;

use crate::resource::{Resource, Scope, Subresource};
use crate::strategy::Strategy;

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural, scope| {
        Resource::builtin("networking.k8s.io", "v1", kind, plural, scope).counts_generations()
    };
    vec![
        kind("Ingress", "ingresses", Scope::Namespaced)
            .short_names(&["ing"])
            .prefix("/registry/ingress/")
            .subresources(&[Subresource::Status])
            .strategy(IngressStrategy),
        kind("IngressClass", "ingressclasses", Scope::Cluster),
        kind("NetworkPolicy", "networkpolicies", Scope::Namespaced).short_names(&["netpol"]),
    ]
}

/// An ingress says its class in a field; once it was an annotation.
#[derive(Debug)]
struct IngressStrategy;

impl Strategy for IngressStrategy {
    fn warnings(&self, ingress: &Value) -> Vec<String> {
        const ANNOTATION: &str = "kubernetes.io/ingress.class";
        if ingress["metadata"]["annotations"][ANNOTATION].is_null() {
            return Vec::new();
        }
        vec![format!("annotation {ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead")]
    }
}
