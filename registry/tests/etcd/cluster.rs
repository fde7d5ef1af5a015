//! Two API servers on a cluster of three members, while members fail: what clients were told stays true.

mod history;

use std::env;
use std::future::pending;
use std::time::Duration;

use futures::future::join_all;
use http::StatusCode;
use quarterdeck_core::storage::{Revision, Storage as _};
use quarterdeck_core::testing::storage::check_history;
use quarterdeck_registry::ApiServer;
use quarterdeck_registry::storage::{EtcdOptions, EtcdStorage};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{map, server};
use crate::engine::Served;
use crate::server::Etcd;
use crate::support::watch::Watch;
use crate::support::{call, revision};
use crate::{connect, soon};
use history::{Done, History, Outcome, Shown, Watched};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// How many clients there are, half of them with each server.
const CLIENTS: usize = 6;
/// How many objects they contend for.
const OBJECTS: usize = 3;

/// How long members are left alone between two blows; longer if the variable is set, for a run of some minutes.
fn peace() -> (Duration, usize) {
    match env::var("QUARTERDECK_LONG_TESTS") {
        Ok(_) => (Duration::from_secs(3), 12),
        Err(_) => (Duration::from_millis(400), 1),
    }
}

fn options(etcd: &Etcd, first: usize) -> EtcdOptions {
    let mut endpoints = etcd.endpoints();
    endpoints.rotate_left(first);
    EtcdOptions::new(endpoints).request_timeout(Duration::from_secs(3))
}

