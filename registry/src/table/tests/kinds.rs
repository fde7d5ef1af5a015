//! What the other kinds show.

use super::*;

fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {
        "containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}],
        "nodeSelector": {"disk": "ssd"},
    }})
}

#[test]
fn controllers_show_their_counts_containers_and_selector() {
    let labels = json!({"a": "b"});
    let status = json!({"replicas": 2, "readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1});
    let controller =
        json!({"spec": {"replicas": 3, "selector": labels, "template": template()}, "status": status});
    let set = json!({
        "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template()}, "status": status,
    });

    assert_eq!(
        cells("", "ReplicationController", controller),
        json!(["a", 3, 2, 1, "90m", "c,d", "i,j", "a=b"])
    );
    assert_eq!(cells("apps", "ReplicaSet", set.clone()), json!(["a", 3, 2, 1, "90m", "c,d", "i,j", "a=b"]));
    assert_eq!(
        cells("apps", "Deployment", set.clone()),
        json!(["a", "1/3", 2, 1, "90m", "c,d", "i,j", "a=b"])
    );
    assert_eq!(cells("apps", "StatefulSet", set), json!(["a", "1/3", "90m", "c,d", "i,j"]));
}

#[test]
fn a_daemon_set_shows_its_counts_and_its_node_selector() {
    let set = json!({
        "spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}, "template": template()},
        "status": {
            "desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3, "updatedNumberScheduled": 2,
            "numberAvailable": 1,
        },
    });

    assert_eq!(
        cells("apps", "DaemonSet", set),
        json!(["a", 5, 4, 3, 2, 1, "disk=ssd", "90m", "c,d", "i,j", "a"])
    );
}

#[test]
fn a_controller_revision_shows_its_controller() {
    let owner = json!({"controller": true, "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x"});
    let revision = json!({"metadata": {"ownerReferences": [{"name": "no"}, owner]}, "revision": 2});

    assert_eq!(cells("apps", "ControllerRevision", revision), json!(["a", "daemonset.apps/x", 2, "90m"]));
}

#[test]
fn a_job_shows_how_far_it_is_and_how_long_it_takes() {
    let job = |spec: Value, status: Value| {
        let cells = cells("batch", "Job", json!({"spec": spec, "status": status}));
        [1, 2, 3].map(|index| cells[index].as_str().unwrap().to_owned())
    };
    let started = json!({"startTime": "2024-05-01T11:28:00Z", "succeeded": 1});
    let mut complete = started.clone();
    complete["completionTime"] = "2024-05-01T11:28:05Z".into();
    complete["conditions"] = json!([{"type": "Complete", "status": "True"}]);
    let suspended = json!({"conditions": [{"type": "Suspended", "status": "True"}]});

    assert_eq!(job(json!({"completions": 3}), started), ["Running", "1/3", "2m"]);
    assert_eq!(job(json!({"parallelism": 2}), complete), ["Complete", "1/1 of 2", "5s"]);
    assert_eq!(job(json!({"parallelism": 1}), suspended), ["Suspended", "0/1", ""]);
}

#[test]
fn a_cron_job_shows_its_schedule_and_when_it_last_ran() {
    let job = json!({
        "spec": {"schedule": "* * * * *", "suspend": false, "jobTemplate": {"spec": {"template": template()}}},
        "status": {"active": [{}], "lastScheduleTime": "2024-05-01T11:29:00Z"},
    });

    assert_eq!(
        cells("batch", "CronJob", job),
        json!(["a", "* * * * *", "<none>", "False", 1, "60s", "90m", "c,d", "i,j", "<none>"])
    );
}

#[test]
fn a_service_shows_its_ports_with_those_of_the_nodes() {
    let ports = json!([
        {"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"},
    ]);
    let spec =
        json!({"type": "NodePort", "clusterIPs": ["10.0.0.1"], "ports": ports, "selector": {"a": "b"}});

    assert_eq!(
        cells("", "Service", json!({"spec": spec})),
        json!(["a", "NodePort", "10.0.0.1", "<none>", "80:30080/TCP,53/UDP", "90m", "a=b"])
    );
}

#[test]
fn a_service_shows_its_addresses_outside_the_cluster_by_its_type() {
    let balanced = json!({"loadBalancer": {"ingress": [{"hostname": "z.example"}, {"ip": "1.2.3.4"}]}});
    for (spec, status, expected) in [
        (json!({"type": "ClusterIP"}), json!({}), "<none>"),
        (json!({"type": "ClusterIP", "externalIPs": ["9.9.9.9", "8.8.8.8"]}), json!({}), "9.9.9.9,8.8.8.8"),
        (json!({"type": "LoadBalancer"}), json!({}), "<pending>"),
        (json!({"type": "LoadBalancer"}), balanced.clone(), "1.2.3.4,z.example"),
        (json!({"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]}), balanced, "1.2.3.4,z.example,9.9.9.9"),
        (json!({"type": "ExternalName", "externalName": "x.example"}), json!({}), "x.example"),
    ] {
        assert_eq!(cells("", "Service", json!({"spec": spec, "status": status}))[3], expected);
    }
}

#[test]
fn endpoints_show_three_addresses_and_count_the_others() {
    let addresses = |ips: &[&str]| -> Value { ips.iter().map(|ip| json!({"ip": ip})).collect() };
    let shown = |subsets: Value| cells("", "Endpoints", json!({"subsets": subsets}))[1].clone();

    assert_eq!(shown(json!(null)), "<none>");
    assert_eq!(
        shown(json!([{"addresses": addresses(&["1.1.1.1", "fd00::1"]), "ports": [{"port": 80}]}])),
        "1.1.1.1:80,[fd00::1]:80"
    );
    assert_eq!(
        shown(json!([{"addresses": addresses(&["a", "b"]), "ports": [{"port": 1}, {"port": 2}]}])),
        "a:1,b:1,a:2 + 1 more..."
    );
    assert_eq!(shown(json!([{"addresses": addresses(&["a"])}])), "a");
    assert_eq!(shown(json!([{"notReadyAddresses": addresses(&["a"]), "ports": [{"port": 1}]}])), "");
}

#[test]
fn an_endpoint_slice_shows_its_ports_and_addresses() {
    let slice = json!({
        "addressType": "IPv4", "ports": [{"port": 80}, {"name": "x"}, {}],
        "endpoints": [{"addresses": ["a", "b"]}, {"addresses": ["c"]}, {"addresses": ["d", "e"]}],
    });

    assert_eq!(
        cells("discovery.k8s.io", "EndpointSlice", slice),
        json!(["a", "IPv4", "80,x,*", "a,b,c + 2 more...", "90m"])
    );
    assert_eq!(
        cells("discovery.k8s.io", "EndpointSlice", json!({"addressType": "IPv6"})),
        json!(["a", "IPv6", "<unset>", "<unset>", "90m"])
    );
}

#[test]
fn an_ingress_shows_its_class_hosts_address_and_ports() {
    let rules = |hosts: &[&str]| -> Value { hosts.iter().map(|host| json!({"host": host})).collect() };
    let ingress = json!({
        "spec": {"ingressClassName": "c", "tls": [{}], "rules": rules(&["x", "", "y"])},
        "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}},
    });

    assert_eq!(
        cells("networking.k8s.io", "Ingress", ingress),
        json!(["a", "c", "x,y", "1.2.3.4", "80, 443", "90m"])
    );
    let many = json!({"spec": {"rules": rules(&["x", "y", "z", "w"])}});
    assert_eq!(
        cells("networking.k8s.io", "Ingress", many),
        json!(["a", "<none>", "x,y,z + 1 more...", "", "80", "90m"])
    );
    assert_eq!(cells("networking.k8s.io", "Ingress", json!({}))[2], "*");
}

#[test]
fn an_ingress_class_and_an_address_show_what_they_refer_to() {
    let parameters = json!({"apiGroup": "ex.com", "kind": "K", "name": "n"});
    let class = json!({"spec": {"controller": "ex.com/c", "parameters": parameters}});
    let parent = json!({"resource": "services", "namespace": "x", "name": "s"});

    assert_eq!(
        cells("networking.k8s.io", "IngressClass", class),
        json!(["a", "ex.com/c", "K.ex.com/n", "90m"])
    );
    assert_eq!(
        cells("networking.k8s.io", "IPAddress", json!({"spec": {"parentRef": parent}})),
        json!(["a", "services/x/s", "90m"])
    );
}

#[test]
fn a_node_shows_its_state_and_roles() {
    let node = |spec: Value, ready: &str| {
        json!({
            "metadata": {"labels": {
                "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "",
                "kubernetes.io/role": "edge", "node-role.kubernetes.io/": "",
            }},
            "spec": spec,
            "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.33.0", "osImage": "Linux", "kernelVersion": "6.1"},
            },
        })
    };

    assert_eq!(
        cells("", "Node", node(json!({"unschedulable": true}), "True")),
        json!([
            "a",
            "Ready,SchedulingDisabled",
            "control-plane,edge,worker",
            "90m",
            "v1.33.0",
            "10.0.0.1",
            "<none>",
            "Linux",
            "6.1",
            "<unknown>"
        ])
    );
    assert_eq!(cells("", "Node", node(json!({}), "Unknown"))[1], "NotReady");
    assert_eq!(
        cells("", "Node", json!({})),
        json!([
            "a",
            "Unknown",
            "<none>",
            "90m",
            "",
            "<none>",
            "<none>",
            "<unknown>",
            "<unknown>",
            "<unknown>"
        ])
    );
}

#[test]
fn an_event_shows_what_it_is_about_and_who_reported_it() {
    let event = json!({
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"}, "reason": "R",
        "message": " text ", "type": "Warning", "count": 4, "source": {"component": "kubelet", "host": "h"},
        "firstTimestamp": "2024-05-01T11:00:00Z", "lastTimestamp": "2024-05-01T11:29:00Z",
    });

    assert_eq!(
        cells("", "Event", event),
        json!(["60s", "Warning", "R", "pod/p", "spec.containers{c}", "kubelet, h", "text", "30m", 4, "a"])
    );
}

#[test]
fn an_event_of_the_newer_group_shows_the_same() {
    let event = json!({
        "regarding": {"kind": "Node"}, "reason": "R", "note": "text", "type": "Normal",
        "reportingController": "c", "reportingInstance": "i", "eventTime": "2024-05-01T11:00:00.000001Z",
        "series": {"count": 3, "lastObservedTime": "2024-05-01T11:29:30.500000Z"},
    });

    assert_eq!(
        cells("events.k8s.io", "Event", event),
        json!(["29s", "Normal", "R", "node", "", "c, i", "text", "29m", 3, "a"])
    );
    let single = json!({"eventTime": "2024-05-01T11:00:00.000001Z"});
    assert_eq!(cells("", "Event", single.clone())[0], "29m");
    assert_eq!(cells("", "Event", single)[8], 1);
}

#[test]
fn maps_and_lists_are_counted() {
    let data =
        json!({"data": {"a": "", "b": ""}, "binaryData": {"c": ""}, "type": "Opaque", "secrets": [{}]});

    assert_eq!(cells("", "ConfigMap", data.clone()), json!(["a", 3, "90m"]));
    assert_eq!(cells("", "Secret", data.clone()), json!(["a", "Opaque", 2, "90m"]));
    assert_eq!(cells("", "ServiceAccount", data), json!(["a", 1, "90m"]));
    assert_eq!(
        cells("admissionregistration.k8s.io", "MutatingWebhookConfiguration", json!({"webhooks": [{}, {}]})),
        json!(["a", 2, "90m"])
    );
}

#[test]
fn a_volume_and_its_claim_show_each_other() {
    let modes = json!(["ReadOnlyMany", "ReadWriteOnce", "ReadWriteOnce"]);
    let volume = json!({
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": modes, "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": "x", "name": "c"}, "storageClassName": "s", "volumeMode": "Filesystem",
        },
        "status": {"phase": "Bound"},
    });
    let claim = json!({
        "metadata": {"deletionTimestamp": CREATED, "annotations": {"volume.beta.kubernetes.io/storage-class": "old"}},
        "spec": {"volumeName": "v", "storageClassName": "s"},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": modes},
    });
    let pending = json!({
        "spec": {"accessModes": modes, "storageClassName": "s", "volumeMode": "Block"}, "status": {"phase": "Pending"},
    });

    assert_eq!(
        cells("", "PersistentVolume", volume),
        json!(["a", "1Gi", "RWO,ROX", "Retain", "Bound", "x/c", "s", "<unset>", "", "90m", "Filesystem"])
    );
    assert_eq!(
        cells("", "PersistentVolumeClaim", claim),
        json!(["a", "Terminating", "v", "1Gi", "RWO,ROX", "old", "<unset>", "90m", "<unset>"])
    );
    assert_eq!(
        cells("", "PersistentVolumeClaim", pending),
        json!(["a", "Pending", "", "", "", "s", "<unset>", "90m", "Block"])
    );
}

#[test]
fn the_default_storage_class_is_marked() {
    let class = json!({
        "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "ex.com/p",
    });

    assert_eq!(
        cells("storage.k8s.io", "StorageClass", class),
        json!(["a (default)", "ex.com/p", "Delete", "Immediate", false, "90m"])
    );
}

#[test]
fn a_quota_shows_what_is_used_of_requests_and_limits() {
    let status = json!({
        "hard": {"requests.cpu": "2", "limits.cpu": "4", "pods": "10"}, "used": {"requests.cpu": "500m", "pods": "1"},
    });

    assert_eq!(
        cells("", "ResourceQuota", json!({"status": status})),
        json!(["a", "pods: 1/10, requests.cpu: 500m/2", "limits.cpu: 0/4", "90m"])
    );
}

#[test]
fn an_autoscaler_shows_its_metrics_and_their_targets() {
    let targets = |metrics: Value, current: Value| {
        let object = json!({
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 5,
                     "metrics": metrics},
            "status": {"currentReplicas": 2, "currentMetrics": current},
        });
        cells("autoscaling", "HorizontalPodAutoscaler", object)
    };
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
    let memory =
        json!({"type": "Resource", "resource": {"name": "memory", "target": {"averageValue": "1Gi"}}});
    let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "10"}}});
    let object = json!({"type": "Object", "object": {"target": {"averageValue": "7"}}});
    let external = json!({"type": "External", "external": {"target": {"value": "9"}}});
    let current = json!([{"resource": {"current": {"averageUtilization": 20}}}]);

    assert_eq!(
        targets(json!([cpu]), current.clone()),
        json!(["a", "Deployment/d", "cpu: 20%/80%", "1", 5, 2, "90m"])
    );
    assert_eq!(targets(json!([cpu, memory]), json!(null))[2], "cpu: <unknown>/80%, memory: <unknown>/1Gi");
    assert_eq!(
        targets(json!([cpu, memory, pods]), current)[2],
        "cpu: 20%/80%, memory: <unknown>/1Gi + 1 more..."
    );
    assert_eq!(
        targets(json!([pods, object]), json!([{"pods": {"current": {"averageValue": "3"}}}]))[2],
        "3/10, <unknown>/7 (avg)"
    );
    assert_eq!(targets(json!([external]), json!([{"external": {"current": {"value": "0"}}}]))[2], "0/9");
    assert_eq!(targets(json!([]), json!([]))[2], "<none>");
}

