//! The group `admissionregistration.k8s.io`: stored and served, and not yet acted on.

use serde_json::Value;

use crate::resource::{Resource, Scope, Subresource};
use crate::strategy::Strategy;

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural| {
        Resource::builtin("admissionregistration.k8s.io", "v1", kind, plural, Scope::Cluster)
            .categories(&["api-extensions"])
            .counts_generations()
            .strategy(NotEnforced(kind))
    };
    vec![
        kind("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        kind("ValidatingAdmissionPolicy", "validatingadmissionpolicies").subresources(&[Subresource::Status]),
        kind("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
        kind("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    ]
}

/// A kind whose objects do not do what they say, which their author is told.
#[derive(Debug)]
struct NotEnforced(&'static str);

impl Strategy for NotEnforced {
    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn warnings(&self, _object: &Value) -> Vec<String> {
        vec![format!("the {} is stored but not enforced by this server yet", self.0)]
    }
}
