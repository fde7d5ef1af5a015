//! The rules of built-in kinds, as clients see them in process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use futures::future::join_all;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use quarterdeck_registry::{ApiServer, Body, User};
use serde_json::{Value, json};
use tower::ServiceExt;

const NS: &str = "/api/v1/namespaces/default";

struct Answer {
    code: StatusCode,
    headers: HeaderMap,
    body: Value,
}

async fn call(server: &ApiServer, method: &str, path: &str, body: Value) -> Answer {
    let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", media_type);
    let request = request.body(match body {
        Value::Null => Body::empty(),
        body => Body::full(body.to_string()),
    });
    let answer = server.as_user(User::admin()).oneshot(request.unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        code: parts.status,
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    }
}

async fn post(server: &ApiServer, path: &str, body: Value) -> Answer {
    call(server, "POST", path, body).await
}

async fn get(server: &ApiServer, path: &str) -> Value {
    call(server, "GET", path, Value::Null).await.body
}

/// A server whose namespace `default` has its service account.
async fn server() -> ApiServer {
    let server = ApiServer::in_memory().await.unwrap();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    assert_eq!(post(&server, &format!("{NS}/serviceaccounts"), account).await.code, StatusCode::CREATED);
    server
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

fn pod(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {
        "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}],
    }})
}

/// Makes a quota, and says in its status that nothing is used, as its controller does.
async fn quota(server: &ApiServer, hard: Value) {
    let used: Value = hard.as_object().unwrap().keys().map(|name| (name.clone(), json!("0"))).collect();
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}});
    post(server, &format!("{NS}/resourcequotas"), quota).await;
    let status = json!({"status": {"hard": hard, "used": used}});
    let counted = call(server, "PATCH", &format!("{NS}/resourcequotas/q/status"), status).await;
    assert_eq!(counted.code, StatusCode::OK, "{}", counted.body);
}

async fn used(server: &ApiServer, name: &str) -> Value {
    get(server, &format!("{NS}/resourcequotas/q")).await["status"]["used"][name].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_creations_at_once_exactly_as_many_pass_as_the_quota_has_room_for() {
    let server = server().await;
    quota(&server, json!({"count/configmaps": "20"})).await;

    let names: Vec<String> = (0..50).map(|index| format!("c{index}")).collect();
    let path = format!("{NS}/configmaps");
    let answers = join_all(names.iter().map(|name| post(&server, &path, config_map(name)))).await;

    let made = answers.iter().filter(|answer| answer.code == StatusCode::CREATED).count();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.code == StatusCode::FORBIDDEN).collect();
    assert_eq!((made, refused.len()), (20, 30));
    assert!(refused[0].body["message"].as_str().unwrap().ends_with(
        "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=20, limited: count/configmaps=20"
    ));
    assert_eq!(get(&server, &path).await["items"].as_array().unwrap().len(), 20);
    assert_eq!(used(&server, "count/configmaps").await, "20");
}

#[tokio::test]
async fn neither_a_dry_run_nor_a_refused_object_is_charged() {
    let server = server().await;
    quota(&server, json!({"count/configmaps": "2"})).await;
    let path = format!("{NS}/configmaps");

    let dry = post(&server, &format!("{path}?dryRun=All"), config_map("a")).await;
    post(&server, &path, config_map("a")).await;
    let twice = post(&server, &path, config_map("a")).await;
    let wrong = post(&server, &path, config_map("Not A Name")).await;

    assert_eq!(dry.code, StatusCode::CREATED);
    assert_eq!((twice.code, wrong.code), (StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY));
    assert_eq!(used(&server, "count/configmaps").await, "1");
}

#[tokio::test]
async fn a_service_that_gets_node_ports_is_charged_for_them() {
    let server = server().await;
    quota(&server, json!({"services.nodeports": "1"})).await;
    let service = |name: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 1}]}});
    for name in ["a", "b"] {
        assert_eq!(post(&server, &format!("{NS}/services"), service(name)).await.code, StatusCode::CREATED);
    }

    let open = json!({"spec": {"type": "NodePort"}});
    let first = call(&server, "PATCH", &format!("{NS}/services/a"), open.clone()).await;
    let second = call(&server, "PATCH", &format!("{NS}/services/b"), open).await;

    assert_eq!((first.code, second.code), (StatusCode::OK, StatusCode::FORBIDDEN), "{}", second.body);
    assert_eq!(used(&server, "services.nodeports").await, "1");
}