#[test]
fn an_autoscaler_of_the_first_version_shows_its_processor_target() {
    let object = json!({
        "spec": {"targetCPUUtilizationPercentage": 50}, "status": {"currentCPUUtilizationPercentage": 10},
    });

    assert_eq!(cells("autoscaling", "HorizontalPodAutoscaler", object)[2], "cpu: 10%/50%");
}

#[test]
fn a_disruption_budget_shows_numbers_and_percentages() {
    let budget = json!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}});

    assert_eq!(cells("policy", "PodDisruptionBudget", budget), json!(["a", "50%", "N/A", 1, "90m"]));
    assert_eq!(cells("policy", "PodDisruptionBudget", json!({"spec": {"maxUnavailable": 2}}))[2], "2");
}

#[test]
fn bindings_show_their_role_and_subjects() {
    let binding = json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [
        {"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"}, {"kind": "User", "name": "v"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "x"},
    ]});

    assert_eq!(
        cells("rbac.authorization.k8s.io", "RoleBinding", binding),
        json!(["a", "Role/r", "90m", "u, v", "g", "x/s"])
    );
    assert_eq!(cells("rbac.authorization.k8s.io", "ClusterRole", json!({})), json!(["a", CREATED]));
}

#[test]
fn a_signing_request_shows_how_it_was_decided() {
    let request = json!({
        "spec": {"signerName": "ex.com/s", "username": "u", "expirationSeconds": 86400},
        "status": {"conditions": [{"type": "Approved"}], "certificate": "Zm9v"},
    });

    assert_eq!(
        cells("certificates.k8s.io", "CertificateSigningRequest", request),
        json!(["a", "90m", "ex.com/s", "u", "24h", "Approved,Issued"])
    );
    let denied =
        json!({"status": {"conditions": [{"type": "Approved"}, {"type": "Denied"}, {"type": "Failed"}]}});
    assert_eq!(cells("certificates.k8s.io", "CertificateSigningRequest", denied)[5], "Denied,Failed");
}

