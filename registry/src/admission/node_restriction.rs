//! An agent writes what is of its own node alone, and never so that more comes to be of it.
//!
//! The rules and messages are those of `k8s.io/kubernetes/plugin/pkg/admission/noderestriction`. What an agent may ask for at all
//! is the business of [`NodeAuthorizer`](crate::layers::node_authorizer::NodeAuthorizer), which does not see what is written.

use std::collections::BTreeSet;

use async_trait::async_trait;
use http::StatusCode;
use serde_json::Value;

use super::certificates::Subject;
use super::{Admission, Attributes, Operation};
use crate::layers::node_authorizer::references;
use crate::resource::Subresource;
use crate::status::{Result, Status};

/// Where the leases of nodes are.
const LEASES: &str = "kube-node-lease";

/// The signers of agents' certificates.
const NODE_SIGNERS: [&str; 2] =
    ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

/// The labels of their own node that agents may set, of those that are Kubernetes'.
const LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// And those whose prefix is one of these, or ends in one.
const LABEL_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Labels that are there so that no agent can set them.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// Upstream's `NodeRestriction`.
///
/// Tokens are given for audiences that the pod asks for in its spec, or a driver of its volumes does; that a role allows a node
/// further audiences (`request-serviceaccounts-token-audience`) is not supported.
#[derive(Debug)]
pub struct NodeRestriction;

/// A write of the agent of a node.
struct Write<'a, 'n> {
    node: &'n str,
    attributes: &'a Attributes<'a>,
}

#[async_trait]
impl Admission for NodeRestriction {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.user.node_name().is_some()
    }

    // As upstream: an agent that leaves out what is stored wants it gone, though the write would not change it.
    fn check_sent(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        check(attributes, object)
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        check(attributes, object)
    }

    async fn validate(&self, attributes: &Attributes<'_>, _object: Option<&Value>) -> Result<()> {
        if attributes.operation == Operation::Delete { check(attributes, &Value::Null) } else { Ok(()) }
    }
}

/// Checks a write; of a deletion there is no new object.
fn check(attributes: &Attributes<'_>, new: &Value) -> Result<()> {
    let Some(node) = attributes.user.node_name() else { return Ok(()) };
    let write = Write { node, attributes };
    if node.is_empty() {
        return write.refuse(format!("could not determine node from user {:?}", attributes.user.name));
    }
    match (&*attributes.resource.group, &*attributes.resource.plural) {
        ("", "pods") => write.pod(new),
        ("", "nodes") => write.node(new),
        ("", "persistentvolumeclaims") => write.claim(new),
        ("", "serviceaccounts") if attributes.subresource == Some(Subresource::Token) => write.token(new),
        ("coordination.k8s.io", "leases") => write.lease(new),
        ("storage.k8s.io", "csinodes") => write.driver_list(new),
        ("certificates.k8s.io", "certificatesigningrequests") => write.signing_request(new),
        _ => Ok(()),
    }
}

impl Write<'_, '_> {
    fn refuse<T>(&self, why: impl std::fmt::Display) -> Result<T> {
        Err(Status::forbidden_object(self.attributes.resource, self.attributes.name, why))
    }

    /// Refuses what must not be.
    fn must_not(&self, is: bool, why: impl FnOnce(&str) -> String) -> Result<()> {
        if is { self.refuse(why(self.node)) } else { Ok(()) }
    }

