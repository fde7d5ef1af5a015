//! Connections whose clients rest, are slow, or send much and ask nothing.
//!
//! Time is paused, and sockets are real: what is sent over loopback is there before time moves on.

use std::net::SocketAddr;
use std::time::Duration;

use quarterdeck_core::component::{BoxError, Component as _, Stop, StopSignal};
use quarterdeck_registry::listener::Listener;
use quarterdeck_registry::{ApiServer, Body, User};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `GET /livez` to `localhost`, in HPACK.
const GET: &[u8] = b"\x82\x86\x04\x06/livez\x01\x09localhost";
/// `POST /api`, which nobody reads the body of, to `localhost`.
const POST: &[u8] = b"\x83\x86\x04\x04/api\x01\x09localhost";
/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
/// Flags: `ACK` and `END_STREAM` are the same bit.
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

struct Served {
    server: ApiServer,
    address: SocketAddr,
    _signal: StopSignal,
    _running: JoinHandle<Result<(), BoxError>>,
}

async fn serve(with: impl FnOnce(Listener) -> Listener) -> Served {
    let server = ApiServer::in_memory().await.unwrap();
    let listener = Listener::insecure(server.clone(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_address().unwrap();
    let (signal, stop) = Stop::channel();
    let running = tokio::spawn(Box::new(with(listener)).run(stop));
    Served { server, address, _signal: signal, _running: running }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Reads a frame: its type, its flags and what it carries; nothing at the end.
async fn read_frame(stream: &mut TcpStream) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], payload))
}

/// Answers what has to be answered until the connection ends. Returns when the server said goodbye, if it did.
async fn live(stream: &mut TcpStream) -> Option<Instant> {
    let mut goodbye = None;
    while let Some((kind, flags, payload)) = read_frame(stream).await {
        if kind == GOAWAY {
            goodbye.get_or_insert_with(Instant::now);
        }
        let answer = match kind {
            PING | SETTINGS if flags & ACK == 0 => {
                frame(kind, ACK, 0, if kind == PING { &payload } else { &[] })
            }
            _ => continue,
        };
        if stream.write_all(&answer).await.is_err() {
            break;
        }
    }
    goodbye
}

/// Asks for the server's health over HTTP/1.1, and reads the answer.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{answer:?}");
}

/// Waits until a connection ends, however.
async fn end(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while matches!(stream.read(&mut rest).await, Ok(read) if read > 0) {}
}