#[test]
fn small_kinds_show_their_fields() {
    let lease = json!({"spec": {"holderIdentity": "me"}});
    let class = json!({"value": 2_000_001_000, "preemptionPolicy": "PreemptLowerPriority"});
    let attachment = json!({
        "spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "v"}},
        "status": {"attached": true},
    });
    let condition = json!({"type": "Healthy", "status": "False", "message": "m", "error": "e"});
    let service = json!({"service": {"namespace": "x", "name": "s"}});
    let unavailable = json!({"conditions": [{"type": "Available", "status": "False", "reason": "R"}]});

    assert_eq!(cells("coordination.k8s.io", "Lease", lease), json!(["a", "me", "90m"]));
    assert_eq!(
        cells("scheduling.k8s.io", "PriorityClass", class),
        json!(["a", 2_000_001_000, false, "90m", "PreemptLowerPriority"])
    );
    assert_eq!(
        cells("storage.k8s.io", "VolumeAttachment", attachment),
        json!(["a", "d", "v", "n", true, "90m"])
    );
    assert_eq!(
        cells("", "ComponentStatus", json!({"conditions": [condition]})),
        json!(["a", "Unhealthy", "m", "e"])
    );
    assert_eq!(
        cells("apiregistration.k8s.io", "APIService", json!({"spec": service, "status": unavailable})),
        json!(["a", "x/s", "False (R)", "90m"])
    );
    assert_eq!(cells("", "Namespace", json!({"status": {"phase": "Active"}})), json!(["a", "Active", "90m"]));
    assert_eq!(
        cells(
            "networking.k8s.io",
            "NetworkPolicy",
            json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}})
        ),
        json!(["a", "a=b", "90m"])
    );
}
