//! The first policy: administrators may do everything, each component what it needs, and nobody else anything.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::authorization::{Attributes, Authorizer, Decision};
use crate::cache::World;
use crate::object::Object;
use crate::rbac::{PolicyRule, Rules};
use crate::request::{RequestInfo, ResourceRequest};
use crate::user::{MASTERS, User};

/// The user name of the scheduler.
pub const SCHEDULER: &str = "system:kube-scheduler";
/// The user name of the controllers.
pub const CONTROLLERS: &str = "system:kube-controller-manager";
/// The user name of the proxies.
pub const PROXY: &str = "system:kube-proxy";

/// Lets in `system:masters` and the cluster's own components.
///
/// An agent may touch what concerns its node alone: its Node and Lease, the pods bound to it, and the
/// secrets, config maps and service accounts that those pods name.
#[derive(Debug, Default)]
pub struct ComponentPolicy;

/// Some verbs on some resources of a group; `*` stands for all.
struct Rule {
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch"];
const CHANGE: &[&str] = &["update", "patch"];

const fn rule(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { group, resources, verbs }
}

const EVENTS: Rule = rule("", &["events"], WRITE);
const LEASES: Rule = rule("coordination.k8s.io", &["leases"], &["get", "create", "update", "patch"]);

const SCHEDULER_RULES: &[Rule] = &[
    rule("", &["pods", "nodes", "services", "replicationcontrollers", "namespaces"], READ),
    rule("apps", &["replicasets"], READ),
    rule("scheduling.k8s.io", &["priorityclasses"], READ),
    rule("", &["bindings", "pods/binding"], &["create"]),
    rule("", &["pods/status"], CHANGE),
    // Pods that give way to more important ones.
    rule("", &["pods"], &["delete"]),
    EVENTS,
    LEASES,
];

const CONTROLLER_RULES: &[Rule] = &[
    rule("*", &["*"], &["get", "list", "watch", "update", "patch", "delete", "deletecollection"]),
    rule("", &["pods", "endpoints", "serviceaccounts", "configmaps", "events"], &["create"]),
    rule("apps", &["replicasets"], &["create"]),
    rule("discovery.k8s.io", &["endpointslices"], &["create"]),
    // Aggregated roles get rules that nobody need hold who collects them.
    rule("rbac.authorization.k8s.io", &["clusterroles"], &["escalate"]),
    // For the secrets that hold tokens.
    rule("", &["serviceaccounts/token"], &["create"]),
    LEASES,
];

const PROXY_RULES: &[Rule] = &[
    // Pods say where their ports are if their addresses are only names.
    rule("", &["services", "endpoints", "nodes", "pods"], READ),
    rule("discovery.k8s.io", &["endpointslices"], READ),
    EVENTS,
];

const NODE_RULES: &[Rule] = &[rule("", &["services", "nodes"], READ), EVENTS];

#[async_trait]
impl Authorizer for ComponentPolicy {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let user = attributes.user;
        if user.is_in(MASTERS) {
            return Decision::Allow(Arc::default());
        }
        let Some(rules) = self.of(user) else { return Decision::NoOpinion(Arc::default()) };
        let node = user.node_name();
        let allowed = match attributes.request {
            RequestInfo::Path(path) => attributes.verb == "get" && is_discovery(path),
            RequestInfo::Resource(request) => {
                rules.iter().any(|rule| rule.allows(attributes.verb, request))
                    || node.is_some_and(|node| is_of_node(node, attributes, request))
            }
        };
        if allowed { Decision::Allow(Arc::default()) } else { Decision::NoOpinion(Arc::default()) }
    }

    fn rules(&self, user: &User, _: &str) -> Rules {
        if user.is_in(MASTERS) {
            return Rules { rules: PolicyRule::everything().into(), incomplete: Vec::new() };
        }
        let own = self.of(user);
        let mut rules: Vec<PolicyRule> = own.unwrap_or_default().iter().map(Rule::listed).collect();
        if own.is_some() {
            let paths = DISCOVERY.iter().flat_map(|path| [format!("/{path}"), format!("/{path}/*")]);
            let verbs = vec!["get".to_owned()];
            rules.push(PolicyRule { verbs, non_resource_urls: paths.collect(), ..PolicyRule::default() });
        }
        let incomplete = user.node_name().map(|_| "what concerns a node alone is not listed".to_owned());
        Rules { rules, incomplete: incomplete.into_iter().collect() }
    }
}

