//! Clients over TLS: whose certificates are taken, and who gets a place when there is none.
//!
//! Time is paused, and sockets are real: what is sent over loopback is there before time moves on.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{BoxError, Component as _, Stop, StopSignal};
use quarterdeck_registry::layers::authentication::{Anonymous, StaticTokens};
use quarterdeck_registry::listener::Listener;
use quarterdeck_registry::tls::{Authority, ClientCertificates, Identity, RequestHeaders};
use quarterdeck_registry::{ApiServer, MemoryStorage, User};
use rustls::client::{ClientConnection, ResolvesClientCert};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SignatureScheme, SupportedProtocolVersion};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const WATCH: &str = "/api/v1/configmaps?watch=true";
/// Tokens of two who may do everything, and of one who may not.
const TOKENS: &str = "ann-s,ann,1,system:masters\ncid-s,cid,2,system:masters\nbob-s,bob,3\n";

struct Served {
    address: SocketAddr,
    authority: Authority,
    _signal: StopSignal,
    _running: JoinHandle<Result<(), BoxError>>,
}

/// Serves with certificates of this authority, believes proxies of another, and takes time from tokio.
async fn serve(authority: Authority, proxies: &Authority, with: impl FnOnce(Listener) -> Listener) -> Served {
    let clock = Clock::following_tokio(now());
    let server = ApiServer::builder(MemoryStorage::new())
        .clock(clock.clone())
        .authenticator(RequestHeaders::new(proxies.certificate(), clock.clone()).unwrap())
        .authenticator(ClientCertificates::new(authority.certificate(), clock).unwrap())
        .authenticator(StaticTokens::from_csv(TOKENS).unwrap())
        .authenticator(Anonymous)
        .start()
        .await
        .unwrap();
    let own = authority.server("server", &["localhost".to_owned()]).unwrap();
    let config = authority.server_config_for(&own, false, proxies.certificate()).unwrap();
    let listener = Listener::tls(server, "127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let address = listener.local_address().unwrap();
    let (signal, stop) = Stop::channel();
    let running = tokio::spawn(Box::new(with(listener)).run(stop));
    Served { address, authority, _signal: signal, _running: running }
}

/// What the system's clock says, which TLS goes by.
fn now() -> Timestamp {
    Clock::system().now()
}

fn authority() -> Authority {
    Authority::new(now()).unwrap()
}

/// The authority of a directory, which makes its certificates at another time.
fn authority_at(directory: &Path, after: SignedDuration) -> Authority {
    Authority::load_or_create(directory, now()).unwrap();
    Authority::load_or_create(directory, now() + after).unwrap()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Shows a certificate, to whoever asks for any.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A certificate with a key, which may be another's.
fn shown(certificate: &Identity, key: &Identity) -> CertifiedKey {
    let ((chain, _), (_, key)) = (certificate.der().unwrap(), key.der().unwrap());
    CertifiedKey::new(chain, provider().key_provider.load_private_key(key).unwrap())
}

impl Served {
    fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        shown: Option<CertifiedKey>,
    ) -> Arc<ClientConfig> {
        let client =
            ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        let client = client.with_root_certificates(self.authority.roots().unwrap());
        Arc::new(match shown {
            Some(shown) => client.with_client_cert_resolver(Arc::new(Shows(Arc::new(shown)))),
            None => client.with_no_client_auth(),
        })
    }

    async fn dial(&self, client: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        // What waits for an acknowledgement comes when paused time has moved on.
        stream.set_nodelay(true)?;
        TlsConnector::from(client.clone()).connect("localhost".try_into().unwrap(), stream).await
    }

    /// Sends a request on a connection of its own. Returns the answer's code and body, and how the connection began; the code is 0 if
    /// there was no answer.
    async fn ask(
        &self,
        client: &Arc<ClientConfig>,
        (method, path): (&str, &str),
        headers: &str,
        body: &Value,
    ) -> (u16, Value, Option<HandshakeKind>) {
        let mut text = Vec::new();
        let Ok(mut stream) = self.dial(client).await else { return (0, Value::Null, None) };
        let body = body.to_string();
        let length = body.len();
        let kind = if method == "PATCH" { "merge-patch+json" } else { "json" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-type: application/{kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        // In TLS 1.3 a client learns behind the handshake that it failed.
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.flush().await;
        let _ = stream.read_to_end(&mut text).await;
        let connection: &ClientConnection = stream.get_ref().1;
        let text = String::from_utf8(text).unwrap();
        let code = text.split(' ').nth(1).map_or(0, |code| code.parse().unwrap());
        let body =
            text.split_once("\r\n\r\n").map(|(_, body)| serde_json::from_str(body).unwrap_or_default());
        (code, body.unwrap_or_default(), connection.handshake_kind())
    }

    /// Asks who one is: the name, or the code and the reason of the refusal.
    async fn who(&self, client: &Arc<ClientConfig>, headers: &str) -> Result<String, (u16, String)> {
        let (code, body, _) = self.ask(client, ("POST", WHO), headers, &json!({})).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if code == 201 {
            return Ok(text(&body["status"]["userInfo"]["username"]));
        }
        Err((code, text(&body["reason"])))
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_no_good_is_answered_with_a_status_and_counts_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (years, days) = (SignedDuration::from_hours(-24 * 800), SignedDuration::from_hours(24 * 20));
    let old = authority_at(directory.path(), years);
    let early = authority_at(directory.path(), days);
    let (own, other, proxies) =
        (authority_at(directory.path(), SignedDuration::ZERO), authority(), authority());
    let ann = User::new("ann");
    let [good, expired, not_yet, unknown, front] =
        [&own, &old, &early, &other, &proxies].map(|authority| authority.client(&ann).unwrap());
    let served = serve(own, &proxies, |listener| listener).await;
    let refused = || Err((401, "Unauthorized".to_owned()));
    let token = "authorization: Bearer bob-s\r\n";
    let headers = "x-remote-user: system:admin\r\nx-remote-group: system:masters\r\n";

    for version in [&TLS12, &TLS13] {
        let client = |identity: &Identity| served.client(version, Some(shown(identity, identity)));
        assert_eq!(served.who(&client(&good), "").await, Ok("ann".into()));
        assert_eq!(served.who(&client(&good), token).await, Ok("ann".into()), "it is asked first");
        assert_eq!(served.who(&client(&good), headers).await, Ok("ann".into()), "a user is no proxy");
        assert_eq!(served.who(&client(&front), headers).await, Ok("system:admin".into()));
        assert_eq!(served.who(&client(&front), "").await, refused(), "a proxy is no user");
        for (what, bad) in [("expired", &expired), ("not yet valid", &not_yet), ("unknown", &unknown)] {
            assert_eq!(served.who(&client(bad), "").await, refused(), "{what}: not even anonymous");
            assert_eq!(served.who(&client(bad), headers).await, refused(), "{what}");
            assert_eq!(served.who(&client(bad), token).await, Ok("bob".into()), "{what}");
        }
        let nobody = served.client(version, None);
        assert_eq!(served.who(&nobody, "").await, Err((403, "Forbidden".into())), "anonymous");
    }
}

#[test]
fn a_certificate_is_checked_by_those_behind_it_or_by_itself_if_it_signed_itself() {
    let own = authority();
    let Identity { certificate, key } = own.server("server", &["localhost".to_owned()]).unwrap();
    let issuers = |certificate: String| Identity { certificate, key: key.clone() }.issuers();
    let alone = own.certificate().to_owned();

    assert_eq!(issuers(certificate.clone()).unwrap(), "", "nobody can say who signed it");
    // As some have it in one file; nobody is told the key.
    let chain = format!("{certificate}{key}{alone}{alone}");
    assert_eq!(issuers(chain).unwrap(), format!("{alone}{alone}"));
    assert_eq!(issuers(alone.clone()).unwrap(), alone);
    assert!(issuers(key.clone()).is_err());
}

#[tokio::test(start_paused = true)]
async fn whoever_shows_a_certificate_holds_its_key() {
    let (own, proxies) = (authority(), authority());
    let [ann, bob] = ["ann", "bob"].map(|name| own.client(&User::new(name)).unwrap());
    let served = serve(own, &proxies, |listener| listener).await;

    for version in [&TLS12, &TLS13] {
        let thief = served.client(version, Some(shown(&ann, &bob)));
        assert_eq!(served.who(&thief, "authorization: Bearer bob-s\r\n").await, Err((0, String::new())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_resumed_brings_no_certificate_back_to_life() {
    let directory = tempfile::tempdir().unwrap();
    // Certificates that are good for another day or two.
    let own = authority_at(directory.path(), SignedDuration::from_hours(-24 * 363));
    let proxies = authority();
    let ann = own.client(&User::new("ann")).unwrap();
    let other = authority().client(&User::new("ann")).unwrap();
    let served =
        serve(authority_at(directory.path(), SignedDuration::ZERO), &proxies, |listener| listener).await;
    let clients = [&TLS12, &TLS13]
        .map(|version| [&ann, &other].map(|who| served.client(version, Some(shown(who, who)))));
    let ask = async |client: &Arc<ClientConfig>| {
        let (code, _, kind) = served.ask(client, ("POST", WHO), "", &json!({})).await;
        (code, kind)
    };

    for [ann, other] in &clients {
        assert_eq!(ask(ann).await, (201, Some(HandshakeKind::Full)));
        assert_eq!(ask(ann).await, (201, Some(HandshakeKind::Resumed)));
        assert_eq!(ask(other).await, (401, Some(HandshakeKind::Full)));
        assert_eq!(ask(other).await, (401, Some(HandshakeKind::Resumed)));
    }
    tokio::time::advance(Duration::from_secs(72 * 3600)).await;
    for [ann, _] in &clients {
        assert_eq!(ask(ann).await, (401, Some(HandshakeKind::Resumed)));
    }
}

/// Waits until a connection ends, however.
async fn end(stream: &mut TlsStream<TcpStream>) {
    let mut rest = [0; 1024];
    while matches!(stream.read(&mut rest).await, Ok(read) if read > 0) {}
}

impl Served {
    /// Begins a watch on a connection of its own, as whoever has this token.
    async fn watch(&self, token: &str, headers: &str) -> TlsStream<TcpStream> {
        let mut stream = self.dial(&self.client(&TLS13, None)).await.unwrap();
        let request = format!(
            "GET {WATCH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert!(head == *b"HTTP/1.1 200" || head == *b"HTTP/1.1 101", "{head:?}");
        stream
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_who_takes_all_places_with_watches_takes_them_from_nobody_else() {
    let own = authority();
    let agent = own.client(&User::node("n")).unwrap();
    let served = serve(own, &authority(), |listener| listener.max_connections(4)).await;
    let agent = served.client(&TLS13, Some(shown(&agent, &agent)));
    let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\norigin: https://localhost\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut watch = served.watch("cid-s", "").await;
    let begin = Instant::now();
    let mut renewed = Vec::new();

    for headers in ["", upgrade] {
        let mut flood = Vec::new();
        for round in 0..6 {
            // Once all places are taken, each takes another's of the same user.
            flood.push(served.watch("ann-s", headers).await);
            flood.push(served.watch("ann-s", headers).await);
            let lease = json!({"metadata": {"name": "n"}, "spec": {"leaseTransitions": round}});
            let (method, path) = match renewed.len() {
                0 => ("POST", LEASES.to_owned()),
                _ => ("PATCH", format!("{LEASES}/n")),
            };
            renewed.push(served.ask(&agent, (method, &path), "", &lease).await.0);
        }
    }

    assert_eq!(renewed[0], 201, "{renewed:?}");
    assert!(renewed[1..].iter().all(|code| *code == 200), "{renewed:?}");
    assert!(begin.elapsed() < Duration::from_secs(1), "nobody waits for a place: {:?}", begin.elapsed());
    assert!(timeout(Duration::from_millis(1), end(&mut watch)).await.is_err(), "another's watch goes on");
}