/// Makes a running, ready pod and a budget for it with this many disruptions left.
async fn budgeted(server: &ApiServer, allowed: i64) {
    post(server, &format!("{NS}/pods"), pod("p", json!({"app": "a"}))).await;
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    call(server, "PATCH", &format!("{NS}/pods/p/status"), ready).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    post(server, budgets, budget).await;
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1,
        "desiredHealthy": 1, "expectedPods": 1}});
    let told = call(server, "PATCH", &format!("{budgets}/b/status"), status).await;
    assert_eq!(told.code, StatusCode::OK, "{}", told.body);
}

fn eviction(name: &str) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}})
}

const EVICT: &str = "/api/v1/namespaces/default/pods/p/eviction";
const BUDGET: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b";

#[tokio::test]
async fn a_pod_whose_budget_has_no_room_is_not_evicted() {
    let server = server().await;
    budgeted(&server, 0).await;

    let refused = post(&server, EVICT, eviction("p")).await;

    assert_eq!(refused.code, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.body["reason"], "TooManyRequests");
    assert_eq!(refused.body["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    let cause = &refused.body["details"]["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    assert_eq!(cause["message"], "The disruption budget b needs 1 healthy pods and has 1 currently");
    assert!(get(&server, &format!("{NS}/pods/p")).await["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test]
async fn a_pod_is_evicted_at_the_expense_of_its_budget() {
    let server = server().await;
    budgeted(&server, 1).await;

    let dry = post(&server, &format!("{EVICT}?dryRun=All"), eviction("p")).await;
    let still = get(&server, BUDGET).await;
    let evicted = post(&server, EVICT, eviction("p")).await;
    let budget = get(&server, BUDGET).await;

    assert_eq!((dry.code, &still["status"]["disruptionsAllowed"]), (StatusCode::CREATED, &json!(1)));
    assert_eq!((evicted.code, &evicted.body["status"]), (StatusCode::CREATED, &json!("Success")));
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["p"].is_string());
    // It has no node, so nobody has to stop it first.
    assert_eq!(get(&server, &format!("{NS}/pods/p")).await["reason"], "NotFound");
}

#[tokio::test]
async fn an_eviction_names_its_pod_and_keeps_to_its_preconditions() {
    let server = server().await;
    budgeted(&server, 1).await;
    let mut other = eviction("p");
    other["deleteOptions"] = json!({"preconditions": {"uid": "another"}});

    let misnamed = post(&server, EVICT, eviction("q")).await;
    let another = post(&server, EVICT, other).await;

    assert_eq!(misnamed.code, StatusCode::BAD_REQUEST);
    assert_eq!(another.code, StatusCode::CONFLICT);
    assert!(get(&server, &format!("{NS}/pods/p")).await["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test]
async fn a_pod_that_never_started_is_evicted_whatever_its_budget_says() {
    let server = server().await;
    budgeted(&server, 0).await;
    call(&server, "PATCH", &format!("{NS}/pods/p/status"), json!({"status": {"phase": "Pending"}})).await;

    assert_eq!(post(&server, EVICT, eviction("p")).await.code, StatusCode::CREATED);
    assert_eq!(get(&server, BUDGET).await["status"]["disruptionsAllowed"], 0);
}

#[tokio::test]
async fn an_event_of_either_group_is_found_in_the_other() {
    let server = server().await;
    let newer = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000001Z", "type": "Normal", "reason": "R", "action": "A", "note": "text",
        "reportingController": "example.com/c", "reportingInstance": "i",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}});

    let made = post(&server, newer, event).await;
    let core = get(&server, &format!("{NS}/events/e")).await;
    let chosen =
        get(&server, &format!("{newer}?fieldSelector=regarding.name=p,reportingController=example.com/c"))
            .await;
    let others = get(&server, &format!("{newer}?fieldSelector=regarding.name=q")).await;

    assert_eq!(made.code, StatusCode::CREATED, "{}", made.body);
    assert_eq!((&core["message"], &core["involvedObject"]["name"]), (&json!("text"), &json!("p")));
    assert_eq!(chosen["items"][0]["note"], "text");
    assert_eq!(others["items"], json!([]));
}

#[tokio::test]
async fn a_job_deleted_without_a_word_leaves_its_pods_and_says_so() {
    let server = server().await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}],
    }}}});
    let made = post(&server, jobs, job).await;
    assert_eq!(made.code, StatusCode::CREATED, "{}", made.body);

    let deleted = call(&server, "DELETE", &format!("{jobs}/j"), Value::Null).await;

    assert_eq!(deleted.body["metadata"]["finalizers"], json!(["orphan"]));
    assert!(deleted.headers["warning"].to_str().unwrap().contains("child pods are preserved by default"));
}

