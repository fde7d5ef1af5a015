//! The fields of a pod that matter here, as the API has them.

use std::collections::BTreeMap;

use quarterdeck_core::scheduling::Symbol;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Amounts, Metadata, or_default};

#[derive(Deserialize)]
pub(super) struct Pod {
    pub(super) metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) status: Status,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) node_name: Option<String>,
    pub(super) scheduler_name: Option<String>,
    pub(super) priority: Option<i32>,
    #[serde(deserialize_with = "or_default")]
    pub(super) scheduling_gates: Vec<IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    pub(super) containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) overhead: Amounts,
    #[serde(deserialize_with = "or_default")]
    pub(super) resources: Requirements,
    #[serde(deserialize_with = "or_default")]
    pub(super) host_network: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) node_selector: BTreeMap<Symbol, Symbol>,
    #[serde(deserialize_with = "or_default")]
    pub(super) affinity: Affinity,
    #[serde(deserialize_with = "or_default")]
    pub(super) tolerations: Vec<SpecToleration>,
    #[serde(deserialize_with = "or_default")]
    pub(super) topology_spread_constraints: Vec<SpreadConstraint>,
    #[serde(deserialize_with = "or_default")]
    pub(super) resource_claims: Vec<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    pub(super) restart_policy: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) resources: Requirements,
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: Vec<ContainerPort>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Requirements {
    #[serde(deserialize_with = "or_default")]
    pub(super) requests: Amounts,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerPort {
    pub(super) container_port: u16,
    pub(super) host_port: Option<u16>,
    #[serde(rename = "hostIP")]
    pub(super) host_ip: Option<String>,
    pub(super) protocol: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Affinity {
    #[serde(deserialize_with = "or_default")]
    pub(super) node_affinity: SpecNodeAffinity,
    #[serde(deserialize_with = "or_default")]
    pub(super) pod_affinity: PodAffinity,
    #[serde(deserialize_with = "or_default")]
    pub(super) pod_anti_affinity: PodAffinity,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SpecNodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(super) required: Option<Selector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "or_default")]
    pub(super) preferred: Vec<Preferred>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct PodAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "or_default")]
    pub(super) required: Vec<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Selector {
    #[serde(deserialize_with = "or_default")]
    pub(super) node_selector_terms: Vec<Term>,
}

#[derive(Deserialize)]
pub(super) struct Preferred {
    pub(super) weight: i32,
    pub(super) preference: Term,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Term {
    #[serde(deserialize_with = "or_default")]
    pub(super) match_expressions: Vec<Expression>,
    #[serde(deserialize_with = "or_default")]
    pub(super) match_fields: Vec<Expression>,
}

#[derive(Deserialize)]
pub(super) struct Expression {
    pub(super) key: Symbol,
    pub(super) operator: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) values: Vec<Symbol>,
}

#[derive(Deserialize)]
pub(super) struct SpecToleration {
    pub(super) key: Option<String>,
    pub(super) operator: Option<String>,
    pub(super) value: Option<String>,
    pub(super) effect: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SpreadConstraint {
    pub(super) when_unsatisfiable: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub(super) phase: Option<String>,
    pub(super) nominated_node_name: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) conditions: Vec<Condition>,
}

#[derive(Deserialize)]
pub(super) struct Condition {
    pub(super) r#type: String,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}
