"""An object of every kind, as short as the API takes it, for `client_test.py`.

Each is written as a manifest is. A patch that changes something of the kind itself stands beside it; where there is none,
only labels are changed.
"""

POD = {"containers": [{"name": "a", "image": "host"}], "nodeSelector": {"no": "where"}}
TEMPLATE = {"metadata": {"labels": {"of": "every-kind"}}, "spec": POD}
SELECTOR = {"matchLabels": {"of": "every-kind"}}
JOB = {"suspend": True, "template": {"spec": {**POD, "restartPolicy": "Never"}}}
# The client leaves out a fraction of zero, which the API wants to see.
TIME = "2026-01-01T00:00:00.000120Z"
ROLE = {"apiGroup": "rbac.authorization.k8s.io", "name": "none"}
SUBJECTS = [{"kind": "User", "name": "me", "apiGroup": "rbac.authorization.k8s.io"}]
RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
VIEW = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["none"]}
WEBHOOK = {"name": "none.example.com", "clientConfig": {"url": "https://127.0.0.1:1/"}, "sideEffects": "None",
           "admissionReviewVersions": ["v1"], "rules": [VIEW], "failurePolicy": "Ignore",
           "objectSelector": {"matchLabels": {"no": "body"}}}
# A request for a certificate that openssl made: its key is thrown away.
REQUEST = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlITE1ITUNBUUF3RVRFUE1BMEdBMVVFQXd3R2NIbDBhRzl1TUZr"
    "d0V3WUhLb1pJemowQ0FRWUlLb1pJemowRApBUWNEUWdBRWpXNDF6aFlVTjgyaTFSZEcyQ2pTYTVtQy9TMUZpaGVLQXpodENCMjQ1"
    "eHBMWGNSNkd0d2I5OFZyCnlIZ3pFRXoxNlM3Q09IaDM3Y2dyN3U3eWU5VWN0YUFBTUFvR0NDcUdTTTQ5QkFNQ0EwZ0FNRVVDSVFD"
    "bTRQc1gKWlRXa3g0ZkF1UWkxdGZ4RlFUT29PSTQ1NzVZaHFyZWtaNWNSNndJZ0ZxN2ppdVR3ZnEzNEdZdStYcm5XQXdPagpGRFBH"
    "YXFTZWFKZXhUMlBzWVk0PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K")


