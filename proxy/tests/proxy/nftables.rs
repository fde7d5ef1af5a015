//! Services at their own addresses, through rules of the kernel. Each test has a network of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use quarterdeck_core::component::{Component, Stop};
use quarterdeck_proxy::{Mode, Proxy, RoundRobin, ServicePortConfig, ServiceTable};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::network::{NODE, Pod, in_own_network, in_own_process, run};
use crate::support::{Echoes, Running, answers, ask, client_anywhere, in_time, tcp, udp};

const WEB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 254, 0, 7));
const DNS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 254, 0, 10));

/// Starts a proxy that looks after its rules ten times a second.
async fn start(table: ServiceTable) -> Running {
    let proxy = Proxy::from_table(&table, RoundRobin::new())
        .mode(Mode::nftables())
        .rules_interval(Duration::from_millis(100));
    table.set_complete();
    let proxy = Running::start(table, proxy);
    in_time(proxy.ports.healthy()).await;
    proxy
}

fn at(address: IpAddr, config: ServicePortConfig) -> ServicePortConfig {
    ServicePortConfig { cluster_ips: vec![address], ..config }
}

/// Waits until a TCP connection to `to` gets an answer, and returns it.
async fn answered(to: SocketAddr) -> u8 {
    let answer = async {
        loop {
            // Without rules, packets go where nobody answers.
            let connect = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(to));
            if let Ok(Ok(mut stream)) = connect.await
                && let Ok(number) = stream.read_u8().await
            {
                return number - b'0';
            }
        }
    };
    in_time(answer).await
}