impl ComponentPolicy {
    /// Returns the rules of a component; absent if the user is none.
    fn of(&self, user: &User) -> Option<&'static [Rule]> {
        match (user.name.as_str(), user.node_name()) {
            (_, Some(_)) => Some(NODE_RULES),
            (SCHEDULER, None) => Some(SCHEDULER_RULES),
            (CONTROLLERS, None) => Some(CONTROLLER_RULES),
            (PROXY, None) => Some(PROXY_RULES),
            _ => None,
        }
    }
}

impl Rule {
    fn listed(&self) -> PolicyRule {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        PolicyRule {
            verbs: own(self.verbs),
            api_groups: own(&[self.group]),
            resources: own(self.resources),
            ..PolicyRule::default()
        }
    }

    fn allows(&self, verb: &str, request: &ResourceRequest) -> bool {
        let full = match &request.subresource {
            Some(subresource) => format!("{}/{subresource}", request.resource),
            None => request.resource.clone(),
        };
        (self.group == "*" || self.group == request.group)
            && self.verbs.contains(&verb)
            && self.resources.iter().any(|resource| *resource == "*" || *resource == full)
    }
}

/// What the paths begin with that every component reads.
const DISCOVERY: [&str; 7] = ["api", "apis", "openapi", "version", "healthz", "livez", "readyz"];

fn is_discovery(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    DISCOVERY.contains(&first)
}

/// Decides what concerns one node alone.
fn is_of_node(node: &str, attributes: &Attributes<'_>, request: &ResourceRequest) -> bool {
    let ResourceRequest { group, resource, name, namespace, subresource, .. } = request;
    let (name, namespace) = (name.as_deref(), namespace.as_deref());
    let world = attributes.world;
    match (group.as_str(), resource.as_str(), subresource.as_deref(), attributes.verb) {
        ("", "nodes", None, "create") => true,
        ("", "nodes", None | Some("status"), "update" | "patch") => name == Some(node),
        ("coordination.k8s.io", "leases", None, "get" | "update" | "patch" | "delete") => {
            namespace == Some("kube-node-lease") && name == Some(node)
        }
        ("coordination.k8s.io", "leases", None, "create") => namespace == Some("kube-node-lease"),
        ("", "pods", None, "list" | "watch") => attributes
            .field_selector
            .split(',')
            .any(|term| matches!(term.split_once('='), Some(("spec.nodeName", value)) if value.trim_start_matches('=') == node)),
        ("", "pods", None, "get" | "delete") | ("", "pods", Some("status"), "get" | "update" | "patch") => {
            let key = format!("/registry/pods/{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
            world.get(&key).is_some_and(|pod| is_on(pod, node))
        }
        ("", "secrets", None, "get") => names(world, node, namespace, name, &["secretName", "secretKeyRef", "secretRef", "secret", "imagePullSecrets"]),
        ("", "configmaps", None, "get") => names(world, node, namespace, name, &["configMap", "configMapKeyRef", "configMapRef"]),
        ("", "serviceaccounts", Some("token"), "create") => name.is_some_and(|name| {
            pods_on(world, node, namespace).any(|pod| pod.header.field("spec.serviceAccountName") == name)
        }),
        _ => false,
    }
}

/// The pods of a namespace that are bound to a node.
fn pods_on<'a>(
    world: &'a World,
    node: &'a str,
    namespace: Option<&str>,
) -> impl Iterator<Item = Arc<Object>> + 'a {
    let prefix = format!("/registry/pods/{}/", namespace.unwrap_or_default());
    let pods = world.range(&prefix, None).map(|(_, pod)| pod).filter(|pod| is_on(pod, node));
    pods.cloned().collect::<Vec<_>>().into_iter()
}

fn is_on(pod: &Object, node: &str) -> bool {
    pod.header.field("spec.nodeName") == node
}

/// Whether a pod of the node names an object under one of these fields.
fn names(world: &World, node: &str, namespace: Option<&str>, name: Option<&str>, fields: &[&str]) -> bool {
    name.is_some_and(|name| {
        pods_on(world, node, namespace).any(|pod| refers(&pod.value()["spec"], name, fields))
    })
}

fn refers(value: &Value, name: &str, fields: &[&str]) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, inner)| {
            (fields.contains(&key.as_str()) && is_name(inner, name)) || refers(inner, name, fields)
        }),
        Value::Array(items) => items.iter().any(|item| refers(item, name, fields)),
        _ => false,
    }
}

fn is_name(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Object(map) => map.get("name").is_some_and(|text| text == name),
        Value::Array(items) => items.iter().any(|item| is_name(item, name)),
        _ => false,
    }
}
