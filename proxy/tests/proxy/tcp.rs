//! TCP through the proxy: real sockets on the loopback interface, configuration by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quarterdeck_core::balancing::Backends;
use quarterdeck_core::client::ObjectKey;
use quarterdeck_core::runtime::{PortMapping, Protocol};
use quarterdeck_proxy::{
    AddressTable, Health, LeastConnections, Proxy, Random, RoundRobin, ServicePortConfig, ServiceTable,
};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::network::in_own_process;
use crate::support::{Echoes, Running, answers, assert_echo, call, get, in_time, tcp};

fn start(configure: impl FnOnce(Proxy) -> Proxy) -> Running {
    let table = ServiceTable::new();
    let proxy = configure(Proxy::from_table(&table, RoundRobin::new()));
    Running::start(table, proxy)
}

#[tokio::test]
async fn three_backends_share_thirty_requests_in_order() {
    let (echoes, proxy) = (Echoes::tcp(3).await, start(|proxy| proxy));
    let web = proxy.set("web", tcp(&echoes.at)).await;

    let answers = answers(web, 30).await;

    assert_eq!(answers, [0, 1, 2].repeat(10));
    proxy.stop().await;
}

#[tokio::test]
async fn a_seed_says_who_answers() {
    let mut seen = Vec::new();
    let echoes = Echoes::tcp(3).await;
    for seed in [7, 7, 8] {
        let table = ServiceTable::new();
        let proxy = Running::start(table.clone(), Proxy::from_table(&table, Random::seeded(seed)));
        let web = proxy.set("web", tcp(&echoes.at)).await;
        seen.push(answers(web, 30).await);
        proxy.stop().await;
    }

    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
    assert!((0..3).all(|number| seen[0].contains(&number)), "{:?}", seen[0]);
}

