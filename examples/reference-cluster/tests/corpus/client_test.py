#!/usr/bin/env python3
"""Uses the official Python client as its users do, against a cluster that listens without TLS.

    python3 client_test.py --server http://127.0.0.1:8080

Needs nothing but the package `kubernetes` and `client_kinds.py` beside it. Every step prints one line. The first that fails ends the
script with a message that says what was expected, and status 1.
"""

import argparse
import datetime
import importlib.metadata
import inspect
import json
import logging
import re
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
import uuid

import client_kinds
from kubernetes import client, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
try:
    from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
except ImportError:
    LeaseLock = None

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
LABELS = {"app": "web"}
STEPS = []


def step(function):
    STEPS.append(function)
    return function


class Failed(Exception):
    pass


def same(what, got, wanted):
    if got != wanted:
        raise Failed(f"{what}: expected {wanted!r}, got {got!r}")


def holds(what, truth):
    if not truth:
        raise Failed(what)


def refused(what, status, reason, call, *arguments, **options):
    """Calls, and returns the Status with which the server must refuse."""
    try:
        answer = call(*arguments, **options)
    except ApiException as error:
        same(f"{what}: code", error.status, status)
        body = json.loads(error.body)
        same(f"{what}: kind of the body", (body["kind"], body["apiVersion"], body["status"]), ("Status", "v1", "Failure"))
        same(f"{what}: code in the body", body["code"], status)
        same(f"{what}: reason in the body", body["reason"], reason)
        return body
    raise Failed(f"{what}: expected {status} {reason}, got {str(answer)[:300]}")