    fn operation(&self) -> &'static str {
        match self.attributes.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        }
    }

    fn unexpected_operation(&self) -> Result<()> {
        self.refuse(format!("unexpected operation {:?}", self.operation()))
    }

    fn is_own(&self, pod: &Value) -> bool {
        pod["spec"]["nodeName"] == self.node
    }

    /// What else a request may ask for is for the signer to say.
    fn signing_request(&self, new: &Value) -> Result<()> {
        let Attributes { subresource, operation, .. } = self.attributes;
        let signer = new["spec"]["signerName"].as_str().unwrap_or_default();
        if subresource.is_some() || *operation != Operation::Create || !NODE_SIGNERS.contains(&signer) {
            return Ok(());
        }
        let subject = match Subject::of(new) {
            Ok(subject) => subject,
            Err(why) => return self.refuse(format!("unable to parse csr: {why}")),
        };
        self.must_not(subject.common_name != format!("system:node:{}", self.node), |node| {
            format!("can only create a node CSR with CN=system:node:{node}")
        })
    }

    fn pod(&self, new: &Value) -> Result<()> {
        let Attributes { subresource, operation, old, .. } = self.attributes;
        match (subresource, operation, old) {
            (None, Operation::Create, _) => self.new_pod(new),
            (None, Operation::Delete, Some(old)) => self.must_not(!self.is_own(old), |node| {
                format!("node {node:?} can only delete pods with spec.nodeName set to itself")
            }),
            (None, ..) => self.refuse(format!(
                "unexpected operation {:?}, node {:?} can only create and delete mirror pods",
                self.operation(),
                self.node
            )),
            (Some(Subresource::Status), Operation::Update, Some(old)) => self.pod_status(new, old),
            (Some(Subresource::Status), ..) => self.unexpected_operation(),
            (Some(Subresource::Eviction), Operation::Create, _) => {
                let pod = self.found("pod", &format!("pods/{}", self.namespace()), self.attributes.name)?;
                self.must_not(!self.is_own(&pod), |node| {
                    format!("node {node} can only evict pods with spec.nodeName set to itself")
                })
            }
            (Some(Subresource::Eviction), ..) => {
                self.refuse(format!("unexpected operation {}", self.operation()))
            }
            (Some(other), ..) => self.refuse(format!(
                "unexpected pod subresource {:?}, only 'status' and 'eviction' are allowed",
                other.name()
            )),
        }
    }

    fn namespace(&self) -> &str {
        self.attributes.namespace.unwrap_or_default()
    }

    /// Returns an object of the core group.
    fn found(&self, kind: &str, under: &str, name: &str) -> Result<Value> {
        let object = self.attributes.world.get(&format!("/registry/{under}/{name}"));
        object.map(|object| object.value()).ok_or_else(|| {
            let why = format!("{kind} \"{name}\" not found");
            let mut status = Status::new(StatusCode::NOT_FOUND, "NotFound", why);
            status.details.insert("name".into(), name.into());
            status.details.insert("kind".into(), kind.into());
            status
        })
    }

    /// Lets agents show the pods that they run anyway: as their own, and with nothing that would make more be of the node.
    fn new_pod(&self, pod: &Value) -> Result<()> {
        self.must_not(!references::is_mirror(pod), |node| {
            let annotation = references::MIRROR;
            format!("pod does not have {annotation:?} annotation, node {node:?} can only create mirror pods")
        })?;
        self.must_not(!self.is_own(pod), |node| {
            format!("node {node:?} can only create pods with spec.nodeName set to itself")
        })?;
        self.owner(pod)?;
        let refers = |what: &str| {
            let what = what.to_owned();
            move |node: &str| format!("node {node:?} can not create pods that reference {what}")
        };
        let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        self.must_not(!account.is_empty(), refers("a service account"))?;
        self.must_not(references::secrets(pod).next().is_some(), refers("secrets"))?;
        self.must_not(references::config_maps(pod).next().is_some(), refers("configmaps"))?;
        self.must_not(references::has_trust_bundles(pod), refers("clustertrustbundles"))?;
        self.must_not(references::claims(pod).next().is_some(), refers("persistentvolumeclaims"))?;
        let claims = pod["spec"]["resourceClaims"].as_array();
        self.must_not(claims.is_some_and(|claims| !claims.is_empty()), refers("resourceclaims"))
    }

    /// Checks that a pod belongs to the node, which is what deletes it with the node.
    fn owner(&self, pod: &Value) -> Result<()> {
        let owners = pod["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
        let of_itself =
            |node: &str| format!("node {node:?} can only create pods with an owner reference set to itself");
        let owner = match owners {
            [owner] => owner,
            [] => return self.refuse(of_itself(self.node)),
            _ => {
                return self.refuse(format!(
                    "node {:?} can only create pods with a single owner reference set to itself",
                    self.node
                ));
            }
        };
        let is_own = owner["apiVersion"] == "v1" && owner["kind"] == "Node" && owner["name"] == self.node;
        self.must_not(!is_own, of_itself)?;
        self.must_not(owner["controller"] != true, |node| {
            format!("node {node:?} can only create pods with a controller owner reference set to itself")
        })?;
        self.must_not(owner["blockOwnerDeletion"] == true, |node| {
            format!("node {node:?} must not set blockOwnerDeletion on an owner reference")
        })?;
        let found = self.found("node", "minions", self.node)?;
        let text = |uid: &Value| uid.as_str().unwrap_or_default().to_owned();
        let (named, found) = (text(&owner["uid"]), text(&found["metadata"]["uid"]));
        self.must_not(named != found, |node| {
            format!("node {node} UID mismatch: expected {named} got {found}")
        })
    }

    fn pod_status(&self, new: &Value, old: &Value) -> Result<()> {
        self.must_not(!self.is_own(old), |node| {
            format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself")
        })?;
        self.must_not(!is_same(&new["metadata"]["labels"], &old["metadata"]["labels"]), |node| {
            format!("node {node:?} cannot update labels through pod status")
        })?;
        let claims = |pod: &Value| pod["status"]["resourceClaimStatuses"].clone();
        self.must_not(!is_same(&claims(new), &claims(old)), |node| {
            format!("node {node:?} cannot update resource claim statues")
        })
    }

    fn node(&self, new: &Value) -> Result<()> {
        let name = match self.attributes.operation {
            // A name that the server has still to make is not the node's.
            Operation::Create => new["metadata"]["name"].as_str().unwrap_or_default(),
            _ => self.attributes.name,
        };
        self.must_not(name != self.node, |node| {
            format!("node {node:?} is not allowed to modify node {name:?}")
        })?;
        let source = &new["spec"]["configSource"];
        match (self.attributes.operation, self.attributes.old) {
            (Operation::Create, _) => {
                self.must_not(!source.is_null(), |node| {
                    format!("node {node:?} is not allowed to create pods with a non-nil configSource")
                })?;
                let labels = forbidden_labels(new, &Value::Null);
                self.must_not(!labels.is_empty(), |node| {
                    format!("node {node:?} is not allowed to set the following labels: {labels}")
                })
            }
            (Operation::Update, Some(old)) => {
                let differs = |fields: [&str; 2]| {
                    let [new, old] = [new, old].map(|node| &node[fields[0]][fields[1]]);
                    !is_same(new, old)
                };
                self.must_not(!source.is_null() && differs(["spec", "configSource"]), |node| {
                    format!(
                        "node {node:?} is not allowed to update configSource to a new non-nil configSource"
                    )
                })?;
                self.must_not(differs(["spec", "taints"]), |node| {
                    format!("node {node:?} is not allowed to modify taints")
                })?;
                self.must_not(differs(["metadata", "ownerReferences"]), |node| {
                    format!("node {node:?} is not allowed to modify ownerReferences")
                })?;
                let labels = forbidden_labels(new, old);
                self.must_not(!labels.is_empty(), |_| format!("is not allowed to modify labels: {labels}"))
            }
            _ => Ok(()),
        }
    }

    /// Lets agents say how large a claim's volume has become.
    fn claim(&self, new: &Value) -> Result<()> {
        let Attributes { subresource, operation, old, .. } = self.attributes;
        if *subresource != Some(Subresource::Status) {
            return self.refuse("may only update PVC status");
        }
        let (Operation::Update, Some(old)) = (operation, old) else { return self.unexpected_operation() };
        let changed = changed_fields(&rest_of_claim(new), &rest_of_claim(old));
        self.must_not(!changed.is_empty(), |node| {
            let changed = changed.join(", ");
            format!(
                "node {node:?} is not allowed to update fields other than status.capacity and status.conditions: {changed}"
            )
        })
    }

    /// Gives tokens for pods of the node alone, and as long as the pod is there.
    fn token(&self, request: &Value) -> Result<()> {
        let bound = &request["spec"]["boundObjectRef"];
        let text = |field: &str| bound[field].as_str().unwrap_or_default();
        let (name, uid) = (text("name"), text("uid"));
        let is_pod = text("apiVersion") == "v1" && text("kind") == "Pod" && !name.is_empty();
        self.must_not(!is_pod, |_| "node requested token not bound to a pod".to_owned())?;
        self.must_not(uid.is_empty(), |_| {
            "node requested token with a pod binding without a uid".to_owned()
        })?;
        let pod = self.found("pod", &format!("pods/{}", self.namespace()), name)?;
        self.must_not(pod["metadata"]["uid"] != uid, |_| {
            format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
                 deleted and then recreated"
            )
        })?;
        self.must_not(!self.is_own(&pod), |_| {
            "node requested token bound to a pod scheduled on a different node".to_owned()
        })?;
        let audiences = request["spec"]["audiences"].as_array().map_or(&[][..], Vec::as_slice);
        self.must_not(audiences.len() > 1, |_| "node may only request 0 or 1 audiences".to_owned())?;
        let audience = audiences.first().and_then(Value::as_str).unwrap_or_default();
        let is_asked_for = references::token_audiences(&pod).any(|asked| asked == audience)
            || self.driver_asks(&pod, audience);
        self.must_not(!is_asked_for, |_| {
            let user = &self.attributes.user.name;
            format!(
                "audience {audience:?} not found in pod spec volume, {user} is not authorized to request tokens for this \
                 audience"
            )
        })
    }

    /// Whether a driver of a pod's volumes needs tokens for an audience.
    fn driver_asks(&self, pod: &Value, audience: &str) -> bool {
        let world = self.attributes.world;
        let of_claims = references::claims(pod).filter_map(|claim| {
            let claim =
                world.get(&format!("/registry/persistentvolumeclaims/{}/{claim}", self.namespace()))?;
            let volume = claim.value()["spec"]["volumeName"].as_str()?.to_owned();
            let volume = world.get(&format!("/registry/persistentvolumes/{volume}"))?.value();
            volume["spec"]["csi"]["driver"].as_str().map(str::to_owned)
        });
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let inline = volumes.filter_map(|volume| volume["csi"]["driver"].as_str().map(str::to_owned));
        inline.chain(of_claims).any(|driver| {
            let driver = world.get(&format!("/registry/csidrivers/{driver}")).map(|driver| driver.value());
            let requests = driver.as_ref().and_then(|driver| driver["spec"]["tokenRequests"].as_array());
            requests.into_iter().flatten().any(|request| request["audience"] == audience)
        })
    }

    fn lease(&self, new: &Value) -> Result<()> {
        self.must_not(self.namespace() != LEASES, |_| {
            format!("can only access leases in the {LEASES:?} system namespace")
        })?;
        self.must_not(!self.is_named_as_node(new), |_| {
            "can only access node lease with the same name as the requesting node".to_owned()
        })
    }

    fn driver_list(&self, new: &Value) -> Result<()> {
        self.must_not(!self.is_named_as_node(new), |_| {
            "can only access CSINode with the same name as the requesting node".to_owned()
        })
    }

    /// Whether an object has the node's name; of a new one only its own name counts.
    fn is_named_as_node(&self, new: &Value) -> bool {
        match self.attributes.operation {
            Operation::Create => new["metadata"]["name"] == self.node,
            _ => self.attributes.name == self.node,
        }
    }
}

