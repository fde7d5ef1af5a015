//! Service accounts' tokens: which are refused, and what becomes of them when keys are replaced.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quarterdeck_core::clock::Clock;
use quarterdeck_registry::tls::{AuthorityError, ServiceAccountKey, ServiceAccountTokens};
use quarterdeck_registry::{ApiServer, Body, MemoryStorage};
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256, PublicKeyData as _, SignatureAlgorithm,
};
use serde_json::{Value, json};
use support::call;
use tower::ServiceExt as _;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

fn clock() -> Clock {
    Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap())
}

/// A server over this store that signs and checks tokens by this key.
async fn serve(storage: &MemoryStorage, key: &ServiceAccountKey) -> ApiServer {
    let tokens = ServiceAccountTokens::new(key.clone(), clock());
    let builder = ApiServer::builder(storage.clone()).clock(clock());
    builder.authenticator(tokens).token_issuer(key.clone()).start().await.unwrap()
}

async fn make(server: &ApiServer, path: &str, object: Value) -> Value {
    let (code, made) = call(server, "POST", path, object).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    made
}

/// Asks for a token of the account `robot`.
async fn token(server: &ApiServer, spec: Value) -> String {
    let made = make(server, &format!("{ACCOUNTS}/robot/token"), json!({"spec": spec})).await;
    made["status"]["token"].as_str().unwrap().to_owned()
}

/// What a request with this token comes to. Robots have no rights: who is known is forbidden.
async fn ask(server: &ApiServer, token: &str) -> StatusCode {
    let request = Request::get("/api/v1/pods").header("authorization", format!("Bearer {token}"));
    server.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
}

/// What the server says of a token when it is asked.
async fn review(server: &ApiServer, token: &str) -> Value {
    make(server, REVIEWS, json!({"spec": {"token": token}})).await["status"].clone()
}

/// Writes a file with a new private key, and gives the key.
fn private_key(path: &Path, kind: &'static SignatureAlgorithm) -> KeyPair {
    let pair = KeyPair::generate_for(kind).unwrap();
    std::fs::write(path, pair.serialize_pem()).unwrap();
    pair
}