#[tokio::test]
async fn a_claim_gets_the_newest_default_class_and_its_protection() {
    let server = server().await;
    for (name, default) in [("a", "true"), ("b", "true"), ("c", "false")] {
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example.com/p",
            "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default}}});
        let made = post(&server, "/apis/storage.k8s.io/v1/storageclasses", class).await;
        assert_eq!(made.code, StatusCode::CREATED, "{}", made.body);
    }
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }});

    let made = post(&server, &format!("{NS}/persistentvolumeclaims"), claim).await.body;

    // All were made in the same second.
    assert_eq!(made["spec"]["storageClassName"], "a");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    assert_eq!(made["status"]["phase"], "Pending");
}

#[tokio::test]
async fn a_claim_grows_only_where_its_class_lets_it() {
    let server = server().await;
    let claims = format!("{NS}/persistentvolumeclaims");
    for (name, expandable) in [("fixed", false), ("elastic", true)] {
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example.com/p",
            "metadata": {"name": name}, "allowVolumeExpansion": expandable});
        post(&server, "/apis/storage.k8s.io/v1/storageclasses", class).await;
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": name, "volumeName": "v",
            "resources": {"requests": {"storage": "1Gi"}},
        }});
        post(&server, &claims, claim).await;
        let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
        call(&server, "PATCH", &format!("{claims}/{name}/status"), bound).await;
    }
    let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});

    let fixed = call(&server, "PATCH", &format!("{claims}/fixed"), more.clone()).await;
    let elastic = call(&server, "PATCH", &format!("{claims}/elastic"), more).await;

    assert_eq!((fixed.code, elastic.code), (StatusCode::FORBIDDEN, StatusCode::OK), "{}", elastic.body);
}

#[tokio::test]
async fn a_system_priority_class_cannot_be_deleted() {
    let server = server().await;

    let refused = call(
        &server,
        "DELETE",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        Value::Null,
    )
    .await;

    assert_eq!(refused.code, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn every_version_that_is_served_has_its_api_service() {
    let server = server().await;

    let list = get(&server, "/apis/apiregistration.k8s.io/v1/apiservices").await;

    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"v1.") && names.contains(&"v2.autoscaling"), "{names:?}");
    assert_eq!(list["items"][0]["status"]["conditions"][0]["reason"], "Local");
}

#[tokio::test]
async fn a_deletion_that_asks_in_the_old_way_not_to_orphan_is_accepted_while_the_object_stays() {
    let server = server().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let make = async |name: &str, finalizers: Value| {
        let map = json!({"metadata": {"name": name, "finalizers": finalizers}});
        call(&server, "POST", maps, map).await
    };
    make("stays", json!(["example.com/hold"])).await;
    make("goes", json!([])).await;
    let delete = async |name: &str, options: Value| {
        call(&server, "DELETE", &format!("{maps}/{name}"), options).await.code
    };

    let new_way = delete("stays", json!({"propagationPolicy": "Background"})).await;
    let orphaning = delete("stays", json!({"orphanDependents": true})).await;
    let old_way = delete("stays", json!({"orphanDependents": false})).await;
    let by_query =
        call(&server, "DELETE", &format!("{maps}/stays?orphanDependents=false"), Value::Null).await.code;
    let gone = delete("goes", json!({"orphanDependents": false})).await;

    assert_eq!((new_way, orphaning), (StatusCode::OK, StatusCode::OK));
    assert_eq!((old_way, by_query), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_eq!(gone, StatusCode::OK);
}

const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A definition with these versions, each served or not.
fn definition(plural: &str, kind: &str, versions: &[(&str, bool)]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .enumerate()
        .map(|(at, (name, served))| {
            json!({"name": name, "served": served, "storage": at == 0,
                "schema": {"openAPIV3Schema": {"type": "object"}}})
        })
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "scope": "Cluster", "names": {"plural": plural, "kind": kind}, "versions": versions},
    })
}

