//! The group `admissionregistration.k8s.io`: what [`admission`](crate::admission) asks and evaluates.

use crate::resource::{Resource, Scope, Subresource};
use crate::strategy::Conditional;

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural| {
        Resource::builtin("admissionregistration.k8s.io", "v1", kind, plural, Scope::Cluster)
            .categories(&["api-extensions"])
            .counts_generations()
            .strategy(Conditional)
    };
    vec![
        kind("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        kind("ValidatingAdmissionPolicy", "validatingadmissionpolicies").subresources(&[Subresource::Status]),
        kind("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
        kind("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    ]
}