/// Waits until connections to `to` are refused.
async fn refused(to: SocketAddr) {
    let refused = async {
        loop {
            match TcpStream::connect(to).await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    in_time(refused).await;
}

/// Returns what a connection from the pod hears first; empty if there is none.
async fn heard_in(pod: &Pod, to: SocketAddr) -> String {
    let script = format!("exec 3<>/dev/tcp/{}/{} && head -c1 <&3", to.ip(), to.port());
    let mut command = tokio::process::Command::from(pod.command("bash"));
    let output = in_time(command.args(["-c", &script]).output()).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_service_works_at_its_own_address_on_the_node_and_in_pods() {
    in_own_network("nftables::a_service_works_at_its_own_address_on_the_node_and_in_pods", async |pod| {
        let (echoes, datagrams) = (Echoes::tcp(2).await, Echoes::udp(1).await);
        let proxy = start(ServiceTable::new()).await;
        proxy.set("web", at(WEB, tcp(&echoes.at))).await;
        proxy.set("dns", at(DNS, udp(&datagrams.at))).await;
        let web = SocketAddr::new(WEB, 8080);
        answered(web).await;

        assert_eq!(answers(web, 4).await, [1, 0, 1, 0]);
        assert_eq!(heard_in(&pod, web).await, "1");
        assert_eq!(heard_in(&pod, web).await, "0");
        let client = client_anywhere(SocketAddr::new(DNS, 53)).await;
        assert_eq!(ask(&client, "name").await, "0name");
        proxy.stop().await;
    });
}

#[test]
fn what_a_service_does_not_have_is_refused_at_once() {
    in_own_network("nftables::what_a_service_does_not_have_is_refused_at_once", async |pod| {
        let echoes = Echoes::tcp(1).await;
        let proxy = start(ServiceTable::new()).await;
        proxy.set("web", at(WEB, tcp(&echoes.at))).await;
        let web = SocketAddr::new(WEB, 8080);
        answered(web).await;

        refused(SocketAddr::new(WEB, 8081)).await;
        assert_eq!(heard_in(&pod, SocketAddr::new(WEB, 8081)).await, "");

        proxy.set("web", at(WEB, tcp(&[]))).await;
        refused(web).await;
        proxy.set("web", at(WEB, tcp(&echoes.at))).await;
        assert_eq!(answered(web).await, 0);
        proxy.stop().await;
    });
}

#[test]
fn a_node_port_works_from_outside() {
    in_own_network("nftables::a_node_port_works_from_outside", async |pod| {
        let echoes = Echoes::tcp(1).await;
        let proxy = start(ServiceTable::new()).await;
        let config = ServicePortConfig { node_port: Some(30_080), ..at(WEB, tcp(&echoes.at)) };

        proxy.set("web", config).await;

        assert_eq!(heard_in(&pod, SocketAddr::new(NODE.into(), 30_080)).await, "0");
        assert_eq!(answered(SocketAddr::from(([127, 0, 0, 1], 30_080))).await, 0);
        proxy.stop().await;
    });
}

#[test]
fn an_external_address_may_be_the_nodes_own_and_its_backends() {
    in_own_network("nftables::an_external_address_may_be_the_nodes_own_and_its_backends", async |pod| {
        let backend = TcpListener::bind((NODE, 8080)).await.unwrap();
        let proxy = start(ServiceTable::new()).await;
        let config = tcp(&[backend.local_addr().unwrap()]);

        // A connection of the proxy to this backend is to the external address: it must not come back.
        proxy.set("web", ServicePortConfig { external_ips: vec![NODE.into()], ..at(WEB, config) }).await;

        let ((), heard) = tokio::join!(in_time(serve_once(&backend)), answered(SocketAddr::new(WEB, 8080)));
        assert_eq!(heard, 7);
        let ((), heard) = tokio::join!(in_time(serve_once(&backend)), heard_in(&pod, (NODE, 8080).into()));
        assert_eq!(heard, "7");
        proxy.stop().await;
    });
}

async fn serve_once(backend: &TcpListener) {
    let (stream, from) = backend.accept().await.unwrap();
    assert_eq!(from.ip(), IpAddr::from(NODE), "it came through the proxy");
    stream.try_write(b"7").unwrap();
}

#[test]
fn rules_are_gone_when_the_proxy_has_stopped() {
    in_own_network("nftables::rules_are_gone_when_the_proxy_has_stopped", async |_pod| {
        run("nft", "add table inet others");
        let echoes = Echoes::tcp(1).await;
        let proxy = start(ServiceTable::new()).await;
        proxy.set("web", at(WEB, tcp(&echoes.at))).await;
        answered(SocketAddr::new(WEB, 8080)).await;
        assert!(run("nft", "list tables").contains("table inet quarterdeck"));

        proxy.stop().await;

        assert_eq!(run("nft", "list tables"), "table inet others\n");
    });
}

#[test]
fn rules_that_somebody_removed_come_back() {
    in_own_network("nftables::rules_that_somebody_removed_come_back", async |_pod| {
        let (echoes, web) = (Echoes::tcp(1).await, SocketAddr::new(WEB, 8080));
        let proxy = start(ServiceTable::new()).await;
        proxy.set("web", at(WEB, tcp(&echoes.at))).await;
        answered(web).await;

        for damage in [
            "flush ruleset",
            "delete table inet quarterdeck",
            "flush chain inet quarterdeck output",
            "flush map inet quarterdeck services4",
            "delete element inet quarterdeck services4 { 10.254.0.7 . tcp . 8080 }",
        ] {
            run("nft", damage);
            assert_eq!(answered(web).await, 0, "after {damage}");
        }
        proxy.stop().await;
    });
}

#[test]
fn changes_of_services_leave_the_rest_of_the_table_alone() {
    in_own_network("nftables::changes_of_services_leave_the_rest_of_the_table_alone", async |_pod| {
        let echoes = Echoes::tcp(1).await;
        let proxy = start(ServiceTable::new()).await;
        let handles = || {
            run("nft", "-a list table inet quarterdeck")
                .lines()
                .filter(|it| it.contains("# handle"))
                .map(String::from)
                .collect::<Vec<_>>()
        };
        let before = handles();

        for host in 1..100 {
            let address = IpAddr::from([10, 254, 0, host]);
            proxy.set(&format!("web-{host}"), at(address, tcp(&echoes.at))).await;
        }
        proxy.remove("web-1").await;

        assert_eq!(answered(SocketAddr::from(([10, 254, 0, 99], 8080))).await, 0);
        assert_eq!(handles(), before);
        let listed = run("nft", "list map inet quarterdeck services4");
        assert!(listed.contains("10.254.0.50 . tcp . 8080 comment \"default/web-50\" : "), "{listed}");
        proxy.stop().await;
    });
}

#[test]
fn of_two_proxies_one_writes_rules_and_the_other_takes_over() {
    in_own_network("nftables::of_two_proxies_one_writes_rules_and_the_other_takes_over", async |_pod| {
        let (echoes, web) = (Echoes::tcp(2).await, SocketAddr::new(WEB, 8080));
        let (first, second) = (start(ServiceTable::new()).await, start(ServiceTable::new()).await);
        second.set("web", at(WEB, tcp(&echoes.at[1..]))).await;
        first.set("web", at(WEB, tcp(&echoes.at[..1]))).await;
        assert_eq!(answered(web).await, 0);

        first.stop().await;

        assert_eq!(answered(web).await, 1);
        second.stop().await;
        assert_eq!(run("nft", "list tables"), "");
    });
}

#[test]
fn rules_that_a_killed_proxy_left_are_replaced_when_all_services_are_known() {
    in_own_network(
        "nftables::rules_that_a_killed_proxy_left_are_replaced_when_all_services_are_known",
        async |_pod| {
            run("nft", "add table inet quarterdeck");
            run("nft", "add chain inet quarterdeck old");
            let (echoes, table) = (Echoes::tcp(1).await, ServiceTable::new());
            let proxy = Proxy::from_table(&table, RoundRobin::new())
                .mode(Mode::nftables())
                .rules_interval(Duration::from_millis(50));
            let proxy = Running::start(table, proxy);
            proxy.set("web", at(WEB, tcp(&echoes.at))).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(
                run("nft", "list table inet quarterdeck").contains("chain old"),
                "more services may come"
            );

            proxy.table.set_complete();

            assert_eq!(answered(SocketAddr::new(WEB, 8080)).await, 0);
            assert!(!run("nft", "list table inet quarterdeck").contains("chain old"));
            proxy.stop().await;
        },
    );
}

#[test]
fn ipv6_services_work_as_well() {
    in_own_network("nftables::ipv6_services_work_as_well", async |_pod| {
        run("ip", "-6 addr add fd00:2::1/64 dev v0 nodad");
        run("ip", "-6 route add default via fd00:2::fe dev v0");
        let (echoes, address) = (Echoes::tcp(1).await, "fd00:254::7".parse().unwrap());
        let proxy = start(ServiceTable::new()).await;

        proxy.set("web", at(address, tcp(&echoes.at))).await;

        assert_eq!(answered(SocketAddr::new(address, 8080)).await, 0);
        refused(SocketAddr::new(address, 8081)).await;
        proxy.stop().await;
    });
}

#[tokio::test]
async fn a_table_needs_a_proper_name() {
    let mode = Mode::Nftables { table: "x; flush ruleset".into() };
    let (_signal, stop) = Stop::channel();
    let proxy = Proxy::from_table(&ServiceTable::new(), RoundRobin::new()).mode(mode);

    let error = in_time(Box::new(proxy).run(stop)).await.unwrap_err();

    assert!(error.to_string().starts_with("\"x; flush ruleset\" is no name for a table"), "{error}");
}

#[test]
fn without_nft_the_proxy_says_what_to_do() {
    let environment = [("PATH", "/nonexistent")];
    in_own_process("nftables::without_nft_the_proxy_says_what_to_do", &environment, async || {
        let (_signal, stop) = Stop::channel();
        let table = ServiceTable::new();
        let proxy = Proxy::from_table(&table, RoundRobin::new()).mode(Mode::nftables());
        table.set_complete();

        let error = in_time(Box::new(proxy).run(stop)).await.unwrap_err();

        let expected = "cannot run nft: install nftables, or run the proxy in userspace mode";
        assert_eq!(error.to_string(), expected);
    });
}
