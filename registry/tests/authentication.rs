//! Who somebody is: tokens of a file, bootstrap tokens, a proxy's headers, an identity provider, service accounts.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{Component as _, Stop};
use quarterdeck_registry::layers::authentication::{Anonymous, Authenticator, BootstrapTokens, StaticTokens};
use quarterdeck_registry::listener::Listener;
use quarterdeck_registry::tls::{
    Authorities, Authority, ClientCertificates, OpenId, PeerCertificate, RequestHeaders, ServerTls,
    ServiceAccountKey, ServiceAccountTokens,
};
use quarterdeck_registry::{ApiServer, ApiServerBuilder, Body, MemoryStorage, User};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, date_time_ymd,
};
use serde_json::{Value, json};
use support::call;
use tower::ServiceExt as _;

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const ISSUER: &str = "https://issuer.example";

fn clock() -> Clock {
    Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap())
}

fn builder() -> ApiServerBuilder {
    ApiServer::builder(MemoryStorage::new()).clock(clock())
}

async fn serve(authenticator: impl Authenticator) -> ApiServer {
    builder().authenticator(authenticator).authenticator(Anonymous).start().await.unwrap()
}

/// Asks the server who it thinks one is; the code if it does not say.
async fn who(server: &ApiServer, request: http::request::Builder) -> Result<Value, StatusCode> {
    let request = request.method("POST").uri(WHO).header("content-type", "application/json");
    let answer = server.clone().oneshot(request.body(Body::full("{}")).unwrap()).await.unwrap();
    let code = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    if code == StatusCode::CREATED { Ok(body["status"]["userInfo"].clone()) } else { Err(code) }
}

async fn who_has(server: &ApiServer, token: &str) -> Result<Value, StatusCode> {
    who(server, Request::builder().header("authorization", format!("Bearer {token}"))).await
}

