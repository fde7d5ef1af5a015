//! The group `flowcontrol.apiserver.k8s.io`: the levels and schemas that the server goes by
//! ([`fairness`](crate::layers::fairness)). Read only, for they are the same in every cluster.

use crate::request::Verb;
use crate::resource::{Resource, Scope};

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural| {
        Resource::builtin("flowcontrol.apiserver.k8s.io", "v1", kind, plural, Scope::Cluster)
            .counts_generations()
            .verbs(&[Verb::Get, Verb::List, Verb::Watch])
    };
    vec![kind("FlowSchema", "flowschemas"), kind("PriorityLevelConfiguration", "prioritylevelconfigurations")]
}
