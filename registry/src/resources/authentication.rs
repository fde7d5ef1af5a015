//! The group `authentication.k8s.io`: questions about who somebody is, which are answered and not stored.

use crate::request::Verb;
use crate::resource::{Backing, Resource, Scope};

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural| {
        Resource::builtin("authentication.k8s.io", "v1", kind, plural, Scope::Cluster)
            .verbs(&[Verb::Create])
            .backing(Backing::Review)
    };
    vec![kind("SelfSubjectReview", "selfsubjectreviews"), kind("TokenReview", "tokenreviews")]
}