def until(what, check, seconds=60):
    """Waits until `check` returns something true, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(0.2)
    raise Failed(f"{what}: did not come true in {seconds} seconds")


def body_of(response):
    """The JSON of an answer that the client was asked not to read."""
    return json.loads(getattr(response, "data", None) or response.read())


def gone(what, read, *arguments):
    def missing():
        try:
            read(*arguments)
        except ApiException as error:
            return error.status == 404
        return False
    until(f"{what} is gone", missing)


def pod_spec(**more):
    return client.V1PodSpec(containers=[client.V1Container(
        name="web", image="host", command=["sleep", "1000"],
        ports=[client.V1ContainerPort(container_port=80, name="http")],
        env=[client.V1EnvVar(name="A", value="1")])], **more)


def template(**more):
    return client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=LABELS), spec=pod_spec(**more))


def meta(name, **more):
    return client.V1ObjectMeta(name=name, **more)


class Typed:
    """An API of the client whose patch functions take `_content_type`, which older releases of the client lack."""

    def __init__(self, api):
        self.inner = api

    def __getattr__(self, name):
        function = getattr(self.inner, name)
        if not name.startswith("patch_") or NAMES_CONTENT_TYPES:
            return function

        def patch(*arguments, _content_type, **options):
            headers = self.inner.api_client.default_headers
            headers["Content-Type"] = _content_type
            try:
                return function(*arguments, **options)
            finally:
                del headers["Content-Type"]
        return patch

    def __dir__(self):
        return dir(self.inner)


NAMES_CONTENT_TYPES = "_content_type" in inspect.signature(client.CoreV1Api.patch_namespace).parameters


class Test:
    def __init__(self, server):
        configuration = client.Configuration()
        configuration.host = server
        client.Configuration.set_default(configuration)
        self.api = client.ApiClient(configuration)
        self.core = Typed(client.CoreV1Api(self.api))
        self.apps = Typed(client.AppsV1Api(self.api))
        self.ns = f"python-{uuid.uuid4().hex[:8]}"

    def plain(self, answer):
        """An answer as JSON: releases differ in whether a Status comes as an object."""
        return self.api.sanitize_for_serialization(answer)

    def crud(self, api, kind, body, change, changed, cluster=False):
        """Create, read, list, replace, merge patch and delete by the typed functions of a kind."""
        api = api if isinstance(api, Typed) else Typed(api)
        middle = "" if cluster else "namespaced_"
        place = () if cluster else (self.ns,)
        call = lambda verb: getattr(api, f"{verb}_{middle}{kind}")
        name = body.metadata.name
        made = call("create")(*place, body)
        same(f"{kind}: name", made.metadata.name, name)
        same(f"{kind}: namespace", made.metadata.namespace, None if cluster else self.ns)
        holds(f"{kind}: uid, revision and time", made.metadata.uid and made.metadata.resource_version)
        holds(f"{kind}: time", isinstance(made.metadata.creation_timestamp, datetime.datetime))
        read = call("read")(name, *place)
        same(f"{kind}: uid as read", read.metadata.uid, made.metadata.uid)
        same(f"{kind}: kind and version as read", bool(read.kind and read.api_version), True)
        listed = call("list")(*place, label_selector="made-by=python", field_selector=f"metadata.name={name}") \
            if body.metadata.labels else call("list")(*place)
        holds(f"{kind}: is listed", name in [item.metadata.name for item in listed.items])
        holds(f"{kind}: the list has a revision", int(listed.metadata.resource_version) > 0)
        if not cluster:
            everywhere = [f for f in dir(api) if f == f"list_{kind}_for_all_namespaces"]
            listed = getattr(api, everywhere[0])()
            holds(f"{kind}: is listed for all namespaces", (self.ns, name) in
                  [(item.metadata.namespace, item.metadata.name) for item in listed.items])
        for attempt in range(20):
            read = call("read")(name, *place)
            change(read)
            try:
                replaced = call("replace")(name, *place, read)
                break
            except ApiException as error:
                # A controller wrote its status in between.
                if error.status != 409 or attempt == 19:
                    raise
        holds(f"{kind}: replaced as asked", changed(replaced))
        holds(f"{kind}: a new revision", replaced.metadata.resource_version != made.metadata.resource_version)
        patch = {"metadata": {"annotations": {"note": "patched"}}}
        patched = call("patch")(name, *place, patch, _content_type=MERGE_PATCH)
        same(f"{kind}: annotation as patched", patched.metadata.annotations["note"], "patched")
        refused(f"{kind}: created twice", 409, "AlreadyExists", call("create"), *place, body)
        call("delete")(name, *place)
        gone(f"{kind} {name}", call("read"), name, *place)


@step
def versions_and_groups(t):
    version = client.VersionApi(t.api).get_code()
    same("major version", version.major, "1")
    holds("a release", version.git_version.startswith("v1."))
    groups = [group.name for group in client.ApisApi(t.api).get_api_versions().groups]
    for group in ("apps", "batch", "apiextensions.k8s.io", "coordination.k8s.io"):
        holds(f"group {group}", group in groups)
    holds("core versions", "v1" in client.CoreApi(t.api).get_api_versions().versions)
    names = [resource.name for resource in t.core.get_api_resources().resources]
    holds("resources of core", {"pods", "pods/log", "services", "secrets"} <= set(names))


@step
def namespace(t):
    t.core.create_namespace(client.V1Namespace(metadata=meta(t.ns)))
    same("phase", t.core.read_namespace(t.ns).status.phase, "Active")
    until("default service account", lambda: [a for a in t.core.list_namespaced_service_account(t.ns).items
                                              if a.metadata.name == "default"])


@step
def config_maps(t):
    body = client.V1ConfigMap(metadata=meta("map", labels={"made-by": "python"}), data={"k": "v"},
                              binary_data={"b": "AAEC"})
    t.crud(t.core, "config_map", body, lambda o: o.data.update(k="w"), lambda o: o.data == {"k": "w"}
           and o.binary_data == {"b": "AAEC"})


@step
def secrets(t):
    body = client.V1Secret(metadata=meta("secret"), string_data={"password": "pässword"})

    def change(secret):
        same("secret: text in base64", secret.data, {"password": "cMOkc3N3b3Jk"})
        same("secret: type", secret.type, "Opaque")
        secret.string_data = {"user": "me"}
    t.crud(t.core, "secret", body, change, lambda o: o.data == {"password": "cMOkc3N3b3Jk", "user": "bWU="})


@step
def pods(t):
    pod = client.V1Pod(metadata=meta("pod", labels=LABELS), spec=pod_spec())
    made = t.core.create_namespaced_pod(t.ns, pod)
    same("pod: restart policy by default", made.spec.restart_policy, "Always")
    same("pod: grace period by default", made.spec.termination_grace_period_seconds, 30)
    until("pod runs", lambda: t.core.read_namespaced_pod("pod", t.ns).status.phase == "Running")
    same("pod: log is text", isinstance(t.core.read_namespaced_pod_log("pod", t.ns), str), True)
    read = t.core.read_namespaced_pod_status("pod", t.ns)
    holds("pod: address", read.status.pod_ip)
    holds("pod: started", isinstance(read.status.start_time, datetime.datetime))
    holds("pod: statuses of containers", read.status.container_statuses[0].state.running.started_at)
    patched = t.core.patch_namespaced_pod("pod", t.ns, {"metadata": {"labels": {"more": "1"}}}, _content_type=STRATEGIC)
    same("pod: labels", patched.metadata.labels, {"app": "web", "more": "1"})
    deleted = t.core.delete_namespaced_pod("pod", t.ns, body=client.V1DeleteOptions(grace_period_seconds=0))
    same("pod: what deletion answers", deleted.metadata.name, "pod")
    gone("pod", t.core.read_namespaced_pod, "pod", t.ns)
    generated = t.core.create_namespaced_pod(t.ns, client.V1Pod(
        metadata=client.V1ObjectMeta(generate_name="made-"), spec=pod_spec()))
    holds("pod: generated name", generated.metadata.name.startswith("made-") and len(generated.metadata.name) == 10)
    t.core.delete_collection_namespaced_pod(t.ns, grace_period_seconds=0)
    until("collection is gone", lambda: not t.core.list_namespaced_pod(t.ns).items)


@step
def services(t):
    body = client.V1Service(metadata=meta("service"), spec=client.V1ServiceSpec(
        selector=LABELS, ports=[client.V1ServicePort(port=80, target_port="http")]))

    def change(service):
        holds("service: address", service.spec.cluster_ip)
        same("service: type by default", service.spec.type, "ClusterIP")
        same("service: target port is text", service.spec.ports[0].target_port, "http")
        service.spec.ports[0].target_port = 8080
    t.crud(t.core, "service", body, change, lambda o: o.spec.ports[0].target_port == 8080)


@step
def deployments(t):
    body = client.V1Deployment(metadata=meta("web"), spec=client.V1DeploymentSpec(
        replicas=1, selector=client.V1LabelSelector(match_labels=LABELS), template=template()))
    made = t.apps.create_namespaced_deployment(t.ns, body)
    same("deployment: surge by default", made.spec.strategy.rolling_update.max_surge, "25%")
    same("deployment: generation", made.metadata.generation, 1)
    until("deployment is available", lambda: t.apps.read_namespaced_deployment("web", t.ns).status.available_replicas == 1)

    scale = t.apps.read_namespaced_deployment_scale("web", t.ns)
    same("scale: kind and counts", (scale.kind, scale.spec.replicas, scale.status.replicas, scale.status.selector),
         ("Scale", 1, 1, "app=web"))
    scale.spec.replicas = 3
    same("scale: as replaced", t.apps.replace_namespaced_deployment_scale("web", t.ns, scale).spec.replicas, 3)
    until("three replicas", lambda: t.apps.read_namespaced_deployment("web", t.ns).status.ready_replicas == 3)
    patch = {"spec": {"replicas": 2}}
    same("scale: as patched", t.apps.patch_namespaced_deployment_scale("web", t.ns, patch, _content_type=MERGE_PATCH)
         .spec.replicas, 2)

    patch = {"spec": {"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "B", "value": "2"}]}]}}}}
    patched = t.apps.patch_namespaced_deployment("web", t.ns, patch, _content_type=STRATEGIC)
    container = patched.spec.template.spec.containers[0]
    same("strategic merge: image stays", container.image, "host")
    same("strategic merge: environment", sorted((e.name, e.value) for e in container.env), [("A", "1"), ("B", "2")])
    patch = {"metadata": {"labels": {"tier": "front"}}, "spec": {"paused": None, "minReadySeconds": 1}}
    patched = t.apps.patch_namespaced_deployment("web", t.ns, patch, _content_type=MERGE_PATCH)
    same("merge: as patched", (patched.metadata.labels, patched.spec.min_ready_seconds), ({"tier": "front"}, 1))
    patch = [{"op": "test", "path": "/metadata/labels/tier", "value": "front"},
             {"op": "replace", "path": "/metadata/labels/tier", "value": "back"}]
    patched = t.apps.patch_namespaced_deployment("web", t.ns, patch, _content_type=JSON_PATCH)
    same("JSON patch: as patched", patched.metadata.labels, {"tier": "back"})
    refused("JSON patch: its test fails", 422, "Invalid", t.apps.patch_namespaced_deployment, "web", t.ns, patch,
            _content_type=JSON_PATCH)
    refused("an unknown type of patch", 415, "UnsupportedMediaType", t.apps.patch_namespaced_deployment, "web", t.ns,
            {}, _content_type="application/json")
    until("rollout ends", lambda: (lambda d: d.status.observed_generation == d.metadata.generation
          and d.status.updated_replicas == 2 and d.status.available_replicas == 2 and d.status.replicas == 2)(
          t.apps.read_namespaced_deployment("web", t.ns)))
    same("two replica sets", len(t.apps.list_namespaced_replica_set(t.ns, label_selector="app=web").items), 2)

    t.apps.delete_namespaced_deployment("web", t.ns, propagation_policy="Orphan")
    gone("deployment", t.apps.read_namespaced_deployment, "web", t.ns)
    sets = t.apps.list_namespaced_replica_set(t.ns).items
    same("orphans without owners", [s.metadata.owner_references for s in sets], [None, None])
    t.apps.delete_collection_namespaced_replica_set(t.ns, body=client.V1DeleteOptions(propagation_policy="Background"))
    until("pods go with their replica sets", lambda: not t.core.list_namespaced_pod(t.ns).items)


@step
def more_of_apps(t):
    spec = client.V1StatefulSetSpec(service_name="set", replicas=0, template=template(),
                                    selector=client.V1LabelSelector(match_labels=LABELS))
    t.crud(t.apps, "stateful_set", client.V1StatefulSet(metadata=meta("set"), spec=spec),
           lambda o: setattr(o.spec, "replicas", 1), lambda o: o.spec.replicas == 1)
    spec = client.V1DaemonSetSpec(template=template(node_selector={"no": "where"}),
                                  selector=client.V1LabelSelector(match_labels=LABELS))
    t.crud(t.apps, "daemon_set", client.V1DaemonSet(metadata=meta("daemons"), spec=spec),
           lambda o: setattr(o.spec, "min_ready_seconds", 3), lambda o: o.spec.min_ready_seconds == 3)


@step
def jobs_and_cron_jobs(t):
    batch = client.BatchV1Api(t.api)
    job = client.V1JobSpec(parallelism=0, template=template(restart_policy="Never"))
    t.crud(batch, "job", client.V1Job(metadata=meta("job"), spec=job), lambda o: setattr(o.spec, "suspend", True),
           lambda o: o.spec.suspend is True and o.spec.backoff_limit == 6)
    spec = client.V1CronJobSpec(schedule="0 0 1 1 *", job_template=client.V1JobTemplateSpec(spec=job))
    t.crud(batch, "cron_job", client.V1CronJob(metadata=meta("cron"), spec=spec),
           lambda o: setattr(o.spec, "schedule", "5 4 * * *"), lambda o: o.spec.schedule == "5 4 * * *")


@step
def networking(t):
    api = client.NetworkingV1Api(t.api)
    backend = client.V1IngressBackend(service=client.V1IngressServiceBackend(
        name="web", port=client.V1ServiceBackendPort(number=80)))
    rule = client.V1IngressRule(host="a.example", http=client.V1HTTPIngressRuleValue(
        paths=[client.V1HTTPIngressPath(path="/", path_type="Prefix", backend=backend)]))
    t.crud(api, "ingress", client.V1Ingress(metadata=meta("ingress"), spec=client.V1IngressSpec(rules=[rule])),
           lambda o: setattr(o.spec.rules[0], "host", "b.example"), lambda o: o.spec.rules[0].host == "b.example")
    peer = client.V1NetworkPolicyPeer(pod_selector=client.V1LabelSelector(match_labels=LABELS))
    kinds = {"_from": [peer], "ports": [client.V1NetworkPolicyPort(port=80)]}
    spec = client.V1NetworkPolicySpec(pod_selector=client.V1LabelSelector(),
                                      ingress=[client.V1NetworkPolicyIngressRule(**kinds)])

    def change(policy):
        same("policy: types by default", policy.spec.policy_types, ["Ingress"])
        same("policy: protocol by default", policy.spec.ingress[0].ports[0].protocol, "TCP")
        policy.spec.ingress[0].ports[0].port = "http"
    t.crud(api, "network_policy", client.V1NetworkPolicy(metadata=meta("policy"), spec=spec), change,
           lambda o: o.spec.ingress[0].ports[0].port == "http")


@step
def storage(t):
    spec = client.V1PersistentVolumeClaimSpec(
        access_modes=["ReadWriteOnce"], storage_class_name="nobody-s",
        resources=client.V1VolumeResourceRequirements(requests={"storage": "1Gi"}))
    t.crud(t.core, "persistent_volume_claim", client.V1PersistentVolumeClaim(metadata=meta("claim"), spec=spec),
           lambda o: setattr(o.metadata, "labels", {"a": "b"}), lambda o: o.metadata.labels == {"a": "b"}
           and o.spec.resources.requests == {"storage": "1Gi"})
    name = f"class-{t.ns}"
    t.crud(client.StorageV1Api(t.api), "storage_class", client.V1StorageClass(
        metadata=meta(name), provisioner="example.com/none"), lambda o: setattr(o, "allow_volume_expansion", True),
        lambda o: o.allow_volume_expansion is True and o.reclaim_policy == "Delete", cluster=True)


@step
def autoscalers(t):
    metric = client.V2MetricSpec(type="Resource", resource=client.V2ResourceMetricSource(
        name="cpu", target=client.V2MetricTarget(type="Utilization", average_utilization=50)))
    spec = client.V2HorizontalPodAutoscalerSpec(max_replicas=3, metrics=[metric],
        scale_target_ref=client.V2CrossVersionObjectReference(api_version="apps/v1", kind="Deployment", name="web"))
    body = client.V2HorizontalPodAutoscaler(metadata=meta("scaler"), spec=spec)
    t.crud(client.AutoscalingV2Api(t.api), "horizontal_pod_autoscaler", body,
           lambda o: setattr(o.spec, "max_replicas", 5), lambda o: o.spec.max_replicas == 5 and o.spec.min_replicas == 1)


@step
def rbac_and_policy(t):
    api = client.RbacAuthorizationV1Api(t.api)
    rule = client.V1PolicyRule(api_groups=[""], resources=["pods"], verbs=["get"])
    t.crud(api, "role", client.V1Role(metadata=meta("reader"), rules=[rule]),
           lambda o: o.rules[0].verbs.append("list"), lambda o: o.rules[0].verbs == ["get", "list"])
    subject = getattr(client, "RbacV1Subject", None) or client.V1Subject
    binding = client.V1RoleBinding(
        metadata=meta("readers"), subjects=[subject(kind="User", name="me", api_group="rbac.authorization.k8s.io")],
        role_ref=client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name="reader"))
    t.crud(api, "role_binding", binding, lambda o: setattr(o.subjects[0], "name", "you"),
           lambda o: o.subjects[0].name == "you")
    budget = client.V1PodDisruptionBudget(metadata=meta("budget"), spec=client.V1PodDisruptionBudgetSpec(
        min_available="50%", selector=client.V1LabelSelector(match_labels=LABELS)))
    t.crud(client.PolicyV1Api(t.api), "pod_disruption_budget", budget, lambda o: setattr(o.spec, "min_available", 1),
           lambda o: o.spec.min_available == 1)


@step
def other_kinds(t):
    quota = client.V1ResourceQuota(metadata=meta("quota"), spec=client.V1ResourceQuotaSpec(hard={"pods": "100"}))
    t.crud(t.core, "resource_quota", quota, lambda o: o.spec.hard.update(pods="99"), lambda o: o.spec.hard == {"pods": "99"})
    limits = client.V1LimitRange(metadata=meta("limits"), spec=client.V1LimitRangeSpec(
        limits=[client.V1LimitRangeItem(type="Pod", max={"memory": "64Gi"})]))
    t.crud(t.core, "limit_range", limits, lambda o: o.spec.limits[0].max.update(memory="32Gi"),
           lambda o: o.spec.limits[0].max == {"memory": "32Gi"})
    t.crud(t.core, "service_account", client.V1ServiceAccount(metadata=meta("account")),
           lambda o: setattr(o, "automount_service_account_token", False),
           lambda o: o.automount_service_account_token is False)
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=120)
    lease = client.V1Lease(metadata=meta("lease"), spec=client.V1LeaseSpec(
        holder_identity="me", lease_duration_seconds=15, renew_time=now, lease_transitions=1))

    def change(lease):
        same("lease: time with microseconds", lease.spec.renew_time, now)
        lease.spec.holder_identity = "you"
    t.crud(client.CoordinationV1Api(t.api), "lease", lease, change, lambda o: o.spec.holder_identity == "you")
    t.crud(client.SchedulingV1Api(t.api), "priority_class", client.V1PriorityClass(metadata=meta(t.ns), value=10),
           lambda o: setattr(o, "description", "text"), lambda o: o.description == "text", cluster=True)
    nodes = t.core.list_node().items
    holds("nodes", nodes)
    holds("a node's capacity", "cpu" in nodes[0].status.capacity and nodes[0].status.node_info.kubelet_version)
    holds("events are listed", t.core.list_namespaced_event(t.ns).metadata.resource_version)
    # The models of older releases refuse events without a time of the new group, which Kubernetes has, too.
    answer = client.EventsV1Api(t.api).list_namespaced_event(t.ns, _preload_content=False)
    same("events of the new group are listed", body_of(answer)["kind"], "EventList")
    piece = client.V1EndpointSlice(metadata=meta("slice"), address_type="IPv4",
                                   endpoints=[client.V1Endpoint(addresses=["10.1.2.3"])],
                                   ports=[client.DiscoveryV1EndpointPort(port=80)])
    t.crud(client.DiscoveryV1Api(t.api), "endpoint_slice", piece, lambda o: setattr(o.ports[0], "port", 81),
           lambda o: (o.ports[0].port, o.ports[0].protocol) == (81, "TCP"))


VERBS = {"create", "get", "list", "update", "patch", "delete"}


def served(t):
    """Every kind that is served and can be written: group, version and what discovery says of it."""
    def document(path):
        with urllib.request.urlopen(t.api.configuration.host + path) as answer:
            return json.load(answer)
    paths = [("", "v1", "/api/v1")]
    for group in document("/apis")["groups"]:
        paths += [(group["name"], v["version"], f"/apis/{v['groupVersion']}") for v in group["versions"]]
    for group, version, path in paths:
        for resource in document(path)["resources"]:
            if "/" not in resource["name"] and VERBS <= set(resource["verbs"]) and not group.startswith("python-"):
                yield group, version, resource


def typed_functions(t, group, version, resource):
    """The client's functions for a kind, by verb; nothing if this release of the client does not know the kind."""
    words = re.sub(r"\.k8s\.io$", "", group or "core").split(".")
    api = getattr(client, "".join(word.capitalize() for word in words + [version]) + "Api", None)
    snake = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", resource["kind"])).lower()
    middle = "namespaced_" if resource["namespaced"] else ""
    if api is None or not hasattr(api, f"create_{middle}{snake}"):
        return None
    api = Typed(api(t.api))
    return lambda verb: getattr(api, f"{verb}_{middle}{snake}")