/// Returns whether two values mean the same: nothing, an empty list and an empty map do.
fn is_same(one: &Value, other: &Value) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    one == other || (is_empty(one) && is_empty(other))
}

/// Returns the labels that differ and that an agent must leave alone, in order.
fn forbidden_labels(new: &Value, old: &Value) -> String {
    let [new, old] = [new, old].map(|node| &node["metadata"]["labels"]);
    let keys = [new, old].into_iter().filter_map(Value::as_object).flat_map(|labels| labels.keys());
    let keys: BTreeSet<&str> = keys.map(String::as_str).filter(|key| new[key] != old[key]).collect();
    keys.into_iter().filter(|key| is_forbidden_label(key)).collect::<Vec<_>>().join(", ")
}

fn is_forbidden_label(key: &str) -> bool {
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    let is_in =
        |domain: &str| prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let is_of_kubernetes = is_in("kubernetes.io") || is_in("k8s.io");
    let is_of_agent = LABELS.contains(&key) || LABEL_PREFIXES.into_iter().any(is_in);
    is_in(RESTRICTED) || (is_of_kubernetes && !is_of_agent)
}

/// Returns what an agent must leave alone of a claim.
fn rest_of_claim(claim: &Value) -> Value {
    let mut rest = claim.clone();
    for (part, fields) in [
        ("metadata", &["resourceVersion", "managedFields"][..]),
        ("status", &["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"]),
    ] {
        for field in fields {
            if let Some(part) = rest.get_mut(part).and_then(Value::as_object_mut) {
                part.remove(*field);
            }
        }
    }
    rest
}