#[tokio::test]
async fn two_services_with_the_same_port_both_answer() {
    let (echoes, proxy) = (Echoes::tcp(2).await, start(|proxy| proxy));

    let first = proxy.set("first", tcp(&echoes.at[..1])).await;
    let second = proxy.set("second", tcp(&echoes.at[1..])).await;

    assert_ne!(first, second);
    assert_eq!((call(first).await.1, call(second).await.1), (0, 1));
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_may_end_its_half_and_still_gets_the_answer() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = start(|proxy| proxy);
    let web = proxy.set("web", tcp(&[backend.local_addr().unwrap()])).await;

    let client = async {
        let mut stream = TcpStream::connect(web).await.unwrap();
        stream.write_all(b"question").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let server = async {
        let (mut stream, _) = backend.accept().await.unwrap();
        let mut question = String::new();
        stream.read_to_string(&mut question).await.unwrap();
        stream.write_all(format!("answer to {question}").as_bytes()).await.unwrap();
    };
    let (answer, ()) = in_time(async { tokio::join!(client, server) }).await;

    assert_eq!(answer, "answer to question");
    proxy.stop().await;
}

#[tokio::test]
async fn a_lot_of_data_arrives_unchanged_both_ways() {
    let (echoes, proxy) = (Echoes::tcp(1).await, start(|proxy| proxy));
    let web = proxy.set("web", tcp(&echoes.at)).await;
    let sent: Arc<[u8]> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();

    let (stream, _) = call(web).await;
    let (mut from, mut to) = stream.into_split();
    let send = {
        let sent = sent.clone();
        async move {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        }
    };
    let mut received = Vec::new();
    let ((), length) = in_time(async { tokio::join!(send, from.read_to_end(&mut received)) }).await;

    assert_eq!(length.unwrap(), sent.len());
    assert!(received == *sent, "data changed on the way");
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_refuses_is_replaced_by_one_that_does_not() {
    let (mut echoes, proxy) = (Echoes::tcp(3).await, start(|proxy| proxy));
    let web = proxy.set("web", tcp(&echoes.at)).await;
    echoes.end(1).await;

    let answers = answers(web, 9).await;

    assert!(!answers.contains(&1) && answers.contains(&0) && answers.contains(&2), "{answers:?}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_does_not_answer_is_replaced_in_time() {
    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    silent.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    silent.listen(0).unwrap();
    let at = silent.local_addr().unwrap().as_socket().unwrap();
    // Its backlog is full: whoever connects now hears nothing.
    let _waiting = TcpStream::connect(at).await.unwrap();
    let echoes = Echoes::tcp(1).await;
    let proxy = start(|proxy| proxy.connect_timeout(Duration::from_millis(200)));
    let web = proxy.set("web", tcp(&[at, echoes.at[0]])).await;

    let answers = answers(web, 3).await;

    assert_eq!(answers, [0; 3]);
    proxy.stop().await;
}

#[tokio::test]
async fn without_backends_a_connection_is_reset() {
    let (mut echoes, proxy) = (Echoes::tcp(1).await, start(|proxy| proxy));
    let (none, gone) = (proxy.set("none", tcp(&[])).await, proxy.set("gone", tcp(&echoes.at)).await);
    echoes.end(0).await;

    for at in [none, gone] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let error = in_time(stream.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_backends_reset_reaches_the_client() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = start(|proxy| proxy);
    let web = proxy.set("web", tcp(&[backend.local_addr().unwrap()])).await;
    let mut client = TcpStream::connect(web).await.unwrap();
    let (server, _) = in_time(backend.accept()).await.unwrap();

    SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);

    let error = in_time(client.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    proxy.stop().await;
}

#[tokio::test]
async fn connections_survive_changes_of_backends() {
    let (echoes, proxy) = (Echoes::tcp(3).await, start(|proxy| proxy));
    let web = proxy.set("web", tcp(&echoes.at[..2])).await;
    let (mut first, answered) = call(web).await;
    assert_eq!(answered, 0);

    assert_eq!(proxy.set("web", tcp(&echoes.at[1..])).await, web, "the proxy port stays");

    assert_echo(&mut first, "still there").await;
    let answers = answers(web, 4).await;
    assert_eq!(answers, [1, 2, 1, 2]);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_fails_while_backends_come_and_go() {
    let (echoes, proxy) = (Echoes::tcp(4).await, start(|proxy| proxy));
    let web = proxy.set("web", tcp(&echoes.at)).await;
    let service = ObjectKey::new("default", "web");

    let calls = async {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..4 {
            calls.spawn(async move {
                for _ in 0..250 {
                    let (mut stream, _) = call(web).await;
                    assert_echo(&mut stream, "hello").await;
                }
            });
        }
        calls.join_all().await;
    };
    let flips = async {
        for number in 0.. {
            let kept = [number % 4, (number + 1) % 4].map(|index| echoes.at[index]);
            proxy.table.set(&service, vec![tcp(&kept)]);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        biased;
        () = in_time(calls) => {}
        () = flips => {}
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_removed_service_takes_no_connections_and_lets_old_ones_end() {
    let (echoes, proxy) = (Echoes::tcp(1).await, start(|proxy| proxy));
    let web = proxy.set("web", tcp(&echoes.at)).await;
    let (mut old, _) = call(web).await;

    proxy.remove("web").await;

    let refused = async { while TcpStream::connect(web).await.is_ok() {} };
    in_time(refused).await;
    assert_echo(&mut old, "still there").await;
    proxy.stop().await;
    assert!(in_time(old.read_u8()).await.is_err(), "a proxy that stops ends its connections");
}

#[tokio::test]
async fn connections_of_a_removed_service_end_after_the_drain_timeout() {
    let (echoes, proxy) =
        (Echoes::tcp(1).await, start(|proxy| proxy.drain_timeout(Duration::from_millis(100))));
    let web = proxy.set("web", tcp(&echoes.at)).await;
    let (mut old, _) = call(web).await;

    proxy.remove("web").await;

    assert!(in_time(old.read_u8()).await.is_err());
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_with_affinity_keeps_its_backend_until_that_fails() {
    let (mut echoes, proxy) = (Echoes::tcp(3).await, start(|proxy| proxy));
    let sticky = ServicePortConfig { affinity: Some(Duration::from_secs(10_800)), ..tcp(&echoes.at) };
    let (web, other) = (proxy.set("web", sticky).await, proxy.set("other", tcp(&echoes.at)).await);

    assert_eq!(answers(web, 3).await, [0, 0, 0]);
    assert_eq!(answers(other, 3).await, [0, 1, 2], "this service has no affinity");

    echoes.end(0).await;
    assert_eq!(answers(web, 3).await, [1, 1, 1]);
    proxy.stop().await;
}

#[tokio::test]
async fn connections_that_end_are_told_to_the_balancer() {
    let echoes = Echoes::tcp(2).await;
    let table = ServiceTable::new();
    let proxy = Running::start(table.clone(), Proxy::from_table(&table, LeastConnections::new()));
    let web = proxy.set("web", tcp(&echoes.at)).await;
    let ((first, zero), (_second, one)) = (call(web).await, call(web).await);
    assert_eq!((zero, one), (0, 1));

    drop(first);

    let mut held = Vec::new();
    let freed = async {
        // The first of these may come before the proxy has seen the end.
        while held.iter().filter(|(_, number)| *number == 0).count() <= held.len() / 2 {
            held.push(call(web).await);
        }
    };
    in_time(freed).await;
    proxy.stop().await;
}

#[tokio::test]
async fn pods_whose_addresses_are_names_are_reached_where_they_are() {
    let (echoes, addresses) = (Echoes::tcp(1).await, AddressTable::new());
    let proxy = start(|proxy| proxy.addresses(addresses.clone()));
    let pod = SocketAddr::from(([198, 51, 100, 7], 80));
    addresses.announce("uid", [PortMapping { protocol: Protocol::Tcp, pod, local: echoes.at[0] }]);

    let web = proxy.set("web", tcp(&[pod])).await;

    assert_eq!(call(web).await.1, 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_node_port_leads_to_the_service() {
    let (echoes, proxy) = (Echoes::tcp(2).await, start(|proxy| proxy));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let with = ServicePortConfig { node_port: Some(free.port()), ..tcp(&echoes.at) };

    let web = proxy.set("web", with.clone()).await;

    assert_eq!((call(free).await.1, call(web).await.1), (0, 1), "they share one rotation");
    let fewer = Backends::new(with.backends.as_slice()[..1].iter().copied());
    proxy.set("web", ServicePortConfig { node_port: None, backends: fewer, ..with }).await;
    in_time(async { while TcpStream::connect(free).await.is_ok() {} }).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_node_port_has_its_own_backends_if_the_service_says_so() {
    let (echoes, proxy) = (Echoes::tcp(2).await, start(|proxy| proxy));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (inside, outside) = (tcp(&echoes.at[..1]), tcp(&echoes.at[1..]));
    let external_backends = Some(outside.backends);

    let config = ServicePortConfig { node_port: Some(free.port()), external_backends, ..inside };
    let web = proxy.set("web", config).await;

    assert_eq!((call(web).await.1, call(free).await.1), (0, 1));
    proxy.stop().await;
}

#[tokio::test]
async fn a_node_port_that_is_taken_is_reported_and_the_service_works_otherwise() {
    let (echoes, proxy) = (Echoes::tcp(1).await, start(|proxy| proxy));
    let taken = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let number = taken.local_addr().unwrap().port();
    proxy.table.set_complete();

    let with = ServicePortConfig { node_port: Some(number), ..tcp(&echoes.at) };
    let web = proxy.set("web", with).await;

    assert_eq!(call(web).await.1, 0);
    let failing = async {
        loop {
            match proxy.ports.health() {
                Health::Failing(reason) => return reason,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let reason = in_time(failing).await;
    assert!(reason.starts_with(&format!("default/web: cannot open node port {number}/TCP: ")), "{reason}");
    proxy.stop().await;
}

#[tokio::test]
async fn connections_above_the_limit_wait_for_room() {
    let (echoes, proxy) = (Echoes::tcp(1).await, start(|proxy| proxy.max_connections(1)));
    let web = proxy.set("web", tcp(&echoes.at)).await;
    let (first, _) = call(web).await;

    let mut second = TcpStream::connect(web).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), second.read_u8()).await;
    assert!(early.is_err(), "there is no room yet");
    drop(first);

    assert_eq!(in_time(second.read_u8()).await.unwrap(), b'0');
    proxy.stop().await;
}

#[test]
fn connections_wait_while_the_process_may_open_no_more_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    in_own_process("tcp::connections_wait_while_the_process_may_open_no_more_files", &[], async || {
        assert!(
            std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success()
        );
        let (echoes, proxy) = (Echoes::tcp(1).await, start(|proxy| proxy));
        let web = proxy.set("web", tcp(&echoes.at)).await;
        let client = tokio::net::TcpSocket::new_v4().unwrap();
        let (files, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();

        setrlimit(Resource::RLIMIT_NOFILE, 3, most).unwrap();
        let mut stream = client.connect(web).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), stream.read_u8()).await;
        setrlimit(Resource::RLIMIT_NOFILE, files, most).unwrap();

        assert!(early.is_err(), "{early:?}");
        assert_eq!(in_time(stream.read_u8()).await.unwrap(), b'0');
        proxy.stop().await;
    });
}

#[tokio::test]
async fn the_endpoint_shows_the_table_of_proxy_ports() {
    let echoes = Echoes::tcp(1).await;
    let proxy = start(|proxy| proxy.endpoint(([127, 0, 0, 1], 0).into()));
    let cluster_ips = vec![[10, 254, 0, 7].into()];
    let web = proxy.set("web", ServicePortConfig { cluster_ips, ..tcp(&echoes.at) }).await;
    let endpoint = in_time(proxy.ports.endpoint()).await;

    assert_eq!(get(endpoint, "/healthz").await.0, 503, "it does not know all services yet");
    proxy.table.set_complete();
    in_time(proxy.ports.healthy()).await;
    assert_eq!(get(endpoint, "/healthz").await, (200, "ok".into()));

    let (status, body) = get(endpoint, "/proxy/ports").await;
    let expected = serde_json::json!({"items": [{
        "namespace": "default",
        "service": "web",
        "portName": "",
        "protocol": "TCP",
        "clusterIPs": ["10.254.0.7"],
        "externalIPs": [],
        "port": 8080,
        "nodePort": null,
        "proxy": [web.to_string()],
        "backends": [echoes.at[0].to_string()],
    }]});
    assert_eq!((status, serde_json::from_str::<serde_json::Value>(&body).unwrap()), (200, expected));
    proxy.stop().await;
}

#[tokio::test]
async fn a_proxy_that_stops_leaves_nothing_open() {
    let (echoes, proxy) = (Echoes::tcp(1).await, start(|proxy| proxy));
    let web = proxy.set("web", tcp(&echoes.at)).await;
    let (mut old, _) = call(web).await;
    let ports = proxy.ports.clone();

    proxy.stop().await;

    assert!(in_time(old.read_u8()).await.is_err());
    assert!(TcpStream::connect(web).await.is_err());
    assert_eq!(ports.of(&ObjectKey::new("default", "web")).len(), 0);
}