def labelled(what, labels, wanted):
    """Some kinds get labels and annotations from the server, too."""
    same(what, {key: labels.get(key) for key in wanted}, wanted)


def typed_crud(what, call, place, name, body, patch):
    made = call("create")(*place, body)
    holds(f"{what}: made", made.metadata.uid and isinstance(made.metadata.creation_timestamp, datetime.datetime))
    listed = call("list")(*place, label_selector="made-by=every-kind")
    same(f"{what}: listed", [item.metadata.uid for item in listed.items], [made.metadata.uid])
    call("patch")(name, *place, patch, _content_type=MERGE_PATCH)

    def replaced():
        # Between the two, a controller may write.
        read = call("read")(name, *place)
        read.metadata.annotations = {"note": "replaced"}
        try:
            return call("replace")(name, *place, read)
        except ApiException as error:
            if error.status != 409:
                raise
    now = until(f"{what}: replaced", replaced, 10)
    same(f"{what}: is what it was", now.metadata.uid, made.metadata.uid)
    labelled(f"{what}: annotations", now.metadata.annotations, {"note": "replaced"})
    labelled(f"{what}: patched", now.metadata.labels, {"made-by": "every-kind", "patched": "yes"})
    refused(f"{what}: made twice", 409, "AlreadyExists", call("create"), *place, body)
    options = {"grace_period_seconds": 0} if what.endswith(" Pod") else {}
    call("delete")(name, *place, **options)
    gone(what, call("read"), name, *place)