/// Takes no token.
#[derive(Debug)]
struct Refuses(&'static str);

#[async_trait::async_trait]
impl Authenticator for Refuses {
    async fn authenticate(&self, _: &http::request::Parts) -> Result<Option<User>, String> {
        Err(self.0.to_owned())
    }

    async fn authenticate_token(&self, _: &str, _: &[String]) -> Result<Option<(User, Vec<String>)>, String> {
        Err(self.0.to_owned())
    }
}

#[tokio::test]
async fn who_refuses_a_token_does_not_keep_others_from_knowing_it() {
    let tokens = StaticTokens::from_csv("s3cr3t,ann,7\n").unwrap();
    let builder = builder().authenticator(Refuses("not mine")).authenticator(tokens);
    let server = builder.authenticator(Refuses("nor mine")).start().await.unwrap();
    let review = async |token: &str| {
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        call(&server, "POST", path, json!({"spec": {"token": token}})).await.1["status"].clone()
    };

    let (known, unknown) = (review("s3cr3t").await, review("other").await);

    assert_eq!((&known["authenticated"], &known["user"]["username"]), (&json!(true), &json!("ann")));
    assert_eq!(known.get("error"), None);
    assert_eq!(unknown, json!({"user": {}, "error": "[not mine, nor mine]"}));
    assert_eq!(who_has(&server, "s3cr3t").await.unwrap()["username"], "ann", "as for requests");
}

#[tokio::test]
async fn tokens_of_a_file_are_known_and_others_make_nobody_anonymous() {
    let file = "s3cr3t,ann,7,\"crew,cooks\"\nother,bob,8\n";
    let server = serve(StaticTokens::from_csv(file).unwrap()).await;

    let ann = json!({"username": "ann", "uid": "7", "groups": ["crew", "cooks", "system:authenticated"]});
    assert_eq!(who_has(&server, "s3cr3t").await, Ok(ann.clone()));
    let bob = json!({"username": "bob", "uid": "8", "groups": ["system:authenticated"]});
    assert_eq!(who(&server, Request::builder().header("authorization", "bearer  other")).await, Ok(bob));
    for wrong in ["s3cr3", "s3cr3t2", "ann"] {
        assert_eq!(who_has(&server, wrong).await, Err(StatusCode::UNAUTHORIZED), "{wrong}");
    }
    // Anonymous users are let in, and may do little.
    assert_eq!(who(&server, Request::builder()).await, Err(StatusCode::FORBIDDEN));

    let review = async |spec: Value| {
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        call(&server, "POST", path, json!({"spec": spec})).await.1["status"].clone()
    };
    let good = review(json!({"token": "s3cr3t"})).await;
    assert_eq!((&good["authenticated"], &good["user"]), (&json!(true), &ann));
    let elsewhere = review(json!({"token": "s3cr3t", "audiences": ["elsewhere"]})).await;
    assert_ne!(elsewhere["authenticated"], true);
}

/// Makes, or replaces, a bootstrap token.
async fn put_token(server: &ApiServer, change: Value) {
    let mut data = json!({
        "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "expiration": "2026-01-01T01:00:00Z", "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
    });
    data.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let _ = call(server, "DELETE", &format!("{SECRETS}/bootstrap-token-abcdef"), Value::Null).await;
    let metadata = json!({"name": "bootstrap-token-abcdef"});
    let secret = json!({"metadata": metadata, "type": "bootstrap.kubernetes.io/token", "stringData": data});
    let (code, body) = call(server, "POST", SECRETS, secret).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
    // Authentication goes by the cache, which follows in a moment.
    let mut published = server.registry().cache.published();
    let revision = body["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert!(published.wait_for(|now| now.0 >= revision).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_bootstrap_token_is_good_as_long_as_its_secret_says_so() {
    let server = serve(BootstrapTokens::new(clock())).await;
    let (token, no) = ("abcdef.0123456789abcdef", Err(StatusCode::UNAUTHORIZED));
    assert_eq!(who_has(&server, token).await, no);
    put_token(&server, json!({})).await;
    let groups =
        ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"];
    let user = json!({"username": "system:bootstrap:abcdef", "groups": groups});
    assert_eq!(who_has(&server, token).await, Ok(user));
    for wrong in ["abcdef.0123456789abcdee", "abcdeg.0123456789abcdef", "abcdef.", "abcdef"] {
        assert_eq!(who_has(&server, wrong).await, no, "{wrong}");
    }
    for change in [
        json!({"usage-bootstrap-authentication": "false"}),
        json!({"expiration": "2025-12-31T00:00:00Z"}),
        json!({"expiration": "soon"}),
        json!({"auth-extra-groups": "system:masters"}),
        json!({"token-id": "abcdeg"}),
        json!({"token-secret": ""}),
    ] {
        put_token(&server, change.clone()).await;
        assert_eq!(who_has(&server, token).await, no, "{change}");
    }
    put_token(&server, json!({})).await;
    tokio::time::sleep(Duration::from_secs(3601)).await;
    assert_eq!(who_has(&server, token).await, no);
}

/// What the client of a connection shows who has the certificate of a user.
fn certificate(authority: &Authority, user: &str) -> PeerCertificate {
    let (chain, _) = authority.client(&User::new(user)).unwrap().der().unwrap();
    PeerCertificate::new(chain[0].clone())
}

/// A request over a connection whose client showed the certificate of a user.
fn shown(authority: &Authority, user: &str) -> http::request::Builder {
    Request::builder().extension(certificate(authority, user))
}

/// The user of a certificate.
fn of_certificate(certificate: &PeerCertificate, name: &str) -> Value {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "username": name, "groups": ["system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": [format!("X509SHA256={digest}")]},
    })
}