def bodies(namespace):
    """What to create, and how to change it, by group and kind."""
    about = {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "namespace": namespace}
    return {
        ("", "ConfigMap"): ({"data": {"a": "b"}}, {"data": {"a": "c"}}),
        ("", "Endpoints"): ({"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}, {"subsets": None}),
        ("", "Event"): ({"involvedObject": about, "reason": "Test", "type": "Normal", "eventTime": TIME, "action": "Test",
                         "reportingComponent": "python", "reportingInstance": "1"}, None),
        ("", "LimitRange"): ({"spec": {"limits": [{"type": "Pod", "max": {"memory": "64Gi"}}]}},
                             {"spec": {"limits": [{"type": "Pod", "max": {"memory": "32Gi"}}]}}),
        ("", "Namespace"): ({}, None),
        ("", "Node"): ({"spec": {"unschedulable": True}}, {"spec": {"podCIDR": "10.9.9.0/24"}}),
        ("", "PersistentVolume"): ({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                                             "storageClassName": "none", "hostPath": {"path": "/none"}}},
                                   {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}),
        ("", "PersistentVolumeClaim"): ({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                                                  "resources": {"requests": {"storage": "1Gi"}}}}, None),
        ("", "Pod"): ({"spec": POD}, {"spec": {"activeDeadlineSeconds": 1000}}),
        ("", "PodTemplate"): ({"template": TEMPLATE}, {"template": {"spec": {"hostname": "a"}}}),
        ("", "ReplicationController"): ({"spec": {"replicas": 0, "selector": {"of": "every-kind"}, "template": TEMPLATE}},
                                        {"spec": {"minReadySeconds": 1}}),
        ("", "ResourceQuota"): ({"spec": {"hard": {"pods": "100"}}}, {"spec": {"hard": {"pods": "99"}}}),
        ("", "Secret"): ({"stringData": {"a": "b"}}, {"stringData": {"a": "c"}}),
        ("", "Service"): ({"spec": {"ports": [{"port": 80}]}}, {"spec": {"sessionAffinity": "ClientIP"}}),
        ("", "ServiceAccount"): ({}, {"automountServiceAccountToken": False}),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): ({"spec": {
            "reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": [VIEW]}, "mutations": [{
                "patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]}}, None),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): ({"spec": {"policyName": "none"}}, None),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): ({"webhooks": [WEBHOOK]}, None),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): ({"spec": {
            "matchConstraints": {"resourceRules": [VIEW]}, "validations": [{"expression": "true"}]}},
            {"spec": {"failurePolicy": "Ignore"}}),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): ({"spec": {
            "policyName": "none", "validationActions": ["Deny"]}}, {"spec": {"validationActions": ["Warn"]}}),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): ({"webhooks": [WEBHOOK]}, None),
        ("apiextensions.k8s.io", "CustomResourceDefinition"): ({"spec": {
            "group": "every.example.com", "scope": "Namespaced", "names": {"plural": "everies", "kind": "Every"},
            "versions": [{"name": "v1", "served": True, "storage": True,
                          "schema": {"openAPIV3Schema": {"type": "object"}}}]}},
            {"spec": {"names": {"categories": ["all"]}}}),
        ("apiregistration.k8s.io", "APIService"): ({"spec": {
            "group": "every.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10}},
            {"spec": {"versionPriority": 11}}),
        ("apps", "ControllerRevision"): ({"revision": 1, "data": {"a": "b"}}, {"revision": 2}),
        ("apps", "DaemonSet"): ({"spec": {"selector": SELECTOR, "template": TEMPLATE}}, {"spec": {"minReadySeconds": 1}}),
        ("apps", "Deployment"): ({"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}},
                                 {"spec": {"minReadySeconds": 1}}),
        ("apps", "ReplicaSet"): ({"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}},
                                 {"spec": {"minReadySeconds": 1}}),
        ("apps", "StatefulSet"): ({"spec": {"replicas": 0, "serviceName": "none", "selector": SELECTOR,
                                            "template": TEMPLATE}}, {"spec": {"minReadySeconds": 1}}),
        ("autoscaling", "HorizontalPodAutoscaler"): ({"spec": {
            "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}},
            {"spec": {"maxReplicas": 4}}),
        ("batch", "CronJob"): ({"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": JOB}}},
                               {"spec": {"suspend": True}}),
        ("batch", "Job"): ({"spec": JOB}, {"spec": {"activeDeadlineSeconds": 1000}}),
        ("certificates.k8s.io", "CertificateSigningRequest"): ({"spec": {
            "request": REQUEST, "signerName": "example.com/none", "usages": ["client auth"]}}, None),
        ("coordination.k8s.io", "Lease"): ({"spec": {"holderIdentity": "me", "leaseDurationSeconds": 10,
                                                     "renewTime": TIME}}, {"spec": {"holderIdentity": "you"}}),
        ("discovery.k8s.io", "EndpointSlice"): ({"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}],
                                                 "ports": [{"port": 80}]}, {"ports": [{"port": 81}]}),
        ("events.k8s.io", "Event"): ({"regarding": about, "reason": "Test", "type": "Normal", "eventTime": TIME,
                                      "action": "Test", "reportingController": "example.com/python",
                                      "reportingInstance": "1"}, None),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema"): ({"spec": {
            "priorityLevelConfiguration": {"name": "exempt"}}}, {"spec": {"matchingPrecedence": 999}}),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): ({"spec": {
            "type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}}},
            {"spec": {"limited": {"nominalConcurrencyShares": 6}}}),
        ("networking.k8s.io", "IPAddress"): ({"parentRef": {"resource": "services", "namespace": namespace,
                                                            "name": "none"}}, None),
        ("networking.k8s.io", "Ingress"): ({"spec": {"defaultBackend": {"service": {
            "name": "none", "port": {"number": 80}}}}}, {"spec": {"ingressClassName": "none"}}),
        ("networking.k8s.io", "IngressClass"): ({"spec": {"controller": "example.com/none"}}, None),
        ("networking.k8s.io", "NetworkPolicy"): ({"spec": {"podSelector": SELECTOR}},
                                                 {"spec": {"policyTypes": ["Ingress", "Egress"]}}),
        ("networking.k8s.io", "ServiceCIDR"): ({"spec": {"cidrs": ["10.250.0.0/24"]}}, None),
        ("node.k8s.io", "RuntimeClass"): ({"handler": "none"}, {"scheduling": {"nodeSelector": {"no": "where"}}}),
        ("policy", "PodDisruptionBudget"): ({"spec": {"minAvailable": "50%", "selector": SELECTOR}},
                                            {"spec": {"minAvailable": 1}}),
        ("rbac.authorization.k8s.io", "ClusterRole"): ({"rules": RULES}, {"rules": []}),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ({"roleRef": {**ROLE, "kind": "ClusterRole"},
                                                               "subjects": SUBJECTS}, {"subjects": None}),
        ("rbac.authorization.k8s.io", "Role"): ({"rules": RULES}, {"rules": []}),
        ("rbac.authorization.k8s.io", "RoleBinding"): ({"roleRef": {**ROLE, "kind": "Role"}, "subjects": SUBJECTS},
                                                       {"subjects": None}),
        ("scheduling.k8s.io", "PriorityClass"): ({"value": 10}, {"description": "of python"}),
        ("storage.k8s.io", "CSIDriver"): ({"spec": {"attachRequired": False}}, {"spec": {"requiresRepublish": True}}),
        ("storage.k8s.io", "CSINode"): ({"spec": {"drivers": [{"name": "example.com", "nodeID": "a"}]}},
                                        {"spec": {"drivers": [{"name": "example.com", "nodeID": "a"},
                                                              {"name": "example.org", "nodeID": "b"}]}}),
        ("storage.k8s.io", "CSIStorageCapacity"): ({"storageClassName": "none", "capacity": "1Gi"}, {"capacity": "2Gi"}),
        ("storage.k8s.io", "StorageClass"): ({"provisioner": "example.com/none"}, {"allowVolumeExpansion": True}),
        ("storage.k8s.io", "VolumeAttachment"): ({"spec": {
            "attacher": "example.com", "nodeName": "none", "source": {"persistentVolumeName": "none"}}}, None),
        ("storage.k8s.io", "VolumeAttributesClass"): ({"driverName": "example.com", "parameters": {"a": "b"}}, None),
    }


def name_of(group, kind, base):
    """What an object of this kind may be called."""
    if (group, kind) == ("apiextensions.k8s.io", "CustomResourceDefinition"):
        return "everies.every.example.com"
    if (group, kind) == ("apiregistration.k8s.io", "APIService"):
        return "v1.every.example.com"
    if (group, kind) == ("networking.k8s.io", "IPAddress"):
        return "10.254.9.9"
    return base