def dynamic_crud(what, api, place, name, body, patch):
    made = api.create(body=body, **place)
    holds(f"{what}: made dynamically", made.metadata.uid)
    same(f"{what}: listed dynamically", [item.metadata.uid for item in api.get(label_selector="made-by=every-kind", **place).items],
         [made.metadata.uid])
    api.patch(body=patch, name=name, content_type=MERGE_PATCH, **place)
    applied = {key: body[key] for key in ("apiVersion", "kind")}
    applied["metadata"] = {"name": name, "labels": {"applied": "yes"}}
    now = api.server_side_apply(body=applied, name=name, field_manager="every-kind", **place)
    labelled(f"{what}: patched and applied dynamically", now.metadata.labels.to_dict(),
             {"made-by": "every-kind", "patched": "yes", "applied": "yes"})
    same(f"{what}: who applied", [m.manager for m in now.metadata.managedFields if m.operation == "Apply"], ["every-kind"])
    api.delete(name=name, **({"body": {"gracePeriodSeconds": 0}} if what.endswith(" Pod") else {}), **place)
    until(f"{what} is gone", lambda: not api.get(label_selector="made-by=every-kind", **place).items)


@step
def every_kind(t):
    """Every kind that is served, by the functions for it and by the dynamic client."""
    bodies, typed, all_kinds = client_kinds.bodies(t.ns), 0, list(served(t))
    with tempfile.TemporaryDirectory() as folder:
        dyn = dynamic.DynamicClient(t.api, cache_file=f"{folder}/cache")
        for group, version, resource in all_kinds:
            kind, gv = resource["kind"], f"{group}/{version}".lstrip("/")
            what = f"{gv} {kind}"
            holds(f"client_kinds.py has no {group}/{kind}", (group, kind) in bodies)
            content, change = bodies[group, kind]
            name = client_kinds.name_of(group, kind, f"every-{t.ns}")
            meta_of = {"name": name, "labels": {"made-by": "every-kind"}}
            body = {"apiVersion": gv, "kind": kind, "metadata": meta_of, **content}
            patch = {"metadata": {"labels": {"patched": "yes"}}, **(change or {})}
            place = (t.ns,) if resource["namespaced"] else ()
            call = typed_functions(t, group, version, resource)
            if call:
                typed += 1
                typed_crud(what, call, place, name, body, patch)
            dynamic_crud(what, dyn.resources.get(api_version=gv, kind=kind), {"namespace": t.ns} if place else {}, name,
                         body, patch)
    holds(f"{typed} of {len(all_kinds)} kinds have functions", typed > 45)


