//! Requests that no honest client sends: malformed ones, and well-formed ones with hostile content.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use quarterdeck_core::component::BoxError;
use quarterdeck_core::random::Random;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::access::{Dialer, How, Stream};
use crate::figures::Figures;
use crate::objects::MAPS;
use crate::process::Child;

/// How many are sent at a time.
const IN_FLIGHT: usize = 32;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const ANSWER: u64 = 64 * 1024;
const SEED: u64 = 0x5EED;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What came of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// An answer with this code.
    Answered(u16),
    /// The connection was closed, or what came is no answer of HTTP/1.1.
    Closed,
    /// Nothing came in time.
    Silent,
}

/// Sends so many requests, some without and some with TLS.
pub(super) fn hostile(server: &Child, figures: &mut Figures, count: usize) -> Result<(), BoxError> {
    let plain = server.access(How::Plain).dialer(b"http/1.1")?;
    let encrypted = server.access(How::Certificate).dialer(b"http/1.1")?;
    let bare = server.access(How::Certificate).undressed();
    let dialers = Rc::new([plain, encrypted, bare]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcomes = LocalSet::new().block_on(&runtime, async move {
        let mut senders = JoinSet::new();
        for sender in 0..IN_FLIGHT {
            let (dialers, random) = (dialers.clone(), Random::seeded(SEED + sender as u64));
            senders.spawn_local(send(dialers, random, count / IN_FLIGHT + 1));
        }
        let mut all = BTreeMap::new();
        while let Some(sent) = senders.join_next().await {
            for (outcome, what) in sent?? {
                all.entry(outcome).or_insert_with(Vec::new).push(what);
            }
        }
        Ok::<_, BoxError>(all)
    })?;
    for (outcome, sent) in &outcomes {
        let name = match outcome {
            Outcome::Answered(code) => format!("hostile requests answered with {code}"),
            Outcome::Closed => "hostile requests whose connection was closed".into(),
            Outcome::Silent => "hostile requests without an answer".into(),
        };
        figures.add(&name, "attack", "requests", sent.len() as f64);
        if matches!(outcome, Outcome::Answered(500 | 502) | Outcome::Silent) {
            return Err(
                format!("{outcome:?} for {}", String::from_utf8_lossy(&sent[0]).escape_debug()).into()
            );
        }
    }
    Ok(())
}

async fn send(
    dialers: Rc<[Dialer; 3]>,
    random: Random,
    count: usize,
) -> Result<Vec<(Outcome, Vec<u8>)>, BoxError> {
    let mut outcomes = Vec::new();
    for _ in 0..count {
        let request = request(&random);
        let stream = dialers[random.below(dialers.len())].dial().await?;
        let outcome = timeout(PATIENCE, exchange(stream, &request)).await.unwrap_or(Outcome::Silent);
        outcomes.push((outcome, request));
    }
    Ok(outcomes)
}

/// Sends bytes, says that there are no more, and reads what comes back.
async fn exchange(mut stream: Stream, request: &[u8]) -> Outcome {
    // A server that has seen enough closes the connection while it is written to.
    let _ = stream.write_all(request).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.take(ANSWER).read_to_end(&mut answer).await;
    let code = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let code = code.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    code.map_or(Outcome::Closed, Outcome::Answered)
}

/// Makes one up.
fn request(random: &Random) -> Vec<u8> {
    let bytes =
        |most: usize| -> Vec<u8> { (0..random.below(most)).map(|_| random.below(256) as u8).collect() };
    match random.below(8) {
        0 => bytes(4096),
        // A handshake of TLS that is none.
        1 => [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &bytes(600)].concat(),
        // Frames of HTTP/2: lengths, kinds, flags and streams by chance.
        2 => {
            let mut frames = PREFACE.to_vec();
            for _ in 0..random.below(200) {
                let content = bytes(64);
                let length = if random.below(8) == 0 { random.below(1 << 24) } else { content.len() };
                frames.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
                frames.extend([random.below(12) as u8, random.below(256) as u8]);
                frames.extend((random.below(16) as u32).to_be_bytes());
                frames.extend(content);
            }
            frames
        }
        3 => head(random),
        4 => {
            let path = PATHS[random.below(PATHS.len())];
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").into_bytes()
        }
        _ => content(random),
    }
}

/// Heads that proxies and servers have disagreed about, or that are too much.
fn head(random: &Random) -> Vec<u8> {
    let smuggled = "GET /api/v1/secrets HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let long = "a".repeat(1 << (4 + random.below(14)));
    match random.below(10) {
        0 => format!("POST {MAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        1 => format!("POST {MAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc{smuggled}"),
        2 => format!("POST {MAPS} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nabc"),
        3 => format!("POST {MAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n{smuggled}"),
        4 => format!("GET /version HTTP/1.1\nhost: localhost\n x: folded\n\n{smuggled}"),
        5 => format!("GET /version HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"),
        6 => format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        7 => format!("GET /version HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(random.below(2000))),
        8 => format!("GET {MAPS}?watch=1 HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: {long}\r\n\r\n"),
        _ => format!("{long} {MAPS} HTTP/9.9\r\nhost: localhost\r\n\r\n"),
    }
    .into_bytes()
}

/// Paths and queries that lead astray or mean nothing.
const PATHS: &[&str] = &[
    "/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets",
    "/api/v1/namespaces/default/configmaps/../secrets",
    "/api/v1/namespaces/%00/configmaps",
    "/api/v1/namespaces//configmaps",
    "//api/v1/secrets",
    "/api/v1/configmaps?limit=-1",
    "/api/v1/configmaps?limit=99999999999999999999",
    "/api/v1/configmaps?continue=e30",
    "/api/v1/configmaps?continue=%ff%fe",
    "/api/v1/configmaps?labelSelector=a%20in%20((((((((((",
    "/api/v1/configmaps?labelSelector=!!!!!!a%3D%3D%3D",
    "/api/v1/configmaps?fieldSelector=metadata.name%3D%5C",
    "/api/v1/configmaps?resourceVersion=-5&resourceVersionMatch=Exact",
    "/api/v1/configmaps?timeoutSeconds=1e9",
    "/apis/a/b/c/d/e/f/g",
    "/openapi/v3/apis/%2e%2e/%2e%2e",
    "*",
    "http://169.254.169.254/latest/meta-data",
];

/// Bodies that decoders have choked on, in every format and for every kind of write.
fn content(random: &Random) -> Vec<u8> {
    let depth = 1 << (4 + random.below(16));
    let map =
        |data: &str| format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"x"}},{data}}}"#);
    let (kind, body) = match random.below(12) {
        0 => ("application/json", "[".repeat(depth)),
        1 => ("application/json", format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))),
        2 => ("application/json", map(r#""data":{"a":1e999999999}"#)),
        3 => ("application/json", map(r#""data":{"a":"1"},"data":{"b":"2"}"#)),
        4 => ("application/json", map(&format!(r#""data":{{"{}":""}}"#, "k".repeat(depth)))),
        5 => ("application/json", map(r#""data":{"a":"\ud800"}"#)),
        6 => ("application/yaml", bomb(2 + random.below(20))),
        7 => ("application/yaml", format!("a: {}", "[".repeat(depth))),
        8 => ("application/vnd.kubernetes.protobuf", format!("k8s\0{}", "\n\u{7f}".repeat(depth / 2))),
        9 => (
            "application/json-patch+json",
            format!(
                r#"[{}{{"op":"test","path":"/a"}}]"#,
                r#"{"op":"copy","from":"","path":"/data/a"},"#.repeat(depth / 16)
            ),
        ),
        10 => ("application/merge-patch+json", format!("{}{}", r#"{"a":"#.repeat(depth), "null")),
        _ => ("application/apply-patch+yaml", bomb(2 + random.below(20))),
    };
    let method = if kind.contains("patch") { "PATCH" } else { ["POST", "PUT", "DELETE"][random.below(3)] };
    let path = if method == "POST" { MAPS.to_owned() } else { format!("{MAPS}/hostile?fieldManager=x") };
    // Some say that there is less or more than there is, or that it is compressed.
    let length = match random.below(8) {
        0 => body.len() / 2,
        1 => body.len() * 2,
        _ => body.len(),
    };
    let encoding = if random.below(8) == 0 { "content-encoding: gzip\r\n" } else { "" };
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{encoding}content-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// Aliases of aliases: text that doubles with each line once it is expanded.
fn bomb(lines: usize) -> String {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x]\n".to_owned();
    for line in 1..lines {
        text += &format!("a{line}: &a{line} [*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0}]\n", line - 1);
    }
    text
}
