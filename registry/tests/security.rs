//! What pods may be, and what the agent of a node may ask for and write.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use quarterdeck_registry::admission::{Attributes, Exemptions, Level, LevelVersion, PodSecurity, Policy};
use quarterdeck_registry::tokens::{TokenClaims, TokenIssuer};
use quarterdeck_registry::{Admission, ApiServer, Body, MemoryStorage, Status, User};
use serde_json::{Value, json};
use support::{Answer, call, send};
use tower::ServiceExt;

const NS: &str = "/api/v1/namespaces/default";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CREATED: u16 = 201;
const OK: u16 = 200;

async fn create(server: &ApiServer, path: &str, object: Value) -> Answer {
    send(server, "POST", path, &[("content-type", "application/json")], object).await
}

async fn make(server: &ApiServer, path: &str, object: Value) -> Value {
    let Answer { code, body, .. } = create(server, path, object).await;
    assert_eq!(code, CREATED, "{body}");
    body
}

/// Puts labels of a namespace whose keys are shortened.
async fn label(server: &ApiServer, namespace: &str, labels: Value) -> Answer {
    let labels = labels.as_object().unwrap().iter();
    let labels: Value =
        labels.map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), value.clone())).collect();
    let patch = json!({"metadata": {"labels": labels}});
    let headers = [("content-type", "application/merge-patch+json")];
    send(server, "PATCH", &format!("/api/v1/namespaces/{namespace}"), &headers, patch).await
}

