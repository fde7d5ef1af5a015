//! The group `flowcontrol.apiserver.k8s.io`: read only, for this server shares itself out by nobody's configuration.

use crate::request::Verb;
use crate::resource::{Resource, Scope};

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural| {
        Resource::builtin("flowcontrol.apiserver.k8s.io", "v1", kind, plural, Scope::Cluster).verbs(&[
            Verb::Get,
            Verb::List,
            Verb::Watch,
        ])
    };
    vec![kind("FlowSchema", "flowschemas"), kind("PriorityLevelConfiguration", "prioritylevelconfigurations")]
}
