//! The levels and the schemas that every cluster has: upstream's mandatory and suggested ones
//! (`k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap`).

use serde_json::{Value, json};

use crate::user::{AUTHENTICATED, MASTERS, NODES, UNAUTHENTICATED};

pub(super) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Stands for everything.
pub(super) const ALL: &str = "*";

const CONTROLLERS: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// Requests that share seats.
#[derive(Debug)]
pub(super) struct LevelSpec {
    pub(super) name: &'static str,
    /// Absent if its requests are served at once, however many they are.
    pub(super) limited: Option<LimitedSpec>,
}

/// How a level's requests are limited.
#[derive(Debug)]
pub(super) struct LimitedSpec {
    /// Its share of the server's seats.
    pub(super) shares: usize,
    /// How much of its seats others may use, in percent.
    pub(super) lendable_percent: usize,
    /// Absent if what finds no seat is refused.
    pub(super) queuing: Option<Queuing>,
}

/// The queues of a level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queuing {
    pub(super) queues: usize,
    /// How many of the queues a flow may use.
    pub(super) hand_size: usize,
    /// How many requests wait in a queue at most.
    pub(super) length: usize,
}

/// Which requests belong to a level.
#[derive(Debug)]
pub(super) struct SchemaSpec {
    pub(super) name: &'static str,
    pub(super) level: &'static str,
    /// Schemas are tried in this order.
    pub(super) precedence: i32,
    pub(super) flows: Option<Distinguisher>,
    pub(super) subjects: &'static [Subject],
    pub(super) resources: &'static [ResourceRule],
    pub(super) paths: &'static [PathRule],
}

/// What tells one flow of a schema from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distinguisher {
    User,
    Namespace,
}

#[derive(Debug)]
pub(super) enum Subject {
    User(&'static str),
    Group(&'static str),
    /// Of the namespace `kube-system`.
    ServiceAccount(&'static str),
}

#[derive(Debug)]
pub(super) struct ResourceRule {
    pub(super) verbs: &'static [&'static str],
    pub(super) group: &'static str,
    pub(super) resources: &'static [&'static str],
    pub(super) cluster_scope: bool,
}

#[derive(Debug)]
pub(super) struct PathRule {
    pub(super) verbs: &'static [&'static str],
    pub(super) paths: &'static [&'static str],
}

const fn limited(
    name: &'static str,
    shares: usize,
    lendable_percent: usize,
    queuing: Option<Queuing>,
) -> LevelSpec {
    LevelSpec { name, limited: Some(LimitedSpec { shares, lendable_percent, queuing }) }
}

const fn queues(queues: usize, hand_size: usize) -> Option<Queuing> {
    Some(Queuing { queues, hand_size, length: 50 })
}

/// The levels of every cluster.
pub(super) const LEVELS: [LevelSpec; 8] = [
    LevelSpec { name: "exempt", limited: None },
    limited("catch-all", 5, 0, None),
    limited("system", 30, 33, queues(64, 6)),
    limited("node-high", 40, 25, queues(64, 6)),
    limited("leader-election", 10, 0, queues(16, 4)),
    limited("workload-high", 40, 50, queues(128, 6)),
    limited("workload-low", 100, 90, queues(128, 6)),
    limited("global-default", 20, 50, queues(128, 6)),
];

const ANY_RESOURCE: &[ResourceRule] =
    &[ResourceRule { verbs: &[ALL], group: ALL, resources: &[ALL], cluster_scope: true }];
const ANY_PATH: &[PathRule] = &[PathRule { verbs: &[ALL], paths: &[ALL] }];
const ELECTION_VERBS: &[&str] = &["get", "create", "update"];
const LEASES: &[ResourceRule] = &[ResourceRule {
    verbs: ELECTION_VERBS,
    group: "coordination.k8s.io",
    resources: &["leases"],
    cluster_scope: false,
}];
const EVERYBODY: &[Subject] = &[Subject::Group(UNAUTHENTICATED), Subject::Group(AUTHENTICATED)];

const fn everything(
    name: &'static str,
    level: &'static str,
    precedence: i32,
    flows: Option<Distinguisher>,
    subjects: &'static [Subject],
) -> SchemaSpec {
    SchemaSpec { name, level, precedence, flows, subjects, resources: ANY_RESOURCE, paths: ANY_PATH }
}

const fn some(
    name: &'static str,
    level: &'static str,
    precedence: i32,
    subjects: &'static [Subject],
    resources: &'static [ResourceRule],
) -> SchemaSpec {
    SchemaSpec { name, level, precedence, flows: Some(Distinguisher::User), subjects, resources, paths: &[] }
}

