//! What the parts of a cluster are given: nodes, the scheduler, the controller manager, add-ons.

use super::Subject::{ServiceAccount, User};
use super::{
    APPS, AUTHENTICATION, AUTHORIZATION, Binding, CERTIFICATES, COORDINATION, CORE, CREATE, DISCOVERY,
    EVENTS, EXTENSIONS, GET, LIST_WATCH, NETWORKING, NODE, PATCH, PATCH_UPDATE, POLICY, PUBLIC, READ,
    READ_DELETE, READ_PUT, READ_UPDATE, READ_WRITE, Role, Rule, STORAGE, SYSTEM, UPDATE, WORKLOADS, bind,
    bind_in, named, resources, role, role_in,
};

pub(super) const ROLES: &[Role] = &[
    role(
        "system:heapster",
        &[
            resources(READ, CORE, &["events", "namespaces", "nodes", "pods"]),
            resources(READ, EXTENSIONS, &["deployments"]),
        ],
    ),
    role("system:node", NODE_RULES),
    role(
        "system:node-problem-detector",
        &[resources(GET, CORE, &["nodes"]), resources(PATCH, CORE, &["nodes/status"]), EVENTS],
    ),
    role("system:node-bootstrapper", &[REQUEST_CERTIFICATES]),
    role("system:auth-delegator", &[REVIEW_TOKENS, REVIEW_ACCESS]),
    role("system:kube-aggregator", &[resources(READ, CORE, &["endpoints", "services"])]),
    role("system:kube-controller-manager", CONTROLLER_MANAGER),
    role("system:kube-dns", &[resources(LIST_WATCH, CORE, &["endpoints", "services"])]),
    role(
        "system:persistent-volume-provisioner",
        &[
            resources(&["create", "delete", "get", "list", "watch"], CORE, &["persistentvolumes"]),
            resources(READ_PUT, CORE, &["persistentvolumeclaims"]),
            resources(READ, STORAGE, &["storageclasses"]),
            resources(&["watch"], CORE, &["events"]),
            EVENTS,
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[resources(CREATE, CERTIFICATES, &["certificatesigningrequests/nodeclient"])],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[resources(CREATE, CERTIFICATES, &["certificatesigningrequests/selfnodeclient"])],
    ),
    role(
        "system:volume-scheduler",
        &[
            resources(READ_UPDATE, CORE, &["persistentvolumes"]),
            resources(READ, STORAGE, &["storageclasses"]),
            resources(READ_UPDATE, CORE, &["persistentvolumeclaims"]),
        ],
    ),
    role("system:certificates.k8s.io:legacy-unknown-approver", &[approve(&["kubernetes.io/legacy-unknown"])]),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[approve(&["kubernetes.io/kubelet-serving"])],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[approve(&["kubernetes.io/kube-apiserver-client"])],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[approve(&["kubernetes.io/kube-apiserver-client-kubelet"])],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            resources(READ, CORE, &["nodes"]),
            resources(&["proxy"], CORE, &["nodes"]),
            resources(&["*"], CORE, &["nodes/log", "nodes/metrics", "nodes/proxy", "nodes/stats"]),
            resources(&["*"], CORE, &["nodes/configz", "nodes/healthz", "nodes/pods"]),
        ],
    ),
    role(
        "system:node-proxier",
        &[
            resources(LIST_WATCH, CORE, &["endpoints", "services"]),
            resources(READ, CORE, &["nodes"]),
            EVENTS,
            resources(LIST_WATCH, NETWORKING, &["servicecidrs"]),
            resources(LIST_WATCH, DISCOVERY, &["endpointslices"]),
        ],
    ),
    role("system:kube-scheduler", SCHEDULER),
    role_in(
        SYSTEM,
        "extension-apiserver-authentication-reader",
        &[named(READ, CORE, &["configmaps"], &["extension-apiserver-authentication"])],
    ),
    role_in(SYSTEM, "system:controller:bootstrap-signer", &[resources(READ, CORE, &["secrets"])]),
    role_in(
        SYSTEM,
        "system:controller:cloud-provider",
        &[resources(&["create", "get", "list", "watch"], CORE, &["configmaps"])],
    ),
    role_in(SYSTEM, "system:controller:token-cleaner", &[resources(READ_DELETE, CORE, &["secrets"]), EVENTS]),
    role_in(
        SYSTEM,
        "system::leader-locking-kube-controller-manager",
        &[
            resources(&["watch"], CORE, &["configmaps"]),
            named(&["get", "update"], CORE, &["configmaps"], &["kube-controller-manager"]),
            resources(LEAD, COORDINATION, &["leases"]),
            resources(LEAD, COORDINATION, &["leasecandidates"]),
        ],
    ),
    role_in(
        SYSTEM,
        "system::leader-locking-kube-scheduler",
        &[
            resources(&["watch"], CORE, &["configmaps"]),
            named(&["get", "update"], CORE, &["configmaps"], &["kube-scheduler"]),
            resources(LEAD, COORDINATION, &["leases"]),
            resources(LEAD, COORDINATION, &["leasecandidates"]),
        ],
    ),
    role_in(
        PUBLIC,
        "system:controller:bootstrap-signer",
        &[
            resources(READ, CORE, &["configmaps"]),
            named(UPDATE, CORE, &["configmaps"], &["cluster-info"]),
            EVENTS,
        ],
    ),
];