@step
def custom_objects(t):
    extensions = client.ApiextensionsV1Api(t.api)
    t.group = f"{t.ns}.example.com"
    schema = {"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1}, "colour": {"type": "string", "default": "red"}}},
        "status": {"type": "object", "properties": {"ready": {"type": "integer"}}}}}
    version = client.V1CustomResourceDefinitionVersion(
        name="v1", served=True, storage=True, schema=client.V1CustomResourceValidation(open_apiv3_schema=schema),
        subresources=client.V1CustomResourceSubresources(status={}, scale=client.V1CustomResourceSubresourceScale(
            spec_replicas_path=".spec.size", status_replicas_path=".status.ready")),
        additional_printer_columns=[client.V1CustomResourceColumnDefinition(
            name="Size", type="integer", json_path=".spec.size")])
    name = f"ships.{t.group}"
    body = client.V1CustomResourceDefinition(metadata=meta(name), spec=client.V1CustomResourceDefinitionSpec(
        group=t.group, scope="Namespaced", versions=[version],
        names=client.V1CustomResourceDefinitionNames(plural="ships", singular="ship", kind="Ship", short_names=["sh"])))
    made = extensions.create_custom_resource_definition(body)
    same("definition: list kind by default", made.spec.names.list_kind, "ShipList")
    until("definition is established", lambda: "Established" in [
        c.type for c in extensions.read_custom_resource_definition(name).status.conditions or [] if c.status == "True"])
    holds("definition is listed", name in [d.metadata.name for d in extensions.list_custom_resource_definition().items])

    api = Typed(client.CustomObjectsApi(t.api))
    at = (t.group, "v1", t.ns, "ships")
    ship = {"apiVersion": f"{t.group}/v1", "kind": "Ship", "metadata": {"name": "one"}, "spec": {"size": 3}}
    made = api.create_namespaced_custom_object(*at, ship)
    same("ship: default", made["spec"], {"size": 3, "colour": "red"})
    same("ship: generation", made["metadata"]["generation"], 1)
    error = refused("ship of no size", 422, "Invalid", api.create_namespaced_custom_object, *at,
                    ship | {"metadata": {"name": "two"}, "spec": {"size": 0}})
    same("ship of no size: field", error["details"]["causes"][0]["field"], "spec.size")
    patch = {"spec": {"colour": "blue"}}
    same("ship: patched", api.patch_namespaced_custom_object(*at, "one", patch, _content_type=MERGE_PATCH)["spec"],
         {"size": 3, "colour": "blue"})
    made = api.get_namespaced_custom_object(*at, "one")
    made["spec"]["size"] = 4
    made["status"] = {"ready": 9}
    made = api.replace_namespaced_custom_object(*at, "one", made)
    same("ship: replaced without status", (made["spec"]["size"], "status" in made), (4, False))
    made["status"] = {"ready": 2}
    same("ship: status", api.replace_namespaced_custom_object_status(*at, "one", made)["status"], {"ready": 2})
    scale = api.get_namespaced_custom_object_scale(*at, "one")
    same("ship: scale", (scale["kind"], scale["spec"]["replicas"], scale["status"]["replicas"]), ("Scale", 4, 2))
    same("ships listed", [o["metadata"]["name"] for o in api.list_namespaced_custom_object(*at)["items"]], ["one"])
    same("ships in the cluster", len(api.list_cluster_custom_object(t.group, "v1", "ships")["items"]), 1)
    seen = []
    watcher = watch.Watch()
    for event in watcher.stream(api.list_namespaced_custom_object, *at, timeout_seconds=5):
        seen.append((event["type"], event["object"]["metadata"]["name"]))
        watcher.stop()
    same("ships watched", seen, [("ADDED", "one")])
    same("ship deleted", api.delete_namespaced_custom_object(*at, "one")["status"], "Success")
    refused("no ship", 404, "NotFound", api.get_namespaced_custom_object, *at, "one")


