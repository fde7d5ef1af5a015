//! What each controller is given: a role of its own, bound to the service account of its name.

use super::Subject::ServiceAccount;
use super::{
    ADMISSION, ANY, APPS, AUTHORIZATION, AUTOSCALING, BATCH, Binding, CERTIFICATES, CORE, CREATE, DISCOVERY,
    EVENTS, GET, LIST_WATCH, NETWORKING, PATCH, PATCH_UPDATE, POLICY, RBAC, READ, READ_DELETE, READ_PUT,
    READ_UPDATE, Role, Rule, STORAGE, UPDATE, WORKLOADS, bind, named, resources, role,
};

/// What a controller needs for objects that are its own to keep.
const KEEP: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
/// As [`KEEP`], for a controller that replaces objects and never patches them.
const KEEP_WHOLE: &[&str] = &["create", "delete", "get", "list", "update", "watch"];
/// What a controller that runs pods needs for them.
const KEEP_PODS: Rule = resources(&["create", "delete", "list", "patch", "watch"], CORE, &["pods"]);
const SIGNERS: &[&str] = &[
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/legacy-unknown",
];

pub(super) const ROLES: &[Role] = &[
    role(
        "system:controller:attachdetach-controller",
        &[
            resources(LIST_WATCH, CORE, &["persistentvolumeclaims", "persistentvolumes"]),
            resources(READ, CORE, &["nodes"]),
            resources(PATCH_UPDATE, CORE, &["nodes/status"]),
            resources(LIST_WATCH, CORE, &["pods"]),
            EVENTS,
            resources(&["create", "delete", "get", "list", "watch"], STORAGE, &["volumeattachments"]),
            resources(READ, STORAGE, &["csidrivers"]),
            resources(READ, STORAGE, &["csinodes"]),
        ],
    ),
    role(
        "system:controller:clusterrole-aggregation-controller",
        &[resources(&["escalate", "get", "list", "patch", "update", "watch"], RBAC, &["clusterroles"])],
    ),
    role(
        "system:controller:cronjob-controller",
        &[
            resources(READ_PUT, BATCH, &["cronjobs"]),
            resources(KEEP, BATCH, &["jobs"]),
            resources(UPDATE, BATCH, &["cronjobs/status"]),
            resources(UPDATE, BATCH, &["cronjobs/finalizers"]),
            resources(&["delete", "list", "watch"], CORE, &["pods"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:daemon-set-controller",
        &[
            resources(READ, WORKLOADS, &["daemonsets"]),
            resources(UPDATE, WORKLOADS, &["daemonsets/status"]),
            resources(UPDATE, WORKLOADS, &["daemonsets/finalizers"]),
            resources(LIST_WATCH, CORE, &["nodes"]),
            KEEP_PODS,
            resources(CREATE, CORE, &["pods/binding"]),
            resources(KEEP, APPS, &["controllerrevisions"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:deployment-controller",
        &[
            resources(READ_PUT, WORKLOADS, &["deployments"]),
            resources(UPDATE, WORKLOADS, &["deployments/status"]),
            resources(UPDATE, WORKLOADS, &["deployments/finalizers"]),
            resources(KEEP, WORKLOADS, &["replicasets"]),
            resources(READ_PUT, CORE, &["pods"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:disruption-controller",
        &[
            resources(READ, WORKLOADS, &["deployments"]),
            resources(READ, WORKLOADS, &["replicasets"]),
            resources(READ, CORE, &["replicationcontrollers"]),
            resources(READ, POLICY, &["poddisruptionbudgets"]),
            resources(READ, APPS, &["statefulsets"]),
            resources(UPDATE, POLICY, &["poddisruptionbudgets/status"]),
            resources(PATCH_UPDATE, CORE, &["pods/status"]),
            resources(GET, ANY, &["*/scale"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpoint-controller",
        &[
            resources(READ, CORE, &["pods", "services"]),
            resources(KEEP_WHOLE, CORE, &["endpoints"]),
            resources(CREATE, CORE, &["endpoints/restricted"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpointslice-controller",
        &[
            resources(READ, CORE, &["nodes", "pods", "services"]),
            resources(UPDATE, CORE, &["services/finalizers"]),
            resources(KEEP_WHOLE, DISCOVERY, &["endpointslices"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpointslicemirroring-controller",
        &[
            resources(READ, CORE, &["endpoints", "services"]),
            resources(UPDATE, CORE, &["services/finalizers"]),
            resources(UPDATE, CORE, &["endpoints/finalizers"]),
            resources(KEEP_WHOLE, DISCOVERY, &["endpointslices"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:expand-controller",
        &[
            resources(READ_UPDATE, CORE, &["persistentvolumes"]),
            resources(PATCH_UPDATE, CORE, &["persistentvolumeclaims/status"]),
            resources(READ, CORE, &["persistentvolumeclaims"]),
            EVENTS,
            resources(GET, CORE, &["services"]),
        ],
    ),
    role(
        "system:controller:ephemeral-volume-controller",
        &[
            resources(READ, CORE, &["pods"]),
            resources(UPDATE, CORE, &["pods/finalizers"]),
            resources(&["create", "get", "list", "watch"], CORE, &["persistentvolumeclaims"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:generic-garbage-collector",
        &[resources(&["delete", "get", "list", "patch", "update", "watch"], ANY, &["*"]), EVENTS],
    ),
    role(
        "system:controller:horizontal-pod-autoscaler",
        &[
            resources(READ, AUTOSCALING, &["horizontalpodautoscalers"]),
            resources(UPDATE, AUTOSCALING, &["horizontalpodautoscalers/status"]),
            resources(&["get", "update"], ANY, &["*/scale"]),
            resources(LIST_WATCH, CORE, &["pods"]),
            resources(LIST_WATCH, &["metrics.k8s.io"], &["pods"]),
            resources(READ, &["custom.metrics.k8s.io"], &["*"]),
            resources(READ, &["external.metrics.k8s.io"], &["*"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:job-controller",
        &[
            resources(READ_UPDATE, BATCH, &["jobs"]),
            resources(UPDATE, BATCH, &["jobs/status"]),
            resources(UPDATE, BATCH, &["jobs/finalizers"]),
            KEEP_PODS,
            EVENTS,
        ],
    ),
    role(
        "system:controller:namespace-controller",
        &[
            resources(READ_DELETE, CORE, &["namespaces"]),
            resources(UPDATE, CORE, &["namespaces/finalize", "namespaces/status"]),
            resources(&["delete", "deletecollection", "get", "list", "watch"], ANY, &["*"]),
        ],
    ),
    role(
        "system:controller:node-controller",
        &[
            resources(&["delete", "get", "list", "patch", "update", "watch"], CORE, &["nodes"]),
            resources(PATCH_UPDATE, CORE, &["nodes/status"]),
            resources(PATCH_UPDATE, CORE, &["pods/status"]),
            resources(READ_DELETE, CORE, &["pods"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:persistent-volume-binder",
        &[
            resources(KEEP_WHOLE, CORE, &["persistentvolumes"]),
            resources(UPDATE, CORE, &["persistentvolumes/status"]),
            resources(READ_PUT, CORE, &["persistentvolumeclaims"]),
            resources(UPDATE, CORE, &["persistentvolumeclaims/status"]),
            resources(&["create", "delete", "get", "list", "watch"], CORE, &["pods"]),
            resources(READ, STORAGE, &["storageclasses"]),
            resources(LIST_WATCH, CORE, &["nodes"]),
            EVENTS,
            resources(&["watch"], CORE, &["events"]),
            resources(GET, CORE, &["services"]),
        ],
    ),
    role(
        "system:controller:pod-garbage-collector",
        &[
            resources(&["delete", "list", "watch"], CORE, &["pods"]),
            resources(READ, CORE, &["nodes"]),
            resources(PATCH, CORE, &["pods/status"]),
        ],
    ),
    role(
        "system:controller:replicaset-controller",
        &[
            resources(READ_PUT, WORKLOADS, &["replicasets"]),
            resources(UPDATE, WORKLOADS, &["replicasets/status"]),
            resources(UPDATE, WORKLOADS, &["replicasets/finalizers"]),
            KEEP_PODS,
            EVENTS,
        ],
    ),
    role(
        "system:controller:replication-controller",
        &[
            resources(READ_PUT, CORE, &["replicationcontrollers"]),
            resources(UPDATE, CORE, &["replicationcontrollers/status"]),
            resources(UPDATE, CORE, &["replicationcontrollers/finalizers"]),
            KEEP_PODS,
            EVENTS,
        ],
    ),
    role(
        "system:controller:resourcequota-controller",
        &[resources(LIST_WATCH, ANY, &["*"]), resources(UPDATE, CORE, &["resourcequotas/status"]), EVENTS],
    ),
    role(
        "system:controller:route-controller",
        &[resources(LIST_WATCH, CORE, &["nodes"]), resources(PATCH, CORE, &["nodes/status"]), EVENTS],
    ),
    role(
        "system:controller:service-account-controller",
        &[resources(CREATE, CORE, &["serviceaccounts"]), EVENTS],
    ),
    role(
        "system:controller:service-controller",
        &[
            resources(READ, CORE, &["services"]),
            resources(PATCH_UPDATE, CORE, &["services/status"]),
            resources(LIST_WATCH, CORE, &["nodes"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:service-cidrs-controller",
        &[
            resources(READ_UPDATE, NETWORKING, &["servicecidrs"]),
            resources(PATCH_UPDATE, NETWORKING, &["servicecidrs/finalizers"]),
            resources(PATCH_UPDATE, NETWORKING, &["servicecidrs/status"]),
            resources(READ, NETWORKING, &["ipaddresses"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:statefulset-controller",
        &[
            resources(LIST_WATCH, CORE, &["pods"]),
            resources(READ, APPS, &["statefulsets"]),
            resources(UPDATE, APPS, &["statefulsets/status"]),
            resources(UPDATE, APPS, &["statefulsets/finalizers"]),
            resources(&["create", "delete", "get", "patch", "update"], CORE, &["pods"]),
            resources(KEEP, APPS, &["controllerrevisions"]),
            resources(&["create", "get", "list", "watch"], CORE, &["persistentvolumeclaims"]),
            resources(&["delete", "update"], CORE, &["persistentvolumeclaims"]),
            resources(UPDATE, CORE, &["pods/finalizers"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:ttl-controller",
        &[resources(&["list", "patch", "update", "watch"], CORE, &["nodes"]), EVENTS],
    ),
    role(
        "system:controller:certificate-controller",
        &[
            resources(READ_DELETE, CERTIFICATES, &["certificatesigningrequests"]),
            resources(
                UPDATE,
                CERTIFICATES,
                &["certificatesigningrequests/approval", "certificatesigningrequests/status"],
            ),
            named(&["approve"], CERTIFICATES, &["signers"], &["kubernetes.io/kube-apiserver-client-kubelet"]),
            named(&["sign"], CERTIFICATES, &["signers"], SIGNERS),
            resources(CREATE, AUTHORIZATION, &["subjectaccessreviews"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:pvc-protection-controller",
        &[resources(READ_PUT, CORE, &["persistentvolumeclaims"]), resources(READ, CORE, &["pods"]), EVENTS],
    ),
    role(
        "system:controller:pv-protection-controller",
        &[resources(READ_PUT, CORE, &["persistentvolumes"]), EVENTS],
    ),
    role(
        "system:controller:ttl-after-finished-controller",
        &[resources(READ_DELETE, BATCH, &["jobs"]), EVENTS],
    ),
    role(
        "system:controller:root-ca-cert-publisher",
        &[resources(&["create", "update"], CORE, &["configmaps"]), EVENTS],
    ),
    role(
        "system:controller:validatingadmissionpolicy-status-controller",
        &[
            resources(READ, ADMISSION, &["validatingadmissionpolicies"]),
            resources(&["get", "patch", "update"], ADMISSION, &["validatingadmissionpolicies/status"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:legacy-service-account-token-cleaner",
        &[
            named(GET, CORE, &["configmaps"], &["kube-apiserver-legacy-service-account-token-tracking"]),
            resources(&["delete", "patch"], CORE, &["secrets"]),
        ],
    ),
    role(
        "system:controller:selinux-warning-controller",
        &[
            EVENTS,
            resources(READ, CORE, &["persistentvolumes"]),
            resources(READ, CORE, &["persistentvolumeclaims"]),
            resources(READ, CORE, &["pods"]),
            resources(READ, STORAGE, &["csidrivers"]),
        ],
    ),
];

pub(super) const BINDINGS: &[Binding] = &[
    bind("system:controller:attachdetach-controller", &[ServiceAccount("attachdetach-controller")]),
    bind(
        "system:controller:clusterrole-aggregation-controller",
        &[ServiceAccount("clusterrole-aggregation-controller")],
    ),
    bind("system:controller:cronjob-controller", &[ServiceAccount("cronjob-controller")]),
    bind("system:controller:daemon-set-controller", &[ServiceAccount("daemon-set-controller")]),
    bind("system:controller:deployment-controller", &[ServiceAccount("deployment-controller")]),
    bind("system:controller:disruption-controller", &[ServiceAccount("disruption-controller")]),
    bind("system:controller:endpoint-controller", &[ServiceAccount("endpoint-controller")]),
    bind("system:controller:endpointslice-controller", &[ServiceAccount("endpointslice-controller")]),
    bind(
        "system:controller:endpointslicemirroring-controller",
        &[ServiceAccount("endpointslicemirroring-controller")],
    ),
    bind("system:controller:expand-controller", &[ServiceAccount("expand-controller")]),
    bind("system:controller:ephemeral-volume-controller", &[ServiceAccount("ephemeral-volume-controller")]),
    bind("system:controller:generic-garbage-collector", &[ServiceAccount("generic-garbage-collector")]),
    bind("system:controller:horizontal-pod-autoscaler", &[ServiceAccount("horizontal-pod-autoscaler")]),
    bind("system:controller:job-controller", &[ServiceAccount("job-controller")]),
    bind("system:controller:namespace-controller", &[ServiceAccount("namespace-controller")]),
    bind("system:controller:node-controller", &[ServiceAccount("node-controller")]),
    bind("system:controller:persistent-volume-binder", &[ServiceAccount("persistent-volume-binder")]),
    bind("system:controller:pod-garbage-collector", &[ServiceAccount("pod-garbage-collector")]),
    bind("system:controller:replicaset-controller", &[ServiceAccount("replicaset-controller")]),
    bind("system:controller:replication-controller", &[ServiceAccount("replication-controller")]),
    bind("system:controller:resourcequota-controller", &[ServiceAccount("resourcequota-controller")]),
    bind("system:controller:route-controller", &[ServiceAccount("route-controller")]),
    bind("system:controller:service-account-controller", &[ServiceAccount("service-account-controller")]),
    bind("system:controller:service-controller", &[ServiceAccount("service-controller")]),
    bind("system:controller:service-cidrs-controller", &[ServiceAccount("service-cidrs-controller")]),
    bind("system:controller:statefulset-controller", &[ServiceAccount("statefulset-controller")]),
    bind("system:controller:ttl-controller", &[ServiceAccount("ttl-controller")]),
    bind("system:controller:certificate-controller", &[ServiceAccount("certificate-controller")]),
    bind("system:controller:pvc-protection-controller", &[ServiceAccount("pvc-protection-controller")]),
    bind("system:controller:pv-protection-controller", &[ServiceAccount("pv-protection-controller")]),
    bind(
        "system:controller:ttl-after-finished-controller",
        &[ServiceAccount("ttl-after-finished-controller")],
    ),
    bind("system:controller:root-ca-cert-publisher", &[ServiceAccount("root-ca-cert-publisher")]),
    bind(
        "system:controller:validatingadmissionpolicy-status-controller",
        &[ServiceAccount("validatingadmissionpolicy-status-controller")],
    ),
    bind(
        "system:controller:legacy-service-account-token-cleaner",
        &[ServiceAccount("legacy-service-account-token-cleaner")],
    ),
    bind("system:controller:selinux-warning-controller", &[ServiceAccount("selinux-warning-controller")]),
];