/// The schemas of every cluster, in the order in which they are tried.
pub(super) const SCHEMAS: [SchemaSpec; 13] = [
    everything("exempt", "exempt", 1, None, &[Subject::Group(MASTERS)]),
    SchemaSpec {
        name: "probes",
        level: "exempt",
        precedence: 2,
        flows: None,
        subjects: EVERYBODY,
        resources: &[],
        paths: &[PathRule { verbs: &["get"], paths: &["/healthz", "/readyz", "/livez"] }],
    },
    some(
        "system-leader-election",
        "leader-election",
        100,
        &[Subject::User(CONTROLLERS), Subject::User(SCHEDULER), Subject::ServiceAccount(ALL)],
        LEASES,
    ),
    some(
        "endpoint-controller",
        "workload-high",
        150,
        &[
            Subject::User(CONTROLLERS),
            Subject::ServiceAccount("endpoint-controller"),
            Subject::ServiceAccount("endpointslicemirroring-controller"),
        ],
        &[ResourceRule { verbs: ELECTION_VERBS, group: "", resources: &["endpoints"], cluster_scope: false }],
    ),
    some("workload-leader-election", "leader-election", 200, &[Subject::ServiceAccount(ALL)], LEASES),
    some(
        "system-node-high",
        "node-high",
        400,
        &[Subject::Group(NODES)],
        &[
            ResourceRule {
                verbs: &[ALL],
                group: "",
                resources: &["nodes", "nodes/status"],
                cluster_scope: true,
            },
            ResourceRule {
                verbs: &[ALL],
                group: "coordination.k8s.io",
                resources: &["leases"],
                cluster_scope: false,
            },
        ],
    ),
    everything("system-nodes", "system", 500, Some(Distinguisher::User), &[Subject::Group(NODES)]),
    everything(
        "kube-controller-manager",
        "workload-high",
        800,
        Some(Distinguisher::Namespace),
        &[Subject::User(CONTROLLERS)],
    ),
    everything(
        "kube-scheduler",
        "workload-high",
        800,
        Some(Distinguisher::Namespace),
        &[Subject::User(SCHEDULER)],
    ),
    everything(
        "kube-system-service-accounts",
        "workload-high",
        900,
        Some(Distinguisher::Namespace),
        &[Subject::ServiceAccount(ALL)],
    ),
    everything(
        "service-accounts",
        "workload-low",
        9000,
        Some(Distinguisher::User),
        &[Subject::Group(SERVICE_ACCOUNTS)],
    ),
    everything("global-default", "global-default", 9900, Some(Distinguisher::User), EVERYBODY),
    everything("catch-all", "catch-all", 10_000, Some(Distinguisher::User), EVERYBODY),
];

impl LevelSpec {
    /// Returns the spec of the level's object.
    pub(super) fn object(&self) -> Value {
        let Some(limited) = &self.limited else {
            return json!({"type": "Exempt", "exempt": {"lendablePercent": 0, "nominalConcurrencyShares": 0}});
        };
        let response = match limited.queuing {
            None => json!({"type": "Reject"}),
            Some(Queuing { queues, hand_size, length }) => json!({
                "type": "Queue",
                "queuing": {"handSize": hand_size, "queueLengthLimit": length, "queues": queues},
            }),
        };
        json!({"type": "Limited", "limited": {
            "lendablePercent": limited.lendable_percent,
            "limitResponse": response,
            "nominalConcurrencyShares": limited.shares,
        }})
    }
}

impl SchemaSpec {
    /// Returns the spec of the schema's object.
    pub(super) fn object(&self) -> Value {
        let subjects: Vec<Value> = self.subjects.iter().map(Subject::object).collect();
        let mut rule = json!({"subjects": subjects});
        if !self.resources.is_empty() {
            rule["resourceRules"] = self.resources.iter().map(ResourceRule::object).collect();
        }
        if !self.paths.is_empty() {
            let object = |it: &PathRule| json!({"nonResourceURLs": it.paths, "verbs": it.verbs});
            rule["nonResourceRules"] = self.paths.iter().map(object).collect();
        }
        let mut spec = json!({
            "matchingPrecedence": self.precedence,
            "priorityLevelConfiguration": {"name": self.level},
            "rules": [rule],
        });
        if let Some(flows) = self.flows {
            let method = if flows == Distinguisher::User { "ByUser" } else { "ByNamespace" };
            spec["distinguisherMethod"] = json!({"type": method});
        }
        spec
    }
}

impl Subject {
    fn object(&self) -> Value {
        match self {
            Self::User(name) => json!({"kind": "User", "user": {"name": name}}),
            Self::Group(name) => json!({"kind": "Group", "group": {"name": name}}),
            Self::ServiceAccount(name) => {
                json!({"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": "kube-system"}})
            }
        }
    }
}

impl ResourceRule {
    fn object(&self) -> Value {
        let mut rule = json!({
            "apiGroups": [self.group], "namespaces": [ALL], "resources": self.resources, "verbs": self.verbs,
        });
        if self.cluster_scope {
            rule["clusterScope"] = true.into();
        }
        rule
    }
}