#[tokio::test]
async fn headers_are_believed_of_a_proxy_alone() {
    let now = clock().now();
    let (cluster, proxies) = (Authority::new(now).unwrap(), Authority::new(now).unwrap());
    let headers = RequestHeaders::new(proxies.certificate(), clock()).unwrap();
    let server = builder()
        .authenticator(headers.allowed_names(["front".to_owned()]))
        .authenticator(ClientCertificates::new(cluster.certificate(), clock()).unwrap())
        .start()
        .await
        .unwrap();
    let claim = |request: http::request::Builder| {
        request
            .header("x-remote-user", "ann")
            .header("x-remote-group", "crew")
            .header("x-remote-group", "cooks")
            .header("x-remote-extra-example.com%2fteam", "red")
    };
    let ann = json!({
        "username": "ann", "groups": ["crew", "cooks", "system:authenticated"],
        "extra": {"example.com/team": ["red"]},
    });

    assert_eq!(who(&server, claim(shown(&proxies, "front"))).await, Ok(ann));
    // A user who claims to be another is still the one of the certificate.
    let of_bob = certificate(&cluster, "bob");
    let bob = who(&server, claim(Request::builder().extension(of_bob.clone()))).await;
    assert_eq!(bob, Ok(of_certificate(&of_bob, "bob")));
    for nobody in [
        claim(Request::builder()),
        claim(shown(&proxies, "other")),
        claim(shown(&Authority::new(now).unwrap(), "front")),
        // A proxy is no user.
        shown(&proxies, "front"),
        shown(&proxies, "bob"),
    ] {
        assert_eq!(who(&server, nobody).await, Err(StatusCode::UNAUTHORIZED));
    }
}

#[tokio::test]
async fn who_has_a_certificate_of_a_user_is_no_proxy_but_by_name() {
    let now = clock().now();
    let (cluster, proxies) = (Authority::new(now).unwrap(), Authority::new(now).unwrap());
    let both = format!("{}{}", proxies.certificate(), cluster.certificate());
    let authorities = |pem: &str| Authorities::new(pem, clock()).unwrap();
    let users = authorities(cluster.certificate());
    let start = async |names: &[&str]| {
        let headers = RequestHeaders::new(&both, clock()).unwrap().beside(users.clone());
        let builder = builder()
            .authenticator(headers.allowed_names(names.iter().map(|name| (*name).to_owned())))
            .authenticator(ClientCertificates::of(users.clone()));
        builder.start().await.unwrap()
    };
    let claim = |certificate: &PeerCertificate| {
        let request = Request::builder().extension(certificate.clone()).header("x-remote-user", "ann");
        request.header("x-remote-group", "system:masters")
    };
    let (bob, front, own) =
        (certificate(&cluster, "bob"), certificate(&proxies, "front"), certificate(&cluster, "front"));
    let ann = json!({"username": "ann", "groups": ["system:masters", "system:authenticated"]});

    let (any, named) = (start(&[]).await, start(&["front"]).await);

    assert_eq!(who(&any, claim(&bob)).await, Ok(of_certificate(&bob, "bob")));
    assert_eq!(who(&any, claim(&front)).await.as_ref(), Ok(&ann));
    assert_eq!(who(&named, claim(&bob)).await, Ok(of_certificate(&bob, "bob")));
    assert_eq!(who(&named, claim(&own)).await.as_ref(), Ok(&ann));
    // Who signs for users may change.
    users.replace(&both).unwrap();
    assert_eq!(who(&any, claim(&front)).await, Ok(of_certificate(&front, "front")));
    let of_proxies = authorities(proxies.certificate());
    assert!(users.overlap(&of_proxies) && of_proxies.overlap(&users));
    assert!(!of_proxies.overlap(&authorities(cluster.certificate())));
}

#[tokio::test]
async fn the_authorities_of_proxies_can_be_replaced() {
    let now = clock().now();
    let (before, after) = (Authority::new(now).unwrap(), Authority::new(now).unwrap());
    let authorities = Authorities::new(before.certificate(), clock()).unwrap();
    let server = builder().authenticator(RequestHeaders::of(authorities.clone())).start().await.unwrap();
    let (old, new) = (shown(&before, "front"), shown(&after, "front"));
    let old = old.header("x-remote-user", "ann").body(()).unwrap().into_parts().0;
    let ask = async |extensions: http::Extensions| {
        let mut request = Request::builder().header("x-remote-user", "ann");
        *request.extensions_mut().unwrap() = extensions;
        who(&server, request).await.is_ok()
    };
    let new = new.body(()).unwrap().into_parts().0.extensions;
    let believed = (ask(old.extensions.clone()).await, ask(new.clone()).await);

    assert!(authorities.replace("no PEM").is_err());
    authorities.replace(after.certificate()).unwrap();

    assert_eq!(believed, (true, false));
    // What was found out of an open connection counts no more.
    assert_eq!((ask(old.extensions).await, ask(new).await), (false, true));
}

