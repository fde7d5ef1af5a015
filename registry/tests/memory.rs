//! Memory exhaustion: how much a client can make the server hold at a time, counted byte by byte.
//!
//! A program of its own, so that its allocator can count. What is counted is what the server asks of it, and not what the system
//! makes of that: so the figures are the same everywhere, and the bounds are tight. `make attack` asserts resident memory.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "an allocator is")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use quarterdeck_registry::{ApiServer, Body, User};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use tower::ServiceExt as _;

const MIB: usize = 1024 * 1024;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Counts what is allocated.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Counting {
    fn add(bytes: usize) {
        let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(live, Ordering::Relaxed);
    }

    fn remove(bytes: usize) {
        LIVE.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        Self::remove(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::add(size);
        Self::remove(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Tests count what others allocate, too: so they take turns.
async fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Does work, and returns how many bytes more there were at a time than before.
async fn peak<T>(work: impl Future<Output = T>) -> (usize, T) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let done = work.await;
    (PEAK.load(Ordering::Relaxed) - before, done)
}

/// Returns how many bytes more there are than before some work, once all that it left has ended.
fn left(before: usize) -> usize {
    LIVE.load(Ordering::Relaxed).saturating_sub(before)
}

async fn server() -> ApiServer {
    let server = ApiServer::in_memory().await.unwrap();
    let everything = json!({
        "metadata": {"name": "everybody"},
        "subjects": [{"kind": "Group", "name": "system:authenticated"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    assert_eq!(send(&server, "admin", bindings, "json", everything.to_string()).await, StatusCode::CREATED);
    server
}

fn user(name: &str) -> User {
    if name == "admin" { User::admin() } else { User::new(name).group("system:authenticated") }
}

/// Posts a body, and reads the answer away.
async fn send(server: &ApiServer, name: &str, path: &str, kind: &str, body: impl Into<Bytes>) -> StatusCode {
    let request = Request::post(path).header("content-type", format!("application/{kind}"));
    let request = request.body(Body::full(body.into())).unwrap();
    let answer = server.as_user(user(name)).oneshot(request).await.unwrap();
    let code = answer.status();
    answer.into_body().collect().await.unwrap();
    code
}

async fn get(server: &ApiServer, name: &str, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = server.as_user(user(name)).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer
}

/// Lets tasks run until they all wait.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn memory_exhaustion_by_bodies_that_do_not_end() {
    let _turn = alone().await;
    let server = server().await;
    // In pieces, so that the server has to keep what it reads.
    let piece = Bytes::from_static(&[b' '; 500_000]);
    let hold = |name: String| {
        let piece = piece.clone();
        let pieces = (0..6).map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone())));
        let body = StreamBody::new(stream::iter(pieces).chain(stream::pending()));
        let request = Request::post(MAPS).header("content-type", "application/json").body(body).unwrap();
        tokio::spawn(server.as_user(user(&name)).oneshot(request))
    };
    let before = LIVE.load(Ordering::Relaxed);

    let (of_one, mut held) = peak(async {
        let held: Vec<_> = (0..60).map(|_| hold("ann".into())).collect();
        settle().await;
        held
    })
    .await;
    let (of_all, more) = peak(async {
        let held: Vec<_> = (0..200).map(|number| hold(format!("user-{}", number % 8))).collect();
        settle().await;
        held
    })
    .await;
    held.extend(more);
    for held in held {
        held.abort();
        let _ = held.await;
    }
    settle().await;

    assert!(of_one > 48 * MIB, "the bound is what is tested: {of_one}");
    assert!(of_one < 96 * MIB, "{of_one}");
    assert!(of_one + of_all < 320 * MIB, "{of_all}");
    assert!(left(before) < 4 * MIB, "{}", left(before));
}

#[tokio::test(start_paused = true)]
async fn memory_exhaustion_by_many_small_values() {
    let _turn = alone().await;
    let server = server().await;
    let before = LIVE.load(Ordering::Relaxed);
    let lists = |depth: usize| {
        let one = format!("{}{},", "[".repeat(depth), "]".repeat(depth));
        format!("[{}0]", one.repeat(2_800_000 / one.len()))
    };
    let bomb = (1..20).fold("a0: &a0 [x,x,x,x,x,x,x,x]\n".to_owned(), |text, line| {
        let last = format!("*a{},", line - 1).repeat(8);
        format!("{text}a{line}: &a{line} [{last}]\n")
    });

    for (kind, body) in [
        ("json", format!("[{}0]", r#"{"":0},"#.repeat(400_000))),
        ("json", format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","data":[{}0]}}"#, "0,".repeat(1_400_000))),
        ("json", lists(1)),
        ("json", lists(50)),
        ("yaml", format!("[{}0]", "{a: 0},".repeat(400_000))),
        ("yaml", bomb),
    ] {
        let begin = body[..20].to_owned();
        let body = Bytes::from(body);

        let (peak, code) = peak(send(&server, "ann", MAPS, kind, body)).await;

        assert_eq!(code, StatusCode::BAD_REQUEST, "{begin}");
        assert!(peak < 96 * MIB, "{begin}: {peak}");
    }
    assert!(left(before) < 4 * MIB, "{}", left(before));
}

#[tokio::test(start_paused = true)]
async fn memory_exhaustion_by_lists_and_watches_that_nobody_reads() {
    let _turn = alone().await;
    let server = server().await;
    let map =
        |name: String| json!({"metadata": {"name": name}, "data": {"x": "y".repeat(100_000)}}).to_string();
    for number in 0..200 {
        let code = send(&server, "admin", MAPS, "json", map(format!("m{number}"))).await;
        assert_eq!(code, StatusCode::CREATED);
    }

    let (lists, held) = peak(async {
        let mut held = Vec::new();
        for number in 0..50 {
            held.push(get(&server, &format!("user-{number}"), MAPS).await);
        }
        held
    })
    .await;
    drop(held);
    let (watches, mut held) = peak(async {
        let mut held = Vec::new();
        for number in 0..500 {
            held.push(get(&server, &format!("user-{}", number % 9), &format!("{MAPS}?watch=true")).await);
        }
        for number in 0..20 {
            send(&server, "admin", MAPS, "json", map(format!("n{number}"))).await;
        }
        settle().await;
        held
    })
    .await;

    // Of 20 MB each.
    assert!(lists < 32 * MIB, "{lists}");
    // 500 watches of 2 MB: the log holds them once.
    assert!(watches < 32 * MIB, "{watches}");
    assert!(held.pop().unwrap().into_body().frame().await.is_some());
}
