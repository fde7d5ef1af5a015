//! Requests for certificates, from the POST to the certificate.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, PostParams};
use quarterdeck_controllers::{
    CertificateApprovingController, CertificateCleanerController, CertificateSigningController,
};
use quarterdeck_core::client::Context;
use quarterdeck_core::component::Component;
use quarterdeck_registry::User;
use quarterdeck_registry::tls::Authority;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use super::cluster::Cluster;

const REQUEST: &str = "certificates.k8s.io/v1/CertificateSigningRequest";
const BINDING: &str = "rbac.authorization.k8s.io/v1/ClusterRoleBinding";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const ROLES: &str = "system:certificates.k8s.io:certificatesigningrequests";

fn all(context: &Context) -> Vec<Box<dyn Component>> {
    let authority = Authority::new(context.clock.now()).unwrap();
    vec![
        Box::new(CertificateApprovingController::new(context)),
        Box::new(CertificateSigningController::new(context, Arc::new(authority))),
        Box::new(CertificateCleanerController::new(context)),
    ]
}

/// Gives a role to a group.
async fn bind(cluster: &Cluster, name: &str, role: &str, group: &str) {
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
    });
    cluster.create(BINDING, binding).await;
}

/// Asks for a node's client certificate, or for one with other `usages`.
async fn ask(cluster: &Cluster, user: User, name: &str, node: &str, usages: &[&str]) {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let mut object: CertificateSigningRequest = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"request": "", "signerName": KUBELET_CLIENT, "usages": usages, "expirationSeconds": 3600},
    }))
    .unwrap();
    object.spec.request.0 = request.into_bytes();
    let api: Api<CertificateSigningRequest> = Api::all(cluster.server.client_as(user));
    api.create(&PostParams::default(), &object).await.unwrap();
}

fn said(request: &Value, kind: &str) -> Option<String> {
    let conditions = request["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some(condition["message"].as_str()?.to_owned())
}

const GOOD: [&str; 2] = ["client auth", "digital signature"];

#[tokio::test(start_paused = true)]
async fn a_node_s_first_certificate_and_each_that_follows_need_nobody_s_word_where_roles_say_so() {
    let cluster = Cluster::start(all).await;
    bind(&cluster, "ask", "system:node-bootstrapper", "system:bootstrappers").await;
    bind(&cluster, "first", &format!("{ROLES}:nodeclient"), "system:bootstrappers").await;
    bind(&cluster, "later", &format!("{ROLES}:selfnodeclient"), "system:nodes").await;

    let newcomer = User::new("system:bootstrap:abcdef").group("system:bootstrappers");
    ask(&cluster, newcomer, "first", "node-1", &GOOD).await;
    ask(&cluster, User::node("node-1"), "own", "node-1", &GOOD).await;
    // Agents may not even ask for others' (NodeRestriction).
    bind(&cluster, "ask-too", "system:node-bootstrapper", "renewers").await;
    bind(&cluster, "later-too", &format!("{ROLES}:selfnodeclient"), "renewers").await;
    ask(&cluster, User::new("stranger").group("renewers"), "other", "node-2", &GOOD).await;

    for (name, message) in [
        ("first", "Auto approving kubelet client certificate after SubjectAccessReview."),
        ("own", "Auto approving self kubelet client certificate after SubjectAccessReview."),
    ] {
        let look = async || cluster.get(REQUEST, name).await.unwrap();
        let issued = |request: &Value| request["status"]["certificate"].is_string();
        cluster.until("the certificate", look, issued).await;
        let request = cluster.get(REQUEST, name).await.unwrap();
        assert_eq!(said(&request, "Approved").as_deref(), Some(message), "{request:#}");
    }
    let other = cluster.get(REQUEST, "other").await.unwrap();
    assert!(other["status"]["conditions"].is_null(), "who may renew renews its own: {other:#}");
}

/// Decides on a request, as `kubectl certificate` does.
async fn decide(cluster: &Cluster, name: &str, kind: &str) {
    let api: Api<CertificateSigningRequest> = Api::all(cluster.server.client());
    let mut request = api.get(name).await.unwrap();
    let condition = json!({"type": kind, "status": "True", "reason": "Test", "message": "by hand"});
    let conditions = vec![serde_json::from_value(condition).unwrap()];
    request.status.get_or_insert_default().conditions = Some(conditions);
    api.replace_subresource("approval", name, &PostParams::default(), &request).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn people_decide_on_what_is_left_to_them_and_what_a_signer_never_signs_fails() {
    let cluster = Cluster::start(all).await;
    bind(&cluster, "ask", "system:node-bootstrapper", "strangers").await;
    let stranger = || User::new("stranger").group("strangers");
    ask(&cluster, stranger(), "wrong", "node-1", &["client auth", "server auth"]).await;
    ask(&cluster, stranger(), "denied", "node-1", &GOOD).await;
    ask(&cluster, stranger(), "good", "node-1", &GOOD).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    for name in ["wrong", "denied", "good"] {
        let request = cluster.get(REQUEST, name).await.unwrap();
        assert!(request["status"]["conditions"].is_null(), "nobody has decided: {request:#}");
    }

    decide(&cluster, "wrong", "Approved").await;
    decide(&cluster, "denied", "Denied").await;
    decide(&cluster, "good", "Approved").await;

    let good = async || cluster.get(REQUEST, "good").await.unwrap();
    cluster.until("the certificate", good, |request| request["status"]["certificate"].is_string()).await;
    let wrong = async || cluster.get(REQUEST, "wrong").await.unwrap();
    cluster.until("the failure", wrong, |request| said(request, "Failed").is_some()).await;
    let failed = cluster.get(REQUEST, "wrong").await.unwrap();
    let why = "usages did not match [client auth digital signature key encipherment]";
    assert_eq!(said(&failed, "Failed").as_deref(), Some(why));
    assert!(failed["status"]["certificate"].is_null(), "{failed:#}");
    let denied = cluster.get(REQUEST, "denied").await.unwrap();
    assert!(denied["status"]["certificate"].is_null(), "{denied:#}");
}

#[tokio::test(start_paused = true)]
async fn requests_go_an_hour_after_they_were_answered_and_a_day_after_they_were_made() {
    let cluster = Cluster::start(all).await;
    bind(&cluster, "ask", "system:node-bootstrapper", "strangers").await;
    let stranger = || User::new("stranger").group("strangers");
    ask(&cluster, stranger(), "pending", "node-1", &GOOD).await;
    ask(&cluster, User::admin(), "signed", "node-1", &GOOD).await;

    tokio::time::sleep(Duration::from_secs(55 * 60)).await;
    assert!(cluster.get(REQUEST, "signed").await.is_some());
    tokio::time::sleep(Duration::from_secs(7 * 60)).await;
    assert!(cluster.get(REQUEST, "signed").await.is_none());
    tokio::time::sleep(Duration::from_secs(22 * 3600)).await;
    assert!(cluster.get(REQUEST, "pending").await.is_some());
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    assert!(cluster.get(REQUEST, "pending").await.is_none());
}