/// What a part of a token says, by its place.
fn part(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with another byte at this place of its signature.
fn altered_at(token: &str, at: usize) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = signature.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    format!("{signed}.{}", String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn tokens_that_are_not_what_was_issued_or_whose_object_is_gone_are_refused() {
    let files = tempfile::tempdir().unwrap();
    let pair = private_key(&files.path().join("sa.key"), &PKCS_ECDSA_P256_SHA256);
    let key = ServiceAccountKey::load(&files.path().join("sa.key")).unwrap();
    let server = serve(&MemoryStorage::new(), &key).await;
    make(&server, ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;
    let bound_to = async |path: &str, kind: &str, object: Value| {
        let made = make(&server, path, object).await;
        let metadata = &made["metadata"];
        let bound =
            json!({"apiVersion": "v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"]});
        token(&server, json!({"boundObjectRef": bound})).await
    };
    let pod = json!({
        "metadata": {"name": "bound"},
        "spec": {"serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}]},
    });
    let secret = json!({"metadata": {"name": "bound"}});
    let good = token(&server, json!({})).await;
    let of_pod = bound_to(PODS, "Pod", pod.clone()).await;
    let of_secret = bound_to(SECRETS, "Secret", secret.clone()).await;
    let again = json!({"metadata": {"name": "again"}});
    let of_namesake = bound_to(SECRETS, "Secret", again.clone()).await;
    let for_others = token(&server, json!({"audiences": ["somebody-else"]})).await;
    for known in [&good, &of_pod, &of_secret, &of_namesake] {
        assert_eq!(ask(&server, known).await, StatusCode::FORBIDDEN);
        assert_eq!(review(&server, known).await["authenticated"], true);
    }
    for gone in
        [format!("{PODS}/bound?gracePeriodSeconds=0"), format!("{SECRETS}/bound"), format!("{SECRETS}/again")]
    {
        assert_eq!(call(&server, "DELETE", &gone, Value::Null).await.0, StatusCode::OK, "{gone}");
    }
    // One of the same name is another.
    make(&server, SECRETS, again).await;
    // A read waits until the server has seen all of it.
    assert_eq!(call(&server, "GET", &format!("{PODS}/bound"), Value::Null).await.0, StatusCode::NOT_FOUND);

    let [header, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let mut claims = part(&good, 1);
    let own = |algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, &part(&good, 1), key).unwrap()
    };
    let kid = part(&good, 0)["kid"].as_str().unwrap().to_owned();
    let stranger = EncodingKey::from_ec_pem(KeyPair::generate().unwrap().serialize_pem().as_bytes()).unwrap();
    let public = EncodingKey::from_secret(pair.public_key_pem().as_bytes());
    claims["kubernetes.io"]["serviceaccount"]["name"] = "admin".into();
    claims["sub"] = "system:serviceaccount:default:admin".into();
    let unsigned = encoded(&json!({"alg": "none", "typ": "JWT"}));
    let cases = [
        ("cut off in its signature", good[..good.len() - 1].to_owned(), "Invalid"),
        ("without a signature", format!("{header}.{payload}."), "Invalid"),
        ("without the part for a signature", format!("{header}.{payload}"), "Invalid"),
        ("with another first byte of the signature", altered_at(&good, 0), "InvalidSignature"),
        ("with another byte in its signature", altered_at(&good, 50), "InvalidSignature"),
        ("with other claims", format!("{header}.{}.{signature}", encoded(&claims)), "InvalidSignature"),
        (
            "signed by a stranger, who uses the key's name",
            own(Algorithm::ES256, &stranger, Some(&kid)),
            "InvalidSignature",
        ),
        ("signed by a stranger, without a name", own(Algorithm::ES256, &stranger, None), "InvalidSignature"),
        ("signed by a key that has another name", own(Algorithm::ES256, &stranger, Some("other")), "no key"),
        ("signed by nobody", format!("{unsigned}.{payload}."), ""),
        ("signed by nobody, with a signature", format!("{unsigned}.{payload}.{signature}"), ""),
        ("signed with the public key as a secret", own(Algorithm::HS256, &public, Some(&kid)), "no key"),
        ("of a pod that is gone", of_pod, "pods that is gone"),
        ("of a secret that is gone", of_secret, "secrets that is gone"),
        ("of a secret that was made again", of_namesake, "secrets that is gone"),
        ("for somebody else", for_others, "not for"),
    ];
    for (what, token, why) in cases {
        assert_eq!(ask(&server, &token).await, StatusCode::UNAUTHORIZED, "a token {what}");
        let status = review(&server, &token).await;
        assert_eq!(status.get("authenticated"), None, "a token {what}: {status}");
        // This authenticator refused it: a token that nobody reads is refused without a reason.
        let error = status["error"].as_str().unwrap_or_else(|| panic!("a token {what}: {status}"));
        assert!(error.contains(why), "a token {what}: {error}");
    }
    assert_eq!(ask(&server, &good).await, StatusCode::FORBIDDEN);
}

/// Asks as the bearer of a token who that is.
async fn who(server: &ApiServer, token: &str) -> Value {
    let request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews");
    let request = request.header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/json").body(Body::full("{}")).unwrap();
    let answer = server.clone().oneshot(request).await.unwrap();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice::<Value>(&bytes).unwrap()["status"]["userInfo"].clone()
}

#[tokio::test]
async fn a_token_has_an_id_by_which_its_bearer_is_known() {
    let server = serve(&MemoryStorage::new(), &ServiceAccountKey::new().unwrap()).await;
    let account = make(&server, ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;

    let tokens = [token(&server, json!({})).await, token(&server, json!({})).await];

    let ids = tokens.each_ref().map(|token| part(token, 1)["jti"].as_str().unwrap().to_owned());
    assert_ne!(ids[0], ids[1]);
    for (token, id) in tokens.iter().zip(&ids) {
        assert_eq!(id.len(), 36, "{id} is no UUID");
        let robot = json!({
            "username": "system:serviceaccount:default:robot",
            "uid": account["metadata"]["uid"],
            "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": [format!("JTI={id}")]},
        });
        // The second time its signature is known.
        for _ in 0..2 {
            assert_eq!(who(&server, token).await, robot);
            assert_eq!(review(&server, token).await["user"], robot);
        }
    }
}

#[tokio::test]
async fn a_token_without_an_id_is_good_as_those_of_earlier_versions_are() {
    let files = tempfile::tempdir().unwrap();
    let pair = private_key(&files.path().join("sa.key"), &PKCS_ECDSA_P256_SHA256);
    let key = ServiceAccountKey::load(&files.path().join("sa.key")).unwrap();
    let server = serve(&MemoryStorage::new(), &key).await;
    make(&server, ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;
    let mut claims = part(&token(&server, json!({})).await, 1);
    claims.as_object_mut().unwrap().remove("jti");
    let signing = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();

    let old = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &signing).unwrap();

    let robot = who(&server, &old).await;
    assert_eq!(robot["username"], "system:serviceaccount:default:robot");
    assert_eq!(robot.get("extra"), None, "{robot}");
}

/// A pod of the account `robot` on a node.
fn pod_on(name: &str, node: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"serviceAccountName": "robot", "nodeName": node, "containers": [{"name": "c", "image": "i"}]},
    })
}

