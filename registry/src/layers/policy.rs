//! The first policy: administrators may do everything, each component what it needs, and nobody else anything.

use std::sync::Arc;

use async_trait::async_trait;

use super::authorization::{Attributes, Authorizer, Decision};
use crate::rbac::{PolicyRule, Rules};
use crate::request::{RequestInfo, ResourceRequest};
use crate::user::{MASTERS, User};

/// The user name of the scheduler.
pub const SCHEDULER: &str = "system:kube-scheduler";
/// The user name of the controllers.
pub const CONTROLLERS: &str = "system:kube-controller-manager";
/// The user name of the proxies.
pub const PROXY: &str = "system:kube-proxy";

/// Lets in `system:masters` and the cluster's own components. Agents are the business of
/// [`NodeAuthorizer`](super::node_authorizer::NodeAuthorizer).
#[derive(Debug, Default)]
pub struct ComponentPolicy;

/// Some verbs on some resources of a group; `*` stands for all.
struct Rule {
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    /// The objects that it is limited to; all if empty.
    names: &'static [&'static str],
}

const READ: &[&str] = &["get", "list", "watch"];
const FOLLOW: &[&str] = &["list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch"];
const CHANGE: &[&str] = &["update", "patch"];

const fn rule(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { group, resources, verbs, names: &[] }
}

const EVENTS: Rule = rule("", &["events"], WRITE);
const LEASES: Rule = rule("coordination.k8s.io", &["leases"], &["get", "create", "update", "patch"]);

/// The lease by which schedulers agree on which of them works.
const SCHEDULER_LEASE: &[&str] = &["kube-scheduler"];
/// The signer whose requests the controllers approve by themselves.
const APPROVED_SIGNERS: &[&str] = &["kubernetes.io/kube-apiserver-client-kubelet"];
/// The signers that the controllers sign for.
const SIGNERS: &[&str] = &[
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/legacy-unknown",
];

const SCHEDULER_RULES: &[Rule] = &[
    rule("", &["pods", "nodes", "services", "replicationcontrollers", "namespaces"], READ),
    rule("apps", &["replicasets"], READ),
    rule("scheduling.k8s.io", &["priorityclasses"], READ),
    rule("", &["bindings", "pods/binding"], &["create"]),
    rule("", &["pods/status"], CHANGE),
    // Pods that give way to more important ones.
    rule("", &["pods"], &["delete"]),
    EVENTS,
    rule("coordination.k8s.io", &["leases"], &["create"]),
    Rule { names: SCHEDULER_LEASE, ..rule("coordination.k8s.io", &["leases"], &["get", "update", "patch"]) },
];

const CONTROLLER_RULES: &[Rule] = &[
    rule("*", &["*"], &["get", "list", "watch", "update", "patch", "delete", "deletecollection"]),
    rule("", &["pods", "endpoints", "serviceaccounts", "configmaps", "events"], &["create"]),
    rule("apps", &["replicasets"], &["create"]),
    rule("discovery.k8s.io", &["endpointslices"], &["create"]),
    // Aggregated roles get rules that nobody need hold who collects them.
    rule("rbac.authorization.k8s.io", &["clusterroles"], &["escalate"]),
    // Upstream's role `system:controller:certificate-controller`.
    rule("authorization.k8s.io", &["subjectaccessreviews"], &["create"]),
    Rule { names: APPROVED_SIGNERS, ..rule("certificates.k8s.io", &["signers"], &["approve"]) },
    Rule { names: SIGNERS, ..rule("certificates.k8s.io", &["signers"], &["sign"]) },
    // For the secrets that hold tokens.
    rule("", &["serviceaccounts/token"], &["create"]),
    LEASES,
];

const PROXY_RULES: &[Rule] = &[
    // Pods say where their ports are if their addresses are only names.
    rule("", &["services", "endpoints", "pods"], FOLLOW),
    rule("", &["nodes"], READ),
    rule("discovery.k8s.io", &["endpointslices"], FOLLOW),
    EVENTS,
];

#[async_trait]
impl Authorizer for ComponentPolicy {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let user = attributes.user;
        if user.is_in(MASTERS) {
            return Decision::Allow(Arc::default());
        }
        let Some(rules) = self.of(user) else { return Decision::NoOpinion(Arc::default()) };
        let allowed = match attributes.request {
            RequestInfo::Path(path) => attributes.verb == "get" && is_discovery(path),
            RequestInfo::Resource(request) => rules.iter().any(|rule| rule.allows(attributes.verb, request)),
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
            let below = DISCOVERY.iter().flat_map(|path| [format!("/{path}"), format!("/{path}/*")]);
            let paths = below.chain(STATE.iter().map(|path| format!("/{path}"))).collect();
            let verbs = vec!["get".to_owned()];
            rules.push(PolicyRule { verbs, non_resource_urls: paths, ..PolicyRule::default() });
        }
        Rules { rules, incomplete: Vec::new() }
    }
}

impl ComponentPolicy {
    /// Returns the rules of a component; absent if the user is none.
    fn of(&self, user: &User) -> Option<&'static [Rule]> {
        match user.name.as_str() {
            SCHEDULER => Some(SCHEDULER_RULES),
            CONTROLLERS => Some(CONTROLLER_RULES),
            PROXY => Some(PROXY_RULES),
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
            resource_names: own(self.names),
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
            && (self.names.is_empty()
                || request.name.as_deref().is_some_and(|name| self.names.contains(&name)))
    }
}

/// What the paths begin with that every component reads.
const DISCOVERY: [&str; 3] = ["api", "apis", "openapi"];
/// Other paths that every component reads; what is below them is for administrators, as upstream.
const STATE: [&str; 4] = ["healthz", "livez", "readyz", "version"];

fn is_discovery(path: &str) -> bool {
    let path = path.trim_matches('/');
    STATE.contains(&path) || DISCOVERY.contains(&path.split('/').next().unwrap_or_default())
}