fn warnings(answer: &Answer) -> Vec<String> {
    let headers = answer.headers.get_all("warning").iter();
    headers.map(|warning| warning.to_str().unwrap().to_owned()).collect()
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn privileged(name: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    pod
}

const FOUR: &str = "allowPrivilegeEscalation != false (container \"c\" must set \
                    securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set \
                    securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set \
                    securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set \
                    securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";

#[tokio::test]
async fn pods_are_refused_by_the_level_that_their_namespace_enforces() {
    let server = ApiServer::in_memory().await.unwrap();
    make(&server, &format!("{NS}/serviceaccounts"), json!({"metadata": {"name": "default"}})).await;
    make(&server, PODS, privileged("before")).await;
    assert_eq!(label(&server, "default", json!({"enforce": "restricted"})).await.code, OK);

    let refused = create(&server, PODS, pod("p")).await;

    assert_eq!(refused.code, StatusCode::FORBIDDEN);
    let why = format!("pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": {FOUR}");
    assert_eq!(refused.body["message"], why);
    assert_eq!(refused.body["details"], json!({"name": "p", "kind": "pods"}));
    assert_eq!(warnings(&refused), Vec::<String>::new());
    assert_eq!(create(&server, &format!("{PODS}?dryRun=All"), pod("p")).await.code, StatusCode::FORBIDDEN);

    // Pods that are there go on, and may be labelled, but get no other image.
    let patch = async |patch: Value| call(&server, "PATCH", &format!("{PODS}/before"), patch).await.0;
    assert_eq!(patch(json!({"metadata": {"labels": {"a": "b"}}})).await, OK);
    let (_, mut other) = call(&server, "GET", &format!("{PODS}/before"), Value::Null).await;
    other["spec"]["containers"][0]["image"] = "other".into();
    let image = json!({"spec": {"containers": other["spec"]["containers"]}});
    assert_eq!(patch(image).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_makes_pods_is_warned_of_and_never_refused() {
    let server = ApiServer::in_memory().await.unwrap();
    label(&server, "default", json!({"enforce": "restricted", "warn": "baseline", "warn-version": "v1.30"}))
        .await;
    let mut template = privileged("");
    template["metadata"] = json!({"labels": {"a": "b"}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let deployment = json!({"metadata": {"name": "d"}, "spec": spec});

    let made = create(&server, "/apis/apps/v1/namespaces/default/deployments", deployment).await;

    assert_eq!(made.code, CREATED, "{}", made.body);
    let warning = "299 - \"would violate PodSecurity \\\"baseline:v1.30\\\": privileged (container \\\"c\\\" must not set \
                   securityContext.privileged=true)\"";
    assert_eq!(warnings(&made), [warning]);

    template["spec"]["restartPolicy"] = "Never".into();
    let job = json!({"spec": {"template": template}});
    let cron = json!({"metadata": {"name": "j"}, "spec": {"schedule": "* * * * *", "jobTemplate": job}});
    let made = create(&server, "/apis/batch/v1/namespaces/default/cronjobs", cron).await;
    assert_eq!((made.code.as_u16(), warnings(&made).len()), (CREATED, 1), "{}", made.body);
}

#[tokio::test]
async fn labels_that_are_wrong_are_refused_and_a_stricter_level_tells_of_pods() {
    let server = ApiServer::in_memory().await.unwrap();
    make(&server, &format!("{NS}/serviceaccounts"), json!({"metadata": {"name": "default"}})).await;

    let wrong = label(&server, "default", json!({"enforce": "strict"})).await;

    assert_eq!(wrong.code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        wrong.body["message"],
        "Namespace \"default\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must \
         be one of privileged, baseline, restricted"
    );
    assert_eq!(wrong.body["details"]["causes"][0]["reason"], "FieldValueInvalid");
    let new =
        json!({"metadata": {"name": "n", "labels": {"pod-security.kubernetes.io/warn-version": "1.2"}}});
    assert_eq!(create(&server, "/api/v1/namespaces", new).await.code, StatusCode::UNPROCESSABLE_ENTITY);

    for name in ["b", "a"] {
        make(&server, PODS, privileged(name)).await;
    }
    make(&server, PODS, pod("fine")).await;
    let stricter = label(&server, "default", json!({"enforce": "baseline"})).await;
    assert_eq!(
        warnings(&stricter),
        [
            "299 - \"existing pods in namespace \\\"default\\\" violate the new PodSecurity enforce level \
             \\\"baseline:latest\\\"\"",
            "299 - \"a (and 1 other pod): privileged\"",
        ]
    );
    let looser = label(&server, "default", json!({"enforce": "privileged"})).await;
    assert_eq!(warnings(&looser), Vec::<String>::new());
}

#[tokio::test]
async fn defaults_hold_where_no_label_says_and_exemptions_are_not_looked_at() {
    let restricted = LevelVersion::latest(Level::Restricted);
    let settings = PodSecurity {
        defaults: Policy { enforce: restricted, ..Policy::default() },
        exemptions: Exemptions { namespaces: vec!["kube-system".into()], ..Exemptions::default() },
    };
    let server = ApiServer::builder(MemoryStorage::new()).pod_security(settings).start().await.unwrap();
    for namespace in ["default", "kube-system"] {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        make(&server, &path, json!({"metadata": {"name": "default"}})).await;
    }

    assert_eq!(create(&server, PODS, pod("p")).await.code, StatusCode::FORBIDDEN);
    make(&server, "/api/v1/namespaces/kube-system/pods", privileged("p")).await;

    let answer = label(&server, "kube-system", json!({"enforce": "baseline"})).await;
    assert_eq!(answer.code, OK);
    // It is looser than the default.
    assert_eq!(warnings(&answer), Vec::<String>::new());
    let answer =
        label(&server, "kube-system", json!({"enforce": "baseline", "enforce-version": "v1.30"})).await;
    assert_eq!(
        warnings(&answer),
        [
            "299 - \"namespace \\\"kube-system\\\" is exempt from Pod Security, and the policy (enforce=baseline:v1.30) will be \
          ignored\""
        ]
    );
}

/// Keeps what the audit event of the last write would say.
#[derive(Debug, Clone, Default)]
struct Annotations(Arc<Mutex<BTreeMap<String, String>>>);

#[async_trait]
impl Admission for Annotations {
    async fn validate(&self, attributes: &Attributes<'_>, _object: Option<&Value>) -> Result<(), Status> {
        if let Some(notes) = attributes.notes {
            *self.0.lock().unwrap() = notes.annotations();
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_audit_event_says_what_holds_and_what_is_broken() {
    let seen = Annotations::default();
    let settings = PodSecurity {
        exemptions: Exemptions { runtime_classes: vec!["vm".into()], ..Exemptions::default() },
        ..PodSecurity::default()
    };
    let builder = ApiServer::builder(MemoryStorage::new()).pod_security(settings).admission(seen.clone());
    let server = builder.start().await.unwrap();
    let class = json!({"metadata": {"name": "vm"}, "handler": "vm"});
    make(&server, "/apis/node.k8s.io/v1/runtimeclasses", class).await;
    make(&server, &format!("{NS}/serviceaccounts"), json!({"metadata": {"name": "default"}})).await;
    let of = async |pod: Value| {
        make(&server, PODS, pod).await;
        json!(*seen.0.lock().unwrap())
    };

    assert_eq!(of(pod("a")).await, json!({"pod-security.kubernetes.io/enforce-policy": "privileged:latest"}));
    label(&server, "default", json!({"audit": "baseline", "enforce-version": "v1.30"})).await;
    assert_eq!(
        of(privileged("b")).await,
        json!({
            "pod-security.kubernetes.io/enforce-policy": "privileged:v1.30",
            "pod-security.kubernetes.io/audit-violations": "would violate PodSecurity \"baseline:latest\": privileged (container \
                                                            \"c\" must not set securityContext.privileged=true)",
        })
    );
    let mut isolated = privileged("c");
    isolated["spec"]["runtimeClassName"] = "vm".into();
    assert_eq!(of(isolated).await, json!({"pod-security.kubernetes.io/exempt": "runtimeClass"}));
}

/// Issues tokens that nobody takes.
#[derive(Debug)]
struct Issuer;

impl TokenIssuer for Issuer {
    fn issue(&self, claims: &TokenClaims) -> String {
        claims.name.clone()
    }

    fn default_audiences(&self) -> Vec<String> {
        vec!["api".to_owned()]
    }
}

/// Sends a request as the agent of node `n`. Returns the code, and the message or what was answered.
async fn agent(server: &ApiServer, method: &str, path: &str, body: Value) -> (u16, Value) {
    let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", media_type);
    let body = if body.is_null() { Body::empty() } else { Body::full(body.to_string()) };
    let answer = server.as_user(User::node("n")).oneshot(request.body(body).unwrap()).await.unwrap();
    let code = answer.status().as_u16();
    if method == "GET" && path.contains("watch=") {
        return (code, Value::Null);
    }
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let is_refused = code >= 400;
    (code, if is_refused { body["message"].clone() } else { body })
}

async fn code(server: &ApiServer, method: &str, path: &str) -> u16 {
    agent(server, method, path, Value::Null).await.0
}

async fn refusal(server: &ApiServer, method: &str, path: &str, body: Value) -> String {
    let (code, message) = agent(server, method, path, body).await;
    assert!(code == 403 || code == 404, "{code} {message}");
    message.as_str().unwrap().to_owned()
}

/// Makes a server with the nodes `n` and `m`, and a pod on each that refers to things of the same name.
async fn two_nodes() -> ApiServer {
    let server = ApiServer::builder(MemoryStorage::new()).token_issuer(Issuer).start().await.unwrap();
    make(&server, &format!("{NS}/serviceaccounts"), json!({"metadata": {"name": "default"}})).await;
    for node in ["n", "m"] {
        make(&server, "/api/v1/nodes", json!({"metadata": {"name": node}})).await;
        make(&server, &format!("{NS}/serviceaccounts"), json!({"metadata": {"name": node}})).await;
        for plural in ["secrets", "configmaps"] {
            make(&server, &format!("{NS}/{plural}"), json!({"metadata": {"name": node}})).await;
        }
        let pod = json!({"metadata": {"name": node}, "spec": {
            "nodeName": node, "serviceAccountName": node,
            "containers": [{"name": "c", "image": "i", "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": node, "key": "k"}}},
            ]}],
            "volumes": [
                {"name": "s", "secret": {"secretName": node}},
                {"name": "p", "persistentVolumeClaim": {"claimName": node}},
            ],
        }});
        make(&server, PODS, pod).await;
    }
    server
}

#[tokio::test]
async fn an_agent_reads_what_its_pods_refer_to_and_nothing_else() {
    let server = two_nodes().await;
    for plural in ["secrets", "configmaps", "pods"] {
        assert_eq!(code(&server, "GET", &format!("{NS}/{plural}/n")).await, 200, "{plural}");
        assert_eq!(code(&server, "GET", &format!("{NS}/{plural}/m")).await, 403, "{plural}");
        assert_eq!(code(&server, "GET", &format!("{NS}/{plural}")).await, 403, "{plural}");
        assert_eq!(code(&server, "GET", &format!("/api/v1/{plural}")).await, 403, "{plural}");
        let one = |name: &str| format!("{NS}/{plural}?fieldSelector=metadata.name%3D{name}");
        assert_eq!(code(&server, "GET", &one("n")).await, 200, "{plural}");
        assert_eq!(code(&server, "GET", &format!("{}&watch=1", one("n"))).await, 200, "{plural}");
        assert_eq!(code(&server, "GET", &one("m")).await, 403, "{plural}");
    }
    assert_eq!(
        refusal(&server, "GET", &format!("{NS}/secrets/m"), Value::Null).await,
        "secrets \"m\" is forbidden: User \"system:node:n\" cannot get resource \"secrets\" in API group \"\" in the namespace \
         \"default\": no relationship found between node 'n' and this object"
    );
    // A comma that is escaped ends no term.
    let sly = format!("{NS}/secrets?fieldSelector=type!%3Da%5C,metadata.name%3Dn");
    assert_eq!(code(&server, "GET", &sly).await, 403);

    call(&server, "DELETE", &format!("{PODS}/n?gracePeriodSeconds=0"), Value::Null).await;
    while code(&server, "GET", &format!("{NS}/secrets/n")).await != 403 {
        tokio::task::yield_now().await;
    }
    assert_eq!(code(&server, "POST", &format!("{NS}/secrets")).await, 403);
    for path in ["/api/v1/services", "/api/v1/services?watch=1"] {
        assert_eq!(code(&server, "GET", path).await, 200, "{path}");
    }
    let object = json!({"kind": "Pod", "namespace": "default", "name": "n"});
    let event = json!({"metadata": {"name": "e"}, "involvedObject": object, "reason": "R", "type": "Normal"});
    assert_eq!(agent(&server, "POST", &format!("{NS}/events"), event).await.0, CREATED);
    assert_eq!(code(&server, "GET", "/apis/apps/v1/deployments").await, 403);
}

#[tokio::test]
async fn an_agent_lists_and_watches_its_own_pods_and_node_alone() {
    let server = two_nodes().await;
    let pods = |selector: &str| format!("/api/v1/pods?fieldSelector={selector}");
    for (selector, expected) in [
        ("spec.nodeName%3Dn", 200),
        ("spec.nodeName%3D%3Dn,status.phase%3DRunning", 200),
        ("spec.nodeName%3Dm", 403),
        ("spec.nodeName!%3Dn", 403),
        ("metadata.name!%3Da%5C,spec.nodeName%3Dn", 403),
    ] {
        assert_eq!(code(&server, "GET", &pods(selector)).await, expected, "{selector}");
        assert_eq!(
            code(&server, "GET", &format!("{}&watch=1", pods(selector))).await,
            expected,
            "{selector}"
        );
    }
    assert_eq!(code(&server, "GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dn").await, 200);
    assert_eq!(code(&server, "GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dn&watch=1").await, 200);
    assert_eq!(code(&server, "GET", "/api/v1/nodes/n").await, 200);
    for (path, why) in [
        ("/api/v1/nodes", "node 'n' cannot read all nodes, only its own Node object"),
        ("/api/v1/nodes/m", "node 'n' cannot read 'm', only its own Node object"),
        ("/api/v1/pods", "can only list/watch pods with spec.nodeName field selector"),
    ] {
        let refusal = refusal(&server, "GET", path, Value::Null).await;
        assert!(refusal.ends_with(why), "{refusal}");
    }
}

#[tokio::test]
async fn a_volume_and_its_secret_are_read_through_the_claim_of_a_pod() {
    let server = two_nodes().await;
    for node in ["n", "m"] {
        let volume = json!({"metadata": {"name": node}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": "default", "name": node},
            "csi": {"driver": "d.io", "volumeHandle": "v", "nodeStageSecretRef": {"namespace": "kube-system", "name": node}},
        }});
        make(&server, "/api/v1/persistentvolumes", volume).await;
    }
    for path in ["/api/v1/persistentvolumes/", "/api/v1/namespaces/kube-system/secrets/"] {
        assert_ne!(code(&server, "GET", &format!("{path}n")).await, 403, "{path}");
        assert_eq!(code(&server, "GET", &format!("{path}m")).await, 403, "{path}");
    }
}

#[tokio::test]
async fn an_agent_writes_its_own_node_within_limits() {
    let server = two_nodes().await;
    let patch = async |path: &str, patch: Value| agent(&server, "PATCH", path, patch).await;
    let labels = |key: &str| json!({"metadata": {"labels": {key: "x"}}});
    let own = "/api/v1/nodes/n";
    assert_eq!(patch(own, labels("kubernetes.io/os")).await.0, 200);
    assert_eq!(patch("/api/v1/nodes/n/status", json!({"status": {"capacity": {"cpu": "1"}}})).await.0, 200);
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "n", "uid": "u"}]);
    for (path, change, why) in [
        (
            "/api/v1/nodes/m",
            labels("a"),
            "nodes \"m\" is forbidden: node \"n\" is not allowed to modify node \"m\"",
        ),
        (
            own,
            labels("node-restriction.kubernetes.io/a"),
            "nodes \"n\" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/a",
        ),
        (
            own,
            json!({"spec": {"taints": null}}),
            "nodes \"n\" is forbidden: node \"n\" is not allowed to modify taints",
        ),
        (
            own,
            json!({"metadata": {"ownerReferences": owner}}),
            "nodes \"n\" is forbidden: node \"n\" is not allowed to modify ownerReferences",
        ),
    ] {
        assert_eq!(patch(path, change).await, (403, why.into()), "{path}");
    }
    assert_eq!(code(&server, "DELETE", own).await, 403);
    let new = json!({"metadata": {"name": "o"}});
    assert_eq!(
        refusal(&server, "POST", "/api/v1/nodes", new).await,
        "nodes \"o\" is forbidden: node \"n\" is not allowed to modify node \"o\""
    );
    call(&server, "DELETE", own, Value::Null).await;
    let bad = json!({"metadata": {"name": "n", "labels": {"k8s.io/a": "", "kubernetes.io/b": "", "c": ""}}});
    assert_eq!(
        refusal(&server, "POST", "/api/v1/nodes", bad).await,
        "nodes \"n\" is forbidden: node \"n\" is not allowed to set the following labels: k8s.io/a, kubernetes.io/b"
    );
    assert_eq!(agent(&server, "POST", "/api/v1/nodes", json!({"metadata": {"name": "n"}})).await.0, CREATED);
}

#[tokio::test]
async fn an_agent_that_replaces_a_status_sends_along_what_it_may_not_change() {
    let server = two_nodes().await;
    let (node, status) = ("/api/v1/nodes/n", "/api/v1/nodes/n/status");
    let labels = json!({"a": "b", "node-restriction.kubernetes.io/a": "b"});
    let (_, stored) = call(&server, "PATCH", node, json!({"metadata": {"labels": labels}})).await;
    assert_eq!(stored["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready", "{stored}");
    let changed = |change: fn(&mut Value)| {
        let mut node = stored.clone();
        node["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        change(&mut node);
        node
    };

    for (sent, why) in [
        (
            changed(|node| drop(node.as_object_mut().unwrap().remove("spec"))),
            "node \"n\" is not allowed to modify taints",
        ),
        (changed(|node| node["spec"]["taints"] = json!([])), "node \"n\" is not allowed to modify taints"),
        (
            changed(|node| node["metadata"]["labels"] = json!({"a": "b"})),
            "is not allowed to modify labels: node-restriction.kubernetes.io/a",
        ),
    ] {
        let why = format!("nodes \"n\" is forbidden: {why}");
        assert_eq!(refusal(&server, "PUT", status, sent).await, why);
    }
    let whole = changed(|node| {
        node["status"]["capacity"] = json!({"cpu": "2"});
        // Neither is Kubernetes' business.
        drop(node["metadata"]["labels"].as_object_mut().unwrap().remove("a"));
        node["spec"]["podCIDR"] = "10.0.0.0/24".into();
    });
    let (code, answer) = agent(&server, "PUT", status, whole).await;
    assert_eq!(code, 200, "{answer}");
    assert_eq!(answer["status"]["capacity"]["cpu"], "2");
    assert_eq!((&answer["spec"], answer["metadata"]["labels"].get("a")), (&stored["spec"], None));

    let claim = json!({"metadata": {"name": "n"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }});
    let claims = format!("{NS}/persistentvolumeclaims");
    let mut claim = make(&server, &claims, claim).await;
    claim["status"]["capacity"] = json!({"storage": "1Gi"});
    let mut other = claim.clone();
    other.as_object_mut().unwrap().remove("spec");
    let why = "persistentvolumeclaims \"n\" is forbidden: node \"n\" is not allowed to update fields other than status.capacity and \
               status.conditions: spec.";
    let refused = refusal(&server, "PUT", &format!("{claims}/n/status"), other).await;
    assert!(refused.starts_with(why), "{refused}");
    let (code, answer) = agent(&server, "PUT", &format!("{claims}/n/status"), claim).await;
    assert_eq!(code, 200, "{answer}");
}

#[tokio::test]
async fn an_agent_makes_no_node_whose_name_the_server_generates() {
    let server = two_nodes().await;
    let node = json!({"metadata": {"generateName": "n"}});

    let refused = refusal(&server, "POST", "/api/v1/nodes", node).await;

    assert!(refused.contains("is not allowed to modify node \"\""), "{refused}");
}

#[tokio::test]
async fn an_agent_renews_the_lease_of_its_own_node() {
    let server = two_nodes().await;
    let leases = |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    let own = leases("kube-node-lease");

    assert_eq!(agent(&server, "POST", &own, lease("n")).await.0, CREATED);
    assert_eq!(
        agent(&server, "PATCH", &format!("{own}/n"), json!({"spec": {"leaseDurationSeconds": 9}})).await.0,
        200
    );
    assert_eq!(
        refusal(&server, "POST", &own, lease("m")).await,
        "leases.coordination.k8s.io \"m\" is forbidden: can only access node lease with the same name as the requesting node"
    );
    assert_eq!(code(&server, "GET", &format!("{own}/m")).await, 403);
    assert_eq!(code(&server, "GET", &own).await, 403);
    assert_eq!(agent(&server, "POST", &leases("kube-system"), lease("n")).await.0, 403);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn an_agent_asks_for_certificates_of_its_own_node_alone() {
    use base64::Engine as _;
    let server = two_nodes().await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = |name: &str, signer: &str| {
        let mut asked = rcgen::CertificateParams::default();
        asked.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = asked.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        json!({
            "metadata": {"generateName": "csr-"},
            "spec": {
                "request": base64::engine::general_purpose::STANDARD.encode(pem),
                "signerName": signer, "usages": ["digital signature"],
            },
        })
    };
    for signer in ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"] {
        assert_eq!(agent(&server, "POST", requests, request("system:node:n", signer)).await.0, CREATED);
        for name in ["system:node:m", "system:node:n1", "n", ""] {
            let why = refusal(&server, "POST", requests, request(name, signer)).await;
            assert!(why.ends_with("can only create a node CSR with CN=system:node:n"), "{why}");
        }
        let mut broken = request("system:node:n", signer);
        broken["spec"]["request"] = "AAAA".into();
        let why = refusal(&server, "POST", requests, broken).await;
        assert!(why.ends_with("unable to parse csr: PEM block type must be CERTIFICATE REQUEST"), "{why}");
    }
    // What others sign is their affair.
    assert_eq!(agent(&server, "POST", requests, request("m", "example.com/own")).await.0, CREATED);
}

#[tokio::test]
async fn an_agent_makes_mirror_pods_of_its_node_that_refer_to_nothing() {
    let server = two_nodes().await;
    let (_, node) = call(&server, "GET", "/api/v1/nodes/n", Value::Null).await;
    let mirror = json!({
        "metadata": {
            "name": "static-n",
            "annotations": {"kubernetes.io/config.mirror": "h", "kubernetes.io/config.hash": "h"},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Node", "name": "n", "uid": node["metadata"]["uid"], "controller": true,
            }],
        },
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]},
    });
    let with = |pointer: &str, value: Value| {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let mut changed = mirror.clone();
        changed.pointer_mut(parent).unwrap()[field] = value;
        changed
    };
    for (pod, why) in [
        (
            with("/metadata/annotations", json!({})),
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n\" can only create mirror pods",
        ),
        (
            with("/spec/nodeName", "m".into()),
            "node \"n\" can only create pods with spec.nodeName set to itself",
        ),
        (
            with("/metadata/ownerReferences", json!([])),
            "node \"n\" can only create pods with an owner reference set to itself",
        ),
        (
            with("/spec/serviceAccountName", "n".into()),
            "node \"n\" can not create pods that reference a service account",
        ),
        (
            with("/spec/imagePullSecrets", json!([{"name": "n"}])),
            "node \"n\" can not create pods that reference secrets",
        ),
        (
            with("/spec/volumes", json!([{"name": "v", "configMap": {"name": "n"}}])),
            "node \"n\" can not create pods that reference configmaps",
        ),
        (
            with("/spec/volumes", json!([{"name": "v", "persistentVolumeClaim": {"claimName": "n"}}])),
            "node \"n\" can not create pods that reference persistentvolumeclaims",
        ),
    ] {
        assert_eq!(
            refusal(&server, "POST", PODS, pod).await,
            format!("pods \"static-n\" is forbidden: {why}")
        );
    }
    let (code_made, made) = agent(&server, "POST", PODS, mirror.clone()).await;
    assert_eq!(code_made, CREATED, "{made}");
    assert_eq!(code(&server, "DELETE", &format!("{PODS}/static-n?gracePeriodSeconds=0")).await, 200);
}

