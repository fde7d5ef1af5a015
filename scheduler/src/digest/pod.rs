//! Pods.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::core::ObjectMeta;
use quarterdeck_core::scheduling::{
    HostPort, NodeAffinity, NodeTerm, PodInfo, Resources, Symbol, Test, Toleration,
};
use serde::Deserialize;

use super::node::effect;
use super::spec::{
    Condition, Container, ContainerPort, Expression, Pod, Preferred, Requirements, Spec, SpecToleration,
    SpreadConstraint, Term,
};
use super::{Amounts, Metadata, resources};

/// A pod as the driver watches it.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Pod")]
pub(crate) struct WatchedPod {
    metadata: ObjectMeta,
    pub(crate) info: Arc<PodInfo>,
    /// Whether it will not run any more, and so takes no room.
    pub(crate) finished: bool,
    /// Whether it must not be scheduled yet.
    pub(crate) gated: bool,
    /// What its status says of why it is not scheduled.
    pub(crate) unscheduled: Option<Unscheduled>,
}

/// A condition `PodScheduled` that is false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unscheduled {
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl From<Pod> for WatchedPod {
    fn from(pod: Pod) -> Self {
        let Pod { metadata, spec, status } = pod;
        let named = |name: &Option<String>| name.as_deref().filter(|name| !name.is_empty()).map(Symbol::from);
        let mut info = PodInfo::new(metadata.namespace.as_deref().unwrap_or("default"), &metadata.name);
        if let Some(uid) = &metadata.uid {
            info.uid = uid.as_str().into();
        }
        if let Some(scheduler) = named(&spec.scheduler_name) {
            info.scheduler = scheduler;
        }
        info.node = named(&spec.node_name);
        info.nominated = named(&status.nominated_node_name);
        info.priority = spec.priority.unwrap_or_default();
        info.requests = requests(&spec);
        info.host_ports = host_ports(&spec);
        info.group = group(&metadata);
        info.terminating = metadata.deletion_timestamp.is_some();
        info.unchecked = unchecked(&spec);
        info.tolerations = spec.tolerations.into_iter().filter_map(toleration).collect();
        info.affinity = NodeAffinity {
            selector: spec.node_selector.into_iter().collect(),
            required: spec
                .affinity
                .node_affinity
                .required
                .map(|selector| terms(selector.node_selector_terms)),
            preferred: preferred(spec.affinity.node_affinity.preferred),
        };
        let slim = metadata.slim();
        info.labels = metadata.labels.into_iter().collect();
        Self {
            metadata: slim,
            info: Arc::new(info),
            finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            gated: !spec.scheduling_gates.is_empty(),
            unscheduled: unscheduled(status.conditions),
        }
    }
}

/// Returns what the pod needs at any time: what all its containers and sidecars ask for, or more while it starts, and
/// its overhead. What is asked for the pod as a whole replaces the sum.
fn requests(spec: &Spec) -> Resources {
    let asked = |requirements: &Requirements| amounts(&requirements.requests);
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&asked(&container.resources));
    }
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in &spec.init_containers {
        let mut starting = sidecars.clone();
        starting.add(&asked(&container.resources));
        peak.raise(&starting);
        if is_sidecar(container) {
            total.add(&asked(&container.resources));
            sidecars = starting;
        }
    }
    total.raise(&peak);
    total = resources(&spec.resources.requests, total, Resources::UNLIMITED).0;
    total.add(&amounts(&spec.overhead));
    total
}

