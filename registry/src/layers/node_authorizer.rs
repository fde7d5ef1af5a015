//! What the agent of a node may ask for: what is of its node, and what the pods on it refer to.
//!
//! [`NodeAuthorizer`] knows agents by their name, `system:node:NAME` in the group `system:nodes`, and follows the cache to know
//! which pods refer to what. It does not see what is written: that an agent writes no more than it may is the business of
//! [`NodeRestriction`](crate::admission::NodeRestriction). The rules and reasons are those of
//! `k8s.io/kubernetes/plugin/pkg/auth/authorizer/node` with field selectors taken into account.

mod index;
pub(crate) mod references;

use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;

use super::authorization::{Attributes, Authorizer, Decision};
use crate::cache::Cache;
use crate::rbac::{PolicyRule, Rules, default_rules};
use crate::request::{RequestInfo, ResourceRequest};
use crate::selector::FieldSelector;
use crate::user::User;
use index::{Follower, Index, Kind};

/// Where the leases of nodes are.
const LEASES: &str = "kube-node-lease";
const UNRELATED: &str = "no relationship found between node";

/// Lets the agents of nodes ask for what is theirs; of others it has no opinion.
#[derive(Debug, Default)]
pub struct NodeAuthorizer {
    follower: OnceLock<Mutex<Follower>>,
    /// What every agent may do with what is of no node.
    rules: OnceLock<Vec<PolicyRule>>,
}

/// A request of the agent of a node.
struct Ask<'a> {
    node: &'a str,
    verb: &'a str,
    request: &'a ResourceRequest,
    selector: &'a str,
    below: &'a str,
    name: &'a str,
    namespace: &'a str,
}

/// Whether to allow a request; if not, why not.
type Answer = Result<(), String>;