#[tokio::test]
async fn an_agent_reports_evicts_and_deletes_pods_of_its_node_alone() {
    let server = two_nodes().await;
    let phase = json!({"status": {"phase": "Running"}});
    assert_eq!(agent(&server, "PATCH", &format!("{PODS}/n/status"), phase.clone()).await.0, 200);
    assert_eq!(
        refusal(&server, "PATCH", &format!("{PODS}/m/status"), phase).await,
        "pods \"m\" is forbidden: node \"n\" can only update pod status for pods with spec.nodeName set to itself"
    );
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(
        refusal(&server, "PATCH", &format!("{PODS}/n/status"), labels.clone()).await,
        "pods \"n\" is forbidden: node \"n\" cannot update labels through pod status"
    );
    assert_eq!(agent(&server, "PATCH", &format!("{PODS}/n"), labels).await.0, 403);
    let eviction = |name: &str| json!({"metadata": {"name": name}});
    assert_eq!(
        refusal(&server, "POST", &format!("{PODS}/m/eviction"), eviction("m")).await,
        "pods \"m\" is forbidden: node n can only evict pods with spec.nodeName set to itself"
    );
    assert_eq!(
        refusal(&server, "DELETE", &format!("{PODS}/m"), Value::Null).await,
        "pods \"m\" is forbidden: node \"n\" can only delete pods with spec.nodeName set to itself"
    );
    let (code, answer) = agent(&server, "POST", &format!("{PODS}/n/eviction"), eviction("n")).await;
    assert_eq!(code, CREATED, "{answer}");
}