@step
def watches(t):
    first = t.core.create_namespaced_config_map(t.ns, client.V1ConfigMap(metadata=meta("w-0"), data={"n": "0"}))
    start = t.core.list_namespaced_config_map(t.ns).metadata.resource_version
    t.core.create_namespaced_config_map(t.ns, client.V1ConfigMap(metadata=meta("w-1", labels={"w": "1"})))
    t.core.patch_namespaced_config_map("w-1", t.ns, {"data": {"n": "1"}}, _content_type=MERGE_PATCH)
    t.core.delete_namespaced_config_map("w-1", t.ns)
    got = [(e["type"], e["object"].metadata.name, e["object"].data) for e in watch.Watch().stream(
        t.core.list_namespaced_config_map, t.ns, resource_version=start, timeout_seconds=2)]
    same("events after a list", got, [("ADDED", "w-1", None), ("MODIFIED", "w-1", {"n": "1"}),
                                      ("DELETED", "w-1", {"n": "1"})])
    got = [(e["type"], e["object"].metadata.name) for e in watch.Watch().stream(
        t.core.list_namespaced_config_map, t.ns, label_selector="w=1", resource_version=start, timeout_seconds=2)]
    same("events of a selection", got, [("ADDED", "w-1"), ("MODIFIED", "w-1"), ("DELETED", "w-1")])
    got = [(e["type"], e["object"].metadata.name) for e in watch.Watch().stream(
        t.core.list_namespaced_config_map, t.ns, field_selector="metadata.name=w-0", timeout_seconds=2)]
    same("events without a revision", got, [("ADDED", "w-0")])
    got = []
    watcher = watch.Watch()
    for event in watcher.stream(t.core.list_namespaced_config_map, t.ns, allow_watch_bookmarks=True,
                                resource_version=start, field_selector="metadata.name=none", timeout_seconds=3):
        got.append((event["type"], int(event["raw_object"]["metadata"]["resourceVersion"]) >= int(start)))
    same("a bookmark before the end", got, [("BOOKMARK", True)])
    error = None
    try:
        list(watch.Watch().stream(t.core.list_namespaced_config_map, t.ns, resource_version="words", timeout_seconds=2))
    except ApiException as caught:
        error = caught
    # So says kube-apiserver, too.
    same("a revision that is no number", error and error.status, 500)
    t.core.delete_namespaced_config_map("w-0", t.ns)
    holds("revisions grow", int(first.metadata.resource_version) <= int(start))

    # A watch that goes on by itself when the server ends it, as it does without timeout_seconds.
    started = threading.Event()

    def later():
        started.wait()
        time.sleep(0.3)
        t.core.create_namespaced_config_map(t.ns, client.V1ConfigMap(metadata=meta("w-2")))
    thread = threading.Thread(target=later)
    thread.start()
    watcher = watch.Watch()
    started.set()
    for event in watcher.stream(t.core.list_namespaced_config_map, t.ns, field_selector="metadata.name=w-2"):
        same("a live event", (event["type"], event["object"].metadata.name), ("ADDED", "w-2"))
        watcher.stop()
    thread.join()
    t.core.delete_namespaced_config_map("w-2", t.ns)


@step
def watches_with_initial_events(t):
    """A list as a watch: what is there, a mark, and then what changes."""
    for name in ("i-0", "i-1"):
        t.core.create_namespaced_config_map(t.ns, client.V1ConfigMap(metadata=meta(name, labels={"i": "1"})))
    got = []
    watcher = watch.Watch()
    for event in watcher.stream(t.core.list_namespaced_config_map, t.ns, send_initial_events=True, timeout_seconds=30,
                                resource_version_match="NotOlderThan", allow_watch_bookmarks=True, label_selector="i=1"):
        metadata = event["raw_object"]["metadata"]
        got.append((event["type"], metadata.get("name") or metadata.get("annotations")))
        if event["type"] == "BOOKMARK":
            t.core.delete_namespaced_config_map("i-0", t.ns)
        if event["type"] == "DELETED":
            watcher.stop()
    same("initial events", got, [("ADDED", "i-0"), ("ADDED", "i-1"), ("BOOKMARK", {"k8s.io/initial-events-end": "true"}),
                                 ("DELETED", "i-0")])
    refused("initial events of no watch", 422, "Invalid", t.core.list_namespaced_config_map, t.ns, send_initial_events=True,
            resource_version_match="NotOlderThan")
    t.core.delete_namespaced_config_map("i-1", t.ns)


@step
def watches_of_forgotten_revisions(t):
    """Writes until the server forgets the first revision; then a watch must say 410, and a new list must help."""
    old = t.core.list_namespaced_config_map(t.ns).metadata.resource_version
    t.core.create_namespaced_config_map(t.ns, client.V1ConfigMap(metadata=meta("large")))
    for number in range(80):
        t.core.patch_namespaced_config_map("large", t.ns, {"data": {"k": f"{number:03}" * 340_000}},
                                           _content_type=MERGE_PATCH, _preload_content=False).read()
    error = None
    try:
        # The client tries once more by itself and then gives up.
        for event in watch.Watch().stream(t.core.list_namespaced_config_map, t.ns, resource_version=old):
            raise Failed(f"a watch from a forgotten revision sent {event['type']}")
    except ApiException as caught:
        error = caught
    same("a forgotten revision: code", error.status, 410)
    holds(f"a forgotten revision: reason, got {error.reason}", error.reason.startswith("Expired: too old resource version: "))
    # As every user of the client does after a 410: list, and watch from there.
    start = t.core.list_namespaced_config_map(t.ns).metadata.resource_version
    t.core.delete_namespaced_config_map("large", t.ns)
    got = [(e["type"], e["object"].metadata.name) for e in watch.Watch().stream(
        t.core.list_namespaced_config_map, t.ns, resource_version=start, timeout_seconds=2)]
    same("after listing again", got, [("DELETED", "large")])


@step
def pages(t):
    for number in range(7):
        t.core.create_namespaced_config_map(t.ns, client.V1ConfigMap(metadata=meta(f"page-{number}", labels={"page": "1"})))
    names, token, left, revisions = [], None, [], set()
    while True:
        page = t.core.list_namespaced_config_map(t.ns, limit=3, **({"_continue": token} if token else {}))
        names += [item.metadata.name for item in page.items if item.metadata.name.startswith("page-")]
        left.append(page.metadata.remaining_item_count)
        revisions.add(page.metadata.resource_version)
        token = page.metadata._continue if hasattr(page.metadata, "_continue") else page.metadata.var_continue
        if not token:
            break
        t.core.patch_namespaced_config_map("page-0", t.ns, {"data": {"n": token[:8]}}, _content_type=MERGE_PATCH)
        if len(left) == 1:
            t.core.delete_namespaced_config_map("page-6", t.ns)
    same("names over the pages", names, [f"page-{n}" for n in range(7)])
    same("all pages of one revision", len(revisions), 1)
    holds(f"what remains is counted, got {left}", left[0] and left[-1] is None)
    refused("a token that is none", 400, "BadRequest", t.core.list_namespaced_config_map, t.ns, limit=1, _continue="x")
    t.core.delete_collection_namespaced_config_map(t.ns, label_selector="page=1")
    same("a collection deleted by label", t.core.list_namespaced_config_map(t.ns, label_selector="page=1").items, [])


