//! What people are given: administrators, editors, viewers, everybody.

use super::Subject::Group;
use super::{
    APPS, AUTHENTICATION, AUTHORIZATION, AUTOSCALING, BATCH, Binding, COORDINATION, CORE, CREATE, DISCOVERY,
    EXTENSIONS, GET, NETWORKING, POLICY, RBAC, READ, READ_WRITE, Role, Rule, WRITE, bind, paths, resources,
    role,
};

const TO_ADMIN: &str = "rbac.authorization.k8s.io/aggregate-to-admin";
const TO_EDIT: &str = "rbac.authorization.k8s.io/aggregate-to-edit";
const TO_VIEW: &str = "rbac.authorization.k8s.io/aggregate-to-view";

pub(super) const ROLES: &[Role] = &[
    role("cluster-admin", &[resources(&["*"], &["*"], &["*"]), paths(&["*"], &["*"])]),
    role("system:discovery", &[paths(GET, DISCOVERY_PATHS)]),
    role("system:monitoring", &[paths(GET, MONITORING_PATHS)]),
    role(
        "system:basic-user",
        &[
            resources(CREATE, AUTHORIZATION, &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
            resources(CREATE, AUTHENTICATION, &["selfsubjectreviews"]),
        ],
    ),
    role(
        "system:public-info-viewer",
        &[paths(GET, &["/healthz", "/livez", "/readyz", "/version", "/version/"])],
    ),
    Role { aggregates: &[TO_ADMIN], ..role("admin", &[]) },
    Role { labels: &[(TO_ADMIN, "true")], aggregates: &[TO_EDIT], ..role("edit", &[]) },
    Role { labels: &[(TO_EDIT, "true")], aggregates: &[TO_VIEW], ..role("view", &[]) },
    Role { labels: &[(TO_ADMIN, "true")], ..role("system:aggregate-to-admin", ADMIN) },
    Role { labels: &[(TO_EDIT, "true")], ..role("system:aggregate-to-edit", EDIT) },
    Role { labels: &[(TO_VIEW, "true")], ..role("system:aggregate-to-view", VIEW) },
    role("system:service-account-issuer-discovery", &[paths(GET, ISSUER_PATHS)]),
];

pub(super) const BINDINGS: &[Binding] = &[
    bind("cluster-admin", &[Group("system:masters")]),
    bind("system:monitoring", &[Group("system:monitoring")]),
    bind("system:discovery", &[Group("system:authenticated")]),
    bind("system:basic-user", &[Group("system:authenticated")]),
    bind("system:public-info-viewer", &[Group("system:authenticated"), Group("system:unauthenticated")]),
    bind("system:service-account-issuer-discovery", &[Group("system:serviceaccounts")]),
];

const DISCOVERY_PATHS: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];

const MONITORING_PATHS: &[&str] =
    &["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"];

const ISSUER_PATHS: &[&str] = &[
    "/.well-known/openid-configuration",
    "/.well-known/openid-configuration/",
    "/openid/v1/jwks",
    "/openid/v1/jwks/",
];

const ADMIN: &[Rule] = &[
    resources(CREATE, AUTHORIZATION, &["localsubjectaccessreviews"]),
    resources(READ_WRITE, RBAC, &["rolebindings", "roles"]),
];

const EDIT: &[Rule] = &[
    // Reading these is as good as acting as somebody else, so `view` does not have them.
    resources(
        READ,
        CORE,
        &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
    ),
    resources(&["impersonate"], CORE, &["serviceaccounts"]),
    resources(WRITE, CORE, &["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"]),
    resources(CREATE, CORE, &["pods/eviction"]),
    resources(
        WRITE,
        CORE,
        &[
            "configmaps",
            "events",
            "persistentvolumeclaims",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "secrets",
            "serviceaccounts",
            "services",
            "services/proxy",
        ],
    ),
    resources(CREATE, CORE, &["serviceaccounts/token"]),
    resources(
        WRITE,
        APPS,
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    resources(WRITE, AUTOSCALING, &["horizontalpodautoscalers"]),
    resources(WRITE, BATCH, &["cronjobs", "jobs"]),
    resources(
        WRITE,
        EXTENSIONS,
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "ingresses",
            "networkpolicies",
            "replicasets",
            "replicasets/scale",
            "replicationcontrollers/scale",
        ],
    ),
    resources(WRITE, POLICY, &["poddisruptionbudgets"]),
    resources(WRITE, NETWORKING, &["ingresses", "networkpolicies"]),
    resources(READ_WRITE, COORDINATION, &["leases"]),
];

const VIEW: &[Rule] = &[
    resources(
        READ,
        CORE,
        &[
            "configmaps",
            "endpoints",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    resources(
        READ,
        CORE,
        &[
            "bindings",
            "events",
            "limitranges",
            "namespaces/status",
            "pods/log",
            "pods/status",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
        ],
    ),
    resources(READ, CORE, &["namespaces"]),
    resources(READ, DISCOVERY, &["endpointslices"]),
    resources(
        READ,
        APPS,
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    resources(READ, AUTOSCALING, &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
    resources(READ, BATCH, &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
    resources(
        READ,
        EXTENSIONS,
        &[
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "ingresses",
            "ingresses/status",
            "networkpolicies",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "replicationcontrollers/scale",
        ],
    ),
    resources(READ, POLICY, &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
    resources(READ, NETWORKING, &["ingresses", "ingresses/status", "networkpolicies"]),
];