#[tokio::test]
async fn an_agent_gets_tokens_for_pods_of_its_node_alone() {
    let server = two_nodes().await;
    let (_, own) = call(&server, "GET", &format!("{PODS}/n"), Value::Null).await;
    let path = |account: &str| format!("{NS}/serviceaccounts/{account}/token");
    let request = |pod: &str, uid: &Value, audiences: Value| {
        json!({"spec": {
            "audiences": audiences, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid},
        }})
    };
    let uid = &own["metadata"]["uid"];

    let (code, answer) = agent(&server, "POST", &path("n"), request("n", uid, json!([]))).await;

    assert_eq!(code, CREATED, "{answer}");
    assert_eq!(answer["status"]["token"], "n");
    let (_, other) = call(&server, "GET", &format!("{PODS}/m"), Value::Null).await;
    for (body, why) in [
        (
            json!({"spec": {"audiences": []}}),
            "serviceaccounts \"n\" is forbidden: node requested token not bound to a pod",
        ),
        (
            // Not to itself either.
            json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Node", "name": "n"}}}),
            "serviceaccounts \"n\" is forbidden: node requested token not bound to a pod",
        ),
        (
            request("n", &"".into(), json!([])),
            "serviceaccounts \"n\" is forbidden: node requested token with a pod binding without a uid",
        ),
        (request("o", uid, json!([])), "pod \"o\" not found"),
        (
            request("m", &other["metadata"]["uid"], json!([])),
            "serviceaccounts \"n\" is forbidden: node requested token bound to a pod scheduled on a different node",
        ),
        (
            request("n", uid, json!(["x"])),
            "serviceaccounts \"n\" is forbidden: audience \"x\" not found in pod spec volume, system:node:n is not authorized to request tokens for this audience",
        ),
    ] {
        assert_eq!(refusal(&server, "POST", &path("n"), body).await, why);
    }
    let (code, _) =
        agent(&server, "POST", &path("m"), request("m", &other["metadata"]["uid"], json!([]))).await;
    assert_eq!(code, 403);
}