#[tokio::test(start_paused = true)]
async fn an_http_2_connection_that_rests_is_told_goodbye_after_90_seconds() {
    let served = serve(|listener| listener).await;
    let mut stream = served.connect().await;
    let begin = Instant::now();
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, b""), &frame(HEADERS, ACK | END_HEADERS, 1, GET)].concat();
    stream.write_all(&hello).await.unwrap();

    let goodbye = live(&mut stream).await;

    assert_eq!((goodbye.unwrap() - begin).as_secs(), 90);
    // A client that stays all the same is left behind.
    assert!(begin.elapsed() <= Duration::from_secs(101), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_client_does_not_answer_ends() {
    let served = serve(|listener| listener).await;
    let mut stream = served.connect().await;
    let begin = Instant::now();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await.unwrap();

    end(&mut stream).await;

    assert!(begin.elapsed() <= Duration::from_secs(91), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_http_1_connection_that_rests_or_is_slow_with_its_headers_ends_after_10_seconds() {
    let served = serve(|listener| listener).await;
    for slow in [&b""[..], b"GET /livez HTTP/1.1\r\nhost: "] {
        let mut stream = served.connect().await;
        ask(&mut stream).await;
        let begin = Instant::now();
        stream.write_all(slow).await.unwrap();

        end(&mut stream).await;

        assert_eq!(begin.elapsed().as_secs(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_request_under_way_does_not_rest() {
    let served = serve(|listener| listener).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /api/v1/configmaps?watch=true HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 17];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK\r\n");

    let over = timeout(Duration::from_secs(600), end(&mut stream)).await;

    assert!(over.is_err(), "a watch goes on");
}

/// Keeps so much in a server that no socket takes a list of it whole.
async fn fill(server: &ApiServer) {
    for number in 0..40 {
        let map = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("large-{number}"), "namespace": "default"},
            "data": {"x": "x".repeat(1_000_000)},
        });
        let request = http::Request::post("/api/v1/namespaces/default/configmaps")
            .header("content-type", "application/json")
            .body(Body::full(map.to_string()))
            .unwrap();
        let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 201);
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_the_list_that_it_asked_for_is_left_behind_after_60_seconds() {
    let served = serve(|listener| listener).await;
    fill(&served.server).await;
    // A list is made while it is sent; other forms are there whole.
    for form in ["application/json", "application/vnd.kubernetes.protobuf"] {
        let list = format!(
            "GET /api/v1/configmaps HTTP/1.1\r\nhost: localhost\r\naccept: {form}\r\nconnection: close\r\n\r\n"
        );
        let (mut stalled, mut slow) = (served.connect().await, served.connect().await);
        stalled.write_all(list.as_bytes()).await.unwrap();
        slow.write_all(list.as_bytes()).await.unwrap();
        stalled.readable().await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        let mut all = Vec::new();
        slow.read_to_end(&mut all).await.unwrap();

        tokio::time::sleep(Duration::from_secs(50)).await;

        let mut some = Vec::new();
        let _ = stalled.read_to_end(&mut some).await;
        assert!(some.starts_with(b"HTTP/1.1 200 OK\r\n"), "{form}");
        assert!(all.len() > 40_000_000, "{form}: {} bytes", all.len());
        assert!(some.len() < all.len() / 2, "{form}: {} of {} bytes", some.len(), all.len());
    }
}

#[tokio::test(start_paused = true)]
async fn an_http_2_stream_without_a_window_does_not_keep_what_it_asked_for() {
    let served = serve(|listener| listener).await;
    fill(&served.server).await;
    let path = b"/api/v1/configmaps";
    // Number 19 of HPACK's names is `accept`. A window of nothing, and one of a byte.
    for (form, window) in [("*/*", None), ("application/vnd.kubernetes.protobuf", None), ("*/*", Some(1))] {
        let list = [&b"\x82\x86\x04"[..], &[path.len() as u8], path, b"\x01\x09localhost"].concat();
        let list = [&list[..], b"\x0f\x04", &[form.len() as u8], form.as_bytes()].concat();
        // SETTINGS_INITIAL_WINDOW_SIZE
        let settings = window.map_or(Vec::new(), |window: u8| vec![0, 4, 0, 0, 0, window]);
        let mut stream = served.connect().await;
        let begin = Instant::now();
        let hello =
            [PREFACE, &frame(SETTINGS, 0, 0, &settings), &frame(HEADERS, ACK | END_HEADERS, 1, &list)]
                .concat();
        stream.write_all(&hello).await.unwrap();

        let goodbye = live(&mut stream).await;

        // It is told first: what else is under way may end.
        assert_eq!((goodbye.unwrap() - begin).as_secs(), 60, "{form}, {window:?}");
        assert_eq!(begin.elapsed().as_secs(), 70, "{form}, {window:?}");
    }
}

#[tokio::test]
async fn a_web_page_is_not_trusted_because_its_browser_is_on_this_machine() {
    let served = serve(|listener| listener).await;
    for (headers, code) in [
        ("host: 127.0.0.1:8080", "200"),
        ("host: [::1]\r\norigin: http://localhost:3000", "200"),
        ("host: localhost\r\norigin: https://evil.example", "403"),
        ("host: localhost\r\norigin: null", "403"),
        ("host: evil.example:8080", "403"),
    ] {
        let mut stream = served.connect().await;
        let request = format!("GET /api HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{headers}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_places_run_out_those_that_rest_give_way_and_those_that_do_not_stay() {
    let served = serve(|listener| listener.max_connections(2)).await;
    let mut watch = served.connect().await;
    watch.write_all(b"GET /api/v1/configmaps?watch=true HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    watch.read_exact(&mut [0; 17]).await.unwrap();
    let mut silent = served.connect().await;
    let begin = Instant::now();

    for _ in 0..3 {
        ask(&mut served.connect().await).await;
    }

    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    end(&mut silent).await;
    assert!(timeout(Duration::from_millis(1), end(&mut watch)).await.is_err(), "a watch goes on");
    assert!(served.server.revision().0 > 0);
}

/// Sends pieces made by `piece` until the connection is cut off. Returns how many bytes were sent.
async fn flood(begin: &[u8], mut piece: impl FnMut() -> Vec<u8>) -> usize {
    const MOST: usize = 64 << 20;
    let served = serve(|listener| listener).await;
    let (mut read, mut write) = served.connect().await.into_split();
    let reading = tokio::spawn(async move {
        let mut sink = vec![0; 64 * 1024];
        while matches!(read.read(&mut sink).await, Ok(read) if read > 0) {}
    });
    write.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b""), begin].concat()).await.unwrap();
    let mut sent = 0;
    while !reading.is_finished() && sent < MOST {
        let piece = piece();
        if write.write_all(&piece).await.is_err() {
            break;
        }
        sent += piece.len();
    }
    assert!(sent < MOST, "nobody cut it off");
    // Others are served.
    ask(&mut served.connect().await).await;
    sent
}

#[tokio::test(start_paused = true)]
async fn floods_of_frames_that_ask_nothing_are_cut_off() {
    let many = |one: Vec<u8>| move || one.repeat(500);
    flood(b"", many(frame(PING, 0, 0, b"12345678"))).await;
    flood(b"", many(frame(SETTINGS, 0, 0, b""))).await;
    flood(b"", many(frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 7]))).await;
    flood(b"", many(frame(WINDOW, 0, 0, &[0, 0, 0, 1]))).await;
    flood(&frame(HEADERS, END_HEADERS, 1, POST), many(frame(DATA, 0, 1, b""))).await;
}

#[tokio::test(start_paused = true)]
async fn headers_without_end_are_cut_off() {
    let many = || frame(CONTINUATION, 0, 1, b"").repeat(500);
    flood(&frame(HEADERS, 0, 1, GET), many).await;
    // A header of its own in each: `a: a`, not to be remembered.
    let many = || frame(CONTINUATION, 0, 1, &b"\x00\x01a\x01a".repeat(1000));
    flood(&frame(HEADERS, 0, 1, GET), many).await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_reset_as_soon_as_they_are_made_are_cut_off() {
    let mut stream = 1;
    let sent = flood(b"", || {
        let mut piece = Vec::new();
        for _ in 0..100 {
            piece.extend(frame(HEADERS, ACK | END_HEADERS, stream, GET));
            piece.extend(frame(RESET, 0, stream, &[0, 0, 0, 8]));
            stream += 2;
        }
        piece
    })
    .await;

    assert!(sent < 4 << 20, "{sent}");
}