/// Reads and writes until it is time to stop, and notes what came of it.
async fn client(number: usize, server: ApiServer, history: History, stop: watch::Receiver<bool>) {
    let mut turn = 0;
    while !*stop.borrow() {
        turn += 1;
        let name = format!("m-{}", (turn + number) % OBJECTS);
        let path = format!("{MAPS}/{name}");
        let begun = history.begin();
        if turn % 2 == 0 {
            let value = format!("{number}-{turn}");
            let (code, body) = call(&server, "PUT", &path, map(&name, &value)).await;
            let outcome = match code {
                StatusCode::OK => Outcome::Revision(revision(&body)),
                StatusCode::CONFLICT => Outcome::Nothing,
                code if is_trouble(code) => Outcome::Open,
                code => panic!("{code}: {body}"),
            };
            history.end(Done::write(name, value, begun, outcome));
        } else {
            let (code, body) = call(&server, "GET", &path, Value::Null).await;
            match code {
                StatusCode::OK => {
                    let value = body["data"]["value"].as_str().expect("it has a value").to_owned();
                    history.end(Done::read(name, value, begun, revision(&body)));
                }
                code => assert!(is_trouble(code), "{code}: {body}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns whether a code says that the store has trouble.
fn is_trouble(code: StatusCode) -> bool {
    matches!(code.as_u16(), 503 | 504 | 507)
}

/// Follows a server's watch until the last write. A watch that is behind what was compacted begins anew with what there is.
async fn watcher(server: ApiServer, history: History, from: u64, mut last: watch::Receiver<u64>) -> Watched {
    let mut watched = Watched::default();
    let mut watch = Watch::start(&server, MAPS, from).await;
    let mut seen = from;
    loop {
        let end = *last.borrow_and_update();
        if end > 0 && seen >= end {
            return watched;
        }
        let event = tokio::select! {
            biased;
            _ = last.changed() => continue,
            event = watch.next() => event.expect("a watch goes on"),
        };
        let object = &event["object"];
        if event["type"] == "MODIFIED" {
            seen = revision(object);
            watched.events.push(shown(object));
            continue;
        }
        assert_eq!((&event["type"], &object["code"]), (&json!("ERROR"), &json!(410)), "{event}");
        let list = relist(&server, &history).await;
        watched.gaps.push((seen, list));
        seen = list;
        watch = Watch::start(&server, MAPS, seen).await;
    }
}

fn shown(object: &Value) -> Shown {
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    (text(&object["metadata"]["name"]), text(&object["data"]["value"]), revision(object))
}

/// Lists as soon as the server can, notes what was read, and returns the list's revision.
async fn relist(server: &ApiServer, history: &History) -> u64 {
    loop {
        let begun = history.begin();
        let (code, list) = call(server, "GET", MAPS, Value::Null).await;
        if code == StatusCode::OK {
            for (name, value, at) in list["items"].as_array().expect("it is a list").iter().map(shown) {
                history.end(Done::read(name, value, begun, at));
            }
            return revision(&list);
        }
        assert!(is_trouble(code), "{code}: {list}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until every member answers for itself.
async fn healthy(etcd: &Etcd) {
    for endpoint in etcd.endpoints() {
        drop(connect(etcd, EtcdOptions::new([endpoint])).await);
    }
}

async fn leader(etcd: &Etcd) -> usize {
    etcd.until("a leader", async || {
        for index in 0..3 {
            let Ok(mut client) = etcd_client::Client::connect([etcd.endpoint(index)], None).await else {
                continue;
            };
            if let Ok(Ok(status)) = tokio::time::timeout(Duration::from_secs(1), client.status()).await
                && status.leader() != 0
                && status.leader() == status.header().expect("an answer has a header").member_id()
            {
                return Some(index);
            }
        }
        None
    })
    .await
}

/// Kills, stops and starts members, and compacts what is past.
async fn blows(etcd: &mut Etcd, storage: &EtcdStorage, peace: Duration) {
    let compact = async || {
        if let Ok(now) = storage.revision().await {
            let _ = storage.compact(Revision(now.0.saturating_sub(20))).await;
        }
    };
    let follower = (leader(etcd).await + 1) % 3;
    etcd.kill(follower);
    tokio::time::sleep(peace).await;
    etcd.start(follower);
    healthy(etcd).await;

    compact().await;
    let index = leader(etcd).await;
    etcd.kill(index);
    tokio::time::sleep(peace * 4).await;
    etcd.start(index);
    healthy(etcd).await;

    let index = leader(etcd).await;
    etcd.pause(index);
    tokio::time::sleep(peace * 8).await;
    etcd.go_on(index);
    healthy(etcd).await;

    compact().await;
    (0..3).for_each(|index| etcd.kill(index));
    tokio::time::sleep(peace).await;
    (0..3).for_each(|index| etcd.start(index));
    healthy(etcd).await;
    tokio::time::sleep(peace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_were_told_stays_true_while_members_fail() {
    let mut etcd = Etcd::cluster(3, "http", &[]);
    healthy(&etcd).await;
    let servers = [server(&etcd, options(&etcd, 0)).await, server(&etcd, options(&etcd, 1)).await];
    let storage = connect(&etcd, options(&etcd, 2)).await;
    let history = History::default();
    for index in 0..OBJECTS {
        let name = format!("m-{index}");
        let begun = history.begin();
        let (code, created) = call(&servers[0], "POST", MAPS, map(&name, "first")).await;
        assert_eq!(code, StatusCode::CREATED, "{created}");
        history.end(Done::write(name, "first".to_owned(), begun, Outcome::Revision(revision(&created))));
    }
    let from = revision(&call(&servers[0], "GET", MAPS, Value::Null).await.1);
    let (stop, stopped) = watch::channel(false);
    let (end, ended) = watch::channel(0);
    let clients = (0..CLIENTS).map(|number| {
        tokio::spawn(client(number, servers[number % 2].clone(), history.clone(), stopped.clone()))
    });
    let clients: Vec<_> = clients.collect();
    let watcher = |server: &ApiServer| watcher(server.clone(), history.clone(), from, ended.clone());
    let watchers = servers.iter().map(|server| tokio::spawn(watcher(server)));
    let watchers: Vec<_> = watchers.collect();

    let (peace, rounds) = peace();
    for _ in 0..rounds {
        blows(&mut etcd, &storage, peace).await;
    }
    stop.send_replace(true);
    for client in clients {
        client.await.expect("no client sees what may not be");
    }

    // What was left open may still happen, until something came after it.
    let mut last = 0;
    for server in &servers {
        for index in 0..OBJECTS {
            let name = format!("m-{index}");
            let begun = history.begin();
            let value = format!("last-{last}-{index}");
            let (code, written) = call(server, "PUT", &format!("{MAPS}/{name}"), map(&name, &value)).await;
            assert_eq!(code, StatusCode::OK, "{written}");
            last = revision(&written);
            history.end(Done::write(name, value, begun, Outcome::Revision(last)));
        }
    }
    end.send_replace(last);
    let watched =
        soon(join_all(watchers)).await.into_iter().map(|events| events.expect("a watcher ends well"));
    let watched: Vec<_> = watched.collect();
    let (acknowledged, open) = history.check(&watched);
    let gaps: usize = watched.iter().map(|watched| watched.gaps.len()).sum();
    println!("{acknowledged} writes were acknowledged, {open} were left open, {gaps} watches began anew");
    assert!(acknowledged > 50, "clients got on with their work: {acknowledged}");
}

/// Histories of creates, updates, deletes, lists by pages, of now and of then, and watches, of all objects together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_two_servers_are_linearizable_while_members_fail() {
    let mut etcd = Etcd::cluster(3, "http", &[]);
    let (peace, rounds) = peace();
    for seed in 0..4 * rounds as u64 {
        healthy(&etcd).await;
        let prefix = format!("/history-{seed}");
        let one = connect(&etcd, options(&etcd, 0).prefix(&prefix)).await;
        let two = connect(&etcd, options(&etcd, 1).prefix(&prefix)).await;
        let served = Served::over_each([one, two], seed).await;
        // The leader, or a follower: one that a server is connected to, or not.
        let victim = if seed % 2 == 0 { leader(&etcd).await } else { (leader(&etcd).await + 1) % 3 };

        let blow = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            etcd.kill(victim);
            tokio::time::sleep(peace).await;
            etcd.start(victim);
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = check_history(served, seed) => {}
            () = blow => {}
        }

        // Whether it came to that or not, it runs again.
        etcd.kill(victim);
        etcd.start(victim);
    }
}

#[tokio::test]
async fn a_cluster_that_lost_its_quorum_says_so_in_time_and_recovers() {
    let mut etcd = Etcd::cluster(3, "http", &[]);
    healthy(&etcd).await;
    let server = server(&etcd, options(&etcd, 0)).await;
    let (code, _) = call(&server, "POST", MAPS, map("a", "1")).await;
    assert_eq!(code, StatusCode::CREATED);
    etcd.kill(1);
    etcd.kill(2);

    let start = Instant::now();
    let (read, status) = call(&server, "GET", &format!("{MAPS}/a"), Value::Null).await;
    let (write, _) = call(&server, "PUT", &format!("{MAPS}/a"), map("a", "2")).await;
    let (old, shown) = call(&server, "GET", &format!("{MAPS}/a?resourceVersion=0"), Value::Null).await;

    assert!(is_trouble(read) && is_trouble(write), "{read} {write}");
    assert_eq!(status["kind"], "Status");
    assert_eq!(
        (old, &shown["data"]["value"]),
        (StatusCode::OK, &Value::from("1")),
        "who minds no age is served"
    );
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    etcd.start(1);
    let answer = etcd.until("an answer", async || {
        let (code, body) = call(&server, "PUT", &format!("{MAPS}/a"), map("a", "3")).await;
        (code == StatusCode::OK).then_some(body)
    });
    let written = answer.await;
    let (code, read) = call(&server, "GET", &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!((code, read), (StatusCode::OK, written));
}

#[tokio::test]
async fn a_full_etcd_is_said_with_507_and_reads_go_on() {
    let etcd = Etcd::cluster(1, "http", &["--quota-backend-bytes", &(16 << 20).to_string()]);
    let server = server(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let large = "x".repeat(1 << 20);
    let mut names = 0;
    let refused = loop {
        let (code, status) = call(&server, "POST", MAPS, map(&format!("m-{names}"), &large)).await;
        if code != StatusCode::CREATED {
            break (code, status);
        }
        names += 1;
        assert!(names < 50, "the quota is 16 MiB");
    };

    assert_eq!(refused.0, StatusCode::INSUFFICIENT_STORAGE, "{}", refused.1);
    let (code, list) = call(&server, "GET", MAPS, Value::Null).await;
    assert_eq!((code, list["items"].as_array().map(Vec::len)), (StatusCode::OK, Some(names)));
    let (code, _) = call(&server, "DELETE", &format!("{MAPS}/m-0"), Value::Null).await;
    assert_eq!(code, StatusCode::OK, "what takes no room goes on");
}
