//! Who may do what: impersonation, roles and bindings, escalation, reviews, and the default policy.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use quarterdeck_registry::layers::authentication::Anonymous;
use quarterdeck_registry::{ApiServer, Body, MemoryStorage, User};
use serde_json::{Value, json};
use support::{call, send};
use tower::ServiceExt;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const NS: &str = "/api/v1/namespaces/default";

/// Sends a request as an administrator who acts as somebody, perhaps in a group.
async fn act(server: &ApiServer, user: &str, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
    let mut headers = vec![("content-type", "application/json"), ("impersonate-user", user)];
    if let Some((name, group)) = user.split_once('@') {
        headers[1].1 = name;
        headers.push(("impersonate-group", group));
    }
    let answer = send(server, method, path, &headers, body).await;
    (answer.code, answer.body)
}

async fn can(server: &ApiServer, user: &str, path: &str) -> bool {
    act(server, user, "GET", path, Value::Null).await.0 != StatusCode::FORBIDDEN
}

async fn make(server: &ApiServer, path: &str, object: Value) {
    let (code, body) = call(server, "POST", path, object).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
}

/// Makes a role in the namespace `default` and gives it to a user.
async fn grant(server: &ApiServer, name: &str, user: &str, rules: Value) {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules});
    make(server, &format!("{RBAC}/namespaces/default/roles"), role).await;
    make(server, &format!("{RBAC}/namespaces/default/rolebindings"), binding(name, ("Role", name), user))
        .await;
}

fn binding(name: &str, (kind, role): (&str, &str), user: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "subjects": [{"kind": "User", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
    })
}

#[tokio::test]
async fn a_grant_holds_at_once_and_ends_with_its_binding() {
    let server = ApiServer::in_memory().await.unwrap();
    let (maps, elsewhere) = (format!("{NS}/configmaps"), "/api/v1/namespaces/kube-system/configmaps");
    assert!(!can(&server, "ann", &maps).await);
    grant(&server, "r", "ann", json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]))
        .await;
    assert!(can(&server, "ann", &maps).await);
    assert!(!can(&server, "ann", elsewhere).await && !can(&server, "bob", &maps).await);
    assert!(!can(&server, "ann", "/api/v1/configmaps").await);
    let (code, _) =
        call(&server, "DELETE", &format!("{RBAC}/namespaces/default/rolebindings/r"), Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    while can(&server, "ann", &maps).await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn groups_and_service_accounts_are_given_roles_and_a_missing_role_is_named() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = format!("{RBAC}/namespaces/default/rolebindings");
    let mut of_group = binding("g", ("ClusterRole", "view"), "x");
    of_group["subjects"] =
        json!([{"kind": "Group", "name": "crew"}, {"kind": "ServiceAccount", "name": "robot"}]);
    make(&server, &path, of_group).await;
    let pods = format!("{NS}/pods");
    assert!(
        can(&server, "ann@crew", &pods).await
            && can(&server, "system:serviceaccount:default:robot", &pods).await
    );
    assert!(
        !can(&server, "ann", &pods).await
            && !can(&server, "system:serviceaccount:kube-system:robot", &pods).await
    );
    make(&server, &path, binding("m", ("Role", "none"), "ann")).await;
    let (code, body) = act(&server, "ann", "GET", &pods, Value::Null).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert_eq!(
        body["message"],
        "pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\": \
         RBAC: role.rbac.authorization.k8s.io \"none\" not found"
    );
}