#[tokio::test]
async fn a_listener_shows_new_connections_what_its_settings_were_replaced_by() {
    let now = Clock::system().now();
    let authority = Authority::new(now).unwrap();
    let make = || authority.server("server", &["127.0.0.1".to_owned()]).unwrap();
    let (first, second) = (make(), make());
    let tls = ServerTls::new(authority.server_config(&first, false).unwrap());
    let server = builder().start().await.unwrap();
    let listener = Listener::tls(server, "127.0.0.1:0".parse().unwrap(), tls.clone()).await.unwrap();
    let address = listener.local_address().unwrap();
    let (_signal, stop) = Stop::channel();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Box::new(listener).run(stop));
    let client =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let client = client.with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(authority.roots().unwrap()).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let shown = async || {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let stream = connector.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };

    let before = shown().await;
    tls.replace(authority.server_config(&second, false).unwrap());
    let after = shown().await;

    assert_eq!((before, after), (first.der().unwrap().0.remove(0), second.der().unwrap().0.remove(0)));
}

/// The parameters of a certificate that is good until a day of 2026 or later.
fn params(name: &str, (year, month, day): (i32, u8, u8)) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(year, month, day);
    params
}

fn authority(name: &str, until: (i32, u8, u8)) -> CertificateParams {
    let mut params = params(name, until);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn client(name: &str, until: (i32, u8, u8)) -> CertificateParams {
    let mut params = params(name, until);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A root (PEM), and what a client shows whose certificate an intermediate signed.
fn chain(intermediate_until: (i32, u8, u8), client: &CertificateParams) -> (String, PeerCertificate) {
    let [root_key, middle_key, key] = std::array::from_fn(|_| KeyPair::generate().unwrap());
    let root = authority("root", (2040, 1, 1));
    let pem = root.self_signed(&root_key).unwrap().pem();
    let middle = authority("middle", intermediate_until);
    let between = middle.signed_by(&middle_key, &Issuer::new(root, root_key)).unwrap().der().clone();
    let own = client.signed_by(&key, &Issuer::new(middle, middle_key)).unwrap().der().clone();
    (pem, PeerCertificate::with_intermediates(own, vec![between]))
}

#[tokio::test(start_paused = true)]
async fn a_certificate_counts_until_it_expires_however_long_its_connection_lives() {
    let no = Err(StatusCode::UNAUTHORIZED);
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    for (middle, own) in [((2030, 1, 1), (2026, 1, 2)), ((2026, 1, 2), (2030, 1, 1))] {
        let (root, shown) = chain(middle, &client("ann", own));
        let of_users = builder().authenticator(ClientCertificates::new(&root, clock()).unwrap());
        let headers = RequestHeaders::new(&root, clock()).unwrap();
        let of_proxies = builder().authenticator(headers);
        let ask = async |server: &ApiServer| {
            who(server, Request::builder().extension(shown.clone()).header("x-remote-user", "ann")).await
        };
        let of_proxy = json!({"username": "ann", "groups": ["system:authenticated"]});
        let servers = [
            (of_users.start().await.unwrap(), of_certificate(&shown, "ann")),
            (of_proxies.start().await.unwrap(), of_proxy),
        ];
        for (server, ann) in &servers {
            assert_eq!(ask(server).await.as_ref(), Ok(ann), "an intermediate leads to the root");
        }

        tokio::time::sleep(hours(23)).await;
        for (server, ann) in &servers {
            assert_eq!(ask(server).await.as_ref(), Ok(ann));
        }
        tokio::time::sleep(hours(2)).await;
        for (server, _) in &servers {
            assert_eq!(ask(server).await, no);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_intermediate_of_another_root_leads_nowhere() {
    let (root, _) = chain((2030, 1, 1), &client("ann", (2030, 1, 1)));
    let (_, shown) = chain((2030, 1, 1), &client("ann", (2030, 1, 1)));
    let server =
        builder().authenticator(ClientCertificates::new(&root, clock()).unwrap()).start().await.unwrap();

    let known = who(&server, Request::builder().extension(shown)).await;

    assert_eq!(known, Err(StatusCode::UNAUTHORIZED));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_several_names_is_nobodys() {
    let mut two = client("ann", (2030, 1, 1));
    // The common name's own identifier, which the library would not take twice by name.
    two.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "system:admin");
    let (root, shown) = chain((2030, 1, 1), &two);
    let server =
        builder().authenticator(ClientCertificates::new(&root, clock()).unwrap()).start().await.unwrap();

    let known = who(&server, Request::builder().extension(shown)).await;

    assert_eq!(known, Err(StatusCode::UNAUTHORIZED));
}

#[tokio::test(start_paused = true)]
async fn a_bad_proof_counts_for_nothing_beside_a_good_one_or_alone() {
    let (root, shown) = chain((2030, 1, 1), &client("ann", (2030, 1, 1)));
    let (_, unknown) = chain((2030, 1, 1), &client("ann", (2030, 1, 1)));
    let (_, expired) = chain((2030, 1, 1), &client("ann", (2025, 6, 1)));
    let tokens = StaticTokens::from_csv("s3cr3t,bob,8\n").unwrap();
    let server = builder()
        .authenticator(tokens)
        .authenticator(ClientCertificates::new(&root, clock()).unwrap())
        .authenticator(Anonymous)
        .start()
        .await
        .unwrap();
    let with = |token: &str| Request::builder().header("authorization", format!("Bearer {token}"));

    let beside = who(&server, with("wrong").extension(shown.clone())).await.unwrap();

    // Whom the good one names, with no right of whom the bad one claims, as upstream.
    assert_eq!(beside, of_certificate(&shown, "ann"));
    assert_eq!(who(&server, with("wrong")).await, Err(StatusCode::UNAUTHORIZED), "not even anonymous");
    for bad in [unknown, expired] {
        let beside = who(&server, with("s3cr3t").extension(bad.clone())).await.unwrap();
        assert_eq!(beside["username"], "bob");
        let alone = who(&server, Request::builder().extension(bad)).await;
        assert_eq!(alone, Err(StatusCode::UNAUTHORIZED), "not even anonymous");
    }
}

/// Never says who asks.
#[derive(Debug)]
struct Hangs;

#[async_trait::async_trait]
impl Authenticator for Hangs {
    async fn authenticate(&self, _: &http::request::Parts) -> Result<Option<User>, String> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_that_hangs_holds_a_request_for_10_seconds() {
    let server = builder().authenticator(Hangs).authenticator(Anonymous).start().await.unwrap();
    let begin = tokio::time::Instant::now();

    let known = who(&server, Request::builder()).await;

    assert_eq!((known, begin.elapsed().as_secs()), (Err(StatusCode::UNAUTHORIZED), 10));
}

/// An identity provider's key, and its public half.
fn key(algorithm: Algorithm) -> (EncodingKey, Value) {
    let (kind, read): (_, fn(&[u8]) -> _) = match algorithm {
        Algorithm::RS256 => (&PKCS_RSA_SHA256, EncodingKey::from_rsa_pem),
        Algorithm::ES256 => (&PKCS_ECDSA_P256_SHA256, EncodingKey::from_ec_pem),
        _ => (&PKCS_ED25519, EncodingKey::from_ed_pem),
    };
    let pair = KeyPair::generate_for(kind).unwrap();
    let key = read(pair.serialize_pem().as_bytes()).unwrap();
    let mut public = match algorithm {
        Algorithm::EdDSA => {
            json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key_raw())})
        }
        _ => serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap(),
    };
    public["kid"] = format!("{algorithm:?}").into();
    (key, public)
}

fn sign(key: &EncodingKey, algorithm: Algorithm, claims: &Value) -> String {
    let header = Header { kid: Some(format!("{algorithm:?}")), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

/// Claims that are good for an hour, but for a change.
fn claims(change: Value) -> Value {
    let now = clock().now().as_second();
    let mut claims =
        json!({"iss": ISSUER, "aud": "kubernetes", "sub": "1", "exp": now + 3600, "roles": ["a", "b"]});
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    claims
}

#[tokio::test(start_paused = true)]
async fn an_identity_providers_tokens_are_checked_by_its_keys() {
    let algorithms = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    let keys = algorithms.map(|algorithm| (algorithm, key(algorithm)));
    let public: Vec<_> = keys.iter().map(|(_, (_, public))| public).collect();
    let set = json!({"keys": public}).to_string();
    let provider = OpenId::new(ISSUER, "kubernetes", &set, clock()).unwrap();
    let server = serve(provider.groups_claim("roles").groups_prefix("idp:")).await;
    let user = json!({
        "username": format!("{ISSUER}#1"), "groups": ["idp:a", "idp:b", "system:authenticated"],
    });
    for (algorithm, (key, _)) in &keys {
        let token = sign(key, *algorithm, &claims(json!({})));
        assert_eq!(who_has(&server, &token).await, Ok(user.clone()), "{algorithm:?}");
    }
    let (algorithm, (es256, _)) = &keys[1];
    for change in [
        json!({"aud": ["other"]}),
        json!({"iss": "https://other.example"}),
        json!({"exp": clock().now().as_second() - 1}),
        json!({"exp": null}),
        json!({"nbf": clock().now().as_second() + 60}),
        json!({"sub": ""}),
        json!({"sub": 1}),
        json!({"roles": [1]}),
    ] {
        let token = sign(es256, *algorithm, &claims(change.clone()));
        assert_eq!(who_has(&server, &token).await, Err(StatusCode::UNAUTHORIZED), "{change}");
    }
    for (id, extra) in [
        (json!("a1"), json!({"authentication.kubernetes.io/credential-id": ["JTI=a1"]})),
        (json!(""), Value::Null),
        (json!(1), Value::Null),
    ] {
        let user = who_has(&server, &sign(es256, *algorithm, &claims(json!({"jti": id})))).await.unwrap();
        assert_eq!(user["extra"], extra, "{id}");
    }
    let good = sign(es256, *algorithm, &claims(json!({"aud": ["x", "kubernetes"]})));
    let forged = sign(&key(*algorithm).0, *algorithm, &claims(json!({})));
    let unsigned = good.rsplit_once('.').unwrap().0.to_owned() + ".";
    // The key of one algorithm taken for the secret of another.
    let secret = EncodingKey::from_secret(public[1].to_string().as_bytes());
    let confused = sign(&secret, Algorithm::HS256, &claims(json!({})));
    assert!(who_has(&server, &good).await.is_ok());
    for wrong in [forged, unsigned, confused, good[..good.len() - 2].to_owned()] {
        assert_eq!(who_has(&server, &wrong).await, Err(StatusCode::UNAUTHORIZED), "{wrong}");
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(who_has(&server, &good).await, Err(StatusCode::UNAUTHORIZED));
}

#[tokio::test]
async fn a_token_without_groups_is_of_a_user_in_none() {
    let (es256, public) = key(Algorithm::ES256);
    let set = json!({"keys": [public]}).to_string();
    let provider = OpenId::new(ISSUER, "kubernetes", &set, clock()).unwrap();
    let server = serve(provider.groups_claim("teams")).await;

    let user = who_has(&server, &sign(&es256, Algorithm::ES256, &claims(json!({})))).await.unwrap();

    assert_eq!(user["groups"], json!(["system:authenticated"]));
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_a_minute_after_the_deletion_of_what_it_is_bound_to_has_begun() {
    let key = ServiceAccountKey::new().unwrap();
    let builder = builder().authenticator(ServiceAccountTokens::new(key.clone(), clock()));
    let server = builder.token_issuer(key).start().await.unwrap();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let held = json!({"metadata": {"name": "robot", "finalizers": ["example.com/hold"]}});
    call(&server, "POST", accounts, held).await;
    let (_, made) = call(&server, "POST", &format!("{accounts}/robot/token"), json!({"spec": {}})).await;
    let token = made["status"]["token"].as_str().unwrap();
    let (_, deleted) = call(&server, "DELETE", &format!("{accounts}/robot"), Value::Null).await;
    assert!(deleted["metadata"]["deletionTimestamp"].is_string(), "{deleted}");

    tokio::time::sleep(Duration::from_secs(55)).await;
    assert!(who_has(&server, token).await.is_ok());
    tokio::time::sleep(Duration::from_secs(10)).await;

    assert_eq!(who_has(&server, token).await, Err(StatusCode::UNAUTHORIZED));
}

#[tokio::test]
async fn users_may_be_called_by_another_claim() {
    let (es256, public) = key(Algorithm::ES256);
    let set = json!({"keys": [{"kty": "unknown"}, public]}).to_string();
    let named = async |change: Value, with: fn(OpenId) -> OpenId| {
        let server = serve(with(OpenId::new(ISSUER, "kubernetes", &set, clock()).unwrap())).await;
        let user = who_has(&server, &sign(&es256, Algorithm::ES256, &claims(change))).await?;
        Ok::<_, StatusCode>(user["username"].as_str().unwrap().to_owned())
    };
    let email = json!({"email": "a@b.c", "email_verified": true});
    assert_eq!(named(email, |it| it.username_claim("email")).await, Ok("a@b.c".into()));
    let email = json!({"email": "a@b.c", "email_verified": false});
    assert_eq!(named(email, |it| it.username_claim("email")).await, Err(StatusCode::UNAUTHORIZED));
    assert_eq!(named(json!({}), |it| it.username_prefix("-")).await, Ok("1".into()));
    assert_eq!(named(json!({}), |it| it.username_prefix("idp:")).await, Ok("idp:1".into()));
    assert!(OpenId::new("http://plain.example", "x", &set, clock()).is_err());
    assert!(OpenId::new(ISSUER, "x", r#"{"keys": []}"#, clock()).is_err());
}

#[tokio::test]
async fn whoever_may_reads_how_to_check_service_accounts_tokens() {
    let key = ServiceAccountKey::new().unwrap();
    let server = builder()
        .authenticator(ServiceAccountTokens::new(key.clone(), clock()))
        .authenticator(Anonymous)
        .token_issuer(key)
        .start()
        .await
        .unwrap();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    call(&server, "POST", accounts, json!({"metadata": {"name": "robot"}})).await;
    let (code, secret) =
        call(&server, "POST", "/api/v1/namespaces/default/secrets", json!({"metadata": {"name": "bound"}}))
            .await;
    assert_eq!(code, StatusCode::CREATED);
    let bound =
        json!({"apiVersion": "v1", "kind": "Secret", "name": "bound", "uid": secret["metadata"]["uid"]});
    let token = async |spec: Value| {
        let (code, made) =
            call(&server, "POST", &format!("{accounts}/robot/token"), json!({"spec": spec})).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
        made["status"]["token"].as_str().unwrap().to_owned()
    };
    let (plain, bound) = (token(json!({})).await, token(json!({"boundObjectRef": bound})).await);
    let read = async |path: &str, token: Option<&str>| {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = server.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let code = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice::<Value>(&bytes).unwrap_or_default())
    };

    let (code, document) = read("/.well-known/openid-configuration", Some(&plain)).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(document["issuer"], "https://kubernetes.default.svc");
    assert_eq!(document["jwks_uri"], "https://kubernetes.default.svc/openid/v1/jwks");
    let (code, keys) = read("/openid/v1/jwks", Some(&plain)).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(read("/openid/v1/jwks", None).await.0, StatusCode::FORBIDDEN);

    // Another server that knows nothing but the documents takes the token.
    let audience = "https://kubernetes.default.svc";
    let other = OpenId::new(audience, audience, &keys.to_string(), clock()).unwrap();
    let user = who_has(&serve(other.username_prefix("-")).await, &plain).await.unwrap();
    assert_eq!(user["username"], "system:serviceaccount:default:robot");

    // A bound token ends with what it is bound to.
    assert!(who_has(&server, &bound).await.is_ok());
    call(&server, "DELETE", "/api/v1/namespaces/default/secrets/bound", Value::Null).await;
    while who_has(&server, &bound).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(who_has(&server, &plain).await.is_ok());
}
