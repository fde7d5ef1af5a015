//! The group `apiregistration.k8s.io`: read only, for all that this server serves it serves itself.

use crate::request::Verb;
use crate::resource::{Resource, Scope};

pub(super) fn resources() -> Vec<Resource> {
    vec![
        Resource::builtin("apiregistration.k8s.io", "v1", "APIService", "apiservices", Scope::Cluster)
            .categories(&["api-extensions"])
            .prefix("/registry/apiregistration.k8s.io/apiservices/")
            .verbs(&[Verb::Get, Verb::List, Verb::Watch])
            .status_at_creation(),
    ]
}