#[tokio::test]
async fn who_acts_as_somebody_needs_the_right_to_each_part() {
    let server = ApiServer::in_memory().await.unwrap();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "act"}, "rules": [
        {"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"]},
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["userextras/team"], "resourceNames": ["red"], "verbs": ["impersonate"]},
    ]});
    make(&server, &format!("{RBAC}/clusterroles"), role).await;
    let mut given = binding("act", ("ClusterRole", "act"), "ann");
    given["kind"] = "ClusterRoleBinding".into();
    make(&server, &format!("{RBAC}/clusterrolebindings"), given).await;
    let as_ann = async |headers: &[(&str, &str)]| {
        let mut request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer =
            server.as_user(User::new("ann")).oneshot(request.body(Body::full("{}")).unwrap()).await.unwrap();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        match answer["code"].as_u64() {
            Some(code) => format!("{code} {}", answer["message"].as_str().unwrap()),
            None => answer["status"]["userInfo"].to_string(),
        }
    };
    assert_eq!(as_ann(&[]).await, json!({"username": "ann", "groups": ["system:authenticated"]}).to_string());
    let bob = as_ann(&[("impersonate-user", "bob"), ("impersonate-extra-team", "red")]).await;
    let expected = json!({"username": "bob", "groups": ["system:authenticated"], "extra": {"team": ["red"]}});
    assert_eq!(bob, expected.to_string());
    let robot = as_ann(&[("impersonate-user", "system:serviceaccount:default:robot")]).await;
    assert!(robot.contains("system:serviceaccounts:default"), "{robot}");
    assert_eq!(
        as_ann(&[("impersonate-user", "eve")]).await,
        "403 users \"eve\" is forbidden: User \"ann\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
    for (refused, headers) in [
        (
            "groups \"system:masters\"",
            vec![("impersonate-user", "bob"), ("impersonate-group", "system:masters")],
        ),
        ("userextras/team\"", vec![("impersonate-user", "bob"), ("impersonate-extra-team", "blue")]),
        ("uids.authentication.k8s.io \"7\"", vec![("impersonate-user", "bob"), ("impersonate-uid", "7")]),
    ] {
        let answer = as_ann(&headers).await;
        assert!(answer.starts_with("403") && answer.contains(refused), "{answer}");
    }
    let nobody = as_ann(&[("impersonate-group", "crew")]).await;
    assert!(nobody.starts_with("500"), "{nobody}");
}

#[tokio::test]
async fn nobody_gives_away_more_than_they_hold() {
    let server = ApiServer::in_memory().await.unwrap();
    let roles = format!("{RBAC}/namespaces/default/roles");
    let keys = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "update", "get"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
    ]);
    grant(&server, "keys", "ann", keys).await;
    let role = |name: &str, resource: &str, verbs: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": [resource], "verbs": verbs}]})
    };
    let (code, body) =
        act(&server, "ann", "POST", &roles, role("more", "secrets", json!(["get", "list"]))).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert_eq!(
        body["message"],
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) is attempting \
         to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"
    );
    let (code, mut less) =
        act(&server, "ann", "POST", &roles, role("less", "configmaps", json!(["get"]))).await;
    assert_eq!(code, StatusCode::CREATED, "{less}");
    // To change what somebody does not hold is no way around, nor is a dry run to find out.
    less["rules"][0]["verbs"] = json!(["*"]);
    for query in ["", "?dryRun=All"] {
        let (code, _) = act(&server, "ann", "PUT", &format!("{roles}/less{query}"), less.clone()).await;
        assert_eq!(code, StatusCode::FORBIDDEN);
    }
    let (code, _) = act(
        &server,
        "ann",
        "POST",
        &format!("{RBAC}/namespaces/default/rolebindings"),
        binding("b", ("ClusterRole", "cluster-admin"), "ann"),
    )
    .await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    grant(&server, "binder", "ann", json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["edit"], "verbs": ["bind"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]},
    ]))
    .await;
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let (code, body) =
        act(&server, "ann", "POST", &bindings, binding("e", ("ClusterRole", "edit"), "ann")).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
    let (code, body) = act(&server, "ann", "POST", &roles, role("any", "secrets", json!(["*"]))).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
}

