//! The group `authorization.k8s.io`: questions about who may do what, which are answered and not stored.

use crate::request::Verb;
use crate::resource::{Backing, Resource, Scope};

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural, scope| {
        Resource::builtin("authorization.k8s.io", "v1", kind, plural, scope)
            .verbs(&[Verb::Create])
            .backing(Backing::Review)
    };
    vec![
        kind("LocalSubjectAccessReview", "localsubjectaccessreviews", Scope::Namespaced),
        kind("SelfSubjectAccessReview", "selfsubjectaccessreviews", Scope::Cluster),
        kind("SelfSubjectRulesReview", "selfsubjectrulesreviews", Scope::Cluster),
        kind("SubjectAccessReview", "subjectaccessreviews", Scope::Cluster),
    ]
}