fn amounts(amounts: &Amounts) -> Resources {
    resources(amounts, Resources::default(), Resources::UNLIMITED).0
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn host_ports(spec: &Spec) -> Vec<HostPort> {
    let running = spec.containers.iter().chain(spec.init_containers.iter().filter(|init| is_sidecar(init)));
    let port = |port: &ContainerPort| {
        let of_node = port.host_port.filter(|port| *port > 0);
        Some(HostPort {
            port: of_node.or(spec.host_network.then_some(port.container_port))?,
            protocol: port.protocol.as_deref().and_then(|protocol| protocol.parse().ok()).unwrap_or_default(),
            address: port
                .host_ip
                .as_deref()
                .and_then(|address| address.parse().ok())
                .filter(|address: &IpAddr| !address.is_unspecified()),
        })
    };
    running.flat_map(|container| &container.ports).filter_map(port).collect()
}

fn group(metadata: &Metadata) -> Option<Symbol> {
    let controller = metadata.owner_references.iter().find(|owner| owner.controller == Some(true));
    if let Some(owner) = controller {
        return Some(owner.uid.clone());
    }
    if metadata.labels.is_empty() {
        return None;
    }
    let labels: Vec<_> = metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Some(format!("{}/{}", metadata.namespace.as_deref().unwrap_or_default(), labels.join(",")).into())
}

fn unchecked(spec: &Spec) -> Vec<&'static str> {
    let strict = |constraint: &SpreadConstraint| constraint.when_unsatisfiable != "ScheduleAnyway";
    [
        (!spec.affinity.pod_affinity.required.is_empty(), "spec.affinity.podAffinity"),
        (!spec.affinity.pod_anti_affinity.required.is_empty(), "spec.affinity.podAntiAffinity"),
        (spec.topology_spread_constraints.iter().any(strict), "spec.topologySpreadConstraints"),
        (!spec.resource_claims.is_empty(), "spec.resourceClaims"),
    ]
    .into_iter()
    .filter_map(|(asked, field)| asked.then_some(field))
    .collect()
}

fn toleration(toleration: SpecToleration) -> Option<Toleration> {
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let value = match toleration.operator.as_deref() {
        None | Some("" | "Equal") => Some(toleration.value.unwrap_or_default().into()),
        Some("Exists") => None,
        // What it means is not known: it tolerates nothing.
        Some(_) => return None,
    };
    let effect = match filled(toleration.effect) {
        Some(name) => Some(effect(&name)?),
        None => None,
    };
    Some(Toleration { key: filled(toleration.key).map(Symbol::from), value, effect })
}

fn preferred(preferred: Vec<Preferred>) -> Vec<(i32, NodeTerm)> {
    let (weights, preferences): (Vec<_>, Vec<_>) =
        preferred.into_iter().map(|preferred| (preferred.weight, preferred.preference)).unzip();
    weights.into_iter().zip(terms(preferences)).collect()
}

fn terms(terms: Vec<Term>) -> Vec<NodeTerm> {
    let nothing = || Test::In(Box::default());
    let term = |term: Term| NodeTerm {
        name: term
            .match_fields
            .into_iter()
            .map(|field| if field.key == "metadata.name" { test(field).1 } else { nothing() })
            .collect(),
        labels: term.match_expressions.into_iter().map(test).collect(),
    };
    terms.into_iter().map(term).collect()
}

/// Digests an expression. One that makes no sense is passed by nothing.
fn test(expression: Expression) -> (Symbol, Test) {
    let Expression { key, operator, values } = expression;
    let number = || match values.as_slice() {
        [value] => value.as_str().parse().ok(),
        _ => None,
    };
    let test = match operator.as_str() {
        "Exists" => Some(Test::Exists),
        "DoesNotExist" => Some(Test::DoesNotExist),
        "Gt" => number().map(Test::Gt),
        "Lt" => number().map(Test::Lt),
        "In" => Some(Test::In(values.into())),
        "NotIn" => Some(Test::NotIn(values.into())),
        _ => None,
    };
    (key, test.unwrap_or_else(|| Test::In(Box::default())))
}

fn unscheduled(conditions: Vec<Condition>) -> Option<Unscheduled> {
    let scheduled = conditions.into_iter().find(|condition| condition.r#type == "PodScheduled")?;
    (scheduled.status == "False").then(|| Unscheduled {
        reason: scheduled.reason.unwrap_or_default(),
        message: scheduled.message.unwrap_or_default(),
    })
}

impl kube::Resource for WatchedPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