#[tokio::test]
async fn reviews_answer_what_the_server_itself_would_decide() {
    let server = ApiServer::in_memory().await.unwrap();
    grant(
        &server,
        "r",
        "ann",
        json!([{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get"]}]),
    )
    .await;
    let review = async |user: &str, attributes: Value| {
        let review = json!({"spec": {"user": user, "resourceAttributes": attributes}});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let (code, body) = call(&server, "POST", path, review).await;
        assert_eq!(code, StatusCode::CREATED, "{body}");
        body["status"].clone()
    };
    let log =
        json!({"verb": "get", "resource": "pods", "subresource": "log", "namespace": "default", "name": "p"});
    let why = "RBAC: allowed by RoleBinding \"r/default\" of Role \"r\" to User \"ann\"";
    assert_eq!(review("ann", log.clone()).await, json!({"allowed": true, "reason": why}));
    assert_eq!(review("bob", log).await, json!({"allowed": false}));
    // A namespace lies in itself where a path names it; a review that names no namespace is about the cluster.
    let own = json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}]);
    grant(&server, "n", "bob", own).await;
    let named = |namespace: &str| json!({"verb": "get", "resource": "namespaces", "name": "default", "namespace": namespace});
    assert_eq!(review("bob", named("default")).await["allowed"], true);
    assert_eq!(review("bob", named("")).await["allowed"], false);
    assert!(can(&server, "bob", "/api/v1/namespaces/default").await);
    let key = json!({
        "verb": "impersonate", "group": "authentication.k8s.io", "resource": "userextras",
        "subresource": "example.com/team", "name": "red", "namespace": "default",
    });
    let extras = json!([{
        "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/example.com/team"],
        "verbs": ["impersonate"],
    }]);
    grant(&server, "e", "eve", extras).await;
    assert_eq!(review("eve", key.clone()).await["allowed"], true);
    let other = json!({"subresource": "example.com/other"});
    let other = key.as_object().unwrap().iter().chain(other.as_object().unwrap());
    let other: Value = other.map(|(key, value)| (key.clone(), value.clone())).collect();
    assert_eq!(review("eve", other).await["allowed"], false);
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let (code, body) = act(&server, "ann", "POST", path, json!({"spec": {"namespace": "default"}})).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
    assert_eq!(body["status"]["incomplete"], false);
    let own = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log"]});
    assert!(body["status"]["resourceRules"].as_array().unwrap().contains(&own), "{body}");
    let (code, body) = act(&server, "ann", "POST", path, json!({"spec": {}})).await;
    assert_eq!(
        (code, body["message"].as_str().unwrap()),
        (StatusCode::BAD_REQUEST, "no namespace on request")
    );
}

#[tokio::test]
async fn default_roles_are_repaired_at_the_start_and_may_be_left_alone() {
    let storage = Arc::new(MemoryStorage::new());
    let start = async || ApiServer::builder_shared(storage.clone()).start().await.unwrap();
    let server = start().await;
    let role = |name: &str| format!("{RBAC}/clusterroles/{name}");
    let (_, before) = call(&server, "GET", &role("system:basic-user"), Value::Null).await;
    let (code, _) = call(
        &server,
        "PATCH",
        &role("system:basic-user"),
        json!({"rules": [
            {"apiGroups": ["x"], "resources": ["y"], "verbs": ["z"]}
        ]}),
    )
    .await;
    assert_eq!(code, StatusCode::OK);
    let alone = json!({"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}, "rules": []});
    call(&server, "PATCH", &role("system:discovery"), alone).await;
    call(&server, "DELETE", &format!("{RBAC}/clusterrolebindings/system:basic-user"), Value::Null).await;
    drop(server);

    let server = start().await;
    let (_, after) = call(&server, "GET", &role("system:basic-user"), Value::Null).await;
    let (before, after) = (before["rules"].as_array().unwrap(), after["rules"].as_array().unwrap());
    assert_eq!(after[0], json!({"apiGroups": ["x"], "resources": ["y"], "verbs": ["z"]}));
    assert!(after.len() > before.len(), "{after:?}");
    let (_, discovery) = call(&server, "GET", &role("system:discovery"), Value::Null).await;
    assert_eq!(discovery["rules"], Value::Null);
    let (code, _) =
        call(&server, "GET", &format!("{RBAC}/clusterrolebindings/system:basic-user"), Value::Null).await;
    assert_eq!(code, StatusCode::OK);
}

#[tokio::test]
async fn components_have_what_their_bindings_give_them_and_nothing_else() {
    let server = ApiServer::in_memory().await.unwrap();
    for component in ["kube-scheduler", "kube-controller-manager", "node-proxier"] {
        let user = if component == "node-proxier" { "kube-proxy" } else { component };
        let (user, services) = (format!("system:{user}"), "/api/v1/services");
        assert!(can(&server, &user, services).await, "{user}");

        let path = format!("{RBAC}/clusterrolebindings/system:{component}");
        let (code, _) = call(&server, "DELETE", &path, Value::Null).await;

        assert_eq!(code, StatusCode::OK);
        while can(&server, &user, services).await {
            tokio::task::yield_now().await;
        }
    }
}

/// It can store roles of namespaces alone: those count, and the default ones hold though nobody can see or change them.
#[tokio::test]
async fn default_roles_hold_on_a_server_that_cannot_store_them() {
    let kinds = ["namespaces", "pods", "configmaps", "secrets"];
    let roles = ["roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io"];
    let builder = ApiServer::builder(MemoryStorage::new()).only(kinds.into_iter().chain(roles));
    let server = builder.start().await.unwrap();
    let deployments = "system:serviceaccount:kube-system:deployment-controller";
    let collector = "system:serviceaccount:kube-system:generic-garbage-collector";
    let secrets = format!("{NS}/secrets");

    assert!(can(&server, "system:kube-scheduler", "/api/v1/pods").await);
    assert!(!can(&server, "system:kube-scheduler", &secrets).await);
    assert!(can(&server, deployments, "/api/v1/pods").await && !can(&server, deployments, &secrets).await);
    assert!(can(&server, collector, &secrets).await);
    assert!(!can(&server, "ann", "/api/v1/pods").await);
    grant(&server, "r", "ann", json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]))
        .await;
    assert!(can(&server, "ann", &secrets).await && !can(&server, "ann", "/api/v1/pods").await);
    assert!(
        can(&server, "system:kube-scheduler", "/api/v1/pods").await,
        "they hold when the index is made anew"
    );
}

