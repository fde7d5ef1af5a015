//! Watches over WebSockets, spoken over a connection in memory.

use std::time::Duration;

use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use quarterdeck_core::component::{Component, Stop};
use quarterdeck_registry::listener::Listener;
use quarterdeck_registry::{ApiServer, Authenticator, Body, MemoryStorage, User, schema};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tower::Service;

use crate::support::{ask, post};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WATCH: &str = "/api/v1/namespaces/default/configmaps?watch=true";
const ORIGIN: (&str, &str) = ("origin", "https://dashboard.example.com");

/// Serves HTTP/1.1 on one end of a connection that holds so many bytes, and returns the other.
fn connection<S>(service: S, capacity: usize) -> DuplexStream
where
    S: Service<Request<Incoming>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (client, server) = tokio::io::duplex(capacity);
    let serve = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(service))
        .with_upgrades();
    tokio::spawn(async move {
        // A client that goes away in the middle is no failure.
        let _ = serve.await;
    });
    client
}

type Opened = Result<(WebSocketStream<DuplexStream>, HeaderMap), Box<Response<Option<Vec<u8>>>>>;

/// Asks for a WebSocket on a connection.
async fn open_on(connection: DuplexStream, path: &str, headers: &[(&'static str, &str)]) -> Opened {
    let mut request = format!("ws://server{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match client_async(request, connection).await {
        Ok((socket, answer)) => Ok((socket, answer.headers().clone())),
        Err(Error::Http(answer)) => Err(answer),
        Err(other) => panic!("{other}"),
    }
}

async fn open(server: &ApiServer, path: &str, headers: &[(&'static str, &str)]) -> Opened {
    open_on(connection(server.as_user(User::admin()), 64 * 1024), path, headers).await
}

/// Opens a watch as a browser does.
async fn watch(server: &ApiServer, query: &str) -> WebSocketStream<DuplexStream> {
    open(server, &format!("{WATCH}{query}"), &[ORIGIN]).await.unwrap().0
}

async fn server_with(names: &[&str]) -> ApiServer {
    let server = ApiServer::in_memory().await.unwrap();
    for name in names {
        post(&server, MAPS, &json!({"metadata": {"name": name}})).await;
    }
    server
}

/// The next event, which is a message of text.
async fn event(socket: &mut WebSocketStream<DuplexStream>) -> Value {
    match socket.next().await.unwrap().unwrap() {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("no event: {other:?}"),
    }
}

/// Reads the server's goodbye, and that nothing follows it.
async fn goodbye(socket: &mut WebSocketStream<DuplexStream>) -> CloseCode {
    let code = match socket.next().await.unwrap().unwrap() {
        Message::Close(Some(goodbye)) => goodbye.code,
        other => panic!("no goodbye: {other:?}"),
    };
    assert!(socket.next().await.is_none());
    code
}

fn status(refusal: &Response<Option<Vec<u8>>>) -> Value {
    serde_json::from_slice(refusal.body().as_deref().unwrap_or_default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_event_is_a_message_of_text_until_the_time_is_over() {
    let server = server_with(&["a", "b"]).await;

    let mut socket = watch(&server, "&timeoutSeconds=5&allowWatchBookmarks=true").await;
    let opening = [event(&mut socket).await, event(&mut socket).await];
    post(&server, MAPS, &json!({"metadata": {"name": "c"}})).await;
    let added = event(&mut socket).await;
    let started = Instant::now();
    let bookmark = event(&mut socket).await;

    assert_eq!(opening.map(|event| event["object"]["metadata"]["name"].clone()), ["a", "b"]);
    assert_eq!((&added["type"], &added["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("c")));
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert!(started.elapsed() >= Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(goodbye(&mut socket).await, CloseCode::Normal);
}

#[tokio::test(start_paused = true)]
async fn events_in_protobuf_are_binary_messages_without_their_length() {
    let server = server_with(&["a", "b"]).await;
    let accept = ("accept", "application/vnd.kubernetes.protobuf");

    let path = format!("{WATCH}&timeoutSeconds=1");
    let (mut socket, _) = open(&server, &path, &[ORIGIN, accept]).await.unwrap();

    for name in ["a", "b"] {
        let Message::Binary(message) = socket.next().await.unwrap().unwrap() else { panic!("no bytes") };
        // A field of seven bytes, the type; then the field of the object, of this length, in it the object's own envelope.
        let beginning = [&[0x0a, 5][..], b"ADDED", &[0x12]].concat();
        assert!(message.starts_with(&beginning), "{message:?}");
        let envelope = message.windows(4).position(|window| window == b"k8s\0").unwrap();
        let map = schema::builtin("", "v1", "ConfigMap").unwrap();
        let object = schema::decode_protobuf(map, &message[envelope..]).unwrap().value;
        assert_eq!(object["metadata"]["name"], name);
    }
    assert_eq!(goodbye(&mut socket).await, CloseCode::Normal);
}

#[tokio::test]
async fn the_one_subprotocol_that_is_offered_is_spoken_and_of_several_none() {
    let server = server_with(&[]).await;
    let protocol = |value| ("sec-websocket-protocol", value);

    let none = open(&server, WATCH, &[ORIGIN]).await.unwrap().1;
    let one = open(&server, WATCH, &[ORIGIN, protocol("base64.binary.k8s.io")]).await.unwrap().1;
    let several = open(&server, WATCH, &[ORIGIN, protocol("one, other")]).await.unwrap_err();

    assert_eq!(none.get("sec-websocket-protocol"), None);
    assert_eq!(one["sec-websocket-protocol"], "base64.binary.k8s.io");
    assert_eq!(
        (several.status(), status(&several)["kind"].clone()),
        (StatusCode::BAD_REQUEST, json!("Status"))
    );
}

#[tokio::test]
async fn a_beginning_that_is_none_is_refused_in_a_status_and_ends_the_connection() {
    let server = server_with(&[]).await;
    for (headers, code) in [
        (vec![], 403),
        (vec![("origin", "null")], 403),
        (vec![("origin", "nowhere")], 403),
        (vec![ORIGIN, ("sec-websocket-version", "8")], 400),
        (vec![ORIGIN, ("sec-websocket-key", "")], 400),
    ] {
        let refused = open(&server, WATCH, &headers).await.unwrap_err();

        assert_eq!(refused.status().as_u16(), code, "{headers:?}");
        assert_eq!(status(&refused)["code"], code, "{headers:?}");
        assert_eq!(refused.headers()["connection"], "close", "{headers:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_watch_is_told_before_the_upgrade_and_nothing_after_it_is_a_request() {
    let server = server_with(&["a"]).await;
    let mut connection = connection(server.as_user(User::admin()), 64 * 1024);
    let upgrade = "host: server\r\nupgrade: websocket\r\nconnection: Upgrade\r\norigin: http://x\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let smuggled = format!("DELETE {MAPS}/a HTTP/1.1\r\nhost: server\r\n\r\n");
    let request = format!("GET {WATCH}&sendInitialEvents=true HTTP/1.1\r\n{upgrade}{smuggled}");

    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();

    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    assert!(answer.contains("sendInitialEvents requires setting resourceVersionMatch"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert_eq!(ask(&server, "GET", &format!("{MAPS}/a"), &[], "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_watch_is_answered_as_if_nobody_had_asked_for_a_websocket() {
    let server = server_with(&["a"]).await;

    let map = open(&server, &format!("{MAPS}/a"), &[ORIGIN]).await.unwrap_err();

    assert_eq!((map.status(), status(&map)["kind"].clone()), (StatusCode::OK, json!("ConfigMap")));
    assert_eq!(map.headers()["connection"], "close");
}

#[tokio::test]
async fn a_caller_without_a_connection_is_told_that_there_is_nothing_to_upgrade() {
    let server = server_with(&[]).await;
    let headers = [
        ORIGIN,
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    let answer = ask(&server, "GET", WATCH, &headers, "").await;

    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["message"], "this connection cannot become a WebSocket");
}

/// Knows one token, whose user may nothing.
#[derive(Debug)]
struct OneToken;

#[async_trait]
impl Authenticator for OneToken {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        match parts.headers.get("authorization").map(|value| value.to_str().unwrap()) {
            None => Ok(None),
            Some("Bearer secret") => Ok(Some(User::admin())),
            Some("Bearer powerless") => Ok(Some(User::new("powerless"))),
            Some(_) => Err("unknown token".into()),
        }
    }
}

#[tokio::test]
async fn browsers_hand_in_their_token_as_a_subprotocol_which_is_not_repeated() {
    let server = ApiServer::builder(MemoryStorage::new()).authenticator(OneToken).start().await.unwrap();
    let open = async |protocols: &str| {
        let headers = [ORIGIN, ("sec-websocket-protocol", protocols)];
        open_on(connection(server.clone(), 64 * 1024), WATCH, &headers).await
    };
    const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

    // `secret`, `powerless` and `other`, as base64.
    let known = open(&format!("{PREFIX}c2VjcmV0, v4.channel.k8s.io")).await.unwrap().1;
    assert_eq!(known["sec-websocket-protocol"], "v4.channel.k8s.io");

    for (protocols, code) in [
        (format!("{PREFIX}cG93ZXJsZXNz, x"), 403),
        (format!("{PREFIX}b3RoZXI, x"), 401),
        (format!("{PREFIX}c2VjcmV0"), 401),
        (format!("{PREFIX}c2VjcmV0, {PREFIX}c2VjcmV0, x"), 401),
        (format!("{PREFIX}%, x"), 401),
        ("x".to_owned(), 401),
    ] {
        let refused = open(&protocols).await.unwrap_err();
        assert_eq!(refused.status().as_u16(), code, "{protocols}");
        assert_eq!(refused.headers()["connection"], "close", "{protocols}");
    }
}

#[tokio::test]
async fn who_may_not_watch_is_told_so_by_that_verb() {
    let server = server_with(&[]).await;
    let connection = connection(server.as_user(User::new("jane")), 64 * 1024);

    let refused = open_on(connection, WATCH, &[ORIGIN]).await.unwrap_err();

    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let message = status(&refused)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("User \"jane\" cannot watch resource \"configmaps\""), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_goodbye_is_answered_at_once() {
    let server = server_with(&["a"]).await;
    let mut socket = watch(&server, "").await;
    event(&mut socket).await;
    let started = Instant::now();

    socket.send(Message::Text("is ignored".into())).await.unwrap();
    socket.send(Message::Ping("still there?".into())).await.unwrap();
    let answered = socket.next().await.unwrap().unwrap();
    socket.close(None).await.unwrap();
    let farewell = socket.next().await.unwrap().unwrap();

    assert_eq!(answered, Message::Pong("still there?".into()));
    assert!(farewell.is_close(), "{farewell:?}");
    assert!(socket.next().await.is_none());
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_much_is_cut_off() {
    let server = server_with(&[]).await;
    let mut socket = watch(&server, "").await;
    let started = Instant::now();

    let _ = socket.send(Message::Binary(vec![0; 1 << 20].into())).await;
    let end = socket.next().await;

    assert!(matches!(end, None | Some(Err(_))), "{end:?}");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_keeps_nobody_waiting_and_is_cut_off_when_its_time_is_over() {
    let server = server_with(&["a"]).await;
    let patch = json!({"data": {"k": "x".repeat(100_000)}}).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    ask(&server, "PATCH", &format!("{MAPS}/a"), &merge, patch).await;
    let path = format!("{WATCH}&timeoutSeconds=5");
    let connection = connection(server.as_user(User::admin()), 1024);
    let (socket, _) = open_on(connection, &path, &[ORIGIN]).await.unwrap();

    tokio::time::sleep(Duration::from_secs(30)).await;
    let mut rest = Vec::new();
    let mut connection = socket.into_inner();
    let _ = connection.read_to_end(&mut rest).await;

    assert!(rest.len() <= 1024, "all that was on its way: {} bytes", rest.len());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_says_goodbye_and_waits_for_it() {
    let server = server_with(&["a"]).await;
    let mut socket = watch(&server, "").await;
    event(&mut socket).await;

    let (code, ()) = tokio::join!(goodbye(&mut socket), server.shutdown());

    assert_eq!(code, CloseCode::Normal);
}

#[tokio::test]
async fn a_websocket_ends_with_its_listener() {
    let server = server_with(&["a"]).await;
    let listener = Listener::insecure(server.clone(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_address().unwrap();
    let (signal, stop) = Stop::channel();
    let running = tokio::spawn(Box::new(listener).run(stop));
    let connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut request = format!("ws://{address}{WATCH}").into_client_request().unwrap();
    request.headers_mut().insert("origin", "http://localhost".parse().unwrap());
    let (mut socket, _) = client_async(request, connection).await.unwrap();
    let first = socket.next().await.unwrap().unwrap();

    signal.stop();
    let end = socket.next().await;

    assert!(first.to_text().unwrap().starts_with("{\"type\":\"ADDED\""), "{first:?}");
    assert!(matches!(end, None | Some(Err(_))), "{end:?}");
    running.await.unwrap().unwrap();
}