/// The names of the APIServices of the group, once they are these.
async fn api_services_become(server: &ApiServer, expected: &[&str]) {
    let mut found = Vec::new();
    for _ in 0..1000 {
        let list = get(server, API_SERVICES).await;
        let names = list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone());
        found = names.filter(|name| name.as_str().unwrap().ends_with(".example.com")).collect();
        if found == expected {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("they are {found:?}, not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn versions_that_definitions_make_have_api_services_as_long_as_they_are_served() {
    let server = server().await;

    post(&server, DEFINITIONS, definition("widgets", "Widget", &[("v1", true), ("v2", true), ("v3", false)]))
        .await;
    post(&server, DEFINITIONS, definition("gadgets", "Gadget", &[("v1", true)])).await;
    api_services_become(&server, &["v1.example.com", "v2.example.com"]).await;

    let service = get(&server, &format!("{API_SERVICES}/v1.example.com")).await;
    assert_eq!(
        service["spec"],
        json!({"group": "example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 100})
    );
    assert_eq!(service["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "true"}));
    assert_eq!(
        (&service["status"]["conditions"][0]["type"], &service["status"]["conditions"][0]["status"]),
        (&json!("Available"), &json!("True"))
    );

    let patch = json!({"spec": {"versions": definition("widgets", "Widget", &[("v1", true), ("v3", true)])["spec"]["versions"]}});
    call(&server, "PATCH", &format!("{DEFINITIONS}/widgets.example.com"), patch).await;
    api_services_become(&server, &["v1.example.com", "v3.example.com"]).await;

    call(&server, "DELETE", &format!("{DEFINITIONS}/widgets.example.com"), Value::Null).await;
    api_services_become(&server, &["v1.example.com"]).await;
    call(&server, "DELETE", &format!("{DEFINITIONS}/gadgets.example.com"), Value::Null).await;
    api_services_become(&server, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_finds_api_services_of_kinds_that_are_gone_and_takes_them_away() {
    use quarterdeck_core::storage::Storage;
    use quarterdeck_registry::MemoryStorage;
    use std::sync::Arc;
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let first = ApiServer::builder_shared(storage.clone()).start().await.unwrap();
    post(&first, DEFINITIONS, definition("widgets", "Widget", &[("v1", true)])).await;
    api_services_become(&first, &["v1.example.com"]).await;
    first.shutdown().await;
    let key = "/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com";
    let gone = quarterdeck_core::storage::Transaction::new().delete(key.to_owned());
    storage.commit(gone).await.unwrap();

    let second = ApiServer::builder_shared(storage).start().await.unwrap();

    api_services_become(&second, &[]).await;
}

fn service(name: &str, spec: Value) -> Value {
    let mut service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
    service["spec"]["ports"] = json!([{"name": "web", "port": 80}]);
    service
}

#[tokio::test]
async fn a_service_gives_up_what_only_its_former_type_has() {
    let server = server().await;
    let path = format!("{NS}/services/s");
    let patch = async |spec: Value| call(&server, "PATCH", &path, json!({"spec": spec})).await;
    let balancer = json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/lb"});
    let made = post(&server, &format!("{NS}/services"), service("s", balancer)).await;
    assert_eq!(made.body["spec"]["allocateLoadBalancerNodePorts"], true);
    let port = made.body["spec"]["ports"][0]["nodePort"].clone();
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
    assert_eq!(call(&server, "PATCH", &format!("{path}/status"), ingress).await.code, 200);

    let node_port = patch(json!({"type": "NodePort"})).await;
    let other = patch(json!({"ports": [{"name": "web", "port": 81}]})).await;
    let plain = patch(json!({"type": "ClusterIP"})).await;

    assert_eq!(node_port.code, 200, "{}", node_port.body);
    assert!(node_port.body["spec"]["allocateLoadBalancerNodePorts"].is_null());
    assert!(node_port.body["spec"]["loadBalancerClass"].is_null());
    assert_eq!(node_port.body["status"], json!({"loadBalancer": {}}));
    assert_eq!(
        other.body["spec"]["ports"][0]["nodePort"], port,
        "a node port goes with the name of its port"
    );
    assert_eq!(plain.code, 200, "{}", plain.body);
    assert!(plain.body["spec"]["ports"][0]["nodePort"].is_null());
    assert!(plain.body["spec"]["externalTrafficPolicy"].is_null());
}

#[tokio::test]
async fn a_service_with_addresses_of_its_own_keeps_its_policy_when_it_changes() {
    let server = server().await;
    let made =
        post(&server, &format!("{NS}/services"), service("s", json!({"externalIPs": ["192.0.2.9"]}))).await;
    assert_eq!(made.body["spec"]["externalTrafficPolicy"], "Cluster");

    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let changed = call(&server, "PATCH", &format!("{NS}/services/s"), labels).await;

    assert_eq!(
        (changed.code, &changed.body["spec"]["externalTrafficPolicy"]),
        (StatusCode::OK, &json!("Cluster"))
    );
}

#[tokio::test]
async fn the_old_name_of_a_pods_account_follows_the_new_one_everywhere() {
    let server = server().await;
    let account =
        json!({"metadata": {"name": "x"}, "secrets": [{"name": "s", "kind": "Secret", "namespace": "n"}]});
    let account = post(&server, &format!("{NS}/serviceaccounts"), account).await.body;
    assert_eq!(account["secrets"], json!([{"name": "s"}]));
    let template = |field: &str| {
        let spec = json!({"containers": [{"name": "c", "image": "i"}], field: "x"});
        json!({"metadata": {"name": field.to_lowercase()}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec}})
    };
    for field in ["serviceAccount", "serviceAccountName"] {
        let made = post(&server, &format!("{NS}/podtemplates"), template(field)).await.body;
        let spec = &made["template"]["spec"];
        assert_eq!(
            (&spec["serviceAccount"], &spec["serviceAccountName"]),
            (&json!("x"), &json!("x")),
            "{made}"
        );
    }
    let mut old = pod("p", json!({}));
    old["spec"]["serviceAccount"] = "x".into();
    assert_eq!(post(&server, &format!("{NS}/pods"), old).await.body["spec"]["serviceAccountName"], "x");
}

#[tokio::test]
async fn a_pod_keeps_its_owners_and_its_priority_whoever_leaves_them_out() {
    let server = server().await;
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"}]);
    let mut owned = pod("p", json!({}));
    owned["metadata"]["ownerReferences"] = owner.clone();
    let mut made = post(&server, &format!("{NS}/pods"), owned).await.body;
    made["metadata"]["ownerReferences"].as_array_mut().unwrap().clear();
    made["status"]["phase"] = "Running".into();
    let running = call(&server, "PUT", &format!("{NS}/pods/p/status"), made).await;
    let mut left_out = running.body.clone();
    for field in ["priority", "preemptionPolicy"] {
        left_out["spec"].as_object_mut().unwrap().remove(field);
    }
    let replaced = call(&server, "PUT", &format!("{NS}/pods/p"), left_out).await;

    let kept = &running.body["metadata"]["ownerReferences"][0];
    assert_eq!((&kept["name"], &running.body["status"]["phase"]), (&json!("a"), &json!("Running")));
    assert_eq!(replaced.code, 200, "{}", replaced.body);
    assert_eq!(replaced.body["spec"]["priority"], 0);
}

#[tokio::test]
async fn what_is_wrong_with_a_changed_object_is_told_as_often_as_upstream_does() {
    let server = server().await;
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let set = json!({"metadata": {"name": "s"}, "spec": spec});
    assert_eq!(post(&server, sets, set).await.code, 201);

    let refused = call(&server, "PATCH", &format!("{sets}/s"), json!({"spec": {"replicas": -1}})).await.body;

    let causes = refused["details"]["causes"].as_array().unwrap();
    let fields: Vec<_> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["spec.replicas", "spec.replicas"]);
    let once = "spec.replicas: Invalid value: -1: must be greater than or equal to 0";
    assert_eq!(refused["message"], format!("ReplicaSet.apps \"s\" is invalid: {once}"));
}
