//! The group `policy`.

use crate::resource::{Resource, Scope, Subresource};
use crate::strategy::Conditional;

pub(super) fn resources() -> Vec<Resource> {
    vec![
        Resource::builtin("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", Scope::Namespaced)
            .short_names(&["pdb"])
            .subresources(&[Subresource::Status])
            .counts_generations()
            .strategy(Conditional),
    ]
}