/// Names the fields of the parts of an object that differ.
fn changed_fields(new: &Value, old: &Value) -> Vec<String> {
    let mut changed = Vec::new();
    for part in ["metadata", "spec", "status"] {
        let (new, old) = (&new[part], &old[part]);
        let fields = [new, old].into_iter().filter_map(Value::as_object).flat_map(|part| part.keys());
        let fields: BTreeSet<&String> = fields.collect();
        let differing = fields.into_iter().filter(|field| !is_same(&new[*field], &old[*field]));
        changed.extend(differing.map(|field| format!("{part}.{field}")));
    }
    changed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_agent_may_set_its_own_labels_and_those_that_are_nobodys() {
        for key in
            ["a", "example.com/a", "kubernetes.io/os", "x.node.kubernetes.io/a", "kubelet.kubernetes.io/a"]
        {
            assert!(!is_forbidden_label(key), "{key}");
        }
        for key in [
            "kubernetes.io/a",
            "node-role.kubernetes.io/control-plane",
            "k8s.io/a",
            "x.k8s.io/a",
            "node-restriction.kubernetes.io/a",
            "a.node-restriction.kubernetes.io/b",
        ] {
            assert!(is_forbidden_label(key), "{key}");
        }
        assert!(!is_forbidden_label("notk8s.io/a"));
    }

    #[test]
    fn labels_that_stay_are_not_named() {
        let node = |labels: Value| json!({"metadata": {"labels": labels}});
        let old = node(json!({"kubernetes.io/a": "1", "kubernetes.io/b": "1", "c": "1"}));
        let new = node(json!({"kubernetes.io/a": "1", "k8s.io/d": "1", "c": "2"}));

        assert_eq!(forbidden_labels(&new, &old), "k8s.io/d, kubernetes.io/b");
        assert_eq!(forbidden_labels(&old, &old), "");
    }

    #[test]
    fn of_a_claim_only_its_size_and_conditions_may_change() {
        let claim = |labels: Value, status: Value| json!({"metadata": {"labels": labels, "resourceVersion": "1"}, "status": status});
        let old = claim(Value::Null, json!({"phase": "Bound"}));
        let changed = |new: &Value| changed_fields(&rest_of_claim(new), &rest_of_claim(&old));

        let grown = claim(json!({}), json!({"phase": "Bound", "capacity": {"storage": "2Gi"}}));
        assert_eq!(changed(&grown), Vec::<String>::new());
        let other = claim(json!({"a": "1"}), json!({"phase": "Lost"}));
        assert_eq!(changed(&other), ["metadata.labels", "status.phase"]);
    }
}