@step
def deletions(t):
    body = client.V1ConfigMap(metadata=meta("d"))
    made = t.core.create_namespaced_config_map(t.ns, body)
    status = t.plain(t.core.delete_namespaced_config_map("d", t.ns, dry_run="All"))
    same("a dry run's answer", status["status"], "Success")
    same("a dry run deletes nothing", t.core.read_namespaced_config_map("d", t.ns).metadata.uid, made.metadata.uid)
    refused("another uid", 409, "Conflict", t.core.delete_namespaced_config_map, "d", t.ns,
            body=client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="other")))
    refused("a policy that is none", 422, "Invalid", t.core.delete_namespaced_config_map, "d", t.ns,
            propagation_policy="Sideways")
    status = t.plain(t.core.delete_namespaced_config_map("d", t.ns, body=client.V1DeleteOptions(
        preconditions=client.V1Preconditions(uid=made.metadata.uid), propagation_policy="Background")))
    same("deleted", (status["kind"], status["status"], status["details"]), (
        "Status", "Success", {"name": "d", "kind": "configmaps", "uid": made.metadata.uid}))
    made = t.core.create_namespaced_config_map(t.ns, body, dry_run="All")
    holds("a dry run has a uid", made.metadata.uid)
    refused("a dry run makes nothing", 404, "NotFound", t.core.read_namespaced_config_map, "d", t.ns)

    # Some kinds answer a deletion with the object that was deleted; the client takes the answer for one.
    account = t.core.create_namespaced_service_account(t.ns, client.V1ServiceAccount(metadata=meta("d")))
    answer = t.core.delete_namespaced_service_account("d", t.ns)
    same("a deleted account is answered", (answer.kind, answer.metadata.name, answer.metadata.uid),
         ("ServiceAccount", "d", account.metadata.uid))

    spec = client.V1ReplicaSetSpec(replicas=1, selector=client.V1LabelSelector(match_labels=LABELS), template=template())
    t.apps.create_namespaced_replica_set(t.ns, client.V1ReplicaSet(metadata=meta("set"), spec=spec))
    pod = until("a pod", lambda: t.core.list_namespaced_pod(t.ns, label_selector="app=web").items)[0]
    same("its owner", pod.metadata.owner_references[0].kind, "ReplicaSet")
    # The function of the client takes whatever comes for a Status, so this looks at the answer itself.
    body = body_of(t.apps.delete_namespaced_replica_set("set", t.ns, propagation_policy="Foreground",
                                                        _preload_content=False))
    same("deletion in the foreground", (body["kind"], "deletionTimestamp" in body["metadata"], body["metadata"]["finalizers"]),
         ("ReplicaSet", True, ["foregroundDeletion"]))
    gone("the replica set", t.apps.read_namespaced_replica_set, "set", t.ns)
    same("its pods went before", t.core.list_namespaced_pod(t.ns, label_selector="app=web").items, [])


@step
def errors(t):
    error = refused("nothing there", 404, "NotFound", t.core.read_namespaced_config_map, "none", t.ns)
    same("nothing there: message", error["message"], 'configmaps "none" not found')
    same("nothing there: details", error["details"], {"name": "none", "kind": "configmaps"})
    try:
        t.core.read_namespaced_config_map("none", t.ns)
    except ApiException as caught:
        same("nothing there: reason of HTTP", caught.reason, "Not Found")
        same("nothing there: type of the answer", caught.headers["Content-Type"], "application/json")
    pod = {"metadata": {"name": "Bad_Name"}, "spec": {"containers": []}}
    error = refused("a bad pod", 422, "Invalid", t.core.create_namespaced_pod, t.ns, pod)
    same("a bad pod: fields", sorted(c["field"] for c in error["details"]["causes"]), ["metadata.name", "spec.containers"])
    made = t.core.create_namespaced_config_map(t.ns, client.V1ConfigMap(metadata=meta("e")))
    t.core.patch_namespaced_config_map("e", t.ns, {"data": {"a": "b"}}, _content_type=MERGE_PATCH)
    error = refused("an old revision", 409, "Conflict", t.core.replace_namespaced_config_map, "e", t.ns, made)
    holds("an old revision: message", "the object has been modified" in error["message"])
    refused("another name", 400, "BadRequest", t.core.replace_namespaced_config_map, "other", t.ns, made)
    refused("no namespace", 404, "NotFound", t.core.create_namespaced_config_map, "no-such-namespace",
            client.V1ConfigMap(metadata=meta("e")))
    refused("a bad selector", 400, "BadRequest", t.core.list_namespaced_pod, t.ns, label_selector="a in (")
    refused("a field that is none", 400, "BadRequest", t.core.list_namespaced_pod, t.ns, field_selector="spec.none=1")
    # The typed functions refuse unknown fields by themselves.
    with tempfile.TemporaryDirectory() as folder:
        dyn = dynamic.DynamicClient(t.api, cache_file=f"{folder}/cache")
        error = refused("an unknown field", 400, "BadRequest", dyn.request, "post",
                        f"/api/v1/namespaces/{t.ns}/configmaps?fieldValidation=Strict",
                        body={"metadata": {"name": "f"}, "dta": {}})
    holds("an unknown field: message", 'strict decoding error: unknown field "dta"' in error["message"])
    t.core.delete_namespaced_config_map("e", t.ns)


YAML = """
apiVersion: v1
kind: ConfigMap
metadata: {name: from-yaml}
data: {a: b}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: from-yaml}
  spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: from-yaml, creationTimestamp: null}
spec:
  replicas: 1
  selector: {matchLabels: {app: yaml}}
  template:
    metadata: {labels: {app: yaml}, creationTimestamp: null}
    spec: {containers: [{name: a, image: host, resources: {}}]}
status: {}
"""


@step
def create_from_yaml(t):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(YAML)
        file.flush()
        made = utils.create_from_yaml(t.api, file.name, namespace=t.ns)
        same("made", len(made), 3)
        same("map", t.core.read_namespaced_config_map("from-yaml", t.ns).data, {"a": "b"})
        until("pod of the deployment", lambda: t.core.list_namespaced_pod(t.ns, label_selector="app=yaml").items)
        try:
            utils.create_from_yaml(t.api, file.name, namespace=t.ns)
            raise Failed("made the same twice")
        except utils.FailToCreateError as error:
            same("made twice", [e.status for e in error.api_exceptions], [409, 409, 409])
    t.apps.delete_namespaced_deployment("from-yaml", t.ns)
    t.core.delete_namespaced_service("from-yaml", t.ns)
    t.core.delete_namespaced_config_map("from-yaml", t.ns)