/// What binds a token to an object.
fn bound(kind: &str, object: &Value) -> Value {
    let (name, uid) = (&object["metadata"]["name"], &object["metadata"]["uid"]);
    json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}})
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_node_ends_with_it() {
    let server = serve(&MemoryStorage::new(), &ServiceAccountKey::new().unwrap()).await;
    make(&server, ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;
    let node = make(&server, NODES, json!({"metadata": {"name": "n"}})).await;
    let uid = &node["metadata"]["uid"];

    let token = token(&server, bound("Node", &node)).await;

    let claims = part(&token, 1);
    assert_eq!(claims["kubernetes.io"]["node"], json!({"name": "n", "uid": uid}));
    let told = json!({
        "authentication.kubernetes.io/credential-id": [format!("JTI={}", claims["jti"].as_str().unwrap())],
        "authentication.kubernetes.io/node-name": ["n"],
        "authentication.kubernetes.io/node-uid": [uid],
    });
    assert_eq!(who(&server, &token).await["extra"], told);

    assert_eq!(call(&server, "DELETE", &format!("{NODES}/n"), Value::Null).await.0, StatusCode::OK);
    // One of the same name is another.
    let again = make(&server, NODES, json!({"metadata": {"name": "n"}})).await;
    assert_eq!(call(&server, "GET", &format!("{NODES}/n"), Value::Null).await.1, again);
    assert_eq!(ask(&server, &token).await, StatusCode::UNAUTHORIZED);
    let status = review(&server, &token).await;
    assert_eq!(status["error"], "the token is bound to one of the nodes that is gone");

    let path = format!("{ACCOUNTS}/robot/token");
    for (spec, code, why) in [
        (
            bound("Node", &node),
            409,
            format!(
                "Operation cannot be fulfilled on Node \"n\": the UID in the bound object reference ({}) does not match the UID in \
                 record. The object might have been deleted and then recreated",
                uid.as_str().unwrap()
            ),
        ),
        (bound("Node", &json!({"metadata": {"name": "m"}})), 404, "nodes \"m\" not found".to_owned()),
    ] {
        let (refused, answer) = call(&server, "POST", &path, json!({"spec": spec})).await;
        assert_eq!((refused.as_u16(), answer["message"].as_str()), (code, Some(&*why)));
    }
}

#[tokio::test]
async fn a_pods_token_names_its_node_and_ends_with_the_pod_alone() {
    let server = serve(&MemoryStorage::new(), &ServiceAccountKey::new().unwrap()).await;
    make(&server, ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;
    let node = make(&server, NODES, json!({"metadata": {"name": "n"}})).await;
    let uid = node["metadata"]["uid"].as_str().unwrap();
    let extra = |what: &str| format!("authentication.kubernetes.io/{what}");

    for (name, on, claim) in [
        ("known", "n", json!({"name": "n", "uid": uid})),
        ("unknown", "m", json!({"name": "m"})),
        ("waiting", "", Value::Null),
    ] {
        let pod = make(&server, PODS, pod_on(name, on)).await;
        let token = token(&server, bound("Pod", &pod)).await;

        let claims = part(&token, 1);
        assert_eq!(claims["kubernetes.io"]["node"], claim, "{name}");
        let robot = who(&server, &token).await;
        assert_eq!(robot["extra"][extra("pod-name")], json!([name]));
        assert_eq!(robot["extra"][extra("pod-uid")], json!([pod["metadata"]["uid"]]));
        for (key, field) in [("node-name", "name"), ("node-uid", "uid")] {
            let wanted = claim.get(field).map(|value| json!([value]));
            assert_eq!(robot["extra"].get(extra(key)), wanted.as_ref(), "{name}");
        }
        if on == "n" {
            assert_eq!(call(&server, "DELETE", &format!("{NODES}/n"), Value::Null).await.0, StatusCode::OK);
            assert_eq!(
                call(&server, "GET", &format!("{NODES}/n"), Value::Null).await.0,
                StatusCode::NOT_FOUND
            );
            assert_eq!(ask(&server, &token).await, StatusCode::FORBIDDEN, "the pod is still there");
        }
    }
}

#[tokio::test]
async fn a_request_for_a_token_that_names_an_account_names_that_of_its_path() {
    let server = serve(&MemoryStorage::new(), &ServiceAccountKey::new().unwrap()).await;
    make(&server, ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;
    let path = format!("{ACCOUNTS}/robot/token");
    let send = async |metadata: Value| call(&server, "POST", &path, json!({"metadata": metadata})).await;

    let (code, made) = send(json!({"name": "robot", "namespace": "default"})).await;
    let told = json!({"labels": {"for": "tests"}, "annotations": {"why": "so"}});
    let (_, labelled) = send(told.clone()).await;
    let (other_name, name) = send(json!({"name": "default"})).await;
    let (other_place, place) = send(json!({"name": "robot", "namespace": "kube-system"})).await;

    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(
        made["metadata"],
        json!({"name": "robot", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"})
    );
    let metadata = &labelled["metadata"];
    assert_eq!((&metadata["labels"], &metadata["annotations"]), (&told["labels"], &told["annotations"]));
    assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!("robot"), &json!("default")));
    let why = "Invalid value: \"default\": must match the service account name if specified";
    assert_eq!(other_name, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        name["message"],
        format!("TokenRequest.authentication.k8s.io \"robot\" is invalid: metadata.name: {why}")
    );
    let cause = json!({"reason": "FieldValueInvalid", "message": why, "field": "metadata.name"});
    assert_eq!(
        name["details"],
        json!({"name": "robot", "group": "authentication.k8s.io", "kind": "TokenRequest", "causes": [cause]})
    );
    assert_eq!(other_place, StatusCode::BAD_REQUEST);
    assert_eq!(
        place["message"],
        "the namespace of the provided object does not match the namespace sent on the request"
    );
}

/// Keys to sign with, in the forms in which files have them.
fn signing_keys(files: &Path) -> [(PathBuf, KeyPair, &'static str); 3] {
    [
        ("256", &PKCS_ECDSA_P256_SHA256, "ES256"),
        ("384", &PKCS_ECDSA_P384_SHA384, "ES384"),
        ("rsa", &PKCS_RSA_SHA256, "RS256"),
    ]
    .map(|(name, kind, algorithm)| {
        let path = files.join(name);
        let pair = private_key(&path, kind);
        (path, pair, algorithm)
    })
}

#[tokio::test]
async fn tokens_outlive_the_key_that_signed_them_as_long_as_it_is_trusted() {
    let files = tempfile::tempdir().unwrap();
    let storage = MemoryStorage::new();
    let keys = signing_keys(files.path());
    let public = files.path().join("public");
    let load = |at: usize| ServiceAccountKey::load(&keys[at].0).unwrap();
    let first = serve(&storage, &load(0)).await;
    make(&first, ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;
    drop(first);

    for (old, new) in [(0, 1), (1, 2), (2, 0)] {
        let before = serve(&storage, &load(old)).await;
        let old_token = token(&before, json!({})).await;
        assert_eq!(part(&old_token, 0)["alg"], keys[old].2);
        before.shutdown().await;

        std::fs::write(&public, keys[old].1.public_key_pem()).unwrap();
        let both = serve(&storage, &load(new).trusting(&public).unwrap()).await;
        let new_token = token(&both, json!({})).await;
        assert_eq!(part(&new_token, 0)["alg"], keys[new].2);
        assert_ne!(part(&old_token, 0)["kid"], part(&new_token, 0)["kid"]);
        assert_eq!(ask(&both, &old_token).await, StatusCode::FORBIDDEN);
        assert_eq!(ask(&both, &new_token).await, StatusCode::FORBIDDEN);
        both.shutdown().await;

        let after = serve(&storage, &load(new)).await;
        assert_eq!(ask(&after, &old_token).await, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(&after, &new_token).await, StatusCode::FORBIDDEN);
        after.shutdown().await;
    }
}

#[tokio::test]
async fn a_token_that_names_no_key_is_tried_with_all() {
    let files = tempfile::tempdir().unwrap();
    let keys = signing_keys(files.path());
    let trusted =
        keys.iter().try_fold(ServiceAccountKey::new().unwrap(), |key, (path, _, _)| key.trusting(path));
    let server = serve(&MemoryStorage::new(), &trusted.unwrap()).await;
    make(&server, ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;
    let claims = part(&token(&server, json!({})).await, 1);

    for (_, pair, algorithm) in &keys {
        let pem = pair.serialize_pem();
        let (key, algorithm) = match *algorithm {
            "ES256" => (EncodingKey::from_ec_pem(pem.as_bytes()), Algorithm::ES256),
            "ES384" => (EncodingKey::from_ec_pem(pem.as_bytes()), Algorithm::ES384),
            _ => (EncodingKey::from_rsa_pem(pem.as_bytes()), Algorithm::RS256),
        };
        let nameless = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key.unwrap()).unwrap();
        assert_eq!(ask(&server, &nameless).await, StatusCode::FORBIDDEN, "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_token_whose_subject_is_another_account_than_it_is_bound_to_is_refused() {
    let files = tempfile::tempdir().unwrap();
    let [_, (path, pair, _), _] = signing_keys(files.path());
    let public = files.path().join("public");
    std::fs::write(&public, pair.public_key_pem()).unwrap();
    let trusted = ServiceAccountKey::new().unwrap().trusting(&public).unwrap();
    let server = serve(&MemoryStorage::new(), &trusted).await;
    for name in ["robot", "other"] {
        make(&server, ACCOUNTS, json!({"metadata": {"name": name}})).await;
    }
    let claims = part(&token(&server, json!({})).await, 1);
    let key = EncodingKey::from_ec_pem(std::fs::read_to_string(path).unwrap().as_bytes()).unwrap();
    let sign = |subject: &str| {
        let mut claims = claims.clone();
        claims["sub"] = subject.into();
        jsonwebtoken::encode(&Header::new(Algorithm::ES384), &claims, &key).unwrap()
    };

    assert_eq!(ask(&server, &sign("system:serviceaccount:default:robot")).await, StatusCode::FORBIDDEN);
    for subject in [
        "system:serviceaccount:default:other",
        "system:serviceaccount:kube-system:robot",
        "system:kube-controller-manager",
        "",
    ] {
        assert_eq!(ask(&server, &sign(subject)).await, StatusCode::UNAUTHORIZED, "{subject}");
    }
}

#[tokio::test]
async fn all_keys_are_published_once_under_the_hash_of_their_public_half() {
    let files = tempfile::tempdir().unwrap();
    let keys = signing_keys(files.path());
    let [own, second, third] = &keys;
    // A file may hold several, a public one as well as a certificate, and the signing key once more.
    let certificate = CertificateParams::new(vec!["sa".into()]).unwrap().self_signed(&third.1).unwrap();
    let several = files.path().join("several");
    std::fs::write(&several, second.1.public_key_pem() + &certificate.pem() + &own.1.serialize_pem())
        .unwrap();
    let key =
        ServiceAccountKey::load(&own.0).unwrap().trusting(&several).unwrap().trusting(&second.0).unwrap();
    let server = serve(&MemoryStorage::new(), &key).await;

    let (_, set) = call(&server, "GET", "/openid/v1/jwks", Value::Null).await;
    let (_, document) = call(&server, "GET", "/.well-known/openid-configuration", Value::Null).await;

    let published: Vec<_> =
        set["keys"].as_array().unwrap().iter().map(|key| (&key["kid"], &key["alg"])).collect();
    let ids = keys.each_ref().map(|(_, pair, algorithm)| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &pair.subject_public_key_info());
        (json!(URL_SAFE_NO_PAD.encode(hash)), json!(algorithm))
    });
    assert_eq!(published, ids.each_ref().map(|(id, algorithm)| (id, algorithm)));
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256", "ES384", "RS256"]));
}

/// A private key in the form of its algorithm, as PEM: what is inside PKCS #8.
fn traditional(pair: &KeyPair, label: &str) -> String {
    let der = pair.serialize_der();
    let (_, info) = x509_parser::der_parser::parse_der(&der).unwrap();
    let text = STANDARD.encode(info.as_sequence().unwrap()[2].as_slice().unwrap());
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[tokio::test]
async fn keys_are_read_in_the_forms_of_kubeadm_and_openssl() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("key");
    // What `openssl ecparam -genkey` writes before the key.
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let rsa = traditional(&KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), "RSA PRIVATE KEY");
    let elliptic = traditional(&KeyPair::generate().unwrap(), "EC PRIVATE KEY");

    for (pem, algorithm) in [(rsa, "RS256"), (format!("{parameters}{elliptic}"), "ES256")] {
        std::fs::write(&path, pem).unwrap();
        let server = serve(&MemoryStorage::new(), &ServiceAccountKey::load(&path).unwrap()).await;
        make(&server, ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;
        let token = token(&server, json!({})).await;
        assert_eq!(part(&token, 0)["alg"], algorithm);
        assert_eq!(ask(&server, &token).await, StatusCode::FORBIDDEN, "{algorithm}");
        assert!(ServiceAccountKey::new().unwrap().trusting(&path).is_ok(), "{algorithm}");
    }
}

#[test]
fn files_without_a_key_that_serves_are_refused_with_what_to_do() {
    let files = tempfile::tempdir().unwrap();
    let written = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let public = written("public", &KeyPair::generate().unwrap().public_key_pem());
    let edwards = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let edwards_public = written("ed.pub", &edwards.public_key_pem());
    let edwards = written("ed", &edwards.serialize_pem());
    let nonsense = written("nonsense", "nonsense");
    let broken = written("broken", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let missing = files.path().join("missing");
    let own = ServiceAccountKey::new().unwrap();

    for path in [&public, &edwards, &nonsense, &broken] {
        let error = ServiceAccountKey::load(path).unwrap_err();
        assert!(matches!(&error, AuthorityError::SigningKey(named) if named == path), "{error}");
    }
    for path in [&edwards_public, &edwards, &nonsense, &broken] {
        let error = own.clone().trusting(path).unwrap_err();
        assert!(matches!(&error, AuthorityError::VerifyingKeys(named) if named == path), "{error}");
    }
    assert!(matches!(ServiceAccountKey::load(&missing), Err(AuthorityError::File { .. })));
    assert!(matches!(own.clone().trusting(&missing), Err(AuthorityError::File { .. })));
    assert!(own.trusting(&public).is_ok());
}