impl NodeAuthorizer {
    /// Makes an authorizer for one server. It knows of no pods until the server starts it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn decide(&self, attributes: &Attributes<'_>, node: &str) -> Answer {
        if node.is_empty() {
            return Err(format!("unknown node for user {:?}", attributes.user.name));
        }
        if let RequestInfo::Resource(request) = attributes.request {
            let ask = Ask {
                node,
                verb: attributes.verb,
                request,
                selector: attributes.field_selector,
                below: request.subresource.as_deref().unwrap_or_default(),
                name: request.name.as_deref().unwrap_or_default(),
                namespace: request.namespace.as_deref().unwrap_or_default(),
            };
            if let Some(answer) = self.ask(&ask) {
                return answer;
            }
        }
        let rules = self.rules.get_or_init(|| default_rules("system:node"));
        let is_allowed = rules.iter().any(|rule| rule.allows(attributes.verb, attributes.request));
        if is_allowed { Ok(()) } else { Err(String::new()) }
    }

    /// Decides on what is not the same for all nodes; absent for other resources.
    fn ask(&self, ask: &Ask<'_>) -> Option<Answer> {
        Some(match (ask.request.group.as_str(), ask.request.resource.as_str()) {
            ("", "secrets") => self.read(ask, Kind::Secret),
            ("", "configmaps") => self.read(ask, Kind::ConfigMap),
            ("", "persistentvolumeclaims") if ask.below == "status" => match ask.verb {
                "update" | "patch" => self.related(ask, Kind::Claim),
                _ => Err("can only get/update/patch this type".to_owned()),
            },
            ("", "persistentvolumeclaims") => self.get(ask, Kind::Claim),
            ("", "persistentvolumes") => self.get(ask, Kind::Volume),
            ("storage.k8s.io", "volumeattachments") => self.get(ask, Kind::Attachment),
            ("", "serviceaccounts") => self.token(ask),
            ("coordination.k8s.io", "leases") => lease(ask),
            ("storage.k8s.io", "csinodes") => drivers(ask),
            ("", "nodes") => node(ask),
            ("", "pods") => self.pod(ask),
            _ => return None,
        })
    }

    /// Decides by what the node's pods refer to.
    fn related(&self, ask: &Ask<'_>, kind: Kind) -> Answer {
        if ask.name.is_empty() {
            return Err("No Object name found".to_owned());
        }
        let is_related = |index: &Index| index.is_related(ask.node, kind, ask.namespace, ask.name);
        let follower = self.follower.get().map(|follower| follower.lock().expect("no holder panics"));
        if follower.is_some_and(|mut follower| is_related(follower.index())) {
            return Ok(());
        }
        Err(format!("{UNRELATED} '{}' and this object", ask.node))
    }

    fn get(&self, ask: &Ask<'_>, kind: Kind) -> Answer {
        if ask.verb != "get" {
            return Err("can only get individual resources of this type".to_owned());
        }
        if !ask.below.is_empty() {
            return Err("cannot get subresource".to_owned());
        }
        self.related(ask, kind)
    }

    fn read(&self, ask: &Ask<'_>, kind: Kind) -> Answer {
        if !matches!(ask.verb, "get" | "list" | "watch") {
            return Err("can only read resources of this type".to_owned());
        }
        if !ask.below.is_empty() {
            return Err("cannot read subresource".to_owned());
        }
        if ask.namespace.is_empty() {
            return Err("can only read namespaced object of this type".to_owned());
        }
        self.related(ask, kind)
    }

    fn token(&self, ask: &Ask<'_>) -> Answer {
        if ask.verb != "create" || ask.name.is_empty() {
            return Err("can only create tokens for individual service accounts".to_owned());
        }
        if ask.below != "token" {
            return Err("can only create token subresource of serviceaccount".to_owned());
        }
        self.related(ask, Kind::Account)
    }

    fn pod(&self, ask: &Ask<'_>) -> Answer {
        match (ask.below, ask.verb) {
            ("", "get") => self.get(ask, Kind::Pod),
            ("", "list" | "watch") if selects_node(ask) => Ok(()),
            ("", "list" | "watch") if !ask.name.is_empty() => self.related(ask, Kind::Pod),
            ("", "list" | "watch") => {
                Err("can only list/watch pods with spec.nodeName field selector".to_owned())
            }
            // Which pods, admission knows.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }
}

/// Whether a request asks for the pods of the node alone.
fn selects_node(ask: &Ask<'_>) -> bool {
    let selector = FieldSelector::parse(ask.selector);
    selector.is_ok_and(|selector| {
        let requirements = selector.requirements().iter();
        requirements
            .filter(|requirement| requirement.is_equal())
            .any(|requirement| requirement.field() == "spec.nodeName" && requirement.value() == ask.node)
    })
}

fn lease(ask: &Ask<'_>) -> Answer {
    if !matches!(ask.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a node lease".to_owned());
    }
    if ask.namespace != LEASES {
        return Err(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    // The name of a new one, admission knows.
    if ask.verb != "create" && ask.name != ask.node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

/// Decides on the list of the node's storage drivers.
fn drivers(ask: &Ask<'_>) -> Answer {
    if !matches!(ask.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a CSINode".to_owned());
    }
    if !ask.below.is_empty() {
        return Err("cannot authorize CSINode subresources".to_owned());
    }
    if ask.verb != "create" && ask.name != ask.node {
        return Err("can only access CSINode with the same name as the requesting node".to_owned());
    }
    Ok(())
}

fn node(ask: &Ask<'_>) -> Answer {
    match (ask.below, ask.verb) {
        // Which node, admission knows.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match ask.name {
            name if name == ask.node => Ok(()),
            "" => Err(format!("node '{}' cannot read all nodes, only its own Node object", ask.node)),
            name => Err(format!("node '{}' cannot read '{name}', only its own Node object", ask.node)),
        },
        _ => Err(String::new()),
    }
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    fn start(&self, cache: &Cache) {
        let started = self.follower.set(Mutex::new(Follower::new(cache)));
        assert!(started.is_ok(), "an authorizer belongs to one server");
    }

    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let Some(node) = attributes.user.node_name() else { return Decision::NoOpinion(Arc::default()) };
        match self.decide(attributes, node) {
            Ok(()) => Decision::Allow(Arc::default()),
            Err(why) => Decision::NoOpinion(why.into()),
        }
    }

    fn rules(&self, user: &User, _namespace: &str) -> Rules {
        let unlisted = "node authorizer does not support user rule resolution".to_owned();
        Rules { rules: Vec::new(), incomplete: user.node_name().map(|_| unlisted).into_iter().collect() }
    }
}