@step
def dynamic_client(t):
    with tempfile.TemporaryDirectory() as folder:
        dyn = dynamic.DynamicClient(t.api, cache_file=f"{folder}/cache")
        holds("version", dyn.version["kubernetes"]["gitVersion"].startswith("v1."))
        for version, kind in (("v1", "Pod"), ("apps/v1", "Deployment"), ("batch/v1", "CronJob"), (f"{t.group}/v1", "Ship")):
            same(f"resource {kind}", dyn.resources.get(api_version=version, kind=kind).kind, kind)
        same("short name", dyn.resources.get(short_names=["deploy"], api_version="apps/v1").name, "deployments")
        maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
        made = maps.create(body={"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "dyn"}, "data": {"a": "1"}},
                           namespace=t.ns)
        same("created", made.data.a, "1")
        same("patched", maps.patch(body={"data": {"a": "2"}}, name="dyn", namespace=t.ns, content_type=MERGE_PATCH).data.a, "2")
        same("read", maps.get(name="dyn", namespace=t.ns).data.a, "2")
        body = maps.get(name="dyn", namespace=t.ns).to_dict()
        body["data"]["a"] = "3"
        same("replaced", maps.replace(body=body, namespace=t.ns).data.a, "3")
        same("listed", [o.metadata.name for o in maps.get(namespace=t.ns, field_selector="metadata.name=dyn").items], ["dyn"])
        got = [(e["type"], e["object"].metadata.name) for e in maps.watch(namespace=t.ns, name="dyn", timeout=2)]
        same("watched", got, [("ADDED", "dyn")])
        try:
            maps.get(name="none", namespace=t.ns)
            raise Failed("read what is not there")
        except dynamic.exceptions.NotFoundError as error:
            same("not found", json.loads(error.body)["reason"], "NotFound")

        def body(value):
            return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": value}
        made = maps.server_side_apply(body=body({"a": "1", "b": "1"}), namespace=t.ns, field_manager="first")
        entry = made.metadata.managedFields[0]
        same("who applied", (entry.manager, entry.operation), ("first", "Apply"))
        maps.server_side_apply(body=body({"c": "1"}), namespace=t.ns, field_manager="second")
        same("two managers", maps.get(name="applied", namespace=t.ns).data.to_dict(), {"a": "1", "b": "1", "c": "1"})
        maps.server_side_apply(body=body({"a": "1"}), namespace=t.ns, field_manager="first")
        same("what is not applied any more goes", maps.get(name="applied", namespace=t.ns).data.to_dict(), {"a": "1", "c": "1"})
        try:
            maps.server_side_apply(body=body({"a": "2"}), namespace=t.ns, field_manager="second")
            raise Failed("applied over another's field")
        except dynamic.exceptions.ConflictError as error:
            status = json.loads(error.body)
            same("conflict", (status["message"], status["details"]["causes"][0]["reason"]),
                 ('Apply failed with 1 conflict: conflict with "first": .data.a', "FieldManagerConflict"))
        made = maps.server_side_apply(body=body({"a": "2"}), namespace=t.ns, field_manager="second", force_conflicts=True)
        same("forced", made.data.to_dict(), {"a": "2"})
        ships = dyn.resources.get(api_version=f"{t.group}/v1", kind="Ship")
        ship = {"apiVersion": f"{t.group}/v1", "kind": "Ship", "metadata": {"name": "applied"}, "spec": {"size": 2}}
        made = ships.server_side_apply(body=ship, namespace=t.ns, field_manager="first")
        same("a custom object", (made.spec.size, made.spec.colour), (2, "red"))
        same("of a custom kind", made.metadata.managedFields[0].apiVersion, f"{t.group}/v1")
        same("status of a custom object", ships.status.patch(body={"status": {"ready": 1}}, name="applied", namespace=t.ns,
             content_type=MERGE_PATCH).status.ready, 1)
        maps.delete(name="dyn", namespace=t.ns)
        maps.delete(name="applied", namespace=t.ns)
        ships.delete(name="applied", namespace=t.ns)


@step
def typed_apply(t):
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "applied"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": {
            "containers": [{"name": "web", "image": "host"}]}}}}
    options = {"field_manager": "typed", "_content_type": APPLY}
    made = t.apps.patch_namespaced_deployment("applied", t.ns, body, **options)
    same("made by apply", [(m.manager, m.operation) for m in made.metadata.managed_fields], [("typed", "Apply")])
    t.apps.patch_namespaced_deployment_scale("applied", t.ns, {"spec": {"replicas": 1}}, field_manager="scaler",
                                             _content_type=MERGE_PATCH)
    body["spec"]["replicas"] = 2
    error = refused("over another's scale", 409, "Conflict", t.apps.patch_namespaced_deployment, "applied", t.ns, body, **options)
    holds(f"names the scaler, got {error['message']}", 'conflict with "scaler"' in error["message"])
    made = t.apps.patch_namespaced_deployment("applied", t.ns, body, force=True, **options)
    same("forced", made.spec.replicas, 2)
    t.apps.delete_namespaced_deployment("applied", t.ns, propagation_policy="Background")


@step
def leader_election(t):
    if LeaseLock is None:
        print("  (this release of the client has no lock of a Lease)")
        return
    logging.getLogger("leaderelection").setLevel(logging.CRITICAL)
    led, leads, stopped = [], threading.Event(), threading.Event()

    class Stop(Exception):
        pass

    class Lock(LeaseLock):
        halted = False

        def get(self, *arguments):
            if self.halted:
                raise Stop
            return super().get(*arguments)

    def candidate(identity):
        lock = Lock("election", t.ns, identity)
        config = electionconfig.Config(lock, lease_duration=3, renew_deadline=2, retry_period=1,
                                       onstarted_leading=lambda: (led.append(identity), leads.set()),
                                       onstopped_leading=stopped.set)

        def run():
            try:
                leaderelection.LeaderElection(config).run()
            except Stop:
                pass
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return lock, thread

    first, one = candidate("first")
    holds("somebody leads", leads.wait(10))
    second, two = candidate("second")
    leases = client.CoordinationV1Api(t.api)
    renewed = leases.read_namespaced_lease("election", t.ns).spec.renew_time
    time.sleep(4)
    lease = leases.read_namespaced_lease("election", t.ns)
    same("the first leads on", (led, lease.spec.holder_identity), (["first"], "first"))
    holds("the lease is renewed", lease.spec.renew_time > renewed)
    first.halted = True
    until("the second follows", lambda: led == ["first", "second"], 15)
    same("the lease is the second's", leases.read_namespaced_lease("election", t.ns).spec.holder_identity, "second")
    second.halted = True
    one.join(10)
    two.join(10)
    holds("nobody stopped because of an error", not stopped.is_set())


@step
def the_end(t):
    client.ApiextensionsV1Api(t.api).delete_custom_resource_definition(f"ships.{t.group}")
    gone("definition", client.ApiextensionsV1Api(t.api).read_custom_resource_definition, f"ships.{t.group}")
    t.core.delete_namespace(t.ns)
    gone("namespace", t.core.read_namespace, t.ns)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="URL of a listener without TLS")
    parser.add_argument("--keep-going", action="store_true", help="try the other steps after one that fails")
    options = parser.parse_args()
    print(f"kubernetes {importlib.metadata.version('kubernetes')} for Python {sys.version.split()[0]}")
    test, failed = Test(options.server), []
    for function in STEPS:
        name = function.__name__.replace("_", " ")
        begun = time.monotonic()
        try:
            function(test)
        except Exception as error:
            failed.append(name)
            print(f"FAILED {name}: {error}", file=sys.stderr)
            if not isinstance(error, Failed):
                traceback.print_exc()
            if not options.keep_going:
                break
        else:
            print(f"ok {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    print(f"all {len(STEPS)} steps passed")


if __name__ == "__main__":
    main()
