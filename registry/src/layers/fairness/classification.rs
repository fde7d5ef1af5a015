//! Which schema a request belongs to, and which flow of it.

use quarterdeck_core::hash::fnv1a;

use super::configuration::{ALL, Distinguisher, PathRule, ResourceRule, SCHEMAS, SchemaSpec, Subject};
use crate::request::{RequestInfo, ResourceRequest};
use crate::user::{User, service_account};

/// Returns the index of the first schema that a request matches; the last takes everything.
pub(super) fn schema_of(user: &User, request: &RequestInfo, method: &str) -> usize {
    let found = SCHEMAS.iter().position(|schema| schema.matches(user, request, method));
    found.unwrap_or(SCHEMAS.len() - 1)
}

/// Returns a number that tells the flows of all schemas apart. Nobody who does not know the seed can find two flows of the
/// same number.
pub(super) fn flow_of(schema: &SchemaSpec, user: &User, request: &RequestInfo, seed: u64) -> u64 {
    let distinguisher = match (schema.flows, request) {
        (None, _) | (Some(Distinguisher::Namespace), RequestInfo::Path(_)) => "",
        (Some(Distinguisher::User), _) => &user.name,
        (Some(Distinguisher::Namespace), RequestInfo::Resource(request)) => {
            request.authorized_namespace().unwrap_or_default()
        }
    };
    let bytes = seed.to_le_bytes().into_iter().chain(schema.name.bytes()).chain([0]);
    mix(seed ^ fnv1a(bytes.chain(distinguisher.bytes())))
}

/// Spreads a number over all bits (the finaliser of `SplitMix64`).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl SchemaSpec {
    fn matches(&self, user: &User, request: &RequestInfo, method: &str) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && match request {
                RequestInfo::Resource(request) => self.resources.iter().any(|rule| rule.matches(request)),
                RequestInfo::Path(path) => self.paths.iter().any(|rule| rule.matches(path, method)),
            }
    }
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => user.name == *name,
            Self::Group(name) => user.is_in(name),
            Self::ServiceAccount(name) => service_account(&user.name)
                .is_some_and(|(namespace, own)| namespace == "kube-system" && (*name == ALL || own == *name)),
        }
    }
}

impl ResourceRule {
    fn matches(&self, request: &ResourceRequest) -> bool {
        let verb = request.verb.map_or("", |verb| verb.as_str());
        includes(self.verbs, verb)
            && (self.group == ALL || self.group == request.group)
            && (self.cluster_scope || request.authorized_namespace().is_some())
            && self.resources.iter().any(|resource| *resource == ALL || is(resource, request))
    }
}

/// Whether a rule's resource, perhaps with a subresource, is that of a request.
fn is(resource: &str, request: &ResourceRequest) -> bool {
    match (resource.split_once('/'), &request.subresource) {
        (None, None) => resource == request.resource,
        (Some((resource, below)), Some(subresource)) => resource == request.resource && below == subresource,
        _ => false,
    }
}

impl PathRule {
    fn matches(&self, path: &str, method: &str) -> bool {
        let has_verb = self.verbs.iter().any(|verb| *verb == ALL || verb.eq_ignore_ascii_case(method));
        has_verb && includes(self.paths, path)
    }
}

fn includes(list: &[&str], wanted: &str) -> bool {
    list.iter().any(|one| *one == ALL || *one == wanted)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn classify(user: &User, method: Method, path: &str) -> &'static str {
        let request = RequestInfo::parse(&method, &path.parse().unwrap()).unwrap();
        SCHEMAS[schema_of(user, &request, method.as_str())].name
    }

    #[test]
    fn schemas_stand_in_the_order_of_their_precedence() {
        assert!(SCHEMAS.is_sorted_by_key(|schema| (schema.precedence, schema.name)));
    }

    #[test]
    fn everybody_has_a_schema() {
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x";
        let (node, robot) = (User::node("n"), User::new("system:serviceaccount:kube-system:robot"));
        let robot = robot.group("system:serviceaccounts");
        let own = User::new("system:serviceaccount:default:web").group("system:serviceaccounts");
        let anonymous =
            User { name: "a".into(), groups: vec!["system:unauthenticated".into()], ..User::default() };
        for (user, method, path, schema) in [
            (&User::admin(), Method::DELETE, "/api/v1/pods", "exempt"),
            (&anonymous, Method::GET, "/livez", "probes"),
            (&anonymous, Method::GET, "/livez/ping", "global-default"),
            (&User::new("system:kube-scheduler"), Method::PUT, lease, "system-leader-election"),
            (&User::new("system:kube-scheduler"), Method::GET, "/api/v1/pods", "kube-scheduler"),
            (&robot, Method::PUT, lease, "system-leader-election"),
            (&robot, Method::GET, "/version", "kube-system-service-accounts"),
            (&node, Method::PUT, lease, "system-node-high"),
            (&node, Method::PATCH, "/api/v1/nodes/n/status", "system-node-high"),
            (&node, Method::GET, "/api/v1/pods", "system-nodes"),
            (&own, Method::GET, "/api/v1/pods", "service-accounts"),
            (&User::new("ann"), Method::GET, "/api/v1/pods", "global-default"),
        ] {
            assert_eq!(classify(user, method, path), schema, "{} {path}", user.name);
        }
    }

    #[test]
    fn flows_are_told_apart_by_user_or_namespace() {
        let of = |name: &str| SCHEMAS.iter().find(|schema| schema.name == name).unwrap();
        let pods = |namespace: &str| {
            let path = format!("/api/v1/namespaces/{namespace}/pods").parse().unwrap();
            RequestInfo::parse(&Method::GET, &path).unwrap()
        };
        let (ann, bob) = (User::new("ann"), User::new("bob"));
        let (by_user, by_namespace) = (of("global-default"), of("kube-scheduler"));

        assert_ne!(flow_of(by_user, &ann, &pods("a"), 1), flow_of(by_user, &bob, &pods("a"), 1));
        assert_eq!(flow_of(by_user, &ann, &pods("a"), 1), flow_of(by_user, &ann, &pods("b"), 1));
        assert_eq!(flow_of(by_namespace, &ann, &pods("a"), 1), flow_of(by_namespace, &bob, &pods("a"), 1));
        assert_ne!(flow_of(by_namespace, &ann, &pods("a"), 1), flow_of(by_namespace, &ann, &pods("b"), 1));
        assert_ne!(flow_of(by_user, &ann, &pods("a"), 1), flow_of(by_user, &ann, &pods("a"), 2));
    }
}