pub(super) const BINDINGS: &[Binding] = &[
    bind("system:node-proxier", &[User("system:kube-proxy")]),
    bind("system:kube-controller-manager", &[User("system:kube-controller-manager")]),
    bind("system:kube-dns", &[ServiceAccount("kube-dns")]),
    bind("system:kube-scheduler", &[User("system:kube-scheduler")]),
    bind("system:volume-scheduler", &[User("system:kube-scheduler")]),
    // Nodes are the node authorizer's to judge: the binding exists, and gives the role to nobody.
    bind("system:node", &[]),
    Binding {
        name: "system::extension-apiserver-authentication-reader",
        ..bind_in(
            SYSTEM,
            "extension-apiserver-authentication-reader",
            &[User("system:kube-controller-manager"), User("system:kube-scheduler")],
        )
    },
    bind_in(
        SYSTEM,
        "system::leader-locking-kube-controller-manager",
        &[
            User("system:kube-controller-manager"),
            ServiceAccount("kube-controller-manager"),
            ServiceAccount("leader-election-controller"),
        ],
    ),
    bind_in(
        SYSTEM,
        "system::leader-locking-kube-scheduler",
        &[User("system:kube-scheduler"), ServiceAccount("kube-scheduler")],
    ),
    bind_in(SYSTEM, "system:controller:bootstrap-signer", &[ServiceAccount("bootstrap-signer")]),
    bind_in(SYSTEM, "system:controller:cloud-provider", &[ServiceAccount("cloud-provider")]),
    bind_in(SYSTEM, "system:controller:token-cleaner", &[ServiceAccount("token-cleaner")]),
    bind_in(PUBLIC, "system:controller:bootstrap-signer", &[ServiceAccount("bootstrap-signer")]),
];

/// What taking part in an election of a leader needs.
const LEAD: &[&str] = &["create", "get", "list", "update", "watch"];

const REVIEW_TOKENS: Rule = resources(CREATE, AUTHENTICATION, &["tokenreviews"]);
const REVIEW_ACCESS: Rule = resources(CREATE, AUTHORIZATION, &["subjectaccessreviews"]);
const REQUEST_CERTIFICATES: Rule =
    resources(&["create", "get", "list", "watch"], CERTIFICATES, &["certificatesigningrequests"]);

const fn approve(signers: &'static [&'static str]) -> Rule {
    named(&["approve"], CERTIFICATES, &["signers"], signers)
}

const NODE_RULES: &[Rule] = &[
    REVIEW_TOKENS,
    resources(CREATE, AUTHORIZATION, &["localsubjectaccessreviews", "subjectaccessreviews"]),
    resources(READ, CORE, &["services"]),
    resources(&["create", "get", "list", "watch"], CORE, &["nodes"]),
    resources(PATCH_UPDATE, CORE, &["nodes/status"]),
    resources(PATCH_UPDATE, CORE, &["nodes"]),
    resources(&["create", "patch", "update"], CORE, &["events"]),
    resources(READ, CORE, &["pods"]),
    resources(&["create", "delete"], CORE, &["pods"]),
    resources(PATCH_UPDATE, CORE, &["pods/status"]),
    resources(CREATE, CORE, &["pods/eviction"]),
    resources(READ, CORE, &["configmaps", "secrets"]),
    resources(GET, CORE, &["persistentvolumeclaims", "persistentvolumes"]),
    resources(GET, CORE, &["endpoints"]),
    REQUEST_CERTIFICATES,
    resources(&["create", "delete", "get", "patch", "update"], COORDINATION, &["leases"]),
    resources(GET, STORAGE, &["volumeattachments"]),
    resources(CREATE, CORE, &["serviceaccounts/token"]),
    resources(&["get", "patch", "update"], CORE, &["persistentvolumeclaims/status"]),
    resources(READ, STORAGE, &["csidrivers"]),
    resources(&["create", "delete", "get", "patch", "update"], STORAGE, &["csinodes"]),
    resources(READ, NODE, &["runtimeclasses"]),
];

const CONTROLLER_MANAGER: &[Rule] = &[
    EVENTS,
    resources(CREATE, COORDINATION, &["leases"]),
    named(&["get", "update"], COORDINATION, &["leases"], &["kube-controller-manager"]),
    resources(CREATE, CORE, &["secrets", "serviceaccounts"]),
    resources(&["delete"], CORE, &["secrets"]),
    resources(GET, CORE, &["configmaps", "namespaces", "secrets", "serviceaccounts"]),
    resources(UPDATE, CORE, &["secrets", "serviceaccounts"]),
    REVIEW_TOKENS,
    REVIEW_ACCESS,
    resources(LIST_WATCH, &["*"], &["*"]),
    resources(CREATE, CORE, &["serviceaccounts/token"]),
];

const SCHEDULER: &[Rule] = &[
    EVENTS,
    resources(CREATE, COORDINATION, &["leases"]),
    named(READ_PUT, COORDINATION, &["leases"], &["kube-scheduler"]),
    resources(READ_WRITE, COORDINATION, &["leasecandidates"]),
    resources(READ, CORE, &["nodes"]),
    resources(READ_DELETE, CORE, &["pods"]),
    resources(CREATE, CORE, &["bindings", "pods/binding"]),
    resources(PATCH_UPDATE, CORE, &["pods/status"]),
    resources(READ, CORE, &["replicationcontrollers", "services"]),
    resources(READ, WORKLOADS, &["replicasets"]),
    resources(READ, APPS, &["statefulsets"]),
    resources(READ, POLICY, &["poddisruptionbudgets"]),
    resources(READ, CORE, &["persistentvolumeclaims", "persistentvolumes"]),
    REVIEW_TOKENS,
    REVIEW_ACCESS,
    resources(READ, STORAGE, &["csinodes"]),
    resources(READ, STORAGE, &["volumeattachments"]),
    resources(READ, CORE, &["namespaces"]),
    resources(READ, STORAGE, &["csidrivers"]),
    resources(READ, STORAGE, &["csistoragecapacities"]),
];