#[tokio::test]
async fn nobody_passes_unknown_unless_anonymous_users_are_let_in() {
    let ask = async |server: &ApiServer, path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        server.clone().oneshot(request).await.unwrap().status()
    };
    let closed = ApiServer::in_memory().await.unwrap();
    assert_eq!(ask(&closed, "/version").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&closed, "/healthz").await, StatusCode::OK);
    let open = ApiServer::builder(MemoryStorage::new()).authenticator(Anonymous).start().await.unwrap();
    assert_eq!(ask(&open, "/version").await, StatusCode::OK);
    assert_eq!(ask(&open, "/apis").await, StatusCode::FORBIDDEN);
    assert_eq!(ask(&open, "/api/v1/nodes").await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_replacement_of_what_is_not_there_needs_the_right_to_create() {
    let server = ApiServer::in_memory().await.unwrap();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let rules =
        json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "update"]}]);
    grant(&server, "r", "ann", rules).await;
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": "ann"}});
    make(&server, leases, lease("there")).await;

    let present = call(&server, "GET", &format!("{leases}/there"), Value::Null).await.1;
    let (there, _) = act(&server, "ann", "PUT", &format!("{leases}/there"), present).await;
    let (new, refused) = act(&server, "ann", "PUT", &format!("{leases}/new"), lease("new")).await;

    assert_eq!((there, new), (StatusCode::OK, StatusCode::FORBIDDEN), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("cannot create resource \"leases\""), "{refused}");
    assert_eq!(call(&server, "GET", &format!("{leases}/new"), Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_reader_of_a_namespace_does_not_list_namespaces() {
    let server = ApiServer::in_memory().await.unwrap();
    make(
        &server,
        &format!("{RBAC}/namespaces/default/rolebindings"),
        binding("v", ("ClusterRole", "view"), "ann"),
    )
    .await;

    assert!(can(&server, "ann", "/api/v1/namespaces/default").await);
    assert!(!can(&server, "ann", "/api/v1/namespaces?fieldSelector=metadata.name%3Ddefault").await);
}

#[tokio::test]
async fn a_role_too_large_to_compare_is_refused_at_once() {
    let server = ApiServer::in_memory().await.unwrap();
    make(
        &server,
        &format!("{RBAC}/namespaces/default/rolebindings"),
        binding("a", ("ClusterRole", "admin"), "ann"),
    )
    .await;
    let many = |count: usize| (0..count).map(|number| format!("x{number}")).collect::<Vec<_>>();
    let rules = json!([{"apiGroups": many(1000), "resources": many(1000), "verbs": many(100)}]);
    let role = json!({"metadata": {"name": "huge"}, "rules": rules});

    let (code, refused) =
        act(&server, "ann", "POST", &format!("{RBAC}/namespaces/default/roles"), role).await;

    assert_eq!(code, StatusCode::FORBIDDEN);
    assert!(refused["message"].as_str().unwrap().contains("more than can be compared"), "{refused}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn certificates_are_approved_and_signed_by_who_may_for_their_signer() {
    let server = ApiServer::in_memory().await.unwrap();
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let role = json!({"metadata": {"name": "approver"}, "rules": [
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests/approval"], "verbs": ["update"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": ["example.com/*"], "verbs": ["approve"]},
    ]});
    make(&server, &format!("{RBAC}/clusterroles"), role).await;
    let mut given = binding("approver", ("ClusterRole", "approver"), "ann");
    given["kind"] = "ClusterRoleBinding".into();
    make(&server, &format!("{RBAC}/clusterrolebindings"), given).await;
    let approve = async |name: &str, signer: &str| {
        let mut request = signing_request(name, signer, "crew");
        make(&server, requests, request.clone()).await;
        request["status"]["conditions"] =
            json!([{"type": "Approved", "status": "True", "reason": "r", "message": "m"}]);
        act(&server, "ann", "PUT", &format!("{requests}/{name}/approval"), request).await
    };

    let (own, body) = approve("own", "example.com/a").await;
    let (other, refused) = approve("other", "kubernetes.io/kube-apiserver-client").await;
    let masters = signing_request("masters", "kubernetes.io/kube-apiserver-client", "system:masters");
    let (code, forbidden) = call(&server, "POST", requests, masters).await;

    assert_eq!(own, StatusCode::OK, "{body}");
    assert_eq!(other, StatusCode::FORBIDDEN);
    assert_eq!(
        refused["message"],
        "certificatesigningrequests.certificates.k8s.io \"other\" is forbidden: user not permitted to approve requests with \
         signerName \"kubernetes.io/kube-apiserver-client\""
    );
    assert_eq!(code, StatusCode::FORBIDDEN, "{forbidden}");
    assert!(forbidden["message"].as_str().unwrap().contains("with system:masters group is not allowed"));
}

/// What one reader takes for the request, another may not: of two blocks, one was checked and the other signed.
#[cfg(feature = "tls")]
#[tokio::test]
async fn a_request_for_a_certificate_is_one_and_the_same_to_whoever_reads_it() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let server = ApiServer::in_memory().await.unwrap();
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let signer = "kubernetes.io/kube-apiserver-client";
    let pem = |group: &str| {
        let request = signing_request("x", signer, group)["spec"]["request"].clone();
        String::from_utf8(STANDARD.decode(request.as_str().unwrap()).unwrap()).unwrap()
    };
    let (crew, masters) = (pem("crew"), pem("system:masters"));
    let ask = async |pem: String| {
        let mut request = signing_request("x", signer, "crew");
        request["spec"]["request"] = STANDARD.encode(pem).into();
        call(&server, "POST", &format!("{requests}?dryRun=All"), request).await
    };

    // OpenSSL writes text before the block, if it is asked to.
    for good in [crew.clone(), format!("Certificate Request:\n    Data:\n{crew}\n")] {
        assert_eq!(ask(good).await.0, StatusCode::CREATED);
    }
    for two in [
        format!("{masters}{crew}"),
        format!("{crew}{masters}"),
        format!("x{masters}{crew}"),
        format!("-----BEGIN X-----\nAAAA\n-----END X-----\n{crew}"),
        format!("-----BEGIN\n{masters}"),
        crew.replace("REQUEST", "OTHER"),
        crew.replace("-----END", "----END"),
        String::new(),
    ] {
        let (code, refused) = ask(two.clone()).await;
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{two}");
        let message = refused["message"].as_str().unwrap();
        assert!(message.ends_with("PEM block type must be CERTIFICATE REQUEST"), "{message}");
    }
    // A line that does not begin with the block is read by all alike, too.
    assert_eq!(ask(format!("x{masters}")).await.0, StatusCode::FORBIDDEN);
}

/// A request for a certificate of this signer, for a member of a group.
#[cfg(feature = "tls")]
fn signing_request(name: &str, signer: &str, group: &str) -> Value {
    use base64::Engine as _;
    let mut asked = rcgen::CertificateParams::default();
    asked.distinguished_name.push(rcgen::DnType::CommonName, "ann");
    asked.distinguished_name.push(rcgen::DnType::OrganizationName, group);
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = asked.serialize_request(&key).unwrap().pem().unwrap();
    let request = base64::engine::general_purpose::STANDARD.encode(pem);
    json!({"metadata": {"name": name}, "spec": {"signerName": signer, "usages": ["client auth"], "request": request}})
}
